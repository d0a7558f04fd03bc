"""What a config names elsewhere is fetched at once, and all that follows needs no network."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from scripts.lib.artifacts.stages import FETCHED
from scripts.lib.plan import invocation
from tests.conftest import MakeOnce
from tests.dataset_hub import dataset_files, dataset_hub
from tests.workspace import (
    ROOT,
    copy_workspace,
    jobs,
    make_workspace,
    read_config,
    snakemake,
    write_config,
)

AT = "a" * 40
QUESTIONS = [
    {"question": f"Question {n}?", "choices": list("wxyz"), "answer": n % 4} for n in range(4)
]
QUIZ = """\
task: quiz
dataset_path: acme/quiz
output_type: multiple_choice
test_split: test
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
"""


def files_of(model: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in model.iterdir()}


def repositories(workspace: Path) -> dict[str, dict[str, Mapping[str, bytes]]]:
    """Return a hub that has a workspace's model and rows, and questions."""
    lines = (workspace / "data/say.jsonl").read_text().splitlines()
    return {
        "acme/tiny": {AT: files_of(workspace / "model")},
        "acme/rows": {AT: dataset_files("default", {"train": list(map(json.loads, lines))})},
        "acme/quiz": {AT: dataset_files("default", {"test": QUESTIONS})},
    }


def name_the_hub(workspace: Path) -> None:
    """Let a config name the hub for everything."""
    (workspace / "quiz.yaml").write_text(QUIZ)
    config = read_config(workspace)
    config["models"]["tiny"] = {"hub": "acme/tiny", "revision": AT}
    config["datasets"]["say"] = {"hub": "acme/rows", "revision": AT, "valid_fraction": 0.2}
    del config["runs"]["high"]
    config["benchmarks"] = {"quiz": {"kind": "lm_eval", "path": "quiz.yaml"}}
    write_config(workspace, config)


def asking(hub: Any, home: Path) -> dict[str, str]:
    """Return the environment of a user with a network."""
    return {"HF_HOME": str(home), "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}


@pytest.fixture(scope="module")
def fetched(make_once: MakeOnce) -> Path:
    """Return a folder with a workspace whose sources Snakemake fetched, and the client's cache."""

    def run(folder: Path) -> None:
        workspace = make_workspace(folder / "ws")
        there = repositories(workspace)
        shutil.rmtree(workspace / "model")
        name_the_hub(workspace)
        with dataset_hub(there) as hub:
            done = snakemake(workspace, "-c2", "prefetch", env=asking(hub, folder / "home"))
        (folder / "said").write_text(done.stdout)
        assert done.returncode == 0, done.stdout

    return make_once("prefetched", run)


@pytest.fixture
def workspace(fetched: Path, tmp_path: Path) -> Path:
    return copy_workspace(fetched / "ws", tmp_path / "ws")


def test_all_sources_are_fetched_and_nothing_else_with_sizes_and_pins(fetched: Path) -> None:
    said = (fetched / "said").read_text()
    rules = {job.partition(" ")[0] for job in jobs(said)}
    assert rules == {"fetch_model", "fetch_dataset", "fetch_benchmark"}
    rows = {line.split("  ")[0]: line for line in said.splitlines() if "  results/" in line}
    assert set(rows) == {"models", "raw", "benchmarks"}
    for name in ("tiny", "rows", "quiz"):
        assert f"acme/{name}@{AT[:12]}" in said
    assert re.search(r"^3 sources, [\d.]+ KiB, of which [\d.]+ KiB lie in the hub", said, re.M)
    # The one commit that the config left open.
    assert f"revisions: {{acme/quiz: {AT}}}" in said


def weights(workspace: Path) -> Path:
    (place,) = (workspace / "results/models").glob("*/model.safetensors")
    return place


def test_what_the_client_keeps_is_linked_and_stays_as_it_was(
    fetched: Path, workspace: Path, tmp_path: Path
) -> None:
    """Publishing makes files read-only and gives them to a group; none of that reaches the link."""
    linked = weights(workspace)
    target = linked.resolve()
    assert linked.is_symlink() and target.is_relative_to((fetched / "home").resolve())
    config = linked.with_name("config.json")
    assert not config.is_symlink() and config.stat().st_nlink <= 2  # this test's copy is a link
    before = target.stat()
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o755)
    manifest = json.loads(linked.parent.with_name(f"{linked.parent.name}.json").read_text())
    invocation.Store(workspace / "results", (cache,)).publish(linked.parent, manifest, what="files")
    (published,) = cache.rglob("model.safetensors")
    assert not published.is_symlink() and published.read_bytes() == target.read_bytes()
    assert not published.stat().st_mode & 0o222
    after = target.stat()
    assert (after.st_mode, after.st_gid, after.st_nlink) == (
        before.st_mode,
        before.st_gid,
        before.st_nlink,
    )
    assert after.st_mode & stat.S_IWUSR


ALONE = """
import socket, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[2])), timeout=5)
    sys.exit("there is a network")
except OSError:
    pass
from scripts.lib.artifacts.stages import STAGES
from tests.programs import make_all

make_all(Path(), [name for name in STAGES if name != "reports"])
from snakemake import cli

cli.main(["-s", f"{sys.argv[1]}/Snakefile", "-c1"])
"""


def without_network() -> list[str]:
    """Return the command that starts another in a network namespace of its own."""
    command = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here (util-linux)")
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no network namespace may be made here: {tried.stderr.strip()}")
    return command


def test_all_that_follows_runs_without_a_network(fetched: Path, workspace: Path) -> None:
    """Plan, format, render, train, merge, prove, score, compare, report: in a namespace without."""
    command = without_network()
    with dataset_hub({}) as hub:
        env = {**os.environ, "TUNESMITH_CACHE": "", **asking(hub, fetched / "home")}
        env["HF_HOME"] = str(workspace / "empty")
        port = str(urlsplit(hub.url).port)
        done = subprocess.run(
            [*command, sys.executable, "-c", ALONE, str(ROOT), port],
            cwd=workspace,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    assert (workspace / "results/report/index.html").exists()
    assert "fetch_" not in done.stderr


def test_what_the_hub_refuses_is_told_before_anything_is_fetched(
    fetched: Path, tmp_path: Path
) -> None:
    """All of it at once; a gate does not matter where the client has everything already."""
    workspace = copy_workspace(fetched / "ws", tmp_path / "ws")
    shutil.rmtree(workspace / "results")
    config = read_config(workspace)
    config["models"]["other"] = {"hub": "acme/other", "revision": AT}
    config["runs"]["more"] = {**config["runs"]["low"], "model": "other"}
    config["datasets"]["none"] = {"hub": "acme/none", "revision": AT}
    config["runs"]["none"] = {**config["runs"]["low"], "dataset": "none"}
    write_config(workspace, config)
    there = {name: {AT: {}} for name in ("acme/tiny", "acme/other", "acme/rows")}
    with dataset_hub(there, gated=("acme/tiny", "acme/other")) as hub:
        env = asking(hub, fetched / "home")
        done = snakemake(workspace, "-c2", "prefetch", env=env)
        assert done.returncode == 1, done.stdout
        gate = f"the model acme/other is gated: ask for access at {hub.url}/acme/other, then log in"
        assert gate in done.stdout and "HF_TOKEN" in done.stdout
        assert "the hub has no dataset acme/none" in done.stdout
        assert "acme/tiny is gated" not in done.stdout
    assert not any(list((workspace / "results" / stage).glob("*")) for stage in FETCHED)
