"""Tiny random language models of the architectures that people fine-tune.

Each has two layers, width 32 and the tokenizer of tests.tiny_model. The same kind and seed give the
same bytes. Weights are drawn wide enough that every prompt has an answer of its own.

Try it: python -m tests.tiny_architectures mixtral FOLDER
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.tiny_model import make_tokenizer

WIDTH, LAYERS, HEADS, POSITIONS = 32, 2, 4, 512
# Attention that is grouped, and an MLP wider than the model: a mixed-up shape cannot go unseen.
DECODER = {
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "max_position_embeddings": POSITIONS,
}
SPREAD = {"initializer_range": 0.2}


def _llama_tied(common: dict[str, Any]):
    from transformers import LlamaConfig

    return LlamaConfig(**DECODER, **SPREAD, **common, tie_word_embeddings=True)


def _llama_untied(common: dict[str, Any]):
    from transformers import LlamaConfig

    return LlamaConfig(**DECODER, **SPREAD, **common, tie_word_embeddings=False)


def _qwen2(common: dict[str, Any]):
    """Qwen 2 has biases in its attention."""
    from transformers import Qwen2Config

    return Qwen2Config(**DECODER, **SPREAD, **common, tie_word_embeddings=True)


def _qwen3(common: dict[str, Any]):
    """Qwen 3 normalises queries and keys."""
    from transformers import Qwen3Config

    return Qwen3Config(**DECODER, **SPREAD, **common, head_dim=8, tie_word_embeddings=False)


def _gpt2(common: dict[str, Any]):
    """GPT-2 stores its linear weights transposed, and ties its embeddings."""
    from transformers import GPT2Config

    return GPT2Config(
        **SPREAD, **common, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=POSITIONS
    )


def _gpt_neox(common: dict[str, Any]):
    """GPT-NeoX (Pythia) has one weight for queries, keys and values."""
    from transformers import GPTNeoXConfig

    sizes = {name: size for name, size in DECODER.items() if name != "num_key_value_heads"}
    return GPTNeoXConfig(**sizes, **SPREAD, **common, tie_word_embeddings=False)


def _gemma2(common: dict[str, Any]):
    """Gemma 2 caps its logits and looks back over a window in every other layer."""
    from transformers import Gemma2Config

    return Gemma2Config(**DECODER, **SPREAD, **common, head_dim=8, sliding_window=16)


def _gemma3(common: dict[str, Any]):
    """Gemma 3, the model of text only."""
    from transformers import Gemma3TextConfig

    layers = ["sliding_attention", "full_attention"]
    return Gemma3TextConfig(
        **DECODER, **SPREAD, **common, head_dim=8, sliding_window=16, layer_types=layers
    )


def _mixtral(common: dict[str, Any]):
    """Mixtral has four experts, of which two answer."""
    from transformers import MixtralConfig

    return MixtralConfig(**DECODER, **SPREAD, **common, num_local_experts=4, num_experts_per_tok=2)


def _qwen3_moe(common: dict[str, Any]):
    """Qwen 3 with four experts, of which two answer."""
    from transformers import Qwen3MoeConfig

    return Qwen3MoeConfig(
        **DECODER,
        **SPREAD,
        **common,
        head_dim=8,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
    )


def _gpt_oss(common: dict[str, Any]):
    """gpt-oss stores its four experts fused and transposed, with biases of their own."""
    from transformers import GptOssConfig

    return GptOssConfig(
        **DECODER,
        **SPREAD,
        **common,
        head_dim=8,
        num_local_experts=4,
        num_experts_per_tok=2,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        layer_types=["full_attention", "full_attention"],
        tie_word_embeddings=False,
    )


CONFIGS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "llama_tied": _llama_tied,
    "llama_untied": _llama_untied,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "gpt2": _gpt2,
    "gpt_neox": _gpt_neox,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "mixtral": _mixtral,
    "qwen3_moe": _qwen3_moe,
    "gpt_oss": _gpt_oss,
}
KINDS = tuple(CONFIGS)


def make_architecture(
    kind: str, folder: Path, *, seed: int = 0, dtype: str = "bfloat16", **save_options: Any
) -> Path:
    """Write a random model of *kind* to *folder* and return it.

    Args:
        kind: One of KINDS.
        folder: Where config, weights and tokenizer go; made when absent.
        seed: Seed of the random weights.
        dtype: How the weights are stored, as torch names it.
        save_options: For `save_pretrained`, as `max_shard_size="20KB"` for several weight files.
    """
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = make_tokenizer()
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    common = {name: getattr(tokenizer, name) for name in names} | {"vocab_size": len(tokenizer)}
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIGS[kind](common)).to(getattr(torch, dtype))
    _stir_vectors(model)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, **save_options)
    tokenizer.save_pretrained(folder)
    return folder


def _stir_vectors(model) -> None:
    """Give biases and norms random values: from_config leaves zeros and ones, where bugs hide."""
    import torch

    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data.add_(torch.randn_like(parameter) * 0.1)


if __name__ == "__main__":
    make_architecture(sys.argv[1], Path(sys.argv[2]))
