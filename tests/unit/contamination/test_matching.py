"""Which questions stand in a conversation: verbatim, shortened, in other forms, and by chance."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.lib.contamination.matching import Match, Method, Questions
from scripts.lib.contamination.words import words

METHOD = Method(ngram=8, threshold=0.5)
QUESTION = (
    "A 45-year-old farmer is brought in after he drank water from a well near a field that was"
    " sprayed yesterday. Which enzyme is most likely inhibited by what he drank?"
)
BEFORE = "Here is something else to think about, with quite a few words of its own in front. "
BEHIND = " And a good many words that have nothing to do with it stand behind it, as in any text."


def found(question: str, *turns: str, method: Method = METHOD) -> Match | None:
    """Return the match of one question in one conversation, if there is one."""
    matches = list(Questions([question], method).find([turns]))
    assert len(matches) < 2
    return matches[0] if matches else None


def part(share: float) -> str:
    """Return the first words of the question."""
    own = QUESTION.split()
    return " ".join(own[: round(share * len(own))])


@pytest.mark.parametrize(
    "planted",
    [
        QUESTION,
        BEFORE + QUESTION + BEHIND,
        QUESTION.upper(),
        QUESTION.replace(" ", "\n\t "),
        QUESTION.replace(" ", "\u00a0"),
        QUESTION.replace("-", " ").replace(".", "...").replace("?", " ?!"),
        "**" + QUESTION.replace(" Which", "**\n\n> Which"),
        QUESTION.replace("fi", "\ufb01"),
        QUESTION.replace("sprayed", "spra\u00adyed"),
    ],
)
def test_a_question_is_found_whole_whatever_its_case_spaces_punctuation_and_code_points(planted):
    match = found(QUESTION, "Hello.", planted)
    assert match is not None
    assert (match.how, match.share, match.turn) == ("exact", 1.0, 1)


def test_the_place_where_it_stands_is_told():
    match = found(QUESTION, "Hello.", BEFORE + QUESTION)
    assert match is not None
    assert words(BEFORE + QUESTION)[match.word :] == words(QUESTION)


@pytest.mark.parametrize(("share", "there"), [(0.9, True), (0.6, True), (0.4, False), (0.2, False)])
def test_a_shortened_question_is_found_by_the_share_of_its_words(share, there):
    match = found(QUESTION, BEFORE + part(share) + BEHIND)
    assert (match is not None) == there
    if match:
        assert match.how == "n-grams"
        assert match.share == pytest.approx(len(words(part(share))) / len(words(QUESTION)))


def test_a_word_changed_in_the_middle_costs_that_word_alone():
    match = found(QUESTION, QUESTION.replace("yesterday", "today"))
    assert match is not None
    assert match.how == "n-grams"
    assert match.share == pytest.approx(1 - 1 / len(words(QUESTION)))


def test_halves_in_two_conversations_are_no_question_in_either_and_in_two_turns_of_one_they_are():
    own = words(QUESTION)
    one, two = " ".join(own[:12]), " ".join(own[-12:])
    assert len(own) / 2 > 12
    assert not list(Questions([QUESTION], METHOD).find([[one], [two]]))
    match = found(QUESTION, one, two)
    assert match is not None
    assert match.how == "n-grams"


def test_no_n_gram_reaches_from_one_turn_into_the_next():
    own = QUESTION.split()
    assert found(QUESTION, *(" ".join(own[at : at + 7]) for at in range(0, len(own), 7))) is None


def test_all_words_in_another_order_are_no_question():
    own = words(QUESTION)
    random.Random(0).shuffle(own)
    assert found(QUESTION, " ".join(own)) is None


@pytest.mark.parametrize(
    ("turn", "there"),
    [
        ("What is 2+2?", True),
        ("what is 2 + 2", True),
        ("Tell me: what is 2+2?", False),
        ("What is 2+2? A. 3 B. 4", False),
    ],
)
def test_a_short_question_is_found_where_a_whole_turn_says_the_same(turn, there):
    match = found("What is 2+2?", "Hello.", turn)
    assert (match is not None) == there
    if match:
        assert (match.how, match.share) == ("exact", 1.0)


def test_a_question_shorter_than_an_n_gram_is_one():
    question = "one two three four five six seven eight nine ten"
    long = Method(ngram=13, threshold=0.5)
    match = found(question, f"zero {question} eleven", method=long)
    assert match is not None
    assert match.how == "exact"
    assert found(question, question.removesuffix(" ten"), method=long) is None


def test_without_a_threshold_one_n_gram_is_enough():
    planted = BEFORE + " ".join(words(QUESTION)[5:13]) + BEHIND
    assert found(QUESTION, planted) is None
    match = found(QUESTION, planted, method=Method(ngram=8, threshold=0.0))
    assert match is not None
    assert match.share == pytest.approx(8 / len(words(QUESTION)))


def test_what_many_questions_begin_with_is_no_sign_of_one_of_them():
    frame = "For which of these two scenarios does the main character clearly do something wrong?"
    names = [chr(ord("a") + place) for place in range(12)]
    own = [f"{n}1 {n}2 {n}3 {n}4 {n}5 {n}6 {n}7 {n}8 {n}9" for n in names]
    questions = Questions([f"{frame} {text}" for text in own], METHOD)
    assert not list(questions.find([[frame], [f"Tell me: {frame} Once upon a time it was."]]))
    (part,) = questions.find([[f"{own[3]} and no more"]])
    assert (part.question, part.how, part.share) == (3, "n-grams", pytest.approx(9 / 16))
    (whole,) = questions.find([[f"{frame} {own[5]}"]])
    assert (whole.question, whole.how, whole.share) == (5, "exact", 1.0)


def test_equal_questions_are_found_all():
    questions = Questions([QUESTION] * 12, METHOD)
    assert [one.question for one in questions.find([[QUESTION]])] == list(range(12))


def test_a_question_without_words_is_never_found():
    assert found("?!", "?!", "") is None


@pytest.mark.parametrize(
    ("question", "turn"),
    [
        (
            "日本国憲法が施行されたのは何年ですか。",
            "質問です:日本国憲法が施行されたのは何年ですか?",
        ),
        ("下列哪一项不是植物细胞的组成部分", "请回答:下列哪一项不是植物细胞的组成部分?谢谢"),
        ("ประเทศไทยมีกี่จังหวัดในปัจจุบัน", "ถามว่า ประเทศไทยมีกี่จังหวัดในปัจจุบัน ครับ"),
        (
            "भारत का संविधान किस वर्ष में लागू हुआ था और किसने",
            "बताइए: भारत का संविधान किस वर्ष में लागू हुआ था और किसने?",
        ),
    ],
)
def test_a_question_in_a_script_without_spaces_or_with_marks_is_found_whole(question, turn):
    match = found(question, turn)
    assert match is not None
    assert match.how == "exact"


def test_a_vowel_sign_is_part_of_its_word():
    assert words("में किस") == ["में", "किस"]
    assert words("ที่นี่") == ["ที่", "นี่"]


WORD = st.sampled_from(["ada", "bob", "cat", "dog", "eel", "fox"])
TEXT = st.lists(WORD, max_size=30).map(" ".join)


def by_hand(question: str, turns: list[str], method: Method) -> tuple[bool, float]:
    """Return whether a question is found and its share, by comparing lists of words."""
    own = question.split()
    if len(own) < min(8, method.ngram):
        same = bool(own) and any(turn.split() == own for turn in turns)
        return same, float(same)
    size = min(method.ngram, len(own))
    there = set()
    for turn in turns:
        said = turn.split()
        grams = {tuple(said[at : at + size]) for at in range(len(said) - size + 1)}
        for at in range(len(own) - size + 1):
            if tuple(own[at : at + size]) in grams:
                there |= set(range(at, at + size))
    share = len(there) / len(own)
    return bool(there) and share >= method.threshold, share


@given(
    questions=st.lists(TEXT, max_size=4),
    conversations=st.lists(st.lists(TEXT, max_size=3), max_size=4),
    ngram=st.integers(1, 10),
    threshold=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_what_is_found_is_what_a_comparison_of_lists_of_words_finds(
    questions, conversations, ngram, threshold
):
    method = Method(ngram=ngram, threshold=threshold)
    matches = list(Questions(questions, method).find(conversations))
    found = {(one.conversation, one.question): one.share for one in matches}
    assert len(found) == len(matches)
    expected = {}
    for place, turns in enumerate(conversations):
        for number, question in enumerate(questions):
            there, share = by_hand(question, turns, method)
            if there:
                expected[place, number] = share
    assert found == pytest.approx(expected)
    assert [one.conversation for one in matches] == sorted(one.conversation for one in matches)
    for one in matches:
        own = f" {questions[one.question]} "
        whole = any(own in f" {turn} " for turn in conversations[one.conversation])
        same = any(turn == own.strip() for turn in conversations[one.conversation])
        short = len(own.split()) < min(8, ngram)
        assert (one.how == "exact") == (same if short else whole)
