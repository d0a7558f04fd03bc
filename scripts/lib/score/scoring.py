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
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from transformers.utils import logging as transformers_logging

from scripts.lib.benchmarks import kinds
from scripts.lib.data.ends import ControlTokens, answer_ends
from scripts.lib.data.parquet import table_of
from scripts.lib.data.replies import Thought, thought_of
from scripts.lib.data.templates import split_markers
from scripts.lib.errors import ScoreError
from scripts.lib.machine.device import compute_device
from scripts.lib.progress import note
from scripts.lib.questions.bad_rows import count_left_out
from scripts.lib.questions.prompt_tokens import (
    check_lengths,
    context_limit,
    encode_questions,
    tokens_needed,
    with_fewer_shots,
)
from scripts.lib.questions.prompts import load_tokenizer
from scripts.lib.questions.question import Answer, Question, Unasked
from scripts.lib.questions.requests import GreedyRequest
from scripts.lib.questions.spec import ScoreSpec
from scripts.lib.questions.text_encoder import TextEncoder
from scripts.lib.score.documents import Thoughts
from scripts.lib.score.files import (
    BAD_ROWS,
    CLOSED_THOUGHTS,
    CONTROL_TEXT,
    FEWER_SHOTS,
    LEFT_OUT,
    NOT_ASKED,
    PROTOCOL_FILE,
    PROVENANCE_FILE,
    QUESTIONS_TABLE,
    SPLIT_MARKERS,
    THOUGHTS,
)
from scripts.lib.score.journal import answer_once
from scripts.lib.score.respondent import (
    Loading,
    Respondent,
    check_backend,
    context_of,
    takes_tokens,
)

# Questions between two entries of the journal. Fixed, because batches are sorted by length within
# a block: a resumed job then forms the very batches that an unbroken one forms.
_BLOCK_QUESTIONS = 256

# As many where a processor generates answers: it takes minutes for those, and computes no faster
# for more than half as many at a time.
_BLOCK_ANSWERS = 64

# Requests that are answered with a text; several of one question are answered with a list of them.
_GENERATING = ("generate_until", GreedyRequest.request_type)

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


class Asking(Protocol):
    """The module of a kind for `score_benchmark`.

    Attributes:
        MORE_COLUMNS: Columns of `questions.parquet` beside those of every kind.
        NEEDS_TEMPLATE: Whether a model without a chat template cannot be asked at all.
    """

    MORE_COLUMNS: tuple[pa.Field, ...]
    NEEDS_TEMPLATE: bool

    def questions(
        self, spec: ScoreSpec, benchmark: Path, tokenizer: Any, limit: int
    ) -> Iterator[Question | Unasked]:
        """Yield every question of a job, and what the chat template cannot ask.

        Args:
            spec: What to ask, and how.
            benchmark: The folder of the questions.
            tokenizer: The tokenizer of the model that will be asked.
            limit: How many tokens that model reads.

        Raises:
            ScoreError: The benchmark is empty or malformed.
        """
        ...

    def stated(self, spec: ScoreSpec, questions: Sequence[Question]) -> dict[str, Any]:
        """Return what has to be stated beside the scores and is not in the spec."""
        ...


@dataclass(frozen=True)
class Part:
    """One subject of a scoring job.

    Attributes:
        spec: What to ask, and how; the subject is all that differs between the parts of a job.
        out: Existing folder for its scores.
        scratch: Folder of this score's identity for the journal of finished questions.
    """

    spec: ScoreSpec
    out: Path
    scratch: Path


@dataclass(frozen=True)
class _Asked:
    """The questions of a part.

    Attributes:
        questions: Those that are asked.
        token_hashes: Of each, the hash of what the model reads.
        left_out: How many are not asked, being longer than the model's context.
        unasked: How many the chat template cannot ask, by reason.
        control_text: In how many the benchmark's text spells control tokens that are read as such.
    """

    questions: list[Question]
    token_hashes: list[str]
    left_out: int
    unasked: dict[str, int]
    control_text: int


def score_benchmark(
    parts: Sequence[Part],
    model: Path,
    benchmark: Path,
    *,
    batch_size: int,
    adapter: Path | None = None,
) -> Iterator[dict[str, Any]]:
    """Write `questions.parquet` and `protocol.json` for one model, subject by subject.

    All questions are built before the model is loaded, so that what is wrong with any of them is
    said before hours of work.

    Args:
        parts: What is asked, at least one.
        model: Hugging Face model folder.
        benchmark: Folder with `test/` and `dev/`, with `questions.jsonl`, or of conversations.
        batch_size: Most sequences per forward pass where they are not packed by tokens; 0 for as
            many as memory holds.
        adapter: Folder of an adapter to put on the model, whose tokenizer it then brings, or None.

    Yields:
        `{"n", "correct", "protocol"}` for each part when its files are written, the first two in
        questions; where the model was asked for log-likelihoods with `execution`, which is for the
        manifest's: attention, the kernels.

    Raises:
        ScoreError: The benchmark is empty or malformed, a question does not fit into the model's
            context, even without few-shot examples where those may be left out (both before the
            model is loaded), or the model's output is not a number.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    spec = parts[0].spec
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
    texts = TextEncoder(tokenizer)
    asked = [_ask(asking, part.spec, benchmark, texts, limit) for part in parts]
    split = split_markers(tokenizer) if spec.chat_template else {}
    loading = Loading(
        model=model,
        adapter=adapter,
        tokenizer=tokenizer,
        texts=texts,
        dtype=spec.dtype,
        batch_size=batch_size,
        ends=answer_ends(tokenizer).texts if spec.chat_template else (),
        context=context,
    )
    respondent = Respondent(spec.backend, loading)
    progress = _Progress(sum(len(one.questions) for one in asked))
    for part, one in zip(parts, asked, strict=True):
        answers = _answer_all(one.questions, respondent, part.scratch, progress)
        facts = _write(asking, part, benchmark, one, answers, split)
        told = respondent.attention
        yield facts | ({"execution": {"attention": told}} if told else {})


def _ask(
    asking: Asking, spec: ScoreSpec, benchmark: Path, texts: TextEncoder, limit: int
) -> _Asked:
    """Build the questions of a part, encode them, and make sure that the model can read them."""
    tokenizer = texts.tokenizer
    found = list(asking.questions(spec, benchmark, tokenizer, limit))
    questions = wanted = [one for one in found if isinstance(one, Question)]
    unasked = Counter(one.reason for one in found if isinstance(one, Unasked))
    by_tokens = takes_tokens(spec.backend)
    if spec.on_long_prompt == "fewer_shots":
        questions = with_fewer_shots(wanted, texts, limit, asked=by_tokens)
    else:
        encode_questions(wanted, texts, asked=by_tokens)
    if spec.on_long_prompt == "leave_out":
        questions = _fitting(wanted, texts, limit)
    hashes = check_lengths(questions, texts, limit)
    spelled = 0
    if spec.chat_template:
        control = ControlTokens(tokenizer)
        spelled = sum(_reads_control_text(control, question) for question in questions)
    return _Asked(questions, hashes, len(wanted) - len(questions), dict(unasked), spelled)


def _reads_control_text(control: ControlTokens, question: Question) -> bool:
    """Tell whether a question's own text becomes control tokens; kinds of our own see to theirs."""
    if isinstance(question.requests[-1], GreedyRequest):
        return False
    return control.stand_in(question.doc if question.data is None else question.data)


def _write(
    asking: Asking,
    part: Part,
    benchmark: Path,
    asked: _Asked,
    answers: Sequence[Answer],
    split: Mapping[str, int],
) -> dict[str, Any]:
    """Write the files of a part and return its facts."""
    spec = part.spec
    schema = pa.schema([*_SCHEMA, *asking.MORE_COLUMNS])
    rows = [{**a, "token_hash": h} for a, h in zip(answers, asked.token_hashes, strict=True)]
    pq.write_table(table_of(rows, schema), part.out / QUESTIONS_TABLE)
    closed = Counter(question.closed for question in asked.questions if question.closed)
    thoughts = _thoughts(asked.questions, answers)
    fewer = 0
    if spec.shots is not None and spec.on_long_prompt == "fewer_shots":
        fewer = sum(answer["shots"] < spec.shots for answer in answers)
    protocol = {**spec.protocol(), **asking.stated(spec, asked.questions), FEWER_SHOTS: fewer}
    if spec.on_long_prompt == "leave_out":
        protocol[LEFT_OUT] = asked.left_out
    if asked.control_text:
        protocol[CONTROL_TEXT] = asked.control_text
    if closed:
        protocol[CLOSED_THOUGHTS] = dict(closed)
    if thoughts["begun"]:
        protocol[THOUGHTS] = thoughts
    if asked.unasked:
        protocol[NOT_ASKED] = asked.unasked
    subjects = [spec.subject] if spec.subject else []
    if bad := count_left_out(benchmark, subjects, examples=spec.shots != 0):
        protocol[BAD_ROWS] = bad
    if split:
        protocol[SPLIT_MARKERS] = split
    text = json.dumps(protocol, indent=2, sort_keys=True)
    (part.out / PROTOCOL_FILE).write_text(text + "\n", encoding="utf-8")
    correct = sum(answer["correct"] for answer in answers)
    return {"n": len(answers), "correct": correct, "protocol": protocol}


def _thoughts(questions: Sequence[Question], answers: Sequence[Answer]) -> Thoughts:
    """Count the generated answers that begin with a thought, and those that never leave it."""
    found: Counter[Thought] = Counter()
    for question, answer in zip(questions, answers, strict=True):
        generated = sum(one.request_type in _GENERATING for one in question.requests)
        text = answer["response"]
        turns = json.loads(text) if text and generated > 1 else [text]
        found.update(thought_of(turn) for turn in turns if turn is not None)
    begun = found["closed"] + found["open"]
    return {"answers": found.total(), "begun": begun, "open": found["open"]}


def _fitting(questions: Sequence[Question], texts: TextEncoder, limit: int) -> list[Question]:
    """Return the questions that fit into the model's context with their answers.

    Raises:
        ScoreError: There is none.
    """
    found = [one for one in questions if tokens_needed(one, texts) <= limit]
    if not found:
        raise ScoreError(
            f"All {len(questions):,} conversations are longer than the {limit} tokens that the"
            " model reads, answers included. Lower `max_new_tokens`, or take a model that reads"
            " more."
        )
    return found


class _Progress:
    """How far a job is; its rate counts only questions asked now, not journalled ones."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = self._asked = 0
        self._started = time.monotonic()

    def note(self, subject: str, done: int, *, asked: bool) -> None:
        """Count questions that are answered, and say on stderr how far the job is."""
        self._done += done
        self._asked += done if asked else 0
        text = f"{subject}: {self._done:,} of {self._total:,} questions"
        left = None
        if not self._asked:
            text += ", from the journal"
        else:
            rate = self._asked / max(time.monotonic() - self._started, 1e-9)
            left = (self._total - self._done) / rate
            text += f", {rate:.2f} questions/s, about {left / 60:.1f} min left"
        print(text, file=sys.stderr, flush=True)
        note(text, left_seconds=left, last=self._done == self._total)


def _answer_all(
    questions: Sequence[Question], respondent: Respondent, scratch: Path, progress: _Progress
) -> list[Answer]:
    """Ask the questions of a part, in blocks of one subject."""
    answers: list[Answer] = []
    for subject, group in groupby(questions, key=lambda question: question.subject):
        same = list(group)
        size = _block_size(same[0])
        for start in range(0, len(same), size):
            block = same[start : start + size]
            found, journalled = answer_once(scratch, block, respondent.answer)
            answers += found
            progress.note(subject, len(found), asked=not journalled)
    return answers


def _block_size(question: Question) -> int:
    generated = question.requests[-1].request_type in _GENERATING
    if generated and compute_device() == "cpu":
        return min(_BLOCK_ANSWERS, _BLOCK_QUESTIONS)
    return _BLOCK_QUESTIONS


def write_provenance(contents: Mapping[str, str], versions: Mapping[str, str], out: Path) -> None:
    """Write `provenance.json`.

    Args:
        contents: Input -> content hash from its manifest: `model`, `benchmark`, and `adapter` where
            it was put on the model.
        versions: Library -> version, those that decide the bytes of a score.
        out: Folder of the score.
    """
    document = {"made_of": dict(contents), "versions": dict(versions)}
    text = json.dumps(document, indent=2, sort_keys=True)
    (out / PROVENANCE_FILE).write_text(text + "\n", encoding="utf-8")
