"""What a fine-tune leaves behind, in bytes that do not depend on where or when it ran."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from scripts.lib.adapters.lora import ADAPTER_CONFIG, ADAPTER_WEIGHTS, ANSWERS_FILE
from scripts.lib.train.callbacks import LOSSES, is_loss

HISTORY_POINTS = 200  # enough to draw a curve; longer runs are averaged down to it


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


def write_records(
    out: Path,
    history: Sequence[Mapping[str, Any]],
    answers: Sequence[Mapping[str, Any]],
    verdict: Mapping[str, Any],
) -> None:
    """Write what a training says of itself; without answers there is no file of them."""
    lines = [json.dumps(event, allow_nan=False) for event in history]
    (out / "history.jsonl").write_text("\n".join(lines) + "\n")
    if answers:
        lines = [json.dumps(answer, ensure_ascii=False) for answer in answers]
        (out / ANSWERS_FILE).write_text("\n".join(lines) + "\n")
    (out / "verdict.json").write_text(json.dumps(verdict, indent=1) + "\n")


def thin(log: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the trainer's log as history events, at most HISTORY_POINTS of them for training.

    A longer log is averaged over equal windows of steps, each told at its last step. A figure that
    is no number becomes None, since JSON has no word for it.
    """
    steps = [entry for entry in log if "loss" in entry]
    window = max(1, math.ceil(len(steps) / HISTORY_POINTS))
    events = [_evaluation(one) for one in log if any(map(is_loss, one)) and "loss" not in one]
    for start in range(0, len(steps), window):
        part = steps[start : start + window]
        events.append({**part[-1], "loss": fmean(entry["loss"] for entry in part)})
    kept = ("step", "epoch", *LOSSES, "learning_rate", "grad_norm")
    chosen: list[dict[str, Any]] = [
        {key: _finite(event[key]) for key in kept if key in event} for event in events
    ]
    for event, source in zip(chosen, events, strict=True):
        if sets := source.get("set_losses"):
            event["set_losses"] = {name: _finite(loss) for name, loss in sets.items()}
    return sorted(chosen, key=lambda event: (event["step"], "loss" not in event))


def _evaluation(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of the log with the losses on other sets than the run's own by name."""
    keys = [key for key in entry if is_loss(key) and key not in LOSSES]
    named = {key.removeprefix("valid_").removesuffix("_loss"): entry[key] for key in keys}
    return {**entry, "set_losses": named}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
