"""MMLU, or questions in its schema, as a configuration names them."""

from collections.abc import Set
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from scripts.lib.config.benchmark_options import ChoiceOptions
from scripts.lib.config.fields import COMMIT, Count, DatasetCommit, HubName, Text, setting


def _sorted_subjects(subjects: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(subjects)))


Subject = Annotated[str, Field(strict=True, pattern=r"^[a-z0-9_]+$")]
Subjects = Annotated[tuple[Subject, ...], Field(min_length=1), AfterValidator(_sorted_subjects)]


class MmluOptions(ChoiceOptions):
    """How multiple-choice questions in MMLU's schema are asked and grouped."""

    kind: Literal["mmlu"] = setting("Four choices for a question, by subject.", "identity")
    shots: Count = setting("Solved questions of the subject shown first.", "identity", 5)
    subjects: Subjects | None = setting("Ask only these subjects.", "identity", None)
    categories: Literal["hendrycks", "lm-eval", "cmmlu", "ceval"] = setting(
        "Map from subject to category: the first two are MMLU's and differ over anatomy (Other or"
        " STEM), the others those of CMMLU and C-Eval.",
        "identity",
        "hendrycks",
    )

    NEEDS: ClassVar[str] = "path, or with hub and revision"

    def category_map(self) -> str:
        """Return the map from subject to category."""
        return self.categories


class LocalMmlu(MmluOptions):
    """MMLU, or questions in its schema, in a local folder or archive."""

    path: Text = setting(
        "Folder with `test` and `dev` questions, as JSON lines or as the CSV tables of MMLU, CMMLU"
        " or C-Eval; or a zip or tar archive of such tables.",
        "location",
    )

    @classmethod
    def is_meant(cls, keys: Set[str]) -> bool:
        """Tell by the keys whether a local folder is meant."""
        return "path" in keys and not HubMmlu.is_meant(keys)


class HubMmlu(MmluOptions):
    """MMLU, or questions in its schema, on the Hugging Face hub, pinned."""

    hub: HubName = setting("Repository of the benchmark.", "identity", allowed="OWNER/NAME")
    revision: DatasetCommit = setting("Commit of the repository.", "identity", allowed=COMMIT)

    @classmethod
    def is_meant(cls, keys: Set[str]) -> bool:
        """Tell by the keys whether a repository is meant."""
        return bool(keys & {"hub", "revision"})
