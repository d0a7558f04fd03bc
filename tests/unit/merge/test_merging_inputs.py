"""Each wrong input stops the merge by the name of what is wrong, and leaves nothing behind."""

import json
import shutil
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from scripts.lib.errors import MergeError
from scripts.lib.merge.merging import merge_adapter
from scripts.lib.merge.safetensors_files import read_weight_file
from tests.merge_kinds import make_kind
from tests.tiny_architectures import make_architecture

# PEFT warns of transposed layers and resized vocabularies.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:peft")

WEIGHTS, TUNED = "model.safetensors", "adapter_model.safetensors"


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A base of several weight files, and an adapter of it."""
    folder = tmp_path_factory.mktemp("sources")
    model = make_architecture("llama_untied", folder / "base", max_shard_size="30KB")
    single = make_architecture("llama_untied", folder / "single")
    return model, make_kind("LoRA", "llama_untied", single, folder / "adapter")


def edit_json(file, change):
    value = json.loads(file.read_text())
    change(value)
    file.write_text(json.dumps(value))


def edit_tensors(file, change):
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def edit_header(file, change):
    """Rewrite the header of a safetensors file, and leave its data."""
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def second_shard(model):
    return sorted(model.glob("*.safetensors"))[1]


def cut(file, size):
    file.write_bytes(file.read_bytes()[:size])


def rename_layer(tensors):
    for name in list(tensors):
        tensors[name.replace("layers.1.", "layers.7.")] = tensors.pop(name)


def wider(tensors):
    name = next(name for name in tensors if name.endswith("q_proj.lora_A.weight"))
    tensors[name] = torch.zeros(4, 48)


def grow_one_place(tensors):
    tensors["base_model.model.model.embed_tokens.weight"] = torch.zeros(300, 32)


def add_token(tokenizer):
    tokenizer["added_tokens"].append({"id": 5000, "content": "<|new|>"})


def move_first(header):
    first = next(entry for name, entry in header.items() if name != "__metadata__")
    first["data_offsets"] = [number + 8 for number in first["data_offsets"]]


def widen_first(header):
    first = next(entry for name, entry in header.items() if name != "__metadata__")
    first["shape"] = [first["shape"][0] + 1, *first["shape"][1:]]


def copy_shard(model):
    index = json.loads((model / "model.safetensors.index.json").read_text())
    shutil.copyfile(second_shard(model), model / "model-more.safetensors")
    index["weight_map"]["more"] = "model-more.safetensors"
    (model / "model.safetensors.index.json").write_text(json.dumps(index))


# What is done to a copy of the base (m) and the adapter (a), and what the error has to name.
WRONG = {
    "a base cut short": (
        lambda m, a: cut(second_shard(m), -100),
        r"model-00002\S* cannot be read .*cut short",
    ),
    "a base of three bytes": (lambda m, a: cut(second_shard(m), 3), r"model-00002.*3 bytes"),
    "a base without a shard": (lambda m, a: second_shard(m).unlink(), r"lacks model-00002"),
    "a base whose index is cut short": (
        lambda m, a: cut(m / "model.safetensors.index.json", -9),
        r"index\.json is damaged.*Fetch the model again",
    ),
    "a base whose tensors overlap": (
        lambda m, a: edit_header(second_shard(m), move_first),
        r"model-00002\S* .*does not lie where",
    ),
    "a base whose header tells another shape": (
        lambda m, a: edit_header(second_shard(m), widen_first),
        r"model-00002\S* .*is not its shape",
    ),
    "a base that holds a tensor twice": (lambda m, a: copy_shard(m), r"both in .*model-more"),
    "a base without config": (lambda m, a: (m / "config.json").unlink(), r"no config\.json"),
    "a quantised base": (
        lambda m, a: edit_json(
            m / "config.json", lambda c: c.update(quantization_config={"quant_method": "gptq"})
        ),
        r"quantised \(gptq\).*unquantised",
    ),
    "an adapter cut short": (lambda m, a: cut(a / TUNED, -1), r"adapter_model\S* .*cut short"),
    "an adapter without weights": (lambda m, a: (a / TUNED).unlink(), r"adapter_model.*missing"),
    "an adapter without config": (
        lambda m, a: (a / "adapter_config.json").unlink(),
        r"no adapter_config\.json",
    ),
    "an adapter of a deeper base": (
        lambda m, a: edit_tensors(a / TUNED, rename_layer),
        r"no tensor model\.layers\.7\..*another base",
    ),
    "an adapter of a wider base": (
        lambda m, a: edit_tensors(a / TUNED, wider),
        r"model\.layers\.\d\.\S+ is \(\d+, \d+\) in the base, the adapter fits \(\d+, 48\)",
    ),
    "half an update": (
        lambda m, a: edit_tensors(
            a / TUNED, lambda t: t.pop(next(n for n in t if n.endswith("lora_B.weight")))
        ),
        r"lacks half of the update of model\.layers",
    ),
    "a rank that is not the tensors'": (
        lambda m, a: edit_json(a / "adapter_config.json", lambda c: c.update(r=8)),
        r"rank 4 in the adapter, but 8",
    ),
    "no tokenizer": (lambda m, a: (a / "tokenizer.json").unlink(), r"no tokenizer"),
    "a token id without a row": (
        lambda m, a: edit_json(a / "tokenizer.json", add_token),
        r"id 5000, the base 286",
    ),
    "a vocabulary that grew in one place": (
        lambda m, a: edit_tensors(a / TUNED, grow_one_place),
        r"one place only: model\.embed_tokens\.weight has 300 rows, lm_head\.weight 286",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_input_is_named_and_leaves_nothing(sources, tmp_path, wrong):
    model, adapter = (shutil.copytree(place, tmp_path / place.name) for place in sources)
    out = tmp_path / "out"
    out.mkdir()
    spoil, named = WRONG[wrong]
    spoil(model, adapter)
    with pytest.raises(MergeError, match=named):
        merge_adapter(model, adapter, out)
    assert not list(out.iterdir())


def test_the_untouched_pair_merges_into_the_bases_files(sources, tmp_path):
    model, adapter = sources
    merge_adapter(model, adapter, tmp_path, threads=2)
    for file in model.glob("*.safetensors"):
        merged = read_weight_file(tmp_path / file.name)
        assert merged.header == read_weight_file(file).header
    index = "model.safetensors.index.json"
    assert (tmp_path / index).read_bytes() == (model / index).read_bytes()


@pytest.mark.parametrize("kind", ["trained embedding", "new tokens"])
def test_a_changed_layout_has_a_right_index(tmp_path, kind):
    model = make_architecture("llama_tied", tmp_path / "base", max_shard_size="20KB")
    single = make_architecture("llama_tied", tmp_path / "single")
    adapter = make_kind(kind, "llama_tied", single, tmp_path / "adapter")
    outs = [tmp_path / "sharded", tmp_path / "whole"]
    for source, out in zip((model, single), outs, strict=True):
        out.mkdir()
        merge_adapter(source, adapter, out)
    index = json.loads((outs[0] / "model.safetensors.index.json").read_text())
    whole = load_file(outs[1] / WEIGHTS)
    found = {name: load_file(outs[0] / file)[name] for name, file in index["weight_map"].items()}
    assert found.keys() == whole.keys()
    assert all(torch.equal(found[name], whole[name]) for name in whole)
    size = sum(tensor.numel() * tensor.element_size() for tensor in whole.values())
    assert index["metadata"]["total_size"] == size


def test_names_without_the_first_part_as_in_old_files_are_found(tmp_path):
    model = make_architecture("gpt2", tmp_path / "base")
    adapter = make_kind("LoRA", "gpt2", model, tmp_path / "adapter")
    old = shutil.copytree(model, tmp_path / "old")
    tensors = {n.removeprefix("transformer."): t for n, t in load_file(old / WEIGHTS).items()}
    save_file(tensors, old / WEIGHTS, metadata={"format": "pt"})
    for source, out in ((model, tmp_path / "one"), (old, tmp_path / "two")):
        out.mkdir()
        merge_adapter(source, adapter, out)
    after = load_file(tmp_path / "two" / WEIGHTS)
    for name, tensor in load_file(tmp_path / "one" / WEIGHTS).items():
        assert torch.equal(after[name.removeprefix("transformer.")], tensor)


def test_threads_do_not_change_a_byte(sources, tmp_path):
    model, adapter = sources
    facts = []
    for threads in (1, 3):
        out = tmp_path / str(threads)
        out.mkdir()
        facts.append(merge_adapter(model, adapter, out, threads=threads))
    assert facts[0] == facts[1]
    for file in (tmp_path / "1").iterdir():
        assert file.read_bytes() == (tmp_path / "3" / file.name).read_bytes()


def test_a_generation_config_of_the_run_is_carried(sources, tmp_path):
    model, adapter = sources
    adapter = shutil.copytree(adapter, tmp_path / "adapter")
    (adapter / "generation_config.json").write_text('{"eos_token_id": [2, 0]}')
    (tmp_path / "out").mkdir()
    merge_adapter(model, adapter, tmp_path / "out")
    carried = (tmp_path / "out" / "generation_config.json").read_text()
    assert carried == '{"eos_token_id": [2, 0]}'
