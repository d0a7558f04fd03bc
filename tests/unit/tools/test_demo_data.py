"""The demo data keep what their README promises: right answers, no overlap, no giveaways."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from scripts.lib.questions.categories import category_of

DEMO = Path(__file__).resolve().parents[3] / "resources" / "demo"
SUBJECTS = sorted(path.stem for path in (DEMO / "mmlu" / "test").glob("*.jsonl"))

# An own reading of the orders: nothing here comes from the generator.
NUMBERS = {
    "half a dozen": 6,
    "a couple of": 2,
    **{"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "an": 1, "a": 1},
    **{str(number): number for number in range(1, 7)},
}
NAMES = [
    *["espresso", "americano", "latte", "cappuccino", "flat white", "cortado", "mocha"],
    *["hot chocolate", "iced tea", "pot of tea", "orange juice", "lemonade", "sparkling water"],
    *["bagel", "croissant", "blueberry muffin", "scone", "brownie", "cinnamon roll"],
    *["cheese toastie", "egg sandwich", "bowl of soup", "slice of carrot cake", "fruit salad"],
]
SPELLINGS = {
    "cappucino": "cappuccino",
    "croisant": "croissant",
    "expresso": "espresso",
    "sandwhich": "sandwich",
    "lemonaid": "lemonade",
    "cinamon": "cinnamon",
}
TO_GO = r"\bto go\b|\btake ?away\b|\btaking it with me\b"
HERE = r"\bfor here\b|\bto eat in\b|\beating in\b|\bwe'll sit by the window\b"
NUMBER = "|".join(NUMBERS)
NAME = "|".join(
    # The noun that takes the plural stands before " of ", or at the end.
    re.sub(r"^(\w+)(?= of )|(\w+)$", lambda noun: noun[0] + "(?:e?s)?", name, count=1)
    for name in NAMES
)
ITEM = re.compile(rf"\b({NUMBER}) ({NAME})\b")


def spelt_right(prompt: str) -> str:
    text = prompt.lower()
    for wrong, right in SPELLINGS.items():
        text = text.replace(wrong, right)
    return text


def read_order(prompt: str) -> str:
    """Derive the ticket from the words."""
    text = spelt_right(prompt)
    found = ITEM.findall(text)
    # An item without an amount in front of it would be lost in silence.
    assert len(found) == len(re.findall(rf"\b(?:{NAME})\b", text)), prompt
    lines = []
    for number, said in found:
        [name] = [
            n for n in NAMES if re.fullmatch(n.replace(" of ", "e?s? of ") + "(?:e?s)?", said)
        ]
        lines.append(f"{NUMBERS[number]} {name}")
    return " | ".join([*lines, "to go" if re.search(TO_GO, text) else "here"])


def phrasing_of(prompt: str) -> str:
    """Strip the items and the place from a prompt: what remains is how it is put."""
    text = ITEM.sub("#", spelt_right(prompt))
    text = re.sub(r"#(?:, #)*(?: and #)?", "#", text)
    text = re.sub(r"(?<=[.?]) [^.?]+\.$", "", text)  # the place as a sentence of its own
    text = re.sub(TO_GO.replace(r"\btake", r"\b(?:to |for )take"), "", text)
    return " ".join(re.findall(r"[\w'#]+", re.sub(HERE, "", text)))


def read_jsonl(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def conversations(split: str) -> list[tuple[str, str]]:
    rows = read_jsonl(DEMO / "orders" / f"{split}.jsonl")
    for row in rows:
        assert list(row) == ["messages"]
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
    return [(row["messages"][0]["content"], row["messages"][1]["content"]) for row in rows]


def held_out() -> list[tuple[str, str]]:
    rows = read_jsonl(DEMO / "orders_exact_match" / "questions.jsonl")
    assert all(list(row) == ["prompt", "answer"] for row in rows)
    return [(row["prompt"], row["answer"]) for row in rows]


def all_orders() -> list[tuple[str, str]]:
    splits = ("train", "valid", "test")
    return [*(pair for split in splits for pair in conversations(split)), *held_out()]


def items_of(ticket: str) -> str:
    return ticket.rpartition(" | ")[0]


@pytest.mark.parametrize(
    ("prompt", "ticket"),
    [
        ("Could I get two flat whites and a bagel, to go?", "2 flat white | 1 bagel | to go"),
        (
            "a couple of pots of tea, half a dozen egg sandwhiches",
            "2 pot of tea | 6 egg sandwich | here",
        ),
        ("There are three of us: an iced tea.", "1 iced tea | here"),
        ("I'll go for 3 slices of carrot cake.", "3 slice of carrot cake | here"),
    ],
)
def test_the_own_reading_of_orders_is_right(prompt, ticket):
    assert read_order(prompt) == ticket


def test_every_ticket_follows_from_the_words_of_its_prompt():
    wrong = [(p, ticket) for p, ticket in all_orders() if read_order(p) != ticket]
    assert not wrong


def test_order_counts_are_those_of_the_readme():
    assert len(conversations("train")) == 256
    assert len(conversations("valid")) == len(conversations("test")) == 32
    assert len(held_out()) == 60


def test_no_prompt_and_no_list_of_items_comes_twice_in_any_split():
    orders = all_orders()
    assert len({prompt.lower() for prompt, _ in orders}) == len(orders)
    assert len({items_of(ticket) for _, ticket in orders}) == len(orders)


def test_train_knows_every_item_and_amount_that_is_asked_for():
    known = Counter(part for _, t in conversations("train") for part in items_of(t).split(" | "))
    names = Counter(part.partition(" ")[2] for part in known.elements())
    amounts = Counter(part.partition(" ")[0] for part in known.elements())
    assert sorted(names) == sorted(NAMES)
    assert min(names.values()) >= 8
    assert sorted(amounts) == list("123456")
    assert min(amounts.values()) >= 8


def test_both_places_are_common_so_that_neither_is_a_safe_guess():
    for rows in (conversations("train"), conversations("valid"), held_out()):
        to_go = sum(ticket.endswith("to go") for _, ticket in rows)
        assert 0.35 <= to_go / len(rows) <= 0.65


def test_train_has_many_phrasings_and_some_held_out_ones_are_new():
    taught = {phrasing_of(prompt) for prompt, _ in conversations("train")}
    asked = [phrasing_of(prompt) for prompt, _ in held_out()]
    assert len(taught) >= 25
    assert sum(phrasing not in taught for phrasing in asked) == 20


def test_training_text_stays_small_enough_for_a_minute_on_a_cpu():
    characters = sum(len(prompt) + len(ticket) for prompt, ticket in conversations("train"))
    assert characters < 26_000


def test_the_generator_reproduces_the_committed_files(tmp_path):
    command = [sys.executable, str(DEMO / "make_orders.py"), "--out", str(tmp_path)]
    subprocess.run(command, check=True)
    written = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.jsonl"))
    assert [path.as_posix() for path in written] == [
        "orders/test.jsonl",
        "orders/train.jsonl",
        "orders/valid.jsonl",
        "orders_exact_match/questions.jsonl",
    ]
    for path in written:
        assert (tmp_path / path).read_bytes() == (DEMO / path).read_bytes()


def test_the_benchmark_has_three_subjects_per_category_in_both_maps():
    assert sorted(path.stem for path in (DEMO / "mmlu" / "dev").glob("*.jsonl")) == SUBJECTS
    for category_map in ("hendrycks", "lm-eval"):
        counts = Counter(category_of(subject, category_map) for subject in SUBJECTS)
        assert counts == {"STEM": 3, "Social Sciences": 3, "Humanities": 3, "Other": 3}


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize(("split", "count"), [("test", 10), ("dev", 5)])
def test_questions_have_mmlus_columns_and_four_different_choices(subject, split, count):
    rows = read_jsonl(DEMO / "mmlu" / split / f"{subject}.jsonl")
    assert len(rows) == count
    for row in rows:
        assert list(row) == ["question", "subject", "choices", "answer"]
        assert row["subject"] == subject
        assert len({choice.lower() for choice in row["choices"]}) == 4
        assert all(text == text.strip() != "" for text in [row["question"], *row["choices"]])
        assert row["answer"] in range(4)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_no_letter_is_a_good_guess(subject):
    test, dev = (
        read_jsonl(DEMO / "mmlu" / split / f"{subject}.jsonl") for split in ("test", "dev")
    )
    assert sorted(Counter(row["answer"] for row in test).values()) == [2, 2, 3, 3]
    assert sorted(Counter(row["answer"] for row in dev).values()) == [1, 1, 1, 2]


def test_the_length_of_an_option_gives_nothing_away():
    questions = [row for s in SUBJECTS for row in read_jsonl(DEMO / "mmlu" / "test" / f"{s}.jsonl")]
    longest = shortest = 0
    for row in questions:
        right, *others = sorted(row["choices"], key=lambda c: c != row["choices"][row["answer"]])
        longest += all(len(right) > len(other) for other in others)
        shortest += all(len(right) < len(other) for other in others)
    # Chance is a quarter, less the ties.
    assert longest / len(questions) <= 0.25
    assert shortest / len(questions) <= 0.25


def test_no_question_comes_twice_across_dev_and_test():
    questions = [
        row["question"].lower() for path in DEMO.glob("mmlu/*/*.jsonl") for row in read_jsonl(path)
    ]
    assert len(questions) == 180
    assert len(set(questions)) == len(questions)
