"""What every benchmark can be told, whatever its kind."""

from typing import Literal

from scripts.lib.config.fields import Positive, Settings, setting


class BenchmarkOptions(Settings):
    """What every benchmark can be told."""

    limit: Positive | None = setting(
        "Ask only the first questions (of each subject), at most so many.", "identity", None
    )
    dtype: Literal["float32", "bfloat16"] = setting(
        "Precision of the weights and of the arithmetic while scoring.", "identity", "float32"
    )


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
