"""Fine-tune a LoRA adapter on a frozen base.

train_adapter(spec, model, shards, out, scratch=scratch, threads=8, micro_batch=None)
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import PartialState
from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from scripts.lib.adapters.lora import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    PROMPTS_FILE,
    changes_base,
)
from scripts.lib.machine.device import compute_device
from scripts.lib.train.continuing import load_start, started_config
from scripts.lib.train.eva import start_from_inputs
from scripts.lib.train.loop import LoopSpec
from scripts.lib.train.lora_config import check_modules, give_rows, lora_config
from scripts.lib.train.lora_size import adapter_of
from scripts.lib.train.loss_verdict import LossVerdict
from scripts.lib.train.memory import ITEM_BYTES, Adapter
from scripts.lib.train.mixture import Portion
from scripts.lib.train.model import arithmetic, load_base
from scripts.lib.train.model_size import ModelSize
from scripts.lib.train.sharding import weights_in
from scripts.lib.train.spec import TrainSpec, check_spec
from scripts.lib.train.training import fine_tune


def train_adapter(
    spec: TrainSpec,
    model: Path,
    shards: Path | Sequence[Path],
    out: Path,
    *,
    start: Path | None = None,
    **execution: Any,
) -> dict[str, Any]:
    """Train one adapter and write it, its history and its verdict to *out*; see `fine_tune`.

    Args:
        spec: What to train.
        model: Folder of the base model.
        shards: Folder of rendered shards, with `tokenizer/`; of a mixture one for each dataset.
        out: Empty folder for the results.
        start: Folder of an adapter to go on from, whose shape *spec* has; None for a new one.
        **execution: Keyword arguments of `fine_tune`.

    Returns:
        Facts of `fine_tune`.

    Raises:
        TrainingError: If spec, model and shards do not fit, memory does not suffice, or the job
            was told to end.
    """
    return fine_tune(LoraTuning(spec, start), model, shards, out, **execution)


@dataclass(frozen=True)
class LoraTuning:
    """An adapter is trained, and the base is not; see `Tuning`."""

    spec: TrainSpec
    start: Path | None = None

    @property
    def loop(self) -> LoopSpec:
        """How long, how fast and on what is trained."""
        return self.spec.training

    @property
    def mixture(self) -> Sequence[Portion]:
        """What is taken of each dataset; empty where all of one is."""
        return self.spec.mixture

    @property
    def arithmetic(self) -> str:
        """Dtype of the base, which is computed in."""
        return arithmetic(self.spec)

    @property
    def autocast(self) -> bool:
        """Only where it is cheap; on a CPU PEFT's own casts do."""
        return compute_device() == "cuda" and self.loop.dtype == "bfloat16"

    def adapter_on(self, size: ModelSize) -> Adapter:
        """Return the adapter on a base of some size."""
        return adapter_of(asdict(self.spec.lora), size)

    @property
    def quantization(self) -> Literal["nf4"] | None:
        """Of the base."""
        return self.spec.quantization

    def check(self, model: Path, scratch: Path) -> None:
        """Refuse settings that cannot be trained with on this machine."""
        check_spec(self.spec)

    def kept_bytes(self, model: Path) -> int:
        """Return the bytes of the base's weights; the adapter is small beside them."""
        return 0 if self.spec.quantization else weights_in(model) * ITEM_BYTES[self.loop.dtype]

    def load(self, model: Path) -> PreTrainedModel:
        """Load the base in the spec's dtype, or quantised."""
        return load_base(self.spec, model)

    def adapter(self, base: PreTrainedModel, tokens: Sequence[int], known: int) -> LoraConfig:
        """Return the adapter; rows of new tokens are part of it."""
        if self.start:
            return started_config(self.spec, self.start, tokens)
        check_modules(self.spec.lora, base)
        return lora_config(self.spec, give_rows(base, self.spec, tokens, known), base)

    @property
    def remedies(self) -> Mapping[LossVerdict, str]:
        """Those that there are."""
        return {}

    def begin(
        self, model: PreTrainedModel, scratch: Path, batches: Sequence[Mapping[str, Any]]
    ) -> None:
        """Start from another adapter or from the rows, or keep a start that changed the base."""
        # Left to itself, PEFT would put the whole of an embedding that grew into each checkpoint.
        model.save_pretrained = partial(model.save_pretrained, save_embedding_layers=False)
        if self.start:
            load_start(model, self.start)
            return
        if self.spec.lora.init == "eva":
            start_from_inputs(model, batches)
        if changes_base(self.spec.lora.init) and PartialState().is_main_process:
            model.save_pretrained(scratch / "initial")

    def kept(self, model: PreTrainedModel) -> dict[str, torch.Tensor]:
        """Return the adapter."""
        found: dict[str, torch.Tensor] = get_peft_model_state_dict(
            model, save_embedding_layers=False
        )
        return found

    def put_back(self, model: PreTrainedModel, kept: Mapping[str, torch.Tensor]) -> None:
        """Put an adapter back."""
        set_peft_model_state_dict(model, kept)

    def save(
        self, model: PreTrainedModel, base: Path, scratch: Path, out: Path, prompts: Sequence[Any]
    ) -> dict[str, Any]:
        """Write the adapter, and what its merge is proved on."""
        changed = not self.start and changes_base(self.spec.lora.init)
        initial = scratch / "initial" if changed else None
        save_adapter(model, base.name, out, initial)
        (out / PROMPTS_FILE).write_text(json.dumps(prompts) + "\n")
        return {}


def save_adapter(model: PeftModel, base_name: str, out: Path, initial: Path | None) -> None:
    """Write adapter_config.json and adapter_model.safetensors, the same bytes in each process.

    Args:
        model: The trained model.
        base_name: Name of the base model's folder.
        out: Where to write.
        initial: The adapter before training, for starts that changed the base's weights; what is
            written is then an ordinary adapter of twice the rank to the unchanged base.
    """
    model.save_pretrained(out, save_embedding_layers=False)
    (out / "README.md").unlink()
    file = out / ADAPTER_CONFIG
    config = json.loads(file.read_text())
    config["base_model_name_or_path"] = base_name
    # PEFT holds the names in sets, whose order changes from process to process.
    for key in ("target_modules", "exclude_modules", "target_parameters"):
        if isinstance(config[key], list):
            config[key].sort()
    if initial:
        config = _to_plain_lora(config, out / ADAPTER_WEIGHTS, initial / ADAPTER_WEIGHTS)
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _to_plain_lora(config: Mapping[str, Any], trained: Path, initial: Path) -> dict[str, Any]:
    """Rewrite *trained* as what training added, and return the config that goes with it.

    A start like PiSSA's takes B0 A0 out of the base, which trains as W - B0 A0 + B A. On the
    unchanged W that is the update B A - B0 A0, or [B, -B0] [A; A0]: an ordinary adapter of twice
    the rank (PiSSA: https://arxiv.org/abs/2404.02948).
    """
    after, before = load_file(trained), load_file(initial)
    for name in after:
        if ".lora_A." in name:
            after[name] = torch.cat([after[name], before[name]], dim=0)
        elif ".lora_B." in name:
            after[name] = torch.cat([after[name], -before[name]], dim=1)
    save_file(after, trained, metadata={"format": "pt"})
    # The scale, alpha / r or alpha / sqrt(r), stays what it was.
    growth = math.sqrt(2) if config["use_rslora"] else 2
    ranks = {name: 2 * rank for name, rank in config["rank_pattern"].items()}
    alphas = {name: growth * alpha for name, alpha in config["alpha_pattern"].items()}
    return {
        **config,
        **{"r": 2 * config["r"], "lora_alpha": growth * config["lora_alpha"]},
        **{"rank_pattern": ranks, "alpha_pattern": alphas, "init_lora_weights": True},
    }
