"""Scoring on one GPU: lm-eval's `hf` at its batch sizes, and ours with no option.

A model of Llama 3 8B's shape, with random weights in bfloat16 that are made on the card, answers
five-shot questions of some subjects of MMLU: real ones where TUNESMITH_REAL_DATA names the folder
above `mmlu/`, else made-up ones as long as these. Ours is asked whole subjects and lm-eval so many
questions of each as SAMPLE says, which it reads whole whatever it was asked before; rates are those
of whole subjects. All are asked every subject in turn, in rounds, as often as SECONDS allow, and of
each the median is told.

What all of MMLU would take is reckoned from these subjects: by the words that are to be read when
each subject's examples are read once.

Try it: make bench-gpu-score
        make bench-gpu-score TINY=1
"""

import argparse
import logging
import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from scripts.tools.bench import Figure, publish
from scripts.tools.bench_score import (
    OURS,
    SUBJECTS,
    Tally,
    common_figures,
    compete,
    flops,
    matmul_rate,
    others_than_ours,
)
from scripts.tools.devices import benchmark_device, described, rounds_within
from scripts.tools.made_texts import MMLU, SHOTS, make_subject, words_to_read
from scripts.tools.peers import Peers, mmlu_folder, model_folder, questions_of
from scripts.tools.stand_in import LLAMA_3_8B, TINY, build, make_folder

# One of a subject's beginning would not show what batches are worth, and all would take an hour.
SAMPLE = 64
BATCHES = (8, 32, 64)
SECONDS = 240.0

TINY_SUBJECTS = ("management", "world_religions")
TINY_SAMPLE, TINY_BATCHES = 4, (2, 4)


def data_folder(work: Path, subjects: Sequence[str]) -> Path:
    """Return the folder of the real MMLU, or one below *work* with made-up *subjects*."""
    if "TUNESMITH_REAL_DATA" in os.environ:
        return mmlu_folder()
    for name in subjects:
        make_subject(work / "mmlu", name)
    return work / "mmlu"


def median_of(rounds: Sequence[Mapping[str, Tally]]) -> dict[str, Tally]:
    """Return what each contestant took, subject by subject the median of *rounds*.

    Who ran out of memory in any of them is left out.
    """
    found = {}
    for name, first in rounds[0].items():
        own = [tallies[name] for tallies in rounds if name in tallies]
        if len(own) < len(rounds):
            continue
        found[name] = Tally(
            questions=first.questions,
            wall={s: statistics.median(tally.wall[s] for tally in own) for s in first.wall},
            processor={
                s: statistics.median(tally.processor[s] for tally in own) for s in first.processor
            },
            peak_gib=max(tally.peak_gib for tally in own),
            answers=first.answers,
        )
    return found


def figures_of(
    tallies: Mapping[str, Tally], sizes: Mapping[str, int], *, bound: float
) -> list[Figure]:
    """Return what is published.

    Args:
        tallies: What every contestant took.
        sizes: How many questions the asked subjects have.
        bound: Seconds that the needed products alone would take.

    Raises:
        SystemExit: Nobody is left to compare with.
    """
    others = others_than_ours(tallies)
    if not others or OURS not in tallies:
        raise SystemExit("memory ran out in all of lm-eval's batch sizes, or in ours: no figures")
    best = min(others, key=lambda name: others[name].wall_seconds(sizes))
    all_of_it = words_to_read(MMLU) / words_to_read(sizes)
    seconds = tallies[OURS].wall_seconds(sizes) * all_of_it
    print(f"all of MMLU is {all_of_it:.1f} times the words of these subjects, each once")
    return [
        *common_figures(tallies, best, sizes, "gpu", bound=bound),
        Figure("full_mmlu_minutes_gpu", seconds / 60, "min"),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv*, measure and publish.

    Raises:
        SystemExit: There is no GPU, and no tiny try is asked for.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a tiny model, on whatever is there")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all rounds")
    parser.add_argument("--sample", type=int, help="questions of a subject that lm-eval is asked")
    parser.add_argument("--subjects", nargs="+", choices=sorted(MMLU), help="of MMLU, each whole")
    parser.add_argument("--batches", type=int, nargs="+", help="lm-eval's")
    parser.add_argument("--model", type=Path, help="whose tokenizer; the environment's by default")
    options = parser.parse_args(argv)
    tiny = options.tiny
    device = benchmark_device(tiny=tiny)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    # A tiny try on a processor compares answers, which bfloat16 rounds away.
    dtype = "bfloat16" if device == "cuda" else "float32"
    with model_folder(options.model) as source, tempfile.TemporaryDirectory() as work:
        folder = make_folder(source, Path(work) / "model", TINY if tiny else LLAMA_3_8B)
        names = options.subjects or (TINY_SUBJECTS if tiny else SUBJECTS)
        data = data_folder(Path(work), names)
        print(f"{described(device)}; {dtype}, five-shot, {data}", flush=True)
        model = build(folder, getattr(torch, dtype), device)
        peers = Peers(folder, dtype, model)
        subjects = {
            name: questions_of(data, name, peers.tokenizer, count=None, shots=SHOTS)
            for name in names
        }
        batches = options.batches or (TINY_BATCHES if tiny else BATCHES)
        lms = {f"hf@{size}": peers.hf(size) for size in batches} | {OURS: peers.ours()}
        sample = options.sample or (TINY_SAMPLE if tiny else SAMPLE)
        seconds = 0.0 if tiny else options.seconds
        rounds = rounds_within(seconds, lambda: compete(subjects, lms, sample))
        needed = sum(flops(model, lms[OURS], questions) for questions in subjects.values())
        rate = matmul_rate(model)
    print(f"{len(rounds)} rounds; a plain product makes {rate / 1e12:.1f} TFLOP/s", flush=True)
    sizes = {name: len(questions) for name, questions in subjects.items()}
    found = figures_of(median_of(rounds), sizes, bound=needed / rate)
    publish("gpu-score-tiny" if tiny else "gpu-score", found, described(device))


if __name__ == "__main__":
    main()
