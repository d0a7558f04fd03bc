"""Models for benchmarks of speed: a known shape, random weights made on the device itself.

    folder = make_folder(tokenizer_folder, work / "model", LLAMA_3_8B)
    tell_sizes(folder, torch.bfloat16)  # for what looks at files before it loads
    model = build(folder, torch.bfloat16, "cuda")

Nothing is downloaded and no gigabytes pass through a disk; how fast a model is does not depend on
what its weights say. The tokenizer is that of any folder, and the vocabulary is padded to the
shape's: a product with the output layer takes what it takes in the real model.
"""

import json
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaConfig

CONTEXT = 8192

LLAMA_3_8B: Mapping[str, int] = MappingProxyType(
    {
        "vocab_size": 128_256,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    }
)
"""https://arxiv.org/abs/2407.21783, table 3."""

TINY: Mapping[str, int] = MappingProxyType(
    {
        "vocab_size": 512,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
)

_SEED = 0
_STORED = {torch.float32: "F32", torch.bfloat16: "BF16"}


def make_folder(tokenizer_folder: Path, folder: Path, shape: Mapping[str, int]) -> Path:
    """Write config and tokenizer of a Llama of *shape*, without weights, and return *folder*.

    Args:
        tokenizer_folder: A model's folder, whose tokenizer is copied.
        folder: Made anew.
        shape: Sizes by the names of Llama's config; the vocabulary is at least the tokenizer's.
    """
    folder.mkdir(parents=True)
    for file in tokenizer_folder.iterdir():
        if file.is_file() and file.suffix in (".json", ".txt", ".jinja", ".model"):
            shutil.copy(file, folder / file.name)
    for stale in folder.glob("*.index.json"):
        stale.unlink()
    told = folder / "tokenizer_config.json"
    told.write_text(json.dumps({**json.loads(told.read_text()), "model_max_length": CONTEXT}))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    sizes = {**shape, "vocab_size": max(shape["vocab_size"], len(tokenizer))}
    config = LlamaConfig(
        **sizes,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
        rms_norm_eps=1e-5,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        architectures=["LlamaForCausalLM"],
    )
    config.save_pretrained(folder)
    return folder


def build(folder: Path, dtype: torch.dtype, device: str, attention: str = "sdpa") -> Any:
    """Return the model of *folder* with random weights, the same ones each time on one device.

    Args:
        folder: From `make_folder`.
        dtype: Of its weights.
        device: Where they are made.
        attention: By transformers' name.
    """
    torch.manual_seed(_SEED)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(
            AutoConfig.from_pretrained(folder), dtype=dtype, attn_implementation=attention
        )
    return model.eval()


def tell_sizes(folder: Path, dtype: torch.dtype) -> None:
    """Write a file of weights whose header tells all of them, and whose rest is one hole.

    It takes no room on a disk, and is read as zeros.

    Args:
        folder: From `make_folder`.
        dtype: Of its weights.
    """
    header: dict[str, Any] = {}
    end = 0
    for name, weight in build(folder, dtype, "meta").named_parameters():
        start, end = end, end + weight.numel() * weight.element_size()
        stored = {"dtype": _STORED[dtype], "shape": list(weight.shape)}
        header[name] = {**stored, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(file.tell() + end)


def product_weights(model: Any) -> int:
    """Return how many weights of a Llama take part in a product for each token."""
    count = sum(weight.numel() for weight in model.parameters())
    return int(count - model.get_input_embeddings().weight.numel())
