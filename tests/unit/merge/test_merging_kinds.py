"""Every cell of the table in docs/merging.md: the kind of adapter, the architecture, the merge."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from scripts.lib.errors import MergeError
from scripts.lib.merge.embeddings import embedding_name
from scripts.lib.merge.merging import merge_adapter
from scripts.lib.merge.proving import prove_merge
from tests.merge_kinds import KINDS, make_kind, merge_by_peft
from tests.tiny_architectures import make_architecture

# PEFT warns of tied embeddings, transposed layers and resized vocabularies: what is tested here.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:peft"),
]

ROOT = Path(__file__).resolve().parents[3]
ARCHITECTURES = {
    "Llama, tied": "llama_tied",
    "Llama": "llama_untied",
    "Qwen2": "qwen2",
    "GPT-2": "gpt2",
    "Gemma 3": "gemma3",
    "GPT-NeoX": "gpt_neox",
    "Mixtral": "mixtral",
}
# PEFT's own merge in the base's dtype is another one here; docs/merging.md says why.
NOT_PEFTS = ("LoRA on the embedding", "LoRA on experts")


def read_table() -> dict[tuple[str, str], str]:
    """Return the cells of the table by kind and architecture."""
    text = (ROOT / "docs/merging.md").read_text()
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in re.findall(r"^\| adapter \|.*(?:\n\|.*)+", text, re.M)[0].splitlines()
    ]
    head, _, *rows = lines
    return {
        (row[0], ARCHITECTURES[name]): cell
        for row in rows
        for name, cell in zip(head[1:], row[1:], strict=True)
    }


TABLE = read_table()
FIVE = list(ARCHITECTURES.values())[:5]
MIXTURE = ("LoRA", "LoRA on attention", "LoRA on experts", "new tokens")
CELLS = [
    pytest.param(
        kind,
        architecture,
        cell,
        # The five that users name are in every run of the tests, the others in the long one.
        marks=[] if architecture in FIVE or kind in MIXTURE else [pytest.mark.slow],
    )
    for (kind, architecture), cell in TABLE.items()
    if cell != "-"
]
# One architecture for each kind, another from kind to kind; all of them in the long tests.
PROVED = [
    (kind, FIVE[number % 5])
    for number, kind in enumerate(KINDS)
    if TABLE[kind, FIVE[number % 5]] not in ("-", "refused")
] + [("LoRA on experts", "mixtral")]


@pytest.fixture(scope="session")
def bases(tmp_path_factory):
    """One random model of each architecture, made when it is asked for."""
    folder = tmp_path_factory.mktemp("bases")

    def base(architecture: str) -> Path:
        place = folder / architecture
        return place if place.exists() else make_architecture(architecture, place)

    return base


def test_the_table_has_every_kind():
    assert {kind for kind, _ in TABLE} == set(KINDS)


@pytest.mark.parametrize(("kind", "architecture", "cell"), CELLS)
def test_a_merge_has_the_bits_of_pefts(bases, tmp_path, kind, architecture, cell):
    model = bases(architecture)
    adapter = make_kind(kind, architecture, model, tmp_path / "adapter")
    out = tmp_path / "out"
    out.mkdir()
    if cell == "refused":
        with pytest.raises(MergeError, match="has no bias"):
            merge_adapter(model, adapter, out)
        assert not list(out.iterdir())
        return
    facts = merge_adapter(model, adapter, out, threads=2)
    method, _, unties = cell.partition(", ")
    assert (facts["method"], facts["untied"]) == (method, bool(unties))
    assert bool(facts["reason"]) == (method == "peft")
    dtype = "float32" if method == "peft" or kind in NOT_PEFTS else "auto"
    untie = facts["untied"] and not kind.startswith("trained")
    theirs = merge_by_peft(model, adapter, tmp_path / "peft", dtype=dtype, untie=untie)
    merged = load_file(out / "model.safetensors")
    expected = load_file(theirs / "model.safetensors")
    for name, tensor in merged.items():
        assert tensor.dtype == torch.bfloat16
        assert torch.equal(tensor, expected.pop(name)), name
    # PEFT parts tied embeddings whose tokens were trained although they stay alike.
    embedding = merged[embedding_name(merged)]
    assert all(torch.equal(tensor, embedding) for tensor in expected.values()), expected.keys()


def prove(bases, folder, kind, architecture):
    model = bases(architecture)
    adapter = make_kind(kind, architecture, model, folder / "adapter")
    for name in ("merged", "proof"):
        (folder / name).mkdir()
    merge_adapter(model, adapter, folder / "merged")
    facts = prove_merge(model, adapter, folder / "merged", folder / "proof")
    assert [file.name for file in (folder / "proof").iterdir()] == ["proof.json"]
    return {
        check["name"]: check["evidence"]
        for check in facts["proof"]["checks"]
        if not check["passed"]
    }


@pytest.mark.parametrize(("kind", "architecture"), PROVED)
def test_a_merge_is_proved(bases, tmp_path, kind, architecture):
    assert prove(bases, tmp_path, kind, architecture) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "architecture"),
    [place for place, cell in TABLE.items() if cell not in ("-", "refused")],
)
def test_every_merge_is_proved(bases, tmp_path, kind, architecture):
    failed = prove(bases, tmp_path, kind, architecture)
    if architecture == "mixtral":  # rounding sends a token to another expert now and then
        failed.pop("max_logit_diff", None)
        failed.pop("top1_agreement", None)
    assert failed == {}
