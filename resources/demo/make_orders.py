"""Write the demo's cafe orders: everyday words in, one ticket line out.

Writes  <out>/orders/train.jsonl                          conversations to learn from
        <out>/orders/valid.jsonl                          conversations to watch while learning
        <out>/orders/test.jsonl                           conversations that no run sees
        <out>/orders_exact_match/questions.jsonl          held-out prompts with the one right ticket
Try it  python resources/demo/make_orders.py --out resources/demo

A ticket names each item once, in the order spoken: `2 flat white | 1 bagel | to go`. Amounts are
digits, names are singular, and the line ends with `to go` or `here`; who says nothing stays here.
The same seed gives the same bytes on every machine.
"""

import argparse
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SEED = 20
TRAIN_ROWS = 256
VALID_ROWS = 32
TEST_ROWS = 32
QUESTION_ROWS = 60

# Singular and plural; the ticket always has the singular.
MENU = (
    ("espresso", "espressos"),
    ("americano", "americanos"),
    ("latte", "lattes"),
    ("cappuccino", "cappuccinos"),
    ("flat white", "flat whites"),
    ("cortado", "cortados"),
    ("mocha", "mochas"),
    ("hot chocolate", "hot chocolates"),
    ("iced tea", "iced teas"),
    ("pot of tea", "pots of tea"),
    ("orange juice", "orange juices"),
    ("lemonade", "lemonades"),
    ("sparkling water", "sparkling waters"),
    ("bagel", "bagels"),
    ("croissant", "croissants"),
    ("blueberry muffin", "blueberry muffins"),
    ("scone", "scones"),
    ("brownie", "brownies"),
    ("cinnamon roll", "cinnamon rolls"),
    ("cheese toastie", "cheese toasties"),
    ("egg sandwich", "egg sandwiches"),
    ("bowl of soup", "bowls of soup"),
    ("slice of carrot cake", "slices of carrot cake"),
    ("fruit salad", "fruit salads"),
)
MISSPELT = (
    ("cappuccino", "cappucino"),
    ("croissant", "croisant"),
    ("espresso", "expresso"),
    ("sandwich", "sandwhich"),
    ("lemonade", "lemonaid"),
    ("cinnamon", "cinamon"),
)

AMOUNTS = (1, 2, 3, 4, 5, 6)
AMOUNT_WEIGHTS = (8, 5, 3, 2, 1, 1)
AMOUNT_WORDS = {
    1: ("a", "a", "one"),
    2: ("two", "two", "a couple of"),
    3: ("three",),
    4: ("four",),
    5: ("five",),
    6: ("six", "half a dozen"),
}
ITEMS_PER_ORDER = (1, 2, 2, 3)

# {order} is the whole list, {first} and {rest} split it, {place} is where the place may be said.
PHRASINGS = (
    "Could I get {order}{place}?",
    "Can I have {order}{place}, please?",
    "Can we get {order}{place}?",
    "May I have {order}{place}?",
    "Could you make us {order}{place}?",
    "I'd like {order}{place}, please.",
    "I'll have {order}{place}.",
    "I'll take {order}{place}, thanks.",
    "We'd like {order}{place}.",
    "We'll have {order}{place}, please.",
    "Hi, {order}{place}, please.",
    "Hello there, {order}{place}, please.",
    "Good morning, could I order {order}{place}?",
    "Hey, can I grab {order}{place}?",
    "Just {order}{place}, thanks.",
    "{order}{place}, please.",
    "{order}{place}.",
    "Let me get {order}{place}.",
    "Let's do {order}{place}.",
    "Please give me {order}{place}.",
    "Would you bring {order}{place}?",
    "My friend and I want {order}{place}.",
    "There are three of us and we'd like {order}{place}.",
    "I think I'll go for {order}{place}.",
    "Is it possible to get {order}{place}?",
    "I need {order}{place}, please.",
    "For my team: {order}{place}.",
    "I'm hungry, so {order}{place}.",
    "{first} for me and {rest} for my friend{place}.",
    "Start with {first}, then add {rest}{place}.",
    "I'll have {first}, and she'll have {rest}{place}.",
    "{first} first, and after that {rest}{place}.",
)
UNSEEN_PHRASINGS = (
    "Morning! I was hoping for {order}{place}.",
    "Do you have time to make {order}{place}?",
    "Put me down for {order}{place}, please.",
    "Our order is {order}{place}.",
    "My sister wants {first} and I want {rest}{place}.",
    "Thanks for waiting, we'll go with {order}{place}.",
)

HERE, TO_GO = "here", "to go"
# Said inside the sentence, or as a sentence of its own.
INLINE_PLACE = {
    HERE: ("", "", " for here", " to eat in"),
    TO_GO: (" to go", " to go", " to take away", " for takeaway"),
}
OWN_SENTENCE_PLACE = {
    HERE: ("We'll sit by the window.", "I'm eating in."),
    TO_GO: ("It's to go.", "I'm taking it with me."),
}


@dataclass(frozen=True)
class Order:
    """What is wanted: (amount, singular, plural) per item, and `here` or `to go`."""

    items: tuple[tuple[int, str, str], ...]
    place: str

    @property
    def ticket(self) -> str:
        """The one right line for this order."""
        return " | ".join([*(f"{amount} {name}" for amount, name, _ in self.items), self.place])


def draw_order(rng: random.Random, items: int) -> Order:
    """Draw one order of *items* different things."""
    amounts = rng.choices(AMOUNTS, AMOUNT_WEIGHTS, k=items)
    names = rng.sample(MENU, items)
    return Order(
        tuple((amount, *name) for amount, name in zip(amounts, names, strict=True)),
        rng.choice((HERE, TO_GO)),
    )


def say_item(rng: random.Random, amount: int, singular: str, plural: str) -> str:
    """Say one item of an order: (2, "scone", "scones") may become "a couple of scones"."""
    word = str(amount) if rng.random() < 0.1 else rng.choice(AMOUNT_WORDS[amount])
    if word == "a" and singular[0] in "aeiou":
        word = "an"
    return f"{word} {singular if amount == 1 else plural}"


def join_items(items: Sequence[str]) -> str:
    """Join as spoken: "x", "x and y", "x, y and z"."""
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))


def say_order(rng: random.Random, order: Order, phrasing: str) -> str:
    """Say *order* in the words of *phrasing*, now and then sloppily typed."""
    spoken = [say_item(rng, *item) for item in order.items]
    inline, tail = rng.choice(INLINE_PLACE[order.place]), ""
    if rng.random() < 0.2:
        inline, tail = "", " " + rng.choice(OWN_SENTENCE_PLACE[order.place])
    text = phrasing.format(
        order=join_items(spoken), first=spoken[0], rest=join_items(spoken[1:] or [""]), place=inline
    )
    text = text[0].upper() + text[1:] + tail
    if rng.random() < 0.1:
        for right, wrong in MISSPELT:
            text = text.replace(right, wrong)
    return text.lower() if rng.random() < 0.1 else text


def draw_rows(
    rng: random.Random, count: int, phrasings: Sequence[str], used_items: set[str]
) -> list[tuple[str, str]]:
    """Draw (prompt, ticket) pairs whose items and amounts are not yet in *used_items*.

    Args:
        rng: Source of every choice.
        count: Rows wanted.
        phrasings: Each is used about equally often.
        used_items: Lists of items already taken, whatever the place; new ones are added.

    Returns:
        The pairs; no list of items comes twice.
    """
    rows: list[tuple[str, str]] = []
    while len(rows) < count:
        phrasing = phrasings[len(rows) % len(phrasings)]
        sizes = [n for n in ITEMS_PER_ORDER if n > 1 or "{rest}" not in phrasing]
        order = draw_order(rng, rng.choice(sizes))
        key = order.ticket.rpartition(" | ")[0]
        if key in used_items:
            continue
        used_items.add(key)
        rows.append((say_order(rng, order, phrasing), order.ticket))
    rng.shuffle(rows)
    return rows


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write one JSON object per line, with the same line ends everywhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8", newline="\n")


def as_conversation(prompt: str, ticket: str) -> dict[str, object]:
    """Put a pair into the `messages` form."""
    return {
        "messages": [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": ticket},
        ]
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Write the four files under --out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    out = parser.parse_args(argv).out

    rng = random.Random(SEED)
    used: set[str] = set()
    # The held-out rows are drawn first, so that no training row can use up their combinations.
    seen = draw_rows(rng, QUESTION_ROWS * 2 // 3, PHRASINGS, used)
    unseen = draw_rows(rng, QUESTION_ROWS // 3, UNSEEN_PHRASINGS, used)
    train = draw_rows(rng, TRAIN_ROWS, PHRASINGS, used)
    valid = draw_rows(rng, VALID_ROWS, PHRASINGS, used)
    test = draw_rows(rng, TEST_ROWS, PHRASINGS, used)

    # Every third is phrased in a new way, so that whoever asks only the first asks of both kinds.
    asked = [row for three in zip(seen[::2], seen[1::2], unseen, strict=True) for row in three]
    questions = [{"prompt": prompt, "answer": ticket} for prompt, ticket in asked]
    write_jsonl(out / "orders_exact_match" / "questions.jsonl", questions)
    write_jsonl(out / "orders" / "train.jsonl", (as_conversation(*row) for row in train))
    write_jsonl(out / "orders" / "valid.jsonl", (as_conversation(*row) for row in valid))
    write_jsonl(out / "orders" / "test.jsonl", (as_conversation(*row) for row in test))


if __name__ == "__main__":
    main()
