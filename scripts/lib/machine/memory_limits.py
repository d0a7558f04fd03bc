"""How much memory is free, and how much of it a job may fill: a GPU's, or a processor's."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch

# Of a card's memory, weights included; the rest is for what estimates leave out: fragments of
# PyTorch's allocator, scratch of libraries, a context of CUDA's.
_CARD_SHARE = 0.75

# Of what is free where that leaves nothing, because weights fill the card; and on a processor,
# whose memory several jobs share, none of which knows of the others.
_FREE_SHARE = 0.25

# Where the kernel tells a process's control groups and their limits, versions 2 and 1.
_MEMBERSHIPS = Path("/proc/self/cgroup")
_MEMINFO = Path("/proc/meminfo")
_GROUPS = Path("/sys/fs/cgroup")
_GROUP_FILES = (
    ("memory.max", "memory.current"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def room_bytes(device: torch.device) -> int:
    """Return how much a model that lies on *device* may fill beside its weights, in bytes."""
    if device.type != "cuda":
        return int(free_bytes(device) * _FREE_SHARE)
    return card_room(free_bytes(device), int(torch.cuda.mem_get_info(device)[1]))


def card_room(free: int, total: int) -> int:
    """Return how much more of a card may be filled, in bytes.

    Args:
        free: What is free now, weights loaded, in bytes.
        total: What the card has.
    """
    return max(int(total * _CARD_SHARE) - (total - free), int(free * _FREE_SHARE))


def free_bytes(
    device: torch.device, *, memberships: Path = _MEMBERSHIPS, groups: Path = _GROUPS
) -> int:
    """Return the free memory of *device* in bytes, a cluster's limit on the job regarded.

    Args:
        device: A processor or a CUDA device.
        memberships: The file that names this process's control groups.
        groups: Where control groups are mounted.
    """
    if device.type == "cuda":
        # What PyTorch's allocator holds and nothing uses is free to this process.
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + int(idle)
    return min([_host_room(), *_group_rooms(memberships, groups)])


def _host_room() -> int:
    """Return what the machine could still give without swapping, in bytes."""
    if _MEMINFO.exists():
        lines = (line.split() for line in _MEMINFO.read_text().splitlines())
        return next(1024 * int(line[1]) for line in lines if line[0] == "MemAvailable:")
    # Not Linux: half of the whole is a guess, and running out only halves what is read at once.
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _group_rooms(memberships: Path, groups: Path) -> Iterator[int]:
    """Yield what every control group above this process leaves it, in bytes."""
    lines = memberships.read_text().splitlines() if memberships.exists() else []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers not in ("", "memory"):
            continue
        own = groups / controllers / path.lstrip("/")
        for folder in (own, *own.parents):
            for limit, used in _GROUP_FILES:
                try:
                    room = int((folder / limit).read_text()) - int((folder / used).read_text())
                except (OSError, ValueError):  # no such group, or its limit is "max"
                    continue
                yield max(0, room + _idle_pages(folder))


def _idle_pages(group: Path) -> int:
    """Return how many bytes of a group are of files read long ago, as weights while loading.

    They count as used, but the kernel drops them as soon as the group needs room.
    """
    try:
        lines = (group / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    stat = dict(line.split() for line in lines)
    # Version 1 has the groups below in the totals only.
    return int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))
