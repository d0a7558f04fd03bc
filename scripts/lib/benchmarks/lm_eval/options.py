"""Benchmarks that lm-eval brings, or that a user wrote for it."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from scripts.lib.config.benchmark_options import AskedOptions, Finding
from scripts.lib.config.fields import (
    COMMIT,
    Count,
    DatasetCommit,
    Flag,
    HubName,
    Text,
    refusal,
    setting,
)
from scripts.lib.config.task_strings import task_fault


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _each_once(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _in_order(values: Mapping[str, str]) -> Mapping[str, str]:
    return dict(sorted(values.items()))


_Texts = Annotated[
    tuple[Text, ...],
    BeforeValidator(_one_or_many, json_schema_input_type=str | list[str]),
    Field(min_length=1),
    AfterValidator(_each_once),
]
_Commits = Annotated[
    Mapping[HubName, DatasetCommit], AfterValidator(_in_order), PlainSerializer(dict)
]


class LmEval(AskedOptions):
    """Any task or group of lm-eval by its name, or one that you wrote for it."""

    kind: Literal["lm_eval"] = setting("Tasks of lm-eval.", "identity")
    tasks: _Texts | None = setting(
        "Names of tasks or groups that lm-eval brings; each task has a score of its own.",
        "identity",
        None,
        allowed="a name or a list of names, such as [truthfulqa_mc1, truthfulqa_mc2]",
    )
    path: _Texts | None = setting(
        "Your own YAML file of a task or a group, or a list of them, instead of `tasks`. What they"
        " include, the modules behind their `!function`s and what those import from the same"
        " folder come along.",
        "location",
        None,
        allowed="a path or a list of paths",
    )
    metric: Text | None = setting(
        "The metric that counts, if need be with its filter: `acc_norm`, or"
        " `exact_match,strict-match`. Left out: each task's first that is a mean over questions,"
        " with its first filter. Another metric runs no model again.",
        "identity",
        None,
    )
    shots: Count | None = setting(
        "Few-shot examples; left out: the task's own number. Tasks that fix it at 0 keep that.",
        "identity",
        None,
    )
    chat_template: Flag = setting("Put the question into the chat template.", "identity", False)
    data: Text | None = setting(
        "Folder with the rows, instead of the hub:"
        " `{dataset_path}/{dataset_name or default}/{split}.jsonl` (or .csv, .parquet).",
        "location",
        None,
    )
    revisions: _Commits = setting(
        "Commits of the repositories that the tasks read; of others the newest is taken, and"
        " which one that was stands in the manifest.",
        "identity",
        {},
        allowed=f"OWNER/NAME: {COMMIT}",
    )
    run_generated_code: Flag = setting(
        "Let tasks run the programs that the model writes. Without it they are refused.",
        "gate",
        False,
    )

    @model_validator(mode="after")
    def _tasks_come_from_one_place(self) -> Self:
        if self.tasks and self.path:
            raise refusal("names tasks beside `path`; give one of the two", "tasks")
        if not self.tasks and not self.path:
            raise refusal("is left out; name tasks of lm-eval, or give your own as path", "tasks")
        for fault in filter(None, map(task_fault, self.tasks or ())):
            raise refusal(fault, "tasks")
        return self

    NEEDS: ClassVar[str] = "tasks or path"

    def category_map(self) -> str:
        """Return that each of several tasks has a score of its own."""
        return "tasks"

    def metric_spec(self) -> dict[str, Any]:
        """Return which value of the tasks counts."""
        return {"task_metric": self.metric}

    def gates(self) -> tuple[tuple[Finding, str | None], ...]:
        """Return what the fetched tasks may forbid: code that is run, a metric that none gives."""
        found: list[tuple[Finding, str | None]] = []
        if not self.run_generated_code:
            found.append(("unsafe_code", None))
        if self.metric:
            found.append(("metric", self.metric))
        return tuple(found)
