"""What the model in training answers to a few held-out rows, greedily, now and then.

The model that is written is asked in any case. As far as a twentieth of the training's work allows,
the model as it came is asked, too, and up to three times between them, always at evaluations. That
is reckoned in tokens, so that a run that is made again asks at the same steps. Random generators
are left as they were found, so that the weights are the same with answers and without.
"""

import json
import math
import random
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from peft import PeftModel
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from scripts.lib.data.answer_forms import Form, shared_forms
from scripts.lib.data.replies import whole_turn, without_reasoning
from scripts.lib.train.answer_faults import Answer, Written, find_faults
from scripts.lib.train.attention import SEGMENTS
from scripts.lib.train.callbacks import LOSSES, say
from scripts.lib.train.loop import LoopSpec
from scripts.lib.train.shards import Stored

# Enough to find rows with short answers, and the form that references share, in seconds.
ROWS_LOOKED_AT = 1000
REFERENCES_LOOKED_AT = 256
# Longer prompts cost more than a look at the answer is worth.
PROMPT_TOKENS = 512
# How much longer than the longest reference an answer may be before it counts as one without end:
# a quarter of it, and so many tokens at least.
SPARE_TOKENS = 8
# Which part of the training's work the answers may take, but for the last ones, and how often the
# model is asked at most. On a processor, a token for each of eight rows costs what training on 16
# tokens does, and a prompt's token a third of one that is trained on (SmolLM2-135M, float32: 24 CPU
# seconds for 50 tokens behind prompts of 50, beside steps of 490 tokens in 12).
SHARE, MOST_TIMES = 0.05, 5
WRITING_COST, READING_COST = 16, 1 / 3
SHOWN_CHARACTERS = 240  # of a prompt's end


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A held-out row up to its last trained turn, and that turn with its end."""

    name: str
    prompt: list[int]
    reference: list[int]


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What is asked, the same each time.

    Attributes:
        rows: The rows.
        tokenizer: Theirs.
        forms: What all references look like.
        stops: Tokens that end an answer.
        control: Control tokens that no reference holds, by id.
        limit: Tokens that an answer may have, its end included.
        step_tokens: Tokens of an optimiser step of the training, on average.
    """

    rows: tuple[_Row, ...]
    tokenizer: Any
    forms: tuple[Form, ...]
    stops: frozenset[int]
    control: dict[int, str]
    limit: int
    step_tokens: float


def read_questions(
    loop: LoopSpec, shards: Path, sets: Sequence[Stored], step_tokens: float
) -> Questions | None:
    """Choose rows of the valid split, spread over it; None where nothing is asked.

    Rows whose reference fits into `answer_tokens` come first: of others it cannot be told whether
    their answers end.

    Args:
        loop: How many rows are asked at most, and how long an answer may be.
        shards: Folder with `tokenizer/`.
        sets: Rows of the valid split, of each dataset that has some; there may be none.
        step_tokens: Tokens of an optimiser step, on average.
    """
    if not loop.answers or not sets:
        return None
    tokenizer = AutoTokenizer.from_pretrained(shards / "tokenizer")
    count, max_new_tokens = loop.answers, loop.answer_tokens
    special = {
        id_: token.content for id_, token in tokenizer.added_tokens_decoder.items() if token.special
    }
    fitting: list[_Row] = []
    others: list[_Row] = []
    for row in _rows(sets, special.keys()):
        fits = row.reference[-1] in special and len(row.reference) <= max_new_tokens
        (fitting if fits else others).append(row)
    chosen = _spread(fitting, count)
    chosen += _spread(others, count - len(chosen))
    if not chosen:
        say(f"no held-out row has a prompt of {PROMPT_TOKENS} tokens or less: no answers are asked")
        return None
    known = (fitting or others)[:REFERENCES_LOOKED_AT]
    stops = {row.reference[-1] for row in fitting} | {tokenizer.eos_token_id} - {None}
    written = {id_ for row in known for id_ in row.reference[:-1]}
    longest = max((len(row.reference) for row in _spread(fitting, count)), default=max_new_tokens)
    references = [
        without_reasoning(
            whole_turn(
                tokenizer.decode(row.prompt), _text(tokenizer, _without(row.reference, stops))
            )
        )
        for row in known
    ]
    return Questions(
        rows=tuple(chosen),
        tokenizer=tokenizer,
        forms=shared_forms(references),
        stops=frozenset(stops),
        control={id_: text for id_, text in special.items() if id_ not in stops | written},
        limit=min(max_new_tokens, longest + max(SPARE_TOKENS, longest // 4)),
        step_tokens=step_tokens,
    )


def _rows(sets: Sequence[Stored], special: Collection[int]) -> Iterator[_Row]:
    """Yield rows with their last trained turn; one that begins with it has nothing to ask."""
    columns = ["conversation_id", "input_ids", "loss_mask"]
    for one in sets:
        for row in islice(one.rows(100, columns), ROWS_LOOKED_AT // len(sets)):
            ids, mask = row["input_ids"], row["loss_mask"]
            if 1 not in mask:
                continue
            end = len(mask) - mask[::-1].index(1)
            start = end - [*mask[:end][::-1], 0].index(0)
            # An end that the loss does not look at ends the turn all the same.
            if ids[end - 1] not in special and end < len(ids) and ids[end] in special:
                end += 1
            if 0 < start <= PROMPT_TOKENS:
                name = f"{one.label}{row['conversation_id']}"
                yield _Row(name=name, prompt=ids[:start], reference=ids[start:end])


def _spread(rows: Sequence[_Row], count: int) -> list[_Row]:
    """Return *count* rows at equal distances, or all where there are no more."""
    return [rows[n * len(rows) // count] for n in range(count)] if len(rows) > count else [*rows]


def _without(ids: Sequence[int], stops: Collection[int]) -> Sequence[int]:
    return ids[:-1] if ids and ids[-1] in stops else ids


def _text(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False))


class AnswerKeeper(TrainerCallback):  # type: ignore[misc]
    """Asks at evaluations, on the first process, and keeps what was said in *scratch*.

    Args:
        questions: What is asked.
        scratch: Where answers wait for the end of a run that may be stopped.
        autocast: Whether weights of float32 are computed with in bfloat16.
    """

    def __init__(self, questions: Questions, scratch: Path, *, autocast: bool) -> None:
        self._questions = questions
        self._scratch = scratch
        self._autocast = autocast

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Ask at the first evaluation, and at the first one after each part of the run."""
        steps, times = _evaluated(state), self._times(state.max_steps)
        parts = [(times - 1) * step // max(1, state.max_steps) for step in steps]
        if times > 1 and (len(parts) == 1 or parts[-1] > parts[-2]):
            self._ask(kwargs["model"], state, state.global_step)

    def finish(self, model: PreTrainedModel, state: TrainerState, kept_step: int) -> list[Answer]:
        """Ask the model that is written, if that was not done, and return all answers by step.

        Args:
            model: The model, with the weights of *kept_step*.
            state: The end of the training.
            kept_step: Step that the weights are of.

        Returns:
            Nothing on other processes than the first.
        """
        self._ask(model, state, kept_step, again=False)
        if not state.is_world_process_zero:
            return []
        steps = sorted({*_evaluated(state), kept_step})
        return [
            answer
            for step in steps
            if self._file(step).exists()
            for answer in json.loads(self._file(step).read_text())
        ]

    def _ask(
        self, model: PreTrainedModel, state: TrainerState, step: int, *, again: bool = True
    ) -> None:
        """Ask on the first process, while the others wait; not *again* what was asked already."""
        if _broken(state):
            return
        PartialState().wait_for_everyone()
        if state.is_world_process_zero and (again or not self._file(step).exists()):
            begun = time.monotonic()
            precision = torch.autocast(model.device.type, torch.bfloat16, enabled=self._autocast)
            with _generators_restored(), _answering(model), precision:
                answers = _answers(model, self._questions, step)
            part = self._file(step).with_suffix(".part")
            part.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(answers))
            part.replace(self._file(step))
            good = sum(not answer["faults"] for answer in answers)
            say(
                f"step {step}: {good} of {len(answers)} answers to held-out rows look like the"
                f" references ({time.monotonic() - begun:.1f} s)"
            )
        PartialState().wait_for_everyone()

    def _times(self, steps: int) -> int:
        """Return how often a run of so many steps is asked."""
        read = sum(len(row.prompt) for row in self._questions.rows)
        cost = READING_COST * read + WRITING_COST * self._questions.limit
        return max(1, min(MOST_TIMES, int(SHARE * steps * self._questions.step_tokens / cost)))

    def _file(self, step: int) -> Path:
        return self._scratch / "answers" / f"{step}.json"


def first_and_last(answers: Sequence[Answer]) -> list[Answer]:
    """Return the answers of the first and the last step of some."""
    ends = {answer["step"] for answer in (*answers[:1], *answers[-1:])}
    return [answer for answer in answers if answer["step"] in ends]


def _evaluated(state: TrainerState) -> list[int]:
    """Return the steps of the evaluations so far, the one that has just been logged included."""
    return [int(entry["step"]) for entry in state.log_history if "valid_loss" in entry]


def _broken(state: TrainerState) -> bool:
    """Tell whether a loss was no number: such weights say nothing."""
    return any(
        not math.isfinite(entry.get(name, 0.0)) for entry in state.log_history for name in LOSSES
    )


@contextmanager
def _generators_restored() -> Iterator[None]:
    """Leave every random generator as it was."""
    before, numbers = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(before)
            np.random.set_state(numbers)


@contextmanager
def _answering(model: PreTrainedModel) -> Iterator[None]:
    """Let a model in training answer: no dropout, and the stock attention, which knows a cache."""
    base = _base(model)
    training, attention = model.training, base.config._attn_implementation
    model.eval()
    base.set_attn_implementation("sdpa" if attention == SEGMENTS else attention)
    try:
        yield
    finally:
        base.set_attn_implementation(attention)
        model.train(training)


def _base(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model without PEFT's wrapper; the adapter's layers stay in it."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def _answers(model: PreTrainedModel, questions: Questions, step: int) -> list[Answer]:
    """Ask all rows in one batch, and find what is wrong with the answers."""
    tokenizer, stops = questions.tokenizer, questions.stops
    given = _generate(model, [row.prompt for row in questions.rows], stops, questions.limit)
    answers: list[Answer] = []
    for row, ids in zip(questions.rows, given, strict=True):
        prompt = _text(tokenizer, row.prompt)
        said, wanted = _written(tokenizer, ids, stops), _written(tokenizer, row.reference, stops)
        shown = wanted.text
        if len(wanted.ids) > questions.limit:
            shown = f"{_text(tokenizer, wanted.ids[: questions.limit])}…"
        answers.append(
            {
                "step": step,
                "row": row.name,
                "prompt": prompt[-SHOWN_CHARACTERS:],
                "reference": shown,
                "answer": said.text,
                "ended": said.ended,
                "tokens": len(ids),
                "faults": find_faults(
                    prompt, said, wanted, questions.forms, questions.control, questions.limit
                ),
            }
        )
    return answers


def _written(tokenizer: Any, ids: Sequence[int], stops: Collection[int]) -> Written:
    body = _without(ids, stops)
    return Written(ids=body, text=_text(tokenizer, body), ended=len(body) < len(ids))


@torch.no_grad()  # type: ignore[untyped-decorator]
def _generate(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], stops: Collection[int], limit: int
) -> list[list[int]]:
    """Return what a model answers greedily, up to the first of *stops* and with it.

    What the base's own generation config says (penalties, other ends) is left aside.
    """
    base, filler = _base(model), min(stops, default=0)
    longest = max(map(len, prompts))
    padding = [longest - len(prompt) for prompt in prompts]
    ids = [[filler] * n + [*prompt] for n, prompt in zip(padding, prompts, strict=True)]
    mask = [[0] * n + [1] * (longest - n) for n in padding]
    own = base.generation_config
    base.generation_config = GenerationConfig(
        max_new_tokens=limit,
        do_sample=False,
        eos_token_id=sorted(stops) or None,
        pad_token_id=filler,
    )
    try:
        found = base.generate(
            input_ids=torch.tensor(ids, device=base.device),
            attention_mask=torch.tensor(mask, device=base.device),
            use_cache=True,
        )
    finally:
        base.generation_config = own
    return [_cut(row, stops) for row in found[:, longest:].tolist()]


def _cut(ids: list[int], stops: Collection[int]) -> list[int]:
    end = next((place for place, id_ in enumerate(ids) if id_ in stops), len(ids))
    return ids[: end + 1]
