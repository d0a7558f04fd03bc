"""Attention within each of several conversations that lie end to end in one row.

The stock way masks a whole row against itself, so a row of 1,024 tokens costs 1,024 x 1,024 scores
even where it holds six short conversations; here the result is the same, without the mask and
without the work that it throws away (`scripts.lib.attention.kernels`).
"""

from typing import Any

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AttentionInterface,
    PretrainedConfig,
    PreTrainedModel,
)

from scripts.lib.attention.families import UNTOLD, drops_scores, is_plain, window_of
from scripts.lib.attention.kernels import Segments
from scripts.lib.attention.selection import KERNELS, kernels_for

SEGMENTS = "tunesmith_segments"

STOCK = ("sdpa", "eager")
PROBE = 8  # tokens of a conversation that is shown
UNSEEN = 1e-3  # of the largest logit: more than rounding, and far less than another conversation


def choose_attention(config: PretrainedConfig, device: str, dtype: str) -> str:
    """Return the attention to load a model with: ours where it is exact, else "sdpa".

    Models that have it not (gpt-oss, whose scores have sinks) are loaded with "eager".

    Args:
        config: The model's configuration.
        device: "cpu" or "cuda".
        dtype: What is computed in, on a GPU by autocast.
    """
    told = config.get_text_config(decoder=True).model_type not in UNTOLD
    exact = told and is_plain(config) and window_of(config) is None
    if device != "cpu" and drops_scores(config):
        exact = False
    if exact and kernels_for(config, torch.device(device), getattr(torch, dtype), gradients=True):
        return SEGMENTS
    known = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    return "sdpa" if getattr(known, "_supports_sdpa", True) else "eager"


def stated_attention(model: PreTrainedModel) -> str:
    """Return what a training says of the attention that it computed with."""
    chosen = str(model.config._attn_implementation)
    return KERNELS[model.device.type].name if chosen == SEGMENTS else chosen


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
    max_length_q: int,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend causally within each segment of one row; the form is transformers'.

    Args:
        module: The attention layer.
        query: (1, heads, tokens, head_dim).
        key: (1, key_heads, tokens, head_dim).
        value: (1, key_heads, tokens, head_dim).
        attention_mask: Not used: the boundaries say everything.
        cu_seq_lens_q: Where segments begin, and the end: (segments + 1,), int32. It has no
            default, so that a batch without boundaries fails instead of leaking.
        max_length_q: Tokens of the longest segment.
        scaling: Factor of the scores; None means 1 / sqrt(head_dim).
        dropout: Probability to drop a score.

    Returns:
        The attended values (1, tokens, heads, head_dim), and None in place of the scores.
    """
    segments = Segments(cu_seq_lens_q, max_length_q)
    kernels = KERNELS[query.device.type]
    attended = kernels.within(query, key, value, segments, scaling, dropout)
    return attended.transpose(1, 2).contiguous(), None


AttentionInterface.register(SEGMENTS, segment_attention)
