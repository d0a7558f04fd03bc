"""Scoring in bfloat16 on a processor: where the time goes, and what was tried to be faster.

SmolLM2-135M answers five-shot questions of a subject of MMLU (real ones below TUNESMITH_REAL_DATA,
else made-up ones as long) as a whole subject is asked: the examples read once, the questions in
rows. Every way to compute is asked the same, in turn, in rounds; ratios are of processor time,
above 1 where a way is faster than what ships, and medians of the rounds. Beside each stands how far
its log-probabilities are from those of what ships, and the yardstick for that: how far lm-eval's
`hf` is from itself at another batch size, and ours from it.

The profile tells the processor time of what ships by kinds of operations.
`share_of_flop_bound_bf16` is how much of the time the needed products alone would take at the rate
of a plain product here: of bfloat16, or where a processor has no arithmetic for it, of float32.

Try it: make bench-bf16
"""

import argparse
import functools
import logging
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from transformers.utils import logging as transformers_logging

from scripts.lib.machine.device import computes_bfloat16
from scripts.lib.questions.question import Question
from scripts.tools.bench import Figure, publish
from scripts.tools.bench_gpu_score import data_folder
from scripts.tools.bench_score import flops
from scripts.tools.bf16_ways import SHIPPED, Way, ships, ways
from scripts.tools.devices import clocked, product_rate
from scripts.tools.made_texts import MMLU, SHOTS
from scripts.tools.peers import (
    Peers,
    agreement,
    largest_difference,
    logprobs,
    model_folder,
    questions_of,
    spread,
)

SUBJECT = "anatomy"
YARDSTICK_BATCHES = (1, 4)
PRODUCT_ROWS = 1024

# Operations of PyTorch by what their names begin with; the first that fits counts.
KINDS: Mapping[str, tuple[str, ...]] = {
    "products": ("mm", "addmm", "bmm", "baddbmm", "linear", "matmul", "mkldnn", "_linear"),
    "attention": ("_scaled_dot_product",),
    "vocabulary": ("_log_softmax", "argmax", "gather"),
    "conversions_and_copies": ("copy_", "_to_copy", "cat", "clone", "index", "embedding"),
}
ELEMENTWISE, PYTHON = "norms_rotary_and_elementwise", "python_and_the_rest"


def kind_of(operation: str) -> str:
    """Return the kind of an operation, by the name that the profile has."""
    name = operation.rpartition("::")[2]
    return next((kind for kind, begins in KINDS.items() if name.startswith(begins)), ELEMENTWISE)


def profiled(lm: Any, questions: Sequence[Question]) -> dict[str, float]:
    """Return the share of the processor time that each kind of operations takes."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        _, processor, _ = clocked(functools.partial(logprobs, lm, questions))
    seconds: dict[str, float] = defaultdict(float)
    for event in found.key_averages():
        if "::" in event.key:
            seconds[kind_of(event.key)] += event.self_cpu_time_total / 1e6
    seconds[PYTHON] = max(0.0, processor - sum(seconds.values()))
    whole = sum(seconds.values())
    return {kind: spent / whole for kind, spent in sorted(seconds.items(), key=lambda one: -one[1])}


def tried(
    peers: Peers, found: Mapping[str, Way], questions: Sequence[Question], rounds: int
) -> list[Figure]:
    """Ask every way the same questions in turn; return ratios and distances."""
    seconds: dict[str, list[float]] = {name: [] for name in found}
    answers: dict[str, list[list[float]]] = {}
    for turn in range(rounds + 1):
        for name, way in found.items():
            with way(peers) as lm:
                asked = questions if turn else spread(questions, 1)  # warms up, compiles
                _, processor, answers[name] = clocked(functools.partial(logprobs, lm, asked))
            if turn:
                seconds[name].append(processor)
                print(f"{name:20} {len(asked) / processor:6.2f} a processor second", flush=True)
    figures = []
    for name in found:
        if name == SHIPPED:
            continue
        pairs = zip(seconds[SHIPPED], seconds[name], strict=True)
        ratio = statistics.median(shipped / own for shipped, own in pairs)
        figures.append(Figure(f"ratio_{name}", ratio, "x"))
        figures += _distance(name, answers[name], answers[SHIPPED])
    rate = len(questions) / statistics.median(seconds[SHIPPED])
    return [Figure("questions_per_processor_second_bf16", rate, "1/s"), *figures]


def yardstick(peers: Peers, questions: Sequence[Question]) -> list[Figure]:
    """Return how far lm-eval's answers are from themselves and from ours."""
    one, other = (logprobs(peers.hf(size), questions) for size in YARDSTICK_BATCHES)
    with ships(peers) as lm:
        ours = logprobs(lm, questions)
    return [*_distance("lm_eval_other_batch", other, one), *_distance("ours_lm_eval", ours, one)]


def _distance(
    name: str, ones: Sequence[Sequence[float]], others: Sequence[Sequence[float]]
) -> list[Figure]:
    pairs = [(x, y) for a, b in zip(ones, others, strict=True) for x, y in zip(a, b, strict=True)]
    return [
        Figure(f"mean_logprob_diff_{name}", statistics.fmean(abs(x - y) for x, y in pairs), "nats"),
        Figure(f"max_logprob_diff_{name}", largest_difference(ones, others), "nats"),
        Figure(f"agreement_{name}", agreement(ones, others), ""),
    ]


def share_of_bound(peers: Peers, questions: Sequence[Question]) -> list[Figure]:
    """Return the share of the FLOP bound, and the rate of a plain product that it stands on."""
    config = peers.model.config
    dtype = torch.bfloat16 if computes_bfloat16() else torch.float32
    rate = product_rate(
        config.hidden_size, config.intermediate_size, dtype=dtype, device="cpu", rows=PRODUCT_ROWS
    )
    with ships(peers) as lm:
        needed = flops(peers.model, lm, questions)
        wall, _, _ = clocked(functools.partial(logprobs, lm, questions))
    print(f"a plain product of {dtype} makes {rate / 1e9:.1f} GFLOP/s", flush=True)
    return [
        Figure("product_gflops_bf16", rate / 1e9, "GFLOP/s"),
        Figure("share_of_flop_bound_bf16", needed / rate / wall, ""),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv*, measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a Llama's; the environment's by default")
    parser.add_argument("--questions", type=int, default=48, help="of the subject; 0 for all")
    parser.add_argument("--yardstick-questions", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--subject", choices=sorted(MMLU), default=SUBJECT)
    parser.add_argument("--ways", nargs="+", help="only these")
    options = parser.parse_args(argv)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    with model_folder(options.model) as folder, tempfile.TemporaryDirectory() as work:
        peers = Peers(folder, "bfloat16")
        data = data_folder(Path(work), [options.subject])
        questions = questions_of(
            data, options.subject, peers.tokenizer, count=options.questions or None, shots=SHOTS
        )
        arithmetic = "with" if computes_bfloat16() else "without"
        told = f"{arithmetic} arithmetic for bfloat16, {torch.get_num_threads()} threads"
        print(f"{told}, {len(questions)} questions of {options.subject}, {data}", flush=True)
        found = {
            name: way
            for name, way in ways().items()
            if not options.ways or name in (SHIPPED, *options.ways)
        }
        figures = tried(peers, found, questions, options.rounds)
        figures += share_of_bound(peers, questions)
        with ships(peers) as lm:
            shares = profiled(lm, questions)
        figures += [Figure(f"share_{kind}", share, "") for kind, share in shares.items()]
        few = spread(questions, options.yardstick_questions)
        figures += yardstick(peers, few) if few else []
    publish("bf16", figures, told)


if __name__ == "__main__":
    main()
