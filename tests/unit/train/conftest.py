"""What trainings here start from: a tiny model and shards of short chats for it."""

import pytest

from scripts.lib.train.lora_tuning import train_adapter
from tests.tiny_model import make_tiny_model
from tests.tiny_shards import make_tiny_shards


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def shards(tmp_path_factory, model):
    return make_tiny_shards(tmp_path_factory.mktemp("data") / "shards", model)


@pytest.fixture
def train(tmp_path, model, shards):
    """Run train_adapter; returns the facts and the folder. Runs of one name share checkpoints."""

    def run(spec, name="run", **options):
        out = tmp_path / name
        out.mkdir(exist_ok=True)
        settings = {"scratch": tmp_path / f"{name}-scratch", "threads": 1} | options
        data = settings.pop("shards", shards)
        return train_adapter(spec, model, data, out, **settings), out

    return run
