"""What a score was made of: contents of its inputs and versions of its libraries."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.lib.errors import ScoreError
from scripts.lib.score.files import PROVENANCE_FILE


def write_provenance(contents: Mapping[str, str], versions: Mapping[str, str], out: Path) -> None:
    """Write `provenance.json`.

    Args:
        contents: Input -> content hash from its manifest: `model`, `benchmark`, and `adapter` where
            it was put on the model.
        versions: Library -> version, those that decide the bytes of a score.
        out: Folder of the score.
    """
    document = {"made_of": dict(contents), "versions": dict(versions)}
    text = json.dumps(document, indent=2, sort_keys=True)
    (out / PROVENANCE_FILE).write_text(text + "\n", encoding="utf-8")


def read_provenance(scores: Sequence[Path]) -> dict[str, Any]:
    """Return what the scoring jobs of one candidate and benchmark were made of.

    Args:
        scores: Folders of `score_benchmark`.

    Raises:
        ScoreError: They were made of other models or questions, or with other libraries.
    """
    found: list[dict[str, Any]] = [
        json.loads((folder / PROVENANCE_FILE).read_text(encoding="utf-8")) for folder in scores
    ]
    for folder, other in zip(scores, found, strict=True):
        if other != found[0]:
            raise ScoreError(
                f"{scores[0]} and {folder} were made of other models or questions, or with other"
                " libraries, so they are no parts of one score. Score both again."
            )
    return found[0]
