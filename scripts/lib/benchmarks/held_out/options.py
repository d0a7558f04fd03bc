"""Domain retention: a benchmark on what a dataset holds out, as a configuration names it."""

from typing import ClassVar, Literal

from scripts.lib.config.benchmark_options import ConversationOptions
from scripts.lib.config.fields import Positive, Text, setting


class HeldOut(ConversationOptions):
    """How well a model does what a dataset teaches, on conversations that no run was trained on."""

    kind: Literal["held_out"] = setting(
        "Perplexity of held-out answers, and whether the model's own answers keep to the domain's"
        " form.",
        "identity",
    )
    dataset: Text = setting(
        "Dataset whose held-out conversations are asked.",
        "identity",
        allowed="a name under `datasets`",
    )
    split: Literal["test", "valid"] = setting(
        "Which of its held-out splits; training looks at valid where it evaluates or stops early,"
        " so test is the stricter one.",
        "identity",
        "test",
    )
    max_new_tokens: Positive = setting("Longest answer, in tokens.", "identity", 256)

    NEEDS: ClassVar[str] = "dataset"

    def category_map(self) -> str:
        """Return that its figures are those of a held-out set."""
        return "held_out"

    def held_out_split(self) -> tuple[str, str]:
        """Return the dataset and its split."""
        return self.dataset, self.split
