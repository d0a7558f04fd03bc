"""The merge as a job: killed at any moment, or out of room, its output is absent or complete."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from scripts.lib.artifacts.code_digest import ProjectCode
from scripts.lib.artifacts.graph import Graph
from scripts.lib.artifacts.pins import read_lock
from scripts.lib.artifacts.store import Store
from scripts.lib.files import content_of, list_files
from scripts.lib.jobs.job import run_job
from scripts.lib.plan.missing import freeze, make_plan
from tests.merge_kinds import make_kind
from tests.tiny_architectures import make_architecture

ROOT = Path(__file__).resolve().parents[3]
CARD = {"base": {"source": "path", "files": {}}, "parts": [], "combination": None}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A project with a base of 40 MB, an adapter, and the plan to merge them."""
    folder = tmp_path_factory.mktemp("project")
    base = make_architecture("llama_untied", folder / "base")
    wide = {"hidden_size": 512, "intermediate_size": 1024, "head_dim": 64}
    config = LlamaConfig(
        **json.loads((base / "config.json").read_text()) | wide | {"vocab_size": 8000}
    )
    LlamaForCausalLM(config).bfloat16().save_pretrained(base)
    adapter = make_kind("LoRA", "llama_untied", base, folder / "adapter")
    graph = Graph(ProjectCode(ROOT).digest, read_lock(ROOT / "requirements.lock"))
    model_id = graph.add("models", "tiny", {"source": "test"})
    adapter_id = graph.add("adapters", "tiny", {}, reads={"model": model_id})
    merged_id = graph.add(
        "merged", "tiny", {"card": CARD}, reads={"model": model_id, "adapter": adapter_id}
    )
    before = Path.cwd()
    os.chdir(folder)
    try:
        for id, source, inputs in (
            (model_id, base, {}),
            (adapter_id, adapter, {"model": model_id}),
        ):
            _make(graph, id, source, inputs)
    finally:
        os.chdir(before)
    return folder, graph, {"model": model_id, "adapter": adapter_id}, merged_id


def _make(graph, id, source, inputs):
    """Make the artifact *id* of the files in *source*, by a job of its own."""

    def work(job):
        shutil.copytree(source, job.out, dirs_exist_ok=True)
        return {}

    rule = {"models": "fetch_model", "adapters": "train_adapter"}[id.partition("/")[0]]
    run_job(rule, work, _arguments(_plan(graph, id), id, inputs), inputs=tuple(inputs))


def _plan(graph, id):
    plan = make_plan(graph, Store(Path("results")), targets=[id])
    return freeze(plan, results=Path("results"), caches=[], root=ROOT)


def _arguments(plan, id, inputs):
    argv = ["--plan", str(plan), "--artifact", f"results/{id}", "--manifest", f"results/{id}.json"]
    return argv + [text for name, id in inputs.items() for text in (f"--{name}", f"results/{id}")]


def start(bench, monkeypatch, **options):
    """Start the merge program in the project, and return its process."""
    folder, graph, inputs, id = bench
    monkeypatch.chdir(folder)
    argv = _arguments(_plan(graph, id), id, inputs)
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.merge_adapter", *argv, "--threads", "2"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def finish(job):
    """Wait for *job*; return its status and what it printed."""
    output, _ = job.communicate()
    return job.returncode, output


def clear(bench):
    folder, _, _, id = bench
    shutil.rmtree(folder / "results/merged", ignore_errors=True)
    (folder / "results" / f"{id}.json").unlink(missing_ok=True)


def content(folder: Path) -> str:
    return content_of(list_files(folder))


def wait_for_writing(job, folder):
    """Wait for the first file of *job*."""
    while job.poll() is None and not list((folder / "results/merged").glob(".*part*/*")):
        time.sleep(0.002)


def kill_and_finish(bench, monkeypatch, kills):
    """Kill the merge *kills* times, each at a random moment of its writing; then let it finish."""
    folder, _, _, id = bench
    clear(bench)
    job = start(bench, monkeypatch)
    wait_for_writing(job, folder)
    began = time.monotonic()
    status, output = finish(job)
    assert status == 0, output
    writing = time.monotonic() - began
    right = content(folder / "results" / id)
    chance = random.Random(kills)
    reached = []
    for _ in range(kills):
        clear(bench)
        job = start(bench, monkeypatch)
        wait_for_writing(job, folder)
        time.sleep(chance.uniform(0, writing))
        job.send_signal(signal.SIGKILL)
        finish(job)
        written = sum(file.stat().st_size for file in folder.glob("results/merged/.*/*"))
        reached.append(written)
        if (folder / "results" / id).exists():
            assert content(folder / "results" / id) == right
        if (folder / "results" / f"{id}.json").exists():
            manifest = json.loads((folder / "results" / f"{id}.json").read_text())
            assert manifest["content"] == content(folder / "results" / id) == right
    if not (folder / "results" / f"{id}.json").exists():
        status, output = finish(start(bench, monkeypatch))
        assert status == 0, output
    assert content(folder / "results" / id) == right
    left = {place.name for place in (folder / "results/merged").iterdir()} - {".index"}
    assert left == {Path(id).name, f"{Path(id).name}.json"}
    return reached


def test_a_killed_merge_leaves_no_part_of_a_model(bench, monkeypatch):
    kill_and_finish(bench, monkeypatch, kills=2)


@pytest.mark.slow
def test_ten_kills_leave_no_part_of_a_model(bench, monkeypatch):
    reached = kill_and_finish(bench, monkeypatch, kills=10)
    assert any(reached), "no kill hit the writing"


def check_refusal(bench, monkeypatch, **options):
    folder, _, _, id = bench
    status, output = finish(start(bench, monkeypatch, **options))
    assert status == 1, output
    assert "has no room for the merged model" in output and "GiB are free" in output
    assert "Traceback" not in output
    assert not (folder / "results" / f"{id}.json").exists()
    assert not list((folder / "results/merged").iterdir())


def test_a_file_size_limit_is_told_and_leaves_nothing(bench, monkeypatch):
    clear(bench)
    limit = 1 << 20
    check_refusal(
        bench,
        monkeypatch,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )


def test_a_full_disk_is_told_and_leaves_nothing(bench, monkeypatch):
    clear(bench)
    place = bench[0] / "results/merged"
    place.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small file system")
    try:
        check_refusal(bench, monkeypatch)
    finally:
        subprocess.run(["umount", str(place)], check=True)
