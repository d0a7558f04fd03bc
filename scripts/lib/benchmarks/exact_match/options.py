"""Questions whose answers are generated and compared, as a configuration names them."""

import re
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from scripts.lib.config.benchmark_options import AskedOptions, RowOptions
from scripts.lib.config.fields import Flag, Positive, Text, refusal, setting


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

    NEEDS: ClassVar[str] = "path"

    def metric_spec(self) -> dict[str, Any]:
        """Return how the answers are compared with the expected ones."""
        return {"name": self.metric, "pattern": self.pattern, "ignore_case": self.ignore_case}


def _groups(pattern: str | None) -> int | None:
    """Return the number of groups of a regular expression, None if it is none."""
    try:
        return None if pattern is None else re.compile(pattern).groups
    except re.error:
        return None
