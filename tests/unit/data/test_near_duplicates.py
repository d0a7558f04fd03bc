"""Near duplicates are found by MinHash: about as often as its arithmetic says."""

import random

import numpy as np
import pytest

from scripts.lib.data.conversation import Conversation, Message
from scripts.lib.data.near_duplicates import METHOD, Signer, band_length, near_duplicates

WORDS = [f"w{number}" for number in range(5_000)]


def said(*texts, system=None):
    roles = ("user", "assistant")
    turns = [Message(role=roles[n % 2], content=text) for n, text in enumerate(texts)]
    first = [] if system is None else [Message(role="system", content=system)]
    return Conversation(messages=(*first, *turns))


def signatures(conversations):
    signer = Signer(METHOD)
    return np.array([signer.signature(one) for one in conversations])


def alike(one, other):
    first, second = signatures([one, other])
    return (first == second).mean()


def shingles(text):
    words = text.split()
    return {tuple(words[start : start + 5]) for start in range(len(words) - 4)}


def with_other_words(rng, words, count):
    changed = list(words)
    for place in rng.sample(range(len(words)), count):
        changed[place] = rng.choice(WORDS)
    return changed


def test_the_estimate_is_near_the_share_of_shingles():
    rng = random.Random(0)
    errors = []
    for count in range(0, 60, 2):
        words = rng.choices(WORDS, k=300)
        texts = [" ".join(words), " ".join(with_other_words(rng, words, count))]
        first, second = map(shingles, texts)
        errors.append(alike(*map(said, texts)) - len(first & second) / len(first | second))
    # The standard error is at most 0.045; of 30 estimates the mean is off by 0.008.
    assert abs(np.mean(errors)) < 0.033 and np.abs(errors).max() < 0.18


def test_white_space_capitals_and_signs_between_words_make_no_difference():
    one = said("What is the capital of Norway, please?", "It is Oslo.")
    other = said("what is  the capital of norway please", "IT IS OSLO")
    assert alike(one, other) == 1.0


def test_the_system_turn_is_not_compared_and_reasoning_and_calls_are():
    text = "one two three four five six seven"
    assert alike(said(text, system="Be brief."), said(text)) == 1.0
    call = {"function": {"name": "weather", "arguments": {"city": "Oslo"}}}
    turn = Message(role="assistant", content="", tool_calls=(call,))
    assert alike(said(text), Conversation(messages=(*said(text).messages, turn))) < 1


@pytest.mark.parametrize(
    ("one", "other"),
    [("no", "yes"), ("a b c", "a b c d"), ("!!!", "???"), ("东京是日本的首都", "北京是中国的首都")],
)
def test_short_and_unspaced_texts_that_differ_are_not_alike(one, other):
    assert alike(said(one), said(other)) < 0.8
    assert alike(said(one), said(one)) == 1.0


def test_one_sign_more_in_a_text_without_spaces_leaves_it_alike():
    text = "東京は日本の首都であり世界でも有数の大都市として広く知られている"
    assert 0.8 < alike(said(text * 2), said(text * 2 + "。よ")) < 1


def test_rows_beyond_the_threshold_are_found_and_the_first_of_them_stays():
    rng = random.Random(1)
    texts, copies = [], set()
    for number in range(300):
        words = rng.choices(WORDS, k=120)
        texts.append(" ".join(words))
        if number % 3 == 0:  # two words of 120 change up to 10 shingles of 116: 0.84 and more
            copies.add(len(texts))
            texts.append(" ".join(with_other_words(rng, words, 2)))
    known = signatures(map(said, texts))
    found = near_duplicates(known, np.arange(len(texts)), 0.7)
    assert found.keys() == copies
    assert all(of == row - 1 and share >= 0.7 for row, (of, share) in found.items())
    assert not near_duplicates(known, np.array(sorted(set(range(len(texts))) - copies)), 0.7)


def test_the_order_says_which_row_stays():
    text = " ".join(WORDS[:50])
    known = signatures([said(text), said(f"{text} x"), said(" ".join(WORDS[50:99]))])
    assert near_duplicates(known, np.array([0, 1, 2]), 0.8).keys() == {1}
    assert near_duplicates(known, np.array([2, 1, 0]), 0.8).keys() == {0}


def test_many_rows_with_a_long_text_in_common_cost_a_bounded_number_of_comparisons():
    """They are alike enough to meet in bands, and not enough to be near duplicates."""
    rng = random.Random(2)
    frame = rng.choices(WORDS, k=60)
    known = signatures(said(" ".join([*frame, *rng.choices(WORDS, k=45)])) for _ in range(1_000))
    assert not near_duplicates(known, np.arange(1_000), 0.85)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9, 1.0])
def test_a_pair_at_the_threshold_is_compared_in_95_of_100_cases(threshold):
    length = band_length(threshold, 128)
    assert 1 - (1 - threshold**length) ** (128 // length) >= 0.95
