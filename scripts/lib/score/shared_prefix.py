"""An lm-eval model that reads what many questions have in common only once.

lm-eval's `hf` model reads the few-shot examples of a subject anew for every question and computes
the vocabulary at every position. Here requests are grouped by the tokens they begin with; the
model reads that prefix once per group, goes on from its keys and values with the continuations of
many questions, and meets the vocabulary only where an answer is scored. The log-probabilities are
the same up to rounding; tests compare them with `hf` request by request.

On a processor the continuations lie one after the other in one row; where that cannot be, they are
a batch padded on the right, and everything is done through the model's own attention
(`scripts.lib.score.continuations`).

Try it: python -m scripts.tools.lm_eval run --model tunesmith-hf --help
"""

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import torch
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from transformers import DynamicCache
from transformers.utils.logging import tqdm

from scripts.lib.machine.memory_limits import Limits, free_bytes, limits_of
from scripts.lib.machine.out_of_memory import until_it_fits
from scripts.lib.questions.requests import (
    GreedyAnswer,
    GreedyRequest,
    ReferenceRequest,
    greedy_answers,
)
from scripts.lib.score.continuations import (
    NotPackableError,
    Prefix,
    has_open_attention,
    packs_on,
    read_cache,
    read_continuations,
    read_padded,
    read_prefix,
    shares_prefixes,
)
from scripts.lib.score.prefix_groups import (
    Request,
    TokenSequence,
    check_continuations,
    prefix_groups,
    token_sequences,
)

# Log-probability of the continuation in nats, and whether greedy decoding would produce it.
Loglikelihood = tuple[float, bool]

_Result = TypeVar("_Result")

# lm-eval encodes a question once more for each of its choices.
_RECENT_TEXTS = 4

# Sequences in a padded batch when lm-eval is told to find the number itself.
_PADDED_BATCH = 16


@register_model("tunesmith-hf")
class SharedPrefixLM(HFLM):  # type: ignore[misc]  # lm-eval has no types
    """lm-eval's `hf` model with log-likelihoods computed from shared prefixes.

    Generation and rolling log-likelihood are `hf`'s own. So is everything else that this way
    cannot do exactly: see `shares_prefixes`, and requests longer than the model's window.
    """

    def __init__(self, *args: Any, row_tokens: int | None = None, **options: Any) -> None:
        """Load the model as `hf` does.

        Args:
            args: As for `hf`.
            row_tokens: Most tokens in one forward pass; None to go by the free memory. When
                memory runs out it is halved.
            options: As for `hf`.
        """
        self._encode = functools.lru_cache(_RECENT_TEXTS)(super().tok_encode)
        super().__init__(*args, **options)
        device = torch.device(self.device)
        number_bytes = next(self.model.parameters()).element_size()
        fits = limits_of(self.config, device, number_bytes, free=free_bytes(device))
        self._limits = Limits(row_tokens, fits.scored) if row_tokens else fits
        self._packs = packs_on(device) and has_open_attention(self.model)
        self._prefix: Prefix | None = None

    def _loglikelihood_tokens(
        self,
        requests: list[Request],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[Loglikelihood]:
        check_continuations(requests)
        shares = override_bs is None and self._shares()
        ours = [(at, r) for at, r in enumerate(requests) if shares and self._fits(r)]
        found = dict[int, Loglikelihood]()
        bar = tqdm(total=len(ours), disable=disable_tqdm or not ours or self.rank != 0)
        for length, group in prefix_groups(token_sequences(ours)):
            for replies in self._answer_group(group, length):
                found.update(replies)
                bar.update(len(replies))
        bar.close()
        for at, (texts, _, _) in ours:
            if texts is not None:
                self.cache_hook.add_partial("loglikelihood", texts, found[at])
        rest = [at for at in range(len(requests)) if at not in found]
        inherited = self._by_hf([requests[at] for at in rest], disable_tqdm, override_bs)
        found.update(zip(rest, inherited, strict=True))
        return [found[at] for at in range(len(requests))]

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Generate as `hf` does; when memory runs out, again with half the batch."""
        inherited = super().generate_until
        return self._by_batches(lambda: inherited(requests, disable_tqdm=disable_tqdm))

    def reference_likelihoods(
        self, requests: Sequence[ReferenceRequest], disable_tqdm: bool = False
    ) -> list[float]:
        """Return the log-probability (nats) of each given answer.

        Args:
            requests: Tokens of contexts and answers.
            disable_tqdm: As for `hf`.
        """
        tokens: list[Request] = [(None, list(r.context), list(r.answer)) for r in requests]
        return [logprob for logprob, _ in self._loglikelihood_tokens(tokens, disable_tqdm)]

    def greedy_answers(
        self, requests: Sequence[GreedyRequest], disable_tqdm: bool = False
    ) -> list[GreedyAnswer]:
        """Generate strictly greedy answers that say whether they ended.

        Args:
            requests: Rendered prompts, and how long an answer may become.
            disable_tqdm: As for `hf`; there is no bar.
        """
        found = dict[int, GreedyAnswer]()
        for length in {request.max_new_tokens for request in requests}:
            asked = [at for at, r in enumerate(requests) if r.max_new_tokens == length]
            answers = greedy_answers(
                self.model,
                self.tokenizer,
                [requests[at].tokens or requests[at].prompt for at in asked],
                ends=self._ends(),
                max_new_tokens=length,
                batch_size=self._most_padded(),
            )
            found.update(zip(asked, answers, strict=True))
        return [found[at] for at in range(len(requests))]

    def _ends(self) -> list[int]:
        declared = self.model.generation_config.eos_token_id
        return list(declared) if isinstance(declared, list) else [declared]

    def tok_encode(self, string: str, *args: Any, **options: Any) -> list[int]:
        """Encode as `hf` does, a text that was just encoded at no cost."""
        return list(self._encode(string, *args, **options))

    def _by_hf(
        self, requests: list[Request], disable_tqdm: bool, override_bs: int | None
    ) -> list[Loglikelihood]:
        inherited = super()._loglikelihood_tokens
        return self._by_batches(
            lambda: inherited(requests, disable_tqdm=disable_tqdm, override_bs=override_bs)
        )

    def _shares(self) -> bool:
        return (
            self.backend == "causal"
            and self.mixed_precision_dtype is None
            and shares_prefixes(self.model)
        )

    def _fits(self, request: Request) -> bool:
        _, context, continuation = request
        return bool(
            context and continuation and len(context) + len(continuation) <= self.max_length + 1
        )

    def _answer_group(
        self, group: Sequence[TokenSequence], length: int
    ) -> Iterator[dict[int, Loglikelihood]]:
        """Answer sequences that agree in their first *length* tokens."""
        # Longest first: padding is little, and what cannot be packed is known at once.
        ordered = sorted(group, key=lambda sequence: -len(sequence.tokens))
        if self._packs:
            with suppress(NotPackableError):
                prefix = self._read_prefix(ordered[0].tokens[:length]) if length else None
                yield from self._answer_rows(
                    ordered, length, functools.partial(self._read_row, prefix), packed=True
                )
                return
        cache = read_cache(self.model, ordered[0].tokens[:length]) if length else None
        read = functools.partial(self._read_batch, length, cache)
        yield from self._answer_rows(ordered, length, read, packed=False)

    def _answer_rows(
        self,
        waiting: Sequence[TokenSequence],
        length: int,
        read: Callable[[Sequence[TokenSequence]], dict[int, Loglikelihood]],
        *,
        packed: bool,
    ) -> Iterator[dict[int, Loglikelihood]]:
        def read_next(size: int) -> dict[int, Loglikelihood]:
            return read(waiting[:size])

        def row_size() -> int:
            return self._row_size(waiting, length, packed=packed)

        smaller = functools.partial(self._smaller, row_size)
        while waiting:
            replies, size = until_it_fits(read_next, row_size(), smaller)
            yield replies
            waiting = waiting[size:]

    def _row_size(self, waiting: Sequence[TokenSequence], length: int, *, packed: bool) -> int:
        """Return how many of *waiting*, longest first, are read at once; at least one."""
        widest = len(waiting[0].tokens) - length
        tokens, scored = 0, 0
        for size, sequence in enumerate(waiting):
            tokens += len(sequence.tokens) - length if packed else widest
            scored += sequence.scored
            if size and (tokens > self._limits.tokens or scored > self._limits.scored):
                return size
            if not packed and size == self._most_padded():
                return size
        return len(waiting)

    def _most_padded(self) -> int:
        return self.batch_size if isinstance(self.batch_size, int) else _PADDED_BATCH

    def _read_prefix(self, tokens: tuple[int, ...]) -> Prefix:
        if not self._prefix or self._prefix.tokens != tokens:
            self._prefix = read_prefix(self.model, tokens)
        return self._prefix

    def _read_row(
        self, prefix: Prefix | None, row: Sequence[TokenSequence]
    ) -> dict[int, Loglikelihood]:
        length = len(prefix.tokens) if prefix else 0
        logits = read_continuations(
            self.model, prefix, [s.tokens[length:] for s in row], [s.scored for s in row]
        )
        return self._graded(row, logits.split([s.scored for s in row]))

    def _read_batch(
        self, length: int, cache: DynamicCache | None, batch: Sequence[TokenSequence]
    ) -> dict[int, Loglikelihood]:
        continuations = [sequence.tokens[length:] for sequence in batch]
        logits = read_padded(self.model, cache, continuations, [s.scored for s in batch])
        return self._graded(batch, logits)

    def _graded(
        self, sequences: Sequence[TokenSequence], logits: Sequence[Any]
    ) -> dict[int, Loglikelihood]:
        dtype = self.softmax_dtype or torch.float32
        return {
            index: reply
            for sequence, own in zip(sequences, logits, strict=True)
            for index, reply in _grade(sequence, own, dtype)
        }

    def _by_batches(self, attempt: Callable[[], list[_Result]]) -> list[_Result]:
        """Return what *attempt* gives, after as many tries as halving the batch allows."""
        # lm-eval's own choice ("auto") is not ours to halve.
        size = self.batch_size if isinstance(self.batch_size, int) else 1
        smaller = functools.partial(self._smaller, lambda: self.batch_size)
        found, _ = until_it_fits(lambda _: attempt(), size, smaller)
        return found

    def _smaller(self, size_now: Callable[[], int], size: int, _: str) -> int | None:
        """Halve what is read at once, and return how much that makes of the next try.

        Args:
            size_now: Tells the size of the next try.
            size: Of the last try; nothing is smaller than 1.
        """
        if size == 1:
            return None
        self._halve()
        return size_now()

    def _halve(self) -> None:
        self._limits = self._limits.halved()
        if isinstance(self.batch_size, int):
            self.batch_size_per_gpu = max(1, self.batch_size // 2)
        print(
            f"out of memory: now {self._limits.tokens} tokens or {self._most_padded()} sequences "
            "at once",
            file=sys.stderr,
        )


def _grade(sequence: TokenSequence, logits: Any, dtype: Any) -> Iterator[tuple[int, Loglikelihood]]:
    """Yield place and reply of every request; logits are (scored position, vocabulary)."""
    logprobs = torch.log_softmax(logits, dim=-1, dtype=dtype)
    greedy = logprobs.argmax(dim=-1)
    for index, continuation in sequence.asked:
        tokens = torch.tensor(continuation, device=logits.device)
        own = logprobs[-len(continuation) :].gather(-1, tokens.unsqueeze(-1))
        yield index, (float(own.sum()), bool((greedy[-len(continuation) :] == tokens).all()))
