"""Device memory that a fine-tune takes, in bytes: weights, gradients, optimizer, activations.

    need = training_bytes(trainable=7_241_732_096, dtype="bfloat16")  # all of a 7B model
    need.fixed / 2**30  # 121.4: weights, copies, gradients and AdamW's moments

Pure, without torch, so that a plan can ask before any job. `fixed` follows from the numbers of
parameters and is what a run cannot do without; `activations` is a rough figure that follows from
the micro batch, which training halves by itself when memory runs out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

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

LAST = 3
"""Times the model's width that the last norm and the output layer keep of each token."""


@dataclass(frozen=True, kw_only=True)
class TrainingBytes:
    """Memory of one process of a fine-tune, in bytes.

    Attributes:
        weights: All weights: what is trained in float32, the rest as it is kept.
        copies: Of the trained weights in 16 bits, which mixed precision computes with.
        gradients: Of what is trained, in float32.
        optimizer: State of the optimizer.
        activations: Kept for the backward pass of one micro batch; rough.
    """

    weights: int
    copies: int
    gradients: int
    optimizer: int
    activations: int = 0

    @property
    def fixed(self) -> int:
        """What is needed whatever the micro batch."""
        return self.weights + self.copies + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """All of it."""
        return self.fixed + self.activations


def training_bytes(
    *,
    trainable: int,
    frozen: int = 0,
    dtype: str,
    quantization: Literal["nf4"] | None = None,
    unquantized: int = 0,
    optimizer: int = ADAMW_BYTES,
    activations: int = 0,
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
        activations: From `activation_bytes`, or 0 where nothing is known.
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
        activations=activations,
    )


def activation_bytes(
    tokens: int,
    *,
    hidden_size: int,
    intermediate_size: int,
    layers: int,
    vocabulary: int,
    dtype: str,
    recomputed: bool,
) -> int:
    """Return roughly what one micro batch keeps for its backward pass.

    Of a layer: inputs of norms, queries, keys, values and attended values, and of a gated MLP the
    gate, its activation, the other half and their product (after Korthikanti et al.,
    https://arxiv.org/abs/2205.05198, section 4, without the scores, which no kernel here keeps).
    Where layers are recomputed, one layer's and the inputs of the others are kept.

    Args:
        tokens: Of the micro batch: sequences times the longest.
        hidden_size: Width of the model.
        intermediate_size: Width of its MLP.
        layers: Their number.
        vocabulary: Rows of the output layer. On a GPU the loss is computed in tiles; the logits of
            all positions are counted where nothing is recomputed, as on a CPU.
        dtype: Of the arithmetic.
        recomputed: Whether activations are recomputed (on a GPU they are).
    """
    size = ITEM_BYTES[dtype]
    layer = tokens * (10 * hidden_size * size + 4 * intermediate_size * size)
    if recomputed:
        return layer + (layers + LAST) * tokens * hidden_size * size
    return layers * layer + 2 * tokens * vocabulary * FLOAT32


def checkpoint_bytes(trainable: int, optimizer: int = ADAMW_BYTES) -> int:
    """Return what one checkpoint takes on a disk: trained weights and the optimizer's state.

    Args:
        trainable: Parameters that are trained.
        optimizer: Bytes of the optimizer's state for each of them.
    """
    return trainable * (FLOAT32 + optimizer)
