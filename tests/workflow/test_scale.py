"""What keeps planning quick: properties of the plan and of the rules, not seconds."""

import re
import shutil
from pathlib import Path

import pytest

from scripts.lib.files import read_json
from scripts.tools.bench_dag import dry_run, noop_run
from scripts.tools.bench_dag_worlds import ROOT, jobs_of, make_everything, make_world
from tests.workspace import snakemake

RUNS = 100
SNAKEFILE = ROOT / "Snakefile"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which every artifact of many runs is there."""
    folder = tmp_path_factory.mktemp("scale") / "full"
    make_everything(make_world(folder, RUNS), folder)
    return folder


def newest_plan(folder: Path) -> dict:
    """Return the frozen plan of the last invocation."""
    plans = (folder / "results/plans").glob("*.json")
    return read_json(max(plans, key=lambda path: path.stat().st_mtime_ns))


def test_where_all_is_there_the_plan_is_empty_and_nothing_is_done(full: Path) -> None:
    noop_run(full, SNAKEFILE)
    assert newest_plan(full)["artifacts"] == {}
    assert len(list((full / "results/runs").iterdir())) == RUNS + 2
    links = list((full / "results/runs").glob("north-orders-*/adapter"))
    assert len(links) == RUNS / 4
    assert all(link.exists() for link in links)


def test_what_is_there_enters_neither_the_plan_nor_the_jobs(full: Path) -> None:
    """One subject's scores are gone: what follows is made, for which nothing else waits."""
    (victim,) = list((full / "results/scores").glob("north-orders-*-astronomy-*.json"))[:1]
    shutil.rmtree(victim.with_suffix(""))
    victim.unlink()
    for stage in ("categories", "comparisons", "reports"):
        shutil.rmtree(full / "results" / stage)
    dry_run(full, SNAKEFILE, jobs=1 + (RUNS + 2) + 2 + 1)
    frozen = newest_plan(full)
    plan = frozen["artifacts"]
    (scores,) = [id for id, entry in plan.items() if entry["stage"] == "scores"]
    ((batch, entry),) = frozen["batches"].items()
    assert (entry["artifacts"], entry["awaits"]) == ([scores], [])
    waiting = [id for id, entry in plan.items() if batch in entry["awaits"]]
    assert [plan[id]["stage"] for id in waiting] == ["categories"]


def test_a_fresh_plan_has_as_few_edges_as_a_plain_snakefile(full: Path) -> None:
    """Each job waits for a handful of others, the comparison for one of each candidate and the
    searches in each dataset, the report for the examples of each dataset under each model."""
    fresh = full.with_name("fresh")
    graph = make_world(fresh, RUNS)
    dry_run(fresh, SNAKEFILE, jobs=jobs_of(graph))
    plan = newest_plan(fresh)["artifacts"]
    waits = {entry["stage"]: 0 for entry in plan.values()}
    for entry in plan.values():
        waits[entry["stage"]] = max(waits[entry["stage"]], len(entry["awaits"]))
    searches = sum(entry["stage"] == "contamination" for entry in plan.values())
    assert waits.pop("comparisons") == RUNS + 2 + searches
    assert searches < RUNS
    examples = sum(entry["stage"] == "examples" for entry in plan.values())
    assert waits.pop("reports") == 1 + examples < RUNS
    assert max(waits.values()) <= 2


@pytest.mark.parametrize(("most", "jobs"), [(1, 2), (57, 1)])
def test_subjects_are_shared_out_as_the_command_line_says(full: Path, most: int, jobs: int) -> None:
    fresh = full.with_name(f"shared-out-{most}")
    make_world(fresh, RUNS)
    option = f"score_benchmark:subjects_per_job={most}"
    result = snakemake(fresh, "-n", "--quiet", "rules", "--set-resources", option)
    assert result.returncode == 0, result.stdout
    assert re.search(rf"^score_benchmark +{jobs * (RUNS + 2)}$", result.stdout, re.MULTILINE)


def test_the_profile_for_slurm_sets_other_resources_of_scoring_and_plans(full: Path) -> None:
    fresh = full.with_name("slurm")
    make_world(fresh, RUNS)
    profile = str(ROOT / "profiles" / "slurm")
    result = snakemake(fresh, "-n", "--quiet", "rules", "--profile", profile)
    assert result.returncode == 0, result.stdout
    assert re.search(rf"score.benchmark\D+{RUNS + 2}\b", result.stdout)


@pytest.mark.parametrize("word", ["0", "many", "2*attempt"])
def test_no_number_of_subjects_is_refused_in_words(full: Path, word: str) -> None:
    option = f"score_benchmark:jobs_per_benchmark={word}"
    result = snakemake(full, "-n", "--set-resources", option)
    assert result.returncode == 1
    said = re.sub(r"\s+", " ", result.stdout)
    assert f"jobs_per_benchmark={word}: both are whole numbers from 1 on" in said


def test_what_no_rule_makes_is_refused_in_words(full: Path) -> None:
    there = next((full / "results/adapters").glob("*.json")).with_suffix("").name
    result = snakemake(full, "-n", "--", f"results/adapters/{there}")
    assert result.returncode == 1
    assert "is not to be made: it is there, or this config" in re.sub(r"\s+", " ", result.stdout)
