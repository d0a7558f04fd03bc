"""What training an adapter takes on one GPU: ours, TRL as it comes, TRL packed, TRL with Liger.

A model of Llama 3 8B's shape, with random weights in bfloat16 that are made on the card, learns
with LoRA of rank 16 on every linear layer, without dropout, from conversations: alpaca's below
TUNESMITH_REAL_DATA, else made-up ones as long as these. Rows are of at most 2,048 and then of at
most 4,096 tokens, of each as many as make 16,384 tokens a step where they are packed. TRL as it
comes pads eight rows to the longest and recomputes activations; packed, with and without Liger's
kernels (where `liger_kernel` is installed), it keeps them, in passes of 4,096 tokens, where the
card holds that. Ours trains as the training program does, and chooses for itself.

All train in turns in this one process, in rounds, as often as SECONDS allow; the first steps of
each training are warming up, and of the rates the median is told. Tokens are those of
conversations, prompts included, padding not. An adapter costs 4 FLOP for each weight and token (2
forward, 2 back to the inputs; weights that are frozen have no gradient); what is computed twice
counts once. The losses of our steps are compared with those of TRL packed, which sees the same rows
in the same steps.

Try it: make bench-gpu-train
        make bench-gpu-train TINY=1
"""

import argparse
import gc
import importlib.util
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig
from transformers import trainer as transformers_trainer

from scripts.lib.errors import TrainingError
from scripts.lib.train.attention import choose_attention
from scripts.lib.train.lora_tuning import LoraTuning
from scripts.lib.train.shards import read_facts, shard_files
from scripts.lib.train.training import fine_tune
from scripts.tools.bench import Figure, publish
from scripts.tools.bench_train import make_shards, rows_file
from scripts.tools.devices import (
    benchmark_device,
    described,
    forget_peak,
    peak_gib,
    product_rate,
    rounds_within,
)
from scripts.tools.made_texts import make_conversations
from scripts.tools.peers import model_folder
from scripts.tools.stand_in import (
    LLAMA_3_8B,
    TINY,
    build,
    make_folder,
    product_weights,
    tell_sizes,
)
from scripts.tools.training_contestants import (
    Clock,
    Course,
    counting_tokens,
    padded_options,
    spec_of,
    train_with_trl,
)

LENGTHS = (2048, 4096)
STEP_TOKENS, PASS_TOKENS = 16_384, 4096
WARMING_STEPS, STEPS = 2, 6
CONVERSATIONS = 999
SECONDS = 300.0

TINY_LENGTHS, TINY_STEP_TOKENS = (256, 512), 1024
TINY_STEPS, TINY_CONVERSATIONS, TINY_SHORTER = 3, 60, 8

FLOP_PER_WEIGHT = 4

PREFIXES = {
    "ours": "",
    "trl": "trl_default_",
    "trl_packed": "trl_packed_",
    "trl_liger": "trl_liger_",
}


@dataclass(frozen=True)
class Stand:
    """What all contestants start from.

    Attributes:
        model: Folder of config and tokenizer, and of sizes without weights.
        shards: Folder of rendered conversations.
        device: Where the model is made.
        dtype: Of its weights.
    """

    model: Path
    shards: Path
    device: str
    dtype: torch.dtype


@dataclass(frozen=True)
class MadeTuning(LoraTuning):
    """Ours, but for a base that is made on the device instead of loaded."""

    stand: Stand = field(kw_only=True)

    def load(self, model: Path) -> Any:
        """Make the base, with the attention that loading would choose."""
        config, dtype = AutoConfig.from_pretrained(model), str(self.stand.dtype)
        attention = choose_attention(config, self.stand.device, dtype.removeprefix("torch."))
        return build(model, self.stand.dtype, self.stand.device, attention)


@dataclass(frozen=True)
class Took:
    """What one training took, warming up left out.

    Attributes:
        rate: Tokens a second, padding not counted.
        losses: Of all steps.
        peak_gib: Most memory.
    """

    rate: float
    losses: tuple[float, ...]
    peak_gib: float


def ours(stand: Stand, course: Course, work: Path) -> None:
    """Train as the training program does."""
    out = work / "adapter"
    out.mkdir()
    fine_tune(
        MadeTuning(spec_of(course), stand=stand),
        stand.model,
        stand.shards,
        out,
        scratch=work / "scratch",
        threads=torch.get_num_threads(),
    )


def trl(stand: Stand, course: Course, work: Path) -> None:
    """Train with TRL as it comes."""
    _with_trl(stand, course, work, padded_options())


def trl_packed(stand: Stand, course: Course, work: Path, **more: Any) -> None:
    """Train with TRL's packing: activations are kept, or recomputed where the card is too small."""
    rows = min(course.packed_rows, max(1, PASS_TOKENS // course.max_length_tokens))
    options = {
        "packing": True,
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": course.packed_rows // rows,
        **more,
    }
    try:
        _with_trl(stand, course, work, {**options, "activation_checkpointing": False})
    except torch.OutOfMemoryError:
        print("TRL packed recomputes activations: this card does not hold them", flush=True)
    else:
        return
    _begin_anew()
    _with_trl(stand, course, work / "again", options)


def _with_trl(stand: Stand, course: Course, work: Path, options: Mapping[str, Any]) -> None:
    model = build(stand.model, stand.dtype, stand.device)
    mixed = {"bf16": stand.dtype == torch.bfloat16}
    train_with_trl(model, stand.shards, work, course, {**options, **mixed})


Contestant = Callable[[Stand, Course, Path], None]


def contestants() -> dict[str, Contestant]:
    """Return who takes part here, and say who cannot."""
    found: dict[str, Contestant] = {"trl": trl, "trl_packed": trl_packed}
    if importlib.util.find_spec("liger_kernel"):
        found["trl_liger"] = partial(trl_packed, use_liger_kernel=True)
    else:
        print("TRL with Liger: the package liger_kernel is not installed, so it takes no part")
    return {**found, "ours": ours}


def _begin_anew() -> None:
    """Let go of the last model, and forget what it took."""
    gc.collect()
    forget_peak()
    Clock.restart()


def train(name: str, contestant: Contestant, stand: Stand, course: Course) -> Took | None:
    """Let one contestant train and return what it took; None where memory ran out."""
    _begin_anew()
    with tempfile.TemporaryDirectory() as work:
        try:
            contestant(stand, course, Path(work))
        except (torch.OutOfMemoryError, TrainingError) as error:
            if isinstance(error, TrainingError) and "memory ran out" not in str(error):
                raise
            print(f"{name}, {course.max_length_tokens}: ran out of memory", flush=True)
            return None
    tokens = [sum(int(passed) for passed in step) for step in Clock.batches]
    rate = sum(tokens[WARMING_STEPS:]) / sum(Clock.walls[WARMING_STEPS:])
    took = Took(rate, tuple(Clock.losses), peak_gib())
    print(
        f"{name}, {course.max_length_tokens}: {rate:.0f} tokens/s, {tokens[-1]} tokens a step,"
        f" {1000 * statistics.median(Clock.walls[WARMING_STEPS:]):.0f} ms a step,"
        f" loss {took.losses[-1]:.4f}, peak {took.peak_gib:.2f} GiB",
        flush=True,
    )
    return took


def figures_of(
    rounds: Sequence[Mapping[tuple[str, int], Took]], lengths: Sequence[int], flop: float
) -> list[Figure]:
    """Return what is published; names without a length are of the longest.

    Args:
        rounds: What each took at each length; who ran out of memory once is not in it.
        lengths: Longest rows, in tokens, ascending.
        flop: Of one token.
    """
    figures: list[Figure] = []
    for length in reversed(lengths):
        end = "" if length == lengths[-1] else f"_{length}"
        kept = [n for n in PREFIXES if all((n, length) in found for found in rounds)]
        rates = {n: [found[n, length].rate for found in rounds] for n in kept}
        for name in kept:
            prefix, rate = PREFIXES[name], statistics.median(rates[name])
            peak = max(found[name, length].peak_gib for found in rounds)
            figures += [
                Figure(f"{prefix}tokens_per_second_gpu{end}", rate, "1/s"),
                Figure(f"{prefix}tflops_gpu{end}", rate * flop / 1e12, "TFLOP/s"),
                Figure(f"{prefix}peak_gib_gpu{end}", peak, "GiB"),
            ]
        if "ours" not in kept:
            continue
        for name in (one for one in kept if one != "ours"):
            pairs = zip(rates["ours"], rates[name], strict=True)
            ratio = statistics.median(own / other for own, other in pairs)
            figures.append(Figure(f"speedup_gpu_vs_{PREFIXES[name].rstrip('_')}{end}", ratio, "x"))
        if "trl_packed" in kept:
            both = [rounds[0][name, length].losses for name in ("ours", "trl_packed")]
            gaps = [own - other for own, other in zip(*both, strict=True)]
            figures += [
                Figure(f"loss_gap_gpu{end}", statistics.fmean(gaps), "nats"),
                Figure(f"largest_loss_gap_of_a_step_gpu{end}", max(map(abs, gaps)), "nats"),
            ]
    return figures


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv*, measure and publish.

    Raises:
        SystemExit: There is no GPU, and no tiny try is asked for.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a tiny model, on whatever is there")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all rounds")
    parser.add_argument("--lengths", type=int, nargs="+", help="longest rows, in tokens")
    parser.add_argument("--model", type=Path, help="whose tokenizer; the environment's by default")
    options = parser.parse_args(argv)
    tiny = options.tiny
    device = benchmark_device(tiny=tiny)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    lengths = sorted(options.lengths or (TINY_LENGTHS if tiny else LENGTHS))
    step_tokens = TINY_STEP_TOKENS if tiny else STEP_TOKENS
    courses = [
        Course(
            max_length_tokens=length,
            packed_rows=max(1, step_tokens // length),
            steps=TINY_STEPS if tiny else STEPS,
        )
        for length in lengths
    ]
    transformers_trainer.DEFAULT_CALLBACKS.append(Clock)
    try:
        with model_folder(options.model) as source, tempfile.TemporaryDirectory() as work:
            folder = make_folder(source, Path(work) / "model", TINY if tiny else LLAMA_3_8B)
            tell_sizes(folder, dtype)  # ours chooses by them how it goes through a step
            rows = rows_file()
            count = TINY_CONVERSATIONS if tiny else CONVERSATIONS
            if tiny or "TUNESMITH_REAL_DATA" not in os.environ:
                rows = Path(work) / "made.json"
                make_conversations(rows, count, shorter=TINY_SHORTER if tiny else 1)
            shards = make_shards(rows, count, folder, Path(work), lengths[0])
            facts = read_facts(shard_files(shards, "train"))
            print(f"{described(device)}; {str(dtype)[6:]}; {facts.rows} conversations,", end=" ")
            print(f"{facts.tokens} tokens, {facts.trained_tokens} of them trained", flush=True)
            stand, taking_part = Stand(folder, shards, device, dtype), contestants()

            def one_round() -> dict[tuple[str, int], Took]:
                found = {
                    (name, course.max_length_tokens): train(name, one, stand, course)
                    for course in courses
                    for name, one in taking_part.items()
                }
                return {key: took for key, took in found.items() if took}

            with counting_tokens():
                rounds = rounds_within(0.0 if tiny else options.seconds, one_round)
            weights = product_weights(build(folder, dtype, "meta"))
            config = AutoConfig.from_pretrained(folder)
    finally:
        transformers_trainer.DEFAULT_CALLBACKS.remove(Clock)
    rate = product_rate(
        config.hidden_size,
        config.intermediate_size,
        dtype=dtype,
        device=device,
        rows=step_tokens,
    )
    print(f"{len(rounds)} rounds; a plain product makes {rate / 1e12:.1f} TFLOP/s", flush=True)
    found = figures_of(rounds, lengths, FLOP_PER_WEIGHT * weights)
    publish("gpu-train-tiny" if tiny else "gpu-train", found, described(device))


if __name__ == "__main__":
    main()
