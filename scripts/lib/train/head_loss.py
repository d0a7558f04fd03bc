"""The cross entropy of trained positions, with logits of a part of them at a time.

    give_loss_head(model)
    total = model(input_ids=ids, targets=labels[:, 1:]).sum()  # in nats, over all targets

The logits of all positions are the largest tensor of a training: 2,048 tokens times a vocabulary of
128,256 in float32 are 1 GiB, and the backward pass needs as much again. Here only positions with a
target meet the output layer, as many of them at a time as LOGIT_BYTES hold, and each part's
gradients are computed with its loss, so that no logits are kept and none are computed twice (as
Liger does it, https://arxiv.org/abs/2410.10989). The arithmetic is that of
`functional.cross_entropy` over the logits in float32.
"""

import functools
import types
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional
from transformers import PreTrainedModel

from scripts.lib.train.memory import positions_at_once
from scripts.lib.train.shards import IGNORED

PROBE = 8  # tokens that are shown to see whether logits are what the output layer makes of them
LOUD = 1024.0  # times the logits, so that a cap shows on those of any size; exact in any precision
EXACT = 1e-3  # of the largest logit: more than rounding, and less than any scale or cap changes


def give_loss_head(model: PreTrainedModel) -> bool:
    """Let a model compute the loss of `targets`, if its logits are its output layer's and no more.

    Families that scale or cap logits behind that layer are left as they are, and so are models
    whose weights are not here.

    Args:
        model: Without what PEFT puts around it.

    Returns:
        Whether `model(..., targets=(rows, tokens - 1), scale=s, smoothing=e)` gives the loss of
        `summed_loss` over the targets that are not IGNORED.
    """
    if not _is_plain(model):
        return False
    original = model.forward

    # The signature stays: `generate` and the trainer look at it.
    @functools.wraps(type(model).forward)
    def forward(self: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:
        if "targets" not in kwargs:
            return original(*args, **kwargs)
        targets, scale = kwargs.pop("targets"), kwargs.pop("scale", 1.0)
        smoothing = kwargs.pop("smoothing", 0.0)
        kwargs.pop("labels", None)
        kwargs["use_cache"] = False
        hidden = self.base_model(*args, **kwargs).last_hidden_state[:, :-1]
        trained = targets != IGNORED
        return summed_loss(
            hidden[trained],
            self.get_output_embeddings(),
            targets[trained],
            scale=scale,
            smoothing=smoothing,
        )

    model.forward = types.MethodType(forward, model)
    return True


def _is_plain(model: PreTrainedModel) -> bool:
    head = model.get_output_embeddings()
    weight = getattr(head, "weight", None)
    if weight is None or weight.dim() != 2 or not weight.is_floating_point():
        return False
    if any(parameter.is_meta for parameter in model.parameters()):
        return False
    ids = torch.arange(PROBE, device=weight.device)[None]
    ends = torch.tensor([0, PROBE], dtype=torch.int32, device=weight.device)
    shown = {
        "input_ids": ids.remainder(weight.shape[0]),
        "position_ids": ids,
        **dict.fromkeys(("cu_seq_lens_q", "cu_seq_lens_k"), ends),
        **dict.fromkeys(("max_length_q", "max_length_k"), PROBE),
        "use_cache": False,
    }
    training = model.training
    model.eval()
    louder = head.register_forward_hook(lambda _, __, logits: LOUD * logits)
    with torch.no_grad():
        logits = model(**shown).logits
        hidden = model.base_model(**shown).last_hidden_state
        # Autocast casts both, as of a norm that is kept or computed in float32.
        fit = hidden.dtype == weight.dtype or torch.is_autocast_enabled(hidden.device.type)
        plain = fit and hidden.shape[-1] == weight.shape[1]
        made = functional.linear(hidden, weight, getattr(head, "bias", None)) if plain else None
    louder.remove()
    model.train(training)
    if made is None or made.shape != logits.shape:
        return False
    return bool((LOUD * made - logits).abs().max() <= EXACT * logits.abs().max())


def summed_loss(
    hidden: torch.Tensor,
    head: torch.nn.Module,
    targets: torch.Tensor,
    *,
    scale: torch.Tensor | float = 1.0,
    smoothing: float = 0.0,
    at_once: int | None = None,
) -> torch.Tensor:
    """Return the summed negative log-likelihood of *targets*, in float32.

    Args:
        hidden: What the output layer reads at trained positions: (positions, width).
        head: The output layer, with `weight` (vocabulary, width), and `bias` or None.
        targets: Ids of the tokens that come next: (positions,).
        scale: What the sum will be multiplied by. Gradients are computed at that scale, as they
            are where the loss is one graph; another factor is as right, but for last bits.
        smoothing: Share of the target that is spread over the vocabulary.
        at_once: Positions that meet the output layer at once; None for what memory may hold.
    """
    weight, bias = head.weight, getattr(head, "bias", None)
    size = at_once or positions_at_once(weight.shape[0], hidden.device.type)
    scale = torch.as_tensor(scale, dtype=torch.float32, device=hidden.device)
    if torch.is_grad_enabled() and any(
        one is not None and one.requires_grad for one in (hidden, weight, bias)
    ):
        total: torch.Tensor = _SummedLoss.apply(
            hidden, weight, bias, targets, scale, smoothing, size
        )
        return total
    total = hidden.new_zeros((), dtype=torch.float32)
    weight, bias = _in_precision(hidden, weight, bias)
    for part, wanted in zip(hidden.split(size), targets.split(size), strict=True):
        total = total + _loss(part.to(weight.dtype), weight, bias, wanted, smoothing)
    return total


class _SummedLoss(torch.autograd.Function):  # type: ignore[misc]  # torch types it as Any
    """The sum and, in the same pass, its gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        scale: torch.Tensor,
        smoothing: float,
        size: int,
    ) -> torch.Tensor:
        """Add up the losses of the parts, and keep the gradients of hidden states and layer."""
        by_hidden, by_weight, by_bias = ctx.needs_input_grad[:3]
        used, added = _in_precision(hidden.detach(), weight.detach(), bias)
        used = used.detach().requires_grad_(by_weight)
        added = None if added is None else added.detach().requires_grad_(by_bias)
        kept: dict[str, Any] = {
            "hidden": torch.zeros_like(hidden) if by_hidden else None,
            "weight": torch.zeros_like(weight, dtype=torch.float32) if by_weight else None,
            "bias": torch.zeros_like(bias, dtype=torch.float32) if by_bias else None,
        }
        total = hidden.new_zeros((), dtype=torch.float32)
        starts = range(0, len(hidden), size)
        for start, wanted in zip(starts, targets.split(size), strict=False):
            part = hidden[start : start + size].detach().to(used.dtype).requires_grad_(by_hidden)
            with torch.enable_grad():
                loss = _loss(part, used, added, wanted, smoothing)
            asked = {"hidden": part, "weight": used, "bias": added}
            asked = {name: one for name, one in asked.items() if kept[name] is not None}
            found = torch.autograd.grad(loss, list(asked.values()), grad_outputs=scale)
            for name, gradient in zip(asked, found, strict=True):
                if name == "hidden":
                    kept[name][start : start + size] = gradient
                else:
                    kept[name] += gradient
            total += loss.detach()
        ctx.kept = tuple(kept.values())
        ctx.dtypes = hidden.dtype, weight.dtype, None if bias is None else bias.dtype
        ctx.scale = scale
        return total

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        """Return the kept gradients, times what the sum was multiplied by beside the scale."""
        factor = gradient / ctx.scale
        kept, ctx.kept = ctx.kept, None
        found = [
            None if one is None else one.mul_(factor).to(dtype)
            for one, dtype in zip(kept, ctx.dtypes, strict=True)
        ]
        return *found, None, None, None, None


def _in_precision(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the output layer in the precision that is computed in: autocast's, else its own."""
    device = hidden.device.type
    if not torch.is_autocast_enabled(device):
        return weight, bias
    dtype = torch.get_autocast_dtype(device)
    return weight.to(dtype), None if bias is None else bias.to(dtype)


def _loss(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    targets: torch.Tensor,
    smoothing: float,
) -> torch.Tensor:
    with torch.autocast(hidden.device.type, enabled=False):
        logits = functional.linear(hidden, weight, bias)
        return functional.cross_entropy(
            logits.float(), targets, reduction="sum", label_smoothing=smoothing
        )
