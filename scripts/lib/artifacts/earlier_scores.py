"""Scores as versions before 0.1.0 kept them, several subjects in one artifact, taken apart.

Adoption alone needs this; it can go when nobody has such scores any more. A subject's answers are
the same, bit for bit, whether it is asked alone or beside others.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from scripts.lib.score.files import (
    BAD_ROWS,
    FEWER_SHOTS,
    LEFT_OUT,
    PROTOCOL_FILE,
    PROVENANCE_FILE,
    QUESTIONS_TABLE,
    TASKS,
)


def specs_by_subject(manifest: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the specs that the scores behind an earlier manifest have by subject, if it is one."""
    spec = dict(manifest["spec"])
    if manifest["stage"] != "scores" or "subjects" not in spec:
        return
    named = spec.pop("subjects")
    protocol = manifest["facts"]["protocol"]
    subjects = named or [*protocol.get(TASKS, ()), None]
    if len(subjects) > 1 and protocol.keys() & {BAD_ROWS, LEFT_OUT}:
        return  # whose rows they are is not said
    yield from ({**spec, "subject": subject} for subject in subjects)


def is_part(manifest: Mapping[str, Any], subject: str | None) -> bool:
    """Tell whether a subject is not all that the scores of an earlier manifest hold."""
    if subject is None or "subjects" not in manifest["spec"]:
        return False
    held = manifest["spec"]["subjects"] or manifest["facts"]["protocol"].get(TASKS, ())
    return len(held) > 1


def write_subject(scores: Path, subject: str, out: Path) -> dict[str, Any]:
    """Write the scores of one subject to the new folder *out*, and return their facts.

    Args:
        scores: Folder of scores of several subjects.
        subject: One of them.
        out: Folder to make.
    """
    out.mkdir(parents=True)
    table = pq.read_table(scores / QUESTIONS_TABLE)
    part = table.filter(pc.equal(table["subject"], subject))
    pq.write_table(part, out / QUESTIONS_TABLE)
    rows = part.select(["shots", "correct"]).to_pylist()
    protocol = json.loads((scores / PROTOCOL_FILE).read_text(encoding="utf-8"))
    if protocol["shots"] is not None and protocol["on_long_prompt"] == "fewer_shots":
        protocol[FEWER_SHOTS] = sum(row["shots"] < protocol["shots"] for row in rows)
    if TASKS in protocol:
        protocol[TASKS] = {subject: protocol[TASKS][subject]}
    text = json.dumps(protocol, indent=2, sort_keys=True)
    (out / PROTOCOL_FILE).write_text(text + "\n", encoding="utf-8")
    (out / PROVENANCE_FILE).write_bytes((scores / PROVENANCE_FILE).read_bytes())
    return {"n": len(rows), "correct": sum(row["correct"] for row in rows), "protocol": protocol}
