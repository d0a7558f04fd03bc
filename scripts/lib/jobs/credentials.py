"""What jobs need from the environment and no config can hold, asked for before the first of them.

Judging and publishing come last: a variable that nobody set would end a workflow after all the
work that was to be judged or published.
"""

from collections.abc import Collection, Iterator, Mapping

from scripts.lib.artifacts.stages import STAGES
from scripts.lib.plan.missing import Plan

HUB_TOKEN = "HF_TOKEN"


def unset(plan: Plan, rules: Collection[str], environ: Mapping[str, str]) -> list[str]:
    """Return what to set first, a line for each variable that is missing or empty.

    Args:
        plan: The plan of this invocation.
        rules: Rules of which a job is about to run.
        environ: The environment.
    """
    needed = dict.fromkeys(_needed(plan, rules))
    return [
        f"{name} is not set in the environment: set it to {what}, and start again"
        for name, what in needed
        if not environ.get(name, "").strip()
    ]


def _needed(plan: Plan, rules: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield variables, and what each has to hold."""
    for id in plan.missing:
        artifact = plan.graph.artifacts[id]
        variable = artifact.execution.get("api_key_env")
        if variable and STAGES[artifact.stage].rule in rules:
            yield variable, f"the key of {artifact.spec['endpoint']}, which judges"
    if "publish" in rules:
        yield HUB_TOKEN, "a token that may write to the hub"
