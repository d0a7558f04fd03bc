"""Continuations of one prefix that was read before, packed in a row.

A row holds several continuations one after the other, without padding. In every layer a token
attends to the prefix, which all of them share, and to its own continuation up to itself
(`scripts.lib.attention.kernels`). The model's own `forward` does everything else. It reaches this
module through transformers' attention interface, which every model written for it calls once in
each layer.
"""

import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel

from scripts.lib.attention.families import is_plain, window_of
from scripts.lib.attention.kernels import Kernels, Segments, after
from scripts.lib.attention.selection import KERNELS, kernels_for

# What models hand to their attention that changes nothing here: positions are in the keys and
# queries already, and a row has no cache.
_HARMLESS = {
    "cache_position",
    "is_causal",
    "layer_idx",
    "output_attentions",
    "output_hidden_states",
    "position_embeddings",
    "position_ids",
    "return_dict",
    "sliding_window",
    "use_cache",
}

_NAME = "tunesmith_packed"


class NotPackableError(Exception):
    """The model's attention is more than softmax over its own past; read it another way."""


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """Tokens that were read, and what later tokens attend to.

    Attributes:
        tokens: The tokens.
        layers: Keys and values of each layer, each (1, key-value heads, tokens, width).
    """

    tokens: tuple[int, ...]
    layers: tuple[tuple[Any, Any], ...]


@dataclass(kw_only=True)
class _Row:
    """What the attention of one forward pass has to know, and what it keeps.

    Attributes:
        segments: Of the row.
        prefix: What all of them begin with, or None.
        keeps: Whether keys and values outlive their layer.
        layers: Those that were kept.
        layer: Which layer is next.
    """

    segments: Segments
    prefix: Prefix | None
    keeps: bool = True
    layers: list[tuple[Any, Any]] = field(default_factory=list)
    layer: int = 0

    @property
    def reach(self) -> int:
        """Length of the longest sequence, its prefix included, in tokens."""
        return self.segments.longest + (len(self.prefix.tokens) if self.prefix else 0)


_ROW: ContextVar[_Row] = ContextVar("row")


def packing_kernels(model: PreTrainedModel) -> Kernels | None:
    """Return what attends to packed rows of a model on its device, or None where none can.

    Args:
        model: A causal model.
    """
    plain = isinstance(model, PreTrainedModel) and is_plain(model.config)
    if not plain or not has_open_attention(model):
        return None
    return kernels_for(model.config, model.device, model.dtype, gradients=False)


def has_open_attention(model: PreTrainedModel) -> bool:
    """Return whether the model attends through the interface and takes positions from outside.

    Positions are counted from 0 here; RoBERTa and its kin, which know them by this method, begin
    after the number of their padding token.
    """
    return bool(
        getattr(model, "_supports_attention_backend", False)
        and "position_ids" in inspect.signature(model.forward).parameters
        and not any(hasattr(part, "create_position_ids_from_input_ids") for part in model.modules())
    )


def read_prefix(
    model: PreTrainedModel, tokens: Sequence[int], before: Prefix | None = None
) -> Prefix:
    """Read *tokens* and keep what sequences that begin with them attend to.

    Args:
        model: A causal model.
        tokens: What is read.
        before: What stands before it, or None; it is part of what is returned.

    Raises:
        NotPackableError: This way would not give the model's own numbers.
    """
    row = _Row(segments=Segments.of([len(tokens)], model.device), prefix=before)
    past = len(before.tokens) if before else 0
    places = list(range(past, past + len(tokens)))
    _forward(model, row, tokens, places, kept=[len(tokens) - 1])
    if before is None:
        return Prefix(tokens=tuple(tokens), layers=tuple(row.layers))
    layers = tuple(
        (torch.cat([key, own_key], dim=2), torch.cat([value, own_value], dim=2))
        for (key, value), (own_key, own_value) in zip(before.layers, row.layers, strict=True)
    )
    return Prefix(tokens=(*before.tokens, *tokens), layers=layers)


def read_continuations(
    model: PreTrainedModel,
    prefix: Prefix | None,
    continuations: Sequence[Sequence[int]],
    scored: Sequence[int],
) -> Any:
    """Read the continuations of a prefix in one row.

    Args:
        model: A causal model.
        prefix: What all of them begin with, or None.
        continuations: The tokens after it, at least one for each sequence.
        scored: At how many of its last positions each sequence needs the vocabulary.

    Returns:
        Logits (sum of *scored*, vocabulary), sequence after sequence.

    Raises:
        NotPackableError: This way would not give the model's own numbers.
    """
    return _read_row(model, prefix, continuations, scored, keeps=False)[0]


def read_row_cache(
    model: PreTrainedModel, prefix: Prefix | None, continuations: Sequence[Sequence[int]]
) -> tuple[Any, list[list[tuple[Any, Any]]]]:
    """Read the continuations of a prefix in one row, to go on from each.

    Args:
        model: A causal model.
        prefix: What all of them begin with, or None.
        continuations: The tokens after it, at least one for each sequence.

    Returns:
        Logits of what follows each, (sequences, vocabulary); and of each the keys and values of
        every layer, (key-value heads, tokens, width).

    Raises:
        NotPackableError: This way would not give the model's own numbers.
    """
    scored = [1] * len(continuations)
    logits, row = _read_row(model, prefix, continuations, scored, keeps=True)
    stops = itertools.accumulate(row.segments.lengths)
    places = [
        slice(stop - own, stop) for stop, own in zip(stops, row.segments.lengths, strict=True)
    ]
    return logits, [[(k[0, :, at], v[0, :, at]) for k, v in row.layers] for at in places]


def _read_row(
    model: PreTrainedModel,
    prefix: Prefix | None,
    continuations: Sequence[Sequence[int]],
    scored: Sequence[int],
    *,
    keeps: bool,
) -> tuple[Any, _Row]:
    lengths = [len(own) for own in continuations]
    row = _Row(segments=Segments.of(lengths, model.device), prefix=prefix, keeps=keeps)
    first = len(prefix.tokens) if prefix else 0
    positions = [first + at for own in continuations for at in range(len(own))]
    kept, stop = list[int](), 0
    for own, count in zip(continuations, scored, strict=True):
        stop += len(own)
        kept += range(stop - count, stop)
    tokens = [token for own in continuations for token in own]
    return _forward(model, row, tokens, positions, kept=kept), row


def _forward(
    model: PreTrainedModel,
    row: _Row,
    tokens: Sequence[int],
    positions: Sequence[int],
    *,
    kept: Sequence[int],
) -> Any:
    # Some models have a window in their masks only, of which their attention is told nothing.
    window = window_of(model.config)
    if window and window < row.reach:
        raise NotPackableError
    with attending_by(_NAME, model), torch.inference_mode():
        reading = _ROW.set(row)
        try:
            logits = model(
                input_ids=torch.tensor([tokens], device=model.device),
                position_ids=torch.tensor([positions], device=model.device),
                use_cache=False,
                logits_to_keep=torch.tensor(kept, device=model.device),
            ).logits[0]
        finally:
            _ROW.reset(reading)
    # A layer that does not attend through the interface has seen the row as one long text.
    if row.layer != model.config.get_text_config(decoder=True).num_hidden_layers:
        raise NotPackableError
    return logits


@contextmanager
def attending_by(name: str, model: PreTrainedModel) -> Iterator[None]:
    """Let a model attend by what transformers knows by a name, and then as before.

    The config is told, where each layer looks. The model's own method walks all modules besides,
    some twenty times as long, and this happens for every row and every generated token. A model
    that does not look there is found by the layers that were counted.
    """
    own = model.config._attn_implementation
    model.config._attn_implementation = name
    try:
        yield
    finally:
        model.config._attn_implementation = own


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
    """Attend to the prefix and to the own past; the form is transformers'.

    Args:
        module: The attention layer.
        query: (1, heads, tokens, width).
        key: (1, key-value heads, tokens, width).
        value: As *key*.
        attention_mask: None, as the model builds no mask for an attention of this name.
        scaling: Factor of the products; None for one over the root of the width.
        dropout: 0.
        told: What else the model says; all of it must be known not to matter.

    Returns:
        (1, tokens, heads, width), and no weights.
    """
    row = _ROW.get()
    check_plain(
        module,
        query,
        key,
        value,
        attention_mask,
        dropout,
        told,
        tokens=sum(row.segments.lengths),
        reach=row.reach,
    )
    past = row.prefix.layers[row.layer] if row.prefix else None
    row.layer += 1
    if row.keeps:
        row.layers.append((_alone(key), _alone(value)))
    kernels = KERNELS[query.device.type]
    attended = after(kernels, query, key, value, row.segments, scaling, past)
    # As transformers' own do: some models view it in another shape.
    return attended.transpose(1, 2).contiguous(), None


def _alone(tensor: Any) -> Any:
    """Return a tensor that keeps nothing else in memory, as a view of a fused projection would."""
    return tensor if tensor.untyped_storage().nbytes() <= tensor.nbytes else tensor.clone()


def check_plain(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    mask: Any,
    dropout: float,
    told: Mapping[str, Any],
    *,
    tokens: int,
    reach: int,
) -> None:
    """Make sure that a layer's attention is softmax over a row's own past and nothing else.

    Args:
        module: The layer; with the following what transformers hands to its attention.
        query: (1, heads, tokens, width).
        key: (1, key-value heads, tokens, width).
        value: As *key*.
        mask: As built for the attention's name.
        dropout: Fraction of the weights.
        told: What else the model says.
        tokens: Length of the row.
        reach: Length of the longest sequence, its prefix included, in tokens.

    Raises:
        NotPackableError: It is something else.
    """
    window = told.get("sliding_window")
    # What is off, as a wish for the routes of experts, asks for nothing.
    unknown = {name for name, said in told.items() if said is not None and said is not False}
    unknown -= _HARMLESS
    plain = (
        not unknown
        and mask is None
        and not dropout
        and told.get("is_causal", getattr(module, "is_causal", True)) is not False
        and (window is None or window >= reach)
        and query.shape[0] == 1
        and query.shape[2] == key.shape[2] == tokens
        and query.shape[-1] == key.shape[-1] == value.shape[-1]
        and query.dtype == key.dtype == value.dtype
    )
    if not plain:
        raise NotPackableError


AttentionInterface.register(_NAME, _attend)
