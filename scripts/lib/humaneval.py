"""Judge answers to HumanEval by running its tests over them.

config/benchmarks/tasks/humaneval.yaml names these functions. lm-eval's own task asks the hub for
the metric `code_eval` while it is read, which a compute node cannot, and runs programs without
limits of memory or files.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from scripts.lib.generated_code import passes

_FENCE = "```"


def judge(doc: Mapping[str, Any], responses: Sequence[str]) -> dict[str, float]:
    """Return whether the function that a model completed passes HumanEval's tests.

    Args:
        doc: A row of openai_humaneval: `prompt`, `test` and `entry_point`.
        responses: What the model wrote after the prompt.
    """
    return {"pass_at_1": float(passes(program_of(doc, responses[0])))}


def program_of(doc: Mapping[str, Any], response: str) -> str:
    """Return the program that raises unless the completed function is right.

    Args:
        doc: A row of openai_humaneval.
        response: What the model wrote after the prompt; what follows a closing fence is cut, as in
            lm-eval's task for instruction-tuned models.
    """
    completed = doc["prompt"] + response.partition(_FENCE)[0]
    return f"{completed}\n{doc['test']}\ncheck({doc['entry_point']})\n"
