"""A file of prompts; a judge compares what models answer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.lib.fetch.questions import copy_questions
from scripts.lib.judge.faults import prompt_fault


def fetch(spec: Mapping[str, Any], places: Mapping[str, Path], out: Path) -> dict[str, Any]:
    """Write the questions to *out* and return their facts.

    Args:
        spec: Says what the file has to be.
        places: Name of the file in the spec -> where it is.
        out: Existing empty folder.

    Raises:
        ConfigError: The file is no longer the planned one, or rows are no questions.
    """
    return copy_questions(spec, places, out, prompt_fault)
