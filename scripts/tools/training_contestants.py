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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoTokenizer, TrainerCallback
from transformers import trainer as transformers_trainer
from trl import SFTConfig, SFTTrainer

from scripts.lib.config.lora import Lora
from scripts.lib.config.mixtures import Member
from scripts.lib.config.runs import Run
from scripts.lib.config.training import Training
from scripts.lib.machine.device import compute_device, computes_bfloat16
from scripts.lib.plan.adapters import tuning_spec
from scripts.lib.train.lora_tuning import train_adapter
from scripts.lib.train.shards import load_shards, shard_files
from scripts.lib.train.spec import TrainSpec
from scripts.tools.devices import finish
from scripts.tools.merge_contestants import peak_gib

RANK, ALPHA, LEARNING_RATE, SEED = 16, 32, 2e-4, 42


@dataclass(frozen=True, kw_only=True)
class Course:
    """What all contestants train.

    Attributes:
        max_length_tokens: Of a row.
        packed_rows: Of an optimiser step where rows are packed.
        steps: How many; None for one pass over the rows.
    """

    max_length_tokens: int = 1024
    packed_rows: int = 2  # about as many tokens as eight rows of 200, TRL's own choice
    steps: int | None = None


ON_A_CPU = Course()


class Clock(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Times the steps of whatever trainer runs, and keeps its losses.

    Attributes:
        walls: Seconds of each step, by the wall's clock.
        processors: Seconds of processor time of each.
        losses: Of each.
        batches: Of each the tokens of its passes, padding not counted; see `counting_tokens`.
    """

    walls: ClassVar[list[float]] = []
    processors: ClassVar[list[float]] = []
    losses: ClassVar[list[float]] = []
    batches: ClassVar[list[list[Any]]] = []

    @classmethod
    def restart(cls) -> None:
        """Forget what an earlier trainer took."""
        for kept in (cls.walls, cls.processors, cls.losses, cls.batches):
            kept.clear()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start both clocks."""
        finish()
        del Clock.batches[len(Clock.walls) :]  # of a step that lacked memory and is done again
        Clock.batches.append([])
        self._began = time.perf_counter(), time.process_time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note what the step took, the optimiser's part included."""
        finish()
        wall, processor = self._began
        Clock.walls.append(time.perf_counter() - wall)
        Clock.processors.append(time.process_time() - processor)

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep the loss of a step."""
        if "loss" in state.log_history[-1]:
            Clock.losses.append(state.log_history[-1]["loss"])


@contextmanager
def counting_tokens() -> Iterator[None]:
    """Let `Clock.batches` tell the tokens of each pass of TRL's trainer, and of what is made of it.

    They stay tensors of the device until somebody asks: a sum that is waited for would hold it up.
    """
    own = SFTTrainer.training_step

    def counted(self: Any, model: Any, inputs: Mapping[str, Any], *more: Any, **named: Any) -> Any:
        mask = inputs.get("attention_mask")
        count = inputs["input_ids"].numel() if mask is None else mask.sum()
        Clock.batches[-1].append(count)
        return own(self, model, inputs, *more, **named)

    SFTTrainer.training_step = counted
    try:
        yield
    finally:
        SFTTrainer.training_step = own


def ours(model: Path, shards: Path, work: Path, threads: int) -> None:
    """Train as the training program does."""
    out, scratch = work / "adapter", work / "scratch"
    out.mkdir()
    train_adapter(spec_of(ON_A_CPU), model, shards, out, scratch=scratch, threads=threads)


def trl(model: Path, shards: Path, work: Path, threads: int) -> None:
    """Train with TRL as it comes."""
    train_with_trl(str(model), shards, work, ON_A_CPU, padded_options(bf16=computes_bfloat16()))


def trl_packed(model: Path, shards: Path, work: Path, threads: int) -> None:
    """Train with TRL's packing, as fast as its options make it on a CPU."""
    options = {
        "per_device_train_batch_size": ON_A_CPU.packed_rows,
        "packing": True,
        "model_init_kwargs": {"dtype": _precision()},
        "bf16": False,
        "gradient_checkpointing": False,
    }
    train_with_trl(str(model), shards, work, ON_A_CPU, options)


CONTESTANTS: Mapping[str, Callable[[Path, Path, Path, int], None]] = {
    "trl": trl,
    "trl_packed": trl_packed,
    "ours": ours,
}


def padded_options(**more: Any) -> dict[str, Any]:
    """Return what TRL is told where it is left as it comes: eight rows padded to the longest."""
    return {"per_device_train_batch_size": 8, **more}


def _precision() -> str:
    return "bfloat16" if computes_bfloat16() else "float32"


def spec_of(course: Course) -> TrainSpec:
    """Return what ours is told of a course."""
    run = Run(
        model="model",
        dataset={"rows": Member()},
        lora=Lora(r=RANK, alpha=ALPHA, dropout=0.0),
        training=Training(
            epochs=1,
            max_steps=course.steps,
            learning_rate=LEARNING_RATE,
            scheduler="constant",
            warmup_ratio=0.0,
            batch_size=course.packed_rows,
            max_length_tokens=course.max_length_tokens,
            seed=SEED,
        ),
    )
    return TrainSpec.from_json(tuning_spec(run))


def train_with_trl(
    model: Any, shards: Path, work: Path, course: Course, options: Mapping[str, Any]
) -> None:
    """Train with TRL.

    Args:
        model: A folder's name, or a loaded model.
        shards: Folder of rendered shards.
        work: Folder for what it writes.
        course: What is trained.
        options: What TRL is told beside it.
    """
    rows = load_shards(shard_files(shards, "train"), work / "datasets")
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(work / "trl"),
            max_length=course.max_length_tokens,
            num_train_epochs=1,
            max_steps=course.steps or -1,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            seed=SEED,
            use_cpu=compute_device() == "cpu",
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
                "seconds": sum(Clock.walls),
                "processor_seconds": sum(Clock.processors),
                "losses": Clock.losses,
                "precision": _precision(),
                "peak_gib": peak_gib(),
            }
        )
    )


if __name__ == "__main__":
    main()
