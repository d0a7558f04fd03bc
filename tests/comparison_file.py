"""Reading a comparison.json that holds what its published schema says, and nothing else."""

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMA = Path(__file__).parents[1] / "docs/comparison.schema.json"


def faults_of(document: Any) -> list[str]:
    """Return what is wrong with a parsed comparison, with the place of each fault."""
    validator = Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def read_comparison(folder: Path) -> Any:
    """Return the parsed comparison in a folder, held against the schema."""
    document = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    assert faults_of(document) == []
    return document
