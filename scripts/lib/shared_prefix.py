"""An lm-eval model that reads what many questions have in common only once.

lm-eval's `hf` model reads the worked examples of a subject anew for every question and computes
the vocabulary at every position. Here requests are grouped by the tokens they begin with; the
model reads that beginning once per group, goes on from its key-value cache with a batch of ends,
and meets the vocabulary only where an answer is scored. The log-probabilities are the same up to
rounding; tests compare them with `hf` request by request.

Everything is done through the model's own `forward`: its masks, sliding windows, positions and
logit caps apply unchanged. Rows are padded on the right, where a causal model never looks, as
lm-eval pads them.

Try it: lm_eval.api.registry.get_model("tunesmith-hf") once this module is imported.
"""

import copy
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

# (context text, continuation text), context tokens, continuation tokens.
Request = tuple[Any, list[int], list[int]]
# Log-probability of the continuation in nats, and whether greedy decoding would produce it.
Reply = tuple[float, bool]

# A shorter beginning, in tokens, costs a forward pass of its own and saves next to nothing.
_MIN_PREFIX = 32

# These kinds of rotary embedding choose their frequencies by the length of the whole input, which
# is not known yet when its beginning is read.
_ROPES_OF_LENGTH = {"dynamic", "longrope"}


@dataclass(frozen=True, kw_only=True)
class _Sequence:
    """What the model reads once, for all requests that differ in their last token only.

    Attributes:
        tokens: Context and continuation without its last token, which is only predicted.
        asked: Place of the request and its continuation's tokens, one per request.
        unscored: Number of leading tokens at which no request scores a prediction.
    """

    tokens: tuple[int, ...]
    asked: list[tuple[int, list[int]]]
    unscored: int


@register_model("tunesmith-hf")
class SharedPrefixLM(HFLM):  # type: ignore[misc]  # lm-eval has no types
    """lm-eval's `hf` model with log-likelihoods computed from shared beginnings.

    Generation and rolling log-likelihood are `hf`'s own. So is everything else that this way
    cannot do exactly: see `shares_prefixes`, and requests longer than the model's window.
    """

    def _loglikelihood_tokens(
        self,
        requests: list[Request],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[Reply]:
        if override_bs is not None or not self._can_answer(requests):
            inherited: list[Reply] = super()._loglikelihood_tokens(
                requests, disable_tqdm=disable_tqdm, override_bs=override_bs
            )
            return inherited
        found: dict[int, Reply] = {}
        for length, group in _groups(_sequences(requests)):
            found.update(self._answer_group(group, length))
        replies = [found[index] for index in range(len(requests))]
        for (texts, _, _), reply in zip(requests, replies, strict=True):
            if texts is not None:
                self.cache_hook.add_partial("loglikelihood", texts, reply)
        return replies

    def _can_answer(self, requests: Iterable[Request]) -> bool:
        return (
            self.backend == "causal"
            and isinstance(self.batch_size, int)
            and self.mixed_precision_dtype is None
            and shares_prefixes(self.model)
            and all(
                context and continuation and len(context) + len(continuation) <= self.max_length + 1
                for _, context, continuation in requests
            )
        )

    def _answer_group(self, group: Sequence[_Sequence], length: int) -> dict[int, Reply]:
        """Answer sequences that agree in their first *length* tokens."""
        # Longest first: a batch is padded little, and memory runs out at once or not at all.
        ordered = sorted(group, key=lambda sequence: -len(sequence.tokens))
        found: dict[int, Reply] = {}
        with torch.inference_mode():
            cache = self._read(group[0].tokens[:length]) if length else None
            for start in range(0, len(ordered), self.batch_size):
                batch = ordered[start : start + self.batch_size]
                found.update(self._answer_batch(batch, length, cache))
        return found

    def _read(self, tokens: Sequence[int]) -> DynamicCache:
        cache = DynamicCache(config=self.model.config)
        ids = torch.tensor([tokens], device=self.device)
        self.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return cache

    def _answer_batch(
        self, batch: Sequence[_Sequence], length: int, cache: DynamicCache | None
    ) -> dict[int, Reply]:
        ids = torch.zeros(len(batch), len(batch[0].tokens) - length, dtype=torch.long)
        for row, sequence in zip(ids, batch, strict=True):
            row[: len(sequence.tokens) - length] = torch.tensor(sequence.tokens[length:])
        scored = {at for s in batch for at in range(s.unscored - length, len(s.tokens) - length)}
        kept = sorted(scored)
        logits = self.model(
            input_ids=ids.to(self.device),
            past_key_values=None if cache is None else _repeated(cache, len(batch)),
            use_cache=cache is not None,
            logits_to_keep=torch.tensor(kept, device=self.device),
        ).logits  # (sequence, kept position, vocabulary)
        found: dict[int, Reply] = {}
        for row, sequence in zip(logits, batch, strict=True):
            # A sequence's own positions are consecutive, and so are their places among all kept.
            first = kept.index(sequence.unscored - length)
            own = row[first : first + len(sequence.tokens) - sequence.unscored]
            found.update(_judge(sequence, own, self.softmax_dtype or torch.float32))
        return found


def shares_prefixes(model: Any) -> bool:
    """Return whether a model can go on from a cached beginning and give the same numbers.

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


def _sequences(requests: Iterable[Request]) -> list[_Sequence]:
    """Return what has to be read, sorted by tokens: neighbours have the most in common."""
    asked: dict[tuple[int, ...], list[tuple[int, list[int]]]] = {}
    for index, (_, context, continuation) in enumerate(requests):
        tokens = (*context, *continuation[:-1])
        asked.setdefault(tokens, []).append((index, continuation))
    return [
        _Sequence(
            tokens=tokens,
            asked=asked[tokens],
            unscored=len(tokens) - max(len(continuation) for _, continuation in asked[tokens]),
        )
        for tokens in sorted(asked)
    ]


def _groups(sequences: Sequence[_Sequence]) -> Iterator[tuple[int, list[_Sequence]]]:
    """Yield groups and the number of leading tokens to read once for each; 0 for the loners."""
    loners: list[_Sequence] = []
    group: list[_Sequence] = []
    length = 0
    for sequence in sequences:
        shared = min(length, sequence.unscored)
        if group:
            shared = min(shared, _common(group[-1].tokens, sequence.tokens))
        # Joining makes the ends of the members so far longer by what the beginning loses, and
        # saves the newcomer the beginning.
        if shared >= _MIN_PREFIX and (len(group) - 1) * (length - shared) < shared:
            group.append(sequence)
            length = shared
            continue
        if len(group) > 1:
            yield length, group
        else:
            loners += group
        group, length = [sequence], sequence.unscored
    if len(group) > 1:
        yield length, group
    else:
        loners += group
    if loners:
        yield 0, loners


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many leading tokens two sequences have in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


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


def _judge(sequence: _Sequence, logits: Any, dtype: Any) -> Iterator[tuple[int, Reply]]:
    """Yield place and reply of every request; logits are (scored position, vocabulary)."""
    logprobs = torch.log_softmax(logits, dim=-1, dtype=dtype)
    greedy = logprobs.argmax(dim=-1)
    for index, continuation in sequence.asked:
        tokens = torch.tensor(continuation, device=logits.device)
        own = logprobs[-len(continuation) :].gather(-1, tokens.unsqueeze(-1))
        yield index, (float(own.sum()), bool((greedy[-len(continuation) :] == tokens).all()))
