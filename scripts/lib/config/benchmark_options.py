"""What benchmarks can be told, and what planning asks of their options, whatever the kind."""

from collections.abc import Set
from typing import Any, ClassVar, Literal, Self, TypeAlias, get_args

from pydantic import model_validator

from scripts.lib.config.fields import (
    ARGUMENTS,
    NO_ARGUMENTS,
    Flag,
    Positive,
    Settings,
    TemplateArguments,
    refusal,
    setting,
)

Finding: TypeAlias = Literal["unsafe_code", "metric"]
"""What fetched questions can say that forbids to ask them."""

# All of a benchmark's identity but its questions, its subjects and their map.
_PROTOCOL = {
    *("kind", "shots", "chat_template", "limit", "dtype", "max_new_tokens"),
    *("on_long_prompt", "backend"),
}


class BenchmarkOptions(Settings):
    """What every benchmark can be told."""

    limit: Positive | None = setting(
        "Ask only the first questions (of each subject), at most so many.", "identity", None
    )
    dtype: Literal["float32", "bfloat16"] = setting(
        "Precision of the weights and of the arithmetic while scoring.", "identity", "float32"
    )

    template_arguments: TemplateArguments = setting(
        "What the chat template is given beside the turns, the same for every model; what a"
        " held-out conversation brings itself wins.",
        "identity",
        NO_ARGUMENTS,
        allowed=ARGUMENTS,
    )

    NEEDS: ClassVar[str]
    """The keys that go with the kind, in words."""

    @model_validator(mode="after")
    def _arguments_go_with_a_template(self) -> Self:
        if self.template_arguments and not getattr(self, "chat_template", True):
            raise refusal(
                "are of no use without `chat_template: true`; leave them out, or set it",
                "template_arguments",
            )
        return self

    @classmethod
    def kind_name(cls) -> str:
        """Return the kind that these are options of."""
        (name,) = get_args(cls.model_fields["kind"].annotation)
        return str(name)

    @classmethod
    def is_meant(cls, keys: Set[str]) -> bool:
        """Tell by the keys that are given whether this form of the kind is meant."""
        return True

    def protocol(self) -> dict[str, Any]:
        """Return how the benchmark is asked, as a score's spec holds it."""
        return {
            "shots": 0,
            "chat_template": True,
            "max_new_tokens": None,
            "on_long_prompt": "error",
            "backend": "shared-prefix",
            **self.model_dump(include=_PROTOCOL),
            # Only where there are any, so that other scores keep their keys.
            **self.model_dump(include={"template_arguments"} if self.template_arguments else set()),
        }

    def category_map(self) -> str:
        """Return how scores are summed up; `none` is the average alone."""
        return "none"

    def metric_spec(self) -> dict[str, Any] | None:
        """Return how kept answers are judged when they are summed up; None where scoring did so."""
        return None

    def gates(self) -> tuple[tuple[Finding, str | None], ...]:
        """Return the findings about fetched questions that may forbid to ask them, with a limit."""
        return ()

    def held_out_split(self) -> tuple[str, str] | None:
        """Return dataset and split, where what a dataset holds out is asked; else None."""
        return None


class RowOptions(Settings):
    """What a benchmark can be told whose questions are rows in a known form."""

    on_bad_row: Literal["error", "leave_out"] = setting(
        "When a row is no question, such as one without an answer: refuse the benchmark, or leave"
        " the row out and count it.",
        "identity",
        "error",
    )


class ConversationOptions(BenchmarkOptions):
    """What a benchmark can be told whose questions are conversations to be answered freely."""

    on_long_prompt: Literal["error", "leave_out"] = setting(
        "When a conversation with its answer is longer than the model's context: refuse to score,"
        " or leave it out and count it.",
        "identity",
        "error",
    )


class AskedOptions(BenchmarkOptions):
    """What a benchmark can be told whose requests are lm-eval's."""

    backend: Literal["shared-prefix", "hf", "vllm"] = setting(
        "Which of lm-eval's models asks: this project's own, which reads shared examples once, the"
        " one that it is made from, or vLLM (unproven: it could not be run where this was made;"
        " install the package `vllm` beside the locked ones).",
        "identity",
        "shared-prefix",
    )


class ChoiceOptions(AskedOptions, RowOptions):
    """What a benchmark of multiple-choice questions can be told."""

    chat_template: Flag = setting("Put the question into the chat template.", "identity", False)
    on_long_prompt: Literal["error", "fewer_shots"] = setting(
        "When a prompt is longer than the model's context: refuse to score, or leave out the last"
        " examples of that question and count it.",
        "identity",
        "error",
    )
