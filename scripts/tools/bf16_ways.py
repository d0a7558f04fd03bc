"""Ways to score in bfloat16 on a processor: what ships, and what was tried beside it.

Each is a context in which a model answers; it changes the model or what computes it, and puts all
of it back.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch.nn import functional
from transformers.models.llama import modeling_llama

from scripts.lib.machine.bfloat16 import Float32Products
from scripts.lib.machine.device import computes_bfloat16
from scripts.lib.score.shared_prefix import SharedPrefixLM
from scripts.tools.peers import Peers

Way = Callable[[Peers], AbstractContextManager[Any]]

SHIPPED = "ships"

# For which oneDNN orders weights; others are multiplied, too.
_PACKED_ROWS = 1024


@contextmanager
def ships(peers: Peers) -> Iterator[Any]:
    """Score as the scoring program does."""
    yield peers.ours()


@contextmanager
def other_products(peers: Peers) -> Iterator[Any]:
    """Compute products the other way: bfloat16's own, or in float32 where there is arithmetic."""
    # What is pushed while torch's functions are not looked at is not heard.
    other = Float32Products() if computes_bfloat16() else torch._C.DisableTorchFunction()
    with other:
        yield peers.ours()


@contextmanager
def float32_activations(peers: Peers) -> Iterator[Any]:
    """Compute all in float32, with weights that were rounded to bfloat16."""
    model, own = peers.model, peers.model.dtype
    try:
        yield Peers(peers.folder, "float32", model.float()).ours()
    finally:
        model.to(own)


@contextmanager
def float32_weights(peers: Peers) -> Iterator[Any]:
    """Keep weights in float32, at twice the memory; round what products return."""
    with _patched(torch.nn.Linear, forward=_linear_of(lambda weight: weight.float())):
        yield peers.ours()


@contextmanager
def prepacked_weights(peers: Peers) -> Iterator[Any]:
    """Keep weights in oneDNN's own order of blocks."""
    wide = not computes_bfloat16()

    def pack(weight: Any) -> Any:
        weight = (weight.float() if wide else weight).detach()
        return torch.ops.mkldnn._reorder_linear_weight(weight, _PACKED_ROWS)

    def multiply(row: Any, packed: Any, bias: Any) -> Any:
        return torch.ops.mkldnn._linear_pointwise(row, packed, bias, "none", [], "")

    forward = _linear_of(pack, multiply, wide=wide)
    with torch.inference_mode(), _patched(torch.nn.Linear, forward=forward):
        yield peers.ours()


@contextmanager
def fused_norms(peers: Peers) -> Iterator[Any]:
    """Compute a norm as one operation, which rounds once where the model rounds twice."""

    def forward(self: Any, states: Any) -> Any:
        return functional.rms_norm(states, self.weight.shape, self.weight, self.variance_epsilon)

    with _patched(modeling_llama.LlamaRMSNorm, forward=forward):
        yield peers.ours()


@contextmanager
def fused_rotary(peers: Peers) -> Iterator[Any]:
    """Rotate queries and keys in place, without the copy that swaps their halves."""

    def rotated(states: Any, cos: Any, sin: Any) -> Any:
        half = states.shape[-1] // 2
        found = states * cos
        found[..., :half].addcmul_(states[..., half:], sin[..., :half], value=-1)
        found[..., half:].addcmul_(states[..., :half], sin[..., half:])
        return found

    def rotate(query: Any, key: Any, cos: Any, sin: Any, unsqueeze_dim: int = 1) -> Any:
        cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
        return rotated(query, cos, sin), rotated(key, cos, sin)

    with _patched(modeling_llama, apply_rotary_pos_emb=rotate):
        yield peers.ours()


@contextmanager
def compiled(peers: Peers) -> Iterator[Any]:
    """Let inductor make one loop of each norm and of each activation with its gate."""
    norm = torch.compile(modeling_llama.LlamaRMSNorm.forward, dynamic=True)
    gate = torch.compile(lambda gate, up: functional.silu(gate) * up, dynamic=True)

    def mlp(self: Any, states: Any) -> Any:
        return self.down_proj(gate(self.gate_proj(states), self.up_proj(states)))

    with (
        _patched(modeling_llama.LlamaRMSNorm, forward=norm),
        _patched(modeling_llama.LlamaMLP, forward=mlp),
    ):
        yield peers.ours()


def rows_of(tokens: int) -> Way:
    """Return the way that reads at most so many tokens at once."""

    @contextmanager
    def way(peers: Peers) -> Iterator[Any]:
        yield SharedPrefixLM(
            pretrained=peers.model, tokenizer=peers.tokenizer, batch_size="auto", row_tokens=tokens
        )

    return way


def ways() -> Mapping[str, Way]:
    """Return the ways that can be tried here, by name, and say which cannot."""
    found: dict[str, Way] = {
        SHIPPED: ships,
        "native_products" if not computes_bfloat16() else "float32_products": other_products,
        "float32_weights": float32_weights,
        "float32_activations": float32_activations,
        "prepacked_weights": prepacked_weights,
        "fused_norms": fused_norms,
        "fused_rotary": fused_rotary,
        **{f"rows_of_{tokens}": rows_of(tokens) for tokens in (256, 512, 2048, 4096)},
    }
    if shutil.which("g++") or shutil.which("clang++"):
        return {**found, "compiled": compiled}
    print("compiled: there is no C++ compiler here, which inductor needs")
    return found


def _linear_of(
    prepare: Callable[[Any], Any],
    multiply: Callable[[Any, Any, Any], Any] = functional.linear,
    *,
    wide: bool = True,
) -> Callable[[Any, Any], Any]:
    """Return a linear layer's `forward` that prepares each weight once."""
    prepared: dict[int, Any] = {}

    def forward(self: Any, row: Any) -> Any:
        key = self.weight.data_ptr()
        if key not in prepared:
            prepared[key] = prepare(self.weight)
        return multiply(row.float() if wide else row, prepared[key], self.bias).to(row.dtype)

    return forward


@contextmanager
def _patched(owner: Any, **named: Any) -> Iterator[None]:
    own = {name: getattr(owner, name) for name in named}
    for name, one in named.items():
        setattr(owner, name, one)
    try:
        yield
    finally:
        for name, one in own.items():
            setattr(owner, name, one)
