import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from scripts.lib.attention import selection
from scripts.lib.attention.selection import KERNELS
from scripts.lib.train import training
from scripts.lib.train.attention import (
    SEGMENTS,
    STOCK,
    choose_attention,
    keeps_apart,
    stated_attention,
)
from tests.tiny_architectures import make_architecture
from tests.unit.gpu_attention import gpu_kernels
from tests.unit.train.test_training import make_spec

LENGTHS = [5, 1, 9, 3]


def tiny(family, **changes):
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 60}
    options = {"sliding_window": None, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return AutoConfig.for_model(family, **sizes, **heads, **(options | changes))


def packed():
    torch.manual_seed(0)
    ends = torch.tensor([0, *LENGTHS]).cumsum(0).int()
    return {
        "input_ids": torch.randint(3, 60, (1, sum(LENGTHS))),
        "position_ids": torch.cat([torch.arange(length) for length in LENGTHS])[None],
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": max(LENGTHS),
        "max_length_k": max(LENGTHS),
        "use_cache": False,
    }


@pytest.fixture(params=["processor", "gpu"])
def kernels(request, monkeypatch):
    """A GPU's way is run with the processor's kernels behind its functions."""
    if request.param == "gpu":
        monkeypatch.setitem(KERNELS, "cpu", gpu_kernels())
    return KERNELS["cpu"]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_those_of_the_masked_attention(kernels, checkpointing):
    """With activations that are computed again for them, too."""
    config = tiny("llama")
    assert choose_attention(config, "cpu", "float32") == SEGMENTS
    found = []
    for attention in (SEGMENTS, "sdpa"):
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).train()
        if checkpointing and attention == SEGMENTS:
            model.activation_checkpointing_enable({"use_reentrant": False})
        model(**packed()).logits.logsumexp(-1).sum().backward()
        found.append(model.model.layers[0].self_attn.k_proj.weight.grad)
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)


APART = ("llama_tied", "gpt2", "gemma2", "gemma3", "gpt_neox", "mixtral", "qwen3_moe")


@pytest.mark.parametrize("architecture", [*APART, "gpt_oss"])
def test_what_would_mix_conversations_in_a_row_is_found_out(tmp_path, architecture):
    folder = make_architecture(architecture, tmp_path)
    attention = choose_attention(AutoConfig.from_pretrained(folder), "cuda", "float32")
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=attention)
    assert keeps_apart(model) == (architecture != "gpt_oss")


@pytest.mark.parametrize("config", [tiny("mistral", sliding_window=4), tiny("gemma2"), tiny("mpt")])
def test_what_it_cannot_do_exactly_is_left_to_the_stock_attention(config):
    assert choose_attention(config, "cpu", "float32") in STOCK


def test_a_gpu_whose_kernels_differ_keeps_the_stock_attention(monkeypatch, capsys):
    monkeypatch.setattr(selection, "fault_of", lambda *_, **__: "differs in its sums")
    assert choose_attention(tiny("llama"), "cuda", "bfloat16") == "sdpa"
    assert "rows are not packed" in capsys.readouterr().err


@pytest.mark.parametrize("packing", [True, False])
def test_a_run_on_a_gpus_way_is_that_of_the_processor(train, monkeypatch, packing):
    """Activations are computed again there, and what is not packed lies end to end as well."""
    spec = make_spec(packing=packing, max_steps=2)
    facts, _ = train(spec, "processor")
    assert facts["execution"]["attention"] == KERNELS["cpu"].name
    made = training.training_arguments

    def on_a_gpu(*given, **told):
        arguments = made(*given, **told)
        arguments.activation_checkpointing = arguments.gradient_checkpointing = True
        arguments.padding_free = packing
        return arguments

    monkeypatch.setattr(training, "training_arguments", on_a_gpu)
    monkeypatch.setitem(KERNELS, "cpu", gpu_kernels())
    found, _ = train(spec, "gpu")
    assert found["execution"]["attention"] == "stand-in"
    for ours, theirs in zip(found["history"], facts["history"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)


def test_a_training_states_what_attends():
    model = AutoModelForCausalLM.from_config(tiny("llama"), attn_implementation="eager")
    assert stated_attention(model) == "eager"
    model.set_attn_implementation(SEGMENTS)
    assert stated_attention(model) == KERNELS["cpu"].name


def test_a_batch_without_boundaries_fails_instead_of_leaking():
    model = AutoModelForCausalLM.from_config(tiny("llama"), attn_implementation=SEGMENTS)
    with pytest.raises(TypeError, match="cu_seq_lens_q"):
        model(input_ids=torch.tensor([[3, 4, 5]]))
