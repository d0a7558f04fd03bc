"""FSDP2: weights, gradients and the optimizer's state of a model shared out among processes.

Each process holds a part of every weight, and has a layer whole only while it computes with it.
What is saved in the end is saved from a model that is whole again, by the first process.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from scripts.lib.machine.device import compute_device
from scripts.lib.train.callbacks import say
from scripts.lib.train.micro_batch import world_size
from scripts.lib.train.tuning import Tuning

# Whole state dicts: a checkpoint is read by any number of processes. Weights are loaded by each
# process, since an adapter's start and new rows are computed from them.
FSDP: Mapping[str, Any] = {
    "version": 2,
    "state_dict_type": "FULL_STATE_DICT",
    "cpu_ram_efficient_loading": False,
}
ROOM = 0.8  # of a card's memory, for weights alone; the rest is for what computing takes


def can_shard() -> bool:
    """Return whether accelerate shares models out on this device: it does on GPUs."""
    return compute_device() == "cuda"


def is_sharded(wished: bool, model: Path) -> bool:
    """Return whether a training shares its model out, and say why where nobody asked for it.

    Args:
        wished: Whether the job was told to.
        model: Folder of the base.
    """
    if world_size() == 1:
        return False
    if not can_shard():
        if wished:
            say("fsdp=1 is for GPUs: here each process holds the whole model")
        return False
    if wished:
        return True
    needed = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    there = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0
    if needed <= ROOM * there:
        return False
    say(
        f"the model's {needed / 2**30:.0f} GiB do not fit one GPU of {there / 2**30:.0f} GiB beside"
        " what training takes: it is shared out among the processes (FSDP2)"
    )
    return True


def trained_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return what is trained, by name, whole and in main memory; all processes take part."""
    names = [name for name, weight in model.named_parameters() if weight.requires_grad]
    state = model.state_dict()
    whole = {}
    for name in names:
        tensor = state[name].detach()
        tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        whole[name] = tensor.cpu().contiguous()
    return whole


def whole_model(
    tuning: Tuning,
    folder: Path,
    sharded: PreTrainedModel,
    weights: Mapping[str, torch.Tensor],
    tokens: Sequence[int],
    known: int,
) -> PreTrainedModel:
    """Return the trained model as one process would have it.

    Args:
        tuning: What is trained, and how.
        folder: Folder of the base.
        sharded: The model that is shared out, for the shape of its adapter.
        weights: What was trained, from `trained_weights`.
        tokens: Ids of tokens that are new to the base.
        known: Ids of the tokenizer.
    """
    base = tuning.load(folder)
    if tuning.adapter(base, tokens, known) is not None:
        base = get_peft_model(base, deepcopy(sharded.peft_config["default"]))
    base.load_state_dict(weights, strict=False)
    return base
