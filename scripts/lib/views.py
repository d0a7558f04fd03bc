"""Links for people: what belongs to a run, and the newest report, under plain names.

    results/runs/<candidate>/{model,adapter,shards,chat,proof}  -> artifacts
    results/runs/<candidate>/scores/<benchmark>.<category>.json -> category files
    results/report/{index.html,comparison.json,...}             -> the newest report

Views are made anew from the plan whenever a workflow starts or ends. They are never read by a job.
"""

import os
import shutil
from pathlib import Path

from scripts.lib.graph import Candidate, Graph
from scripts.lib.store import Store

LINKS = {
    "adapters": "adapter",
    "chat": "chat",
    "combined": "adapter",
    "merged": "model",
    "proofs": "proof",
    "shards": "shards",
}
"""Stage -> the name of its link in a run's folder."""


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
    wanted = _files(store, graph.report, report.key)
    for source in report.reads["comparison"]:
        wanted |= _files(store, source, graph.artifacts[source].key)
    if wanted:
        _links(store.results / "report", wanted)


def _candidate(folder: Path, candidate: Candidate, store: Store) -> None:
    """Make the view of one candidate."""
    wanted = {}
    for stage, id in candidate.artifacts.items():
        name = "model" if stage == "models" and candidate.kind == "base" else LINKS.get(stage)
        found = store.look(id, id.rpartition("-")[2]) if name else None
        if name and found and found.folder:
            wanted[name] = found.folder
    _links(folder, wanted)
    scores: dict[str, Path] = {}
    for id in candidate.categories.values():
        scores |= _files(store, id, id.rpartition("-")[2])
    _links(folder / "scores", scores)


def _files(store: Store, id: str, key: str) -> dict[str, Path]:
    """Return name -> file of a small artifact, or nothing where it is not there."""
    found = store.look(id, key)
    if found is None or found.folder is None:
        return {}
    # Only its own files: Snakemake leaves a timestamp in every folder.
    names = (Path(entry["path"]).parts[0] for entry in found.manifest["files"])
    return {name: found.folder / name for name in names}


def _links(folder: Path, wanted: dict[str, Path]) -> None:
    """Make *folder* hold links to *wanted*, and no other links."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if old.is_symlink() and old.name not in wanted:
            old.unlink()
    for name, target in wanted.items():
        link = folder / name
        text = str(target) if target.is_absolute() else os.path.relpath(target, folder)
        if link.is_symlink() and os.readlink(link) == text:
            continue
        _remove(link)
        link.symlink_to(text)


def _remove(path: Path) -> None:
    """Remove a link, a file or a folder of links."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
