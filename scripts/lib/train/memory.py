"""Device memory that a fine-tune takes, in bytes: weights, gradients, optimizer, activations.

    work = FineTune(size=size, adapter=None, dtype="bfloat16", optimizer="adamw_torch_fused")
    work.memory(tokens=8192, row=2048, recomputed=1).total / 2**30

Pure, without torch, so that a plan can ask before any job. `fixed` follows from the numbers of
parameters and is what a run cannot do without; `activations` and `working` follow from the micro
batch and from which layers are recomputed, which training chooses by the card's free memory.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Literal

from scripts.lib.train.model_size import ModelSize, Widths, widths_of
from scripts.lib.train.optimization import OptimizerName

FLOAT32 = 4
ITEM_BYTES = {"float32": FLOAT32, "bfloat16": 2, "float16": 2}

NF4_BITS = 4.127
"""Of a weight in nf4, quantised doubly (QLoRA, https://arxiv.org/abs/2305.14314, section 3)."""

ADAMW_BYTES = 2 * FLOAT32
"""Of AdamW's two moments of a parameter (ZeRO, https://arxiv.org/abs/1910.02054, section 3.1)."""

OPTIMIZER_BYTES: Mapping[OptimizerName, int] = MappingProxyType(
    {
        "adamw_torch_fused": ADAMW_BYTES,
        "adamw_torch": ADAMW_BYTES,
        "adafactor": 0,  # a number for each row and column
        "sgd": 0,  # FLOAT32 with momentum
        "adagrad": FLOAT32,
        "rmsprop": FLOAT32,
        "adamw_torch_4bit": 1,
        "adamw_torch_8bit": 2,
        "adamw_bnb_8bit": 2,
        "adamw_8bit": 2,
        "ademamix": 3 * FLOAT32,
        "ademamix_8bit": 3,
        "lion_32bit": FLOAT32,
        "lion_8bit": 1,
        "paged_adamw_32bit": 0,
        "paged_adamw_8bit": 0,
        "paged_ademamix_32bit": 0,
        "paged_ademamix_8bit": 0,
        "paged_lion_32bit": 0,
        "paged_lion_8bit": 0,
        "rmsprop_bnb": FLOAT32,
        "rmsprop_bnb_8bit": 1,
        "rmsprop_bnb_32bit": FLOAT32,
        "schedule_free_adamw": ADAMW_BYTES,
        "schedule_free_radam": ADAMW_BYTES,
        "schedule_free_sgd": FLOAT32,
        "stable_adamw": ADAMW_BYTES,
        "grokadamw": 3 * FLOAT32,
    }
)
"""What an optimizer keeps on the device of each trained parameter, at least.

What is paged can leave the device. Of 8 bits the scale of each block is not counted
(https://arxiv.org/abs/2110.02861).
"""

DEVICE_BYTES = 2**30
"""Of CUDA's context and kernels, and what its allocator cannot use: half to one GiB is usual."""

WHOLE_SHARE = 0.8
"""Of a card's memory that what stays on it may take; the rest is for what computing takes. Several
processes share a model out that takes more."""

CARD_SHARE = 0.75
"""Of a card's memory that is planned with, as `machine.memory_limits` has it, which loads torch."""

LOGIT_BYTES: Mapping[str, int] = MappingProxyType({"cpu": 4 * 2**30, "cuda": 2**30})
"""What logits and what comes of them may take. On a CPU one part is the rule: several round
otherwise."""

LOGIT_COPIES = 16
"""Bytes of a logit: in the model's precision, in float32, its logarithm, and two gradients."""

DROPOUT_BYTES: Mapping[str, int] = MappingProxyType({"cpu": FLOAT32, "cuda": 1})
"""Of what PyTorch's dropout keeps of each number: a factor on a CPU, a mark on a GPU."""

LAST, LAST_TRAINED = 6, 2
"""Times the model's width in float32 that is kept of each token outside of the layers: the last
norm, what the output layer reads and its gradient, and the table of rotations; and what trained
norms keep beside that."""


@dataclass(frozen=True, kw_only=True)
class TrainingBytes:
    """Memory of one process of a fine-tune, in bytes.

    Attributes:
        weights: All weights: what is trained in float32, the rest as it is kept.
        copies: Of the trained weights in 16 bits, which mixed precision computes with.
        gradients: Of what is trained, in float32.
        optimizer: State of the optimizer.
        activations: Kept for the backward pass of one micro batch, at most.
        working: What else is alive at a time: one layer that is recomputed, and gradients within
            it, or a part of the logits.
    """

    weights: int
    copies: int
    gradients: int
    optimizer: int
    activations: int = 0
    working: int = 0

    @property
    def fixed(self) -> int:
        """What is needed whatever the micro batch."""
        return self.weights + self.copies + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """All of it."""
        return self.fixed + self.activations + self.working


def training_bytes(
    *,
    trainable: int,
    frozen: int = 0,
    dtype: str,
    quantization: Literal["nf4"] | None = None,
    unquantized: int = 0,
    optimizer: int = ADAMW_BYTES,
    shares: int = 1,
) -> TrainingBytes:
    """Return the memory that one process of a fine-tune takes.

    What is trained is float32, whatever *dtype* says: weight, gradient and moments, 16 bytes for
    each parameter with AdamW (ZeRO, section 3.1). In a full fine-tune that is every weight
    (`frozen=0`); with LoRA the adapter's, beside a base that is frozen and kept in *dtype*.

    Args:
        trainable: Parameters that are trained.
        frozen: Parameters that are not.
        dtype: `training.dtype`: of frozen weights, and of the arithmetic.
        quantization: Of the frozen weights.
        unquantized: Those of the frozen weights that quantisation leaves out and PEFT holds in
            float32: embedding, output layer, norms.
        optimizer: Bytes of the optimizer's state for each trained parameter.
        shares: Processes that share weights, gradients and states among them (FSDP); 1 where each
            has all of them (DDP).
    """
    if quantization == "nf4":
        kept = int((frozen - unquantized) * NF4_BITS / 8) + unquantized * FLOAT32
    else:
        kept = frozen * ITEM_BYTES[dtype]
    # Autocast keeps a copy of each weight that it has cast until the pass is over.
    copy = ITEM_BYTES[dtype] if dtype != "float32" else 0
    return TrainingBytes(
        weights=(kept + trainable * FLOAT32) // shares,
        copies=trainable * copy // shares,
        gradients=trainable * FLOAT32 // shares,
        optimizer=trainable * optimizer // shares,
    )


def positions_at_once(vocabulary: int, device: str) -> int:
    """Return how many positions meet the output layer at once.

    Args:
        vocabulary: Rows of the output layer.
        device: "cpu" or "cuda".
    """
    return max(1, LOGIT_BYTES[device] // (LOGIT_COPIES * vocabulary))


@dataclass(frozen=True, kw_only=True)
class Adapted:
    """A linear layer with an adapter on it."""

    inputs: int
    outputs: int
    rank: int


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """An adapter as far as memory follows from it.

    Attributes:
        parameters: That are trained.
        layers: Those that it is on.
        drops: Whether it drops parts of their inputs.
        use_dora: Whether it scales their outputs.
        trains_output: Whether the output layer is trained as a whole.
    """

    parameters: int
    layers: tuple[Adapted, ...] = ()
    drops: bool = False
    use_dora: bool = False
    trains_output: bool = False


@dataclass(frozen=True, kw_only=True)
class FineTune:
    """A fine-tune as far as its memory follows from it.

    Attributes:
        size: The base.
        adapter: What is trained; None where all weights are.
        dtype: `training.dtype`.
        optimizer: `training.optim`.
        quantization: Of the frozen base.
        shares: Processes that share the model out.
        device: "cpu" or "cuda".
        autocast: Whether weights are cast pass by pass; always on a GPU in 16 bits.
    """

    size: ModelSize
    adapter: Adapter | None
    dtype: str
    optimizer: OptimizerName
    quantization: Literal["nf4"] | None = None
    shares: int = 1
    device: str = "cuda"
    autocast: bool | None = None

    def memory(self, tokens: int, row: int, recomputed: int) -> TrainingBytes:
        """Return what one process takes, the device's own not counted.

        Args:
            tokens: Of a micro batch, padding included.
            row: Of its longest sequence.
            recomputed: Every how many layers one's activations are recomputed; 0 is never.
        """
        fixed = self._fixed
        widths = self._widths
        if widths is None:
            return fixed
        layer = tokens * self._layer_bytes(widths, row)
        again = math.ceil(widths.layers / recomputed) if recomputed else 0
        width = ITEM_BYTES[self.dtype] if self.adapter else FLOAT32
        activations = (widths.layers - again) * layer + again * tokens * widths.hidden * width
        last = LAST if self.adapter else LAST + LAST_TRAINED
        activations += tokens * last * widths.hidden * FLOAT32
        logits = min(tokens, positions_at_once(widths.vocabulary, self.device))
        head = logits * widths.vocabulary * LOGIT_COPIES
        if self.adapter is None or self.adapter.trains_output:
            # Its gradient is summed up in float32, beside its copy in 16 bits.
            head += widths.vocabulary * widths.hidden * 2 * FLOAT32
        item = ITEM_BYTES[self.dtype]
        gradients = tokens * item * (3 * widths.inner + 2 * widths.hidden)
        return replace(fixed, activations=activations, working=max(layer + gradients, head))

    @cached_property
    def _fixed(self) -> TrainingBytes:
        return training_bytes(
            trainable=self.adapter.parameters if self.adapter else self.size.parameters,
            frozen=self.size.parameters if self.adapter else 0,
            dtype=self.dtype,
            quantization=self.quantization,
            unquantized=self.size.embedded,
            optimizer=OPTIMIZER_BYTES[self.optimizer],
            shares=self.shares,
        )

    @cached_property
    def _widths(self) -> Widths | None:
        return widths_of(self.size)

    def _layer_bytes(self, widths: Widths, row: int) -> int:
        """Return what a layer keeps of a token for its backward pass, at most.

        Norms are computed in float32. Attention keeps queries, keys and values of as many heads,
        and what it attended; a gated MLP the gate, its activation and the other half (after
        Korthikanti et al., https://arxiv.org/abs/2205.05198, section 4). A linear layer keeps its
        input only if it is trained or has an adapter, which casts and drops it for itself.
        """
        item = ITEM_BYTES[self.dtype]
        kept = FLOAT32 * widths.norms * (1 if self.adapter else 2)
        kept += item * 4 * widths.queries + FLOAT32 * widths.heads
        if widths.keeps_scores:
            kept += widths.heads * row * (FLOAT32 + 2 * item)
        kept += item * 3 * widths.inner
        if self.adapter is None:
            return kept + item * (5 * widths.hidden + widths.queries + widths.inner)
        return kept + math.ceil(self._adapter_bytes / widths.layers)

    @cached_property
    def _adapter_bytes(self) -> int:
        """Return what the adapter keeps of a token, in all layers."""
        if self.adapter is None:
            return 0
        casts = self.device == "cuda" if self.autocast is None else self.autocast
        own = ITEM_BYTES[self.dtype] if casts else FLOAT32
        copy = own + (DROPOUT_BYTES[self.device] if self.adapter.drops else 0)
        kept = 0
        for one in self.adapter.layers:
            kept += copy * one.inputs + 2 * own * one.rank
            if self.adapter.use_dora:  # its output with and without the adapter, before scaling
                kept += 2 * FLOAT32 * one.outputs
        return kept


def checkpoint_bytes(trainable: int, optimizer: int = ADAMW_BYTES) -> int:
    """Return what one checkpoint takes on a disk: trained weights and the optimizer's state.

    Args:
        trainable: Parameters that are trained.
        optimizer: Bytes of the optimizer's state for each of them.
    """
    return trainable * (FLOAT32 + optimizer)
