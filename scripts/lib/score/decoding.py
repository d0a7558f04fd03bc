"""Decoding many sequences at once: a token each, after prefixes that several of them share.

A sequence is a prefix, which was read once and is kept once, and the keys and values of its own, in
a slot of a buffer. In every layer the new token attends to both; the two attentions are computed
apart and merged by the logarithms of their sums of exponentials, as
`scripts.lib.score.continuations` does for texts that are read. The queries of all sequences of a
prefix meet its keys in one product. The buffer grows by blocks, and who has ended leaves its slot
to the last: no cache is copied in between.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel

from scripts.lib.score.continuations import NotPackableError, Prefix, attending_by, check_plain

# Tokens by which the buffer grows: a copy of all that is in it every so many steps at most.
_BLOCK_TOKENS = 64

_NAME = "tunesmith_decoding"


class Slots:
    """Keys and values of the sequences that are being decoded, without their prefixes.

    Attributes:
        lengths: How many tokens each slot in use holds; these are the first ones.
        layers: Keys and values of each layer, each (slots, key-value heads, tokens, width).
    """

    def __init__(self) -> None:
        """Begin with no slot; the shapes come with the first sequence."""
        self.lengths = list[int]()
        self.layers = list[tuple[Any, ...]]()

    @property
    def capacity(self) -> int:
        """How many tokens a slot can hold."""
        return min((keys.shape[2] for keys, _ in self.layers), default=0)

    @property
    def token_bytes(self) -> int:
        """What one token of one sequence takes, in bytes."""
        return sum(
            tensor[:1, :, :1].numel() * tensor.element_size()
            for layer in self.layers
            for tensor in layer
        )

    def add(self, sequences: Sequence[Sequence[tuple[Any, Any]]]) -> None:
        """Put sequences into slots of their own.

        Args:
            sequences: Of each, keys and values of every layer, (key-value heads, tokens, width).
        """
        used = len(self.lengths)
        lengths = [layers[0][0].shape[1] for layers in sequences]
        self._reserve(used + len(sequences), max(self.lengths + lengths) + 1, like=sequences[0])
        for at, (layers, length) in enumerate(zip(sequences, lengths, strict=True), start=used):
            for (keys, values), (own_keys, own_values) in zip(self.layers, layers, strict=True):
                keys[at, :, :length], values[at, :, :length] = own_keys, own_values
        self.lengths += lengths

    def make_room(self) -> None:
        """Let every slot in use hold one more token."""
        self._reserve(len(self.lengths), max(self.lengths) + 1)

    def drop(self, at: int) -> None:
        """Free a slot; the last one in use moves there."""
        last = len(self.lengths) - 1
        if at != last:
            length = self.lengths[last]
            for tensor in (tensor for layer in self.layers for tensor in layer):
                tensor[at, :, :length] = tensor[last, :, :length]
            self.lengths[at] = length
        self.lengths.pop()

    def shrink(self, slots: int) -> None:
        """Give up all but the first *slots*, among which all in use are."""
        for number, layer in enumerate(self.layers):
            if layer[0].shape[0] > slots:
                self.layers[number] = tuple(own[:slots].clone() for own in layer)

    def _reserve(self, slots: int, tokens: int, *, like: Sequence[tuple[Any, Any]] = ()) -> None:
        if not self.layers:
            self.layers = [
                tuple(own.new_zeros(0, own.shape[0], 0, own.shape[2]) for own in layer)
                for layer in like
            ]
        used, filled = len(self.lengths), max(self.lengths, default=0)
        for number, layer in enumerate(self.layers):
            held, room = layer[0].shape[0], layer[0].shape[2]
            if slots <= held and tokens <= room:
                continue
            # Layer by layer: what is given up makes room for what follows. Zeros, as what is hidden
            # still has to be a number. No more than is asked for: who ended or waits needs none.
            grown = tuple(
                own.new_zeros(slots, own.shape[1], blocks(tokens), own.shape[3]) for own in layer
            )
            for old, new in zip(layer, grown, strict=True):
                new[:used, :, :filled] = old[:used, :, :filled]
            self.layers[number] = grown


def blocks(tokens: int) -> int:
    """Return *tokens* rounded up to what a slot takes."""
    return -(-tokens // _BLOCK_TOKENS) * _BLOCK_TOKENS


@dataclass(kw_only=True)
class _Step:
    """What the attention of one step has to know.

    Attributes:
        slots: With room for a token more.
        prefixes: Each prefix and the slots that begin with it; None for all slots.
        places: Number of each slot, and the place of its new token.
        bias: 0 where a slot holds a token, else minus infinity: (slots, 1, 1, tokens).
        reach: Length of the longest sequence with its prefix, in tokens.
        attend: The kernel.
        layer: Which layer is next.
    """

    slots: Slots
    prefixes: list[tuple[Prefix, Any]]
    places: tuple[Any, Any]
    bias: Any
    reach: int
    attend: Callable[..., tuple[Any, Any]]
    layer: int = field(default=0)


_STEP: ContextVar[_Step] = ContextVar("step")


def read_next(
    model: PreTrainedModel, slots: Slots, prefixes: Sequence[Prefix | None], tokens: Sequence[int]
) -> Any:
    """Read one more token of every sequence, keep its keys and values, and return what follows.

    Args:
        model: A causal model for which `shares_prefixes` and `has_open_attention` hold.
        slots: What was read of each sequence after its prefix. Where this raises, nothing of it
            has changed but its room.
        prefixes: What each begins with, or None.
        tokens: The new token of each.

    Returns:
        Logits (sequences, vocabulary).

    Raises:
        NotPackableError: This way would not give the model's own numbers.
    """
    slots.make_room()
    device = model.device
    lengths = torch.tensor(slots.lengths, device=device)
    firsts = [len(prefix.tokens) if prefix else 0 for prefix in prefixes]
    positions = [first + length for first, length in zip(firsts, slots.lengths, strict=True)]
    width = max(slots.lengths) + 1
    hidden = torch.arange(width, device=device) > lengths.unsqueeze(1)
    bias = torch.zeros(hidden.shape, dtype=model.dtype, device=device)
    step = _Step(
        slots=slots,
        prefixes=_sharers(prefixes, device),
        places=(torch.arange(len(tokens), device=device), lengths),
        bias=bias.masked_fill_(hidden, float("-inf"))[:, None, None],
        reach=max(positions) + 1,
        attend=_flash if device.type == "cpu" else attend_by_products,
    )
    with attending_by(_NAME, model), torch.inference_mode():
        stepping = _STEP.set(step)
        try:
            logits = model(
                input_ids=torch.tensor([list(tokens)], device=device),
                position_ids=torch.tensor([positions], device=device),
                use_cache=False,
            ).logits[0]
        finally:
            _STEP.reset(stepping)
    if step.layer != len(slots.layers):
        raise NotPackableError
    slots.lengths = [length + 1 for length in slots.lengths]
    return logits


def _sharers(prefixes: Sequence[Prefix | None], device: torch.device) -> list[tuple[Prefix, Any]]:
    """Return each prefix with the places where it stands, None for everywhere."""
    places = dict[int, list[int]]()
    for at, prefix in enumerate(prefixes):
        if prefix:
            places.setdefault(id(prefix), []).append(at)
    return [
        (
            prefixes[own[0]],  # type: ignore[misc]
            None if len(own) == len(prefixes) else torch.tensor(own, device=device),
        )
        for own in places.values()
    ]


def _attend(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: float | None = None,
    dropout: float = 0.0,
    **told: Any,
) -> tuple[Any, None]:
    """Let the new token of every sequence attend to its prefix and its slot; see `_STEP`.

    Args:
        module: The attention layer.
        query: (1, heads, sequences, width).
        key: (1, key-value heads, sequences, width).
        value: As *key*.
        attention_mask: None, as the model builds no mask for an attention of this name.
        scaling: Factor of the products; None for one over the root of the width.
        dropout: 0.
        told: What else the model says; all of it must be known not to matter.

    Returns:
        (1, sequences, heads, width), and no weights.
    """
    step = _STEP.get()
    check_plain(
        module,
        query,
        key,
        value,
        attention_mask,
        dropout,
        told,
        tokens=len(step.slots.lengths),
        reach=step.reach,
    )
    if step.layer == len(step.slots.layers):
        raise NotPackableError
    layer, step.layer = step.layer, step.layer + 1
    keys, values = step.slots.layers[layer]
    # What a model caches may be what its keys and values are made from.
    if (keys.shape[1::2], values.shape[1::2]) != (key.shape[1::2], value.shape[1::2]):
        raise NotPackableError
    slots, places = step.places
    keys[slots, :, places], values[slots, :, places] = (
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
    )
    count, width = step.bias.shape[0], step.bias.shape[-1]
    # Heads that share keys are queries of one: (sequences, key-value heads, queries, width).
    asking = query[0].transpose(0, 1).unflatten(1, (key.shape[1], -1))
    own, own_sums = step.attend(
        asking, keys[:count, :, :width], values[:count, :, :width], step.bias, scaling
    )
    for prefix, at in step.prefixes:
        past, past_sums = _attend_prefix(step, prefix.layers[layer], asking, at, scaling)
        weight = torch.sigmoid(past_sums - (own_sums if at is None else own_sums[at])).unsqueeze(-1)
        if at is None:
            own = torch.lerp(own, past, weight.to(own.dtype))
        else:
            own[at] = torch.lerp(own[at], past, weight.to(own.dtype))
    return own.reshape(1, count, query.shape[1], -1), None


def _attend_prefix(
    step: _Step, layer: tuple[Any, Any], asking: Any, at: Any, scaling: float | None
) -> tuple[Any, Any]:
    """Return attention to a prefix, (sequences, key-value heads, queries, width), and its sums."""
    asking = asking if at is None else asking[at]
    together = asking.transpose(0, 1)  # (key-value heads, sequences, queries, width)
    past, sums = step.attend(together.flatten(1, 2).unsqueeze(0), *layer, None, scaling)
    apart = together.shape[1:3]
    return past[0].unflatten(1, apart).transpose(0, 1), sums[0].unflatten(1, apart).transpose(0, 1)


def _flash(query: Any, keys: Any, values: Any, bias: Any, scaling: float | None) -> tuple[Any, Any]:
    """As `attend_by_products`, by the processor's kernel."""
    found: tuple[Any, Any] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, keys, values, 0.0, False, attn_mask=bias, scale=scaling
    )
    return found


def attend_by_products(
    query: Any, keys: Any, values: Any, bias: Any, scaling: float | None
) -> tuple[Any, Any]:
    """Attend by two products and a softmax between them, anywhere.

    Args:
        query: (batch, heads, queries, width).
        keys: (batch, heads, tokens, width).
        values: As *keys*.
        bias: What is added to the products, (batch, 1, 1, tokens), or None.
        scaling: Factor of the products; None for one over the root of the width.

    Returns:
        What is attended to, in the form of *query*, and the logarithms of the sums of exponentials
        in float32, (batch, heads, queries).
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    products = (query @ keys.transpose(-1, -2)).float() * scale
    if bias is not None:
        products += bias
    sums = products.logsumexp(-1)
    return (products - sums.unsqueeze(-1)).exp().to(values.dtype) @ values, sums


AttentionInterface.register(_NAME, _attend)
