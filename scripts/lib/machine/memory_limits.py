"""How much a model may read at once: from the memory that is free, before it runs out."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

# More tokens at once do not make a processor faster (measured: 256 to 2,048); a GPU fills later.
_MOST_TOKENS = {"cpu": 1024}
_MOST_TOKENS_ELSEWHERE = 16384

# Of the free memory; the rest is for what this estimate leaves out.
_SHARE = 0.25

# Numbers of a layer's width that are alive at once, and of its wider inner one: measured with
# Llama's layers and rounded up. Weights and caches are not in it.
_WIDTHS, _INNER_WIDTHS = 16, 4

_FLOAT32_BYTES = 4

# Where the kernel tells a process's control groups and their limits, versions 2 and 1.
_MEMBERSHIPS = Path("/proc/self/cgroup")
_MEMINFO = Path("/proc/meminfo")
_GROUPS = Path("/sys/fs/cgroup")
_GROUP_FILES = (
    ("memory.max", "memory.current"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
)


@dataclass(frozen=True)
class Limits:
    """How much one forward pass may hold.

    Attributes:
        tokens: Tokens that go in.
        scored: Positions at which the vocabulary comes out.
    """

    tokens: int
    scored: int

    def halved(self) -> "Limits":
        """Return half of it, but never nothing."""
        return Limits(max(1, self.tokens // 2), max(1, self.scored // 2))


def limits_of(config: Any, device: torch.device, number_bytes: int, *, free: int) -> Limits:
    """Return what fits into memory.

    Args:
        config: The model's config.
        device: Where it computes.
        number_bytes: Size of one of its numbers, in bytes.
        free: Free memory in bytes.
    """
    text = config.get_text_config(decoder=True)
    width = text.hidden_size
    inner = getattr(text, "intermediate_size", None) or 4 * width
    if isinstance(inner, list | tuple):  # one for each layer
        inner = max(inner)
    # Norms are computed in float32, whatever the model's own precision.
    token_bytes = (number_bytes + _FLOAT32_BYTES) * (_WIDTHS * width + _INNER_WIDTHS * inner)
    # The logits, and their logarithmic softmax in float32 and its own scratch.
    scored_bytes = (number_bytes + 2 * _FLOAT32_BYTES) * text.vocab_size
    most = _MOST_TOKENS.get(device.type, _MOST_TOKENS_ELSEWHERE)
    tokens = min(most, int(free * _SHARE / 2) // token_bytes)
    return Limits(max(1, tokens), max(1, min(tokens, int(free * _SHARE / 2) // scored_bytes)))


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
        return int(torch.cuda.mem_get_info(device)[0])
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
