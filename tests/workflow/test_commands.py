"""The command line `tunesmith`, beside a workflow that ran."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.dataset_hub import dataset_files, dataset_hub
from tests.workspace import ROOT, read_config, snakemake, write_config


def tunesmith(
    folder: Path, *words: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "scripts.tools.tunesmith", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TUNESMITH_CACHE": "", **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def adapters(folder: Path) -> list[Path]:
    return sorted(one.with_suffix("") for one in (folder / "results/adapters").glob("*.json"))


def test_a_plan_with_nothing_to_do_says_so(workspace: Path) -> None:
    done = tunesmith(workspace, "plan")
    assert done.returncode == 0, done.stderr
    assert "Nothing is to be made" in done.stdout


def test_a_plan_says_what_why_and_how_long(workspace: Path) -> None:
    config = read_config(workspace)
    config["runs"]["high"]["training"]["learning_rate"] = 5e-3
    write_config(workspace, config)
    done = tunesmith(workspace, "plan")
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.strip()}
    listed = snakemake(workspace, "-n").stdout
    for stage, rule in (("adapters", "train_adapter"), ("merged", "merge_adapter")):
        counts = re.findall(rf"^{rule} +(\d+)$", listed, re.MULTILINE)  # before and after
        assert {rows[stage][1]} == set(counts)
    assert rows["shards"][1:4] == ["0", "1", "0"]
    # Jobs like these are recorded.
    assert "unknown" not in done.stdout
    assert "training.learning_rate: 0.01 -> 0.005" in done.stdout


def test_a_plan_knows_what_a_cache_has(workspace: Path, shared_cache: Path) -> None:
    shutil.rmtree(workspace / "results")
    done = tunesmith(workspace, "plan", env={"TUNESMITH_CACHE": str(shared_cache)})
    assert done.returncode == 0, done.stderr
    assert re.search(r"^categories +0 +0 +[1-9]", done.stdout, re.MULTILINE), done.stdout


def test_verify_finds_a_flipped_byte_and_only_that(workspace: Path) -> None:
    assert tunesmith(workspace, "verify").returncode == 0
    weights = adapters(workspace)[0] / "adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    times = weights.stat()
    data[-1] ^= 1
    weights.unlink()  # a hard link, which others have, too
    weights.write_bytes(data)
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    done = tunesmith(workspace, "verify")
    assert done.returncode == 1
    said = done.stdout.splitlines()
    assert len(said) == 4, done.stdout
    assert "adapter_model.safetensors has other bytes" in said[0]
    assert "1 damaged" in said[1]
    subprocess.run(said[3], cwd=workspace, shell=True, check=True)
    assert tunesmith(workspace, "verify").returncode == 0 and not weights.exists()


@pytest.mark.parametrize("fault", ["missing", "more", "longer", "manifest"])
def test_verify_names_every_kind_of_damage(workspace: Path, fault: str) -> None:
    folder = adapters(workspace)[0]
    config = folder / "adapter_config.json"
    text = config.read_text()
    if fault == "more":
        (folder / "notes.txt").write_text("mine")
    elif fault == "manifest":
        manifest = folder.with_name(f"{folder.name}.json")
        manifest.unlink()
        manifest.write_text("{")
    else:
        config.unlink()
        if fault == "longer":
            config.write_text(text + " ")
    words = {
        "missing": "adapter_config.json cannot be read",
        "more": "notes.txt is not in its manifest",
        "longer": "adapter_config.json has",
        "manifest": "is no manifest",
    }
    done = tunesmith(workspace, "verify")
    assert done.returncode == 1 and words[fault] in done.stdout


def test_explain_says_what_an_artifact_is_by_each_way_to_it(workspace: Path) -> None:
    folder = adapters(workspace)[0]
    link = next(
        path
        for path in (workspace / "results/runs").rglob("*")
        if path.is_symlink() and path.resolve() == folder.resolve()
    )
    run = link.relative_to(workspace / "results/runs").parts[0]
    ways = (f"results/adapters/{folder.name}", f"adapters/{folder.name}", str(link))
    said = [tunesmith(workspace, "explain", way).stdout for way in ways]
    assert said[0] == said[1] == said[2]
    assert f"adapters/{folder.name}" in said[0] and f"for {run}" in said[0]
    assert "learning_rate:" in said[0] and "made by train_adapter in" in said[0]
    done = tunesmith(workspace, "explain", "data/say.jsonl")
    assert done.returncode == 1 and "is no artifact" in done.stderr


def test_a_first_config_is_planned_when_it_is_written(workspace: Path) -> None:
    def init(data: str, *more: str) -> subprocess.CompletedProcess[str]:
        questions = str(workspace / "data/held_out.jsonl")
        named = ("--model", "model", "--data", data, "--benchmark", questions)
        return tunesmith(workspace, "init", *named, *more)

    done = init("data/say.jsonl")
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():  # what is said to be next can be pasted
        program = line.partition(": ")[2].split()[0]
        assert shutil.which(program, path=os.environ["PATH"]) or Path(program).is_file()
    assert tunesmith(workspace, "plan", "--configfile", "mine.yaml").returncode == 0
    again = init("data/say.jsonl")
    assert again.returncode == 1 and "is there already" in again.stderr
    (workspace / "data/empty.jsonl").write_text("")
    wrong = init("data/empty.jsonl", "--out", "other.yaml")
    assert wrong.returncode == 1
    assert "other.yaml is written, but will not do yet" in wrong.stderr
    assert "empty.jsonl" in wrong.stderr
    missing = init("data/nothing.jsonl", "--out", "third.yaml")
    assert missing.returncode == 1 and not (workspace / "third.yaml").exists()
    unnamed = tunesmith(workspace, "init", "--out", "third.yaml")
    assert unnamed.returncode == 1 and "--data" in unnamed.stderr


def test_check_says_what_it_lacks(workspace: Path) -> None:
    done = tunesmith(workspace, "check")
    assert done.returncode == 1 and "no budget" in done.stderr
    shutil.rmtree(workspace / "results")
    done = tunesmith(workspace, "check")
    assert done.returncode == 1 and "not compared yet" in done.stderr


def test_pin_asks_the_hub_and_writes_into_the_file(tmp_path: Path) -> None:
    commits = {sha: dataset_files("default", {"train": [{"a": 1}]}) for sha in ("1" * 40, "2" * 40)}
    config = tmp_path / "mine.yaml"
    text = "datasets:\n  a: # mine\n    hub: acme/rows\n    revision: main\n"
    config.write_text(text)
    with dataset_hub({"acme/rows": commits}) as hub:
        env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
        told = tunesmith(tmp_path, "pin", "mine.yaml", "--dry-run", env=env)
        assert told.returncode == 0 and config.read_text() == text
        done = tunesmith(tmp_path, "pin", "mine.yaml", env=env)
        assert done.stdout == told.stdout and "2" * 40 in done.stdout
        pinned = config.read_text()
        assert yaml.safe_load(pinned)["datasets"]["a"]["revision"] == "2" * 40
        assert pinned.splitlines()[:3] == text.splitlines()[:3]
        config.write_text(text.replace("revision: main", "revision: v1.0"))
        tag = tunesmith(tmp_path, "pin", "mine.yaml", env=env)
        assert tag.returncode == 1 and "no branch, tag or commit 'v1.0'" in tag.stderr
        config.write_text(text.replace("acme/rows", "acme/nothing"))
        wrong = tunesmith(tmp_path, "pin", "mine.yaml", env=env)
    assert wrong.returncode == 1 and "acme/nothing" in wrong.stderr
    assert "revision: main" in config.read_text()


def test_every_command_of_the_tools_is_reached(tmp_path: Path) -> None:
    for command in ("gc", "cache-gc", "adopt", "show", "forecast", "doctor"):
        done = tunesmith(tmp_path, command, "--help")
        assert done.returncode == 0, done.stderr
        assert "--" in done.stdout
