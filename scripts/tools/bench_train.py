"""What training an adapter takes on a processor: ours, TRL as it comes, TRL packed.

SmolLM2-135M and real rows (alpaca's below TUNESMITH_REAL_DATA, else the demo's), one pass, LoRA of
rank 16 on every linear layer, no dropout, bfloat16 where the processor has arithmetic for it. Each
trains in a process of its own, in turns, so that a slow minute slows all of them; of each the
median is told. Tokens are those of conversations, prompts included, padding not. The losses of our
steps are compared with those of TRL packed, which sees the same rows in the same steps.

Try it: make bench-train ROWS=96 ROUNDS=3
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.lib.data.format_spec import FormatSpec
from scripts.lib.data.formatting import format_chat
from scripts.lib.data.rendering import RenderSpec, render_shards
from scripts.lib.train.shards import read_facts, shard_files
from scripts.tools.bench import Figure, publish
from scripts.tools.peers import ROOT, model_folder
from scripts.tools.training_contestants import CONTESTANTS, ON_A_CPU


def rows_file() -> Path:
    """Return alpaca's rows below TUNESMITH_REAL_DATA, or the demo's."""
    named = os.environ.get("TUNESMITH_REAL_DATA")
    demo = ROOT / "resources/demo/orders/train.jsonl"
    return Path(named) / "sft/alpaca_en_demo.json" if named else demo


def make_shards(
    rows: Path,
    count: int,
    model: Path,
    work: Path,
    max_length_tokens: int = ON_A_CPU.max_length_tokens,
) -> Path:
    """Write the first *count* of *rows* as shards for *model* below *work*; return their folder.

    Conversations of more than *max_length_tokens* are left out.
    """
    raw, chat, shards = work / "raw", work / "chat", work / "shards"
    for folder in (raw, chat, shards):
        folder.mkdir()
    (raw / f"train{rows.suffix}").symlink_to(rows)
    form = FormatSpec(
        format="auto", system=None, valid_fraction=0.0, test_fraction=0.0, split_seed=0, limit=count
    )
    format_chat(form, raw, chat)
    render = RenderSpec(
        template="tokenizer",
        train_on="assistant",
        max_length_tokens=max_length_tokens,
        on_too_long="drop",
    )
    render_shards(render, chat, model, shards)
    return shards


def run(name: str, model: Path, shards: Path, threads: int) -> dict[str, Any]:
    """Let one contestant train, and return what it says it took."""
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, "-m", "scripts.tools.training_contestants", name]
        result = subprocess.run(
            [*command, str(model), str(shards), work, str(threads)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"},
        )
    told: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    print(
        f"{name}: {told['seconds']:.1f} s ({told['processor_seconds']:.1f} s of processor),"
        f" {len(told['losses'])} steps in {told['precision']}, {told['peak_gib']:.2f} GiB",
        flush=True,
    )
    return told


def figures_of(found: Mapping[str, Sequence[Mapping[str, Any]]], tokens: int) -> list[Figure]:
    """Return what is published.

    Args:
        found: Contestant -> what it said, round by round.
        tokens: Tokens of all conversations.
    """

    def median(name: str, key: str) -> float:
        return float(statistics.median(one[key] for one in found[name]))

    def speedup(name: str, key: str) -> float:
        pairs = zip(found[name], found["ours"], strict=True)
        return float(statistics.median(theirs[key] / ours[key] for theirs, ours in pairs))

    pairs = zip(found["ours"][0]["losses"], found["trl_packed"][0]["losses"], strict=True)
    gaps = [ours - theirs for ours, theirs in pairs]
    prefixed = {"ours": "", "trl": "trl_default_", "trl_packed": "trl_packed_"}
    return [
        *(
            Figure(f"{prefix}tokens_per_second", tokens / median(name, "seconds"), "1/s")
            for name, prefix in prefixed.items()
        ),
        *(
            Figure(
                f"{prefix}tokens_per_processor_second",
                tokens / median(name, "processor_seconds"),
                "1/s",
            )
            for name, prefix in prefixed.items()
        ),
        Figure("speedup_vs_trl_default", speedup("trl", "seconds"), "x"),
        Figure("speedup_vs_trl_packed", speedup("trl_packed", "seconds"), "x"),
        Figure("speedup_vs_trl_default_processor_time", speedup("trl", "processor_seconds"), "x"),
        Figure(
            "speedup_vs_trl_packed_processor_time", speedup("trl_packed", "processor_seconds"), "x"
        ),
        Figure("loss_gap", statistics.fmean(gaps), "nats"),
        Figure("largest_loss_gap_of_a_step", max(map(abs, gaps)), "nats"),
        *(
            Figure(f"{prefix}peak_gib", median(name, "peak_gib"), "GiB")
            for name, prefix in prefixed.items()
        ),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=96, help="conversations, the first of the file")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--model", type=Path, help="model folder; the environment's by default")
    options = parser.parse_args(argv)
    with model_folder(options.model) as model, tempfile.TemporaryDirectory() as work:
        rows = rows_file()
        shards = make_shards(rows, options.rows, model, Path(work))
        facts = read_facts(shard_files(shards, "train"))
        print(f"{facts.rows} conversations of {rows.name}, {facts.tokens} tokens,", end=" ")
        print(f"{facts.trained_tokens} of them trained, {options.threads} threads", flush=True)
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTESTANTS}
        for _ in range(options.rounds):
            for name, told in found.items():
                told.append(run(name, model, shards, options.threads))
    publish("train", figures_of(found, facts.tokens))


if __name__ == "__main__":
    main()
