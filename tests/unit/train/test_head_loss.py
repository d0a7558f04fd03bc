"""The loss of the output layer part by part, beside the cross entropy over all logits."""

import weakref

import pytest
import torch
from torch.nn import functional
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from scripts.lib.train import head_loss
from scripts.lib.train.head_loss import give_loss_head, summed_loss
from scripts.lib.train.shards import IGNORED

POSITIONS, WIDTH, VOCABULARY = 37, 24, 61
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 97,
    "pad_token_id": 0,
}


def tensors(dtype, *, bias=True):
    torch.manual_seed(3)
    head = torch.nn.Linear(WIDTH, VOCABULARY, bias=bias).to(dtype)
    hidden = torch.randn(POSITIONS, WIDTH, dtype=dtype).requires_grad_()
    return hidden, head, torch.randint(0, VOCABULARY, (POSITIONS,))


def gradients(loss, *inputs):
    return torch.autograd.grad(loss, inputs)


def whole(hidden, head, targets, smoothing=0.0):
    return functional.cross_entropy(
        head(hidden).float(), targets, reduction="sum", label_smoothing=smoothing
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_in_one_part_loss_and_gradients_are_those_of_the_whole_bit_for_bit(dtype, smoothing):
    hidden, head, targets = tensors(dtype)
    inputs = hidden, head.weight, head.bias
    count = torch.tensor(11)
    mine = summed_loss(hidden, head, targets, scale=torch.tensor(2.0) / count, smoothing=smoothing)
    expected = whole(hidden, head, targets, smoothing)
    assert mine.item() == expected.item()
    pairs = zip(
        gradients(mine / count * 2, *inputs), gradients(expected / count * 2, *inputs), strict=True
    )
    assert all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("at_once", [1, 7, 36])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_in_several_parts_they_are_those_of_the_whole_to_rounding(at_once, smoothing):
    hidden, head, targets = tensors(torch.float32)
    inputs = hidden, head.weight, head.bias
    mine = summed_loss(hidden, head, targets, smoothing=smoothing, at_once=at_once)
    expected = whole(hidden, head, targets, smoothing)
    torch.testing.assert_close(mine, expected)
    for found, right in zip(
        gradients(3 * mine, *inputs), gradients(3 * expected, *inputs), strict=True
    ):
        torch.testing.assert_close(found, right)
    with torch.no_grad():
        told = summed_loss(hidden, head, targets, smoothing=smoothing, at_once=at_once)
    torch.testing.assert_close(told, expected)


def test_in_bfloat16_parts_round_the_sum_of_a_weights_gradient_once():
    hidden, head, targets = tensors(torch.bfloat16, bias=False)
    (found,) = gradients(summed_loss(hidden, head, targets, at_once=5), head.weight)
    exact, plain, _ = hidden.detach().float(), torch.nn.Linear(WIDTH, VOCABULARY, bias=False), 0
    plain.weight.data = head.weight.data.float()
    (right,) = gradients(whole(exact, plain, targets), plain.weight)
    torch.testing.assert_close(found.float(), right, rtol=0.02, atol=0.05)


def test_under_autocast_the_layer_is_cast_as_it_is_within_a_model():
    hidden, head, targets = tensors(torch.float32)
    inputs = hidden, head.weight, head.bias
    with torch.autocast("cpu", torch.bfloat16):
        mine, expected = summed_loss(hidden, head, targets), whole(hidden, head, targets)
    assert mine.item() == expected.item()
    pairs = zip(gradients(mine, *inputs), gradients(expected, *inputs), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


def test_a_frozen_layer_gets_no_gradient_and_no_position_is_a_loss_of_nothing():
    hidden, head, targets = tensors(torch.float32)
    head.requires_grad_(requires_grad=False)
    summed_loss(hidden, head, targets, at_once=5).backward()
    assert head.weight.grad is None and hidden.grad.abs().sum() > 0
    none = summed_loss(hidden[:0], head, targets[:0])
    (found,) = gradients(none, hidden)
    assert none.item() == 0 and not found.any()


def test_logits_are_of_one_part_at_a_time_and_none_are_kept(monkeypatch):
    hidden, head, targets = tensors(torch.float32)
    made, sizes, logits = functional.linear, [], []

    def linear(*given):
        assert not any(one() is not None for one in logits), "those of the part before are there"
        found = made(*given)
        sizes.append(len(found))
        logits.append(weakref.ref(found))
        return found

    monkeypatch.setattr(head_loss.functional, "linear", linear)
    loss = summed_loss(hidden, head, targets, at_once=5)
    assert sizes == [5] * 7 + [POSITIONS % 5]
    assert not any(one() is not None for one in logits)
    loss.backward()
    assert len(sizes) == 8, "none are computed twice"


@pytest.mark.parametrize(
    ("config", "model"),
    [(LlamaConfig, LlamaForCausalLM), (Qwen3Config, Qwen3ForCausalLM)],
)
@pytest.mark.parametrize("tied", [True, False])
def test_a_model_computes_the_loss_of_rows_that_are_padded_or_lie_end_to_end(config, model, tied):
    torch.manual_seed(5)
    net = model(config(**SHAPE, tie_word_embeddings=tied))
    ids = torch.randint(1, 97, (3, 12))
    labels = ids.clone()
    labels[0, :7] = labels[1, 4:] = labels[2] = IGNORED  # of the last nothing is trained
    mask = (torch.arange(12) < torch.tensor([[12], [6], [12]])).long()
    flat = torch.cat([ids[0], ids[1, :6], ids[2]])[None]
    places = torch.cat([torch.arange(12), torch.arange(6), torch.arange(12)])[None]
    flat_labels = torch.cat([labels[0], labels[1, :6], labels[2]])[None].clone()
    flat_labels[0, [0, 12, 18]] = IGNORED
    expected = functional.cross_entropy(
        net(input_ids=ids, attention_mask=mask).logits[:, :-1].flatten(0, 1),
        labels[:, 1:].flatten(),
        reduction="sum",
    )
    expected.backward()
    right = {name: weight.grad.clone() for name, weight in net.named_parameters()}
    assert give_loss_head(net)
    for inputs in (
        {"input_ids": ids, "attention_mask": mask, "targets": labels[:, 1:]},
        {"input_ids": flat, "position_ids": places, "targets": flat_labels[:, 1:]},
    ):
        net.zero_grad()
        loss = net(**inputs, scale=0.5)
        loss.backward()
        torch.testing.assert_close(loss, expected)
        for name, weight in net.named_parameters():
            torch.testing.assert_close(weight.grad, right[name], rtol=1e-4, atol=1e-4)
    assert net(input_ids=ids).logits.shape == (3, 12, 97), "without targets it is what it was"


@pytest.mark.parametrize(
    ("config", "model", "told"),
    [
        (Gemma2Config, Gemma2ForCausalLM, {"final_logit_softcapping": 0.5}),
        # Above all logits that it begins with.
        (Gemma2Config, Gemma2ForCausalLM, {"final_logit_softcapping": 30.0}),
        (CohereConfig, CohereForCausalLM, {"logit_scale": 0.0625}),
        (GraniteConfig, GraniteForCausalLM, {"logits_scaling": 8.0}),
    ],
)
def test_a_family_that_changes_its_logits_behind_the_layer_is_left_as_it_is(config, model, told):
    torch.manual_seed(5)
    net = model(config(**SHAPE, **told))
    before = net.forward
    assert not give_loss_head(net)
    assert net.forward == before


@pytest.mark.parametrize("other", ["model.norm", "lm_head"])
def test_under_autocast_a_norm_or_an_output_layer_may_be_of_another_precision(other):
    """Some norms are computed in float32, and an output layer that is trained is kept in it."""
    torch.manual_seed(5)
    net = LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=False)).bfloat16()
    net.get_submodule(other).float()
    ids = torch.randint(1, 97, (2, 12))
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(input_ids=ids).logits[:, :-1].flatten(0, 1).float()
        expected = functional.cross_entropy(logits, ids[:, 1:].flatten(), reduction="sum")
    (right,) = gradients(expected, net.lm_head.weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert give_loss_head(net)
    with torch.autocast("cpu", torch.bfloat16):
        loss = net(input_ids=ids, targets=ids[:, 1:])
    (found,) = gradients(loss, net.lm_head.weight)
    torch.testing.assert_close(loss, expected, rtol=1e-3, atol=0)
    assert found.dtype == right.dtype
    torch.testing.assert_close(found, right, rtol=0.05, atol=0.05)
