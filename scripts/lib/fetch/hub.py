"""Rows of the hub, at the commit that was asked for and no other.

Where the hub's client cannot reach a repository at a commit, `datasets` takes what its cache holds
of that repository, whatever commit it is from. Here that is an error. The libraries wrap one error
into another, and drop what began it; so the hub itself is asked again why a repository cannot be
had. Each finding has the advice that helps there, and none that does not.
"""

import difflib
import os
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import datasets
import huggingface_hub
from datasets import load_dataset
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from scripts.lib.errors import ConfigError

RepositoryKind = Literal["dataset", "model"]
SECONDS = 20
BY_PATH = "bring its files along and name them by `path`"
UNAUTHORIZED, FORBIDDEN, TOO_MANY = 401, 403, 429
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


def access_fault(
    repository: str, revision: str | None, kind: RepositoryKind, instead: str = BY_PATH
) -> str | None:
    """Say why a repository cannot be read at a commit and what to do, or None if it can.

    Args:
        repository: OWNER/NAME.
        revision: The commit; None where any will do.
        kind: What it holds.
        instead: What to do where there is no network.
    """
    api = huggingface_hub.HfApi()
    page = f"{api.endpoint}/{'datasets/' if kind == 'dataset' else ''}{repository}"
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return (
            f"the hub may not be asked for the {kind} {repository}, as HF_HUB_OFFLINE is set: unset"
            f" it where there is a network, or {instead}"
        )
    try:
        api.repo_info(repository, revision=revision, repo_type=kind, timeout=SECONDS)
        api.auth_check(repository, repo_type=kind)
    except GatedRepoError as error:
        return _gated(repository, kind, page, error.response.status_code)
    except RepositoryNotFoundError:
        return (
            f"the hub has no {kind} {repository}, or it is private and"
            f" {_who()}: correct the name, or log in with an account that can see it (`hf auth"
            " login`, or HF_TOKEN)"
        )
    except RevisionNotFoundError:
        return (
            f"the {kind} {repository} has no commit {revision}: copy one from"
            f" {page}/commits/main, in full"
        )
    except HfHubHTTPError as error:
        return _refused(repository, kind, error)
    # Whatever else there is lies on the way: names, proxies, certificates, time-outs.
    except Exception as error:
        return (
            f"the hub cannot be reached at {api.endpoint} ({reason_of(error)}): fetch where there"
            f" is a network, or {instead}"
        )
    return None


def reason_of(error: BaseException) -> str:
    """Say in one line what went wrong in a library."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'without a word'}"[:300]


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


def _gated(repository: str, kind: RepositoryKind, page: str, status: int) -> str:
    login = "log in (`hf auth login`, or HF_TOKEN)"
    if status == UNAUTHORIZED or not huggingface_hub.get_token():
        return f"the {kind} {repository} is gated: ask for access at {page}, then {login}"
    return (
        f"the {kind} {repository} is gated and the account that is logged in has no access: ask for"
        f" it at {page}, or {login} with one that has"
    )


def _refused(repository: str, kind: RepositoryKind, error: HfHubHTTPError) -> str:
    status = error.response.status_code
    said = f"the hub refuses the {kind} {repository} ({reason_of(error)}): "
    if status == UNAUTHORIZED:
        return f"{said}the token is not valid; log in anew (`hf auth login`), or unset HF_TOKEN"
    if status == FORBIDDEN:
        return f"{said}the token has no right to read it; take one that has"
    if status == TOO_MANY:
        return f"{said}too many requests; start again later"
    return f"{said}start again later"


def _who() -> str:
    if not huggingface_hub.get_token():
        return "nobody is logged in"
    source = "HF_TOKEN" if os.environ.get("HF_TOKEN") else "the token on this machine"
    return f"the account of {source} cannot see it"
