import pytest

from scripts.lib.data.answer_forms import shared_forms
from scripts.lib.train.answer_faults import Written, find_faults, more_than_chance, tell_faults

CONTROL = {900: "<|im_start|>"}
LIMIT = 48


def written(text, *, ended=True, ids=None):
    """Text as a model writes it; each character is a token of its own unless *ids* say more."""
    return Written(ids=ids or [ord(c) for c in text], text=text, ended=ended)


def faults(answer, reference="two teas", *, references=(), prompt="assistant\n", **options):
    given = answer if isinstance(answer, Written) else written(answer, **options)
    forms = shared_forms(references)
    return find_faults(prompt, given, written(reference), forms, CONTROL, LIMIT)


JSON = [f'{{"drink": "tea", "n": {n}}}' for n in range(6)]
LABELS = ["spam", "ham"] * 5
NUMBERS = ["1", "2.5", "-3", "1,000", "7"]


@pytest.mark.parametrize(
    ("answer", "reference", "references"),
    [
        ("a scone", "two teas", ()),
        (JSON[3], JSON[0], JSON),
        ("ham", "spam", LABELS),
        ("12", "1", NUMBERS),
        ("<think>Is it four?</think> 12", "<think>No.</think>1", NUMBERS),
        ("", "", ()),
        ("assistant\nfor two", "assistant\nfor one", ()),
        ("ha" * 10, "ho" * 10, ()),
    ],
)
def test_an_answer_in_the_form_of_the_references_has_no_fault(answer, reference, references):
    assert faults(answer, reference, references=references) == []


@pytest.mark.parametrize(
    ("answer", "references", "told"),
    [
        (written("two teas and then", ended=False), (), "without an end"),
        (written("x" * 12), (), "going round in circles"),
        (written("a scone a scone a scone a scone "), (), "going round in circles"),
        (written("  "), (), "that are empty"),
        (written("two<|im_start|>", ids=[1, 900]), (), "with the control token <|im_start|>"),
        (written("two\nassistant\nteas"), (), "with the name of a role"),
        (written("<think>Is it four?"), (), "with a reasoning that never closes"),
        (written("Sure: two teas"), JSON, "(a JSON object with the keys drink, n)"),
        (written("eggs"), LABELS, "(one of 2 labels)"),
        (written("about 12"), NUMBERS, "(one number)"),
    ],
)
def test_each_way_to_lose_the_form_is_named(answer, references, told):
    (fault,) = faults(answer, references=references)
    assert told in fault


def test_a_reasoning_that_the_prompt_opened_has_to_close():
    opened = "assistant\n<think>\n"
    reference = "Two and two.</think>Four."
    never = faults("Four each.", reference, prompt=opened)
    assert never == ["with a reasoning that never closes"]
    assert faults("Four each.</think>Eight.", reference, prompt=opened) == []


def test_what_was_cut_off_is_not_blamed_for_its_form_nor_for_an_end_that_had_no_room():
    cut = written('{"drink": ', ended=False)
    assert faults(cut, references=JSON) == ["without an end"]
    assert faults(cut, reference=" ".join(map(str, range(LIMIT))), references=JSON) == []


@pytest.mark.parametrize(
    ("answers", "least"), [(1, None), (2, 2), (3, 2), (4, 3), (8, 3), (16, 4), (32, 6)]
)
def test_so_many_of_some_answers_are_no_chance(answers, least):
    found = [n for n in range(answers + 1) if more_than_chance(n, answers)]
    assert (found[0] if found else None) == least


def answer(*faults):
    texts = {"step": 24, "row": "valid:0", "prompt": "?", "reference": "a", "answer": "b"}
    return {**texts, "ended": True, "tokens": 1, "faults": list(faults)}


def test_answers_are_told_with_their_number_and_what_is_wrong_with_them():
    found = [answer("without an end", "going round in circles"), answer("without an end")]
    told = tell_faults([*found, answer("that are empty"), *[answer()] * 5])
    assert told == (
        "Of 8 answers to held-out rows at step 24, 3 do not look like the references: 2 without an"
        " end, 1 going round in circles, 1 that are empty."
    )
    assert tell_faults([answer("without an end"), *[answer()] * 7]) is None
    assert tell_faults([]) is None
