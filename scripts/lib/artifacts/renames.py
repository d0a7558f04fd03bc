"""Moves of whole artifacts, each by one rename, in folders where other processes move them too."""

import contextlib
import errno
import os
import secrets
from pathlib import Path

from scripts.lib.artifacts import cache_rights


def move_in(part: Path, entry: Path) -> bool:
    """Move the finished folder *part* to *entry*, unless something is there; tell whether it went.

    Raises:
        OSError: when it cannot be moved whatever is there.
    """
    try:
        os.rename(part, entry)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # it may be gone again by now
            return False
        raise
    return True


def put_aside(folder: Path, seen: int | None, cache: Path | None) -> Path | None:
    """Move *folder* out of the way, under a name that no plan looks for.

    Args:
        folder: What was found bad.
        seen: Its inode then. Another process may have put a good one in its place since: that one
            is put back.
        cache: The cache that it lies in.

    Returns:
        Where it went; None when another process was first.
    """
    aside = folder.parent / ".quarantine" / f"{folder.name}-{secrets.token_hex(4)}"
    if cache:
        cache_rights.make_folder(aside.parent, cache)
    else:
        aside.parent.mkdir(exist_ok=True)
    if inode(folder) != seen:
        return None
    try:
        os.rename(folder, aside)
    except FileNotFoundError:
        return None
    if inode(aside) != seen:
        with contextlib.suppress(OSError):  # a third one took its place already
            os.rename(aside, folder)
        return None
    with contextlib.suppress(OSError):
        os.utime(aside)  # its age in quarantine counts from now
    return aside


def inode(path: Path) -> int | None:
    """Return the inode of *path*: what is renamed into a place has another one."""
    try:
        return path.stat().st_ino
    except OSError:
        return None
