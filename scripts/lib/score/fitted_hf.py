"""lm-eval's `hf` model, asked in batches that fit into memory.

lm-eval takes one number of sequences for texts of all lengths, and ends when memory runs out. Here
its own code answers, but batch by batch: each holds what memory does, by its longest text, and what
runs out of memory is asked again in halves. What was answered is not asked again.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs
from transformers.utils.logging import tqdm

from scripts.lib.machine.bfloat16 import fast_products
from scripts.lib.score.batches import SAMPLED_ANSWERS, Batches
from scripts.lib.score.likelihoods import Loglikelihood
from scripts.lib.score.memory import Need
from scripts.lib.score.prefix_groups import (
    Request,
    TokenSequence,
    check_continuations,
    token_sequences,
)

# lm-eval's code gets what is a batch already.
_WHATEVER_COMES = 2**31


class FittedHFLM(HFLM):  # type: ignore[misc]  # lm-eval has no types
    """lm-eval's `hf` model in batches that fit into memory.

    A number of sequences (`batch_size`, or `max_batch_size` with `batch_size=auto`) is the most
    that a batch holds; with `auto` alone memory decides.
    """

    def __init__(
        self,
        *args: Any,
        max_batch_size: int | None = None,
        row_tokens: int | None = None,
        **options: Any,
    ) -> None:
        """Load the model as `hf` does.

        Args:
            args: As for `hf`.
            max_batch_size: Most sequences in a batch, where `batch_size` is `auto`.
            row_tokens: Most tokens in one forward pass; None for as many as are read faster
                together.
            options: As for `hf`.
        """
        super().__init__(*args, **options)
        most = self.batch_size if isinstance(self.batch_size, int) else max_batch_size
        self._batches = Batches(self.model, most, row_tokens)

    @fast_products
    def _loglikelihood_tokens(
        self,
        requests: list[Request],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[Loglikelihood]:
        check_continuations(requests)
        inherited = super()._loglikelihood_tokens
        found = dict[int, Loglikelihood]()
        bar = tqdm(total=len(requests), disable=disable_tqdm or self.rank != 0)

        def ask(batch: Sequence[TokenSequence]) -> list[tuple[int, Loglikelihood]]:
            own = [at for sequence in batch for at, _ in sequence.asked]
            asked = [requests[at] for at in own]
            replies = inherited(asked, disable_tqdm=True, override_bs=len(asked))
            return list(zip(own, replies, strict=True))

        places = list(enumerate(requests))
        # What differs in the last token only is one sequence there, too, unless told otherwise.
        groups = [places] if self.logits_cache else [[place] for place in places]
        waiting = [sequence for group in groups for sequence in token_sequences(group)]
        # As lm-eval sorts them.
        waiting.sort(key=lambda one: (-len(one.tokens), one.tokens, one.asked[0][1][-1]))
        for _, replies in self._batches.answered(waiting, self._whole, ask, self._batches.most):
            found.update(replies)
            bar.update(len(replies))
        bar.close()
        return [found[at] for at in range(len(requests))]

    def _whole(self, sequences: Sequence[TokenSequence]) -> Iterator[Need]:
        """Yield what the first of *sequences*, the first two and so on take of lm-eval's code."""
        width = min(max(1, len(sequences[0].tokens)), self.max_length)
        for size in range(1, len(sequences) + 1):
            need = self._batches.bytes.whole(size, width)
            # A number of sequences that was asked for is kept to, as lm-eval does.
            yield need._replace(tokens=0) if self._batches.most else need

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Compute what `hf` does; `_loglikelihood_tokens` makes the batches."""
        with self._batch_size(_WHATEVER_COMES):
            found: list[float] = super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)
        return found

    @fast_products
    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Generate as `hf` does.

        Args:
            requests: lm-eval's instances: a text, and how to generate.
            disable_tqdm: Show no bar.
        """
        inherited = super().generate_until
        found = dict[int, str]()
        bar = tqdm(total=len(requests), disable=disable_tqdm or self.rank != 0)

        def ask(batch: Sequence[int]) -> list[str]:
            with self._batch_size(_WHATEVER_COMES):
                replies: list[str] = inherited([requests[at] for at in batch], disable_tqdm=True)
            return replies

        ways: dict[str, list[int]] = {}
        for at, request in enumerate(requests):
            ways.setdefault(str(request.args[1]), []).append(at)
        for places in ways.values():
            told = normalize_gen_kwargs(requests[places[0]].args[1], self.max_gen_toks)
            texts = {at: requests[at].args[0] for at in places}
            lengths = {at: len(self.tok_encode(text)) for at, text in texts.items()}
            needs = functools.partial(self._answers, lengths, told["max_gen_toks"])
            most = self._batches.most_answers
            # As lm-eval sorts them.
            waiting = sorted(places, key=lambda at: (-lengths[at], texts[at]))
            for batch, replies in self._batches.answered(
                waiting, needs, ask, min(most, SAMPLED_ANSWERS) if told["do_sample"] else most
            ):
                found.update(zip(batch, replies, strict=True))
                bar.update(len(replies))
        bar.close()
        return [found[at] for at in range(len(requests))]

    def _answers(
        self, lengths: Mapping[int, int], new: int, places: Sequence[int]
    ) -> Iterator[Need]:
        """Yield what the answers to the first of *places*, the first two and so on take."""
        prompt = max(1, min(lengths[places[0]], self.max_length - new))
        for size in range(1, len(places) + 1):
            yield self._batches.bytes.answers(size, prompt, new)

    @contextmanager
    def _batch_size(self, size: int) -> Iterator[None]:
        """Let lm-eval's code take so many sequences at once for a while."""
        own = self.batch_size
        self.batch_size_per_gpu = size
        try:
            yield
        finally:
            self.batch_size_per_gpu = own
