"""The benchmarks that a configuration can name."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from scripts.lib.config.benchmark_options import AskedOptions, RowOptions
from scripts.lib.config.fields import (
    Count,
    DatasetCommit,
    Flag,
    HubName,
    Positive,
    Text,
    refusal,
    setting,
)
from scripts.lib.config.held_out import HeldOut
from scripts.lib.config.judged_pairs import JudgedPairs
from scripts.lib.config.lm_eval import LmEval
from scripts.lib.config.sources import COMMIT, given_keys


def _sorted_subjects(subjects: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(subjects)))


Subject = Annotated[str, Field(strict=True, pattern=r"^[a-z0-9_]+$")]
Subjects = Annotated[tuple[Subject, ...], Field(min_length=1), AfterValidator(_sorted_subjects)]


class ChoiceOptions(AskedOptions, RowOptions):
    """What a benchmark of multiple-choice questions can be told."""

    chat_template: Flag = setting("Put the question into the chat template.", "identity", False)
    on_long_prompt: Literal["error", "fewer_shots"] = setting(
        "When a prompt is longer than the model's context: refuse to score, or leave out the last"
        " examples of that question and count it.",
        "identity",
        "error",
    )


class MmluOptions(ChoiceOptions):
    """How multiple-choice questions in MMLU's schema are asked and grouped."""

    kind: Literal["mmlu"] = setting("Four choices for a question, by subject.", "identity")
    shots: Count = setting("Solved questions of the subject shown first.", "identity", 5)
    subjects: Subjects | None = setting("Ask only these subjects.", "identity", None)
    categories: Literal["hendrycks", "lm-eval"] = setting(
        "Map from subject to category; the two differ over anatomy (Other or STEM).",
        "identity",
        "hendrycks",
    )


class LocalMmlu(MmluOptions):
    """MMLU, or questions in its schema, in a local folder."""

    path: Text = setting("Folder with `test` and `dev` questions.", "location")


class HubMmlu(MmluOptions):
    """MMLU, or questions in its schema, on the Hugging Face hub, pinned."""

    hub: HubName = setting("Repository of the benchmark.", "identity", allowed="OWNER/NAME")
    revision: DatasetCommit = setting("Commit of the repository.", "identity", allowed=COMMIT)


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


class ExactMatch(AskedOptions, RowOptions):
    """Your own questions, whose answers are generated and compared with the expected ones."""

    kind: Literal["exact_match"] = setting("The answer is generated and compared.", "identity")
    metric: Literal["exact", "normalized", "contains", "regex", "numeric"] = setting(
        "How the two are compared: as they are, without case and punctuation, whether the answer"
        " stands in the response, what `pattern` finds there, or the last numbers of both."
        " Another metric runs no model again.",
        "identity",
        "exact",
    )
    pattern: Text | None = setting(
        "For metric regex: a regular expression with one group, whose first match is compared.",
        "identity",
        None,
    )
    ignore_case: Flag = setting("Compare without regard to case.", "identity", False)
    path: Text = setting(
        "JSON lines, or a JSON array, with `prompt` or `messages`, and `answer`.",
        "location",
    )
    chat_template: Flag = setting("Put the question into the chat template.", "identity", True)
    max_new_tokens: Positive = setting("Longest answer, in tokens.", "identity", 64)

    @model_validator(mode="after")
    def _pattern_goes_with_regex(self) -> Self:
        if self.metric != "regex" and self.pattern is not None:
            raise refusal(f"is of no use to metric {self.metric}; leave it out", "pattern")
        if self.metric == "regex" and _groups(self.pattern) != 1:
            raise refusal("is no regular expression with exactly one group", "pattern")
        return self


def _groups(pattern: str | None) -> int | None:
    """Return the number of groups of a regular expression, None if it is none."""
    try:
        return None if pattern is None else re.compile(pattern).groups
    except re.error:
        return None


def _benchmark_form(value: object) -> str | None:
    """Tell by its kind and keys which form of benchmark *value* is meant to be."""
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    if kind == "mmlu":
        keys = given_keys(value)
        return "HubMmlu" if keys & {"hub", "revision"} else "LocalMmlu" if "path" in keys else None
    forms = {
        "multiple_choice": "MultipleChoice",
        "exact_match": "ExactMatch",
        "held_out": "HeldOut",
        "lm_eval": "LmEval",
        "judged_pairs": "JudgedPairs",
    }
    return forms.get(str(kind))


Benchmark: TypeAlias = Annotated[
    Annotated[LocalMmlu, Tag("LocalMmlu")]
    | Annotated[HubMmlu, Tag("HubMmlu")]
    | Annotated[MultipleChoice, Tag("MultipleChoice")]
    | Annotated[ExactMatch, Tag("ExactMatch")]
    | Annotated[LmEval, Tag("LmEval")]
    | Annotated[HeldOut, Tag("HeldOut")]
    | Annotated[JudgedPairs, Tag("JudgedPairs")],
    Discriminator(
        _benchmark_form,
        custom_error_type="form_of_benchmark",
        custom_error_message="is no benchmark; allowed: kind mmlu with path, or with hub and"
        " revision; kind multiple_choice or exact_match with path; kind judged_pairs with path or"
        " dataset; kind lm_eval with tasks or path; or kind held_out with dataset",
    ),
]
