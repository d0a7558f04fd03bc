"""FSDP2: weights, gradients and the optimizer's state of a model shared out among processes.

Each process holds a part of every weight, and has a layer whole only while it computes with it.
What is saved in the end is saved from a model that is whole again, by the first process.
"""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from peft import get_peft_model
from safetensors import safe_open
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from scripts.lib.machine.device import compute_device
from scripts.lib.train.callbacks import say
from scripts.lib.train.memory import WHOLE_SHARE
from scripts.lib.train.micro_batch import world_size
from scripts.lib.train.tuning import Tuning

# Whole state dicts: a checkpoint is read by any number of processes. Weights are loaded by each
# process, since an adapter's start and new rows are computed from them.
FSDP: Mapping[str, Any] = {
    "version": 2,
    "state_dict_type": "FULL_STATE_DICT",
    "cpu_ram_efficient_loading": False,
}


def can_shard() -> bool:
    """Return whether accelerate shares models out on this device: it does on GPUs."""
    return compute_device() == "cuda"


def is_sharded(wished: bool, needed: int) -> bool:
    """Return whether a training shares its model out, and say why where nobody asked for it.

    Args:
        wished: Whether the job was told to.
        needed: Bytes of a device that a process takes which has the whole model, whatever the
            micro batch; 0 where the model cannot be shared out.
    """
    if world_size() == 1:
        return False
    if not can_shard():
        if wished:
            say("fsdp=1 is for GPUs: here each process holds the whole model")
        return False
    if wished:
        return True
    there = min(gather_object([card_bytes()]))  # processes must agree
    if needed <= WHOLE_SHARE * there:
        return False
    say(
        f"the {needed / 2**30:.0f} GiB that this training takes at least do not fit one GPU of"
        f" {there / 2**30:.0f} GiB beside what computing takes: the model is shared out among the"
        " processes (FSDP2)"
    )
    return True


def card_bytes() -> int:
    """Return the memory of this process's GPU."""
    return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)


def weights_in(model: Path) -> int:
    """Return how many numbers the weight files in a folder hold, without reading them."""
    count = 0
    for file in model.glob("*.safetensors"):
        with safe_open(file, framework="pt") as weights:
            names = weights.keys()
            count += sum(math.prod(weights.get_slice(name).get_shape()) for name in names)
    return count


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
