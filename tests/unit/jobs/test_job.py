"""What every program has in common: one command line, one way to finish."""

import json
from pathlib import Path

import pytest

from scripts.lib.artifacts.code_digest import ProjectCode
from scripts.lib.artifacts.graph import Graph
from scripts.lib.artifacts.store import Store
from scripts.lib.jobs.job import run_job
from scripts.lib.jobs.output import build_facts, execution_facts
from scripts.lib.plan.missing import freeze, make_plan

LOCK: dict[str, str] = {"numpy": "0"}


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """A frozen plan with one raw dataset, in a project whose program exists."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scripts").mkdir()
    program = tmp_path / "scripts/fetch_dataset.py"
    program.write_text("X = 1\n")
    graph = Graph(ProjectCode(tmp_path).digest, LOCK)
    (tmp_path / "rows.jsonl").write_text("{}")
    spec = {"source": "path", "files": {"train.jsonl": "0"}}
    id = graph.add("raw", "rows", spec, sources=[str(tmp_path / "rows.jsonl")])
    results = Path("results")
    plan = make_plan(graph, Store(results), targets=[id])
    return id, freeze(plan, results=results, caches=[], root=tmp_path)


def run(planned, work, **options) -> None:
    id, plan = planned
    argv = ["--plan", str(plan), "--artifact", f"results/{id}", "--manifest", f"results/{id}.json"]
    run_job("fetch_dataset", work, [*argv, *options.pop("argv", ())], **options)


def write(job) -> dict:
    (job.out / "train.jsonl").write_text(job.sources[0].read_text())
    return {"rows": 1}


def test_a_finished_job_leaves_folder_manifest_and_index(planned, capsys):
    run(planned, write)
    id, _ = planned
    manifest = json.loads(Path(f"results/{id}.json").read_text())
    assert Path(f"results/{id}/train.jsonl").read_text() == "{}"
    assert manifest["facts"] == {"rows": 1}
    assert [file["path"] for file in manifest["files"]] == ["train.jsonl"]
    assert Store(Path("results")).look(f"raw/other-{manifest['key']}", manifest["key"]).folder
    assert "done in" in capsys.readouterr().out


def test_the_manifest_tells_time_memory_and_machine_and_no_place_or_date(planned, tmp_path):
    run(planned, write)
    id, _ = planned
    text = Path(f"results/{id}.json").read_text()
    assert set(json.loads(text)["execution"]) >= {"seconds", "peak_gib", "threads", "machine"}
    assert str(tmp_path) not in text


def test_the_manifest_of_a_job_that_torch_decides_tells_its_build():
    import torch

    assert "torch" not in execution_facts(0.0, 1, build_facts({"numpy": "2"}))
    assert execution_facts(0.0, 1, build_facts({"torch": "2"}))["torch"] == torch.__version__


def test_execution_arguments_reach_the_work_as_numbers(planned):
    seen = []
    run(
        planned,
        lambda job: seen.append((job.options.threads, job.options.micro_batch)) or write(job),
        options={"threads": 1, "micro_batch": 4},
        argv=["--threads", "3"],
    )
    assert seen == [(3, 4)]


def test_scratch_is_named_by_identity_survives_a_failure_and_goes_at_the_end(planned, monkeypatch):
    monkeypatch.setenv("TUNESMITH_SCRATCH", "elsewhere")
    id, _ = planned
    key = id.rpartition("-")[2]

    def fail(job):
        job.scratch.mkdir(parents=True)
        (job.scratch / "checkpoint").write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        run(planned, fail)
    (left,) = Path(f"elsewhere/raw-{key}").glob("*/checkpoint")
    assert left.read_text() == "half"

    def go_on(job):
        assert (job.scratch / "checkpoint").read_text() == "half"
        return write(job)

    run(planned, go_on)
    assert not Path(f"elsewhere/raw-{key}").exists()


def test_a_job_that_writes_nothing_is_refused(planned):
    with pytest.raises(SystemExit, match="wrote no file"):
        run(planned, lambda job: {})


def test_what_was_left_of_an_earlier_try_is_replaced(planned):
    id, _ = planned
    Path(f"results/{id}").mkdir(parents=True)
    Path(f"results/{id}/old.txt").write_text("old")
    run(planned, write)
    assert [place.name for place in Path(f"results/{id}").iterdir()] == ["train.jsonl"]


def test_what_a_killed_job_left_is_removed(planned):
    id, _ = planned
    left = Path(f"results/{id}").with_name(f".{id.partition('/')[2]}.part-0badc0de")
    left.mkdir(parents=True)
    run(planned, write)
    assert not left.exists()


def test_of_several_processes_only_the_first_writes_the_artifact(planned, monkeypatch):
    id, _ = planned
    monkeypatch.setenv("RANK", "1")
    run(planned, write)
    assert [place.name for place in Path("results/raw").iterdir()] == []
    monkeypatch.setenv("RANK", "0")
    run(planned, write)
    assert Path(f"results/{id}.json").exists()


def test_a_damaged_plan_is_refused(planned):
    id, plan = planned
    content = json.loads(plan.read_text())
    content["artifacts"][id]["spec"]["files"] = {"train.jsonl": "1"}
    plan.write_text(json.dumps(content))
    with pytest.raises(SystemExit, match="the plan is damaged"):
        run(planned, write)


def test_a_wrong_command_line_is_refused_with_the_usage(planned, capsys):
    with pytest.raises(SystemExit):
        run(planned, write, argv=["--nonsense"])
    assert "python -m scripts.fetch_dataset" in capsys.readouterr().err
