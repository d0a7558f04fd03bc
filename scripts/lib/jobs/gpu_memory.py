"""How much memory a GPU has, by the name that a Slurm site or its driver gives it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

GIB: Mapping[str, tuple[int, ...]] = {
    # NVIDIA's data sheets: data centre, by generation.
    "p100": (12, 16),
    "v100": (16, 32),
    "t4": (16,),
    "a2": (16,),
    "a10": (24,),
    "a16": (16,),
    "a30": (24,),
    "a40": (48,),
    "a100": (40, 80),
    "l4": (24,),
    "l40": (48,),
    "l40s": (48,),
    "h100": (80, 94, 96),
    "h200": (141,),
    "gh200": (96, 144),
    "b200": (192,),
    "b300": (288,),
    # Workstations.
    "1080ti": (11,),
    "2080ti": (11,),
    "3090": (24,),
    "4090": (24,),
    "5090": (32,),
    "a4000": (16,),
    "a5000": (24,),
    "a6000": (48,),
    "rtx6000": (24, 48, 96),
    "rtx8000": (48,),
    # AMD's data sheets; of those with two dies each is a device of its own.
    "mi100": (32,),
    "mi210": (64,),
    "mi250": (64,),
    "mi250x": (64,),
    "mi300a": (128,),
    "mi300x": (192,),
    "mi325x": (256,),
    "mi355x": (288,),
}
"""Name -> the sizes that it is sold with, in GiB (data sheets say GB and mean these, or less)."""


@dataclass(frozen=True)
class Gpu:
    """A GPU that a name tells.

    Attributes:
        model: Its key in GIB.
        gib: Its memory; the largest that it is sold with, where the name does not say.
        sure: Whether the name says which size it is, or there is only one.
    """

    model: str
    gib: int
    sure: bool

    def __str__(self) -> str:
        return f"{self.model} ({'' if self.sure else 'at most '}{self.gib} GiB)"


def gpu_of(name: str) -> Gpu | None:
    """Return the GPU behind a name such as `a100`, `nvidia_a100-sxm4-80gb` or `rtx_3090`.

    A part of one (`a100_1g.10gb`) has the part's memory.

    Args:
        name: A type in `gres`, a node feature, or what a driver calls a device.
    """
    plain = name.lower()
    words = re.findall(r"[a-z0-9]+", plain)
    pairs = [first + second for first, second in pairwise(words)]
    model = next((word for word in (*pairs, *words) if word in GIB), None)
    if model is None:
        return None
    if part := re.search(r"\dg\.(\d+)gb", plain):
        return Gpu(model, int(part[1]), True)
    sizes = GIB[model]
    told = [size for size in sizes for word in words if re.fullmatch(rf"{size}(g|gb|gib)?", word)]
    return Gpu(model, told[0] if told else sizes[-1], bool(told) or len(sizes) == 1)


def asked_gpu(resources: Mapping[str, Any]) -> Gpu | None:
    """Return the GPU that a job's resources name; of several to choose from, the largest.

    Args:
        resources: Of the job: `gpu_model`, `gres`, `constraint`, `slurm_extra` are looked at.
    """
    found = [gpu for text in _texts(resources) if (gpu := gpu_of(text))]
    return max(found, key=lambda gpu: gpu.gib, default=None)


def _texts(resources: Mapping[str, Any]) -> Iterator[str]:
    if model := resources.get("gpu_model"):
        yield str(model)
        return
    yield from re.findall(r"\bgpu:([^:,\s]+)", str(resources.get("gres", "")))
    extra = str(resources.get("slurm_extra", ""))
    yield from re.findall(r"--(?:gres|gpus)[= ](?:gpu:)?([^:,\s'\"]+)", extra)
    constraints = [str(resources.get("constraint", ""))]
    constraints += re.findall(r"(?:--constraint|-C)[= ]([^\s'\"]+)", extra)
    for constraint in constraints:
        yield from re.split(r"[&|,\[\]()*]+", constraint)
