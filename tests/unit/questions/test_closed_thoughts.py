"""A thought that a chat template opens is closed before anything is scored behind the prompt."""

import json
import shutil
from pathlib import Path

import pytest
import trl
from transformers import AutoTokenizer

from scripts.lib.benchmarks.mmlu.questions import questions as mmlu_questions
from scripts.lib.benchmarks.multiple_choice.scores import AsScored
from scripts.lib.compare.thoughts import thought_notes
from scripts.lib.data.conversation import Conversation, Message
from scripts.lib.data.reasoning import prompt_state
from scripts.lib.data.renderer import Renderer
from scripts.lib.data.templates import Template
from scripts.lib.data.turns import asked_turn
from scripts.lib.judge.local import JudgeSpec, _questions
from scripts.lib.judge.prompt import Pair
from scripts.lib.questions.closed_thoughts import closing
from scripts.lib.questions.prompts import Chat, render
from scripts.lib.score.aggregation import load_answers
from scripts.lib.score.documents import shared_protocol
from scripts.tools.template_outcomes import tokenizer_for
from tests.tiny_model import CHATML, make_tiny_model
from tests.unit.scoring_data import SUBJECTS, score, spec, write_benchmark

SHIPPED = sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))
QUESTION = [{"role": "user", "content": "2+2?"}]
OFF = {"enable_thinking": False}
# As they are published: EXAONE Deep's opens a thought in a tag of its own and cuts it later; one
# made at home asks for answers in a tag, which is none.
THOUGHT = (
    "{% for m in messages %}{{ '[|' + m.role + '|]' + m.content.split('</thought>')[-1] }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '[|assistant|]<thought>\n' }}{% endif %}"
)
TAGGED = (
    "{% for m in messages %}{{ '<' + m.role + '>\n' + m.content + '\n</' + m.role + '>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<assistant>\n' }}{% endif %}"
)


def text_of(name):
    (file,) = (file for file in SHIPPED if file.stem == name)
    return file.read_text(encoding="utf-8")


def with_template(text):
    tokenizer = tokenizer_for(text)
    tokenizer.chat_template = text
    return tokenizer


def taught(tokenizer, answer="tunesmith9"):
    """Return what training puts between the prompt and an answer without a thought."""
    renderer = Renderer(tokenizer, Template(source="custom:x", text=tokenizer.chat_template))
    turns = (Message(role="user", content="2+2?"), Message(role="assistant", content=answer))
    asked = asked_turn(renderer, Conversation(messages=turns), 1, None)
    return asked.written.partition(answer)[0]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
@pytest.mark.parametrize("arguments", [{}, OFF, {"enable_thinking": True}], ids=str)
def test_of_all_shipped_templates_a_prompt_that_opens_a_thought_is_closed(file, arguments):
    """As training closes it; any other prompt is what it was."""
    tokenizer = with_template(file.read_text(encoding="utf-8"))
    prompt = render(tokenizer, QUESTION, arguments)
    asked = Chat(tokenizer, arguments, closes_thoughts=True)
    closed = asked(QUESTION)
    assert closed.startswith(prompt)
    assert asked.closed(closed) == closed[len(prompt) :]
    assert prompt_state(closed)[0] != "open"
    if prompt_state(prompt)[0] == "open":
        assert prompt_state(closed)[0] == "closed"
        if not arguments:
            assert closed == prompt + taught(tokenizer)
    else:
        assert closed == prompt
    assert Chat(tokenizer, arguments)(QUESTION) == prompt, "generation goes on in the thought"


def test_templates_that_people_use_open_thoughts():
    """So the walk above has something to close, in each way that a template can write it."""
    opening = {}
    for file in SHIPPED:
        tokenizer = with_template(file.read_text(encoding="utf-8"))
        chat = Chat(tokenizer, closes_thoughts=True)
        if found := chat.closed(chat(QUESTION)):
            opening[file.stem] = found
    assert {"deepseek_r1_distill", "qwen3_6", "nemotron_3_nano"} <= opening.keys()
    assert not {"qwen3", "gptoss", "llama3_2", "qwen3_instruct_2507", "gemma4"} & opening.keys()
    assert len(set(opening.values())) > 1


@pytest.mark.parametrize(
    ("text", "end"),
    [(THOUGHT, "<thought>\n</thought>\n\n"), (TAGGED, "<assistant>\n"), (CHATML, "assistant\n")],
)
def test_a_tag_is_a_thought_where_no_answer_stands_in_it(text, end):
    asked = Chat(with_template(text), closes_thoughts=True)(QUESTION)
    assert asked.endswith(end)


@pytest.mark.parametrize(
    ("prompt", "before", "closed"),
    [
        ("a\n<think>\n", "a\n<think>\n\n</think>\n\n", "\n</think>\n\n"),
        ("a\n<think>\n", "a\n<think></think>", "</think>"),
        ("a\n<think>\n", "a\n", "</think>\n\n"),
        ("a\n<think>\n", None, "</think>\n\n"),
        ("a\n<think>\n", "something else", "</think>\n\n"),
        ("a[THINK]", "a", "[/THINK]\n\n"),
        ("a◁think▷", "a◁think▷◁/think▷", "◁/think▷"),
        ("a\n<think>\n\n</think>\n\n", "a\n<think>\n\n</think>\n\n", ""),
        ("a\n", "a\n<think>\n\n</think>\n\n", ""),
        ("a <b>", "a ", ""),
        ("a <say>", "a <say>", ""),
    ],
)
def test_what_closes_a_thought_is_what_the_template_writes_there(prompt, before, closed):
    assert closing(prompt, before) == closed


def test_a_turn_that_is_gone_on_with_opens_nothing():
    chat = Chat(with_template(text_of("deepseek_r1_distill")), closes_thoughts=True)
    turns = [*QUESTION, {"role": "assistant", "content": "Answer:"}]
    assert chat(turns, add_generation_prompt=False).endswith("Answer:")


# What is asked, stated and compared.


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def model_with(plain, folder, text):
    """Return a copy of the tiny model with a template whose control tokens it reads as text."""
    model = shutil.copytree(plain, folder)
    (model / "chat_template.jinja").write_text(text, encoding="utf-8")
    return model


def asked(**changes):
    return spec(subject="anatomy", chat_template=True, shots=1, **changes)


@pytest.mark.parametrize("name", ["deepseek_r1_distill", "qwen3_5_think"])
def test_letters_are_scored_behind_the_closed_thought_and_the_protocol_says_so(
    plain, tmp_path, name
):
    model = model_with(plain, tmp_path / "model", text_of(name))
    mmlu = write_benchmark(tmp_path / "mmlu")
    tokenizer = AutoTokenizer.from_pretrained(model)
    found = list(mmlu_questions(asked(), mmlu, tokenizer, 2048))
    behind = taught(with_template(text_of(name)))
    assert "</think>" in behind
    for question in found:
        assert question.prompt.endswith(f"<think>\n{behind}") and question.closed == behind
        assert {request.args[0] for request in question.requests} == {question.prompt}
    facts, rows = score(asked(), model, mmlu, tmp_path / "scored")
    assert facts["protocol"]["closed_thoughts"] == {behind: len(rows)}
    assert "closed_thoughts" not in shared_protocol(facts["protocol"])
    given = asked(template_arguments=OFF)
    if name == "qwen3_5_think":
        silent, _ = score(given, model, mmlu, tmp_path / "silent")
        assert "closed_thoughts" not in silent["protocol"], "the template closed it itself"


@pytest.mark.parametrize("text", [CHATML, text_of("qwen3"), text_of("gptoss")])
def test_a_template_that_opens_no_thought_is_asked_as_ever(plain, tmp_path, text):
    model = model_with(plain, tmp_path / "model", text)
    mmlu = write_benchmark(tmp_path / "mmlu")
    tokenizer = AutoTokenizer.from_pretrained(model)
    chat = Chat(tokenizer)
    for question in mmlu_questions(asked(), mmlu, tokenizer, 2048):
        turns = question.task.fewshot_context(
            question.doc,
            num_fewshot=1,
            fewshot_as_multiturn=True,
            apply_chat_template=True,
            chat_template=chat,
        )
        assert (question.prompt, question.closed) == (turns, "")
    facts, _ = score(asked(), model, mmlu, tmp_path / "scored")
    assert not {"closed_thoughts", "thoughts"} & facts["protocol"].keys()


def test_the_counts_of_subjects_add_up(plain, tmp_path):
    model = model_with(plain, tmp_path / "model", text_of("deepseek_r1_distill"))
    mmlu = write_benchmark(tmp_path / "mmlu")
    folders = []
    for subject in SUBJECTS:
        given = spec(subject=subject, chat_template=True, shots=0)
        score(given, model, mmlu, tmp_path / subject)
        folders.append(tmp_path / subject / "out")
    answers, protocol = load_answers(folders, AsScored())
    assert protocol["closed_thoughts"] == {"</think>\n\n": len(answers)}


def test_a_base_and_a_run_with_other_templates_are_not_asked_the_same(plain, tmp_path):
    mmlu = write_benchmark(tmp_path / "mmlu")
    hashes = []
    for name in ("qwen3_5_nothink", "qwen3_5_think"):
        model = model_with(plain, tmp_path / name, text_of(name))
        _, rows = score(asked(), model, mmlu, tmp_path / f"{name}-scored")
        hashes.append([row["prompt_hash"] for row in rows])
    assert hashes[0] == hashes[1], "both stand behind the same empty thought"
    model = model_with(plain, tmp_path / "other", text_of("qwen2_5"))
    _, rows = score(asked(), model, mmlu, tmp_path / "other-scored")
    assert all(row["prompt_hash"] != one for row, one in zip(rows, hashes[0], strict=True))


def test_the_comparison_says_whose_thoughts_were_closed_and_with_what():
    one = {"closed_thoughts": {"</think>\n\n": 4}}
    (note,) = thought_notes({"base": one, "run": one, "plain": {}})
    assert note["code"] == "closed_thoughts"
    assert "base, run" in note["text"] and json.dumps("</think>\n\n") in note["text"]
    assert "plain" not in note["text"]
    assert not list(thought_notes({"plain": {}}))


def test_a_judge_that_thinks_is_asked_for_its_verdict_behind_a_closed_thought():
    tokenizer = with_template(text_of("deepseek_r1_distill"))
    pair = Pair(
        id="1",
        category=None,
        request="?",
        reference=None,
        base="a",
        run="b",
        base_ended=True,
        run_ended=True,
    )
    for question in _questions(JudgeSpec(criteria=None, dtype="float32"), [pair], tokenizer):
        assert question.prompt.endswith("<think>\n</think>\n\n")
