"""A user's own multiple-choice questions, as a configuration names them."""

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from scripts.lib.config.benchmark_options import ChoiceOptions
from scripts.lib.config.fields import Count, Text, refusal, setting


class MultipleChoice(ChoiceOptions):
    """Your own multiple-choice questions, answered by letter as MMLU's are."""

    kind: Literal["multiple_choice"] = setting("Any number of choices for a question.", "identity")
    path: Text = setting(
        "JSON lines, a JSON array, CSV or Parquet with `question`, `choices` (or `A`, `B`, ...) and"
        " `answer`.",
        "location",
    )
    answers: Literal["auto", "letter", "index_from_0", "index_from_1", "text"] = setting(
        "What `answer` holds: a letter, a place among the choices, or the right one's text.",
        "identity",
        "auto",
    )
    category_column: Text | None = setting(
        "Column of a question's category; each category has a score of its own.", "identity", None
    )
    shots_path: Text | None = setting(
        "File of solved questions in the same form, to be shown first.", "location", None
    )
    shots: Count = setting(
        "Solved questions shown first; of the same category where `shots_path` names it.",
        "identity",
        0,
    )

    @model_validator(mode="after")
    def _shots_come_from_somewhere(self) -> Self:
        if self.shots and not self.shots_path:
            raise refusal("needs solved questions; give their file as shots_path", "shots")
        if self.shots_path and not self.shots:
            raise refusal("shows nothing without shots; say how many as shots", "shots_path")
        return self

    NEEDS: ClassVar[str] = "path"

    def category_map(self) -> str:
        """Return that the set's own categories count, where it has any."""
        return "column" if self.category_column else "none"
