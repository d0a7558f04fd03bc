"""What lm-eval's tasks reach for beside their rows, made local and the same every time.

- The metric `code_eval`, which some ask the hub for (generated_code.py).
- nltk's data for splitting sentences (punkt_tab), which some download into the home folder while
  they are read: kept with the benchmark.
- langdetect's guesses, which differ from call to call without a seed.
"""

import atexit
import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from scripts.lib.benchmarks.lm_eval.generated_code import local_code_eval
from scripts.lib.errors import ConfigError

# Folder of nltk's data in a fetched benchmark, and what is kept of it.
_FOLDER = "nltk_data"
_SENTENCES = "tokenizers/punkt_tab/english"
_SENTENCE_FILES = ("abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt")

_TASKS = "lm_eval.tasks."


@contextmanager
def local_environment(benchmark: Path) -> Iterator[None]:
    """Let tasks that are read meanwhile find what they need, then and later.

    Args:
        benchmark: Folder of the fetched benchmark.
    """
    if (benchmark / _FOLDER).is_dir():
        import nltk

        place = _private_copy((benchmark / _FOLDER).resolve())
        nltk.data.path[:] = [place, *(other for other in nltk.data.path if other != place)]
    with local_code_eval():
        yield
    if "langdetect" in sys.modules:
        from langdetect import DetectorFactory

        DetectorFactory.seed = 0


def keep_data(benchmark: Path, files: Iterable[str]) -> None:
    """Copy what tasks need of nltk's data to *benchmark*.

    Args:
        benchmark: Folder of the fetched benchmark.
        files: The files of the tasks below lm-eval's folder of tasks; they were read before.

    Raises:
        ConfigError: It is not on this machine and could not be downloaded, or nltk refuses it.
    """
    folders = sorted({PurePosixPath(file).parent for file in files})
    readers = [folder for folder in folders if _use_nltk(".".join(folder.parts))]
    if not readers:
        return
    import nltk

    try:
        found = nltk.data.find(f"{_SENTENCES}/")
        data = {name: _read(found.join(name)) for name in _SENTENCE_FILES}
    except LookupError:
        raise ConfigError(f"{readers[0]}: needs nltk's punkt_tab, {_why_not_found()}") from None
    except OSError as error:
        raise ConfigError(f"{readers[0]}: needs nltk's punkt_tab: {error}") from None
    place = benchmark / _FOLDER / _SENTENCES
    place.mkdir(parents=True)
    for name, content in data.items():
        (place / name).write_bytes(content)


def _read(pointer: Any) -> bytes:
    """Return the bytes of a file or of a member of an archive, as nltk reads them."""
    with pointer.open() as stream:
        return bytes(stream.read())


def _why_not_found() -> str:
    """Say why nltk finds no data of its own, and what to do."""
    import nltk

    for place in map(str, nltk.data.path):
        if os.path.exists(os.path.join(place, _SENTENCES)):
            return (
                f"and does not read the one in {place}, since other users own it or may write to"
                f" it; run `chmod -R go-w {place}` or, where that is not yours, copy it to"
                " ~/nltk_data and run `chmod -R go-w ~/nltk_data`"
            )
    return (
        "which is not on this machine and could not be downloaded; run"
        " `python -m nltk.downloader punkt_tab` where there is a network, and bring ~/nltk_data"
        " along"
    )


@functools.cache
def _private_copy(data: Path) -> str:
    """Copy a benchmark's data of nltk to where nltk reads them; return the folder.

    Since 3.10 nltk reads no folder or file that others own or may write to, and no file of two
    names (nltk/pathsec.py). Results and caches of a group are such: what is in them is vouched for
    by its manifest, which the job has compared. The copy goes with the process.
    """
    folder = Path(tempfile.mkdtemp(prefix="tunesmith-nltk-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for path in sorted(data.rglob("*")):
        target = folder / path.relative_to(data)
        if path.is_dir():
            target.mkdir(mode=0o700)
        else:
            target.touch(mode=0o600)
            target.write_bytes(path.read_bytes())
    return str(folder)


def _use_nltk(package: str) -> bool:
    return any(
        name.startswith(f"{_TASKS}{package}.") and "nltk" in vars(module)
        for name, module in list(sys.modules.items())
    )
