import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from scripts.lib.train import memory
from scripts.lib.train.attention import choose_attention
from scripts.lib.train.head_loss import give_loss_head
from scripts.lib.train.lora_size import adapter_of
from scripts.lib.train.memory import (
    OPTIMIZER_BYTES,
    FineTune,
    positions_at_once,
    training_bytes,
)
from scripts.lib.train.model_size import ModelSize, widths_of
from scripts.lib.train.optimization import OPTIMIZERS

LAYERS, VOCABULARY, TOKENS = 4, 512, 256
SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "vocab_size": VOCABULARY,
    "attention_dropout": 0.0,
    "pad_token_id": 0,
}
FAMILIES = {
    "llama": (LlamaConfig, LlamaForCausalLM, {"num_key_value_heads": 4}),
    "smollm2": (
        LlamaConfig,
        LlamaForCausalLM,
        {"num_key_value_heads": 1, "tie_word_embeddings": True},
    ),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {"num_key_value_heads": 2}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"num_key_value_heads": 2, "head_dim": 32}),
}
ADAPTER = {
    "r": 16,
    "alpha": 32,
    "rank_pattern": {},
    "target_modules": "all-linear",
    "exclude_modules": None,
    "layers_to_transform": None,
    "modules_to_save": None,
    "target_parameters": None,
    "use_dora": False,
    "dropout": 0.0,
}


def make_model(family):
    torch.manual_seed(1)
    config, model, more = FAMILIES[family]
    shape = config(**SHAPE, **more)
    shape._attn_implementation = choose_attention(shape, "cpu", "float32")
    return model(shape)


def with_adapter(model, shape):
    config = LoraConfig(
        r=shape["r"],
        target_modules="all-linear",
        lora_dropout=shape["dropout"],
        use_dora=shape["use_dora"],
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def size_of(model):
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    return ModelSize(tensors=shapes, config=model.config.to_dict())


def bytes_of(tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def test_a_config_that_leaves_out_its_vocabulary_has_that_of_the_embedding():
    """As files of the hub do where it is what the family has by default."""
    told = size_of(make_model("smollm2"))
    config = {name: value for name, value in told.config.items() if name != "vocab_size"}
    assert widths_of(ModelSize(tensors=told.tensors, config=config)) == widths_of(told)


def test_the_fixed_part_is_what_weights_gradients_and_adamw_hold():
    model = make_model("llama")
    optimizer = torch.optim.AdamW(model.parameters())
    model.set_attn_implementation("sdpa")
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
    size = size_of(make_model("llama"))
    whole, part = (
        FineTune(size=size, adapter=None, dtype="bfloat16", optimizer="sgd", shares=shares).memory(
            64, 64, 0
        )
        for shares in (1, 8)
    )
    assert (part.fixed * 8, part.activations) == (whole.fixed, whole.activations)


TUNED = {
    "an adapter in bfloat16": ("bfloat16", {"dropout": 0.0}),
    "an adapter with dropout": ("bfloat16", {"dropout": 0.1}),
    "an adapter in float32": ("float32", {"dropout": 0.0}),
    "DoRA": ("bfloat16", {"dropout": 0.0, "use_dora": True}),
    "all weights in bfloat16": ("bfloat16", None),
    "all weights in float32": ("float32", None),
}


@pytest.mark.parametrize("tuned", TUNED)
@pytest.mark.parametrize("family", FAMILIES)
def test_activations_that_are_kept_are_never_more_than_told_and_told_within_a_half(family, tuned):
    """Counted: every tensor that autograd saves, as a GPU's arithmetic saves it (autocast)."""
    dtype, adapter = TUNED[tuned]
    model = make_model(family)
    shape = ADAPTER | adapter if adapter else None
    work = FineTune(
        size=size_of(model),
        adapter=adapter_of(shape, size_of(model)) if shape else None,
        dtype=dtype,
        optimizer="adamw_torch",
        device="cpu",
        autocast=dtype == "bfloat16",
    )
    assert give_loss_head(model)
    net = with_adapter(model.to(getattr(torch, dtype)), shape) if shape else model
    net.train()
    for recomputed in (0, 3, 2, 1):
        if recomputed:
            model.activation_checkpointing_enable(every_n_layers=recomputed)
        kept = bytes_kept(net, autocast=work.autocast)
        told = work.memory(TOKENS, TOKENS, recomputed).activations
        assert kept <= told <= 1.5 * kept, f"every {recomputed}: {told / kept:.2f} times"


def bytes_kept(net, *, autocast):
    """Return the bytes that a forward pass saves, weights and what they are cast to left out."""
    weights = {w.untyped_storage().data_ptr() for w in [*net.parameters(), *net.buffers()]}
    shapes = {tuple(w.shape) for w in net.parameters()}
    shapes |= {shape[::-1] for shape in shapes}
    kept, alive = {}, []

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and tuple(tensor.shape) not in shapes:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    ids = torch.arange(TOKENS)[None] % VOCABULARY
    ends = torch.tensor([0, 100, TOKENS], dtype=torch.int32)
    inputs = {
        "input_ids": ids,
        "position_ids": torch.cat([torch.arange(100), torch.arange(TOKENS - 100)])[None],
        **dict.fromkeys(("cu_seq_lens_q", "cu_seq_lens_k"), ends),
        **dict.fromkeys(("max_length_q", "max_length_k"), TOKENS - 100),
    }
    with (
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=autocast),
    ):
        net(**inputs, targets=ids[:, 1:])
    return sum(kept.values())


def test_a_pass_takes_more_with_more_tokens_and_less_the_more_is_recomputed():
    size = size_of(make_model("llama"))
    work = FineTune(size=size, adapter=adapter_of(ADAPTER, size), dtype="bfloat16", optimizer="sgd")
    told = [work.memory(tokens, 64, 2).total for tokens in (64, 128, 1024)]
    assert told == sorted(set(told))
    told = [work.memory(512, 64, recomputed).total for recomputed in (1, 2, 4, 0)]
    assert told == sorted(set(told))


def test_logits_are_told_as_a_part_of_them_however_long_the_rows(monkeypatch):
    monkeypatch.setitem(memory.__dict__, "LOGIT_BYTES", {"cuda": 100 * 16 * VOCABULARY})
    size = size_of(make_model("llama"))
    work = FineTune(size=size, adapter=adapter_of(ADAPTER, size), dtype="bfloat16", optimizer="sgd")
    assert work.memory(1, 1, 0).working < work.memory(100, 100, 0).working
    assert positions_at_once(VOCABULARY, "cuda") == 100


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
