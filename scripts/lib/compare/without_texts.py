"""A comparison of rows that may not be shared: every number, and nothing that a row says."""

from scripts.lib.compare.document import Comparison, Section


def without_texts(document: Comparison) -> Comparison:
    """Return a comparison without its examples, all that quotes rows, prompts or answers."""
    contamination = document["contamination"]
    return {
        **document,
        "contamination": {
            **contamination,
            "candidates": {
                name: {benchmark: {**one, "examples": []} for benchmark, one in found.items()}
                for name, found in contamination["candidates"].items()
            },
        },
        "judged": {name: _section(section) for name, section in document["judged"].items()},
    }


def _section(section: Section) -> Section:
    candidates = section["candidates"]
    assert isinstance(candidates, dict)
    emptied = {name: {**found, "examples": []} for name, found in candidates.items()}
    return {**section, "candidates": emptied}
