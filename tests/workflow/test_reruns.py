"""What Snakemake itself runs after a change: neither a stale result nor a needless job.

The expectations are written by hand. `tests/identity` has many more changes, on the plan alone.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.workspace import (
    ROOT,
    copy_workspace,
    jobs,
    leave_one_run_and_mmlu,
    read_config,
    snakemake,
    write_config,
)

TUNED_HIGH = [
    "aggregate_scores model-say-r4-mmlu",
    "aggregate_scores model-say-r4-say",
    "compare_runs all",
    "merge_adapter model-say-r4",
    "prove_merge model-say-r4",
    "score_benchmark model-say-r4-held-out",
    "score_benchmark model-say-r4-mmlu",
    "train_adapter model-say-r4",
    "write_report all",
]
"""Everything that follows from another adapter for the run `high` (rank 4)."""


def dry(folder: Path, *arguments: str, **options: object) -> list[str]:
    """Return the jobs that a dry run lists."""
    result = snakemake(folder, "-n", *arguments, **options)
    assert result.returncode == 0, result.stdout
    return jobs(result.stdout)


def test_nothing_changed_runs_nothing_and_says_so(workspace: Path) -> None:
    result = snakemake(workspace, "-c2")
    assert result.returncode == 0, result.stdout
    assert "Nothing to be done" in result.stdout
    assert jobs(result.stdout) == []


def test_a_run_has_a_page_of_what_it_was_trained_on_which_the_report_leads_to(
    workspace: Path,
) -> None:
    place = "runs/high/examples/index.html"
    assert "<mark>" in (workspace / "results" / place).read_text()
    report = (workspace / "results/report/index.html").read_text()
    assert 'href="../runs/low/examples/index.html"' in report and "<mark>" in report
    assert (workspace / "results/report" / ".." / place).is_file()


def test_another_learning_rate_runs_that_run_and_the_comparison(workspace: Path) -> None:
    config = read_config(workspace)
    config["runs"]["high"]["training"]["learning_rate"] = 5e-3
    write_config(workspace, config)
    assert dry(workspace) == TUNED_HIGH


def test_a_dry_run_says_why_each_job_would_run(workspace: Path) -> None:
    config = read_config(workspace)
    config["runs"]["high"]["training"]["learning_rate"] = 5e-3
    write_config(workspace, config)
    told = [one for one in snakemake(workspace, "-n").stdout.splitlines() if "why: " in one]
    assert len(told) == 2, told
    assert "adapters/model-say-r4-" in told[0]
    assert "training.learning_rate: 0.01 -> 0.005" in told[0]
    assert "what follows from these" in told[1]


@pytest.mark.slow
def test_swapped_rank_and_alpha_are_noticed(workspace: Path) -> None:
    config = read_config(workspace)
    config["runs"]["high"]["lora"] = {"r": 8, "alpha": 4, "dropout": 0.0}
    write_config(workspace, config)
    assert dry(workspace) == sorted(job.replace("-r4", "-r8") for job in TUNED_HIGH)


def test_touched_files_and_lost_metadata_run_nothing(workspace: Path) -> None:
    shutil.rmtree(workspace / ".snakemake")
    for path in [*workspace.glob("data/*"), *workspace.glob("results/*/*.json")]:
        path.touch()
    assert dry(workspace) == []


@pytest.mark.slow
def test_a_row_edited_under_its_old_size_and_time_is_noticed(workspace: Path) -> None:
    rows = workspace / "data" / "say.jsonl"
    stat = rows.stat()
    rows.write_text(rows.read_text().replace("Say red 1", "Say RED 1"))
    os.utime(rows, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert rows.stat().st_size == stat.st_size
    listed = dry(workspace)
    assert {"fetch_dataset say", "format_chat say", "render_shards say-model"} <= set(listed)
    assert {"train_adapter model-say-r2", "train_adapter model-say-r4"} <= set(listed)
    assert "score_benchmark model-held-out" not in listed  # the base saw no row


def test_a_renamed_run_is_compared_again_under_its_name(workspace: Path) -> None:
    config = read_config(workspace)
    config["runs"] = {"low": config["runs"]["low"], "higher": config["runs"]["high"]}
    write_config(workspace, config)
    result = snakemake(workspace, "-c2", "--show-failed-logs")
    assert result.returncode == 0, result.stdout
    assert jobs(result.stdout) == ["compare_runs all", "write_report all"]
    assert (workspace / "results/runs/higher/adapter").exists()
    assert not (workspace / "results/runs/high").exists()
    assert "higher" in (workspace / "results/report/comparison.csv").read_text()


def test_a_second_run_of_equal_work_is_one_artifact(workspace: Path) -> None:
    config = read_config(workspace)
    config["runs"]["twin"] = config["runs"]["high"]
    write_config(workspace, config)
    assert dry(workspace) == ["compare_runs all", "write_report all"]


def test_a_setting_changed_and_changed_back_costs_nothing(workspace: Path) -> None:
    old = read_config(workspace)
    new = read_config(workspace)
    new["report"] = {"title": "Another title"}
    write_config(workspace, new)
    result = snakemake(workspace, "-c2", "--show-failed-logs")
    assert result.returncode == 0, result.stdout
    assert jobs(result.stdout) == ["write_report all"]
    write_config(workspace, old)
    assert dry(workspace) == []


def test_evicted_folders_run_nothing_until_something_needs_them(workspace: Path) -> None:
    for stage in ("models", "raw", "chat", "shards", "adapters", "merged"):
        for manifest in (workspace / "results" / stage).glob("*.json"):
            shutil.rmtree(manifest.with_name(manifest.name.removesuffix(".json")))
    assert dry(workspace) == []
    config = read_config(workspace)
    config["runs"]["new"] = {**config["runs"]["high"], "lora": {"r": 3, "alpha": 6}}
    write_config(workspace, config)
    listed = dry(workspace)
    assert "train_adapter model-say-r3" in listed
    assert {"fetch_model model", "render_shards say-model"} <= set(listed)
    assert not {"train_adapter model-say-r2", "train_adapter model-say-r4"} & set(listed)


def test_a_clone_with_the_shared_cache_only_compares(
    workspace: Path, shared_cache: Path, tmp_path: Path
) -> None:
    first = (workspace / "results/report/comparison.csv").read_text()
    clone = copy_workspace(workspace, tmp_path / "elsewhere" / "clone")
    shutil.rmtree(clone / "results")
    shutil.rmtree(clone / ".snakemake")
    cache = {"TUNESMITH_CACHE": str(shared_cache)}
    result = snakemake(clone, "-c2", "--show-failed-logs", env=cache)
    assert result.returncode == 0, result.stdout
    assert jobs(result.stdout) == ["compare_runs all", "write_report all"]
    assert (clone / "results/report/comparison.csv").read_text() == first


@pytest.mark.slow
def test_a_truncated_artifact_is_made_again_when_it_is_needed(workspace: Path) -> None:
    (shards,) = (workspace / "results/shards").glob("say-*/")
    victim = next(shards.glob("train-*.parquet"))
    victim.unlink()
    victim.write_bytes(b"PAR1")
    assert dry(workspace) == []
    config = read_config(workspace)
    config["runs"]["new"] = {**config["runs"]["high"], "lora": {"r": 3, "alpha": 6}}
    write_config(workspace, config)
    assert "render_shards say-model" in dry(workspace)


def test_redo_makes_a_run_again_with_all_that_follows(workspace: Path) -> None:
    assert dry(workspace, "--config", "redo=high") == TUNED_HIGH
    result = snakemake(workspace, "-n", "-R", "train_adapter")
    assert result.returncode == 1
    assert "redo=" in result.stdout


def test_redo_of_a_stage_really_makes_it_again(workspace: Path) -> None:
    leave_one_run_and_mmlu(workspace)
    manifests = sorted((workspace / "results/categories").glob("*-mmlu-*.json"))
    before = {path: path.stat().st_mtime_ns for path in manifests}
    result = snakemake(workspace, "-c2", "--config", "redo=categories")
    assert result.returncode == 0, result.stdout
    assert jobs(result.stdout) == [
        "aggregate_scores model-mmlu",
        "aggregate_scores model-say-r4-mmlu",
        "compare_runs all",
        "write_report all",
    ]
    again = [path for path in manifests if path.stat().st_mtime_ns > before[path]]
    assert again == [path for path in manifests if "-r2-" not in path.name]
    assert len(again) == 2
    assert dry(workspace) == []


def test_comments_run_nothing_and_constants_run_what_uses_them(
    workspace: Path, project: Path
) -> None:
    assert dry(workspace, root=project) == []
    training = project / "scripts/lib/train/training.py"
    training.write_text(training.read_text() + "\n# A remark.\n")
    assert dry(workspace, root=project) == []
    proving = project / "scripts/lib/merge/proving.py"
    proving.write_text(proving.read_text() + "\nUNUSED = 1\n")
    listed = dry(workspace, root=project)
    assert {"prove_merge model-say-r2", "prove_merge model-say-r4"} <= set(listed)
    assert not any(job.startswith(("train_adapter", "merge_adapter")) for job in listed)


def test_code_edited_while_jobs_wait_makes_nothing_under_the_old_key(
    workspace: Path, project: Path
) -> None:
    config = read_config(workspace)
    config["runs"]["high"]["training"]["learning_rate"] = 4e-3
    write_config(workspace, config)
    before = set((workspace / "results/merged").iterdir())
    running = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "-s", str(project / "Snakefile"), "-c2"],
        cwd=workspace,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TUNESMITH_CACHE": ""},
    )
    deadline = time.monotonic() + 300
    while not list((workspace / "logs/train_adapter").glob("*")) or not _newest_plan(workspace):
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    merging = project / "scripts/lib/merge/merging.py"
    merging.write_text(merging.read_text() + "\nEDITED = 1\n")
    output, _ = running.communicate(timeout=600)
    assert running.returncode == 1
    logs = "".join(path.read_text() for path in (workspace / "logs/merge_adapter").glob("*.log"))
    assert "was edited since this workflow was planned" in logs, output
    made = {path for path in (workspace / "results/merged").iterdir() if path.name[0] != "."}
    assert made == {path for path in before if path.name[0] != "."}
    # The training itself was planned under the code that it ran with, and stays.
    listed = dry(workspace, root=project)
    assert "train_adapter model-say-r4" not in listed
    assert "merge_adapter model-say-r4" in listed


def _newest_plan(folder: Path) -> bool:
    """Tell whether a job of the plan under test has begun: its log is newer than its plan."""
    plans = max(path.stat().st_mtime_ns for path in (folder / "results/plans").iterdir())
    logs = (folder / "logs/train_adapter").glob("*.log")
    return any(path.stat().st_mtime_ns >= plans for path in logs)


def beside(profile: str) -> object:
    """Return a profile that lies where another one, which is tried each time, links to."""
    return pytest.param(profile, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "profile", ["slurm", beside("profiles/slurm"), "local", beside("profiles/local")]
)
def test_profiles_resolve_from_the_project_folder(profile: str) -> None:
    result = snakemake(ROOT, "--profile", profile, "-n", "--quiet", "--executor", "dryrun")
    assert result.returncode == 0, result.stdout
