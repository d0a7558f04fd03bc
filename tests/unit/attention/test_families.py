"""Packed rows against each sequence alone, for every family of the table, by both kinds of kernels.

A tiny model of each reads several sequences in one row, as training and scoring lay them, and one
by one with its own attention. Weights are wide, so that every position and every head matters.
"""

import functools

import pytest
import torch
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM

from scripts.lib.attention import selection
from scripts.lib.attention.families import FAMILIES, UNTOLD, is_plain, window_of
from scripts.lib.attention.kernels import ProcessorKernels
from scripts.lib.attention.selection import KERNELS
from scripts.lib.score.continuations import packing_kernels, read_continuations, read_prefix
from scripts.lib.train.attention import SEGMENTS, STOCK, choose_attention
from tests.tiny_architectures import CONFIGS
from tests.unit.gpu_attention import gpu_kernels

LENGTHS, PREFIX, WORDS = [5, 1, 9, 3], 6, 60
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "vocab_size": WORDS,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.2,
    "sliding_window": None,
    "layer_types": ["full_attention"] * 2,
}
EXPERTS = {
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "shared_expert_intermediate_size": 16,
}
# What a family needs to be tiny.
WINDOW = {"sliding_window": 16}  # that must be a number, and is longer than any sequence here
WINDOWED = (
    "afmoe cohere2 cohere2_moe cwm exaone_moe gemma3_text kolibri1 laguna ministral"
    " modernbert-decoder olmo3"
)
BY_LAYER = WINDOW | {"vocab_size_per_layer_input": WORDS, "hidden_size_per_layer_input": 8}
OWN = dict.fromkeys(WINDOWED.split(), WINDOW) | {
    "dots1": {"n_shared_experts": 1, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1},
    "gemma3n_text": BY_LAYER
    | {
        "num_kv_shared_layers": 0,
        "laurel_rank": 4,
        "intermediate_size": [48, 48],
        "activation_sparsity_pattern": [0.0, 0.0],
    },
    "gemma4_text": BY_LAYER | {"global_head_dim": 8, "num_kv_shared_layers": 0},
}
# Those that are asked every time; the rest of the table is for the long run of the tests.
USUAL = {
    "gemma",
    "gemma3_text",
    "gpt2",
    "gpt_neox",
    "granite",
    "llama",
    "mistral",
    "mixtral",
    "nemotron",
    "olmo2",
    "phi",
    "phi3",
    "qwen2",
    "qwen3",
    "qwen3_moe",
    "smollm3",
}
EACH_FAMILY = pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, marks=[] if family in USUAL else [pytest.mark.slow])
        for family in sorted(FAMILIES)
    ],
)
KINDS = {"processor": ProcessorKernels(), "gpu": gpu_kernels()}


def config_of(family, **changes):
    return AutoConfig.for_model(family, **(SIZES | EXPERTS | OWN.get(family, {}) | changes))


@functools.cache
def model_of(family):
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config_of(family)).eval()
    for weight in model.parameters():
        if weight.ndim == 1:  # norms and biases begin as ones and zeros, where mistakes hide
            weight.data.add_(torch.randn_like(weight) * 0.1)
    return model


def words(count):
    return torch.randint(3, WORDS, (count,), generator=torch.Generator().manual_seed(0))


def loss_of(logits, ids):
    return functional.cross_entropy(logits[:-1], ids[1:], reduction="sum")


def gradients(model):
    found = {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


@functools.cache
def each_alone(family):
    """Return logits, loss and gradients of the sequences one by one, with the stock attention."""
    model = model_of(family)
    logits = [model(input_ids=ids[None], use_cache=False).logits[0] for ids in parts()]
    loss = sum(loss_of(one, ids) for one, ids in zip(logits, parts(), strict=True))
    loss.backward()
    return torch.cat(logits).detach(), loss.detach(), gradients(model)


def parts():
    return words(sum(LENGTHS)).split(LENGTHS)


@pytest.fixture(params=KINDS)
def kernels(request, monkeypatch):
    monkeypatch.setitem(KERNELS, "cpu", KINDS[request.param])
    return KINDS[request.param]


@EACH_FAMILY
def test_conversations_train_in_a_row_as_each_alone(family, kernels):
    model = model_of(family)
    chosen = choose_attention(model.config, "cpu", "float32")
    assert chosen == (SEGMENTS if family not in UNTOLD else "sdpa")
    if chosen != SEGMENTS:
        return
    expected = each_alone(family)
    ends = torch.tensor([0, *LENGTHS]).cumsum(0).int()
    stock = model.config._attn_implementation
    model.set_attn_implementation(SEGMENTS)
    try:
        logits = model(
            input_ids=words(sum(LENGTHS))[None],
            position_ids=torch.cat([torch.arange(length) for length in LENGTHS])[None],
            cu_seq_lens_q=ends,
            cu_seq_lens_k=ends,
            max_length_q=max(LENGTHS),
            max_length_k=max(LENGTHS),
            use_cache=False,
        ).logits[0]
        split = logits.split(LENGTHS)
        loss = sum(loss_of(one, ids) for one, ids in zip(split, parts(), strict=True))
        loss.backward()
    finally:
        model.set_attn_implementation(stock)
    found = (logits.detach(), loss.detach(), gradients(model))
    assert found[2].keys() == expected[2].keys()
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-4)


@EACH_FAMILY
def test_continuations_are_read_in_a_row_as_each_alone(family, kernels):
    model = model_of(family)
    assert packing_kernels(model) is kernels
    beginning, own = words(PREFIX).tolist(), [ids.tolist() for ids in parts()]
    for before in ([], beginning):
        prefix = read_prefix(model, before) if before else None
        found = read_continuations(model, prefix, own, [len(ids) for ids in own])
        with torch.no_grad():
            alone = [
                model(input_ids=torch.tensor([before + ids]), use_cache=False).logits[0]
                for ids in own
            ]
        expected = torch.cat([logits[len(before) :] for logits in alone])
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-4)


OTHERS = {
    "window": ("mistral", {"sliding_window": 4}),
    "windows in some layers": (
        "qwen3",
        {
            "layer_types": ["full_attention", "sliding_attention"],
            "use_sliding_window": True,
            "sliding_window": 4,
        },
    ),
    "chunks": ("llama", {"layer_types": ["chunked_attention", "full_attention"]}),
    "recurrent layers": ("llama", {"layer_types": ["linear_attention", "full_attention"]}),
    "both ways": ("llama", {"is_causal": False}),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", OTHERS)
def test_more_than_softmax_over_all_before_is_trained_with_the_stock_attention(
    name, device, dtype, monkeypatch
):
    monkeypatch.setattr(selection, "fault_of", lambda *_, **__: None)
    family, changes = OTHERS[name]
    config = config_of(family, **changes)
    assert choose_attention(config, device, dtype) in STOCK
    assert not is_plain(config) or window_of(config)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("family", ["gemma2", "gpt_oss", "bloom", "falcon", "llama4_text", "mamba"])
def test_a_family_outside_the_table_is_never_put_on_it(family, device, monkeypatch):
    """Caps, sinks, slopes, chunks, and what does not attend at all."""
    monkeypatch.setattr(selection, "fault_of", lambda *_, **__: None)
    config = AutoConfig.for_model(family)
    assert family not in FAMILIES
    assert not is_plain(config)
    assert choose_attention(config, device, "bfloat16") in STOCK


def test_on_a_gpu_only_half_precision_without_dropout_is_trained_by_its_kernels(monkeypatch):
    monkeypatch.setattr(selection, "fault_of", lambda *_, **__: None)
    config = config_of("llama")
    assert choose_attention(config, "cuda", "bfloat16") == SEGMENTS
    assert choose_attention(config, "cuda", "float16") == SEGMENTS
    assert choose_attention(config, "cuda", "float32") == "sdpa"
    dropping = config_of("llama", attention_dropout=0.1)
    assert choose_attention(dropping, "cuda", "bfloat16") == "sdpa"
    assert choose_attention(dropping, "cpu", "bfloat16") == SEGMENTS


def test_architectures_that_are_fine_tuned_here_are_in_the_table_or_known_not_to_be():
    common = {"vocab_size": WORDS, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    plain = {kind for kind, make in CONFIGS.items() if is_plain(make(common))}
    assert set(CONFIGS) - plain == {"gemma2", "gpt_oss"}
