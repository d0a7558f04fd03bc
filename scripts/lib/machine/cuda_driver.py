"""Whether the installed build of PyTorch fits the NVIDIA driver of a machine; neither is loaded.

A build for CUDA 13.2 runs on every driver for CUDA 13, whatever its minor version, and on newer
ones. Source: table 1 of
https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html

Plumbing: it refuses a machine, and decides no byte of an artifact. docs/builds.md is for users.
"""

import ctypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

DEVICE_VARIABLE = "TUNESMITH_DEVICE"
"""`cpu` keeps models off a GPU that is there, and lets a job that was given one do without."""

OLDEST_DRIVER = {11: 450, 12: 525, 13: 580}
"""Major version of CUDA -> the first driver for it (from the table)."""

BUILD_FOR = {12: "cu126"}
"""Major version of CUDA of an older driver -> the build of PyTorch that is proposed for it."""

ON_THE_CPU = f"To compute on the CPU all the same, set {DEVICE_VARIABLE}=cpu"

Version = tuple[int, int]


@dataclass(frozen=True)
class Build:
    """A build of PyTorch.

    Attributes:
        version: With the label of the build, as `torch.__version__`: 2.15.0+cu132.
        cuda: The CUDA that it was built for; None of one for the CPU or for other makers' GPUs.
    """

    version: str
    cuda: Version | None


def installed_build() -> Build:
    """Return what is installed, without the seconds that importing it takes."""
    # Its metadata leave out the label of the build that a package registry serves by default.
    file = Path(str(distribution("torch").locate_file("torch/version.py")))
    return read_build(file.read_text())


def read_build(text: str) -> Build:
    """Return the build that a torch/version.py describes.

    Raises:
        ValueError: when it is not written as PyTorch 2 writes it.
    """
    version = re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE)
    cuda = re.search(r"^cuda\b[^=]*= (?:None|'(\d+)\.(\d+)[^']*')", text, re.MULTILINE)
    if version is None or cuda is None:
        raise ValueError("torch/version.py names no version or no CUDA")
    return Build(version[1], (int(cuda[1]), int(cuda[2])) if cuda[1] else None)


def driver_cuda(library: str = "libcuda.so.1") -> Version | None:
    """Return the newest CUDA that this machine's driver knows; None where there is no driver.

    Source: `cuDriverGetVersion` of the CUDA driver API, which gives 1000 * major + 10 * minor.
    """
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return None
    found = ctypes.c_int()
    if driver.cuDriverGetVersion(ctypes.byref(found)):
        return None
    return found.value // 1000, found.value % 1000 // 10


def shows_gpus(environ: Mapping[str, str], devices: Path = Path("/dev")) -> bool:
    """Tell whether this process is shown an NVIDIA GPU, usable or not."""
    named = environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None and named.strip() in ("", "-1", "NoDevFiles"):
        return False
    return any(re.fullmatch(r"nvidia\d+", path.name) for path in devices.glob("nvidia*"))


def misfit(build: Build, driver: Version | None) -> str | None:
    """Say why *build* cannot use a GPU of *driver*, and what to do; None where they fit."""
    if driver is None:
        return (
            f"PyTorch {build.version} finds no NVIDIA driver (libcuda.so.1): have it installed, or"
            " load the site's module for it"
        )
    here = f"the NVIDIA driver is for CUDA {_dotted(driver)}"
    if build.cuda is None:
        return f"PyTorch {build.version} is a build without CUDA, and {here}: {_remedy(driver[0])}"
    if driver[0] < build.cuda[0]:
        return (
            f"PyTorch {build.version} is built for CUDA {_dotted(build.cuda)}, which needs driver"
            f" {OLDEST_DRIVER.get(build.cuda[0], 'of its time')} or newer, and {here}:"
            f" {_remedy(driver[0])}"
        )
    return None


def needs(build: Build) -> str:
    """Say what driver *build* needs."""
    if build.cuda is None:
        return f"{build.version}, a build without CUDA"
    oldest = OLDEST_DRIVER.get(build.cuda[0])
    return f"{build.version} for CUDA {_dotted(build.cuda)}" + (
        f", which needs driver {oldest} or newer" if oldest else ""
    )


def refusal(environ: Mapping[str, str]) -> str | None:
    """Say why the GPUs that this process is shown would be left unused; None where all is well.

    Without GPUs, or told to use the CPU, all is well.
    """
    if environ.get(DEVICE_VARIABLE) == "cpu" or not shows_gpus(environ):
        return None
    if why := misfit(installed_build(), driver_cuda()):
        return f"there is a GPU, but {why}. {ON_THE_CPU}"
    return None


def _remedy(major: int) -> str:
    """Say how to get a build for drivers of CUDA *major*."""
    if major >= max(OLDEST_DRIVER):
        return "run `make env BUILD=lock` (docs/builds.md)"
    if build := BUILD_FOR.get(major):
        return (
            f"install the same version in another build, `make env BUILD={build}`"
            " (docs/builds.md; what was made stays valid), or have the driver updated"
        )
    return "have the driver updated; there is no build for it"


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))
