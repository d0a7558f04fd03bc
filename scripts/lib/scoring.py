"""Ask a model every question of a benchmark and keep every answer.

lm-eval is the engine: its task class builds the prompts and judges the responses. Its `hf` model
generates; `tunesmith-hf`, which is made from it, computes the log-likelihoods of choices. What
`simple_evaluate` wraps around these calls is left out on purpose: it gathers the host's
environment and asks a hub for the model's hash (seconds, for every subject), and it cannot stop
between two questions and go on. A test compares the two, answer by answer.
"""

import json
import logging
import sys
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from transformers.utils import logging as transformers_logging

from scripts.lib import kinds
from scripts.lib.asking import Asking
from scripts.lib.backends import Loading, check_backend, context_of
from scripts.lib.bad_rows import count_left_out
from scripts.lib.errors import ScoreError
from scripts.lib.journal import answer_once
from scripts.lib.prompt_tokens import check_lengths, context_limit, tokens_needed
from scripts.lib.prompts import load_tokenizer
from scripts.lib.questions import Answer, Question
from scripts.lib.respondent import Respondent
from scripts.lib.score_files import (
    BAD_ROWS,
    FEWER_SHOTS,
    LEFT_OUT,
    PROTOCOL_FILE,
    QUESTIONS_TABLE,
    SPLIT_MARKERS,
)
from scripts.lib.score_spec import ScoreSpec
from scripts.lib.turn_ends import split_markers, turn_end

# Questions between two entries of the journal. Fixed, because batches are sorted by length within
# a block: a resumed job then forms the very batches that an unbroken one forms.
_BLOCK_QUESTIONS = 256

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
        ("token_hash", pa.string()),
        ("shots", pa.int64()),
        ("metrics", pa.string()),
    ]
)


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
        benchmark: Folder with `test/` and `dev/`, with `questions.jsonl`, or of conversations.
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
    check_backend(spec.backend)
    asking: Asking = kinds.load("score_benchmark", spec.kind)
    tokenizer = load_tokenizer(
        adapter or model,
        chat_template=spec.chat_template,
        optional=not asking.NEEDS_TEMPLATE,
        template=spec.template,
    )
    context = context_limit(tokenizer, model)
    limit = context_of(spec.backend, context)
    wanted = list(asking.questions(spec, benchmark, tokenizer, limit))
    questions = _fitting(wanted, tokenizer, limit) if spec.on_long_prompt == "leave_out" else wanted
    hashes = check_lengths(questions, tokenizer, limit)
    split = split_markers(tokenizer) if spec.chat_template else {}
    loading = Loading(
        model=model,
        adapter=adapter,
        tokenizer=tokenizer,
        dtype=spec.dtype,
        batch_size=batch_size,
        ends=(turn_end(tokenizer),) if spec.chat_template else (),
        context=context,
    )
    respondent = Respondent(spec.backend, loading)
    answers = _answer_all(questions, respondent, scratch)
    schema = pa.schema([*_SCHEMA, *asking.MORE_COLUMNS])
    rows = [{**a, "token_hash": read} for a, read in zip(answers, hashes, strict=True)]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), out / QUESTIONS_TABLE)
    fewer = 0
    if spec.shots is not None and spec.on_long_prompt == "fewer_shots":
        fewer = sum(answer["shots"] < spec.shots for answer in answers)
    protocol = {**spec.protocol(), **asking.stated(spec, questions), FEWER_SHOTS: fewer}
    if spec.on_long_prompt == "leave_out":
        protocol[LEFT_OUT] = len(wanted) - len(questions)
    if bad := count_left_out(benchmark, spec.subjects, examples=spec.shots != 0):
        protocol[BAD_ROWS] = bad
    if split:
        protocol[SPLIT_MARKERS] = split
    text = json.dumps(protocol, indent=2, sort_keys=True)
    (out / PROTOCOL_FILE).write_text(text + "\n", encoding="utf-8")
    correct = sum(answer["correct"] for answer in answers)
    return {"n": len(answers), "correct": correct, "protocol": protocol}


def _fitting(questions: Sequence[Question], tokenizer: Any, limit: int) -> list[Question]:
    """Return the questions that fit into the model's context with their answers.

    Raises:
        ScoreError: There is none.
    """
    found = [one for one in questions if tokens_needed(one, tokenizer) <= limit]
    if not found:
        raise ScoreError(
            f"All {len(questions):,} conversations are longer than the {limit} tokens that the"
            " model reads, answers included. Lower `max_new_tokens`, or take a model that reads"
            " more."
        )
    return found


def _answer_all(
    questions: Sequence[Question], respondent: Respondent, scratch: Path
) -> list[Answer]:
    subjects = [list(group) for _, group in groupby(questions, key=lambda q: q.subject)]
    answers: list[Answer] = []
    asked, started = 0, time.monotonic()
    for number, group in enumerate(subjects, start=1):
        for start in range(0, len(group), _BLOCK_QUESTIONS):
            block = group[start : start + _BLOCK_QUESTIONS]
            found, journalled = answer_once(scratch, block, respondent.answer)
            asked += 0 if journalled else len(block)
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
