"""Whether the hub gives a repository to whoever asks, and what to do where it does not.

Asking costs two short requests and fetches no file. Each answer has the advice that helps there,
and none that does not.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

RepositoryKind = Literal["dataset", "model"]
SECONDS = 20
BY_PATH = "bring its files along and name them by `path`"
UNAUTHORIZED, FORBIDDEN, TOO_MANY = 401, 403, 429
AT_ONCE = 8


@dataclass(frozen=True)
class Repository:
    """A repository of the hub at a commit.

    Attributes:
        name: OWNER/NAME.
        revision: The commit; None where any will do.
        kind: What it holds.
    """

    name: str
    revision: str | None
    kind: RepositoryKind


@dataclass(frozen=True)
class Refusal:
    """Why a repository cannot be read.

    Attributes:
        words: The reason, and what to do.
        answered: Whether the hub itself said so; else it was not asked, or did not answer.
    """

    words: str
    answered: bool = True


def refusals(repositories: Sequence[Repository]) -> list[str]:
    """Return in words what the hub refuses, of several repositories, before any file is fetched.

    Where it is not asked or does not answer nothing is known, and nothing is said.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(_look, repositories)
    return list(dict.fromkeys(one.words for one in found if one and one.answered))


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
    refusal = _look(Repository(repository, revision, kind), instead)
    return refusal.words if refusal else None


def _look(wanted: Repository, instead: str = BY_PATH) -> Refusal | None:
    """Ask the hub for a repository; None if it can be read."""
    repository, revision, kind = wanted.name, wanted.revision, wanted.kind
    api = huggingface_hub.HfApi()
    page = f"{api.endpoint}/{'datasets/' if kind == 'dataset' else ''}{repository}"
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        words = (
            f"the hub may not be asked for the {kind} {repository}, as HF_HUB_OFFLINE is set: unset"
            f" it where there is a network, or {instead}"
        )
        return Refusal(words, answered=False)
    try:
        api.repo_info(repository, revision=revision, repo_type=kind, timeout=SECONDS)
        api.auth_check(repository, repo_type=kind)
    except GatedRepoError as error:
        return Refusal(_gated(repository, kind, page, error.response.status_code))
    except RepositoryNotFoundError:
        return Refusal(
            f"the hub has no {kind} {repository}, or it is private and"
            f" {_who()}: correct the name, or log in with an account that can see it (`hf auth"
            " login`, or HF_TOKEN)"
        )
    except RevisionNotFoundError:
        return Refusal(
            f"the {kind} {repository} has no commit {revision}: copy one from"
            f" {page}/commits/main, in full"
        )
    except HfHubHTTPError as error:
        status = error.response.status_code
        return Refusal(
            _refused(repository, kind, error), answered=status in (UNAUTHORIZED, FORBIDDEN)
        )
    # Whatever else there is lies on the way: names, proxies, certificates, time-outs.
    except Exception as error:
        words = (
            f"the hub cannot be reached at {api.endpoint} ({reason_of(error)}): fetch where there"
            f" is a network, or {instead}"
        )
        return Refusal(words, answered=False)
    return None


def reason_of(error: BaseException) -> str:
    """Say in one line what went wrong in a library."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'without a word'}"[:300]


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
