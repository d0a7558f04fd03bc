"""One LoRA training, in a process of its own: ours, TRL's as it comes, or TRL's packed.

    python -m scripts.tools.training_contestants ours MODEL SHARDS WORK THREADS

All train one pass over the same rows with the same adapter, seed and learning rate, without
dropout. TRL as it comes pads eight rows to the longest and recomputes activations; TRL packed does
neither, holds its weights in the precision that is computed in, and lays its rows end to end
exactly as ours, so that the losses of its steps are comparable one by one. On a processor without
arithmetic for bfloat16 all three compute in float32: TRL's own choice would be several times slower
there, and no merit of ours. Prints one line of JSON: seconds and processor seconds of the steps,
their losses, the precision, peak memory.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoTokenizer, TrainerCallback
from transformers import trainer as transformers_trainer
from trl import SFTConfig, SFTTrainer

from scripts.lib.config.lora import Lora
from scripts.lib.config.runs import Run
from scripts.lib.config.training import Training
from scripts.lib.machine.device import computes_bfloat16
from scripts.lib.plan.adapters import tuning_spec
from scripts.lib.train.lora_tuning import train_adapter
from scripts.lib.train.shards import load_shards, shard_files
from scripts.lib.train.spec import TrainSpec
from scripts.tools.merge_contestants import peak_gib

MAX_LENGTH_TOKENS = 1024
PADDED_ROWS = 8  # of an optimiser step: TRL's own choice
PACKED_ROWS = 2  # about as many tokens, for rows of 200
RANK, ALPHA, LEARNING_RATE, SEED = 16, 32, 2e-4, 42


class Clock(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Times the steps of whatever trainer runs, and keeps its losses."""

    seconds = 0.0
    processor_seconds = 0.0
    losses: tuple[float, ...] = ()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start both clocks."""
        self._began = time.perf_counter(), time.process_time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Add what the step took, the optimiser's part included."""
        wall, processor = self._began
        Clock.seconds += time.perf_counter() - wall
        Clock.processor_seconds += time.process_time() - processor

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep the loss of a step."""
        if "loss" in state.log_history[-1]:
            Clock.losses += (state.log_history[-1]["loss"],)


def ours(model: Path, shards: Path, work: Path, threads: int) -> None:
    """Train as the training program does."""
    out, scratch = work / "adapter", work / "scratch"
    out.mkdir()
    train_adapter(_spec(), model, shards, out, scratch=scratch, threads=threads)


def trl(model: Path, shards: Path, work: Path, threads: int) -> None:
    """Train with TRL as it comes."""
    options = {"per_device_train_batch_size": PADDED_ROWS, "bf16": computes_bfloat16()}
    _theirs(model, shards, work, options)


def trl_packed(model: Path, shards: Path, work: Path, threads: int) -> None:
    """Train with TRL's packing, as fast as its options make it on a CPU."""
    options = {
        "per_device_train_batch_size": PACKED_ROWS,
        "packing": True,
        "model_init_kwargs": {"dtype": _precision()},
        "bf16": False,
        "gradient_checkpointing": False,
    }
    _theirs(model, shards, work, options)


CONTESTANTS: Mapping[str, Callable[[Path, Path, Path, int], None]] = {
    "trl": trl,
    "trl_packed": trl_packed,
    "ours": ours,
}


def _precision() -> str:
    return "bfloat16" if computes_bfloat16() else "float32"


def _spec() -> TrainSpec:
    run = Run(
        model="model",
        dataset="rows",
        lora=Lora(r=RANK, alpha=ALPHA, dropout=0.0),
        training=Training(
            epochs=1,
            learning_rate=LEARNING_RATE,
            scheduler="constant",
            warmup_ratio=0.0,
            batch_size=PACKED_ROWS,
            max_length_tokens=MAX_LENGTH_TOKENS,
            seed=SEED,
        ),
    )
    return TrainSpec.from_json(tuning_spec(run))


def _theirs(model: Path, shards: Path, work: Path, options: Mapping[str, Any]) -> None:
    rows = load_shards(shard_files(shards, "train"), work / "datasets")
    trainer = SFTTrainer(
        model=str(model),
        args=SFTConfig(
            output_dir=str(work / "trl"),
            max_length=MAX_LENGTH_TOKENS,
            num_train_epochs=1,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            seed=SEED,
            use_cpu=True,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            **options,
        ),
        train_dataset=Dataset.from_dict(rows.to_dict()),
        processing_class=AutoTokenizer.from_pretrained(shards / "tokenizer"),
        peft_config=LoraConfig(
            r=RANK,
            lora_alpha=ALPHA,
            lora_dropout=0.0,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    trainer.train()


def main() -> None:
    """Train as the first argument says; print what it took."""
    name, model, shards, work, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    transformers_trainer.DEFAULT_CALLBACKS.append(Clock)
    CONTESTANTS[name](Path(model), Path(shards), Path(work), int(threads))
    print(
        json.dumps(
            {
                "seconds": Clock.seconds,
                "processor_seconds": Clock.processor_seconds,
                "losses": Clock.losses,
                "precision": _precision(),
                "peak_gib": peak_gib(),
            }
        )
    )


if __name__ == "__main__":
    main()
