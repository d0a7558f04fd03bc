"""Answers that never leave their thought are counted, base beside tuned, and judged as empty."""

import json
import shutil
from pathlib import Path

import pytest
import trl

from scripts.lib.benchmarks.exact_match.scores import Compared, Metric
from scripts.lib.benchmarks.held_out.comparison import compare_held_out
from scripts.lib.benchmarks.judged_pairs.comparison import compare_judged
from scripts.lib.benchmarks.judged_pairs.scores import sum_up_judgements
from scripts.lib.benchmarks.lm_eval import questions as lm_eval_questions
from scripts.lib.compare.thoughts import open_thoughts_note, thought_notes, thoughts_of
from scripts.lib.data.replies import thought_of, whole_turn, without_reasoning
from scripts.lib.data.templates import load_fast_tokenizer
from scripts.lib.judge.files import Reply, load_pairs, write_judgements
from scripts.lib.questions.closed_thoughts import closing
from scripts.lib.score.aggregation import load_answers
from scripts.lib.score.scoring import _thoughts
from tests.chat_samples import format_held_out
from tests.tiny_model import make_tiny_model
from tests.unit.benchmarks.held_out.test_held_out_comparison import AFTER, BEFORE
from tests.unit.benchmarks.held_out.test_held_out_comparison import score as held_out_score
from tests.unit.judged_data import PROTOCOL, write_answers, write_prompts
from tests.unit.lm_eval_data import fetch, write_data
from tests.unit.scoring_data import score, spec, write_rows

SHIPPED = Path(trl.__file__).parent / "chat_templates"
HARMONY = "<|start|>assistant"


@pytest.mark.parametrize(
    ("turn", "state"),
    [
        ("Eight.", "none"),
        ("Write <think> first.", "none"),
        ("analysis of the matter", "none"),
        ("<think>\nfour each\n</think>\n\nEight.", "closed"),
        ("four each</think>Eight.", "closed"),
        ("<think>\nfour each, so", "open"),
        ("<thought>\nfour each, so", "open"),
        ("<seed:think>four each, so", "open"),
        ("[THINK]four each, so", "open"),
        ("[THINK]four each[/THINK]Eight.", "closed"),
        ("◁think▷four each◁/think▷Eight.", "closed"),
        ("<think>", "open"),
        ("<|channel|>analysis<|message|>hm", "open"),
        ("<|channel|>analysis<|message|>hm<|end|>x<|channel|>final<|message|>Eight.", "closed"),
        ("<|channel>thought\nhm", "open"),
        ("<|channel>thought\nhm<channel|>Eight.", "closed"),
    ],
)
def test_a_thought_is_open_until_it_is_closed(turn, state):
    assert thought_of(turn) == state
    assert (without_reasoning(turn) == "") == (state == "open")
    assert state == "closed" or without_reasoning(turn) in (turn, "")


@pytest.mark.parametrize("tag", ["<think>\n", "<thought>", "[THINK]", "◁think▷"])
def test_a_reply_goes_on_in_the_thought_that_its_prompt_opened(tag):
    """Letters are scored behind the same tags once they are closed."""
    prompt = f"[INST]?[/INST]{tag}"
    assert closing(prompt, None)
    turn = whole_turn(prompt, "four each, so")
    assert (thought_of(turn), without_reasoning(turn)) == ("open", "")
    turn = whole_turn(prompt, f"four each{closing(prompt, None)}Eight.")
    assert (thought_of(turn), without_reasoning(turn)) == ("closed", "Eight.")


@pytest.mark.parametrize(
    ("reply", "state", "answer"),
    [
        ("analysisfour eachassistantfinalEight.", "closed", "Eight."),
        ("analysisfour each, so", "open", ""),
        ("Eight.", "none", "Eight."),
        ("<|channel|>analysis<|message|>hm", "open", ""),
    ],
)
def test_the_channels_of_gpt_oss_are_read_where_lm_eval_leaves_their_tokens_out(
    reply, state, answer
):
    """What it generates is decoded without control tokens."""
    turn = whole_turn(f"<|start|>user<|message|>?<|end|>{HARMONY}", reply)
    assert (thought_of(turn), without_reasoning(turn)) == (state, answer)
    assert whole_turn("assistant\n", reply) == reply, "for no other template"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def thinking(plain, tmp_path):
    """A random model behind a prompt that opens a thought, which it never closes."""
    model = shutil.copytree(plain, tmp_path / "thinking")
    shutil.copy(SHIPPED / "deepseek_r1_distill.jinja", model / "chat_template.jinja")
    return model


def asked(kind, **changes):
    values = {"kind": kind, "subject": None, "shots": 0, "chat_template": True}
    return spec(**{**values, "max_new_tokens": 6, **changes})


ALL_OPEN = {"answers": 2, "begun": 2, "open": 2}


def test_exact_match_counts_them_and_finds_nothing_to_compare(thinking, plain, tmp_path):
    exact = tmp_path / "exact"
    write_rows(exact / "questions.jsonl", [{"prompt": f"Say {n}", "answer": n} for n in "AB"])
    facts, rows = score(asked("exact_match"), thinking, exact, tmp_path / "one")
    assert facts["protocol"]["thoughts"] == ALL_OPEN
    assert all(row["prediction"] == "" and row["response"].startswith("<think>") for row in rows)
    metric = Metric(name="contains", pattern=None, ignore_case=False)
    _, protocol = load_answers([tmp_path / "one/out"], Compared(metric))
    assert protocol["thoughts"] == ALL_OPEN
    facts, _ = score(asked("exact_match"), plain, exact, tmp_path / "other")
    assert "thoughts" not in facts["protocol"], "a model that does not think has none to count"


@pytest.mark.parametrize("kind", ["held_out", "judged_pairs"])
def test_answers_to_conversations_are_counted(thinking, tmp_path, kind):
    rows = [{"prompt": f"q{n}", "completion": f"a{n}"} for n in range(2)]
    chat = format_held_out(tmp_path, rows)
    facts, _ = score(asked(kind, subject="test"), thinking, chat, tmp_path / "out")
    assert facts["protocol"]["thoughts"] == ALL_OPEN


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    fetch(folder / "all", ["gsm8k", "arc_easy"], data=write_data(folder / "data"))
    return folder / "all"


def task_spec(**changes):
    options = {"shots": None, "max_new_tokens": None, "limit": 2}
    return asked("lm_eval", **{**options, **changes})


def of_task(tasks, tokenizer, name, **changes):
    return list(
        lm_eval_questions.questions(task_spec(subject=name, **changes), tasks, tokenizer, 8192)
    )


def test_tasks_of_lm_eval_close_thoughts_for_letters_and_open_them_for_answers(tasks, thinking):
    tokenizer = load_fast_tokenizer(thinking)
    (choice, _), (generated, _) = (of_task(tasks, tokenizer, n) for n in ("arc_easy", "gsm8k"))
    contexts = {request.args[0] for request in choice.requests}
    assert all(text.endswith("<think>\n</think>\n\n") for text in contexts)
    assert choice.closed == "</think>\n\n"
    (request,) = generated.requests
    assert request.args[0].endswith("<think>\n") and generated.closed == ""


def test_a_task_of_lm_eval_judges_what_stands_behind_the_thought(tasks, thinking):
    (one, *_) = of_task(tasks, load_fast_tokenizer(thinking), "gsm8k")
    number = one.task.doc_to_target(one.doc).rpartition("#### ")[2]
    right = f"#### {number}"

    def judged(reply):
        row = one.grade(one, [reply])
        return json.loads(row["metrics"])["exact_match,strict-match"], row["response"]

    assert judged(f"Is it 7?\n#### 7</think>\n{right}")[0] == 1.0
    assert judged(f"{right}\n</think>\n\n#### 7")[0] == 0.0
    assert judged(f"So it is {number}.\n{right}") == (0.0, f"<think>\nSo it is {number}.\n{right}")
    (plain, *_) = of_task(tasks, load_fast_tokenizer(thinking), "gsm8k", chat_template=False)
    row = plain.grade(plain, [right])
    assert json.loads(row["metrics"])["exact_match,strict-match"] == 1.0
    assert row["response"] == right


def test_a_group_of_letters_and_answers_is_one_score(tasks, thinking, tmp_path):
    """The one closes thoughts, the other leaves them open; neither is another protocol."""
    for name in ("arc_easy", "gsm8k"):
        wanted = task_spec(subject=name, shots=0)
        score(wanted, thinking, tasks, tmp_path / name)
    folders = [tmp_path / name / "out" for name in ("arc_easy", "gsm8k")]
    from scripts.lib.benchmarks.lm_eval.scores import Counted, TaskMetric

    _, protocol = load_answers(folders, Counted(TaskMetric(task_metric=None)))
    assert protocol["closed_thoughts"] == {"</think>\n\n": 2}
    assert protocol["thoughts"] == ALL_OPEN


def test_every_answer_of_a_task_that_asks_again_counts():
    class Request:
        request_type = "generate_until"

    class Repeated:
        requests = (Request(), Request())

    class Once:
        requests = (Request(),)

    several = {"response": json.dumps(["<think>a", "<think>a</think>b"])}
    assert _thoughts([Repeated()], [several]) == {"answers": 2, "begun": 2, "open": 1}
    # An answer that happens to be a list is one answer.
    listed = {"response": json.dumps(["<think>a"])}
    assert _thoughts([Once()], [listed]) == {"answers": 1, "begun": 0, "open": 0}
    assert _thoughts([Once()], [{"response": None}])["answers"] == 0


# What is said.


def test_base_and_run_stand_side_by_side():
    base = {"thoughts": {"answers": 120, "begun": 120, "open": 3}}
    run = {"thoughts": {"answers": 120, "begun": 90, "open": 40}}
    found = {"base": base, "run": run, "silent": {}}
    (note,) = thought_notes(found)
    assert note["code"] == "open_thoughts"
    assert "base 3 of 120, run 40 of 120, silent none" in note["text"]
    assert thoughts_of(found) == {"base": base["thoughts"], "run": run["thoughts"]}
    closed = {"answers": 9, "begun": 9, "open": 0}
    assert not list(open_thoughts_note({"base": closed, "run": None}))


def test_held_out_conversations_say_so():
    thoughts = {"answers": 30, "begun": 30, "open": 7}
    scores = [held_out_score("base", BEFORE), held_out_score("run", AFTER, base="base")]
    scores[1].document["protocol"]["thoughts"] = thoughts
    section = compare_held_out("domain", scores)
    assert section["thoughts"] == {"run": thoughts}
    assert "run 7 of 30" in next(
        note["text"] for note in section["notes"] if note["code"] == "open_thoughts"
    )
    assert "thoughts" not in section["protocol"]


def test_judged_pairs_say_so(tmp_path):
    answers = {"base": ["<think>hm</think>a", "b"], "run": ["<think>hm", "<think>hm</think>b"]}
    folders = {who: write_answers(tmp_path / who, said) for who, said in answers.items()}
    counted = {"answers": 2, "begun": 2, "open": 1}
    (folders["run"] / "protocol.json").write_text(json.dumps(PROTOCOL | {"thoughts": counted}))
    pairs = load_pairs(folders["base"], folders["run"], write_prompts(tmp_path / "prompts", 2))
    assert [(pair.base, pair.run) for pair in pairs] == [("a", ""), ("b", "b")]
    judgements, out = tmp_path / "judgements", tmp_path / "out"
    judgements.mkdir()
    out.mkdir()
    replies = {pairs[0].id: (Reply("A"), Reply("B"))}
    judge = {"kind": "local", "criteria": None, "dtype": "float32"}
    write_judgements(pairs, replies, judge, folders["base"], folders["run"], judgements)
    sum_up_judgements("pairs", judgements, out)
    model = [{"id": "models/m-0", "content": "1"}]
    inputs = {"run": {"judgements": {"judge": model}, "base": {"model": model}}}
    section = compare_judged(
        "pairs", {"run": "base"}, {"run": out}, inputs, unmerged=set(), own_templates=set()
    )
    result = section["candidates"]["run"]
    assert result["thoughts"] == {"base": None, "run": counted}
    assert any(
        note["code"] == "open_thoughts" and "base none, run 1 of 2" in note["text"]
        for note in result["notes"]
    )
