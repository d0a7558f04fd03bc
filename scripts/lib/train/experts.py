"""The experts of a mixture, which Transformers keeps fused: all of a layer in one parameter.

LoRA reaches them as parameters (`lora.target_parameters`) and not as modules, so that what is asked
of all linear layers leaves them as they are.
"""

import torch
from peft.tuners.lora.layer import ParamWrapper
from torch.nn.modules.conv import _ConvNd

DIMENSIONS = 3  # experts, outputs and inputs


def fused_experts(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Return the parameters of *model* that hold the weights of several experts, by name."""
    return {
        f"{name}.{own}".lstrip("."): weight
        for name, module in model.named_modules()
        if not isinstance(module, _ConvNd)
        for own, weight in module.named_parameters(recurse=False)
        if weight.ndim == DIMENSIONS and weight.is_floating_point()
    }


def untrained_experts(model: torch.nn.Module) -> int:
    """Return how many numbers of a model's fused experts neither train nor have an adapter."""
    reached = {
        id(module.get_param()) for module in model.modules() if isinstance(module, ParamWrapper)
    }
    return sum(
        weight.numel()
        for weight in fused_experts(model).values()
        if not weight.requires_grad and id(weight) not in reached
    )
