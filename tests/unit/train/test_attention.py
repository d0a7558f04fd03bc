import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from scripts.lib.train.attention import (
    SEGMENT_FAMILIES,
    SEGMENTS,
    STOCK,
    choose_attention,
    keeps_apart,
)
from tests.tiny_architectures import make_architecture

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
        "use_cache": False,
    }


@pytest.mark.parametrize("family", sorted(SEGMENT_FAMILIES))
def test_each_conversation_is_answered_as_if_alone(family):
    config = tiny(family)
    assert choose_attention(config, "cpu") == SEGMENTS
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=SEGMENTS).eval()
    batch = packed()
    with torch.no_grad():
        together = model(**batch).logits[0].split(LENGTHS)
        model.set_attn_implementation("sdpa")
        for ids, logits in zip(batch["input_ids"][0].split(LENGTHS), together, strict=True):
            alone = model(input_ids=ids[None], use_cache=False).logits[0]
            torch.testing.assert_close(logits, alone, atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_the_masked_attention():
    config = tiny("llama")
    choose_attention(config, "cpu")
    found = []
    for attention in (SEGMENTS, "sdpa"):
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
        model(**packed()).logits.logsumexp(-1).sum().backward()
        found.append(model.model.layers[0].self_attn.k_proj.weight.grad)
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)


APART = ("llama_tied", "gpt2", "gemma2", "gemma3", "gpt_neox", "mixtral", "qwen3_moe")


@pytest.mark.parametrize("architecture", [*APART, "gpt_oss"])
def test_what_would_mix_conversations_in_a_row_is_found_out(tmp_path, architecture):
    folder = make_architecture(architecture, tmp_path)
    attention = choose_attention(AutoConfig.from_pretrained(folder), "cuda")
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=attention)
    assert keeps_apart(model) == (architecture != "gpt_oss")


@pytest.mark.parametrize(
    "config", [tiny("mistral", sliding_window=4), tiny("gemma2"), tiny("gpt_neox")]
)
def test_what_it_cannot_do_exactly_is_left_to_the_stock_attention(config):
    assert choose_attention(config, "cpu") in STOCK


def test_a_gpu_keeps_the_stock_attention():
    assert choose_attention(tiny("llama"), "cuda") == "sdpa"


def test_a_batch_without_boundaries_fails_instead_of_leaking():
    config = tiny("llama")
    choose_attention(config, "cpu")
    model = AutoModelForCausalLM.from_config(config, attn_implementation=SEGMENTS)
    with pytest.raises(TypeError, match="cu_seq_lens_q"):
        model(input_ids=torch.tensor([[3, 4, 5]]))
