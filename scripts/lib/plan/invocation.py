"""One plan for one invocation: from the merged config to the frozen file that jobs read."""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.lib.artifacts.batches import DEFAULT, Batching
from scripts.lib.artifacts.graph import Graph
from scripts.lib.artifacts.pins import read_lock
from scripts.lib.artifacts.store import Store
from scripts.lib.benchmarks.kinds import planning_modules
from scripts.lib.canonical import digest
from scripts.lib.config.load import Config, load_config, read_config_file
from scripts.lib.plan.build_graph import build_graph
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.missing import Plan, fetch_targets, freeze, make_plan, publish_targets
from scripts.lib.plan.remembered import CheckMemory, CodeMemory, HashMemory

CACHE_VARIABLE = "TUNESMITH_CACHE"
"""Names a folder for artifacts that colleagues share, or several with the path separator between
them; the first is written."""

RESULTS = Path("results")
"""Where artifacts go, from the working directory."""


@dataclass(frozen=True)
class Invocation:
    """What the main process knows after planning.

    Attributes:
        plan: The plan.
        file: Where it was frozen.
        store: Results and caches.
        full: Whether the file lists every artifact.
    """

    plan: Plan
    file: Path
    store: Store
    full: bool


def read_configs(given: Mapping[str, Any], files: list[Path], root: Path) -> dict[str, Any]:
    """Return the config to use: what was given, or the embedded default.

    Args:
        given: What Snakemake merged from --configfile and --config.
        files: The files behind --configfile; read again to find keys that are there twice, which
            Snakemake's own reader drops in silence.
        root: The project's folder.

    Raises:
        ConfigError: for a file that does not parse or has a key twice.
    """
    for path in files:
        read_config_file(path)
    # A config of one's own in the working directory stands in for the embedded one.
    if files:
        return dict(given)
    own = Path("config/config.yaml")
    default = own if own.exists() else root / own
    return {**read_config_file(default), **given}


def merge_configs(files: list[Path]) -> dict[str, Any]:
    """Return what Snakemake makes of several --configfile: later ones win, key by key."""
    merged: dict[str, Any] = {}
    for path in files:
        _update(merged, read_config_file(path))
    return merged


def _update(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Merge *other* into a nested mapping."""
    for key, value in other.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _update(into[key], value)
        else:
            into[key] = value


def graph_of(config: Mapping[str, Any], root: Path) -> Graph:
    """Return the graph of a config as it stands on this disk.

    Args:
        config: The merged mapping, not yet checked.
        root: The project's folder: code, lock, and where relative paths may also start.

    Raises:
        ConfigError: listing what is wrong.
    """
    return _graph(load_config(config), root)


def _graph(config: Config, root: Path) -> Graph:
    """Do what `graph_of` says for a checked config."""
    memory = HashMemory(RESULTS / ".verified" / "sources.json")
    project = CodeMemory(RESULTS / ".verified" / "code.json", root)
    code = functools.cache(project.digest)
    checking = digest([project.digest_of(place) for place in checking_modules(root)])
    checks = CheckMemory(RESULTS / ".verified" / "checks.json", checking)
    graph = build_graph(
        config,
        LocalSources((Path.cwd(), root), memory, checks),
        code=code,
        lock=read_lock(root / "requirements.lock"),
    )
    memory.save()
    checks.save()
    project.save()
    return graph


def checking_modules(root: Path) -> list[Path]:
    """Return the modules that, with all they import, decide what remembered checks find."""
    kinds = [root.joinpath(*name.split(".")).with_suffix(".py") for name in planning_modules()]
    names = ("plan/prompts.py", "plan/row_files.py", "plan/given_adapters.py", "adapters/faults.py")
    return [*kinds, *(root / "scripts/lib" / name for name in names)]


def open_store() -> Store:
    """Return the store of the working directory and the caches that the environment names."""
    named = os.environ.get(CACHE_VARIABLE, "").split(os.pathsep)
    return Store(RESULTS, tuple(Path(name).expanduser().absolute() for name in named if name))


def plan_invocation(
    config: Mapping[str, Any],
    root: Path,
    *,
    reported: bool = True,
    publish: bool = False,
    prefetch: bool = False,
    batching: Batching = DEFAULT,
) -> Invocation:
    """Plan, freeze the plan, and return both.

    Args:
        config: The merged mapping, not yet checked.
        root: The project's folder.
        reported: Plan what the report needs.
        publish: Plan what publishing needs, too.
        prefetch: Plan all that comes from outside.
        batching: How many artifacts one job makes, where it makes several.

    Raises:
        ConfigError: listing what is wrong, before anything is made.
    """
    checked = load_config(config)
    graph = _graph(checked, root)
    store = open_store()
    targets = list(graph.targets) if reported else []
    targets += publish_targets(graph) if publish else []
    targets += fetch_targets(graph) if prefetch else []
    plan = make_plan(graph, store, targets=targets, redo=checked.redo)
    full = checked.plan == "full"
    file = freeze(
        plan,
        results=RESULTS,
        caches=store.caches,
        root=root,
        full=full,
        publish=publish,
        prefetch=prefetch,
        batching=batching,
    )
    return Invocation(plan, file, store, full)
