"""Rows of the hub, at the commit that was asked for and no other.

Where the hub's client cannot reach a repository at a commit, `datasets` takes what its cache holds
of that repository, whatever commit it is from. Here that is an error. The libraries wrap one error
into another, and drop what began it; so the hub itself is asked again why a repository cannot be
had (access.py).
"""

import difflib
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import huggingface_hub
from datasets import load_dataset

from scripts.lib.errors import ConfigError
from scripts.lib.fetch.access import BY_PATH, access_fault, reason_of

# Rows of the hub lie in a cache folder that is named after their commit.
_COMMIT = re.compile(r"/([0-9a-f]{40})/")
# What may stand in the name of a split; `train[:10%]` and `a+b` name several or a part.
_SPLIT = re.compile(r"[\w.-]+")
LISTED_NAMES = 500
LINE_WIDTH = 100


@dataclass(frozen=True)
class Wanted:
    """Rows of the hub.

    Attributes:
        hub: OWNER/NAME.
        name: The configuration, or None.
        split: The split, or None for all of them.
        revision: The commit, or None.
        chosen: Whether the config file chooses configuration and split.
        instead: What to do where there is no network.
    """

    hub: str
    name: str | None
    split: str | None
    revision: str | None
    chosen: bool = True
    instead: str = BY_PATH


def load_split(
    hub: str, name: str | None, split: str, revision: str, *, chosen: bool = True
) -> Any:
    """Return one split of a repository at a commit.

    Args:
        hub: OWNER/NAME.
        name: Its configuration, or None.
        split: The split.
        revision: The commit.
        chosen: Whether the config file chose configuration and split.

    Raises:
        ConfigError: It cannot be had; with the reason, and what to do.
    """
    try:
        rows = load_dataset(hub, name, split=split, revision=revision)
    # Whatever a library, a network or a file does: the text tells which repository it befell.
    except Exception as error:
        wanted = Wanted(hub, name, split, revision, chosen)
        raise ConfigError(
            f"{hub} cannot be loaded at {revision}: {load_fault(error, wanted)}"
        ) from error
    if fault := commit_fault(commits_of(rows), revision):
        why = access_fault(hub, revision, "dataset") or "fetch it again"
        raise ConfigError(f"{hub} {fault}: {why}")
    return rows


def load_fault(error: Exception, wanted: Wanted) -> str:
    """Say why `datasets` could not load rows, and what to do."""
    if datasets.config.HF_HUB_OFFLINE and not huggingface_hub.constants.HF_HUB_OFFLINE:
        return (
            "the hub may not be asked, as HF_DATASETS_OFFLINE is set: unset it where there is a"
            f" network, or {wanted.instead}"
        )
    if why := access_fault(wanted.hub, wanted.revision, "dataset", wanted.instead):
        return why
    if why := _content_fault(wanted):
        return why
    if "scripts are no longer supported" in str(error):
        return (
            "it is made by a Python program, which is not run: take a repository with plain files,"
            " or a commit of the branch refs/convert/parquet"
        )
    return f"its files cannot be read ({reason_of(error)}); {wanted.instead}, mended"


def commits_of(rows: Any) -> list[str]:
    """Return the commits that the rows of a split came from; none for local files."""
    caches = [file["filename"] for file in rows.cache_files]
    return sorted({match[1] for file in caches if (match := _COMMIT.search(file))})


def commit_fault(found: list[str], revision: str) -> str | None:
    """Say what is wrong with rows of these commits, or return None.

    Args:
        found: From `commits_of`.
        revision: The commit that was asked for.
    """
    if found == [revision]:
        return None
    return (
        f"could not be read at the commit {revision}: the cache of `datasets` gave"
        f" {', '.join(found) or 'rows of an unknown commit'} instead"
    )


def _content_fault(wanted: Wanted) -> str | None:
    """Say which configuration or split is not there, with all that are, or return None."""
    hub, name, revision = wanted.hub, wanted.name, wanted.revision
    try:
        names = datasets.get_dataset_config_names(hub, revision=revision)
        if name is None and len(names) > 1 and "default" not in names:
            write = "; write `name:` with one of them" if wanted.chosen else ""
            return f"it has {len(names)} configurations{write}: {_listed(names)}"
        if name is not None and name not in names:
            return f"it has no configuration {name!r}{_near(name, names)}; it has {_listed(names)}"
        splits = datasets.get_dataset_split_names(hub, name, revision=revision)
    # The error at hand is told; this only looks for more.
    except Exception:
        return None
    asked = [part.partition("[")[0].strip() for part in (wanted.split or "").split("+")]
    if not (lacking := [one for one in asked if _SPLIT.fullmatch(one) and one not in splits]):
        return None
    write = "; name those to read in `splits`" if wanted.chosen else ""
    of = "" if name is None else f" of the configuration {name!r}"
    return f"it has no split {', '.join(map(repr, lacking))}{of}{write}; it has {_listed(splits)}"


def _near(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=3)
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""


def _listed(names: Sequence[str]) -> str:
    """Return all names, over several lines where one would be long."""
    shown = ", ".join(names[:LISTED_NAMES])
    if len(names) > LISTED_NAMES:
        shown += f", and {len(names) - LISTED_NAMES} more"
    if len(shown) <= LINE_WIDTH:
        return shown
    return "\n" + textwrap.fill(
        shown,
        LINE_WIDTH,
        initial_indent="  ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
