"""What a fine-tune leaves behind, in bytes that do not depend on where or when it ran."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from peft import PeftModel

from scripts.lib.train_loop import LOSSES

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
    model.save_pretrained(
        out,
        save_embedding_layers=False,
        path_initial_model_for_weight_conversion=str(initial) if initial else None,
    )
    (out / "README.md").unlink()
    file = out / "adapter_config.json"
    config = json.loads(file.read_text())
    config["base_model_name_or_path"] = base_name
    # PEFT holds the names in a set, whose order changes from process to process.
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def thin(log: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the trainer's log as history events, at most HISTORY_POINTS of them for training.

    A longer log is averaged over equal windows of steps, each told at its last step. A figure that
    is no number becomes None, since JSON has no word for it.
    """
    steps = [entry for entry in log if "loss" in entry]
    window = max(1, math.ceil(len(steps) / HISTORY_POINTS))
    events = [entry for entry in log if "valid_loss" in entry]
    for start in range(0, len(steps), window):
        part = steps[start : start + window]
        events.append({**part[-1], "loss": fmean(entry["loss"] for entry in part)})
    kept = ("step", "epoch", *LOSSES, "learning_rate", "grad_norm")
    chosen = [{key: _finite(event[key]) for key in kept if key in event} for event in events]
    return sorted(chosen, key=lambda event: (event["step"], "valid_loss" in event))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
