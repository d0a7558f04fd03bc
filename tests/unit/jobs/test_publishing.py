"""Publishing: what reaches the hub, what is refused, and where the token never goes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import publish
from scripts.lib.files import content_of, list_files, read_json
from scripts.lib.jobs import remarks
from scripts.lib.plan import invocation
from tests.hub_server import hub
from tests.identity.world import words
from tests.identity.worlds import make_blend_world
from tests.unit.report.test_model_card import STOPS, specs
from tests.unit.report_data import comparison

ROOT = Path(__file__).parents[3]
TOKEN = "hf_a-token-that-nobody-else-may-see"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A world in which one run and one combination are to be published, all made."""
    found = make_blend_world(tmp_path_factory.mktemp("publish") / "world")
    found.config["runs"]["north"]["publish"] = {"repo_id": "me/north"}
    found.config["candidates"]["blend"]["publish"] = {"repo_id": "me/blend", "revision": "v2"}
    found.run()
    return found


def plan(world, *, publish):
    with world.inside():
        return invocation.plan_invocation(world.config, world.root, publish=publish)


def test_publishing_asks_for_what_the_report_does_without(world, tmp_path):
    other = world.copy(tmp_path / "world")
    other.evict("merged:north")
    other.evict("merged:south")
    assert words(plan(other, publish=False).plan) == set()
    assert words(plan(other, publish=True).plan) == {"merged:north"}


def test_a_token_is_asked_for_before_the_work_where_something_will_be_pushed(world):
    planned = plan(world, publish=True).plan
    (said,) = remarks.unset(planned, {"merge_adapter", "publish"}, {"HF_TOKEN": " "})
    assert said.startswith("HF_TOKEN is not set")
    (said,) = remarks.unset(planned, {"publish"}, {"HF_TOKEN": "two words"})
    assert said.startswith("what HF_TOKEN holds is no key") and "two" not in said
    assert remarks.unset(planned, {"merge_adapter", "publish"}, {"HF_TOKEN": TOKEN}) == []
    assert remarks.unset(planned, {"merge_adapter"}, {}) == []


def test_only_a_plan_to_publish_lists_what_is_published(world):
    frozen = {
        asked: read_json(world.home / plan(world, publish=asked).file) for asked in (False, True)
    }
    assert frozen[False]["publish"] == []
    assert [item["repo_id"] for item in frozen[True]["publish"]] == ["me/north", "me/blend"]


class Folder:
    """Results with one merged model, and a frozen plan that publishes it."""

    def __init__(self, root: Path, spec: dict, *, passed: bool = True) -> None:
        self.root = root
        self.merged = root / "results/merged/model-x"
        self.merged.mkdir(parents=True)
        (self.merged / "config.json").write_text("{}")
        (self.merged / "model.safetensors").write_bytes(b"weights" * 1000)
        (self.merged / "README.md").write_text('---\nlicense: "mit"\n---\nWithout scores.\n')
        for name in ("history.jsonl", "verdict.json", "answers.jsonl"):
            (self.merged / name).write_text("{}")  # as beside a model trained as a whole
        self.note(spec)
        proof = {"proof": {"passed": passed, "checks": [{"name": "logits", "passed": passed}]}}
        (root / "results/proofs").mkdir()
        (root / "results/proofs/model-x.json").write_text(json.dumps({"facts": proof}))
        (root / "comparison").mkdir()
        (root / "comparison/comparison.json").write_text(json.dumps(comparison()))
        self.publish = [
            {
                "name": "gentle",
                "repo_id": "me/model",
                "private": True,
                "revision": None,
                "card": spec["card"],
                "places": {
                    "model": ["merged/model-x", "results/merged/model-x"],
                    "proof": ["proofs/model-x", "results/proofs/model-x"],
                    "comparison": ["comparisons/x", "comparison"],
                },
            }
        ]

    def note(self, spec: dict) -> None:
        """Write the merged model's manifest."""
        listed = list_files(self.merged)
        manifest = {
            "id": "merged/model-x",
            "spec": spec,
            "facts": {"stops": STOPS},
            "files": [entry._asdict() for entry in listed],
            "content": content_of(listed),
        }
        (self.root / "results/merged/model-x.json").write_text(json.dumps(manifest))

    def write_plan(self) -> None:
        """Write what of a frozen plan the program reads."""
        plan = {"results": "results", "caches": [], "publish": self.publish}
        (self.root / "plan.json").write_text(json.dumps(plan))

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the program as the rule does."""
        self.write_plan()
        inherited = {key: os.environ[key] for key in os.environ if not key.startswith("HF_")}
        options = {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(self.root)}
        return subprocess.run(
            [sys.executable, "-m", "scripts.publish", "--plan", "plan.json"],
            cwd=self.root,
            env={**inherited, "PYTHONPATH": str(ROOT), **options, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def folder(tmp_path, world):
    return Folder(tmp_path / "home", specs(world)["north"])


def test_a_model_is_pushed_once_with_its_scores_and_the_token_stays_secret(folder):
    with hub(TOKEN) as server:
        environment = {"HF_TOKEN": TOKEN, "HF_ENDPOINT": server.url}
        first = folder.run(**environment)
        assert first.returncode == 0, first.stdout
        second = folder.run(**environment)
        assert second.returncode == 0, second.stdout
        ((repo, branch, files),) = server.commits
        assert (repo, branch) == ("me/model", "main")
        assert server.repositories["me/model"]["visibility"] == "private"
        assert files.keys() == {"config.json", "model.safetensors", "README.md"}
        assert files["model.safetensors"] == b"weights" * 1000
        card = files["README.md"].decode()
        assert 'license: "mit"' in card and "## Scores" in card
        assert "with `<end_of_turn>` (token 106)" in card
        view = comparison()["benchmarks"]["mmlu"]
        accuracy = view["candidates"]["gentle"]["Average"]["accuracy"]
        assert f"{100 * accuracy:.2f}" in card
        assert "has these bytes already" in second.stdout

        (folder.merged / "config.json").write_text('{"changed": true}')
        folder.note(json.loads((folder.root / "results/merged/model-x.json").read_text())["spec"])
        assert folder.run(**environment).returncode == 0
        assert len(server.commits) == 2
    for place in folder.root.rglob("*"):
        assert not place.is_file() or TOKEN.encode() not in place.read_bytes(), place
    assert TOKEN not in first.stdout + second.stdout


def test_a_branch_is_made_and_pushed_to(folder):
    folder.publish[0] |= {"revision": "v2", "private": False}
    with hub(TOKEN) as server:
        done = folder.run(HF_TOKEN=TOKEN, HF_ENDPOINT=server.url)
        assert done.returncode == 0, done.stdout
        assert server.branches == [("me/model", "v2")]
        assert [(repo, branch) for repo, branch, _ in server.commits] == [("me/model", "v2")]
        assert server.repositories["me/model"]["visibility"] == "public"


def refusal(folder, monkeypatch, *, token=TOKEN):
    """Return what the program says, in this process, when it refuses before it calls the hub."""
    folder.write_plan()
    monkeypatch.chdir(folder.root)
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(SystemExit) as caught:
        publish.main(["--plan", "plan.json"])
    return str(caught.value)


def test_a_model_whose_proof_failed_is_not_pushed(tmp_path, world, monkeypatch):
    folder = Folder(tmp_path / "home", specs(world)["north"], passed=False)
    assert "gentle: proofs/model-x: the proof does not hold: logits" in refusal(folder, monkeypatch)


def test_without_a_token_nothing_is_pushed(folder, monkeypatch):
    assert "HF_TOKEN is not set" in refusal(folder, monkeypatch, token="")


def test_nothing_to_publish_is_said(folder, monkeypatch):
    folder.publish = []
    assert "no run declares" in refusal(folder, monkeypatch)


def test_a_wrong_token_pushes_nothing_and_is_not_told(folder):
    token = "hf_a-wrong-one"
    with hub(TOKEN) as server:
        done = folder.run(HF_TOKEN=token, HF_ENDPOINT=server.url)
        assert done.returncode == 1
        assert "401" in done.stdout and token not in done.stdout
        assert "the token's rights" in done.stdout and "can be reached" not in done.stdout
        assert server.commits == []
    assert not (folder.root / "results/published").exists()


def test_a_hub_that_does_not_answer_is_said_without_a_traceback(folder):
    with hub(TOKEN) as server:
        nobody_there = server.url
    run = folder.run(HF_TOKEN=TOKEN, HF_ENDPOINT=nobody_there)
    assert run.returncode == 1
    assert "could not be pushed" in run.stdout and "Traceback" not in run.stdout
    assert f"can be reached from here ({nobody_there})" in run.stdout
    assert "rights" not in run.stdout
    assert TOKEN not in run.stdout
