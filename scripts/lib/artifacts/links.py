"""Links for people: what belongs to a run, and the newest report, under plain names.

    results/runs/<candidate>/{model,adapter,shards,examples,chat,proof} -> artifacts
    results/runs/<candidate>/{shards,examples,chat}/<dataset>          -> of a mixture, each
    results/runs/<candidate>/scores/<benchmark>.<category>.json        -> category files
    results/report/{index.html,comparison.json,...}                    -> the newest report

Views are made anew from the plan whenever a workflow starts or ends. They are never read by a job.
"""

import os
import shutil
from pathlib import Path

from scripts.lib.artifacts.graph import Candidate, Graph
from scripts.lib.artifacts.store import Store

LINKS = {
    "adapters": "adapter",
    "chat": "chat",
    "combined": "adapter",
    "decontaminated": "chat",
    "examples": "examples",
    "given_adapters": "adapter",
    "merged": "model",
    "proofs": "proof",
    "shards": "shards",
    "trained": "model",
}
"""Stage -> the name of its link in a run's folder."""

MIXED = ("chat", "examples", "shards")
"""Stages that make something of each dataset of a mixture."""


def refresh(graph: Graph, store: Store) -> None:
    """Make the views of *graph* say what is there now; what is not there has no link."""
    runs = store.results / "runs"
    names = {candidate.name for candidate in graph.candidates}
    if runs.is_dir():
        for old in runs.iterdir():
            if old.name not in names:
                _remove(old)
    for candidate in graph.candidates:
        _candidate(runs / candidate.name, candidate, store)
    report = graph.artifacts[graph.report]
    wanted = _files(store, graph.report)
    for source in report.reads["comparison"]:
        wanted |= _files(store, source)
    if wanted:
        _links(store.results / "report", wanted)


def _candidate(folder: Path, candidate: Candidate, store: Store) -> None:
    """Make the view of one candidate."""
    wanted = {}
    for stage, id in candidate.artifacts.items():
        name = "model" if stage == "models" and candidate.kind == "base" else LINKS.get(stage)
        found = _folder(store, id) if name else None
        if name and found:
            wanted[name] = found
    _links(folder, wanted)
    for stage in MIXED:
        _datasets(folder / LINKS[stage], stage, candidate, store)
    scores: dict[str, Path] = {}
    for id in candidate.categories.values():
        scores |= _files(store, id)
    _links(folder / "scores", scores)


def _datasets(folder: Path, stage: str, candidate: Candidate, store: Store) -> None:
    """Make the view of what a stage made of each dataset of a mixture; there is none of one."""
    if candidate.datasets:
        found = {
            one["name"]: one.get("decontaminated", one[stage]) if stage == "chat" else one[stage]
            for one in candidate.datasets
        }
        places = {name: _folder(store, id) for name, id in found.items()}
        _links(folder, {name: place for name, place in places.items() if place})
    elif folder.is_dir() and not folder.is_symlink():
        _remove(folder)


def _folder(store: Store, id: str) -> Path | None:
    """Return where the files of an artifact are, if they are.

    What lies under its own name is believed without reading its manifest: a job reads no link, and
    thousands of manifests would take seconds.
    """
    own = store.results / id
    if os.path.exists(f"{own}.json") and os.path.isdir(own):
        return own
    found = store.look(id, id.rpartition("-")[2])
    return found.folder if found else None


def _files(store: Store, id: str) -> dict[str, Path]:
    """Return name -> place of what lies in an artifact's folder, or nothing where it is not."""
    folder = _folder(store, id)
    # Snakemake leaves a hidden timestamp in every folder.
    names = [name for name in os.listdir(folder) if name[0] != "."] if folder else []
    return {name: folder / name for name in names if folder}


def _links(folder: Path, wanted: dict[str, Path]) -> None:
    """Make *folder* hold links to *wanted*, and no other links."""
    folder.mkdir(parents=True, exist_ok=True)
    with os.scandir(folder) as entries:
        there = {entry.name: os.readlink(entry) for entry in entries if entry.is_symlink()}
    for name in there.keys() - wanted.keys():
        (folder / name).unlink()
    for name, target in wanted.items():
        text = str(target) if target.is_absolute() else os.path.relpath(target, folder)
        if there.get(name) != text:
            _remove(folder / name)
            (folder / name).symlink_to(text)


def _remove(path: Path) -> None:
    """Remove a link, a file or a folder of links."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
