"""What Tunesmith asks beside lm-eval's kinds of request: answers that say whether they ended."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from transformers import GenerationConfig

from scripts.lib.machine.out_of_memory import until_it_fits


@dataclass(frozen=True)
class GreedyRequest:
    """What a question asks of the model beside lm-eval's own kinds of request.

    Attributes:
        prompt: The exact text that the model goes on with; its special tokens stand in it.
        max_new_tokens: Longest answer, in tokens.
        tokens: What is read, where the data spells control tokens: as text; None where the
            tokenizer reads the prompt as it is.
    """

    prompt: str
    max_new_tokens: int
    tokens: tuple[int, ...] | None = None

    request_type: ClassVar[str] = "greedy_answers"
    """The method of the model class that answers it."""

    @property
    def args(self) -> tuple[str, dict[str, int]]:
        """The prompt and the length of the answer, as lm-eval's requests hold them."""
        return self.prompt, {"max_gen_toks": self.max_new_tokens}


@dataclass(frozen=True)
class ReferenceRequest:
    """How likely a given answer is, in the very tokens that training would see.

    Attributes:
        context: Tokens before the answer.
        answer: Tokens of the answer and of what ends its turn.
    """

    context: tuple[int, ...]
    answer: tuple[int, ...]

    request_type: ClassVar[str] = "reference_likelihoods"
    """The method of the model class that answers it."""


@dataclass(frozen=True)
class GreedyAnswer:
    """What a model said.

    Attributes:
        text: The answer without the token that ended it; other special tokens are shown.
        ended: Whether an end token came, not the limit.
        tokens: Length of the text, in tokens.
    """

    text: str
    ended: bool
    tokens: int


def greedy_answers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str | Sequence[int]],
    *,
    ends: Sequence[int],
    max_new_tokens: int,
    batch_size: int,
) -> list[GreedyAnswer]:
    """Let a model go on from every prompt, always with the likeliest token.

    In float32 an answer does not depend on what else is in its batch: shorter prompts are padded on
    the left, where attention and positions leave the padding out.

    Args:
        model: A loaded causal model; sampling and penalties that its generation config asks for
            are left out.
        tokenizer: Its tokenizer.
        prompts: Rendered prompts: encoded as they are, without another beginning-of-text token; or
            their tokens.
        ends: Tokens that end an answer.
        max_new_tokens: Longest answer, in tokens.
        batch_size: Most prompts at once; halved when memory runs out.

    Returns:
        One answer for each prompt, in the same order.

    Raises:
        RuntimeError: Memory runs out over a single prompt.
    """
    read = [
        tokenizer.encode(prompt, add_special_tokens=False)
        if isinstance(prompt, str)
        else list(prompt)
        for prompt in prompts
    ]
    # Longest first: memory runs out at once or not at all.
    waiting = sorted(range(len(read)), key=lambda at: -len(read[at]))
    found = dict[int, GreedyAnswer]()

    def answer(size: int) -> list[list[int]]:
        batch = [read[at] for at in waiting[:size]]
        return _generate(model, tokenizer, batch, ends, max_new_tokens)

    while waiting:
        rows, batch_size = until_it_fits(answer, min(batch_size, len(waiting)), _half_of)
        batch, waiting = waiting[:batch_size], waiting[batch_size:]
        answers = (answer_of(tokenizer, row, set(ends)) for row in rows)
        found.update(zip(batch, answers, strict=True))
    return [found[at] for at in range(len(read))]


def _half_of(size: int, _: str) -> int | None:
    """Return how many answers to try at once where so many were too many; None for a single one."""
    if size == 1:
        return None
    print(f"out of memory: now {size // 2} answers at once", file=sys.stderr)
    return size // 2


def _generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[list[int]],
    ends: Sequence[int],
    max_new_tokens: int,
) -> list[list[int]]:
    """Return the new tokens of each prompt; what follows an end token is padding."""
    width = max(map(len, prompts))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else next(iter(ends), 0)
    tokens = [[pad] * (width - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    own = model.generation_config
    # What a call leaves open is taken from the model's own config, penalties included.
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=list(ends), pad_token_id=pad
    )
    try:
        with torch.inference_mode():
            output = model.generate(
                torch.tensor(tokens, device=model.device),
                attention_mask=torch.tensor(mask, device=model.device),
            )
    finally:
        model.generation_config = own
    return [list(row) for row in output[:, width:].tolist()]


def answer_of(tokenizer: Any, row: Sequence[int], ends: set[int]) -> GreedyAnswer:
    """Return what the new tokens of an answer say.

    Args:
        tokenizer: The model's.
        row: The tokens; what follows an end token is padding.
        ends: Tokens that end an answer.
    """
    length = next((at for at, token in enumerate(row) if token in ends), None)
    said = row[:length]
    text = tokenizer.decode(said, clean_up_tokenization_spaces=False)
    return GreedyAnswer(text, length is not None, len(said))
