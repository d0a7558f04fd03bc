"""The end of a job: the manifest of what it made, the shared cache, the rename into place; no room.

Plumbing, as job.py is: it decides no byte of an artifact.
"""

import errno
import os
import platform
import re
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from scripts.lib import files
from scripts.lib.amounts import bytes_in_words
from scripts.lib.artifacts.graph import Artifact
from scripts.lib.artifacts.stages import STAGES
from scripts.lib.artifacts.store import Found, Store
from scripts.lib.errors import MergeError, RoomError, StoreError
from scripts.lib.machine import cuda_driver

PUBLISHING_TRIES = 3
"""How often an artifact is offered to a cache whose entry of it turns out to be damaged."""


def manifest_of(
    id: str,
    artifact: Artifact,
    found: Mapping[str, Sequence[Found]],
    content_key: str,
    folder: Path,
    facts: Mapping[str, Any],
    execution: Mapping[str, Any],
    modules: Mapping[str, str],
) -> dict[str, Any]:
    """Return the manifest of the files in *folder*; *modules* is what the code's digest counts."""
    listed = files.list_files(folder)
    if not listed:
        raise StoreError(f"{id}: the job wrote no file; this is a defect of its program")
    return {
        "id": id,
        "stage": artifact.stage,
        "slug": artifact.slug,
        "key": artifact.key,
        "content_key": content_key,
        "spec": artifact.spec,
        "code": artifact.code,
        "modules": modules,
        "pins": artifact.pins,
        "inputs": {
            edge: [{"id": item.id, "content": item.content} for item in items]
            for edge, items in found.items()
        },
        "files": [entry._asdict() for entry in listed],
        "content": files.content_of(listed),
        "facts": facts,
        "execution": execution,
    }


def build_facts(pins: Mapping[str, str]) -> dict[str, str]:
    """Return the build of PyTorch, where it is among the *pins*; asked before the work."""
    return {"torch": cuda_driver.installed_build().version} if "torch" in pins else {}


def execution_facts(began: float, threads: int, build: Mapping[str, str]) -> dict[str, Any]:
    """Return how the work was done: time, memory, machine, build; no part of any identity."""
    peak_kib = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    return {
        "seconds": round(time.monotonic() - began, 3),
        "peak_gib": round(peak_kib / 2**20, 3),
        "threads": threads,
        "machine": platform.machine(),
        "device": device_name(),
        "processes": processes,
        "gpus": processes if used_gpu() else 0,
        "python": platform.python_version(),
        **build,
    }


def used_gpu() -> bool:
    """Tell whether this process has computed on a GPU."""
    torch = sys.modules.get("torch")  # loading it to ask would take longer than most jobs
    return torch is not None and bool(torch.cuda.is_initialized())


def device_name() -> str:
    """Return what this process computed on: a GPU if it used one, else the processor."""
    if used_gpu():
        return str(sys.modules["torch"].cuda.get_device_name())
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line for line in lines if line.startswith("model name")]
    return named[0].partition(":")[2].strip() if named else platform.processor() or "cpu"


def finish(
    store: Store,
    part: Path,
    place: Path,
    manifest: dict[str, Any],
    *,
    again: bool,
) -> None:
    """Publish, move the folder into place and write the manifest, in this order."""
    publishing = STAGES[manifest["stage"]].publishing
    for _ in range(PUBLISHING_TRIES):
        winner = store.publish(part, manifest, what=publishing, replace=again)
        if not winner or winner.folder is None or winner.content == manifest["content"]:
            break
        if _taken_over(winner, store, part):
            for name in ("files", "content", "facts", "execution", "inputs", "content_key"):
                manifest[name] = winner.manifest[name]
            break
    shutil.rmtree(place, ignore_errors=True)
    os.rename(part, place)
    files.write_json(place.with_name(f"{place.name}.json"), manifest)
    store.index(manifest)


def _taken_over(winner: Found, store: Store, part: Path) -> bool:
    """Replace the files in *part* with those of whoever published first, if they are whole.

    Else the job's own work, which may have taken days, stands.
    """
    other = part.with_name(f"{part.name}-winner")
    try:
        store.verify(winner)
        store.take(winner, other)
        if files.content_of(files.list_files(other)) != winner.content:
            raise StoreError(f"{winner.id} was made anew while it was read")
    except (StoreError, OSError) as error:
        print(f"{winner.id}: {error}; what was made here is kept", flush=True)
        return False
    else:
        print("another workflow published this artifact first; its bytes are taken", flush=True)
        shutil.rmtree(part)
        os.rename(other, part)
        return True
    finally:
        shutil.rmtree(other, ignore_errors=True)


# errno -> what is the matter, and what helps.
_FULL: Mapping[int, tuple[str, str]] = {
    errno.ENOSPC: ("the file system is full", "Make room"),
    errno.EDQUOT: ("the quota is used up", "Make room within the quota, or have it raised"),
    errno.EFBIG: ("a file would be larger than the limit allows", "Raise the limit (ulimit -f)"),
}
# As the C library and Rust's put it; safetensors, tokenizers and Arrow pass it on as a text.
# "File too large" alone is also what a web server says of a request.
_TEXTS = {
    number: re.compile(
        rf"(?i:os error|errno):? {number}\b"
        + ("" if number == errno.EFBIG else f"|{re.escape(os.strerror(number))}")
    )
    for number in _FULL
}
# PyTorch's writer and `tempfile` tell that they could not write, not why.
_CUT_SHORT = re.compile(
    r"PytorchStreamWriter failed writing|unexpected pos \d+ vs \d+|iostream error"
    r"|No usable temporary directory"
)
_UNSAID = (
    "a file could not be written to its end, as when a disk is full",
    "Make room if there is little",
)
# Rule -> what a new start does not do again; all others begin anew.
_GOES_ON = {
    "train_adapter": "training goes on from its last checkpoint, if it has one",
    "train_model": "training goes on from its last checkpoint, if it has one",
    "score_benchmark": "scoring keeps finished subjects and goes on from its journal of answers",
    "judge_pairs": "judging goes on from its journal",
    "ask_judge": "judging goes on from the replies that it has",
}


class Lack(NamedTuple):
    """What could not be written.

    Attributes:
        reason: Why, in words.
        remedy: What helps.
        file: The file, where it is known.
    """

    reason: str
    remedy: str
    file: Path | None


def lack_of_room(error: BaseException) -> Lack | None:
    """Tell whether *error*, or what led to it, is that something could not be written."""
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno is not None and one.errno in _FULL:
            name = one.filename if isinstance(one.filename, str | os.PathLike) else None
            return Lack(*_FULL[one.errno], None if name is None else Path(name))
        for number, pattern in _TEXTS.items():
            if pattern.search(str(one)):
                return Lack(*_FULL[number], None)
        if _CUT_SHORT.search(str(one)):
            return Lack(*_UNSAID, None)
    return None


@contextmanager
def telling_of_room(rule: str, id: str, places: Sequence[Path]) -> Iterator[None]:
    """Say in one sentence that there was no room, where that ends the block.

    Args:
        rule: The rule whose job it is.
        id: The artifact that it makes.
        places: Where it writes.

    Raises:
        RoomError: in place of the error that the block ended in.
    """
    try:
        yield
    except (RoomError, MergeError):
        raise  # merging knows how much it needs, and says it
    except Exception as error:
        if words := room_words(rule, id, error, places):
            raise RoomError(words) from error
        raise


def room_words(rule: str, id: str, error: BaseException, places: Sequence[Path]) -> str | None:
    """Say that there was no room, where, how much is free and what to do; None if it was not that.

    Args:
        rule: The rule whose job failed.
        id: The artifact that it makes.
        error: What ended it.
        places: Where it writes.
    """
    if (lack := lack_of_room(error)) is None:
        return None
    free = _free([lack.file] if lack.file else places)
    what = f"{id} cannot be written: {lack.reason}" + (f" ({lack.file})" if lack.file else "")
    then = _GOES_ON.get(rule, "what is finished stays")
    return f"{what}. Free now: {free}. {lack.remedy}, then run again: {then}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _free(places: Sequence[Path]) -> str:
    """Say how much is free on the file systems of *places*, the fullest first."""
    by_device: dict[int, Path] = {}
    for place in places:
        there = place.absolute()
        while not there.exists():
            there = there.parent
        by_device.setdefault(there.stat().st_dev, there)
    found = sorted((shutil.disk_usage(place).free, str(place)) for place in by_device.values())
    return ", ".join(f"{bytes_in_words(free)} at {place}" for free, place in found)
