"""The model that answers, lm-eval's `tunesmith-hf` made strictly greedy; its answers as rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from scripts.lib.device import compute_device
from scripts.lib.questions import Answer, Question
from scripts.lib.shared_prefix import SharedPrefixLM
from scripts.lib.unmerged import put_on


class Respondent:
    """The model, loaded when the first question is really asked."""

    def __init__(
        self,
        model: Path,
        tokenizer: Any,
        *,
        dtype: str,
        batch_size: int,
        ends: Sequence[str],
        adapter: Path | None = None,
    ) -> None:
        """Keep what loading needs.

        Args:
            model: Hugging Face model folder.
            tokenizer: Its tokenizer.
            dtype: Precision of weights and arithmetic.
            batch_size: Most sequences per forward pass where they are not packed by tokens.
            ends: Texts that end an answer beside the model's own end tokens.
            adapter: Adapter folder to put on the model, or None.
        """
        self._model = model
        self._tokenizer = tokenizer
        self._dtype = dtype
        self._batch_size = batch_size
        self._ends = ends
        self._adapter = adapter
        self._lm: Any = None

    def answer(self, block: Sequence[Question]) -> list[Answer]:
        """Ask a block of questions; when memory runs out, again with fewer at once."""
        if self._lm is None:
            self._lm = self._load()
        return self._answer(block)

    def _load(self) -> Any:
        lm = SharedPrefixLM(
            pretrained=str(self._model),
            backend="causal",
            tokenizer=self._tokenizer,
            dtype=self._dtype,
            batch_size=self._batch_size,
            device=compute_device(),
            trust_remote_code=False,
        )
        if self._adapter:
            put_on(lm.model, self._adapter)
        # Only the end tokens are kept: a published generation config may ask for sampling or for
        # a repetition penalty, and the protocol says greedy.
        lm.model.generation_config = GenerationConfig(
            eos_token_id=self._end_tokens(lm.model.generation_config.eos_token_id),
            pad_token_id=self._tokenizer.pad_token_id,
        )
        return lm

    def _end_tokens(self, declared: int | list[int] | None) -> list[int]:
        """Return every token that ends an answer.

        lm-eval stops a whole batch on a text, and lets rows that are done babble on until then;
        what they add is not cut off when the text is a special token, so generate() must know it.
        """
        ends = {self._tokenizer.eos_token_id}
        ends.update(declared if isinstance(declared, list) else [declared])
        for text in self._ends:
            tokens = self._tokenizer.encode(text, add_special_tokens=False)
            ends.update(tokens if len(tokens) == 1 else [])
        return sorted(token for token in ends if token is not None)

    def _answer(self, block: Sequence[Question]) -> list[Answer]:
        requests = [request for question in block for request in question.requests]
        replies = dict[int, Any]()
        for kind in dict.fromkeys(request.request_type for request in requests):
            asked = [request for request in requests if request.request_type == kind]
            # lm-eval names its request types after the methods that answer them.
            found = getattr(self._lm, kind)(asked, disable_tqdm=True)
            replies.update(zip(map(id, asked), found, strict=True))
        return [q.judge(q, [replies[id(request)] for request in q.requests]) for q in block]
