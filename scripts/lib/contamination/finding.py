"""Find the questions of a benchmark in the conversations of a dataset."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from scripts.lib.benchmarks import kinds
from scripts.lib.contamination.document import (
    CONVERSATIONS_TABLE,
    QUESTIONS_TABLE,
    SEARCHED,
    FoundConversation,
    FoundQuestion,
    Searched,
    Split,
    times,
)
from scripts.lib.contamination.matching import Match, Method, Questions, shortest
from scripts.lib.contamination.texts import QuestionText
from scripts.lib.contamination.words import spans, words
from scripts.lib.data.parquet import table_of

_QUESTIONS = pa.schema(
    [
        *((name, pa.string()) for name in ("question_id", "subject", "how")),
        ("share", pa.float64()),
        *((name, pa.int64()) for name in SEARCHED),
        *((name, pa.string()) for name in ("split", "conversation_id", "question", "excerpt")),
    ]
)
_CONVERSATIONS = pa.schema(
    [
        *((name, pa.string()) for name in ("conversation_id", "split", "how")),
        ("share", pa.float64()),
        ("question_id", pa.string()),
        ("questions", pa.int64()),
    ]
)
_ROWS_AT_ONCE = 2_000
_EXAMPLES = 5
_QUESTION_CHARACTERS = 500
_EXCERPT_CHARACTERS = 300
_BEFORE = 40
"""Characters of an excerpt before what was found."""


@dataclass(frozen=True, kw_only=True)
class ContaminationSpec:
    """What decides which questions are found.

    Attributes:
        kind: The benchmark's kind, whose module says what its questions are.
        subject: The split of a dataset that is asked; None where the benchmark is one of its own.
        ngram: Words of an n-gram.
        threshold: Share of a question's words from which on it is found, above 0 and up to 1.
    """

    kind: str
    subject: str | None
    ngram: int
    threshold: float


def find_contamination(
    spec: ContaminationSpec, benchmark: Path, chat: Path, out: Path
) -> dict[str, Any]:
    """Write `questions.parquet`, `conversations.parquet` and `summary.json`.

    Args:
        spec: What is looked for, and how.
        benchmark: Folder of the questions.
        chat: Folder of `format_chat` with the conversations.
        out: Existing empty folder.

    Returns:
        `{"contamination"}`, the summary.
    """
    asked = list(kinds.load("find_contamination", spec.kind).texts(benchmark, spec.subject))
    method = Method(ngram=spec.ngram, threshold=spec.threshold)
    found = _search(asked, Questions([one.text for one in asked], method), chat)
    questions = sorted(found.questions.values(), key=lambda one: one["question_id"])
    summary: Searched = {
        "kind": spec.kind,
        "ngram": spec.ngram,
        "threshold": spec.threshold,
        "shortest": shortest(method),
        "questions": len(asked),
        "short": sum(len(words(one.text)) < shortest(method) for one in asked),
        "conversations": {split: found.searched[split] for split in SEARCHED},
        "found": {split: sum(bool(times(one, split)) for one in questions) for split in SEARCHED},
        "exact": {split: len(found.exact[split]) for split in SEARCHED},
        "holding": {
            split: sum(one["split"] == split for one in found.conversations) for split in SEARCHED
        },
        "examples": sorted(questions, key=lambda one: (one["split"], -one["share"]))[:_EXAMPLES],
    }
    pq.write_table(table_of(questions, _QUESTIONS), out / QUESTIONS_TABLE)
    pq.write_table(table_of(found.conversations, _CONVERSATIONS), out / CONVERSATIONS_TABLE)
    text = json.dumps(summary, indent=2, ensure_ascii=False)
    (out / "summary.json").write_text(text + "\n", encoding="utf-8")
    return {"contamination": summary}


class _Found:
    """What was found so far."""

    def __init__(self) -> None:
        self.questions: dict[int, FoundQuestion] = {}
        self.conversations: list[FoundConversation] = []
        self.searched: Counter[str] = Counter()
        self.exact: dict[str, set[int]] = {split: set() for split in SEARCHED}


def _search(asked: Sequence[QuestionText], questions: Questions, chat: Path) -> _Found:
    found = _Found()
    for split in SEARCHED:
        table = chat / f"{split}.parquet"
        if not table.is_file():
            continue
        for ids, turns in _conversations(table):
            found.searched[split] += len(ids)
            held: dict[int, list[Match]] = {}
            for match in questions.find(turns):
                held.setdefault(match.conversation, []).append(match)
                one = asked[match.question]
                _note(found, match, one, cast(Split, split), ids, turns)
            for place, matches in held.items():
                best = max(matches, key=lambda match: match.share)
                found.conversations.append(
                    {
                        "conversation_id": ids[place],
                        "split": cast(Split, split),
                        "how": best.how,
                        "share": best.share,
                        "question_id": asked[best.question].id,
                        "questions": len(matches),
                    }
                )
    return found


def _note(
    found: _Found,
    match: Match,
    one: QuestionText,
    split: Split,
    ids: Sequence[str],
    turns: Sequence[Sequence[str]],
) -> None:
    """Count a question that a conversation holds; keep where it is found best."""
    old = found.questions.get(match.question)
    counts = {name: times(old, name) if old else 0 for name in SEARCHED}
    counts[split] += 1
    if match.how == "exact":
        found.exact[split].add(match.question)
    # Of the two splits the first counts: it is what models learn from.
    if old and (
        old["split"] != split
        or (old["share"], old["how"] == "exact")
        >= (
            match.share,
            match.how == "exact",
        )
    ):
        found.questions[match.question] = {
            **old,
            "train": counts["train"],
            "valid": counts["valid"],
        }
        return
    found.questions[match.question] = {
        "question_id": one.id,
        "subject": one.subject,
        "how": match.how,
        "share": match.share,
        "train": counts["train"],
        "valid": counts["valid"],
        "split": split,
        "conversation_id": ids[match.conversation],
        "question": one.text[:_QUESTION_CHARACTERS],
        "excerpt": excerpt(turns[match.conversation][match.turn], match.word),
    }


def excerpt(text: str, word: int) -> str:
    """Return a part of a text that begins shortly before a word of it.

    Args:
        text: The text.
        word: Place of the word among those of the text.
    """
    places = spans(text)
    begin = max(0, places[word][0] - _BEFORE) if word < len(places) else 0
    part = text[begin : begin + _EXCERPT_CHARACTERS]
    before = "… " if begin else ""
    after = " …" if begin + _EXCERPT_CHARACTERS < len(text) else ""
    return before + part.strip() + after


def _conversations(table: Path) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Yield ids and the texts of the turns, some conversations at a time.

    What an assistant thinks is text that is learnt, as what it says is.
    """
    with pq.ParquetFile(table) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=["conversation_id", "messages"]):
            messages = batch.column("messages")
            turns = messages.flatten()
            parts = [
                turns.field(name).to_pylist()
                for name in ("content", "reasoning")
                if turns.type.get_field_index(name) >= 0
            ]
            texts: list[list[str]] = []
            at = 0
            for length in messages.value_lengths().to_pylist():
                own = [part[at : at + length] for part in parts]
                texts.append([text for part in own for text in part if text])
                at += length
            yield batch.column("conversation_id").to_pylist(), texts
