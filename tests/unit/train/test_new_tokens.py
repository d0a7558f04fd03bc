"""Control tokens that a base was not trained with get rows, and these are trained."""

import json

import pytest
import torch
from peft import get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts.lib.errors import TrainingError
from scripts.lib.merge.unmerged import put_on
from scripts.lib.train.callbacks import Keeper
from scripts.lib.train.lora_config import give_rows, lora_config
from scripts.lib.train.lora_tuning import train_adapter
from scripts.lib.train.new_tokens import NOISE
from tests.base_model import make_base_model, make_base_shards
from tests.tiny_architectures import make_architecture
from tests.unit.train.test_training import contents, make_spec

ROWS = [(f"What is {word}?", f"the answer is {word}") for word in "ABCD"]


@pytest.fixture(params=[(True, 0), (True, 8), (False, 0), (False, 8)], ids=str)
def base(request, tmp_path):
    tied, spare = request.param
    return make_base_model(tmp_path / "base", tied=tied, spare=spare)


def train(base, folder, **changes):
    """Render ROWS with ChatML and train on them; return facts, shards, and adapter."""
    shards, out = folder / "shards", folder / "adapter"
    make_base_shards(base, ROWS, shards)
    out.mkdir()
    spec = make_spec(**{"epochs": 1, "max_steps": 2} | changes)
    facts = train_adapter(spec, base, shards, out, scratch=folder / "scratch", threads=1)
    return facts, shards, out


def test_new_rows_and_no_others_are_trained_spare_ones_first(base, tmp_path):
    _, shards, adapter = train(base, tmp_path)
    config = json.loads((adapter / "adapter_config.json").read_text())
    net = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    ids = list(json.loads((shards / "control_tokens.json").read_text()).values())
    tied = net.config.tie_word_embeddings
    assert config["trainable_token_indices"] == {
        name: ids for name in (["embed_tokens"] if tied else ["embed_tokens", "lm_head"])
    }
    stored = load_file(adapter / "adapter_model.safetensors")
    rows = {name: value for name, value in stored.items() if "lora_" not in name}
    assert len(rows) == (1 if tied else 2)
    assert all(value.shape == (2, 32) and value.dtype == torch.float32 for value in rows.values())
    start = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    give_rows(start, make_spec(), ids, known=max(ids) + 1)
    first = start.get_input_embeddings().weight[ids]
    (trained,) = (value for name, value in rows.items() if "embed_tokens" in name)
    assert not torch.isclose(trained, first).all(1).any()


def test_rows_start_near_the_mean_of_those_that_tokens_have_by_the_seed(base):
    def start(seed):
        net = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        before = net.get_input_embeddings().weight.detach().clone()
        known = len(AutoTokenizer.from_pretrained(base))
        net.get_input_embeddings().weight.data[known:] = 1e3  # spare rows tell nothing
        rows = give_rows(net, make_spec(seed=seed), [known, known + 1], known + 2)
        after = net.get_input_embeddings().weight.detach()
        assert torch.equal(after[:known], before[:known])
        mean, spread = before[:known].mean(0), before[:known].std(0, correction=0)
        assert ((after[known : known + 2] - mean).abs() <= 5 * NOISE * spread).all()
        assert set(map(tuple, rows.values())) == {(known, known + 1)}
        return after[known : known + 2]

    assert torch.equal(start(1), start(1))
    assert not torch.equal(start(1), start(2))
    assert not torch.equal(*start(1))


def test_a_tokenizer_that_was_larger_than_its_model_gets_all_its_rows(base):
    net = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    rows = net.config.vocab_size
    found = give_rows(net, make_spec(), [rows + 2, rows + 3], rows + 4)
    assert set(map(tuple, found.values())) == {tuple(range(rows, rows + 4))}
    assert net.get_input_embeddings().weight.shape[0] == rows + 4


@pytest.mark.parametrize("init", [True, "pissa"])
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, init, monkeypatch):
    base = make_base_model(tmp_path / "base")
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    _, _, whole = train(base, tmp_path / "whole", max_steps=4, init=init)
    spec = make_spec(epochs=1, max_steps=4, init=init)
    shards, scratch = tmp_path / "whole" / "shards", tmp_path / "killed" / "scratch"
    out = tmp_path / "killed" / "adapter"
    out.mkdir()

    def stop_at_two(self, args, state, control, **_):
        control.should_save = control.should_training_stop = state.global_step == 2

    with monkeypatch.context() as patched:
        patched.setattr(Keeper, "on_step_end", stop_at_two)
        lost = tmp_path / "killed" / "lost"
        lost.mkdir()
        train_adapter(spec, base, shards, lost, scratch=scratch, threads=1)
    (checkpoint,) = scratch.glob("checkpoint-*")
    saved = load_file(checkpoint / "adapter_model.safetensors")
    assert not [name for name in saved if name.endswith("base_layer.weight")]
    train_adapter(spec, base, shards, out, scratch=scratch, threads=1)
    weights = "adapter_model.safetensors"
    assert contents(out)[weights] == contents(whole)[weights]


@pytest.mark.parametrize("whole", ["embed_tokens", "lm_head"])
def test_an_embedding_that_is_trained_whole_is_refused_beside_new_rows(tmp_path, whole):
    base = make_base_model(tmp_path / "base")
    with pytest.raises(TrainingError, match=f"modules_to_save names {whole}"):
        train(base, tmp_path, modules_to_save=[whole])


@pytest.mark.parametrize("targets", [["q_proj", "embed_tokens"], r".*embed_tokens|.*q_proj"])
def test_lora_on_the_embedding_is_refused_beside_new_rows(tmp_path, targets):
    base = make_base_model(tmp_path / "base")
    with pytest.raises(TrainingError, match=r"target_modules names model\.embed_tokens"):
        train(base, tmp_path, target_modules=targets)


ARCHITECTURES = ["llama_tied", "qwen2", "qwen3", "gpt2", "gemma3", "gpt_neox", "mixtral"]


# PEFT warns of transposed layers and of mixtures.
@pytest.mark.filterwarnings("ignore::UserWarning:peft", "ignore::RuntimeWarning:peft")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_new_rows_learn_and_are_put_on_a_base_again_whatever_the_architecture(
    tmp_path, architecture
):
    base = make_architecture(architecture, tmp_path / "base")
    net = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    rows = net.config.vocab_size
    new = [rows, rows + 1]
    spec = make_spec(target_modules="all-linear")
    tuned = get_peft_model(net, lora_config(spec, give_rows(net, spec, new, rows + 2), net)).eval()
    asked = torch.tensor([[5, rows, 7, rows + 1, 9]])
    tuned(input_ids=asked, labels=asked).loss.backward()
    deltas = {n: p for n, p in tuned.named_parameters() if "trainable_tokens_delta" in n}
    assert len(deltas) == (1 if net.config.tie_word_embeddings else 2)
    assert all((delta.grad != 0).any(1).all() for delta in deltas.values())
    tuned.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    fresh = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    put_on(fresh, tmp_path / "adapter")
    with torch.no_grad():
        assert torch.equal(fresh(input_ids=asked).logits, tuned(input_ids=asked).logits)


def test_an_output_layer_with_a_bias_is_refused(tmp_path):
    base = make_architecture("llama_untied", tmp_path / "base")
    net = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    net.lm_head = torch.nn.Linear(net.lm_head.in_features, net.config.vocab_size, bias=True)
    with pytest.raises(TrainingError, match="has a bias"):
        give_rows(net, make_spec(), [net.config.vocab_size], net.config.vocab_size + 1)
