"""Made-up texts as long as real ones: MMLU's questions, and conversations to train on.

How fast a model is depends on how long texts are and what they have in common, not on what they
say. Lengths are drawn from a log-normal distribution of the real mean, with a fixed seed; words are
those of the demo's questions.
"""

import json
import math
import random
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from scripts.tools.peers import DEMO_DATA

SEED = 0
SHOTS = 5

_SPREAD = 0.5  # of the logarithms of lengths: 0.47 on average over MMLU's subjects
_CHOICES = 4
_QUESTION = 0.55  # of the words of a question and its choices

# Of alpaca's first thousand conversations: words, and the spread of their logarithms.
_INSTRUCTION, _ANSWER, _ANSWERS_SPREAD = 14, 114, 0.8
_LONGEST_ANSWER = 430

# Of a mixture of conversations: shares, and the words of a paragraph.
_COPIES, _USELESS, _SINGLE = 0.01, 0.005, 0.8
_PARAGRAPH = 60


class Shape(NamedTuple):
    """How long a subject of MMLU is.

    Attributes:
        questions: How many are asked (`test`).
        words: Of a question with its choices, on average.
        examples: Words of its five examples (`dev`) together.
    """

    questions: int
    words: int
    examples: int


# Counted in the files of https://huggingface.co/datasets/cais/mmlu, words between white space.
MMLU = {
    "abstract_algebra": Shape(100, 34, 137),
    "anatomy": Shape(135, 33, 130),
    "astronomy": Shape(152, 47, 346),
    "business_ethics": Shape(100, 41, 259),
    "clinical_knowledge": Shape(265, 33, 172),
    "college_biology": Shape(144, 48, 208),
    "college_chemistry": Shape(100, 39, 222),
    "college_computer_science": Shape(100, 70, 468),
    "college_mathematics": Shape(100, 47, 284),
    "college_medicine": Shape(173, 71, 236),
    "college_physics": Shape(102, 49, 231),
    "computer_security": Shape(100, 39, 156),
    "conceptual_physics": Shape(235, 25, 132),
    "econometrics": Shape(114, 63, 267),
    "electrical_engineering": Shape(145, 25, 176),
    "elementary_mathematics": Shape(378, 32, 268),
    "formal_logic": Shape(126, 65, 258),
    "global_facts": Shape(100, 27, 189),
    "high_school_biology": Shape(310, 51, 227),
    "high_school_chemistry": Shape(203, 45, 191),
    "high_school_computer_science": Shape(100, 71, 519),
    "high_school_european_history": Shape(165, 268, 1912),
    "high_school_geography": Shape(198, 28, 191),
    "high_school_government_and_politics": Shape(193, 49, 251),
    "high_school_macroeconomics": Shape(390, 43, 173),
    "high_school_mathematics": Shape(270, 33, 201),
    "high_school_microeconomics": Shape(238, 48, 196),
    "high_school_physics": Shape(151, 67, 271),
    "high_school_psychology": Shape(545, 40, 269),
    "high_school_statistics": Shape(216, 84, 432),
    "high_school_us_history": Shape(204, 236, 1463),
    "high_school_world_history": Shape(237, 262, 761),
    "human_aging": Shape(223, 29, 140),
    "human_sexuality": Shape(131, 34, 142),
    "international_law": Shape(121, 66, 379),
    "jurisprudence": Shape(108, 45, 186),
    "logical_fallacies": Shape(163, 45, 230),
    "machine_learning": Shape(112, 45, 361),
    "management": Shape(103, 24, 100),
    "marketing": Shape(234, 34, 205),
    "medical_genetics": Shape(100, 27, 140),
    "miscellaneous": Shape(783, 27, 96),
    "moral_disputes": Shape(346, 45, 261),
    "moral_scenarios": Shape(895, 72, 350),
    "nutrition": Shape(306, 42, 301),
    "philosophy": Shape(311, 37, 129),
    "prehistory": Shape(324, 38, 267),
    "professional_accounting": Shape(282, 65, 310),
    "professional_law": Shape(1534, 201, 1071),
    "professional_medicine": Shape(272, 121, 558),
    "professional_psychology": Shape(612, 51, 342),
    "public_relations": Shape(110, 35, 210),
    "security_studies": Shape(245, 121, 789),
    "sociology": Shape(201, 46, 236),
    "us_foreign_policy": Shape(100, 40, 213),
    "virology": Shape(166, 32, 130),
    "world_religions": Shape(171, 19, 85),
}


def words_to_read(subjects: Iterable[str]) -> int:
    """Return the words of whole *subjects* of MMLU when the examples of each are read once."""
    return sum(MMLU[name].questions * MMLU[name].words + MMLU[name].examples for name in subjects)


def make_subject(folder: Path, name: str) -> None:
    """Write a made-up *name* of MMLU below *folder*, in its columns and of its lengths."""
    shape, draw = MMLU[name], random.Random(f"{SEED} {name}")
    for part, count, words in (
        ("test", shape.questions, shape.words),
        ("dev", SHOTS, shape.examples // SHOTS),
    ):
        (folder / part).mkdir(parents=True, exist_ok=True)
        rows = (_question(draw, name, _length(draw, words, _SPREAD)) for _ in range(count))
        (folder / part / f"{name}.jsonl").write_text(
            "".join(f"{json.dumps(row)}\n" for row in rows)
        )


def make_conversations(file: Path, count: int, *, shorter: int = 1) -> None:
    """Write *count* made-up conversations to *file*, in alpaca's columns and of its lengths.

    Args:
        file: JSON.
        count: How many.
        shorter: Their lengths are divided by it.
    """
    draw = random.Random(SEED)
    rows = [
        {
            "instruction": _text(draw, _length(draw, _INSTRUCTION / shorter, _SPREAD)),
            "input": "",
            "output": _text(
                draw,
                min(_LONGEST_ANSWER, _length(draw, _ANSWER / shorter, _ANSWERS_SPREAD)),
            ),
        }
        for _ in range(count)
    ]
    file.write_text(json.dumps(rows))


def write_mixture(file: Path, count: int) -> None:
    """Write *count* made-up conversations to *file*, as turns: of one answer and of several.

    One in five has up to four answers; one in a hundred says what another said, and one in two
    hundred cannot be used. Their words are the demo's questions' and, as in real texts, one in ten
    is rare.

    Args:
        file: JSON lines.
        count: How many.
    """
    draw = random.Random(SEED)
    words = [*_WORDS, *(a + b for a, b in zip(_WORDS, reversed(_WORDS), strict=True))]
    weights = list(accumulate([9] * len(_WORDS) + [1] * len(_WORDS)))

    def text(mean: float, spread: float) -> str:
        length = min(_LONGEST_ANSWER, _length(draw, mean, spread))
        said = draw.choices(words, cum_weights=weights, k=length)
        lines = range(0, length, _PARAGRAPH)
        return "\n\n".join(" ".join(said[start : start + _PARAGRAPH]) for start in lines)

    line = ""
    with file.open("w", encoding="utf-8") as rows:
        for _ in range(count):
            kind = draw.random()
            if kind >= _COPIES or not line:
                answers = draw.randint(2, 4) if kind > _SINGLE else 1
                turns = [
                    {"role": role, "content": text(mean, spread)}
                    for _ in range(answers)
                    for role, mean, spread in (
                        ("user", _INSTRUCTION, _SPREAD),
                        ("assistant", _ANSWER, _ANSWERS_SPREAD),
                    )
                ]
                if kind < _COPIES + _USELESS:
                    turns[-1]["content"] = ""
                line = json.dumps({"messages": turns}, ensure_ascii=False) + "\n"
            rows.write(line)


def _question(draw: random.Random, subject: str, words: int) -> dict[str, object]:
    own = max(1, round(words * _QUESTION))
    each = max(1, (words - own) // _CHOICES)
    return {
        "question": _text(draw, own),
        "subject": subject,
        "choices": [_text(draw, each) for _ in range(_CHOICES)],
        "answer": draw.randrange(_CHOICES),
    }


def _length(draw: random.Random, mean: float, spread: float) -> int:
    return max(1, round(draw.lognormvariate(math.log(mean) - spread**2 / 2, spread)))


def _text(draw: random.Random, words: int) -> str:
    return " ".join(draw.choices(_WORDS, k=words))


def _words() -> Iterator[str]:
    for file in sorted(DEMO_DATA.glob("test/*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            yield from json.loads(line)["question"].split()


_WORDS = list(_words())
