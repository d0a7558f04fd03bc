"""The local files of a benchmark, read and checked at planning: before any job.

Nothing is written here. What fetches them checks them again.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from scripts.lib.benchmarks.exact_match.faults import answer_fault
from scripts.lib.judge.faults import prompt_fault
from scripts.lib.questions.bad_rows import FaultOf, Rows, refuse_bad_rows
from scripts.lib.questions.choice_faults import mmlu_fault
from scripts.lib.questions.rows import sort_rows


def check_files(
    spec: Mapping[str, Any], places: Mapping[str, Path], *, chat_template: bool
) -> dict[str, int]:
    """Refuse files of which no benchmark can be made.

    Args:
        spec: The benchmark's, with a `kind` whose questions are local files.
        places: Name of a file in the spec -> where it is.
        chat_template: Whether generated answers are asked for through the chat template, which
            conversations need.

    Returns:
        Name of a file -> how many questions it has without those that are left out.

    Raises:
        ConfigError: Lists all rows that are no questions, in all files; or says what else is wrong.
    """
    faults: Mapping[str, FaultOf] = {
        "mmlu": mmlu_fault,
        "exact_match": partial(answer_fault, chat_template=chat_template),
        "judged_pairs": prompt_fault,
    }
    found: dict[str, Rows[Any]]
    if fault := faults.get(spec["kind"]):
        found = {name: sort_rows(place, fault) for name, place in places.items()}
        refuse_bad_rows(spec, found)
    else:
        # It reads tables with pyarrow, which JSON lines need not wait for.
        from scripts.lib.benchmarks.multiple_choice.rows import arrange_choices, read_choices

        found = read_choices(spec, places)
        refuse_bad_rows(spec, found)
        arrange_choices(spec, found)
    return {name: len(rows.good) for name, rows in found.items()}
