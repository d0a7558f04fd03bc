"""Asks the hub which commit a branch or tag is at now."""

import huggingface_hub
from huggingface_hub.errors import RevisionNotFoundError

from scripts.lib.errors import ConfigError
from scripts.lib.fetch.access import SECONDS, RepositoryKind, access_fault


def commit_of(repository: str, revision: str | None, kind: RepositoryKind) -> str:
    """Return the commit of a repository's branch or tag.

    Args:
        repository: OWNER/NAME.
        revision: The branch or tag; None for the branch that the hub shows first.
        kind: What it holds.

    Raises:
        ConfigError: It cannot be had, with the reason and what to do.
    """
    api = huggingface_hub.HfApi()
    try:
        info = api.repo_info(repository, revision=revision, repo_type=kind, timeout=SECONDS)
    except RevisionNotFoundError as error:
        raise ConfigError(
            f"the {kind} {repository} has no branch, tag or commit {revision!r}; leave `revision`"
            " out for the newest commit"
        ) from error
    # Whatever the client, a proxy or a certificate does: the hub is asked again for the reason.
    except Exception as error:
        why = access_fault(repository, revision, kind, "write the commit yourself")
        raise ConfigError(why or f"{repository}: {type(error).__name__}: {error}") from error
    if not info.sha:
        raise ConfigError(f"the hub names no commit of the {kind} {repository}")
    return str(info.sha)
