"""Scoring through lm-eval's `hf` and through ours: the same questions, interleaved.

Every subject is asked of every contestant in turn, so that a slow minute of the machine slows
all of them. Two clocks run: the wall's, and the processor time of this process, which a busy
machine distorts less when one thread computes (OMP_NUM_THREADS=1). lm-eval's own work outside its
model (22 ms a question) is not counted against it.

A prefix that is read once pays best over a whole subject, which takes lm-eval hours. With
SAMPLE, lm-eval is asked so many of a subject's questions and taken to need as long for each of
the others: it reads every prompt whole, whatever it was asked before.

Try it: make bench-score QUESTIONS=40
        make bench-score QUESTIONS=0 SAMPLE=40
"""

import argparse
import functools
import logging
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from transformers.utils import logging as transformers_logging

from scripts.lib.questions.question import Question
from scripts.lib.score.prefix_groups import prefix_groups, token_sequences
from scripts.tools.bench import Figure, publish
from scripts.tools.devices import clocked, forget_peak, peak_gib, product_rate
from scripts.tools.outside_model import outside_figures
from scripts.tools.peers import (
    DEMO_DATA,
    Peers,
    agreement,
    largest_difference,
    logprobs,
    mmlu_folder,
    model_folder,
    questions_of,
    spread,
)

SUBJECTS = ("anatomy", "high_school_biology", "philosophy", "professional_law")
DTYPES = {"float32": "fp32", "bfloat16": "bf16"}
OURS = "ours"
ROUNDS = 3
WARMING_QUESTIONS = 4

# A processor is full early, a GPU late.
_PRODUCT_ROWS = {"cpu": 1024}
_PRODUCT_ROWS_ELSEWHERE = 8192


@dataclass
class Tally:
    """What one contestant took, subject by subject.

    Attributes:
        questions: How many were asked.
        wall: Seconds by the wall's clock.
        processor: Seconds of processor time.
        peak_gib: Most memory that any subject took, weights included.
        answers: Log-probabilities of the choices of each question, by its id.
    """

    questions: dict[str, int] = field(default_factory=dict)
    wall: dict[str, float] = field(default_factory=dict)
    processor: dict[str, float] = field(default_factory=dict)
    peak_gib: float = 0.0
    answers: dict[str, list[float]] = field(default_factory=dict)

    def wall_seconds(self, sizes: Mapping[str, int]) -> float:
        """Return the time for subjects of *sizes* questions, at what each question took."""
        return sum(self.wall[name] / self.questions[name] * n for name, n in sizes.items())

    def processor_seconds(self, sizes: Mapping[str, int]) -> float:
        """Return the processor time for subjects of *sizes* questions."""
        return sum(self.processor[name] / self.questions[name] * n for name, n in sizes.items())


def matmul_rate(model: Any) -> float:
    """Return what a plain matrix product of the model's shapes does here, in FLOP/s."""
    config, device = model.config, model.device.type
    return product_rate(
        config.hidden_size,
        config.intermediate_size,
        dtype=model.dtype,
        device=device,
        rows=_PRODUCT_ROWS.get(device, _PRODUCT_ROWS_ELSEWHERE),
    )


def flops(model: Any, lm: Any, questions: Sequence[Question]) -> float:
    """Return the products that the questions need when nothing is read twice, in FLOP."""
    config = model.config
    embedding = config.vocab_size * config.hidden_size
    body = sum(p.numel() for n, p in model.named_parameters() if "embed" not in n)
    layers = config.num_hidden_layers * config.hidden_size
    pairs = [(None, *lm._encode_pair(*request.args)) for q in questions for request in q.requests]
    total = 0.0
    for length, group in prefix_groups(token_sequences(list(enumerate(pairs)))):
        total += 2 * length * body + 2 * layers * length**2
        for sequence in group:
            end = len(sequence.tokens) - length
            total += 2 * end * body + 2 * sequence.scored * embedding
            total += 4 * layers * end * (length + end / 2)
    return total


def compete(
    subjects: Mapping[str, Sequence[Question]], contestants: Mapping[str, Any], sample: int | None
) -> dict[str, Tally]:
    """Ask every subject of every contestant in turn.

    Args:
        subjects: Their questions.
        contestants: Models; ours is asked everything.
        sample: How many of a subject's questions the others are asked; None for all. They read
            every prompt whole, so that what a question takes does not depend on their number.

    Returns:
        What each took; who runs out of a GPU's memory is told and left out.
    """
    tallies = {name: Tally() for name in contestants}
    for lm in contestants.values():
        logprobs(lm, next(iter(subjects.values()))[:WARMING_QUESTIONS])
    for subject, whole in subjects.items():
        for name in list(tallies):
            questions = spread(whole, None if name == OURS else sample)
            tally = tallies[name]
            forget_peak()
            ask = functools.partial(logprobs, contestants[name], questions)
            try:
                wall, processor, answers = clocked(ask)
            except torch.OutOfMemoryError:
                print(f"{subject:24} {name:6} ran out of memory and is left out", flush=True)
                del tallies[name]
                continue
            tally.questions[subject] = len(questions)
            tally.wall[subject], tally.processor[subject] = wall, processor
            tally.peak_gib = max(tally.peak_gib, peak_gib())
            tally.answers |= zip((question.id for question in questions), answers, strict=True)
            print(
                f"{subject:24} {name:6} {len(questions):5} questions, {len(questions) / wall:7.2f} "
                f"a second, {len(questions) / processor:7.2f} a processor second, "
                f"peak {peak_gib():.2f} GiB",
                flush=True,
            )
    return tallies


def five_shot(folder: Path, dtype: str, options: argparse.Namespace) -> list[Figure]:
    """Compare on whole prompts of five few-shot examples."""
    peers, data = Peers(folder, dtype), mmlu_folder()
    names, count = subjects_of(data, options.subjects), options.questions or None
    subjects = {
        name: questions_of(data, name, peers.tokenizer, count=count, shots=5) for name in names
    }
    lms = {f"hf@{size}": peers.hf(size) for size in options.batches} | {OURS: peers.ours()}
    print(f"{dtype}, five-shot, {data}, {torch.get_num_threads()} threads")
    tallies = compete(subjects, lms, options.sample)
    needed = sum(flops(peers.model, lms[OURS], questions) for questions in subjects.values())
    sizes = {name: len(questions) for name, questions in subjects.items()}
    return figures_of(tallies, sizes, DTYPES[dtype], bound=needed / matmul_rate(peers.model))


def subjects_of(data: Path, asked: Sequence[str]) -> list[str]:
    """Return the subjects to ask: those of the real MMLU, or all that the demo has."""
    if data == DEMO_DATA:
        return sorted(file.stem for file in data.glob("test/*.jsonl"))
    return list(asked)


def figures_of(
    tallies: dict[str, Tally], sizes: Mapping[str, int], short: str, *, bound: float
) -> list[Figure]:
    """Return what is published of one precision on a processor.

    Args:
        tallies: What every contestant took.
        sizes: How many questions the compared subjects have.
        short: Suffix of the figures' names.
        bound: Seconds that the needed products alone would take.
    """
    ours, others = tallies[OURS], others_than_ours(tallies)
    best = min(others, key=lambda name: others[name].processor_seconds(sizes))
    theirs = others[best]
    return [
        *common_figures(tallies, best, sizes, short, bound=bound),
        Figure(
            f"speedup_{short}_processor_time",
            theirs.processor_seconds(sizes) / ours.processor_seconds(sizes),
            "x",
        ),
        *(
            Figure(f"speedup_{short}_processor_time_{name}", _of_one(theirs, ours, name), "x")
            for name in sizes
        ),
    ]


def others_than_ours(tallies: Mapping[str, Tally]) -> dict[str, Tally]:
    """Return what lm-eval took, by batch size."""
    return {name: tally for name, tally in tallies.items() if name != OURS}


def common_figures(
    tallies: Mapping[str, Tally], best: str, sizes: Mapping[str, int], short: str, *, bound: float
) -> list[Figure]:
    """Return what is published on any device.

    Args:
        tallies: What every contestant took.
        best: Which of lm-eval's ours is held against.
        sizes: How many questions the compared subjects have.
        short: Suffix of the figures' names.
        bound: Seconds that the needed products alone would take.
    """
    ours, theirs, total = tallies[OURS], tallies[best], sum(sizes.values())
    print(f"{short}: lm-eval is best as {best}, asked {sum(theirs.questions.values())} of {total}")
    same = [ours.answers[question] for question in theirs.answers], list(theirs.answers.values())
    return [
        Figure(f"questions_per_second_{short}", total / ours.wall_seconds(sizes), "1/s"),
        *(
            Figure(
                f"lm_eval_batch_{name[3:]}_questions_per_second_{short}",
                total / tally.wall_seconds(sizes),
                "1/s",
            )
            for name, tally in others_than_ours(tallies).items()
        ),
        Figure(f"speedup_{short}", theirs.wall_seconds(sizes) / ours.wall_seconds(sizes), "x"),
        Figure(f"flop_bound_questions_per_second_{short}", total / bound, "1/s"),
        Figure(f"share_of_flop_bound_{short}", bound / ours.wall_seconds(sizes), ""),
        Figure(f"agreement_{short}", agreement(*same), ""),
        Figure(f"max_logprob_diff_{short}", largest_difference(*same), "nats"),
        Figure(f"peak_gib_{short}", ours.peak_gib, "GiB"),
        Figure(f"lm_eval_peak_gib_{short}", theirs.peak_gib, "GiB"),
    ]


def _of_one(theirs: Tally, ours: Tally, subject: str) -> float:
    one = {subject: 1}
    return theirs.processor_seconds(one) / ours.processor_seconds(one)


def other_modes(folder: Path, batch: int, options: argparse.Namespace) -> list[Figure]:
    """Compare where little or nothing is shared; medians of interleaved rounds."""
    peers, data = Peers(folder, "float32"), mmlu_folder()
    subject, count = subjects_of(data, options.subjects)[0], options.other_questions
    pair = (peers.ours(), peers.hf(batch))
    modes = {}
    for name, shots, chat in (("zero_shot", 0, False), ("chat_zero_shot", 0, True)):
        modes[name] = questions_of(
            data, subject, peers.tokenizer, count=count, shots=shots, chat=chat
        )
    modes["chat_five_shot"] = questions_of(
        data, subject, peers.tokenizer, count=count, shots=5, chat=True
    )
    found = [
        Figure(f"speedup_{name}", _ratio(pair, functools.partial(logprobs, questions=q)), "x")
        for name, q in modes.items()
    ]
    requests = [
        Instance("generate_until", {}, (q.prompt, {"until": ["\n"], "max_gen_toks": 16}), n)
        for n, q in enumerate(modes["zero_shot"])
    ]
    ratio = _ratio(pair, lambda lm: lm.generate_until(requests, disable_tqdm=True))
    return [*found, Figure("speedup_generation", ratio, "x")]


def _ratio(pair: tuple[Any, Any], task: Callable[[Any], Any]) -> float:
    """Return the median, over rounds, of the second's processor time over the first's."""
    rounds = [[clocked(functools.partial(task, lm))[1] for lm in pair] for _ in range(ROUNDS)]
    return statistics.median(theirs / ours for ours, theirs in rounds)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv*, measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="model folder; the environment's by default")
    parser.add_argument("--questions", type=int, default=40, help="of each subject; 0 for all")
    parser.add_argument(
        "--sample", type=int, help="how many of them lm-eval is asked; all by default"
    )
    parser.add_argument("--subjects", nargs="+", default=list(SUBJECTS), help="of the real MMLU")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--other-questions", type=int, default=16)
    options = parser.parse_args(argv)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    figures: list[Figure] = []
    with model_folder(options.model) as folder:
        for dtype in options.dtypes:
            figures += five_shot(folder, dtype, options)
        if options.other_questions:
            figures += other_modes(folder, 4, options)
        data = mmlu_folder()
        figures += outside_figures(folder, data, subjects_of(data, options.subjects))
    peak = max(figure.value for figure in figures if figure.name.startswith("peak_gib_"))
    publish("score", [*figures, Figure("peak_gib", peak, "GiB")])


if __name__ == "__main__":
    main()
