"""The base model as training loads it."""

from pathlib import Path
from typing import Any

import torch
from peft import prepare_model_for_kbit_training
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from scripts.lib.machine.device import compute_device, computes_bfloat16
from scripts.lib.train.attention import choose_attention
from scripts.lib.train.spec import TrainSpec


def load_base(spec: TrainSpec, model: Path) -> PreTrainedModel:
    """Load the base model; with nf4 its weights are quantised (bitsandbytes).

    Weights are rounded to the spec's dtype. Where that is bfloat16 and the device has no arithmetic
    for it, they are held and computed with in float32 all the same.

    The nf4 path follows the documentation of its libraries and has not been run, on a GPU or
    elsewhere. TRL keeps the adapter of a quantised model in bfloat16 while it trains.
    """
    config = AutoConfig.from_pretrained(model)
    dtype = getattr(torch, spec.training.dtype)
    options: dict[str, Any] = {
        "dtype": dtype,
        "attn_implementation": choose_attention(config, compute_device(), arithmetic(spec)),
    }
    if spec.quantization == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=spec.double_quantization,
            bnb_4bit_compute_dtype=dtype,
        )
    base = AutoModelForCausalLM.from_pretrained(model, **options)
    if spec.quantization == "nf4":
        # The trainer recomputes activations where memory asks for it, and says so.
        return prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)
    return base.to(getattr(torch, arithmetic(spec)))


def arithmetic(spec: TrainSpec) -> str:
    """Return the dtype that the base model is computed in."""
    return spec.training.dtype if spec.quantization or computes_bfloat16() else "float32"
