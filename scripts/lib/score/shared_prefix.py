"""An lm-eval model that reads what many questions have in common only once.

lm-eval's `hf` model reads the few-shot examples of a subject anew for every question and computes
the vocabulary at every position. Here requests are grouped by the tokens they begin with; the
model reads that prefix once per group, goes on from its keys and values with the continuations of
many questions, and meets the vocabulary only where an answer is scored. The log-probabilities are
the same up to rounding; tests compare them with `hf` request by request.

The continuations lie one after the other in one row (`scripts.lib.score.continuations`); where that
cannot be, they are a batch padded on the right, and everything is done through the model's own
attention (`scripts.lib.score.padded`).

Try it: python -m scripts.tools.lm_eval run --model tunesmith-hf --help
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from lm_eval.api.registry import register_model
from transformers import DynamicCache
from transformers.utils.logging import tqdm

from scripts.lib.attention.families import window_of
from scripts.lib.machine.bfloat16 import fast_products
from scripts.lib.questions.requests import (
    GreedyAnswer,
    GreedyRequest,
    ReferenceRequest,
    answer_of,
    greedy_answers,
)
from scripts.lib.questions.text_encoder import TextEncoder
from scripts.lib.score.continuations import (
    NotPackableError,
    Prefix,
    has_open_attention,
    packing_kernels,
    read_continuations,
    read_prefix,
)
from scripts.lib.score.fitted_hf import FittedHFLM
from scripts.lib.score.generation import Generator, Prompt
from scripts.lib.score.likelihoods import Loglikelihood, likelihoods
from scripts.lib.score.padded import read_cache, read_padded, shares_prefixes
from scripts.lib.score.prefix_groups import (
    Request,
    TokenSequence,
    check_continuations,
    prefix_groups,
    token_sequences,
)
from scripts.lib.score.until import Ending, end_tokens, greedy_prompts, text_of

MODELS_OWN = "the model's own"
"""What attends where no row is packed."""


@register_model("tunesmith-hf")
class SharedPrefixLM(FittedHFLM):
    """lm-eval's `hf` model with log-likelihoods computed from shared prefixes.

    Greedy generation goes on from shared prefixes, too, many answers at a time. Rolling
    log-likelihood is `hf`'s own, and so is everything else that this way cannot do exactly:
    sampling, what `shares_prefixes` leaves out, and requests longer than the model's window.

    Attributes:
        attention: By what log-likelihoods were attended to so far: names of kernels, MODELS_OWN.
    """

    def __init__(self, *args: Any, texts: TextEncoder | None = None, **options: Any) -> None:
        """Load the model as `hf` does.

        Args:
            args: As for `hf`.
            texts: What the tokenizer has encoded already; None for nothing.
            options: As for `FittedHFLM`.
        """
        super().__init__(*args, **options)
        self._texts = texts or TextEncoder(self.tokenizer)
        self._forgets = texts is None
        self._kernels = packing_kernels(self.model)
        self.attention = set[str]()
        self._prefix: Prefix | None = None
        self._generator: Generator | None = None

    @fast_products
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
        if rest:
            self.attention.add(MODELS_OWN)
        by_hf = super()._loglikelihood_tokens([_listed(requests[at]) for at in rest], disable_tqdm)
        found.update(zip(rest, by_hf, strict=True))
        return [found[at] for at in range(len(requests))]

    @fast_products
    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Generate what `hf` does, which does so itself where ours cannot."""
        asked = greedy_prompts(self, requests) if self._decodes() else {}
        found = dict[int, str]()
        bar = tqdm(total=len(asked), disable=disable_tqdm or not asked or self.rank != 0)
        for at, new in self.new_tokens({at: prompt for at, (prompt, _) in asked.items()}):
            found[at] = text_of(self, new, asked[at][1].until)
            self.cache_hook.add_partial("generate_until", requests[at].args, found[at])
            bar.update()
        bar.close()
        rest = [at for at in range(len(requests)) if at not in found]
        others = super().generate_until([requests[at] for at in rest], disable_tqdm)
        found.update(zip(rest, others, strict=True))
        return [found[at] for at in range(len(requests))]

    def _decodes(self) -> bool:
        """Return whether many answers can be given at a time and still be the model's own."""
        return self._shares() and has_open_attention(self.model)

    def new_tokens(self, prompts: Mapping[int, Prompt]) -> Iterator[tuple[int, list[int]]]:
        """Yield key and new tokens of the prompts that are answered together, as they end.

        Args:
            prompts: By keys of the caller's. Those that would need another way are left out.
        """
        longest = window_of(self.model.config) or self.max_length
        ours = [at for at, one in prompts.items() if len(one.tokens) + one.most_new <= longest]
        if not ours:
            return
        self._generator = self._generator or Generator(
            self.model, self._batches, self._read_shared, packs=self._kernels is not None
        )
        with suppress(NotPackableError):
            for place, new in self._generator.answers([prompts[at] for at in ours]):
                yield ours[place], new

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

    @fast_products
    def greedy_answers(
        self, requests: Sequence[GreedyRequest], disable_tqdm: bool = False
    ) -> list[GreedyAnswer]:
        """Generate strictly greedy answers that say whether they ended.

        Args:
            requests: Rendered prompts, and how long an answer may become.
            disable_tqdm: As for `hf`; there is no bar.
        """
        prompts = [r.tokens or self._texts.text(r.prompt, opened=False) for r in requests]
        ends = end_tokens(self.model)
        found = dict[int, GreedyAnswer]()
        if self._decodes():
            ending = Ending(self.tokenizer, (), ends)
            asked = {
                at: Prompt(tokens=tuple(read), most_new=r.max_new_tokens, is_over=ending)
                for at, (r, read) in enumerate(zip(requests, prompts, strict=True))
                if read
            }
            for at, new in self.new_tokens(asked):
                found[at] = answer_of(self.tokenizer, new, set(ends))
        rest = [at for at in range(len(requests)) if at not in found]
        found.update(self._greedy_answers({at: (requests[at], prompts[at]) for at in rest}, ends))
        return [found[at] for at in range(len(requests))]

    def _greedy_answers(
        self, asked: Mapping[int, tuple[GreedyRequest, Sequence[int]]], ends: Sequence[int]
    ) -> dict[int, GreedyAnswer]:
        """Answer by transformers' generate()."""
        found = dict[int, GreedyAnswer]()
        lengths = {at: len(read) for at, (_, read) in asked.items()}
        for new in {request.max_new_tokens for request, _ in asked.values()}:
            own = [at for at, (request, _) in asked.items() if request.max_new_tokens == new]
            own.sort(key=lambda at: -lengths[at])
            most = own[: self._batches.most_answers]
            answers = greedy_answers(
                self.model,
                self.tokenizer,
                [asked[at][1] for at in own],
                ends=ends,
                max_new_tokens=new,
                batch_size=self._batches.fitting(self._answers(lengths, new, most)),
            )
            found.update(zip(own, answers, strict=True))
        return found

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[Loglikelihood]:
        """Answer as `hf` does; what was not encoded before is encoded in batches."""
        if self._encodes_as_hf():
            self._texts.encode(pairs=[r.args[:2] for r in requests if r.args[0]])
        found: list[Loglikelihood] = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
        if self._forgets:
            self._texts.forget()
        return found

    def tok_encode(self, string: str, *args: Any, **options: Any) -> list[int]:
        """Encode as `hf` does, what was encoded before at no cost."""
        if args or options or not self._encodes_as_hf():
            tokens: list[int] = super().tok_encode(string, *args, **options)
            return tokens
        return list(self._texts.text(string, opened=self._texts.opens(string)))

    def _encode_pair(self, context: str, continuation: str) -> tuple[Any, Any]:
        if not self._encodes_as_hf():
            pair: tuple[Any, Any] = super()._encode_pair(context, continuation)
            return pair
        found = self._texts.pair(context, continuation)
        return found.context, found.continuation

    def _encodes_as_hf(self) -> bool:
        """Tell whether `hf` would encode as `TextEncoder` does: not where it is told otherwise."""
        return (
            self.backend == "causal"
            and self.add_bos_token is None
            and self.custom_prefix_token_id is None
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
        if self._kernels:
            with suppress(NotPackableError):
                prefix = self._read_prefix(ordered[0].tokens[:length]) if length else None
                rows = functools.partial(self._batches.rows, past=length)
                read_row = functools.partial(self._read_row, prefix)
                for _, replies in self._batches.answered(ordered, rows, read_row):
                    yield replies
                self.attention.add(self._kernels.name)
                return
        self.attention.add(MODELS_OWN)
        cache = self._read_cache(ordered[0].tokens[:length]) if length else None
        padded = functools.partial(self._batches.padded, past=length)
        read = functools.partial(self._read_batch, length, cache)
        for _, replies in self._batches.answered(ordered, padded, read, self._batches.most):
            yield replies

    def _read_prefix(self, tokens: tuple[int, ...]) -> Prefix:
        if not self._prefix or self._prefix.tokens != tokens:
            self._prefix = None  # the next one needs its memory
            cost = self._batches.bytes
            self._prefix = self._batches.in_parts(
                tokens,
                functools.partial(read_prefix, self.model),
                lambda length, past: cost.row(length, 1, 0, past),
            )
        return self._prefix

    def _read_cache(self, tokens: tuple[int, ...]) -> DynamicCache:
        cost = self._batches.bytes
        return self._batches.in_parts(
            tokens,
            functools.partial(read_cache, self.model),
            lambda length, past: cost.batch(1, length, 1, past),
        )

    def _read_shared(self, tokens: tuple[int, ...]) -> Prefix:
        if self._kernels:
            return self._read_prefix(tokens)
        layers = self._read_cache(tokens).layers
        return Prefix(tokens=tokens, layers=tuple((one.keys, one.values) for one in layers))

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
        return likelihoods(sequences, logits, self.softmax_dtype or torch.float32)


def _listed(request: Request) -> Request:
    """Return a request with its tokens in lists, as lm-eval's code joins them."""
    texts, context, continuation = request
    return texts, list(context), list(continuation)
