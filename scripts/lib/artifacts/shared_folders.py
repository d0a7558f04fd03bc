"""Folders that people and processes share: who may do what in them, and moves by one rename.

The root of a cache decides, whatever the umask of whoever publishes: what is made below it belongs
to the root's group and is as open to group and others as the root is, except that others never get
to write. A root that is private stays so. Files lose every write bit, since a hard link's bytes are
an entry's bytes. `docs/cache.md` says how to set up a root for a group.
"""

import contextlib
import ctypes
import errno
import os
import secrets
import shutil
import stat
from pathlib import Path
from typing import NamedTuple

from scripts.lib import files
from scripts.lib.clones import clone_or_copy

# Linux's renameat2: relative to the working directory, and only to a name that is free.
_HERE, _NOREPLACE = -100, 1


class Rights(NamedTuple):
    """What a cache's root gives to what is below it: group id, modes of folders and of files."""

    group: int
    folder: int
    file: int


def rights_below(root: Path) -> Rights:
    """Return what the folder *root* gives to what is made below it."""
    found = root.stat()
    mode = stat.S_IMODE(found.st_mode)
    # With the setgid bit even what other programs make here belongs to the group.
    inherit = stat.S_ISGID if mode & (stat.S_IWGRP | stat.S_ISGID) else 0
    return Rights(found.st_gid, 0o700 | (mode & 0o075) | inherit, 0o400 | (mode & 0o044))


def make_folder(folder: Path, root: Path) -> None:
    """Make *folder* with the rights of *root*, and what is missing between them.

    Each appears in one step, its rights set: a colleague never meets one that is still closed.
    """
    if folder.is_dir():
        return
    if folder == root:
        root.mkdir(parents=True, exist_ok=True)
        return
    make_folder(folder.parent, root)
    part = folder.with_name(f".part-{folder.name}-{secrets.token_hex(4)}")
    part.mkdir()
    try:
        _open_folder(part, rights_below(root))
        _rename_new(part, folder)
    except OSError:
        with contextlib.suppress(OSError):
            part.rmdir()
        if not folder.is_dir():
            raise


def _rename_new(part: Path, folder: Path) -> None:
    """Rename a folder to a name that nothing has.

    A plain rename replaces a folder that is empty, under the feet of whoever made it first and is
    about to write into it. File systems that know no other (NFS) get a plain one.

    Raises:
        OSError: when something has the name, or the rename fails otherwise.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "renameat2"):
        names = (os.fsencode(part), os.fsencode(folder))
        if not libc.renameat2(_HERE, names[0], _HERE, names[1], _NOREPLACE):
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise OSError(code, os.strerror(code), str(folder))
    os.rename(part, folder)


def open_tree(folder: Path, root: Path) -> None:
    """Give *folder* and all below it the rights of *root*."""
    rights = rights_below(root)
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            _open_folder(path, rights)
        else:
            _open_file(path, rights)
    _open_folder(folder, rights)


def write_text(path: Path, text: str, root: Path) -> None:
    """Write *text* to *path* below *root* in one step, with the root's rights."""
    make_folder(path.parent, root)
    with files.sibling(path) as part:
        part.write_text(text)
        _open_file(part, rights_below(root))
        os.replace(part, path)


def link_or_copy(source: Path, target: Path) -> None:
    """Make *target* hold the bytes of *source*: one inode on one file system, else a copy.

    Linked files are made read-only, since a change in one place would be a change in all. Behind a
    symbolic link is a file of another program: it is copied, and keeps its mode.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        clone_or_copy(source, target)
        return
    try:
        os.link(source, target)
        with contextlib.suppress(PermissionError):  # another owner's file keeps its mode
            os.chmod(target, os.stat(target).st_mode & ~0o222)
    except OSError:
        shutil.copyfile(source, target)


def _open_folder(folder: Path, rights: Rights) -> None:
    """Give a folder that was just made its group and mode."""
    if folder.stat().st_gid != rights.group:
        with contextlib.suppress(PermissionError):  # a cache of a group that one is not in
            os.chown(folder, -1, rights.group)
    os.chmod(folder, rights.folder)


def _open_file(path: Path, rights: Rights) -> None:
    """Let the root's group read a file, and nobody write it.

    Where that cannot be (another owner's file, linked), a copy takes its place: made in a folder
    with the setgid bit, it belongs to the right group.
    """
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode) & ~0o222 | rights.file
    with contextlib.suppress(PermissionError):
        if mode != stat.S_IMODE(found.st_mode):
            os.chmod(path, mode)
        if found.st_gid != rights.group and rights.file & stat.S_IRGRP:
            os.chown(path, -1, rights.group)
    if not _group_reads(path.stat(), rights):
        with files.sibling(path) as part:
            shutil.copyfile(path, part)
            os.chmod(part, rights.file)
            os.replace(part, path)


def _group_reads(found: os.stat_result, rights: Rights) -> bool:
    """Tell whether the root's group can read a file, or need not."""
    by_group = found.st_gid == rights.group and found.st_mode & stat.S_IRGRP
    return bool(by_group or found.st_mode & stat.S_IROTH or not rights.file & stat.S_IRGRP)


def advice(error: OSError, cache: Path) -> str:
    """Return in words why something was not published to *cache*, and what helps."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{cache} is full ({error.strerror}): make cache-gc shows what may go"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"{cache} cannot be written by you ({error}): docs/cache.md says who may write"
    return str(error)


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
        make_folder(aside.parent, cache)
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
