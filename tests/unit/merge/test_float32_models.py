"""A model that does not fit in memory is proved all the same, from disk."""

import json
import math
import subprocess
import sys

import pytest
import torch

from scripts.lib.errors import MergeError
from scripts.lib.merge.float32_models import fits, load_float32
from scripts.lib.merge.merging import merge_adapter
from scripts.lib.merge.proving import prove_merge
from scripts.lib.merge.safetensors_files import read_model
from tests.merge_kinds import make_kind
from tests.tiny_architectures import make_architecture

NO_MEMORY = 0
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:peft")


@pytest.fixture
def chain(tmp_path):
    """Return a function that makes base, adapter and merged model of an architecture."""

    def make(architecture: str, kind: str = "LoRA"):
        model = tmp_path / "model"
        make_architecture(architecture, model)
        adapter = make_kind(kind, architecture, model, tmp_path / "adapter")
        (adapter / "prompts.json").write_text(json.dumps([[7, 30, 41, 5], list(range(4, 30))]))
        merged = tmp_path / "merged"
        merged.mkdir()
        merge_adapter(model, adapter, merged)
        return model, adapter, merged

    return make


@pytest.mark.parametrize("architecture", ["llama_tied", "llama_untied", "qwen2", "gpt2", "gemma2"])
def test_a_proof_from_disk_is_the_proof_from_memory(chain, tmp_path, architecture):
    folders = chain(architecture)
    proofs = []
    for free in (None, NO_MEMORY):
        out = tmp_path / f"proof-{free}"
        out.mkdir()
        proofs.append(prove_merge(*folders, out, free=free))
        assert [place.name for place in out.iterdir()] == ["proof.json"]
    assert proofs[0] == proofs[1]
    assert proofs[0]["proof"]["passed"]


def test_the_weights_of_a_paged_model_are_files(chain, tmp_path):
    model, _, _ = chain("llama_untied")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    paged = load_float32(model, scratch, NO_MEMORY).model
    numbers = sum(math.prod(t.shape) for file in read_model(model) for t in file.tensors)
    assert sum(file.stat().st_size for file in scratch.iterdir()) == 4 * numbers
    assert all(weight.untyped_storage().is_shared() for weight in paged.parameters())
    with torch.no_grad():
        weight = next(paged.parameters())
        before = [file.read_bytes() for file in sorted(scratch.iterdir())]
        weight += 1
    assert [file.read_bytes() for file in sorted(scratch.iterdir())] != before


def test_what_fits_is_judged_by_the_size_in_float32(chain):
    model, _, _ = chain("llama_tied")
    numbers = sum(math.prod(t.shape) for file in read_model(model) for t in file.tensors)
    assert fits(model, 8 * numbers)
    assert not fits(model, 4 * numbers)


def test_a_mixture_that_does_not_fit_says_what_to_do(tmp_path):
    model = make_architecture("mixtral", tmp_path / "model")
    with pytest.raises(MergeError, match="prove_merge:mem_mb"):
        load_float32(model, tmp_path, NO_MEMORY)


def test_a_disk_without_room_for_the_weights_is_told(tmp_path):
    """Before they are written to a mapped file, which would kill the job by a signal."""
    model = make_architecture("llama_untied", tmp_path / "model")
    code = (
        "import resource, sys; from pathlib import Path;"
        "from scripts.lib.merge.float32_models import load_float32;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024));"
        "load_float32(Path(sys.argv[1]), Path(sys.argv[2]), 0)"
    )
    command = [sys.executable, "-c", code, str(model), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "MergeError" in done.stderr and "has no room" in done.stderr
