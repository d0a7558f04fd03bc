"""Scores on held-out conversations, with plain transformers as the yardstick."""

import json
import math
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts.lib.benchmarks.held_out import questions as held_out_questions
from scripts.lib.benchmarks.held_out.adherence import grade_all
from scripts.lib.benchmarks.held_out.questions import template_markers
from scripts.lib.benchmarks.held_out.scores import aggregate_held_out
from scripts.lib.data.formatting import FormatSpec, format_chat
from scripts.lib.data.renderer import Renderer
from scripts.lib.data.templates import CHATML, Template
from scripts.lib.errors import ScoreError
from scripts.lib.questions.requests import GreedyAnswer
from tests.tiny_model import make_tiny_model
from tests.unit.scoring_data import score, spec, write_rows

LENGTH = 6
IDS = "input_ids"
TURNS = ("user", "assistant", "user", "assistant")


def conversation(n):
    """Return one of several kinds: a plain one, one with a system turn, one of several turns."""
    words = [f"Say {'the answer ' * n}", "é" * n or "nothing", "and again?", f"again {n}"]
    turns = list(zip(TURNS, words, strict=True))[: 2 if n % 2 else 4]
    system = [("system", "Be brief.")] if n % 3 == 0 else []
    return {"messages": [{"role": r, "content": c} for r, c in [*system, *turns]]}


CONVERSATIONS = [conversation(n) for n in range(1, 8)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def chat(tmp_path):
    """The conversations, all of them the test split, as the format stage writes them."""
    write_rows(tmp_path / "raw/train.jsonl", [{"prompt": "a", "completion": "b"}])
    write_rows(tmp_path / "raw/test.jsonl", CONVERSATIONS)
    options = {"format": "auto", "system": None, "split_seed": 0, "limit": None}
    out = tmp_path / "chat"
    out.mkdir()
    fractions = {"valid_fraction": 0.0, "test_fraction": 0.0}
    format_chat(FormatSpec(**options, **fractions), tmp_path / "raw", out)
    return out


def held_out(**changes):
    values = {
        "kind": "held_out",
        "subject": "test",
        "shots": 0,
        "chat_template": True,
        "max_new_tokens": LENGTH,
    }
    return spec(**{**values, **changes})


def by_hand(model, messages):
    """Return loss and tokens of the last answer, and the greedy one, by transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    options = {"tokenize": True, "return_dict": False}
    prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, **options)
    whole = tokenizer.apply_chat_template(messages, **options)
    end = len(whole) - whole[::-1].index(tokenizer.eos_token_id)
    with torch.inference_mode():
        logprobs = network(torch.tensor([whole])).logits[0].log_softmax(-1)
        nats = -sum(logprobs[at - 1, whole[at]].item() for at in range(len(prompt), end))
        said = list(prompt)
        while (
            len(said) < len(prompt) + LENGTH and tokenizer.eos_token_id not in said[len(prompt) :]
        ):
            said.append(int(network(torch.tensor([said])).logits[0, -1].argmax()))
    new = said[len(prompt) :]
    ended = tokenizer.eos_token_id in new
    return nats, end - len(prompt), tokenizer.decode(new[:-1] if ended else new), ended


def test_loss_and_answers_are_those_of_plain_transformers(model, chat, tmp_path):
    facts, rows = score(held_out(), model, chat, tmp_path, batch_size=3)
    expected = [by_hand(model, one["messages"]) for one in CONVERSATIONS]
    assert facts["n"] == len(CONVERSATIONS)
    assert [row["reference_tokens"] for row in rows] == [tokens for _, tokens, _, _ in expected]
    assert [(row["response"], row["ended"]) for row in rows] == [e[2:] for e in expected]
    assert [row["answer"] for row in rows] == [c["messages"][-1]["content"] for c in CONVERSATIONS]
    for row, (nats, *_) in zip(rows, expected, strict=True):
        assert -row["logprobs"][0] == pytest.approx(nats, rel=1e-4)
    out = tmp_path / "sums"
    out.mkdir()
    aggregate_held_out("domain", [tmp_path / "out"], out)
    found = json.loads((out / "domain.held_out.json").read_text())
    nats, tokens = sum(e[0] for e in expected), sum(e[1] for e in expected)
    size = sum(len(c["messages"][-1]["content"].encode()) for c in CONVERSATIONS)
    assert found["perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-4)
    assert found["bits_per_byte"] == pytest.approx(nats / math.log(2) / size, rel=1e-4)
    assert (found["n"], found["split"]) == (len(CONVERSATIONS), "test")
    assert found["references_over_limit"] == sum(tokens > LENGTH for _, tokens, _, _ in expected)
    assert found["protocol"]["max_new_tokens"] == LENGTH
    assert found["made_of"] == {"model": model.name}
    lines = (out / "domain.held_out.jsonl").read_text().splitlines()
    assert [json.loads(line)["stops"] for line in lines] == [float(e[3]) for e in expected]


def test_a_job_that_is_started_again_asks_nothing_twice(model, chat, tmp_path):
    copy = shutil.copytree(model, tmp_path / "copy")
    _, first = score(held_out(), copy, chat, tmp_path)
    (copy / "model.safetensors").unlink()
    _, second = score(held_out(), copy, chat, tmp_path)
    assert second == first


def test_a_limit_asks_the_first_conversations(model, chat, tmp_path):
    _, rows = score(held_out(limit=2), model, chat, tmp_path)
    assert [row["question_id"] for row in rows] == ["test:0", "test:1"]


def test_a_conversation_too_long_is_refused_before_the_model_is_loaded(model, chat, tmp_path):
    copy = shutil.copytree(model, tmp_path / "copy")
    (copy / "model.safetensors").unlink()
    with pytest.raises(ScoreError, match=r"Question test:0 needs .* Lower `max_new_tokens`"):
        score(held_out(max_new_tokens=5000), copy, chat, tmp_path)


def test_a_conversation_too_long_can_be_left_out_and_is_counted(model, chat, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(model)
    lengths = [
        len(tokenizer.apply_chat_template(one["messages"][:-1], add_generation_prompt=True)[IDS])
        for one in CONVERSATIONS
    ]
    copy = shutil.copytree(model, tmp_path / "copy")
    settings = json.loads((copy / "config.json").read_text())
    reads = sorted(lengths)[3] + LENGTH
    (copy / "config.json").write_text(json.dumps(settings | {"max_position_embeddings": reads}))
    with pytest.raises(ScoreError, match="set `on_long_prompt: leave_out`"):
        score(held_out(), copy, chat, tmp_path / "refused")
    facts, rows = score(held_out(on_long_prompt="leave_out"), copy, chat, tmp_path / "asked")
    short = [at for at, length in enumerate(lengths) if length + LENGTH <= reads]
    assert 0 < len(short) < len(CONVERSATIONS)
    assert [row["question_id"] for row in rows] == [f"test:{at}" for at in short]
    assert facts["protocol"]["left_out"] == len(CONVERSATIONS) - len(short)
    with pytest.raises(ScoreError, match="All 7 conversations are longer than"):
        score(held_out(on_long_prompt="leave_out", max_new_tokens=5000), copy, chat, tmp_path)


def test_a_long_reference_counts_even_where_answers_are_short(model, chat, tmp_path):
    copy = shutil.copytree(model, tmp_path / "copy")
    (copy / "model.safetensors").unlink()
    settings = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(settings | {"max_position_embeddings": 45}))
    with pytest.raises(ScoreError, match=r"Question test:\d needs \d+ tokens with its answer"):
        score(held_out(max_new_tokens=1), copy, chat, tmp_path)


def test_a_base_without_a_template_is_refused_with_a_remedy_that_this_kind_has(chat, tmp_path):
    mute = make_tiny_model(tmp_path / "mute")
    (mute / "chat_template.jinja").unlink()
    with pytest.raises(ScoreError, match="has no chat template") as error:
        score(held_out(), mute, chat, tmp_path)
    assert "`models.NAME.template`: chatml" in str(error.value)
    assert "or drop this benchmark" in str(error.value)
    assert "chat_template: true" not in str(error.value)


def test_a_split_without_conversations_is_an_error_with_a_remedy(model, chat, tmp_path):
    with pytest.raises(ScoreError, match=r"no valid conversations .* a larger valid_fraction"):
        score(held_out(subject="valid"), model, chat, tmp_path)


def test_a_template_whose_prompt_is_no_beginning_is_refused(model, chat, tmp_path):
    copy = shutil.copytree(model, tmp_path / "copy")
    template = CHATML.replace("'<|im_start|>assistant\\n' }}", "'<|im_start|>assistant\\nHm ' }}")
    assert template != CHATML
    (copy / "chat_template.jinja").write_text(template)
    with pytest.raises(ScoreError, match=r"can be asked through.*prompt_is_not_a_prefix"):
        score(held_out(), copy, chat, tmp_path)


def test_markers_are_control_tokens_and_the_lines_between_turns(model):
    tokenizer = AutoTokenizer.from_pretrained(model)
    plain = (
        "{% for m in messages %}{{ '### ' + m.role + ':\\n' + m.content + '\\n\\n' }}{% endfor %}"
    )
    renderer = Renderer(tokenizer, Template(source="custom", text=plain))
    control = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}
    assert set(template_markers(renderer)) == control | {"### user:", "### assistant:"}
    strict = "{% if messages|length > 2 %}{{ raise_exception('no') }}{% endif %}"
    renderer = Renderer(tokenizer, Template(source="custom", text=strict))
    assert set(template_markers(renderer)) == control


# As Qwen3's: thoughts are cut from earlier answers, and the last one has some, if only empty ones.
THINKING = CHATML.replace(
    "'\\n' + message.content }}",
    "'\\n' + ('<think>\\n\\n</think>\\n\\n' if loop.last and message.role == 'assistant' else '')"
    " + message.content }}",
)


def test_thoughts_that_the_template_writes_are_no_fault_of_the_answer(model, chat):
    assert THINKING != CHATML
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = THINKING
    questions = list(held_out_questions.questions(held_out(), chat, tokenizer, 2048))
    said = [f"<think>\nA|?\n</think>\n\n{q.doc['answer']}" for q in questions]
    said[1] = "<think>\nAnd so on"
    said[2] = "<think>\n</think>\n\n"
    rows = [
        {**q.grade(q, [-1.0, GreedyAnswer(text, True, 9)]), "token_hash": "t"}
        for q, text in zip(questions, said, strict=True)
    ]
    kept, forms = grade_all(rows)
    assert forms == ["one line"]
    assert [one["format"] for one in kept] == [1, 0, 0, 1, 1, 1, 1]
    assert kept[2]["wrong"] == ["is empty", "is in another language"]
    assert [one["response"] for one in kept] == said


@pytest.mark.parametrize("logprob", [math.nan, -math.inf])
def test_a_broken_model_s_loss_is_an_error(model, chat, logprob):
    tokenizer = AutoTokenizer.from_pretrained(model)
    question = next(held_out_questions.questions(held_out(), chat, tokenizer, 2048))
    with pytest.raises(ScoreError, match="log-probability of test:0 is no finite number"):
        question.grade(question, [logprob, GreedyAnswer("", False, 0)])
