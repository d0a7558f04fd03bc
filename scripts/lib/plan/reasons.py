"""Why a job runs: in what its artifact differs from the nearest one that was made before.

A key says that something differs, not what. Manifests keep what a key is made of: the spec, the
digest of each module, the versions of libraries and the inputs. So what is to be made is set beside
the artifact of its stage that it shares most with, and what is left are the reasons. An artifact
whose inputs alone are made anew follows from them, and has no reason of its own.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.lib import files
from scripts.lib.artifacts.graph import Artifact
from scripts.lib.artifacts.stages import STAGES
from scripts.lib.artifacts.store import Store
from scripts.lib.plan.missing import Plan

ModulesOf = Callable[[str, Sequence[str]], Mapping[str, str]]
"""Rule and benchmark kinds -> module -> the digest of its own code."""

MOST_READ = 200
"""Manifests that an artifact is compared with: those of its slug first, and the newest first."""

MOST_NAMED = 3
"""Modules and settings that are named; of more, their number is said."""

# What an artifact is about. Where it differs there is nothing that it could be the same work as.
_SUBJECT = ("source", "kind", "subject", "hub", "method")

# What stages say in their specs of what came before: the card of a merged model, and what a
# comparison and a report set side by side. Where an input is made anew, it is no reason of theirs.
_TOLD_OF_INPUTS = {"merged": ("card",), "comparisons": ("",), "reports": ("",)}

_NEW = ("nothing like it was made before",)
_ABSENT = object()
_HEX = re.compile(r"[0-9a-f]{16,}")


@dataclass(frozen=True)
class Reason:
    """Why one artifact is to be made.

    Attributes:
        id: The artifact.
        words: What differs, each by itself; empty where it follows from its inputs alone.
        follows: Ids of its inputs that are made, too.
        beside: Id of the artifact that it was compared with; None where there is none.
    """

    id: str
    words: tuple[str, ...]
    follows: tuple[str, ...]
    beside: str | None = None


@dataclass(frozen=True)
class _Made:
    """What was made before.

    Attributes:
        manifest: Its manifest.
        spec: Path -> value of what its spec says.
    """

    manifest: Mapping[str, Any]
    spec: Mapping[str, Any]


def reasons_of(plan: Plan, store: Store, modules_of: ModulesOf) -> dict[str, Reason]:
    """Return why each artifact of a plan is to be made, by id, inputs first.

    Args:
        plan: The plan.
        store: Results and caches.
        modules_of: Reads the code as it stands; asked only where an artifact's code differs.
    """
    missing = set(plan.missing)
    before = {id.split("/")[0]: _Before(store, id.split("/")[0]) for id in plan.missing}
    found = dict[str, Reason]()
    for id in plan.missing:
        artifact = plan.graph.artifacts[id]
        follows = [one for ids in artifact.data.values() for one in ids if one in missing]
        found[id] = _reason(
            plan, artifact, before[artifact.stage], found, tuple(dict.fromkeys(follows)), modules_of
        )
    return found


def told(reasons: Mapping[str, Reason], most: int) -> list[str]:
    """Return the reasons in lines, jobs of one stage with the same reason together.

    Args:
        reasons: Of a plan.
        most: Lines for different reasons; what is left is counted in one more.
    """
    groups: dict[tuple[str, tuple[str, ...]], list[Reason]] = {}
    for one in reasons.values():
        if one.words:
            groups.setdefault((_stage(one), one.words), []).append(one)
    first_time = Counter(_stage(one) for one in reasons.values() if one.words == _NEW)
    if reasons and first_time.total() == len(reasons):
        return ["nothing of this was made before"]
    lines = [f"nothing like it was made before: {_counted(first_time)}"] if first_time else []
    for (stage, words), group in groups.items():
        if words == _NEW:
            continue
        first = group[0]
        name = first.id if len(group) == 1 else f"{len(group)} in {stage}/, such as {first.id}"
        other = first.beside if first.beside != first.id else None
        compared = f" (compared with {other})" if other else ""
        lines.append(f"{name}: {'; '.join(words)}{compared}")
    if len(lines) > most:
        lines[most:] = [f"and {len(lines) - most} more reasons (`tunesmith plan` lists all)"]
    if following := Counter(_stage(one) for one in reasons.values() if not one.words):
        lines.append(f"what follows from these: {_counted(following)}")
    return lines


def _stage(reason: Reason) -> str:
    return reason.id.split("/")[0]


def _counted(stages: Counter[str]) -> str:
    return ", ".join(f"{count} in {stage}/" for stage, count in stages.items())


class _Before:
    """What was made of one stage, here and in the caches; each manifest is read once."""

    def __init__(self, store: Store, stage: str) -> None:
        newest: list[tuple[float, Path]] = []
        for path in store.manifests_of(stage):
            with contextlib.suppress(OSError):  # removed meanwhile
                newest.append((path.stat().st_mtime, path))
        self._newest = [path for _, path in sorted(newest, reverse=True)]
        self._of_slug: dict[str, list[Path]] = {}
        for path in self._newest:
            self._of_slug.setdefault(path.stem.rpartition("-")[0], []).append(path)
        self._read: dict[Path, _Made | None] = {}

    def nearest_first(self, slug: str) -> Iterator[_Made]:
        """Yield what has a slug, the newest first, then what has another."""
        others = self._newest[:MOST_READ]
        for path in list(dict.fromkeys([*self._of_slug.get(slug, ()), *others]))[:MOST_READ]:
            if path not in self._read:
                self._read[path] = _made(path)
            if (one := self._read[path]) is not None:
                yield one


def _made(path: Path) -> _Made | None:
    """Read a manifest; None for what is none."""
    try:
        found = files.read_json(path)
    except (OSError, ValueError):
        return None
    needed = {"id", "slug", "spec", "code", "pins", "inputs"}
    if not isinstance(found, dict) or not needed <= found.keys():
        return None
    return _Made(found, _flat(found["spec"]))


def _reason(
    plan: Plan,
    artifact: Artifact,
    before: _Before,
    known: Mapping[str, Reason],
    follows: tuple[str, ...],
    modules_of: ModulesOf,
) -> Reason:
    """Compare an artifact with what was made before, and return what differs from the nearest.

    Args:
        plan: The plan.
        artifact: To be made.
        before: What was made of its stage.
        known: The reasons of its inputs.
        follows: Its inputs that are made, too.
        modules_of: Reads the code as it stands.
    """
    if artifact.id in plan.again:
        return Reason(artifact.id, ("asked for by `redo`",), follows)
    told = _TOLD_OF_INPUTS.get(artifact.stage, ()) if follows else ()
    spec = _flat(artifact.spec)

    def distance(one: _Made) -> tuple[int, bool, bool]:
        settings = len(_names(one.spec, spec))
        inputs = sum(1 for _ in _changed_inputs(plan, artifact, one.manifest, known))
        pins = len(_names(one.manifest["pins"], artifact.pins))
        code = one.manifest["code"] != artifact.code
        # Of what is as near, what the config no longer leads to is what this one was before.
        kept = one.manifest["id"] in plan.graph.artifacts
        return settings + inputs + pins + code, one.manifest["slug"] != artifact.slug, kept

    alike = [one for one in before.nearest_first(artifact.slug) if _about(one.spec) == _about(spec)]
    if not alike:
        return Reason(artifact.id, _NEW, follows)
    best = min(alike, key=distance)
    words = [
        *_changes(_without(told, best.spec), _without(told, spec)),
        *(() if "" in told else _changed_inputs(plan, artifact, best.manifest, known)),
        *_changes(best.manifest["pins"], artifact.pins),
    ]
    if best.manifest["code"] != artifact.code:
        words.append(_code_words(artifact, best.manifest, modules_of))
    if not words and not follows:
        words.append("its files are no longer there, and are needed")
    return Reason(artifact.id, tuple(words), follows, str(best.manifest["id"]))


def _without(told: tuple[str, ...], spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a spec without what begins so."""
    return {name: value for name, value in spec.items() if not name.startswith(told)}


def _about(spec: Mapping[str, Any]) -> list[Any]:
    return [spec.get(name) for name in _SUBJECT]


def _names(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names under which two mappings hold different values, in order."""
    names = dict.fromkeys([*then, *now])
    return [name for name in names if then.get(name, _ABSENT) != now.get(name, _ABSENT)]


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the values that differ, in words, the first few of them."""
    names = _names(then, now)
    words = [_changed(name, then.get(name, _ABSENT), now.get(name, _ABSENT)) for name in names]
    if len(words) > MOST_NAMED + 1:
        words[MOST_NAMED:] = [f"{len(words) - MOST_NAMED} more settings"]
    return words


def _changed_inputs(
    plan: Plan, artifact: Artifact, manifest: Mapping[str, Any], known: Mapping[str, Reason]
) -> Iterator[str]:
    """Yield the inputs that are others, but for those that are made anew from what was read then.

    These have reasons of their own, from which the artifact only follows.
    """
    for edge in dict.fromkeys([*manifest["inputs"], *artifact.data]):
        then = [(one["id"], one["content"]) for one in manifest["inputs"].get(edge, ())]
        ids = artifact.data.get(edge, ())
        if len(then) != len(ids):
            yield f"{edge}: {len(then)} -> {len(ids)}"
            continue
        for (was, content), id in zip(then, ids, strict=True):
            reason, found = known.get(id), plan.found.get(id)
            renewed = reason is not None and reason.beside == was
            if not (was == id or renewed or (found and found.content == content)):
                yield f"other {edge}: {was} -> {id}"


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Return path -> value of all that a spec says; lists are values."""
    if not isinstance(value, Mapping) or not value:
        return {name: _as_read(value)}
    return {
        path: one
        for key, inner in value.items()
        for path, one in _flat(inner, f"{name}.{key}" if name else str(key)).items()
    }


def _as_read(value: Any) -> Any:
    """Return a value as it comes back from JSON, where tuples are lists at any depth."""
    if isinstance(value, Mapping):
        return {key: _as_read(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_as_read(one) for one in value]
    return value


def _changed(name: str, then: Any, now: Any) -> str:
    """Return one changed value in words."""
    if isinstance(then, str) and isinstance(now, str) and _HEX.fullmatch(now):
        return f"{name}: other content"
    if then is _ABSENT:
        return f"{name}: {_short(now)} (new)"
    if now is _ABSENT:
        return f"{name}: {_short(then)} -> nothing"
    return f"{name}: {_short(then)} -> {_short(now)}"


def _short(value: Any) -> str:
    """Return a value as YAML users write it, cut where it is long."""
    words = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _code_words(artifact: Artifact, manifest: Mapping[str, Any], modules_of: ModulesOf) -> str:
    """Return which modules differ from those that a manifest lists."""
    then = manifest.get("modules") or {}
    now = modules_of(STAGES[artifact.stage].rule, artifact.kinds)
    names = (
        sorted(name for name in {*then, *now} if then.get(name) != now.get(name)) if then else []
    )
    places = [
        name.removeprefix("scripts.").removeprefix("lib.").replace(".", "/") for name in names
    ]
    if not places:
        return "its code"
    more = f" and {len(places) - MOST_NAMED} more modules" if len(places) > MOST_NAMED else ""
    listed = ", ".join(f"{place}.py" for place in places[:MOST_NAMED])
    return f"code of {listed}{more}"
