"""Continuations of one prefix that was read before, as a batch padded on the right.

A causal model never looks there. Everything is done through the model's own `forward` and cache:
its masks, sliding windows, positions and logit caps apply unchanged.
"""

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from scripts.lib.score.continuations import Prefix

# These kinds of rotary embedding choose their frequencies by the length of the whole input, which
# is not known yet when its prefix is read.
_ROPES_OF_LENGTH = {"dynamic", "longrope"}


def shares_prefixes(model: Any) -> bool:
    """Return whether a model can go on from a cached prefix and give the same numbers.

    It can when it is a plain causal model of transformers whose layers all attend, fully or in a
    sliding window. Adapters that are not merged, wrapped models, recurrent or linear layers,
    chunked attention, attention in both directions, and rotary embeddings that depend on the
    input's length are left to `hf`.
    """
    if not isinstance(model, PreTrainedModel) or model._is_stateful:
        return False
    config = model.config.get_text_config(decoder=True)
    if not set(getattr(config, "layer_types", None) or ()) <= {
        "full_attention",
        "sliding_attention",
    }:
        return False
    return (
        {"past_key_values", "logits_to_keep"} <= inspect.signature(model.forward).parameters.keys()
        and model._supports_default_dynamic_cache()
        and all(
            type(layer) in (DynamicLayer, DynamicSlidingWindowLayer)
            for layer in DynamicCache(config=model.config).layers
        )
        and getattr(config, "is_causal", True)
        and not getattr(config, "use_bidirectional_attention", False)
        and not _ROPES_OF_LENGTH & _rope_types(getattr(config, "rope_parameters", None) or {})
    )


def _rope_types(parameters: Mapping[str, Any]) -> set[Any]:
    """Return the kinds of rotary embedding, which a config may give per kind of layer."""
    nested = [value for value in parameters.values() if isinstance(value, Mapping)]
    return {rope.get("rope_type") for rope in (parameters, *nested)}


def read_cache(
    model: PreTrainedModel, tokens: Sequence[int], before: DynamicCache | None = None
) -> DynamicCache:
    """Read *tokens* and return the cache to go on from.

    Args:
        model: A causal model for which `shares_prefixes` holds.
        tokens: What is read.
        before: The cache of what stands before it, or None; not changed.
    """
    cache = _repeated(before, 1) if before else DynamicCache(config=model.config)
    ids = torch.tensor([tokens], device=model.device)
    with torch.inference_mode():
        model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return cache


def read_padded(
    model: PreTrainedModel,
    cache: DynamicCache | None,
    continuations: Sequence[Sequence[int]],
    scored: Sequence[int],
) -> list[Any]:
    """Read the continuations of a prefix as one batch.

    Args:
        model: A causal model for which `shares_prefixes` holds.
        cache: What all of them begin with, or None; not changed.
        continuations: The tokens after it, at least one for each sequence.
        scored: At how many of its last positions each sequence needs the vocabulary.

    Returns:
        Logits of each sequence, (scored positions, vocabulary).
    """
    grown = None if cache is None else _repeated(cache, len(continuations))
    return _read(model, grown, continuations, scored)


def read_padded_cache(
    model: PreTrainedModel, prefix: Prefix | None, continuations: Sequence[Sequence[int]]
) -> tuple[Any, list[list[tuple[Any, Any]]]]:
    """Read the continuations of a prefix as one batch, to go on from each.

    As `scripts.lib.score.continuations.read_row_cache`, through the model's own attention.
    """
    cache = DynamicCache(config=model.config)
    first = 0
    for number, layer in enumerate(prefix.layers if prefix else ()):
        cache.update(*(own.expand(len(continuations), -1, -1, -1) for own in layer), number)
        first = layer[0].shape[2]
    logits = _read(model, cache, continuations, [1] * len(continuations))
    stops = [first + len(own) for own in continuations]
    return torch.cat(logits), [
        [(layer.keys[at, :, first:stop], layer.values[at, :, first:stop]) for layer in cache.layers]
        for at, stop in enumerate(stops)
    ]


def _read(
    model: PreTrainedModel,
    cache: DynamicCache | None,
    continuations: Sequence[Sequence[int]],
    scored: Sequence[int],
) -> list[Any]:
    """Read continuations after a cache of as many rows, which grows; see `read_padded`."""
    ids = torch.zeros(len(continuations), max(len(own) for own in continuations), dtype=torch.long)
    for row, own in zip(ids, continuations, strict=True):
        row[: len(own)] = torch.tensor(own)
    firsts = [len(own) - count for own, count in zip(continuations, scored, strict=True)]
    kept = sorted(
        {
            at
            for first, own in zip(firsts, continuations, strict=True)
            for at in range(first, len(own))
        }
    )
    with torch.inference_mode():
        logits = model(
            input_ids=ids.to(model.device),
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=torch.tensor(kept, device=model.device),
        ).logits  # (sequence, kept position, vocabulary)
    # A sequence's own positions are consecutive, and so are their places among all kept.
    places = [kept.index(first) for first in firsts]
    return [
        row[place : place + count] for row, place, count in zip(logits, places, scored, strict=True)
    ]


def _repeated(cache: DynamicCache, count: int) -> DynamicCache:
    """Return a cache of *count* equal rows that grows without touching the one it is made of.

    The rows are views of one; a dynamic layer makes its own tensors when it grows.
    """
    repeated = copy.copy(cache)
    repeated.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in repeated.layers:
        if layer.is_initialized:
            layer.keys = layer.keys.expand(count, -1, -1, -1)
            layer.values = layer.values.expand(count, -1, -1, -1)
    return repeated
