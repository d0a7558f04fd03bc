"""Generation through lm-eval's `hf` and through ours: the same prompts, interleaved.

The prompts are made: word problems, puzzles, instructions and functions of the shapes and lengths
of GSM8K, BBH, IFEval and HumanEval, so that no data has to be there; the model may be a real one.
Every shape is asked of every contestant in turn, and the processor time of this process counts,
which a busy machine distorts little when one thread computes (OMP_NUM_THREADS=1).

Texts are held against those of lm-eval with a batch of one. Where one differs, the margin of its
first differing token is shown: how much likelier the model, asked for nothing else, finds the one
than the other. In float32 it is rounding that decides there, or something is wrong.

Try it: make bench-generate QUESTIONS=32 NEW_TOKENS=64
"""

import argparse
import functools
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers.utils import logging as transformers_logging

from scripts.lib.questions.prompts import Chat, load_tokenizer
from scripts.lib.score.generation import Prompt
from scripts.lib.score.shared_prefix import SharedPrefixLM
from scripts.lib.score.until import greedy_prompts
from scripts.tools.bench import Figure, publish
from scripts.tools.bench_score import DTYPES
from scripts.tools.devices import clocked
from scripts.tools.peers import Peers, model_folder

OURS = "ours"
# What decides between two tokens below this, in nats, is rounding.
ROUNDING = 1e-4

# What is asked one by one as well: with many examples and with none.
APART = ("gsm8k", "gsm8k_zero_shot", "ifeval")

_NAMES = ("Ann", "Bilal", "Chen", "Dora", "Emeka", "Fatima", "Goran", "Hana", "Ines", "Jomo")
_THINGS = ("apples", "marbles", "stamps", "pencils", "tickets", "bricks", "cards", "shells")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")


@dataclass(frozen=True)
class Shape:
    """Prompts of one shape, and how their answers end.

    Attributes:
        prompts: The texts that the model goes on with.
        until: Texts that end an answer, as lm-eval's task of this shape has them.
    """

    prompts: list[str]
    until: tuple[str, ...]

    def requests(self, new_tokens: int) -> list[Instance]:
        """Return what lm-eval asks."""
        options = {"until": list(self.until), "do_sample": False, "max_gen_toks": new_tokens}
        return [
            Instance("generate_until", {}, (prompt, dict(options)), at)
            for at, prompt in enumerate(self.prompts)
        ]


def word_problem(draw: random.Random) -> tuple[str, str]:
    """Return a problem of grade-school mathematics and its solution in GSM8K's form."""
    name, other = draw.sample(_NAMES, 2)
    thing = draw.choice(_THINGS)
    first, days, each, price = (draw.randrange(3, 40) for _ in range(4))
    kept = draw.randrange(1, first)
    total = first - kept + days * each
    question = (
        f"{name} starts the month with {first} {thing} and gives all but {kept} of them to {other}."
        f" For the next {days} days {other} finds {each} more {thing} a day, which are put into the"
        f" same box. At the end of the month {other} sells everything in the box at ${price} a"
        " piece to a neighbour who pays at once. How many dollars does the neighbour pay?"
    )
    answer = (
        f"{other} gets {first} - {kept} = <<{first}-{kept}={first - kept}>>{first - kept} {thing}"
        f" from {name}.\nIn {days} days {other} finds {days} * {each} ="
        f" <<{days}*{each}={days * each}>>{days * each} more.\nThat is {first - kept} +"
        f" {days * each} = <<{first - kept}+{days * each}={total}>>{total} {thing} in the box.\n"
        f"The neighbour pays {total} * {price} = $<<{total}*{price}={total * price}>>"
        f"{total * price}.\n#### {total * price}"
    )
    return question, answer


def puzzle(draw: random.Random) -> tuple[str, str]:
    """Return a puzzle of BBH's kind and how it is reasoned about."""
    names = draw.sample(_NAMES, 3)
    things = draw.sample(_THINGS, 3)
    held = dict(zip(names, things, strict=True))
    told, steps = "", ""
    for day in _DAYS[:3]:
        one, other = draw.sample(names, 2)
        held[one], held[other] = held[other], held[one]
        told += f" On {day}, {one} and {other} swap what they hold."
        steps += f" After {day}: " + ", ".join(f"{n} holds the {held[n]}" for n in names) + "."
    wanted = draw.choice(names)
    start = ", ".join(f"{n} holds the {t}" for n, t in zip(names, things, strict=True))
    question = (
        f"Three friends hold one thing each: {start}.{told} What does {wanted} hold in the end?"
    )
    return question, f"Let's think step by step.{steps} So the answer is {held[wanted]}."


def instruction(draw: random.Random) -> str:
    """Return an instruction with conditions that can be checked, as IFEval's."""
    conditions = [
        f"Use at least {draw.randrange(40, 200)} words.",
        f"Mention the word '{draw.choice(_THINGS)}' {draw.randrange(2, 6)} times.",
        "Do not use any commas.",
        f"End with the words 'that is all from {draw.choice(_NAMES)}'.",
        f"Answer in {draw.randrange(2, 6)} paragraphs, separated by ***.",
    ]
    kept = " ".join(draw.sample(conditions, draw.randrange(1, len(conditions))))
    return f"Write a letter to {draw.choice(_NAMES)} about {draw.choice(_THINGS)}. {kept}"


def function(draw: random.Random) -> str:
    """Return the head of a function with its description and examples, as HumanEval's."""
    name, first, second = draw.choice(_THINGS), draw.randrange(2, 9), draw.randrange(2, 9)
    values = [draw.randrange(20) for _ in range(draw.randrange(4, 12))]
    return (
        "from typing import List\n\n\n"
        f"def every_{first}_of_{name}(values: List[int]) -> List[int]:\n"
        f'    """Return the values at places that {first} divides, each times {second}.\n\n'
        f"    >>> every_{first}_of_{name}({values})\n"
        f'    {[value * second for value in values[::first]]}\n    """\n'
    )


def shapes(count: int, tokenizer: Any) -> dict[str, Shape]:
    """Return made prompts by the benchmark whose shape they have; the same for the same *count*."""
    draw = random.Random(0)
    shown = [word_problem(draw) for _ in range(5)]
    solved = [puzzle(draw) for _ in range(3)]
    chat = Chat(tokenizer)
    maths = ("Question:", "</s>", "<|im_end|>")

    def in_gsm8k(examples: Sequence[tuple[str, str]], question: str) -> str:
        head = "".join(f"Question: {asked}\nAnswer: {said}\n\n" for asked, said in examples)
        return f"{head}Question: {question}\nAnswer:"

    puzzles = "".join(f"Q: {asked}\nA: {said}\n\n" for asked, said in solved)
    return {
        "gsm8k": Shape([in_gsm8k(shown, word_problem(draw)[0]) for _ in range(count)], maths),
        # lm-eval's own task draws other examples for each question.
        "gsm8k_drawn": Shape(
            [
                in_gsm8k([word_problem(draw) for _ in range(5)], word_problem(draw)[0])
                for _ in range(count)
            ],
            maths,
        ),
        "gsm8k_zero_shot": Shape(
            [in_gsm8k([], word_problem(draw)[0]) for _ in range(count)], maths
        ),
        "bbh": Shape(
            [
                "Follow who holds what.\n\n" + puzzles + f"Q: {puzzle(draw)[0]}\nA: Let's think"
                " step by step."
                for _ in range(count)
            ],
            ("</s>", "Q:", "\n\n"),
        ),
        "ifeval": Shape(
            [chat([{"role": "user", "content": instruction(draw)}]) for _ in range(count)], ()
        ),
        "humaneval": Shape(
            [function(draw) for _ in range(count)],
            ("\nclass", "\ndef", "\n#", "\nif", "\nprint"),
        ),
    }


class Remembering:
    """What both models remember: the tokens of their answers, by those of the prompts."""

    said: dict[tuple[int, ...], list[int]]


class TheirModel(Remembering, HFLM):  # type: ignore[misc]  # lm-eval has no types
    """lm-eval's model, with a memory."""

    def _model_generate(self, context: Any, **options: Any) -> Any:
        output = super()._model_generate(context, **options)
        for row, kept, new in zip(context, options["attention_mask"], output, strict=True):
            self.said[tuple(row[kept.bool()].tolist())] = new[len(row) :].tolist()
        return output


class OurModel(Remembering, SharedPrefixLM):
    """Ours, with a memory."""

    def new_tokens(self, prompts: Mapping[int, Prompt]) -> Iterator[tuple[int, list[int]]]:
        """As `SharedPrefixLM.new_tokens`."""
        for at, new in super().new_tokens(prompts):
            self.said[prompts[at].tokens] = new
            yield at, new


@dataclass
class Tally:
    """What one contestant said, and what it took.

    Attributes:
        texts: Its answers.
        seconds: Processor time.
    """

    texts: list[str]
    seconds: float


def contestants(model: Any, tokenizer: Any, batches: Sequence[int]) -> dict[str, Any]:
    """Return lm-eval's model at each batch size, and ours."""
    shared = {"pretrained": model, "tokenizer": tokenizer}
    found = {f"hf@{size}": TheirModel(**shared, batch_size=size) for size in batches}
    found[OURS] = OurModel(**shared, batch_size=max(batches))
    for lm in found.values():
        lm.said = {}
    return found


def compete(
    lms: Mapping[str, Any], requests: Sequence[Instance], *, apart: bool = False
) -> dict[str, Tally]:
    """Ask all of the contestants for the same answers.

    Args:
        lms: The contestants.
        requests: What they are asked.
        apart: Whether one request is asked after the other.
    """
    groups = [[request] for request in requests] if apart else [list(requests)]
    tallies = {}
    for name, lm in lms.items():
        texts, seconds = list[str](), 0.0
        for group in groups:
            _, processor, said = clocked(functools.partial(lm.generate_until, group, True))
            texts += said
            seconds += processor
        tallies[name] = Tally(texts, seconds)
    return tallies


def margin(model: Any, prompt: Sequence[int], one: Sequence[int], other: Sequence[int]) -> float:
    """Return how far apart, in nats, the first differing tokens of two answers are."""
    at = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    if at is None:
        return 0.0
    with torch.inference_mode():
        ids = torch.tensor([[*prompt, *one[:at]]], device=model.device)
        logprobs = model(ids, logits_to_keep=1).logits[0, -1].float().log_softmax(-1)
    return abs(float(logprobs[one[at]] - logprobs[other[at]]))


def margins(
    ours: Any, theirs: Any, requests: Sequence[Instance], same: Sequence[bool]
) -> list[float]:
    """Return the margin of every answer whose text is not the same."""
    prompts = greedy_prompts(ours, requests)
    asked = [prompts[at][0].tokens for at, is_same in enumerate(same) if not is_same]
    return [margin(ours.model, one, ours.said[one], theirs.said[one]) for one in asked]


def figures_of(
    name: str, dtype: str, tallies: Mapping[str, Tally], apart: list[float]
) -> list[Figure]:
    """Return what is published of one shape, and print it."""
    ours = tallies[OURS]
    theirs = {key: tally for key, tally in tallies.items() if key != OURS}
    best = min(theirs, key=lambda key: theirs[key].seconds)
    count = len(ours.texts)
    print(
        f"{dtype} {name:16} "
        + ", ".join(f"{key} {tally.seconds / count:6.2f} s" for key, tally in tallies.items())
        + f" an answer; {theirs[best].seconds / ours.seconds:.2f} times {best};"
        f" {count - len(apart)} of {count} texts the same"
        + (f", margins up to {max(apart):.1e}" if apart else ""),
        flush=True,
    )
    suffix = f"{name}_{DTYPES[dtype]}"
    return [
        Figure(f"seconds_per_answer_{suffix}", ours.seconds / count, "s"),
        Figure(f"lm_eval_seconds_per_answer_{suffix}", theirs[best].seconds / count, "s"),
        Figure(f"speedup_{suffix}", theirs[best].seconds / ours.seconds, "x"),
        Figure(f"same_texts_{suffix}", (count - len(apart)) / count, ""),
        Figure(f"beyond_rounding_{suffix}", sum(one >= ROUNDING for one in apart), "answers"),
        Figure(f"largest_margin_{suffix}", max(apart, default=0.0), "nats"),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv*, measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="model folder; the environment's by default")
    parser.add_argument("--questions", type=int, default=32, help="of each shape")
    parser.add_argument("--new-tokens", type=int, default=64, help="longest answer")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=["float32"])
    parser.add_argument("--shapes", nargs="+", help="some of them; all by default")
    parser.add_argument("--apart", type=int, default=3, help="prompts that are asked one by one")
    options = parser.parse_args(argv)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    figures: list[Figure] = []
    with model_folder(options.model) as folder:
        for dtype in options.dtypes:
            figures += measure(folder, dtype, options)
    publish("generate", figures)


def measure(folder: Path, dtype: str, options: argparse.Namespace) -> list[Figure]:
    """Compare in one precision, all shapes at once and one prompt by itself."""
    model = Peers(folder, dtype).model
    tokenizer = load_tokenizer(folder, chat_template=True)
    lms = contestants(model, tokenizer, options.batches)
    made = shapes(options.questions, tokenizer)
    wanted = options.shapes or list(made)
    figures = []
    compete(lms, made["gsm8k_zero_shot"].requests(2)[:2])
    for name in wanted:
        requests = made[name].requests(options.new_tokens)
        rounds = [(name, requests, False)]
        if options.apart and name in APART:
            rounds.append((f"{name}_apart", requests[: options.apart], True))
        for title, asked, apart in rounds:
            tallies = compete(lms, asked, apart=apart)
            first = f"hf@{options.batches[0]}"
            same = [a == b for a, b in zip(tallies[OURS].texts, tallies[first].texts, strict=True)]
            wide = margins(lms[OURS], lms[first], asked, same)
            figures += figures_of(title, dtype, tallies, wide)
    return figures


if __name__ == "__main__":
    main()
