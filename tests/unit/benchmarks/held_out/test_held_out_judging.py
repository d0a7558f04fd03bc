"""Whether an answer on the domain keeps to it, on answers where the truth is known."""

import json

import pytest

from scripts.lib.benchmarks.held_out.adherence import (
    grade_all,
    language_of,
    same_language,
)
from scripts.lib.data.answer_forms import shared_forms

MARKERS = ["<|im_end|>", "<|im_start|>assistant", "Assistant:"]
ENGLISH = "The order is on the way and you can pay for it with a card or in cash at the door."
GERMAN = "Die Bestellung ist auf dem Weg und Sie können sie mit der Karte oder in bar bezahlen."


def row(answer, response, *, ended=True):
    return {
        "question_id": "test:0",
        "prompt_hash": "p",
        "token_hash": "t",
        "logprobs": [-1.5],
        "reference_tokens": 3,
        "answer": answer,
        "response": response,
        "ended": ended,
        "markers": MARKERS,
    }


def judged(answer, response, *, others=(), ended=True):
    """Return the verdict on one answer in a set whose other answers are like their references."""
    rows = [row(answer, response, ended=ended), *(row(other, other) for other in others)]
    return grade_all(rows)[0][0]


CODE = """```python
for line in open(path):
    if line is not None and line not in seen:
        print(line)
```"""


@pytest.mark.parametrize("ended", [True, False])
def test_an_answer_stops_when_an_end_token_came(ended):
    found = judged("yes", "yes", ended=ended)
    assert found["stops"] == float(ended)
    assert ("did not stop by itself" in found["wrong"]) == (not ended)


def test_loss_and_length_are_those_of_the_reference():
    found = judged("ééé", "something else")
    assert (found["nats"], found["tokens"], found["bytes"]) == (1.5, 3, 6)


@pytest.mark.parametrize(
    ("response", "good"),
    [
        ("Two teas.", 1),
        ("", 0),
        (" \n ", 0),
        ("Two<|im_end|> teas.", 0),
        ("Two teas.\nAssistant: and a scone", 0),
        ("My Assistant: is it open?", 1),
        ("Two teas.\nassistant\nMore.", 0),
        ("The user ordered.", 1),
        ("Two teas.\n\n **User** :\n", 0),
    ],
)
def test_an_answer_is_not_empty_and_holds_nothing_of_the_template(response, good):
    assert judged("Sure.", response)["format"] == good


def test_what_stands_in_the_reference_too_is_no_fault():
    text = "ChatML ends a turn with <|im_end|>."
    assert judged(text, text)["format"] == 1


JSON = [json.dumps({"drink": "tea", "n": n, f"extra{n}": 1}) for n in range(6)]
TICKETS = [f"{n} tea | to go" for n in range(6)]
LABELS = ["spam", "ham"] * 5


@pytest.mark.parametrize(
    ("references", "words", "good", "bad"),
    [
        (JSON, ["a JSON object with the keys drink, n"], '{"n": 0, "drink": "x"}', '{"n": 0}'),
        (JSON, ["a JSON object with the keys drink, n"], f" {JSON[0]}\n", f"Sure: {JSON[0]}"),
        (["[1]", "[]", "[2]", '["a"]', "[3]"], ["a JSON list"], "[7]", "7"),
        (
            [f"```python\nx = {n}\n```" for n in range(5)],
            ["one fenced block of code"],
            "```\ny\n```",
            "y = 1",
        ),
        (["1", "2.5", "-3", "1,000", "7"], ["one number"], "12", "about 12"),
        (LABELS, ["one of 2 labels"], "ham", "eggs"),
        (TICKETS, ["one line", "the sign |"], "1 scone | here", "1 scone here"),
        (TICKETS, ["one line", "the sign |"], "1 scone | here", "1 scone |\nhere"),
        (["a. B", "c!", "d, e", "f?", "g"], ["one line"], "anything", "any\nthing"),
        (["a\nb", "c", "d", "e", "f"], [], "any\nthing", ""),
    ],
)
def test_the_form_that_all_references_share_is_asked_of_answers(references, words, good, bad):
    assert [form.words for form in shared_forms(references)] == words
    first, *others = references
    assert judged(first, good, others=others)["format"] == 1
    assert judged(first, bad, others=others)["format"] == 0


def test_brackets_without_end_are_no_json():
    """A model that fell into a loop; Python's reader gives up on them in a way of its own."""
    assert judged(JSON[0], "[" * 20_000, others=JSON[1:])["format"] == 0


def test_few_references_share_no_form():
    assert shared_forms(JSON[:4]) == ()


def test_one_reference_without_the_form_frees_all_answers():
    assert shared_forms([*JSON, "tea"])[0].words == "one line"
    assert shared_forms([*JSON, "tea\ncoffee"]) == ()


SCRIPTS = (
    "Привет, мир!",
    "東京は日本の首都です",
    "北京是中国的首都",
    "서울은 수도입니다",
    "نص عربي",
    "Das ist gut",
)


@pytest.mark.parametrize("text", SCRIPTS)
def test_texts_in_different_scripts_are_in_different_languages(text):
    assert [same_language(text, other) for other in SCRIPTS] == [text == one for one in SCRIPTS]
    assert same_language("12:30 | 4.50 €", text) is None


@pytest.mark.parametrize(
    ("reference", "answer", "same"),
    [
        (ENGLISH, ENGLISH, True),
        (GERMAN, ENGLISH, False),
        (ENGLISH, GERMAN, False),
        ("Привет, как дела?", "Hello there", False),
        ("東京は首都です。", "北京是中国的首都", False),
        # Too short to tell: nobody is blamed.
        ("Danke schön", "Thank you", True),
        ("12.50", "twelve", None),
        (ENGLISH, "42", True),
        (ENGLISH, "", False),
        # Japanese also has words of Chinese characters alone, and tells nothing apart in them.
        ("徳川家康", "徳川家康です。", True),
        ("東京です", "東京", True),
        ("東京です", "東京是日本的首都", False),
        ("这是一个问题", "これは質問です", False),
        ("東京は首都です。", "北京市上海市天津市重庆市广州市", False),
        ("ﾃｽﾄ です", "テストです", True),
        # Names and terms are quoted as they are.
        ("CUDA", "답은 CUDA입니다.", True),
        ("답은 CUDA입니다.", "CUDA", True),
        ("안녕하세요", "Hello there", False),
        ("GPUのメモリが足りません。", "The GPU is out of memory.", False),
        # Code is in no language.
        (f"열어서 읽으세요.\n{CODE}", "열어서 읽으세요.", True),
        ("열어서 읽으세요.", f"다음과 같이:\n{CODE}", True),
        (f"{GERMAN}\n{CODE}", f"{CODE}\n{GERMAN}", True),
        (f"{GERMAN}\n{CODE}", f"{CODE}\n{ENGLISH}", False),
        (CODE, GERMAN, None),
        # Symbols are no words.
        ("μ = 3", "The mean is three.", None),
        ("A", "Antwort A", None),
        ("नमस्ते", "Namaste", False),
    ],
)
def test_an_answer_is_in_the_language_of_its_reference(reference, answer, same):
    assert same_language(reference, answer) is same
    language = judged(reference, answer)["language"]
    assert language == (None if same is None else float(same))


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("en", ENGLISH),
        ("de", GERMAN),
        ("fr", "Le train est en retard et les voyageurs ne sont pas contents, mais il va partir."),
        (
            "es",
            "El tren llega tarde y no están contentos, pero va a salir con la luz.",
        ),
        ("it", "Il treno è in ritardo e non sono contento, ma ho preso una cosa che mi piace."),
        (
            "pt",
            "O trem está atrasado e eles não estão felizes, mas ele vai sair com você.",
        ),
        ("nl", "De trein is te laat en het is niet leuk, maar hij komt er wel met een uur."),
        ("pl", "Pociąg się spóźnia i to nie jest dobre, ale jak się czeka, to czy on przyjedzie."),
        ("ru", "Поезд опаздывает, и это не очень хорошо, но мы ждем, так как он скоро для нас."),
    ],
)
def test_the_commonest_words_tell_the_language_of_a_sentence(code, text):
    assert language_of(text) == code
