"""Checkpoints that are whole or none, and which of them a start can go on from.

    checkpoint = last_checkpoint(scratch, made)  # the newest that is whole, or None
    seal(folder, made)                           # the last that is written into one

A checkpoint is written by transformers. What is added here is a file that tells how it was made and
which files it has, in how many bytes: written last, and only after the disk has all others.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from platform import python_version

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from safetensors import SafetensorError

from scripts.lib.train.callbacks import say

COMPLETE = "complete"
LIBRARIES = ("accelerate", "numpy", "peft", "torch", "transformers", "trl")

# PyTorch and safetensors pass on in a text that the disk is full.
_WRITING = re.compile(
    r"PytorchStreamWriter failed writing|unexpected pos \d+ vs \d+|iostream error|(?i:os error)"
)


def _versions() -> dict[str, str]:
    return {**{name: version(name) for name in LIBRARIES}, "python": python_version()}


@dataclass(frozen=True, kw_only=True)
class Made:
    """How a checkpoint is made, as far as going on from it may depend on it.

    Attributes:
        processes: Processes that train together.
        micro_batch: Sequences per pass of each.
        recomputed: Every how many layers one's activations are computed anew; 0 is never.
        sharded: Whether weights and the optimizer's state are shared out among them.
        versions: Library -> version, with its build.
        evaluation_due: Whether the evaluation of its step is still to be done.
    """

    processes: int
    micro_batch: int
    recomputed: int = 0
    sharded: bool = False
    versions: Mapping[str, str] = field(default_factory=_versions)
    evaluation_due: bool = False


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that a start goes on from."""

    folder: Path
    made: Made

    @property
    def step(self) -> int:
        """Return the step after which it was written."""
        return _step(self.folder)


def seal(folder: Path, made: Made) -> None:
    """Declare a checkpoint whole, once the disk has all of its files.

    Raises:
        OSError: If the disk does not take them.
    """
    sizes = {}
    (folder / COMPLETE).unlink(missing_ok=True)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sizes[str(file.relative_to(folder))] = file.stat().st_size
    part = folder / f"{COMPLETE}.part"
    with part.open("w") as written:
        json.dump({"made": asdict(made), "files": sizes}, written)
        written.flush()
        os.fsync(written.fileno())
    part.replace(folder / COMPLETE)


def could_not_write(error: BaseException) -> bool:
    """Return whether an error says that a file could not be written, as on a full disk."""
    return isinstance(error, OSError | SafetensorError) or bool(_WRITING.search(str(error)))


def last_checkpoint(scratch: Path, now: Made) -> Checkpoint | None:
    """Return the newest checkpoint that this start can go on from.

    What was cut short is removed. Those that cannot be gone on from are put aside: whoever takes
    the change back has them again, until the run is finished. The first process decides for all.

    Args:
        scratch: Folder of the checkpoints.
        now: How this start makes them.
    """
    found = [_choose(scratch, now) if PartialState().is_main_process else None]
    chosen: Checkpoint | None = broadcast_object_list(found)[0]
    return chosen


def _choose(scratch: Path, now: Made) -> Checkpoint | None:
    for folder in sorted(scratch.glob("checkpoint-*"), key=_step, reverse=True):
        made, fault = _read(folder)
        if made is None:
            say(f"{folder.name} is not whole ({fault}), and is removed")
            shutil.rmtree(folder, ignore_errors=True)
            continue
        if reasons := _hindrances(made, now):
            _put_aside(scratch, folder, reasons)
            return None
        if changes := _changes(made, now):
            say(f"{folder.name} was made with {changes}: the run goes on, and may end in other")
            say("last digits than without the change")
        return Checkpoint(folder, made)
    return None


def _step(folder: Path) -> int:
    number = folder.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def _read(folder: Path) -> tuple[Made | None, str]:
    """Return how a checkpoint was made, or what is wrong with it."""
    try:
        told = json.loads((folder / COMPLETE).read_text())
        made, sizes = Made(**told["made"]), told["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return None, "it was being written when the job ended"
    for name, size in sizes.items():
        file = folder / name
        if not file.is_file():
            return None, f"{name} is missing"
        if file.stat().st_size != size:
            return None, f"{name} has {file.stat().st_size} bytes of {size}"
    return made, ""


def _hindrances(made: Made, now: Made) -> list[str]:
    """Return why a checkpoint cannot be gone on from.

    Another version may keep its state in another form, or compute the rest in another way; how the
    optimizer's state is kept depends on whether it is shared out.
    """
    reasons = [
        f"{name} {made.versions.get(name)} instead of {now.versions[name]}"
        for name in LIBRARIES
        if _public(made.versions.get(name, "")) != _public(now.versions[name])
    ]
    if made.sharded != now.sharded:
        reasons.append("fsdp" if made.sharded else "a whole model in each process")
    return reasons


def _changes(made: Made, now: Made) -> str:
    """Return what of a checkpoint's making is another now, and does no harm."""
    changes = []
    if made.processes != now.processes:
        changes.append(f"{made.processes} process(es) instead of {now.processes}")
    if made.micro_batch != now.micro_batch:
        changes.append(f"{made.micro_batch} sequences per pass instead of {now.micro_batch}")
    if made.recomputed != now.recomputed:
        changes.append("activations of other layers recomputed")
    builds = [name for name in now.versions if made.versions.get(name) != now.versions[name]]
    changes += [f"{name} {made.versions.get(name)}" for name in builds]
    return ", ".join(changes)


def _public(version_: str) -> str:
    return version_.partition("+")[0]


def _put_aside(scratch: Path, newest: Path, reasons: list[str]) -> None:
    """Take all checkpoints out of the way of new ones."""
    aside = scratch / "put-aside"
    aside.mkdir(exist_ok=True)
    say(
        f"{newest.name} was made with {', '.join(reasons)}, and cannot be gone on from: the run"
        f" begins anew. It is kept in {aside} until the run is finished"
    )
    for folder in scratch.glob("checkpoint-*"):
        shutil.rmtree(aside / folder.name, ignore_errors=True)
        folder.rename(aside / folder.name)
