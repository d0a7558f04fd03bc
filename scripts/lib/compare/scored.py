"""A candidate's answers to one benchmark, by category and by subject."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from scripts.lib.compare.spec import ComparedCandidate
from scripts.lib.compare.tables import read_categories, read_protocol
from scripts.lib.questions.categories import AVERAGE
from scripts.lib.score.answers import Answers, Scores, read_answers
from scripts.lib.score.documents import OwnProtocol, ScoreProtocol, shared_protocol


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A candidate's answers to one benchmark.

    Attributes:
        candidate: The candidate.
        answers: Those that count.
        protocol: How it was asked.
        categories: Subjects of each category.
        category_map: Name of the map that says so.
    """

    candidate: ComparedCandidate
    answers: Answers
    protocol: OwnProtocol
    categories: Mapping[str, tuple[str, ...]]
    category_map: str

    @property
    def ids(self) -> pa.ChunkedArray:
        """Id of every question, in order."""
        return self.answers.table["question_id"]

    @property
    def prompts(self) -> pa.ChunkedArray:
        """Hash of every prompt, in the order of ids."""
        return self.answers.table["prompt_hash"]

    @property
    def shared(self) -> ScoreProtocol:
        """What of the protocol is the same for all that stand side by side."""
        return shared_protocol(self.protocol)

    @property
    def shortened(self) -> int:
        """How many questions were asked with fewer few-shot examples, being too long."""
        return self.protocol["fewer_shots"]

    @property
    def subjects(self) -> tuple[str, ...]:
        """Its subjects where there are several and these are no categories themselves."""
        subjects = self.categories[AVERAGE]
        return () if len(subjects) == 1 or {*subjects} & {*self.categories} else subjects

    @functools.cached_property
    def by_category(self) -> dict[str, Scores]:
        """The scores of each category."""
        return {name: self.answers.of(subjects) for name, subjects in self.categories.items()}

    @functools.cached_property
    def by_subject(self) -> dict[str, Scores]:
        """The scores of each subject."""
        return {subject: self.answers.of((subject,)) for subject in self.categories[AVERAGE]}

    def other_prompts(self, base: "Scored") -> list[str]:
        """Return the questions that it was asked in other words than its base.

        Args:
            base: Answers to the same questions.
        """
        found: list[str] = self.ids.filter(self._differs(base, "prompt_hash")).to_pylist()
        return found

    def other_tokens(self, base: "Scored") -> int:
        """Return how many questions it read as other tokens, asked in the same words.

        Args:
            base: Answers to the same questions.
        """
        same = pc.invert(self._differs(base, "prompt_hash"))
        return int(pc.sum(pc.and_(same, self._differs(base, "token_hash"))).as_py() or 0)

    def _differs(self, base: "Scored", column: str) -> pa.ChunkedArray:
        differs = pc.not_equal(self.answers.table[column], base.answers.table[column])
        return pc.fill_null(differs, True)


def load_scored(
    candidate: ComparedCandidate, benchmark: str, artifacts: Mapping[str, Path]
) -> Scored:
    """Read a candidate's answers to a benchmark.

    Args:
        candidate: A candidate with scores of it.
        benchmark: Its name.
        artifacts: Folder of every category score.

    Raises:
        ScoreError: Its files are not whole, or count other answers than these.
    """
    folder = artifacts[candidate.categories[benchmark]]
    answers = read_answers(folder, benchmark)
    categories, category_map = read_categories(folder, benchmark, answers)
    return Scored(
        candidate=candidate,
        answers=answers.in_subjects(categories[AVERAGE]),
        protocol=read_protocol(folder, benchmark),
        categories=categories,
        category_map=category_map,
    )
