"""Files that the hub's client keeps (HF_HOME) become an artifact, and take their room once.

What the client downloaded, for Tunesmith or for any other tool, stays its own: no file of it is
moved, changed, or given another mode or name. In the artifact stand, by what the disk can do:

- clones (clones.py), which are files of their own;
- else, for weights on the same file system, symbolic links. A hard link would be one file under two
  names: a shared cache makes what is linked into it read-only and gives it to a group, and so would
  reach into the folder of another program. A symbolic link has no mode and no owner to reach
  through, and what publishes an artifact copies the bytes behind it (shared_folders.py). When the
  client's cache is emptied the artifact counts as missing, and is fetched again if something needs
  it;
- else copies. What people edit, such as a config or a tokenizer, is always a file of its own.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from scripts.lib.clones import clone

LINKED = ".safetensors"
"""What is linked: no program writes into one, and it is most of a model."""


def take_files(named: Mapping[str, Path], out: Path) -> None:
    """Fill a folder with files of the client's cache.

    Args:
        named: Path below *out* -> the file, or the client's link to it.
        out: The folder.
    """
    for name, path in named.items():
        source, target = path.resolve(), out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if clone(source, target):
            continue
        if name.endswith(LINKED) and source.stat().st_dev == target.parent.stat().st_dev:
            target.symlink_to(source)
        else:
            shutil.copyfile(source, target)
