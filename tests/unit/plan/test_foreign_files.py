"""Hidden files that others leave in folders get into no artifact, cache or upload."""

import json
import shutil
from pathlib import Path

import pytest

from scripts.lib.artifacts.store import Store
from scripts.lib.compare.chain import check_chain
from scripts.lib.data.tokenizer_files import TEMPLATE_FOLDER, copy_tokenizer
from scripts.lib.errors import StoreError
from scripts.lib.fetch.models import fetch_model
from scripts.lib.files import (
    FileEntry,
    content_of,
    copy_files,
    files_below,
    list_files,
    read_json,
    sha256_of,
)
from scripts.lib.merge.combining import combine_adapters
from scripts.lib.merge.merging import merge_adapter
from scripts.lib.merge.proving import prove_merge
from scripts.lib.train.lora_tuning import train_adapter
from tests.tiny_model import make_tiny_model
from tests.tiny_shards import make_tiny_shards
from tests.unit.jobs.test_publishing import TOKEN, folder, world  # noqa: F401  fixtures
from tests.unit.merge.test_combining import make_part, spec
from tests.unit.train.test_training import make_spec

FOREIGN = (".snakemake_timestamp", ".nfs000000012a", ".DS_Store", ".cache/lock")


def litter(root: Path) -> None:
    """Leave others' files in *root* and in each folder below it."""
    for place in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        for name in FOREIGN:
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_text(f"of another program, in {root}")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A model and two adapters of it."""
    base = tmp_path_factory.mktemp("inputs")
    model = make_tiny_model(base / "model")
    for number in (1, 2):
        make_part(base / f"adapter{number}", model, seed=number, prompts=[[5, 6, 7]])
    for place in (model, base / "adapter1", base / "adapter2"):
        (place / TEMPLATE_FOLDER).mkdir()
        (place / TEMPLATE_FOLDER / "tools.jinja").write_text("{{ messages }}")
    return base


def fetch(inputs: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetch the model as the hub's client gives it: a folder."""
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: inputs / "model")
    fetch_model(
        {"source": "hub", "hub": "a/b", "revision": "c", "trust_remote_code": False}, (), out
    )


def render(inputs: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_tokenizer(inputs / "model", out / "tokenizer", None)


def train(inputs: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = make_tiny_shards(out.with_name("shards"), inputs / "model", train=4, valid=0)
    templates = files_below(inputs / "model" / TEMPLATE_FOLDER)
    copy_files(templates, shards / "tokenizer" / TEMPLATE_FOLDER)
    (shards / "tokenizer" / FOREIGN[0]).touch()
    options = {"scratch": out.with_name("scratch"), "threads": 1}
    train_adapter(make_spec(max_steps=1), inputs / "model", shards, out, **options)
    assert (out / TEMPLATE_FOLDER / "tools.jinja").is_file()


def merge(inputs: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    merge_adapter(inputs / "model", inputs / "adapter1", out)


def combine(inputs: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [inputs / "adapter1", inputs / "adapter2"]
    combine_adapters(spec(), inputs / "model", parts, out)


def share(inputs: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish an adapter to a cache, and take it from there."""
    made = inputs / "adapter1"
    cache = out.with_name("cache")
    listed = list_files(made)
    manifest = {
        **{"id": "adapters/a-0123", "key": "0123", "content_key": "4567"},
        "files": [entry._asdict() for entry in listed],
        "content": content_of(listed),
    }
    Store(out / "results", (cache,)).publish(made, manifest, what="files")
    entry = cache / "adapters/a-0123"
    assert {path.name for path in entry.rglob(".*")} == set()
    there = Store(out.with_name("newcomer"), (cache,))
    there.take(there.look("adapters/a-0123"), out / "taken")


@pytest.mark.parametrize("stage", [fetch, render, train, merge, combine, share])
def test_what_a_stage_copies_does_not_depend_on_hidden_files(stage, inputs, tmp_path, monkeypatch):
    found = []
    for name in ("clean", "littered"):
        copy = tmp_path / name / "inputs"
        shutil.copytree(inputs, copy)
        if name == "littered":
            litter(copy)
        out = tmp_path / name / "out"
        out.mkdir()
        stage(copy, out, monkeypatch)
        found.append({p.relative_to(out) for p in out.rglob("*") if p.is_file()})
        found.append(list_files(out))
    assert found[0] == found[2]
    assert found[1] == found[3]
    assert len(found[1])


def test_a_proof_does_not_depend_on_hidden_files(inputs, tmp_path):
    said = []
    for name in ("clean", "littered"):
        copy = tmp_path / name
        shutil.copytree(inputs, copy)
        merged = copy / "merged"
        merged.mkdir()
        merge_adapter(copy / "model", copy / "adapter1", merged)
        if name == "littered":
            litter(copy)
        said.append(prove_merge(copy / "model", copy / "adapter1", merged, copy))
    assert said[0] == said[1]


def test_a_merged_model_carries_every_chat_template_and_its_proof_looks(inputs, tmp_path):
    merge_adapter(inputs / "model", inputs / "adapter1", tmp_path)
    template = tmp_path / TEMPLATE_FOLDER / "tools.jinja"
    assert template.read_text() == "{{ messages }}"
    template.write_text("another")
    proof = prove_merge(inputs / "model", inputs / "adapter1", tmp_path, tmp_path)["proof"]
    (check,) = [check for check in proof["checks"] if check["name"] == "tokenizer"]
    assert not check["passed"] and "additional_chat_templates/tools.jinja" in check["evidence"]


def test_one_adapter_fresh_and_one_from_a_cache_can_be_combined(inputs, tmp_path):
    parts = [tmp_path / "fresh", tmp_path / "cached"]
    for number, part in enumerate(parts, start=1):
        shutil.copytree(inputs / f"adapter{number}", part)
    (parts[0] / FOREIGN[0]).touch()
    out = tmp_path / "out"
    out.mkdir()
    combine_adapters(spec(), inputs / "model", parts, out)
    assert (out / "adapter_model.safetensors").is_file()


def stamped(entries: tuple[FileEntry, ...]) -> tuple[FileEntry, ...]:
    """Return what an earlier version listed: Snakemake's empty file was taken along."""
    return (*entries, FileEntry(FOREIGN[0], 0, sha256_of(Path("/dev/null"))))


@pytest.mark.parametrize("earlier", ["merged", "proof"])
def test_what_an_earlier_version_made_fits_what_is_made_now(inputs, earlier):
    own = list_files(inputs / "adapter1")
    listed, named = (stamped(own), own) if earlier == "merged" else (own, stamped(own))
    merged = {
        "inputs": {},
        "files": [entry._asdict() for entry in listed],
        "content": content_of(listed),
    }

    def proof(content: str) -> dict:
        source = {"id": "merged/a", "content": content}
        return {"inputs": {"merged": [source]}, "files": [], "content": "P"}

    check_chain({"merged/a": merged, "proofs/a": proof(content_of(named))})
    with pytest.raises(StoreError, match="proofs/a was made from another merged/a"):
        check_chain({"merged/a": merged, "proofs/a": proof(content_of(stamped(named[1:])))})


def test_an_earlier_versions_artifact_is_whole_without_the_stamp_and_shared_without_it(
    inputs, tmp_path
):
    results, id = tmp_path / "results", "merged/a-0123"
    shutil.copytree(inputs / "adapter1", results / id)
    listed = stamped(list_files(results / id))
    manifest = {
        **{"id": id, "key": "0123", "content_key": "4567", "content": content_of(listed)},
        "files": [entry._asdict() for entry in listed],
    }
    (results / f"{id}.json").write_text(json.dumps(manifest))
    here = Store(results)
    found = here.look(id)
    assert found.folder
    here.verify(found)
    here.take(found, tmp_path / "taken")
    assert not [path for path in (tmp_path / "taken").rglob(".*")]


def test_what_an_earlier_version_listed_is_not_uploaded(folder):  # noqa: F811
    from tests.hub_server import hub

    (folder.merged / FOREIGN[0]).touch()
    manifest = read_json(folder.merged.with_name("model-x.json"))
    manifest["files"].append(stamped(())[0]._asdict())
    folder.merged.with_name("model-x.json").write_text(json.dumps(manifest))
    with hub(TOKEN) as server:
        done = folder.run(HF_TOKEN=TOKEN, HF_ENDPOINT=server.url)
        assert done.returncode == 0, done.stdout
        ((_, _, pushed),) = server.commits
    assert not [path for path in pushed if path.startswith(".")]
