"""Properties of benchmarks that generate an answer and compare it."""

import json
import shutil
from datetime import datetime

import pytest
from safetensors.torch import load_file, save_file

from scripts.lib.benchmarks.exact_match.questions import questions
from scripts.lib.data.ends import answer_ends
from scripts.lib.errors import ScoreError
from scripts.lib.questions.prompts import load_tokenizer, render
from scripts.lib.score.respondent import Loading, load_backend
from tests.tiny_model import CHATML, make_tiny_model
from tests.unit.scoring_data import score, spec, write_benchmark, write_rows


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def talker(model, tmp_path_factory):
    """A random model that says something else than the last character it read."""
    folder = shutil.copytree(model, tmp_path_factory.mktemp("talker") / "tiny")
    weights = load_file(folder / "model.safetensors")
    louder = {n: w * (50 if "layers" in n and w.ndim == 2 else 1) for n, w in weights.items()}
    save_file(louder, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def exact_spec(**changes):
    values = {
        "kind": "exact_match",
        "subject": None,
        "shots": 0,
        "chat_template": True,
        "max_new_tokens": 6,
    }
    return spec(**{**values, **changes})


def write_questions(folder, items):
    write_rows(folder / "questions.jsonl", items)
    return folder


QUESTIONS = [
    {"prompt": "Say A", "answer": "x"},
    {"prompt": "Say B, and be brief about it", "answer": "x", "system": "Be terse."},
    {
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hi!"},
            {"role": "user", "content": "Say C"},
        ],
        "answer": "x",
    },
]


def test_the_right_answer_is_right_and_another_is_wrong(talker, tmp_path):
    folder = write_questions(tmp_path / "first", QUESTIONS)
    facts, said = score(exact_spec(), talker, folder, tmp_path / "one")
    assert facts["correct"] == 0
    assert all(answer["response"].strip() for answer in said)
    answered = [
        row | {"answer": f"\n {answer['response']} "}
        for row, answer in zip(QUESTIONS, said, strict=True)
    ]
    answered[1]["answer"] += "."
    folder = write_questions(tmp_path / "second", answered)
    facts, marked = score(exact_spec(), talker, folder, tmp_path / "two")
    assert [answer["correct"] for answer in marked] == [True, False, True]
    assert marked[0]["question_id"] == "questions:0" and marked[0]["logprobs"] is None


def test_generation_is_greedy_whatever_the_model_s_generation_config_says(talker, tmp_path):
    folder = write_questions(tmp_path / "questions", QUESTIONS)
    _, plain = score(exact_spec(), talker, folder, tmp_path / "plain")
    wild = shutil.copytree(talker, tmp_path / "wild")
    config = {"do_sample": True, "temperature": 5.0, "repetition_penalty": 9.0, "max_length": 9}
    (wild / "generation_config.json").write_text(json.dumps(config))
    _, tamed = score(exact_spec(), wild, folder, tmp_path / "tamed")
    assert plain == tamed


# Some templates write the end of the text after that of the last turn (Phi-3).
END_OF_TEXT = "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}"


@pytest.mark.parametrize("more", ["", END_OF_TEXT])
def test_answers_end_where_the_template_ends_a_turn(model, tmp_path, more):
    ending = shutil.copytree(model, tmp_path / "ending")
    config = json.loads((ending / "tokenizer_config.json").read_text())
    config["eos_token"] = "<|endoftext|>"
    (ending / "tokenizer_config.json").write_text(json.dumps(config))
    (ending / "generation_config.json").write_text(json.dumps({"eos_token_id": 0}))
    (ending / "chat_template.jinja").write_text(CHATML + more)
    folder = write_questions(tmp_path / "questions", QUESTIONS)
    tokenizer = load_tokenizer(ending, chat_template=True)
    assert answer_ends(tokenizer).texts == ("<|im_end|>",)
    assert tokenizer.eos_token != "<|im_end|>"
    loading = Loading(
        model=ending,
        adapter=None,
        tokenizer=tokenizer,
        dtype="float32",
        batch_size=2,
        ends=answer_ends(tokenizer).texts,
        context=128,
    )
    ends = load_backend("hf", loading).model.generation_config.eos_token_id
    assert set(ends) == {0, tokenizer.convert_tokens_to_ids("<|im_end|>")}
    asked = next(iter(questions(exact_spec(), folder, tokenizer, 128)))
    assert asked.requests[0].args[1]["until"] == ["<|im_end|>"]
    assert len(score(exact_spec(), ending, folder, tmp_path)[1]) == 3


def test_a_prompt_is_the_same_on_every_day(model):
    tokenizer = load_tokenizer(model, chat_template=True)
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }}: {{ messages[0]['content'] }}"
    today = f"{datetime.now():%d %b %Y}"
    text = render(tokenizer, [{"role": "user", "content": "Say A"}])
    assert text.endswith(": Say A") and today not in text


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"prompt": "Say A"}, "no text in `answer`"),
        ({"answer": "A"}, "either `prompt` or `messages`"),
        ({"prompt": "Say A", "messages": [], "answer": "A"}, "either `prompt` or `messages`"),
        ({"messages": [], "answer": "A"}, "no turns"),
        ({"messages": [{"role": "user"}], "answer": "A"}, "without `role` and `content`"),
        ({"messages": [{"role": "assistant", "content": "A"}], "answer": "A"}, "a user's turn"),
    ],
)
def test_malformed_questions_are_refused(model, tmp_path, row, complaint):
    folder = write_questions(tmp_path / "questions", [QUESTIONS[0], row])
    with pytest.raises(ScoreError, match=rf"questions\.jsonl:2 .*{complaint}"):
        score(exact_spec(), model, folder, tmp_path)


def test_turns_and_templates_are_asked_for_together(model, tmp_path):
    folder = write_questions(tmp_path / "questions", QUESTIONS)
    with pytest.raises(ScoreError, match=r"questions\.jsonl:2 .*chat_template: true"):
        score(exact_spec(chat_template=False), model, folder, tmp_path)
    with pytest.raises(ScoreError, match="shots: 0"):
        score(exact_spec(shots=1), model, folder, tmp_path)
    bare = shutil.copytree(model, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(ScoreError, match="has no chat template"):
        score(exact_spec(), bare, folder, tmp_path)


def test_a_template_without_system_turns_is_followed_as_lm_eval_does_and_said_so(
    model, tmp_path, capsys
):
    benchmark_folder = write_benchmark(tmp_path / "benchmark")
    strict = shutil.copytree(model, tmp_path / "strict")
    template = (model / "chat_template.jinja").read_text()
    refusal = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    (strict / "chat_template.jinja").write_text(refusal + template)
    score(spec(chat_template=True), strict, benchmark_folder, tmp_path)
    assert "no system turn" in capsys.readouterr().err
    folder = write_questions(tmp_path / "questions", QUESTIONS)
    with pytest.raises(ScoreError, match="refuses a conversation of the turns system, user"):
        score(exact_spec(), strict, folder, tmp_path)
