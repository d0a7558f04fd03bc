import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from scripts.lib.train.memory import OPTIMIZER_BYTES, activation_bytes, training_bytes
from scripts.lib.train.optimization import OPTIMIZERS

SHAPE = {"hidden_size": 128, "intermediate_size": 384}
LAYERS, VOCABULARY, TOKENS = 4, 512, 256


def make_model():
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4}
    config = LlamaConfig(
        **SHAPE, **heads, num_hidden_layers=LAYERS, vocab_size=VOCABULARY, attention_dropout=0.0
    )
    config._attn_implementation = "sdpa"
    return LlamaForCausalLM(config)


def bytes_of(tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def test_the_fixed_part_is_what_weights_gradients_and_adamw_hold():
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters())
    model(input_ids=torch.zeros(1, 8, dtype=torch.long)).logits.sum().backward()
    optimizer.step()
    parameters = list(model.parameters())
    states = [v for s in optimizer.state.values() for k, v in s.items() if k != "step"]
    held = bytes_of([*parameters, *(p.grad for p in parameters), *states])
    count = sum(p.numel() for p in parameters)
    assert training_bytes(trainable=count, dtype="float32").fixed == held
    # Mixed precision keeps its copies beside that.
    assert training_bytes(trainable=count, dtype="bfloat16").fixed == held + 2 * count


def test_an_adapter_costs_sixteen_bytes_a_parameter_beside_its_frozen_base():
    need = training_bytes(trainable=1000, frozen=10**6, dtype="bfloat16")
    assert need.fixed == 2 * 10**6 + 1000 * (4 + 2 + 4 + 8)
    small = training_bytes(
        trainable=0, frozen=10**6, dtype="bfloat16", quantization="nf4", unquantized=10**5
    )
    assert 0.85 * 10**6 < small.fixed < 0.9 * 10**6


def test_processes_that_share_hold_a_part_each():
    whole = training_bytes(trainable=8000, dtype="bfloat16", activations=100)
    part = training_bytes(trainable=8000, dtype="bfloat16", activations=100, shares=8)
    assert (part.fixed * 8, part.activations) == (whole.fixed, 100)


@pytest.mark.parametrize("recomputed", [False, True])
def test_activations_are_told_to_within_a_third(recomputed):
    model = make_model()
    own = {parameter.data_ptr() for parameter in model.parameters()}
    if recomputed:
        model.activation_checkpointing_enable()
        model.train()
    kept = {}

    def note(tensor):
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(input_ids=torch.zeros(1, TOKENS, dtype=torch.long))
    told = activation_bytes(
        TOKENS,
        **SHAPE,
        layers=LAYERS,
        vocabulary=VOCABULARY,
        dtype="float32",
        recomputed=recomputed,
    )
    # Logits in float32, and the one layer that is recomputed, are not among what is saved here.
    if recomputed:
        told -= TOKENS * 4 * (10 * SHAPE["hidden_size"] + 4 * SHAPE["intermediate_size"])
    else:
        told -= 2 * TOKENS * VOCABULARY * 4
    assert sum(kept.values()) == pytest.approx(told, rel=1 / 3)


def test_the_state_of_every_optimizer_is_known():
    assert set(OPTIMIZER_BYTES) == set(OPTIMIZERS)


@pytest.mark.parametrize("name", ["adafactor", "sgd", "adagrad", "rmsprop"])
def test_states_of_what_torch_has_are_as_large_as_told(name):
    weight = torch.nn.Parameter(torch.randn(256, 256))
    kinds = {
        "adafactor": torch.optim.Adafactor,
        "sgd": torch.optim.SGD,
        "adagrad": torch.optim.Adagrad,
        "rmsprop": torch.optim.RMSprop,
    }
    optimizer = kinds[name]([weight])
    weight.sum().backward()
    optimizer.step()
    kept = bytes_of(value for value in optimizer.state[weight].values() if torch.is_tensor(value))
    assert kept == pytest.approx(weight.numel() * OPTIMIZER_BYTES[name], abs=0.02 * weight.nbytes)
