"""What decides the bytes of a score."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from scripts.lib.data.templates import OWN, TemplateSpec


@dataclass(frozen=True, kw_only=True)
class ScoreSpec:
    """What decides the bytes of a score.

    Attributes:
        kind: The benchmark's kind, whose module asks.
        subject: What is asked of the benchmark: a subject, a task of lm-eval, the split of a
            dataset; None for all of a user's own set or tasks.
        shots: Few-shot examples shown before each question; 0 for exact_match, None for each task's
            own number.
        chat_template: Whether prompts go through the model's chat template.
        limit: Only the first so many questions per subject, or None for all.
        dtype: Precision of weights and arithmetic.
        max_new_tokens: Longest generation in tokens; None where nothing is generated.
        backend: Which of lm-eval's models asks: `shared-prefix`, `hf`, or `vllm==VERSION`, which
            no lock pins.
        on_long_prompt: What becomes of a prompt that is longer than the model's context.
        template: The chat template that a base is given; `tokenizer` for what its tokenizer brings.
        template_arguments: What the chat template is given beside the turns.
    """

    kind: str
    subject: str | None
    shots: int | None
    chat_template: bool
    limit: int | None
    dtype: Literal["float32", "bfloat16"]
    max_new_tokens: int | None
    on_long_prompt: Literal["error", "fewer_shots", "leave_out"]
    backend: str
    template: TemplateSpec = OWN
    template_arguments: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> "ScoreSpec":
        """Build the spec from parsed JSON."""
        return cls(**mapping)

    def protocol(self) -> dict[str, Any]:
        """Return what has to be stated beside every number, whatever the subject.

        The template is not part of it: a base is given what a run brings, and the prompts show
        whether the two asked the same. Nor are arguments for a template where there are none.
        """
        left_out = ["subject", "template"]
        if not self.template_arguments:
            left_out.append("template_arguments")
        return {key: value for key, value in asdict(self).items() if key not in left_out}
