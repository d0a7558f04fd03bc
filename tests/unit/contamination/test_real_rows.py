"""MMLU's questions in real rows: two that stand there, and planted ones as the method says."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.lib.benchmarks.mmlu.texts import texts
from scripts.lib.contamination.matching import Match, Method, Questions
from scripts.lib.contamination.words import words

METHOD = Method(ngram=8, threshold=0.5)
PLANTED = ("anatomy:13", "astronomy:24", "virology:10", "prehistory:9", "nutrition:20")
"""Some of over twenty words, of which two fifths are the n-gram that is looked for, or more."""

TURN = "Here is one that I was asked yesterday. {} I did not know what to say."


def cut(share: float) -> Callable[[str], str]:
    """Return what keeps the first words of a question."""

    def first(text: str) -> str:
        own = text.split()
        return " ".join(own[: round(share * len(own))])

    return first


def one_word_changed(text: str) -> str:
    """Return a question with another word in its middle."""
    own = text.split()
    own[len(own) // 2] = "somethingelse"
    return " ".join(own)


WAYS: dict[str, tuple[Callable[[str], str], str | None]] = {
    "verbatim": (str, "exact"),
    "in a longer turn": (TURN.format, "exact"),
    "tabs": (lambda text: text.upper().replace(" ", "\t\n"), "exact"),
    "no-break spaces": (lambda text: text.replace(" ", "\u00a0"), "exact"),
    "80 %": (cut(0.8), "n-grams"),
    "60 %": (cut(0.6), "n-grams"),
    "one word changed": (one_word_changed, "n-grams"),
    "40 %": (cut(0.4), None),
    "20 %": (cut(0.2), None),
}
"""Way in which a question is planted -> what becomes of it, how it is found."""


@pytest.fixture(scope="module")
def real() -> tuple[dict[str, str], list[list[str]]]:
    """Questions of MMLU by id, and the turns of real conversations."""
    folder = os.environ.get("TUNESMITH_REAL_DATA")
    if not folder:
        pytest.skip("TUNESMITH_REAL_DATA names no folder with real datasets")
    asked = {one.id: one.text for one in texts(Path(folder, "mmlu"), None)}
    rows = json.loads(Path(folder, "sft/alpaca_en_demo.json").read_text(encoding="utf-8"))
    turns = [[f"{row['instruction']}\n{row['input']}", row["output"]] for row in rows]
    calls = json.loads(Path(folder, "sft/glaive_toolcall_en_demo.json").read_text(encoding="utf-8"))
    turns += [[turn["value"] for turn in row["conversations"]] for row in calls]
    return asked, turns


@pytest.fixture(scope="module")
def found(real) -> dict[str, dict[str, Match]]:
    """What is found of each planted question, way by way; and of all in the rows themselves."""
    asked, turns = real
    ids = list(asked)
    questions = Questions(list(asked.values()), METHOD)

    def find(conversations):
        best: dict[str, Match] = {}
        for match in questions.find(conversations):
            best.setdefault(ids[match.question], match)
        return best

    planted = {
        way: find([*turns[:50], *([change(asked[id]), "Yes."] for id in PLANTED)])
        for way, (change, _) in WAYS.items()
    }
    return {"": find(turns), **planted}


def test_two_questions_stand_in_the_real_rows_and_no_others(found):
    assert {id: match.how for id, match in found[""].items()} == {
        "astronomy:49": "exact",
        "astronomy:117": "exact",
    }


@pytest.mark.parametrize("way", WAYS)
def test_a_planted_question_is_found_as_the_method_says(real, found, way):
    asked, _ = real
    _, how = WAYS[way]
    for id in PLANTED:
        assert len(words(asked[id])) >= 20
        match = found[way].get(id)
        assert (match and match.how) == how, id
