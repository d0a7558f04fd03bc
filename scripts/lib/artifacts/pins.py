"""Library versions: what the lock demands, what is installed."""

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from scripts.lib.errors import ConfigError, StaleError

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)\s*(?:;\s*([^\\]+))?")


def read_lock(path: Path) -> dict[str, str]:
    """Return library -> version of a requirements lock, for this Python and platform.

    Of a version the local part, which names a build, is left out: builds share their keys.

    Args:
        path: A file as `uv pip compile --universal --generate-hashes` writes it.

    Raises:
        ConfigError: when the file is missing or holds no pin.
    """
    from packaging.markers import Marker  # which only planning asks, and every job imports this

    if not path.is_file():
        raise ConfigError(f"{path} is missing: run `make lock`, or restore the file")
    pins: dict[str, str] = {}
    for line in path.read_text().splitlines():
        match = _PIN.match(line)
        if match and (match[3] is None or Marker(match[3].strip()).evaluate()):
            pins[match[1].lower()] = _public(match[2])
    if not pins:
        raise ConfigError(f"{path} holds no pin: run `make lock`, or restore the file")
    return pins


def select(lock: Mapping[str, str], libraries: Iterable[str]) -> dict[str, str]:
    """Return the pins of *libraries*.

    Raises:
        ConfigError: when the lock does not pin one of them.
    """
    missing = [name for name in libraries if name not in lock]
    if missing:
        raise ConfigError(f"requirements.lock does not pin {', '.join(missing)}: run `make lock`")
    return {name: lock[name] for name in libraries}


def check_installed(pins: Mapping[str, str]) -> None:
    """Compare the installed libraries with *pins*.

    Raises:
        StaleError: naming every library that differs, and what to do.
    """
    wrong = []
    for name, wanted in pins.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "nothing"
        if _public(found) != _public(wanted):
            wrong.append(f"{name}: locked {wanted}, installed {found}")
    if wrong:
        raise StaleError(
            "the installed libraries are not those of requirements.lock ("
            + "; ".join(wrong)
            + "): run `make env`, then start the workflow again"
        )


def _public(text: str) -> str:
    """Return a version without its local part: torch 2.9.0+cpu is torch 2.9.0."""
    return text.partition("+")[0]
