"""Models whose attention is softmax over queries, keys, values and a scale, and nothing more."""

from typing import Any

# Names of transformers (`model_type`, of the text where a model has more). A family is listed where
# a test compares packed rows with its own attention, never by its looks.
FAMILIES = frozenset(
    [
        "afmoe",
        "apertus",
        "arcee",
        "aria_text",
        "bitnet",
        "cohere",
        "cohere2",
        "cohere2_moe",
        "ctrl",
        "cwm",
        "dots1",
        "ernie4_5",
        "ernie4_5_moe",
        "exaone4",
        "exaone_moe",
        "flex_olmo",
        "gemma",
        "gemma3_text",
        "gemma3n_text",
        "gemma4_text",
        "glm",
        "glm4",
        "glm4_moe",
        "gpt2",
        "gpt_bigcode",
        "gpt_neox",
        "granite",
        "granitemoe",
        "granitemoeshared",
        "helium",
        "hunyuan_v1_dense",
        "hunyuan_v1_moe",
        "hy_v3",
        "hyperclovax",
        "internlm3",
        "iquestcoder",
        "jais2",
        "jetmoe",
        "kolibri1",
        "laguna",
        "llama",
        "mellum",
        "minimax_m2",
        "ministral",
        "ministral3",
        "mistral",
        "mixtral",
        "modernbert-decoder",
        "nanochat",
        "nemotron",
        "olmo",
        "olmo2",
        "olmo3",
        "olmoe",
        "opt",
        "persimmon",
        "phi",
        "phi3",
        "phimoe",
        "qwen2",
        "qwen2_moe",
        "qwen3",
        "qwen3_moe",
        "seed_oss",
        "smollm3",
        "solar_open",
        "starcoder2",
    ]
)

UNTOLD = frozenset({"nemotron"})
"""Families whose layers are not told where the conversations of a row end.

They are scored in packed rows, and trained with their own attention.
"""

_PLAIN_LAYERS = {"full_attention", "sliding_attention"}

# What families of the table call the share of scores that are dropped while training.
_DROPOUTS = ("attention_dropout", "attn_pdrop")


def is_plain(config: Any) -> bool:
    """Return whether a model's attention is of this kind, if no window is shorter than the text.

    Args:
        config: The model's.
    """
    text = config.get_text_config(decoder=True)
    return bool(
        text.model_type in FAMILIES
        and set(getattr(text, "layer_types", None) or ()) <= _PLAIN_LAYERS
        and getattr(text, "is_causal", True)
        and not getattr(text, "use_bidirectional_attention", False)
        and not getattr(text, "attn_logit_softcapping", None)
    )


def window_of(config: Any) -> int | None:
    """Return how many tokens back some layer looks at most, or None where all look at all.

    Args:
        config: The model's.
    """
    text = config.get_text_config(decoder=True)
    # Where a family knows no kinds of layers, a config that names some has its window all the same.
    kinds = getattr(text, "layer_types", None) if hasattr(type(text), "layer_types") else None
    if kinds and "sliding_attention" not in kinds:
        return None
    window: int | None = getattr(text, "sliding_window", None)
    return window


def drops_scores(config: Any) -> bool:
    """Return whether some scores are dropped while a model is trained.

    Args:
        config: The model's.
    """
    text = config.get_text_config(decoder=True)
    return any(getattr(text, name, 0) for name in _DROPOUTS)
