"""Questions in the training rows: reported, dropped, and trained again only where others go.

One test, as each step goes on from the one before.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.comparison_file import read_comparison
from tests.workspace import (
    jobs,
    make_workspace,
    read_config,
    snakemake,
    write_config,
    write_rows,
)

PLANTED = "Which of these colours does a painter get who mixes plain blue with some yellow?"
SHORTENED = "What is the name of the largest planet that goes around the sun in our system today?"
OTHER = "How many legs has a spider that lost two of them in a fight with another spider?"


def questions(folder: Path, name: str, *texts: str) -> dict[str, Any]:
    """Write a benchmark of questions; return what the config says of it."""
    rows = [{"question": text, "choices": ["one", "two"], "answer": "A"} for text in texts]
    write_rows(folder / f"data/{name}.jsonl", rows)
    return {"kind": "multiple_choice", "path": f"data/{name}.jsonl", "shots": 0}


def run(folder: Path, **run: Any) -> list[str]:
    """Run the workflow, with other settings of the run if there are any; return its jobs."""
    config = read_config(folder)
    config["runs"]["high"] |= run
    write_config(folder, config)
    result = snakemake(folder, "--cores", "2", limit=3600)
    assert result.returncode == 0, result.stdout
    return jobs(result.stdout)


def found(folder: Path, benchmark: str) -> dict[str, Any]:
    """Return what the comparison says of a benchmark's questions in the rows of the run."""
    document = read_comparison(folder / "results/report")
    one: dict[str, Any] = document["contamination"]["candidates"]["high"][benchmark]
    return one


def adapter(folder: Path) -> dict[str, Any]:
    """Return the manifest of the adapter that the newest report is about."""
    place = (folder / "results/runs/high/adapter").resolve()
    manifest: dict[str, Any] = json.loads(place.with_name(f"{place.name}.json").read_text())
    return manifest


@pytest.mark.e2e
@pytest.mark.slow
def test_planted_questions_are_told_and_left_out_and_only_other_rows_train_again(tmp_path):
    folder = make_workspace(tmp_path / "ws")
    rows = [json.loads(line) for line in (folder / "data/say.jsonl").read_text().splitlines()]
    planted = ["Tell me.\n\n" + PLANTED.replace(" ", "  "), " ".join(SHORTENED.split()[:11])]
    for text in planted:
        turns = [{"role": "user", "content": text}, {"role": "assistant", "content": "green"}]
        rows.append({"messages": turns})
    write_rows(folder / "data/say.jsonl", rows)
    config = read_config(folder)
    config["runs"] = {"high": {**config["runs"]["high"], "merge": False}}
    config["datasets"]["say"] |= {"valid_fraction": 0.0, "max_dropped_fraction": 0.2}
    config["benchmarks"] = {"own": questions(folder, "own", PLANTED, SHORTENED, OTHER)}
    write_config(folder, config)

    assert "find_contamination say-own" in run(folder)
    one = found(folder, "own")
    assert (one["questions"], one["found"], one["exact"], one["conversations"]) == (3, 2, 1, 2)
    assert one["untouched"]["run"]["n"] == 1
    page = (folder / "results/report/index.html").read_text()
    assert "2 of 3 questions stand in the training rows" in page
    assert SHORTENED in page
    first = adapter(folder)

    # Rows that hold a question go, and what is trained is another adapter.
    assert "drop_contaminated say" in run(folder, on_contamination="drop")
    second = adapter(folder)
    assert second["content"] != first["content"]
    assert found(folder, "own")["found"] == 0
    summary = json.loads((folder / "results/runs/high/chat/summary.json").read_text())
    assert summary["by_reason"]["contaminated"] == 2
    assert "contaminated" in (folder / "results/report/index.html").read_text()

    # A benchmark that finds nothing more leaves the same rows: the work done before is taken.
    config = read_config(folder)
    config["benchmarks"]["third"] = questions(folder, "third", OTHER.replace("legs", "hairs"))
    write_config(folder, config)
    run(folder)
    third = adapter(folder)
    assert third["key"] != second["key"]
    assert third["content"] == second["content"]
    assert third["execution"] == second["execution"], "not trained again"

    # One that finds another row trains again.
    config = read_config(folder)
    config["benchmarks"]["fourth"] = questions(folder, "fourth", "Say red 3 times.")
    write_config(folder, config)
    run(folder)
    fourth = adapter(folder)
    assert fourth["content"] != third["content"]
    assert fourth["execution"] != third["execution"]

    # More than the dataset allows to be dropped is refused, with what became of the rows.
    config = read_config(folder)
    config["datasets"]["say"]["max_dropped_fraction"] = 0.05
    config["runs"]["high"]["training"]["learning_rate"] = 0.005
    config["runs"]["high"]["train_on"] = "all"
    write_config(folder, config)
    result = snakemake(folder, "--cores", "2", limit=3600)
    assert result.returncode != 0
    logs = "".join(path.read_text() for path in (folder / "logs/render_shards").glob("*.log"))
    assert "more than max_dropped_fraction = 0.05 allows" in logs
    assert "'contaminated': 3" in logs
