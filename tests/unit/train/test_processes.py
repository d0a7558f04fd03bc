"""Several processes train one adapter as one does; lost ones, little memory, SIGTERM."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from scripts.lib.train.full_tuning import WITHOUT_ADAPTER
from tests.unit.train.test_training import LOOP, LORA, contents, losses, wait_for

ROOT = Path(__file__).parents[3]

# Twelve rows of each, of the second half of them twice.
MIXTURE = [
    {"share": None, "repeat": 1, "max_rows": None},
    {"share": None, "repeat": 2, "max_rows": 6},
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A tiny model and its shards."""
    from tests.tiny_model import make_tiny_model
    from tests.tiny_shards import make_shards, make_tiny_shards

    folder = tmp_path_factory.mktemp("tiny")
    model = make_tiny_model(folder / "tiny")
    others = [(f"Who is number {n}?", f"nobody{' at all' * (n % 3)}") for n in range(20)]
    general = make_shards(folder / "general", model, {"train": others[:16], "valid": others[16:]})
    return {
        "model": str(model),
        "shards": str(make_tiny_shards(folder / "shards", model)),
        "mixture": [str(make_tiny_shards(folder / "own", model, train=12)), str(general)],
    }


@pytest.fixture
def start(tiny, tmp_path):
    """Start a training by name, as two processes or one; runs of one name share checkpoints."""
    started = []

    def run(name, *, processes=2, faults=(), options=None, full=False, mixture=None, **loop):
        spec = {"lora": LORA, "quantization": None, "training": LOOP | loop}
        spec |= {"mixture": mixture} if mixture else {}
        told = {
            "model": tiny["model"],
            "shards": tiny["mixture" if mixture else "shards"],
            "spec": {"training": _without(WITHOUT_ADAPTER, LOOP | loop)} if full else spec,
            "out": str(tmp_path / name),
            "scratch": str(tmp_path / f"{name}-scratch"),
            "faults": list(faults),
            "options": options or {},
        }
        several = ["scripts.lib.jobs.launch", f"--processes={processes}", "tests.tiny_training"]
        program = several if processes > 1 else ["tests.tiny_training"]
        with (tmp_path / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *program, json.dumps(told)],
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=120)


@pytest.fixture
def finish(tmp_path):
    """Wait for a training; return what it said."""

    def wait(process, name, status=0):
        process.wait(timeout=600)
        said = (tmp_path / f"{name}.log").read_text()
        assert process.returncode == status, said
        return said

    return wait


def _without(keys, settings):
    return {key: value for key, value in settings.items() if key not in keys}


def facts_of(folder):
    return json.loads((folder / "facts.json").read_text())


def test_two_processes_go_on_after_a_lost_one_and_with_less_memory_to_the_losses_of_one(
    start, finish, tmp_path
):
    spec = {"epochs": 1, "eval_every_steps": 3, "mixture": MIXTURE}
    often = {"micro_batch": 2, "checkpoint_seconds": 0.0}
    kill = {"rank": 1, "step": 2, "kind": "kill"}
    said = finish(start("two", faults=[kill], options=often, **spec), "two", 1)
    assert "process 1 on" in said and "was lost: SIGKILL" in said
    assert not (tmp_path / "two" / "facts.json").exists()
    little = {"rank": 1, "step": 4, "kind": "memory", "fits": 1}
    said = finish(start("two", faults=[little], options=often, **spec), "two")
    assert "going on from checkpoint-2" in said and "going on from checkpoint-4" in said
    assert "memory ran out in process 1 with 2 sequences per pass" in said
    assert said.count("with less at once") == 1
    finish(start("one", processes=1, **spec), "one")
    mine, theirs = facts_of(tmp_path / "two"), facts_of(tmp_path / "one")
    assert mine["steps"] == theirs["steps"] == 6
    assert mine["mixture"] == theirs["mixture"]
    assert [one["rows"] for one in mine["mixture"]] == [12, 12]
    for kind in ("loss", "valid_loss"):
        assert losses(mine, kind) == pytest.approx(losses(theirs, kind), abs=1e-4)
    assert contents(tmp_path / "two" / "0").keys() == contents(tmp_path / "one" / "0").keys()
    assert not list((tmp_path / "two" / "1").iterdir())


def test_sigterm_reaches_every_process_and_leaves_a_checkpoint(start, finish, tmp_path):
    job = start("told", options={"checkpoint_seconds": 0.5}, epochs=60)
    scratch = tmp_path / "told-scratch"
    wait_for(lambda: list(scratch.glob("checkpoint-*/complete")), lambda: job.poll() is None)
    job.send_signal(signal.SIGTERM)
    said = finish(job, "told", 1)
    assert "the job was told to end (SIGTERM)" in said and "was lost" not in said
    stopped = max(int(f.name.partition("-")[2]) for f in scratch.glob("checkpoint-*"))
    assert f"stopped after step {stopped} of 360" in said


@pytest.mark.parametrize("full", [False, True], ids=["an adapter", "all weights"])
def test_a_model_that_is_shared_out_goes_on_and_ends_as_in_one_process(
    start, finish, tmp_path, full
):
    """FSDP2 over gloo: accelerate offers it on GPUs, PyTorch everywhere."""
    spec = {"epochs": 1, "eval_every_steps": 2, "early_stopping_patience": 2, "full": full}
    shared = {"fsdp": True, "checkpoint_seconds": 0.0}
    kill = {"rank": 1, "step": 3, "kind": "kill"}
    said = finish(start("two", faults=[kill], options=shared, **spec), "two", 1)
    assert "process 1 on" in said and "was lost: SIGKILL" in said
    said = finish(start("two", options=shared, **spec), "two")
    assert "going on from checkpoint-3" in said
    finish(start("one", processes=1, **spec), "one")
    mine, theirs = facts_of(tmp_path / "two"), facts_of(tmp_path / "one")
    same = ("steps", "kept_step", "trainable_parameters")
    assert [mine[key] for key in same] == [theirs[key] for key in same]
    for kind in ("loss", "valid_loss"):
        assert losses(mine, kind) == pytest.approx(losses(theirs, kind), abs=1e-4)
    assert contents(tmp_path / "two" / "0").keys() == contents(tmp_path / "one" / "0").keys()
    name = "model.safetensors" if full else "adapter_model.safetensors"
    weights, expected = (load_file(tmp_path / run / "0" / name) for run in ("two", "one"))
    assert weights.keys() == expected.keys()
    for key, weight in weights.items():
        torch.testing.assert_close(weight, expected[key], atol=1e-3, rtol=0)
