"""What a benchmark asked, for people to read: questions, choices and few-shot examples.

The texts are those of the benchmark's own artifact; scores hold none of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from scripts.lib.benchmarks.kinds import load
from scripts.lib.contamination.texts import choice_texts, rows_of
from scripts.lib.questions.rows import LETTERS, Row


@dataclass(frozen=True)
class Choice:
    """One of the answers that a model chose from.

    Attributes:
        letter: What it is called; empty where choices have no letters.
        text: What it says.
    """

    letter: str
    text: str


@dataclass(frozen=True)
class AskedQuestion:
    """A question, or a solved one that was shown before it.

    Attributes:
        id: As in the scores; empty for a few-shot example.
        subject: As in the scores.
        text: What was asked, without choices, examples and chat template.
        choices: What there was to choose from; empty where an answer was generated.
        answer: Of a few-shot example what is right; of a question the scores say it.
    """

    id: str
    subject: str
    text: str
    choices: tuple[Choice, ...] = ()
    answer: str = ""


@dataclass(frozen=True)
class Asked:
    """All questions of a benchmark.

    Attributes:
        questions: Id -> question, in the order of the benchmark.
        examples: Subject -> few-shot examples that all of its questions were asked after.
    """

    questions: Mapping[str, AskedQuestion] = field(default_factory=dict)
    examples: Mapping[str, Sequence[AskedQuestion]] = field(default_factory=dict)


class Showing(Protocol):
    """The module of a kind whose questions are right or wrong, for `write_report`.

    Attributes:
        ANSWERS_ARE_LETTERS: Whether answers are letters of choices, which give no text away.
    """

    ANSWERS_ARE_LETTERS: bool

    def asked(self, benchmark: Path, shots: int | None) -> Asked:
        """Return what was asked.

        Args:
            benchmark: Folder of the benchmark.
            shots: Few-shot examples before each question; None for each task's own number.
        """
        ...


def showing(kind: str) -> Showing:
    """Return the module that reads the questions of a kind."""
    module: Showing = load("write_report", kind)
    return module


def asked_choices(
    benchmark: Path, shots: int | None, subject_of: Callable[[str, Row], str]
) -> Asked:
    """Return what a benchmark of multiple-choice questions asked.

    Args:
        benchmark: Folder with `test/` and, for few-shot examples, `dev/`.
        shots: Few-shot examples before each question.
        subject_of: Stem of a file and one of its rows -> the subject.
    """
    questions: dict[str, AskedQuestion] = {}
    stems: dict[str, str] = {}
    for stem, place, row in choice_texts(benchmark):
        subject = subject_of(stem, row)
        stems[subject] = stem
        questions[f"{stem}:{place}"] = _choices(f"{stem}:{place}", subject, row)
    examples = {
        subject: [_choices("", subject, row) for row in rows]
        for subject, stem in stems.items()
        if (rows := list(_examples(benchmark / "dev" / f"{stem}.jsonl", shots or 0)))
    }
    return Asked(questions, examples)


def _examples(file: Path, shots: int) -> Iterator[Row]:
    yield from rows_of(file)[:shots] if shots else ()


def _choices(id_: str, subject: str, row: Row) -> AskedQuestion:
    return AskedQuestion(
        id_,
        subject,
        str(row["question"]).strip(),
        tuple(Choice(*pair) for pair in zip(LETTERS, map(str, row["choices"]), strict=False)),
        LETTERS[row["answer"]],
    )
