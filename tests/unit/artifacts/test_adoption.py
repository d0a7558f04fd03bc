"""Artifacts of changed code that are declared valid: which are, and what is recorded."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from scripts.lib import files
from scripts.lib.artifacts import adoption
from scripts.lib.artifacts.code_digest import ProjectCode
from scripts.lib.artifacts.store import Store
from scripts.lib.plan import invocation
from scripts.tools import upkeep as command
from tests.identity.rows_config import put
from tests.identity.rows_files import add_constant
from tests.identity.table import END, RUNS, scored, tuned
from tests.identity.world import World
from tests.identity.worlds import make_local_world
from tests.tiny_model import make_tiny_model
from tests.unit.scoring_data import SUBJECTS, score, spec, write_benchmark


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> World:
    world = make_local_world(tmp_path_factory.mktemp("adoption") / "world")
    world.run()
    return world


@pytest.fixture
def world(made, tmp_path) -> World:
    return made.copy(tmp_path / "world")


def adopt(world: World, *, cache: bool = False) -> list[tuple[str, str]]:
    """Adopt what can be; return pairs of new id and old id."""
    graph, code = world.graph(), ProjectCode(world.root)
    with world.inside():
        store = invocation.open_store()
        done = adoption.adopt(graph, store, code, reason="renamed a variable", cache=cache)
    return [(one.id, f"{one.old.parent.name}/{one.old.stem}") for one in done]


def test_an_adopted_artifact_is_valid_and_says_so(world):
    old = world.id("adapters:gentle")
    add_constant("scripts/train_adapter.py")(world)
    assert world.missing() == tuned("gentle", "strong", "chatty") | END
    done = adopt(world)
    new = world.id("adapters:gentle")
    assert (new, old) in done
    assert world.manifest(new)["adopted"]["from"] == old
    assert world.manifest(new)["adopted"]["reason"] == "renamed a variable"
    assert world.missing() == END
    assert world.run() == END


def test_what_follows_from_an_adopted_artifact_is_adopted_too(world):
    add_constant("scripts/train_adapter.py")(world)
    add_constant("scripts/score_benchmark.py")(world)
    adopt(world)
    assert world.missing() == END


def test_an_artifact_is_adopted_though_its_inputs_were_found_by_their_bytes(world):
    """format_chat was refactored and ran again; train_adapter changed and shall stay valid."""
    add_constant("scripts/format_chat.py")(world)
    world.run(stages=["chat"])
    add_constant("scripts/train_adapter.py")(world)
    adopt(world)
    assert world.missing() == END


@pytest.mark.parametrize(
    "change",
    [
        put("runs/gentle/training/seed", 5),
        lambda world: world.write("data/orders/train.jsonl", '{"prompt": "x", "completion": "y"}'),
    ],
    ids=["another spec", "another input"],
)
def test_other_work_is_not_adopted(world, change):
    change(world)
    before = world.missing()
    adopt(world)
    assert world.missing() == before


def test_adopting_what_is_evicted_keeps_it_evicted(world):
    world.evict("adapters:gentle")
    add_constant("scripts/train_adapter.py")(world)
    adopt(world)
    assert not (world.results / world.id("adapters:gentle")).exists()
    assert "adapters:gentle" not in world.missing()


def test_the_command_says_so_when_nothing_can_be_adopted(world, capsys):
    shutil.rmtree(world.results)
    world.write("own.yaml", yaml.safe_dump(world.config))
    with world.inside():
        command.main(["--configfile", "own.yaml", "adopt", "--reason", "renamed a variable"])
    assert "nothing to adopt" in capsys.readouterr().out


def test_an_adopted_manifest_names_the_modules_of_both_codes(world):
    old = world.manifest(world.id("adapters:gentle"))
    add_constant("scripts/lib/train/loss_verdict.py")(world)
    adopt(world)
    new = world.manifest(world.id("adapters:gentle"))
    assert new["adopted"]["modules"] == old["modules"]
    changed = {name for name, own in new["modules"].items() if old["modules"][name] != own}
    assert changed == {"scripts.lib.train.loss_verdict"}


@pytest.fixture
def colleagues(made, tmp_path) -> tuple[World, World]:
    """Two who share a cache that one of them filled; neither has anything but that."""
    first = made.copy(tmp_path / "first", results=False)
    (first.base / "cache").mkdir()
    first.caches = ("cache",)
    first.run()
    shutil.rmtree(first.results)
    add_constant("scripts/train_adapter.py")(first)
    add_constant("scripts/score_benchmark.py")(first)
    second = first.copy(tmp_path / "second", results=False)
    shutil.rmtree(second.base / "cache")
    (second.base / "cache").symlink_to(first.base / "cache")
    return first, second


def test_a_shared_cache_is_adopted_on_request_only(colleagues):
    first, second = colleagues
    again = tuned(*RUNS) | scored("tiny") | END
    assert first.missing() == again
    assert adopt(first) == []
    assert first.missing() == again
    done = adopt(first, cache=True)
    assert {new.partition("/")[0] for new, _ in done} == {
        *("adapters", "merged", "proofs", "scores", "categories"),
    }
    assert first.missing() == END
    assert second.missing() == END, "a colleague finds what was adopted"
    assert not list(first.results.glob("adapters/*")), "nothing is copied out of the cache"


def test_what_is_here_goes_into_the_cache_when_it_is_adopted(world):
    (world.base / "cache").mkdir()
    world.caches = ("cache",)
    add_constant("scripts/train_adapter.py")(world)
    adopt(world, cache=True)
    shutil.rmtree(world.results)
    assert "adapters:gentle" not in world.missing()


def test_a_cache_that_nobody_named_cannot_be_adopted(world):
    world.write("own.yaml", yaml.safe_dump(world.config))
    with world.inside(), pytest.raises(SystemExit, match="TUNESMITH_CACHE names no cache"):
        command.main(["--configfile", "own.yaml", "adopt", "--cache", "--reason", "x"])


# Scores as the version before kept them.


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> tuple[dict[str, Path], Path]:
    """The scores of two subjects, each of its own and both in one, as the version before wrote."""
    folder = tmp_path_factory.mktemp("scores")
    model, questions = make_tiny_model(folder / "model"), write_benchmark(folder / "mmlu")
    for subject in SUBJECTS:
        score(spec(subject=subject), model, questions, folder / subject)
    apart = {subject: folder / subject / "out" for subject in SUBJECTS}
    both = folder / "both"
    shutil.copytree(apart[SUBJECTS[0]], both)
    tables = [pq.read_table(place / "questions.parquet") for place in apart.values()]
    pq.write_table(pa.concat_tables(tables), both / "questions.parquet")
    return apart, both


def lay_down(world: World, both: Path, subjects: list[str]) -> list[str]:
    """Put scores of the version before in the place of the base's on `mmlu`; return their ids."""
    graph = world.graph()
    ids = [id for id in graph.candidates[0].scores["mmlu"]]
    manifest = world.manifest(ids[0])
    for id in ids:
        shutil.rmtree(world.results / id)
        (world.results / f"{id}.json").unlink()
    for stage in ("categories", "comparisons", "reports"):  # else nobody asks for scores
        shutil.rmtree(world.results / stage)
    old = f"scores/tiny-mmlu-stem-{'0' * 20}"
    shutil.copytree(both, world.results / old)
    listed = files.list_files(world.results / old)
    earlier = {key: value for key, value in manifest["spec"].items() if key != "subject"}
    protocol = json.loads((both / "protocol.json").read_text())
    manifest |= {
        **{"id": old, "key": "0" * 20, "content_key": "1" * 20, "code": "before"},
        "spec": earlier | {"subjects": subjects},
        "facts": {"n": 12, "correct": 3, "protocol": protocol},
        "files": [entry._asdict() for entry in listed],
        "content": files.content_of(listed),
    }
    del manifest["modules"]
    files.write_json(world.results / f"{old}.json", manifest)
    return ids


@pytest.fixture
def before(world, real) -> tuple[World, list[str]]:
    """A world whose base was scored by the version before, on two subjects in one artifact."""
    put("benchmarks/mmlu/subjects", list(SUBJECTS))(world)
    for split in ("test", "dev"):
        for subject in SUBJECTS:
            world.write(f"data/mmlu/{split}/{subject}.jsonl", "".join(ROWS))
    world.run()
    return world, lay_down(world, real[1], list(SUBJECTS))


ROWS = [
    json.dumps({"question": f"{n}?", "choices": list("abcd"), "answer": n % 4}) + "\n"
    for n in range(3)
]


def test_scores_of_several_subjects_are_taken_apart(before, real):
    """What comes out is what scoring each subject writes, byte for byte but for the framing."""
    world, ids = before
    assert "scores:tiny/mmlu" in world.missing()
    assert [new for new, _ in adopt(world) if new in ids] == ids
    assert "scores:tiny/mmlu" not in world.missing()
    for id, subject in zip(ids, SUBJECTS, strict=True):
        made, alone = world.results / id, real[0][subject]
        assert pq.read_table(made / "questions.parquet").equals(
            pq.read_table(alone / "questions.parquet")
        )
        for name in ("protocol.json", "provenance.json"):
            assert (made / name).read_bytes() == (alone / name).read_bytes()
        manifest = world.manifest(id)
        assert manifest["spec"]["subject"] == subject
        assert manifest["facts"]["n"] == 6
        assert manifest["adopted"]["code"] == "before"
        with world.inside():
            store = Store(Path("results"))
            store.verify(store.look(id))


def test_a_part_of_scores_whose_files_are_gone_is_asked_again(before):
    world, _ = before
    (old,) = [p for p in (world.results / "scores").glob("tiny-mmlu-stem-*") if p.is_dir()]
    shutil.rmtree(old)
    adopt(world)
    assert "scores:tiny/mmlu" in world.missing()


def test_scores_of_one_subject_are_adopted_as_they_are(world, real):
    put("benchmarks/mmlu/subjects", [SUBJECTS[0]])(world)
    for split in ("test", "dev"):
        world.write(f"data/mmlu/{split}/{SUBJECTS[0]}.jsonl", "".join(ROWS))
    world.run()
    (id,) = lay_down(world, real[0][SUBJECTS[0]], [SUBJECTS[0]])
    assert id in [new for new, _ in adopt(world)]
    old = files.list_files(real[0][SUBJECTS[0]])
    assert files.list_files(world.results / id) == old


def flip(path: Path) -> None:
    """Change one byte in the middle of a file."""
    found = bytearray(path.read_bytes())
    found[len(found) // 2] ^= 1
    path.write_bytes(found)


def old_folder(world: World) -> Path:
    (found,) = [p for p in (world.results / "scores").glob("tiny-mmlu-stem-*") if p.is_dir()]
    return found


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: flip(folder / "questions.parquet"),
        lambda folder: (folder / "questions.parquet").write_bytes(b"PAR1"),
        lambda folder: (folder / "protocol.json").unlink(),
        lambda folder: [path.unlink() for path in folder.iterdir()],
    ],
    ids=["a byte", "cut short", "a file gone", "all gone"],
)
def test_damaged_scores_are_not_taken_apart_and_all_else_is_adopted(before, damage, capsys):
    world, ids = before
    add_constant("scripts/train_adapter.py")(world)
    damage(old_folder(world))
    adopted = [new for new, _ in adopt(world)]
    assert not set(ids) & set(adopted)
    assert not any((world.results / id).exists() for id in ids)
    assert world.id("adapters:gentle") in adopted
    assert "is not adopted" in capsys.readouterr().err
    assert "scores:tiny/mmlu" in world.missing()


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"id": "scores/x", "inputs": {}}'])
def test_what_is_no_manifest_is_passed_over_and_named(before, text, capsys):
    world, ids = before
    (world.results / "scores" / "mine.json").write_text(text)
    assert set(ids) <= {new for new, _ in adopt(world)}
    assert "scores/mine.json is passed over" in capsys.readouterr().err


def test_an_adoption_that_was_killed_can_be_done_again(before):
    world, ids = before
    for left in (world.results / ids[0], world.results / "scores" / f".{ids[0][7:]}.part-adopted"):
        left.mkdir()
        (left / "questions.parquet").write_text("half")
    assert set(ids) <= {new for new, _ in adopt(world)}
    assert "scores:tiny/mmlu" not in world.missing()


def test_the_time_of_scores_is_shared_out_by_questions(before):
    world, ids = before
    path = next((world.results / "scores").glob("tiny-mmlu-stem-*.json"))
    manifest = json.loads(path.read_text())
    manifest["execution"]["seconds"] = 60.0
    path.write_text(json.dumps(manifest))
    adopt(world)
    assert [world.manifest(id)["execution"]["seconds"] for id in ids] == [30.0, 30.0]


def test_what_a_cache_does_not_take_is_not_said_to_be_adopted(colleagues, monkeypatch, capsys):
    first, _ = colleagues
    monkeypatch.setattr(Store, "_publish", lambda *_, **__: (_ for _ in ()).throw(OSError("full")))
    again = first.missing()
    assert adopt(first, cache=True) == []
    assert first.missing() == again
    assert "could not be put into the cache" in capsys.readouterr().err
