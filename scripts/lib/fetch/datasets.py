"""Bring datasets into results/.

Everything is pinned: a hub repository by commit, a local file by its hash. What arrives is copied
as it is.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.lib.clones import clone_or_copy
from scripts.lib.errors import ConfigError
from scripts.lib.files import sha256_of


def fetch_dataset(spec: Mapping[str, Any], sources: Sequence[Path], out: Path) -> dict[str, Any]:
    """Write the raw rows to *out*, a file or a folder of files for each split, as published.

    Raises:
        ConfigError: A local file is no longer what was planned, or the hub's cannot be had.
    """
    if spec["source"] == "path":
        by_name = dict(zip(spec["files"], sources, strict=True))
        copy_planned(spec["files"], by_name, out)
    else:
        # It imports `datasets`, which takes seconds that local files need not wait.
        from scripts.lib.fetch.hub import load_split

        for split, name in spec["splits"].items():
            rows = load_split(spec["hub"], spec["name"], name, spec["revision"])
            # Cutting pages by their content, the default, Arrow ends the process on a full disk.
            rows.to_parquet(out / f"{split}.parquet", use_content_defined_chunking=False)
    return {"splits": sorted(place.name.partition(".")[0] for place in out.iterdir())}


def copy_planned(planned: Mapping[str, str], places: Mapping[str, Path], out: Path) -> None:
    """Copy files to *out* and check that they are the planned ones.

    Args:
        planned: Name below *out* -> sha256.
        places: Name -> where the file is.
        out: The folder to fill.

    Raises:
        ConfigError: when a file is no longer what was planned.
    """
    for name, sha256 in planned.items():
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        clone_or_copy(places[name], target)
        _check(target, sha256, places[name])


def check_planned(planned: Mapping[str, str], places: Mapping[str, Path]) -> None:
    """Check that files that are read where they are, are the planned ones.

    Args:
        planned: Name -> sha256.
        places: Name -> where the file is.

    Raises:
        ConfigError: when a file is no longer what was planned.
    """
    for name, sha256 in planned.items():
        _check(places[name], sha256, places[name])


def _check(file: Path, sha256: str, place: Path) -> None:
    if sha256_of(file) != sha256:
        raise ConfigError(f"{place} changed while it was planned: start the workflow again")
