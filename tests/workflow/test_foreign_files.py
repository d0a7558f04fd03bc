"""Hidden files that others leave in an artifact's folder are no part of it, wherever it came from.

Snakemake puts `.snakemake_timestamp` into each folder that a job of its made. A folder that came
from a cache, or was finished by a job that outlived its Snakemake, has none: equal bytes all the
same, so that what is made of them must fit together.
"""

import shutil
from pathlib import Path

import pytest

from tests.workspace import copy_workspace, jobs, read_config, snakemake, write_config

STAMP = ".snakemake_timestamp"
AFTER_OTHER_SHOTS = ["compare_runs", "merge_adapter", "score_benchmark"]
"""Rules that must have run after another number of shots, with the merged model's files gone."""


@pytest.fixture(
    params=[
        pytest.param("here", marks=pytest.mark.slow),
        "from a cache",
        pytest.param("from an orphan", marks=pytest.mark.slow),
    ]
)
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """Return a workspace whose adapter came from there, without merged models, and its cache."""
    if request.param == "from a cache":
        folder = copy_workspace(request.getfixturevalue("finished"), tmp_path / "ws")
        shutil.rmtree(folder / "results")
        shutil.rmtree(folder / ".snakemake")
        shutil.copytree(request.getfixturevalue("shared_cache"), tmp_path / "cache")
        return folder, str(tmp_path / "cache")
    folder = copy_workspace(request.getfixturevalue("run_by_snakemake"), tmp_path / "ws")
    results = folder / "results"
    for place in results.glob("merged/*/"):
        shutil.rmtree(place)
    stamps = [place / STAMP for place in results.glob("*/*/") if (place / STAMP).exists()]
    assert any(stamp.parts[-3] == "adapters" for stamp in stamps)
    if request.param == "from an orphan":
        for stamp in stamps:
            stamp.unlink()
    return folder, ""


def test_a_changed_benchmark_is_scored_wherever_the_adapter_came_from(workspace) -> None:
    folder, cache = workspace
    config = read_config(folder)
    (mmlu,) = (b for b in config["benchmarks"].values() if b["kind"] == "mmlu")
    mmlu["shots"] = 1
    config["runs"].pop("low")
    write_config(folder, config)
    result = snakemake(folder, "-c2", "--show-failed-logs", env={"TUNESMITH_CACHE": cache})
    assert result.returncode == 0, result.stdout
    rules = {job.split()[0] for job in jobs(result.stdout)}
    assert rules >= set(AFTER_OTHER_SHOTS)
    assert "train_adapter" not in rules
