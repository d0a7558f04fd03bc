"""What a thinking model says is compared without its reasoning, by every kind of our own."""

import pytest

from scripts.lib.benchmarks.exact_match.scores import Metric, grade
from scripts.lib.benchmarks.held_out import questions as held_out_questions
from scripts.lib.benchmarks.judged_pairs import questions as judged_questions
from scripts.lib.benchmarks.judged_pairs.comparison import left_out_notes
from scripts.lib.data.replies import whole_turn, without_reasoning
from scripts.lib.data.templates import load_fast_tokenizer
from scripts.lib.questions.question import Unasked
from scripts.lib.questions.requests import GreedyAnswer
from tests.chat_samples import format_held_out
from tests.tiny_model import CHATML, make_tiny_model
from tests.unit.data.test_turns import CUTS_AND_OPENS
from tests.unit.scoring_data import score, spec


@pytest.mark.parametrize(
    ("prompt", "reply", "answer"),
    [
        ("assistant\n", "Eight.", "Eight."),
        ("assistant\n", "<think>\nfour each\n</think>\n\nEight.", "Eight."),
        ("assistant\n<think>\n", "four each\n</think>\n\nEight.", "Eight."),
        ("assistant\n<think>", "four each</think>Eight.", "Eight."),
        ("assistant\n<think>\n\n</think>\n\n", "Eight.", "Eight."),
        # Cut before it closed: there is no answer.
        ("assistant\n<think>\n", "four each, so eight", ""),
        ("assistant\n", "<think>\nfour each, so", ""),
        # gpt-oss and Gemma 4 reason in a channel of their own.
        (
            "<|start|>assistant",
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant"
            "<|channel|>final<|message|>Eight.",
            "Eight.",
        ),
        ("<|turn>model\n", "<|channel>thought\nhm<channel|>Eight.", "Eight."),
        # A text about the tags is one.
        ("assistant\n", "Write <think> first.", "Write <think> first."),
    ],
)
def test_reasoning_is_no_part_of_an_answer(prompt, reply, answer):
    turn = whole_turn(prompt, reply)
    assert turn.endswith(reply)
    assert without_reasoning(turn) == answer


@pytest.fixture
def tokenizer(tmp_path):
    return load_fast_tokenizer(make_tiny_model(tmp_path / "tiny"))


def formatted(folder, answers):
    rows = [{"prompt": f"q{n}", "completion": a} for n, a in enumerate(answers)]
    return format_held_out(folder, rows)


def asked(kind, **changes):
    values = {"kind": kind, "subject": "test", "shots": 0, "chat_template": True}
    return spec(**{**values, "max_new_tokens": 6, **changes})


@pytest.mark.parametrize("reference", ["Eight.", "<think>\nfour each\n</think>\n\nEight."])
def test_held_out_answers_are_equal_whatever_was_thought(tmp_path, tokenizer, reference):
    tokenizer.chat_template = CUTS_AND_OPENS
    chat = formatted(tmp_path, [reference])
    (one,) = held_out_questions.questions(asked("held_out"), chat, tokenizer, 2048)
    assert one.prompt.endswith("<think>\n")
    row = one.grade(one, [-1.0, GreedyAnswer("hm\n</think>\n\nEight.", True, 5)])
    assert (row["prediction"], row["correct"]) == ("Eight.", True)
    assert row["response"] == "<think>\nhm\n</think>\n\nEight."
    cut = one.grade(one, [-1.0, GreedyAnswer("Eight.", False, 5)])
    assert (cut["prediction"], cut["correct"]) == ("", False)


def test_a_judge_is_shown_no_reasoning_that_the_prompt_opened(tmp_path, tokenizer):
    tokenizer.chat_template = CUTS_AND_OPENS
    chat = formatted(tmp_path, ["Eight."])
    (one,) = judged_questions.questions(asked("judged_pairs"), chat, tokenizer, 2048)
    row = one.grade(one, [GreedyAnswer("four each, so", False, 5)])
    assert without_reasoning(row["response"]) == ""


def test_exact_match_compares_what_comes_after_the_reasoning():
    metric = Metric(name="exact", pattern=None, ignore_case=False)
    assert grade(metric, "<think>7?</think>\n8", "8") == ("8", True)
    numeric = Metric(name="numeric", pattern=None, ignore_case=False)
    assert not grade(numeric, "<think>it is 8", "8")[1]


# A template that cannot ask a conversation: one that leaves the question out, one that refuses.
LOSES = CHATML.replace("message['content']", "message['content'].replace('q1', '')")
REFUSES = (
    "{% if messages[0]['content'] == 'q1' %}{{ raise_exception('no q1') }}{% endif %}" + CHATML
)


@pytest.mark.parametrize(
    ("template", "reason"), [(LOSES, "content_not_rendered"), (REFUSES, "template_refuses")]
)
@pytest.mark.parametrize("kind", ["held_out", "judged_pairs"])
def test_what_a_template_cannot_ask_is_left_out_counted_and_stated(
    tmp_path, tokenizer, kind, template, reason
):
    chat = formatted(tmp_path, ["a", "b", "c"])
    model = tmp_path / "tiny"
    (model / "chat_template.jinja").write_text(template)
    facts, rows = score(asked(kind), model, chat, tmp_path / kind)
    assert [row["question_id"] for row in rows] == ["test:0", "test:2"]
    assert facts["protocol"]["not_asked"] == {reason: 1}
    (note,) = left_out_notes(facts["protocol"])
    assert note["code"] == "not_asked" and f"1 ({reason} 1)" in note["text"]


def test_the_two_kinds_leave_out_the_same(tmp_path, tokenizer):
    chat = formatted(tmp_path, ["a", "b", "c"])
    tokenizer.chat_template = LOSES
    left = [
        [
            one
            for one in module.questions(asked(kind), chat, tokenizer, 2048)
            if isinstance(one, Unasked)
        ]
        for kind, module in (("held_out", held_out_questions), ("judged_pairs", judged_questions))
    ]
    assert left[0] == left[1] == [Unasked("test:1", "content_not_rendered")]
