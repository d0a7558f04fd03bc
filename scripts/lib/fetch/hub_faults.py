"""Why a repository of the hub cannot be had at a commit: what the hub itself says when asked.

The libraries wrap one error into another, and drop what began it; so the hub is asked again. Each
finding has the advice that helps there, and none that does not.
"""

import os
from typing import Literal

import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

Kind = Literal["dataset", "model"]
SECONDS = 20
BY_PATH = "bring its files along and name them by `path`"
UNAUTHORIZED, FORBIDDEN, TOO_MANY = 401, 403, 429


def access_fault(
    repository: str, revision: str | None, kind: Kind, instead: str = BY_PATH
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


def _gated(repository: str, kind: Kind, page: str, status: int) -> str:
    login = "log in (`hf auth login`, or HF_TOKEN)"
    if status == UNAUTHORIZED or not huggingface_hub.get_token():
        return f"the {kind} {repository} is gated: ask for access at {page}, then {login}"
    return (
        f"the {kind} {repository} is gated and the account that is logged in has no access: ask for"
        f" it at {page}, or {login} with one that has"
    )


def _refused(repository: str, kind: Kind, error: HfHubHTTPError) -> str:
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
