"""The command lines with which the rules call their programs, taken from a frozen plan."""

from pathlib import Path
from typing import NamedTuple

from scripts.lib.artifacts.stages import STAGES
from scripts.lib.plan.missing import read_frozen

INPUTS = {
    "format_chat": ("raw",),
    "find_contamination": ("chat", "benchmark"),
    "drop_contaminated": ("chat",),
    "render_shards": ("chat", "model"),
    "show_examples": ("raw", "chat", "shards"),
    "fetch_adapter": ("model",),
    "train_adapter": ("model", "shards"),
    "train_model": ("model", "shards"),
    "combine_adapters": ("model",),
    "merge_adapter": ("model", "adapter"),
    "prove_merge": ("model", "adapter", "merged"),
    "compare_weights": ("model", "checkpoint"),
    "score_benchmark": ("model", "benchmark"),
    "judge_pairs": ("benchmark", "judge"),
    "ask_judge": ("benchmark",),
}
"""Rule -> the inputs that its command line names."""


class Command(NamedTuple):
    """One job: its arguments, and the artifacts that it makes."""

    argv: list[str]
    ids: list[str]


def commands(plan: Path, stage: str) -> list[Command]:
    """Return the jobs that make what a frozen plan lists of a stage."""
    frozen = read_frozen(plan)
    jobs = [
        (["--batch", f"results/{batch}.json"], planned["artifacts"])
        for batch, planned in frozen["batches"].items()
    ]
    batched = {id for _, ids in jobs for id in ids}
    jobs += [
        (["--artifact", f"results/{id}", "--manifest", f"results/{id}.json"], [id])
        for id in frozen["artifacts"]
        if id not in batched
    ]
    found = []
    for made, ids in jobs:
        entry = frozen["artifacts"][ids[0]]
        if entry["stage"] == stage:
            named = [
                word
                for name in INPUTS.get(STAGES[stage].rule, ())
                for word in (f"--{name}", *(place for _, place in entry["reads"][name]))
            ]
            found.append(Command(["--plan", str(plan), *made, *named], ids))
    return found
