"""A file of questions whose answers are compared with the expected ones."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from scripts.lib.benchmarks.exact_match.rows import answer_fault
from scripts.lib.fetch.questions import copy_questions


def fetch(spec: Mapping[str, Any], places: Mapping[str, Path], out: Path) -> dict[str, Any]:
    """Write the questions to *out* and return their facts.

    Args:
        spec: Says what the file has to be.
        places: Name of the file in the spec -> where it is.
        out: Existing empty folder.

    Raises:
        ConfigError: The file is no longer the planned one, or rows are no questions.
    """
    # Whether a chat template is used is not known here: rows get the benefit of the doubt.
    return copy_questions(spec, places, out, partial(answer_fault, chat_template=True))
