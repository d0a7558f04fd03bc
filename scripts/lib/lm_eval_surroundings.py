"""What lm-eval's tasks reach for beside their rows, made local and the same every time.

- The metric `code_eval`, which some ask the hub for: `code_eval.py`.
- nltk's data for splitting sentences (punkt_tab), which some download into the home folder while
  they are read: kept with the benchmark.
- langdetect's guesses, which differ from call to call without a seed.
"""

import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from scripts.lib.code_eval import local_code_eval
from scripts.lib.errors import ConfigError

# Folder of nltk's data in a fetched benchmark, and what is kept of it.
_FOLDER = "nltk_data"
_SENTENCES = "tokenizers/punkt_tab/english"

_TASKS = "lm_eval.tasks."


@contextmanager
def surroundings(benchmark: Path) -> Iterator[None]:
    """Let tasks that are read meanwhile find what they need, then and later.

    Args:
        benchmark: Folder of the fetched benchmark.
    """
    if (benchmark / _FOLDER).is_dir():
        import nltk

        place = str((benchmark / _FOLDER).resolve())
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
        ConfigError: It is not on this machine and could not be downloaded.
    """
    folders = sorted({PurePosixPath(file).parent for file in files})
    readers = [folder for folder in folders if _use_nltk(".".join(folder.parts))]
    if not readers:
        return
    import nltk

    try:
        found = nltk.data.find(_SENTENCES)
    except LookupError:
        raise ConfigError(
            f"{readers[0]}: needs nltk's punkt_tab, which is not on this machine and could not be"
            " downloaded; run `python -m nltk.downloader punkt_tab` where there is a network, and"
            " bring ~/nltk_data along"
        ) from None
    shutil.copytree(str(found), benchmark / _FOLDER / _SENTENCES)


def _use_nltk(package: str) -> bool:
    return any(
        name.startswith(f"{_TASKS}{package}.") and "nltk" in vars(module)
        for name, module in list(sys.modules.items())
    )
