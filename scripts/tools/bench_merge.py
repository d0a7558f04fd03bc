"""What a merge takes: ours, PEFT's, and a plain copy of the base's files.

Each runs in a process of its own, start-up included, in turns, so that a slow minute slows all of
them. Of each the median is told, and beside the wall's clock the processor time, which a busy
machine distorts less. The models: SmolLM2-135M, and a Llama of 1.5 billion parameters with random
weights in bfloat16 shards, written for this and removed afterwards (10 GB of disk).

Try it: make bench-merge ROUNDS=3
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from scripts.lib.merge.safetensors_files import StoredTensor, read_bytes, read_model, read_tensor
from scripts.lib.model_files import TOKENIZER_FILES
from scripts.tools.bench import Figure, publish
from scripts.tools.bench_merge_models import write_adapter, write_model
from scripts.tools.peers import model_folder

CONTESTANTS = ("copy", "ours", "peft")
LAYERS = 21  # 1.5 billion parameters


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=LAYERS, help="of the synthetic model")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--model", type=Path, help="a folder with SmolLM2-135M; else the package's")
    parser.add_argument("--folder", type=Path, help="where to work; needs 10 GB")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        work = Path(name)
        figures = _synthetic(work, arguments) + _smollm2(work, arguments)
    publish("merge", figures)


def _synthetic(work: Path, arguments: argparse.Namespace) -> list[Figure]:
    """Return the figures of the synthetic model."""
    parameters = write_model(work / "model", arguments.layers)
    write_adapter(work / "adapter", arguments.layers)
    results = measure(work, work / "model", work / "adapter", arguments)
    figures = [Figure("parameters", parameters / 1e9, "billion"), *_figures(results, "")]
    for place in ("model", "adapter"):
        shutil.rmtree(work / place)
    half = arguments.layers // 2
    write_model(work / "model", half)
    write_adapter(work / "adapter", half)
    one = run("ours", work / "model", work / "adapter", work / "ours", arguments.threads)
    shutil.rmtree(work / "ours")
    return [*figures, Figure("peak_gib_half_depth", one["peak_gib"], "GiB")]


def _smollm2(work: Path, arguments: argparse.Namespace) -> list[Figure]:
    """Return the figures of SmolLM2-135M with a random adapter on every linear layer."""
    with model_folder(arguments.model) as model:
        base = AutoModelForCausalLM.from_pretrained(model, dtype="auto")
        settings = LoraConfig(
            r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        tuned = get_peft_model(base, settings)
        torch.manual_seed(0)
        for weights in tuned.parameters():
            if weights.requires_grad:
                weights.data.normal_(std=0.02)
        tuned.save_pretrained(work / "small")
        for name in TOKENIZER_FILES:
            if (model / name).exists():
                shutil.copyfile(model / name, work / "small" / name)
        del base, tuned
        return _figures(measure(work, model, work / "small", arguments), "smollm2_")


def measure(
    work: Path, model: Path, adapter: Path, arguments: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Run all contestants in turns.

    Returns:
        Contestant -> medians of seconds, processor_seconds, peak_gib, read_gib, written_gib; of
        "ours" also max_abs_diff and odd_tensors, between its tensors and PEFT's.
    """
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTESTANTS}
    exact = {}
    for number in range(arguments.rounds):
        for name in CONTESTANTS:
            runs[name].append(run(name, model, adapter, work / name, arguments.threads))
        if number == 0:
            exact = compare(work / "ours", work / "peft")
        for name in CONTESTANTS:
            shutil.rmtree(work / name)
    medians = {
        name: {key: statistics.median(one[key] for one in of) for key in of[0]}
        for name, of in runs.items()
    }
    medians["ours"] |= exact
    return medians


def run(name: str, model: Path, adapter: Path, out: Path, threads: int) -> dict[str, float]:
    """Run one contestant; return its seconds and what it says of memory and files."""
    out.mkdir()
    os.sync()  # what the one before wrote is not this one's work
    command = [sys.executable, "-m", "scripts.tools.merge_contestants", name]
    began = time.monotonic()
    result = subprocess.run(
        [*command, str(model), str(adapter), str(out), str(threads)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
    )
    seconds = time.monotonic() - began
    told: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    print(
        f"{name}: {seconds:.2f} s ({told['processor_seconds']:.2f} s of processor),"
        f" {told['peak_gib']:.3f} GiB",
        flush=True,
    )
    return {"seconds": seconds, **told}


def compare(ours: Path, theirs: Path) -> dict[str, float]:
    """Return the largest difference of any number of two models, and how many tensors differ."""
    found, wanted = _tensors(ours), _tensors(theirs)
    if found.keys() != wanted.keys():
        sys.exit(f"not the same tensors: {sorted(found.keys() ^ wanted.keys())[:3]}")
    largest, odd = 0.0, 0
    for name, tensor in found.items():
        if read_bytes(tensor) != read_bytes(wanted[name]):
            odd += 1
            difference = read_tensor(tensor).float() - read_tensor(wanted[name]).float()
            largest = max(largest, float(difference.abs().max()))
    return {"max_abs_diff": largest, "odd_tensors": odd}


def _tensors(folder: Path) -> dict[str, StoredTensor]:
    return {tensor.name: tensor for file in read_model(folder) for tensor in file.tensors}


def _figures(results: Mapping[str, Mapping[str, float]], prefix: str) -> list[Figure]:
    """Return the figures of one model; their names start with *prefix*."""
    ours, peft, copy = (results[name] for name in ("ours", "peft", "copy"))
    named = {
        "seconds": (ours["seconds"], "s"),
        "peft_seconds": (peft["seconds"], "s"),
        "copy_seconds": (copy["seconds"], "s"),
        "time_vs_copy": (ours["seconds"] / copy["seconds"], "x"),
        "time_vs_peft": (ours["seconds"] / peft["seconds"], "x"),
        "processor_vs_peft": (ours["processor_seconds"] / peft["processor_seconds"], "x"),
        "peak_gib": (ours["peak_gib"], "GiB"),
        "peft_peak_gib": (peft["peak_gib"], "GiB"),
        "read_gib": (ours["read_gib"], "GiB"),
        "written_gib": (ours["written_gib"], "GiB"),
        "peft_read_gib": (peft["read_gib"], "GiB"),
        "peft_written_gib": (peft["written_gib"], "GiB"),
        "max_abs_diff": (ours["max_abs_diff"], ""),
        "odd_tensors": (ours["odd_tensors"], ""),
    }
    return [Figure(prefix + name, value, unit) for name, (value, unit) in named.items()]


if __name__ == "__main__":
    main()
