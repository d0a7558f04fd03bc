"""Files of the hub's cache become an artifact, are not there twice, and stay what they were."""

import json
import shutil
from pathlib import Path

import pytest

from scripts.lib.errors import ConfigError
from scripts.lib.fetch import cached_files
from scripts.lib.fetch.cached_files import take_files
from scripts.lib.fetch.models import fetch_model
from scripts.lib.files import sha256_of
from scripts.lib.model_files import WEIGHTS_INDEX
from tests.tiny_model import make_tiny_model


@pytest.fixture
def kept(tmp_path: Path) -> dict[str, Path]:
    """Files as the client lays them out: links to blobs."""
    found = {}
    for name in ("config.json", "model.safetensors", "original/params.safetensors"):
        blob = tmp_path / "blobs" / name.replace("/", "-")
        blob.parent.mkdir(exist_ok=True)
        blob.write_text(name)
        found[name] = tmp_path / "snapshots" / name
        found[name].parent.mkdir(parents=True, exist_ok=True)
        found[name].symlink_to(blob)
    return found


def taken(kept: dict[str, Path], tmp_path: Path) -> Path:
    out = tmp_path / "out"
    take_files(kept, out)
    assert {name: (out / name).read_text() for name in kept} == {name: name for name in kept}
    return out


def test_weights_are_linked_and_what_people_edit_is_copied(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(cached_files, "clone", lambda *_: False)
    out = taken(kept, tmp_path)
    links = {name for name in kept if (out / name).is_symlink()}
    assert links == {"model.safetensors", "original/params.safetensors"}
    (out / "config.json").write_text("mine")
    shutil.rmtree(out)
    assert all(path.read_text() == name for name, path in kept.items())


def test_on_another_file_system_all_is_copied(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(cached_files, "clone", lambda *_: False)
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is no file system of its own here")
    out = other / f"tunesmith-{tmp_path.name}-{tmp_path.stat().st_ino}"
    try:
        take_files(kept, out)
        assert not any(path.is_symlink() for path in out.rglob("*"))
    finally:
        shutil.rmtree(out)


def test_whatever_the_disk_can_a_change_of_the_artifact_is_none_of_the_original(kept, tmp_path):
    """On a disk that clones, of the weights, too."""
    out = taken(kept, tmp_path)
    for name, path in kept.items():
        if not (out / name).is_symlink():
            (out / name).write_text("mine")
            assert path.read_text() == name


def test_a_model_that_lacks_a_part_of_its_weights_is_refused(tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "model")
    (model / "model.safetensors").rename(model / "model-00001.safetensors")
    index = {"weight_map": {"a": "model-00001.safetensors", "b": "model-00002.safetensors"}}
    (model / WEIGHTS_INDEX).write_text(json.dumps(index))
    files = sorted(model.iterdir())
    spec = {"source": "path", "files": {file.name: sha256_of(file) for file in files}}
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match=r"lacks model-00002\.safetensors, which its model"):
        fetch_model(spec, files, tmp_path / "out")
