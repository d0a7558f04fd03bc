"""Ask a model every question of a benchmark and keep every answer.

lm-eval is the engine: its task class builds the prompts and judges the responses. Its `hf` model
generates; `tunesmith-hf`, which is made from it, computes the log-likelihoods of choices. What
`simple_evaluate` wraps around these calls is left out on purpose: it gathers the host's
environment and asks a hub for the model's hash (seconds, for every subject), and it cannot stop
between two questions and go on. A test compares the two, answer by answer.
"""

import functools
import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from transformers.utils import logging as transformers_logging

from scripts.lib.errors import ScoreError
from scripts.lib.journal import Answer, read_block, write_block
from scripts.lib.prompts import (
    Question,
    ask,
    check_lengths,
    context_limit,
    load_tokenizer,
    mmlu_renderer,
    render,
    tokens_needed,
    turn_end,
)
from scripts.lib.respondent import Respondent
from scripts.lib.score_files import FEWER_SHOTS, PROTOCOL_FILE, QUESTIONS_TABLE
from scripts.lib.tasks import (
    Row,
    exact_match_task,
    messages_of,
    mmlu_task,
    own_choice_task,
    read_own_choices,
    read_questions,
    read_subject,
)

# Questions between two entries of the journal. Fixed, because batches are sorted by length within
# a block: a resumed job then forms the very batches that an unbroken one forms.
_BLOCK_QUESTIONS = 256

# An exact-match benchmark has no subjects; its questions need a name all the same.
_ONLY_SUBJECT = "questions"

_SCHEMA = pa.schema(
    [
        ("question_id", pa.string()),
        ("subject", pa.string()),
        ("prediction", pa.string()),
        ("answer", pa.string()),
        ("correct", pa.bool_()),
        ("logprobs", pa.list_(pa.float64())),
        ("response", pa.string()),
        ("prompt_hash", pa.string()),
        ("shots", pa.int64()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class ScoreSpec:
    """What decides the bytes of a score.

    Attributes:
        kind: `mmlu` (four choices, log-likelihood), `multiple_choice` (a user's own, any number of
            choices) or `exact_match` (greedy generation).
        subjects: The subjects of this job; empty for all that a user's own set has.
        shots: Worked examples shown before each question; 0 for exact_match.
        chat_template: Whether prompts go through the model's chat template.
        limit: Only the first so many questions per subject, or None for all.
        dtype: Precision of weights and arithmetic.
        max_new_tokens: Longest generation in tokens; None where nothing is generated.
        on_long_prompt: What becomes of a prompt that is longer than the model's context.
    """

    kind: Literal["mmlu", "multiple_choice", "exact_match"]
    subjects: tuple[str, ...]
    shots: int
    chat_template: bool
    limit: int | None
    dtype: Literal["float32", "bfloat16"]
    max_new_tokens: int | None
    on_long_prompt: Literal["error", "fewer_shots"]

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> "ScoreSpec":
        """Build the spec from parsed JSON, where tuples are lists."""
        return cls(**{**mapping, "subjects": tuple(mapping["subjects"])})

    def protocol(self) -> dict[str, Any]:
        """Return what has to be stated beside every number, without the subjects of this job."""
        stated = {key: value for key, value in asdict(self).items() if key != "subjects"}
        return {**stated, "backend": "hf" if self.kind == "exact_match" else "shared-prefix"}


def score_benchmark(
    spec: ScoreSpec,
    model: Path,
    benchmark: Path,
    out: Path,
    *,
    batch_size: int,
    scratch: Path,
    adapter: Path | None = None,
) -> dict[str, Any]:
    """Write `questions.parquet` and `protocol.json` for one model and one set of subjects.

    Args:
        spec: What to ask, and how.
        model: Hugging Face model folder.
        benchmark: Folder with `test/` and `dev/`, or with `questions.jsonl`.
        out: Existing empty folder.
        batch_size: Most sequences per forward pass where they are not packed by tokens; halved
            when memory runs out.
        scratch: Folder of this score's identity for the journal of finished questions.
        adapter: Folder of an adapter to put on the model, whose tokenizer it then brings, or None.

    Returns:
        `{"n", "correct", "protocol"}`, the first two in questions.

    Raises:
        ScoreError: The benchmark is empty or malformed, a question does not fit into the model's
            context, even without worked examples where those may be left out (both before the
            model is loaded), or the model's output is not a number.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    tokenizer = load_tokenizer(adapter or model, chat_template=spec.chat_template)
    limit = context_limit(tokenizer, model)
    questions = list(_questions(spec, benchmark, tokenizer, limit))
    check_lengths(questions, tokenizer, limit)
    respondent = Respondent(
        model,
        tokenizer,
        dtype=spec.dtype,
        batch_size=batch_size,
        ends=(turn_end(tokenizer),) if spec.chat_template else (),
        adapter=adapter,
    )
    answers = _answer_all(questions, respondent, scratch)
    pq.write_table(pa.Table.from_pylist(answers, schema=_SCHEMA), out / QUESTIONS_TABLE)
    fewer = sum(answer["shots"] < spec.shots for answer in answers)
    protocol = {**spec.protocol(), FEWER_SHOTS: fewer}
    text = json.dumps(protocol, indent=2, sort_keys=True)
    (out / PROTOCOL_FILE).write_text(text + "\n", encoding="utf-8")
    correct = sum(answer["correct"] for answer in answers)
    return {"n": len(answers), "correct": correct, "protocol": protocol}


def _questions(spec: ScoreSpec, benchmark: Path, tokenizer: Any, limit: int) -> Iterator[Question]:
    if spec.kind == "exact_match":
        yield from _exact_match_questions(spec, benchmark, tokenizer)
        return
    chat = mmlu_renderer(tokenizer) if spec.chat_template else None
    fits = None
    if spec.on_long_prompt == "fewer_shots":
        fits = functools.partial(_fits, tokenizer, limit)
    for subject, stem, task in _choice_tasks(spec, benchmark):
        yield from ask(task, subject, chat=chat, fits=fits, stem=stem)


def _choice_tasks(spec: ScoreSpec, benchmark: Path) -> list[tuple[str, str, Row]]:
    """Return subject, stem of the questions' ids, and task; all rows are read by then."""
    if spec.kind == "multiple_choice":
        return [
            (
                category or _ONLY_SUBJECT,
                stem,
                own_choice_task(stem, category, test, dev, shots=spec.shots),
            )
            for stem, category, test, dev in read_own_choices(
                benchmark, shots=spec.shots, limit=spec.limit
            )
        ]
    if not spec.subjects:
        raise ScoreError(f"No subject of {benchmark} is asked for. Name at least one.")
    read = [
        (subject, *read_subject(benchmark, subject, shots=spec.shots, limit=spec.limit))
        for subject in spec.subjects
    ]
    return [(name, name, mmlu_task(name, test, dev, shots=spec.shots)) for name, test, dev in read]


def _fits(tokenizer: Any, limit: int, question: Question) -> bool:
    return tokens_needed(question, tokenizer) <= limit


def _exact_match_questions(spec: ScoreSpec, benchmark: Path, tokenizer: Any) -> Iterator[Question]:
    if spec.shots or not spec.max_new_tokens:
        raise ScoreError(
            f"The exact-match benchmark in {benchmark} has no worked examples and needs room to "
            "answer. Set `shots: 0` and `max_new_tokens` to at least 1."
        )
    rows = read_questions(benchmark, chat_template=spec.chat_template, limit=spec.limit)
    prompts = [
        render(tokenizer, messages_of(row)) if spec.chat_template else str(row["prompt"])
        for row in rows
    ]
    task = exact_match_task(
        _ONLY_SUBJECT,
        prompts,
        [row["answer"] for row in rows],
        max_new_tokens=spec.max_new_tokens,
        until=turn_end(tokenizer) if spec.chat_template else "",
    )
    # The prompts carry their template already, so lm-eval gets them as plain text.
    yield from ask(task, _ONLY_SUBJECT, chat=None)


def _answer_all(
    questions: Sequence[Question], respondent: Respondent, scratch: Path
) -> list[Answer]:
    subjects = [list(group) for _, group in groupby(questions, key=lambda q: q.subject)]
    answers: list[Answer] = []
    asked, started = 0, time.monotonic()
    for number, group in enumerate(subjects, start=1):
        for start in range(0, len(group), _BLOCK_QUESTIONS):
            block = group[start : start + _BLOCK_QUESTIONS]
            found = read_block(scratch, block)
            if found is None:
                found = respondent.answer(block)
                write_block(scratch, block, found)
                asked += len(block)
            answers += found
            where = f"{group[0].subject} ({number} of {len(subjects)} subjects)"
            seconds = time.monotonic() - started
            _say(f"{where}: {_progress(len(answers), len(questions), asked, seconds)}")
    return answers


def _progress(done: int, total: int, asked: int, seconds: float) -> str:
    """Say how far a job is; the rate counts only questions asked now, not journalled ones."""
    text = f"{done:,} of {total:,} questions"
    if not asked:
        return f"{text}, from the journal"
    rate = asked / max(seconds, 1e-9)
    return f"{text}, {rate:.2f} questions/s, about {(total - done) / rate / 60:.1f} min left"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
