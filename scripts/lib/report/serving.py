"""What the report says of serving the tuned models: the commands, with their names and folders."""

import shlex
from collections.abc import Sequence
from typing import TypedDict

from scripts.lib.report.manifests import Manifests, ReportedCandidate

MOST_SERVED = 4
"""Models whose commands are written out; those of all others differ in the name alone."""

_MERGED = ("merged", "trained")


class ServedView(TypedDict):
    """One model: how each server is started."""

    name: str
    vllm: str
    convert: str
    llama: str


class ServingView(TypedDict):
    """The section: the first models, and how many more there are."""

    models: list[ServedView]
    more: int


def serving(candidates: Sequence[ReportedCandidate], manifests: Manifests) -> ServingView | None:
    """Return how to serve what was tuned and is a whole model; None without any.

    The commands are those of vLLM (docs.vllm.ai, `vllm serve`) and of llama.cpp, whose converter
    runs in a checkout of it.

    Args:
        candidates: All of them.
        manifests: Manifests by artifact id.
    """
    whole = [
        candidate.name
        for candidate in candidates
        if candidate.kind != "base"
        and any(candidate.artifacts.get(stage, "") in manifests for stage in _MERGED)
    ]
    if not whole:
        return None
    shown = whole[:MOST_SERVED]
    return {"models": [_commands(name) for name in shown], "more": len(whole) - len(shown)}


def _commands(name: str) -> ServedView:
    folder, file = f"results/runs/{name}/model", f"{name}.gguf"
    return {
        "name": name,
        "vllm": shlex.join(["vllm", "serve", folder, "--served-model-name", name]),
        "convert": shlex.join(
            ["python", "convert_hf_to_gguf.py", folder, "--outfile", file, "--outtype", "auto"]
        ),
        "llama": shlex.join(["llama-server", "-m", file, "--alias", name, "--jinja"]),
    }
