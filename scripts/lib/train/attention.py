"""Attention within each of several conversations that lie end to end in one row, on a CPU.

The stock way masks a whole row against itself, so a row of 1,024 tokens costs 1,024 x 1,024 scores
even where it holds six short conversations; here the result is the same, without the mask and
without the work that it throws away.
"""

from typing import Any

import torch
from torch.nn import functional
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AttentionInterface,
    PretrainedConfig,
    PreTrainedModel,
)

SEGMENTS = "tunesmith_segments"

STOCK = ("sdpa", "eager")
PROBE = 8  # tokens of a conversation that is shown
UNSEEN = 1e-3  # of the largest logit: more than rounding, and far less than another conversation

# Families whose attention needs nothing beyond q, k, v and a scale; each is compared with the
# stock attention by a test. Others (soft caps, sinks, chunks) take the stock way.
SEGMENT_FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3", "smollm3"})


def choose_attention(config: PretrainedConfig, device: str) -> str:
    """Return the attention to load a model with: ours on a CPU where it is exact, else "sdpa".

    Models that have it not (gpt-oss, whose scores have sinks) are loaded with "eager".

    Args:
        config: The model's configuration.
        device: "cpu" or "cuda".
    """
    text = config.get_text_config()
    layers = set(getattr(text, "layer_types", None) or ["full_attention"])
    sliding = getattr(text, "sliding_window", None) and getattr(text, "use_sliding_window", True)
    exact = text.model_type in SEGMENT_FAMILIES and layers == {"full_attention"} and not sliding
    if device != "cpu" or not exact:
        known = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
        return "sdpa" if getattr(known, "_supports_sdpa", True) else "eager"
    AttentionInterface.register(SEGMENTS, segment_attention)
    return SEGMENTS


def keeps_apart(model: PreTrainedModel) -> bool:
    """Tell whether conversations that lie end to end in one row do not see each other.

    Transformers tells them apart by positions that begin anew, and not in every family: gpt-oss and
    those without rotary positions are not given these for their masks.

    Args:
        model: The base, loaded; its own attention is known to keep them apart.
    """
    empty = any(weight.is_meta for weight in model.parameters())  # sharded: another process looks
    if model.config._attn_implementation not in STOCK or empty:
        return True
    size = model.config.get_text_config().vocab_size
    first, other, last = torch.arange(3 * PROBE, device=model.device).remainder(size).split(PROBE)
    positions = torch.arange(PROBE, device=model.device).repeat(2)[None]
    training = model.training
    model.eval()
    with torch.no_grad():
        one, two = (
            model(
                input_ids=torch.cat([start, last])[None], position_ids=positions, use_cache=False
            ).logits[0, PROBE:]
            for start in (first, other)
        )
    model.train(training)
    return bool((one - two).abs().max() <= UNSEEN * one.abs().max())


def segment_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend causally within each segment of one row.

    Args:
        module: The attention layer; tells how many query heads share a key head.
        query: (1, heads, tokens, head_dim).
        key: (1, key_heads, tokens, head_dim).
        value: (1, key_heads, tokens, head_dim).
        attention_mask: Not used: the boundaries say everything.
        cu_seq_lens_q: Where segments begin, and the end: (segments + 1,), int32. It has no
            default, so that a batch without boundaries fails instead of leaking.
        scaling: Factor of the scores; None means 1 / sqrt(head_dim).
        dropout: Probability to drop a score.

    Returns:
        The attended values (1, tokens, heads, head_dim), and None in place of the scores.
    """
    groups = int(getattr(module, "num_key_value_groups", 1))
    if groups > 1:  # measured: faster on a CPU than letting the kernel share the heads
        key = key.repeat_interleave(groups, dim=1)
        value = value.repeat_interleave(groups, dim=1)
    lengths = cu_seq_lens_q.diff().tolist()
    parts = [
        functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scaling, dropout_p=dropout
        )
        for q, k, v in zip(
            query.split(lengths, dim=2),
            key.split(lengths, dim=2),
            value.split(lengths, dim=2),
            strict=True,
        )
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None
