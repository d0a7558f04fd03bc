"""What a scoring job has to know of a kind of benchmark; its module says it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from scripts.lib.questions.question import Question
from scripts.lib.questions.spec import ScoreSpec


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
    ) -> Iterator[Question]:
        """Yield every question of a job.

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
