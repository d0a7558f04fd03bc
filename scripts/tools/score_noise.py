"""Score one model in several ways that differ in rounding alone, and print how far answers move.

The first way is scoring as it is; the others read rows of another length, padded batches through
lm-eval's `hf`, and where there is a GPU as well, the other device. Each is set beside the first:
log-probabilities, the margin between the right choice and the likeliest other one, and answers that
turned. The figure `noise_nats_*` is what `report: {noise_nats: {float32: ...}}` takes; where it is
not given, the comparison takes USUAL_NATS of scripts/lib/compare/numeric_noise.py.

Try it: make score-noise QUESTIONS=25
"""

import argparse
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.utils import logging as transformers_logging

from scripts.lib.compare.numeric_noise import turns
from scripts.lib.questions.prompts import load_tokenizer
from scripts.lib.questions.question import Question
from scripts.lib.score.shared_prefix import SharedPrefixLM
from scripts.tools.bench import Figure, publish
from scripts.tools.bench_score import DTYPES, SUBJECTS, subjects_of
from scripts.tools.peers import (
    Peers,
    largest_difference,
    logprobs,
    mmlu_folder,
    model_folder,
    questions_of,
)

BATCH = 4
"""Sequences in a padded batch, where memory does not decide."""

Answers = Sequence[Sequence[float]]
"""Log-probabilities (nats) of the choices of each question."""


@dataclass(frozen=True, kw_only=True)
class Moved:
    """How far the answers of one scoring lie from those of another.

    Attributes:
        margins: What the other adds to the margin of each question, in nats.
        turned: Answers that are right in one and wrong in the other.
        net: Right answers more than in the other.
        largest: Largest difference of two log-probabilities, in nats.
    """

    margins: tuple[float, ...]
    turned: int
    net: int
    largest: float


def margin(logprobs: Sequence[float], right: int) -> float:
    """Return the log-probability of the right choice less that of the likeliest other one."""
    return logprobs[right] - max(one for place, one in enumerate(logprobs) if place != right)


def moved(first: Answers, other: Answers, right: Sequence[int]) -> Moved:
    """Return how far the answers of *other* lie from those of *first*.

    Args:
        first: One scoring.
        other: Another of the same questions.
        right: The right choice of each.
    """
    before = [margin(row, place) for row, place in zip(first, right, strict=True)]
    after = [margin(row, place) for row, place in zip(other, right, strict=True)]
    pairs = list(zip(before, after, strict=True))
    return Moved(
        margins=tuple(b - a for a, b in pairs),
        turned=sum((a > 0) != (b > 0) for a, b in pairs),
        net=sum(b > 0 for b in after) - sum(a > 0 for a in before),
        largest=largest_difference(first, other),
    )


def figures(
    first: Answers, found: Sequence[Moved], right: Sequence[int], name: str
) -> list[Figure]:
    """Return what several scorings beside the first say of one precision.

    Args:
        first: The first scoring.
        found: The others beside it.
        right: The right choice of each question.
        name: Of the precision.
    """
    squares = [change**2 for one in found for change in one.margins]
    nats = math.sqrt(math.fsum(squares) / len(squares))
    margins = [abs(margin(row, place)) for row, place in zip(first, right, strict=True)]
    expected = math.fsum(turns(np.array(margins), nats)) if nats else 0.0
    turned = sum(one.turned for one in found) / len(found)
    points = 100 * max(abs(one.net) for one in found) / len(right)
    return [
        Figure(f"noise_nats_{name}", nats, "nats"),
        Figure(f"largest_margin_nats_{name}", math.sqrt(max(squares)), "nats"),
        Figure(f"largest_logprob_nats_{name}", max(one.largest for one in found), "nats"),
        Figure(f"turned_{name}", turned, f"answers of {len(right)}"),
        Figure(f"turned_expected_{name}", expected, f"answers of {len(right)}"),
        Figure(f"accuracy_moved_{name}", points, "points"),
    ]


def ways(peers: Peers, devices: Sequence[str], row_tokens: int) -> Iterator[tuple[str, Any]]:
    """Yield the ways to score a model, each with its name; the first is scoring as it is.

    Args:
        peers: The model, which is moved from device to device.
        devices: Where to compute.
        row_tokens: Tokens in a row of another length.
    """
    for device in devices:
        peers.model.to(device)
        yield f"as it is, {device}", peers.ours()
        other = SharedPrefixLM(
            pretrained=peers.model,
            tokenizer=peers.tokenizer,
            batch_size=BATCH,
            row_tokens=row_tokens,
        )
        yield f"rows of {row_tokens} tokens, {device}", other
        yield f"lm-eval's hf in batches of {BATCH}, {device}", peers.hf(BATCH)


def measure(
    folder: Path, questions: Sequence[Question], dtype: str, options: argparse.Namespace
) -> list[Figure]:
    """Return the figures of one precision, and say on the way what each way of scoring does."""
    right = [question.doc["answer"] for question in questions]
    answers: list[Answers] = []
    found: list[Moved] = []
    for name, lm in ways(Peers(folder, dtype), options.devices, options.row_tokens):
        answers.append(logprobs(lm, questions))
        if len(answers) > 1:
            found.append(moved(answers[0], answers[-1], right))
            text = f"{found[-1].turned} answers turned, log-probabilities within"
            print(f"{dtype}, {name}: {text} {found[-1].largest:.1e} nats", flush=True)
    return figures(answers[0], found, right, DTYPES[dtype])


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv*, measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="model folder; the environment's by default")
    parser.add_argument("--data", type=Path, help="folder with test/ and dev/")
    parser.add_argument("--subjects", nargs="+", default=list(SUBJECTS), help="of the real MMLU")
    parser.add_argument("--questions", type=int, default=25, help="of each subject; 0 for all")
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--row-tokens", type=int, default=192)
    parser.add_argument(
        "--devices",
        nargs="+",
        default=["cuda", "cpu"] if torch.cuda.is_available() else ["cpu"],
        help="all that there are by default; the first scores as it is",
    )
    options = parser.parse_args(argv)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    data = options.data or mmlu_folder()
    measured: list[Figure] = []
    with model_folder(options.model) as folder:
        tokenizer = load_tokenizer(folder, chat_template=False)
        questions = [
            question
            for subject in subjects_of(data, options.subjects)
            for question in questions_of(
                data, subject, tokenizer, count=options.questions or None, shots=options.shots
            )
        ]
        for dtype in options.dtypes:
            measured += measure(folder, questions, dtype, options)
    publish("score-noise", measured)


if __name__ == "__main__":
    main()
