"""A Llama of any depth with random weights, and an adapter for it, written in little memory."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from peft import LoraConfig
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig

from scripts.lib.adapters.lora import ADAPTER_WEIGHTS
from scripts.lib.model_files import WEIGHTS_INDEX

WIDTH, MLP, KEYS, VOCABULARY = 2048, 8192, 512, 49152
SHARD_LAYERS = 4
RANK = 16
POOL = 1 << 25  # random numbers, from which each tensor takes a stretch: new ones take minutes
LINEAR = {
    "self_attn.q_proj": (WIDTH, WIDTH),
    "self_attn.k_proj": (KEYS, WIDTH),
    "self_attn.v_proj": (KEYS, WIDTH),
    "self_attn.o_proj": (WIDTH, WIDTH),
    "mlp.gate_proj": (MLP, WIDTH),
    "mlp.up_proj": (MLP, WIDTH),
    "mlp.down_proj": (WIDTH, MLP),
}


def write_model(folder: Path, layers: int) -> int:
    """Write a bfloat16 Llama of *layers* layers in shards; return its number of parameters."""
    folder.mkdir()
    LlamaConfig(
        hidden_size=WIDTH,
        intermediate_size=MLP,
        num_attention_heads=32,
        num_key_value_heads=8,
        num_hidden_layers=layers,
        vocab_size=VOCABULARY,
        tie_word_embeddings=False,
        architectures=["LlamaForCausalLM"],
        dtype="bfloat16",
    ).save_pretrained(folder)
    take = _Pool(torch.bfloat16, 0.02)
    places: dict[str, str] = {}
    parameters = 0
    shards = list(_shards(layers))
    for number, shapes in enumerate(shards, start=1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        tensors = {tensor: take(shape) for tensor, shape in shapes.items()}
        parameters += sum(tensor.numel() for tensor in tensors.values())
        save_file(tensors, folder / name, metadata={"format": "pt"})
        places |= dict.fromkeys(tensors, name)
    index = {"metadata": {"total_size": 2 * parameters}, "weight_map": places}
    (folder / WEIGHTS_INDEX).write_text(json.dumps(index))
    return parameters


def _shards(layers: int) -> Iterator[dict[str, tuple[int, ...]]]:
    """Yield the shapes of each shard's tensors."""
    yield {"model.embed_tokens.weight": (VOCABULARY, WIDTH), "model.norm.weight": (WIDTH,)}
    for first in range(0, layers, SHARD_LAYERS):
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(first, min(layers, first + SHARD_LAYERS)):
            prefix = f"model.layers.{layer}."
            shapes |= {f"{prefix}{name}.weight": shape for name, shape in LINEAR.items()}
            shapes[f"{prefix}input_layernorm.weight"] = (WIDTH,)
            shapes[f"{prefix}post_attention_layernorm.weight"] = (WIDTH,)
        yield shapes
    yield {"lm_head.weight": (VOCABULARY, WIDTH)}


class _Pool:
    """Random numbers, by stretches that start elsewhere each time."""

    def __init__(self, dtype: torch.dtype, scale: float) -> None:
        generator = torch.Generator().manual_seed(0)
        self._numbers = (torch.randn(POOL, generator=generator) * scale).to(dtype)
        self._place = 0

    def __call__(self, shape: tuple[int, ...]) -> torch.Tensor:
        size = int(torch.Size(shape).numel())
        self._place = (self._place + 7919) % POOL
        wrapped = torch.arange(self._place, self._place + size) % POOL if size > POOL else None
        if wrapped is not None:
            return self._numbers[wrapped].view(shape)
        start = min(self._place, POOL - size)
        return self._numbers[start : start + size].clone().view(shape)


def write_adapter(folder: Path, layers: int) -> None:
    """Write an adapter of rank 16 on every linear layer of the model of *layers* layers."""
    folder.mkdir()
    modules = sorted(name.partition(".")[2] for name in LINEAR)
    LoraConfig(
        r=RANK, lora_alpha=2 * RANK, target_modules=modules, task_type="CAUSAL_LM"
    ).save_pretrained(folder)
    take = _Pool(torch.float32, 0.05)
    tensors = {}
    for layer in range(layers):
        for name, (outputs, inputs) in LINEAR.items():
            prefix = f"base_model.model.model.layers.{layer}.{name}"
            tensors[f"{prefix}.lora_A.weight"] = take((RANK, inputs))
            tensors[f"{prefix}.lora_B.weight"] = take((outputs, RANK))
    save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    Tokenizer(WordLevel({"a": 0}, unk_token="a")).save(str(folder / "tokenizer.json"))
