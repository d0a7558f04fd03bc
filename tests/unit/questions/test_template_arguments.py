"""Arguments for a chat template: of the config, a dataset or a row, and what is asked with them."""

import json

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from transformers import AutoTokenizer

from scripts.lib.benchmarks.exact_match.options import ExactMatch
from scripts.lib.benchmarks.exact_match.questions import questions as exact_questions
from scripts.lib.benchmarks.held_out import questions as held_out_questions
from scripts.lib.benchmarks.held_out.options import HeldOut
from scripts.lib.benchmarks.judged_pairs import questions as judged_questions
from scripts.lib.benchmarks.mmlu.options import LocalMmlu
from scripts.lib.benchmarks.mmlu.questions import questions as mmlu_questions
from scripts.lib.compare.wording import protocol_words
from scripts.lib.config.sources import LocalDataset
from scripts.lib.data import formatting
from scripts.lib.data.conversation import Conversation
from scripts.lib.data.formatting import FormatSpec, format_chat
from scripts.lib.data.rendering import RenderSpec, render_shards
from tests.tiny_model import CHATML, make_tiny_model
from tests.unit.scoring_data import score, spec, write_benchmark, write_rows

# Writes an empty reasoning where it is told not to think, as Qwen3's.
SWITCH = CHATML + (
    "{% if add_generation_prompt and enable_thinking is false %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}"
)
OFF = {"enable_thinking": False}
EMPTY = "assistant\n<think>\n\n</think>\n\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")
    (folder / "chat_template.jinja").write_text(SWITCH)
    return folder


@pytest.fixture
def tokenizer(model):
    return AutoTokenizer.from_pretrained(model)


def asked(kind, **changes):
    values = {"kind": kind, "subject": "test", "shots": 0, "chat_template": True}
    return spec(**{**values, "max_new_tokens": 6, **changes})


def formatted(folder, rows, own=None, **settings):
    """Format rows, all with arguments of their own if there are *own*."""
    own = {} if own is None else {"chat_template_kwargs": own}
    more = [{"prompt": f"a{n}", "completion": f"b{n}", **own} for n in range(9)]
    write_rows(folder / "raw/train.jsonl", [*more, *rows])
    write_rows(folder / "raw/test.jsonl", [{"prompt": "c", "completion": "d", **own}])
    options = {"format": "auto", "system": None, "split_seed": 0, "limit": None}
    fractions = {"valid_fraction": 0.5, "test_fraction": 0.0}
    out = folder / "chat"
    out.mkdir()
    facts = format_chat(FormatSpec(**options, **fractions, **settings), folder / "raw", out)
    return facts, out


def conversations(chat, split):
    rows = pq.read_table(chat / f"{split}.parquet").to_pylist()
    return {row["conversation_id"]: Conversation.from_row(row) for row in rows}


# What the config may say.


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"tools": []}, "names tools, which rendering gives"),
        ({"add_generation_prompt": False}, "names add_generation_prompt"),
        ({"bos_token": ""}, "names bos_token"),
        ([1], "is no mapping"),
        ({1: 2}, "is no mapping"),
        ({"since": float("nan")}, "no JSON"),
        ({"since": {1, 2}}, "no JSON"),
    ],
)
@pytest.mark.parametrize(
    "options",
    [
        lambda **more: ExactMatch(kind="exact_match", path="x", **more),
        lambda **more: HeldOut(kind="held_out", dataset="x", **more),
        lambda **more: LocalDataset(path="x.jsonl", **more),
    ],
)
def test_names_that_rendering_gives_and_what_is_no_json_are_refused(options, given, text):
    with pytest.raises(ValidationError, match=text):
        options(template_arguments=given)
    kept = options(template_arguments={"a": [1, None, {"b": "c"}]}).template_arguments
    assert kept == {"a": [1, None, {"b": "c"}]}


def test_arguments_without_a_template_are_refused():
    with pytest.raises(ValidationError, match="of no use without `chat_template: true`"):
        LocalMmlu(kind="mmlu", path="x", template_arguments=OFF)
    through = LocalMmlu(kind="mmlu", path="x", chat_template=True, template_arguments=OFF)
    assert through.protocol()["template_arguments"] == OFF
    assert "template_arguments" not in LocalMmlu(kind="mmlu", path="x").protocol()


# What a dataset and its rows say.


def test_a_datasets_arguments_reach_each_conversation_and_move_none(tmp_path):
    rows = [{"prompt": f"q{n}", "completion": f"a{n}"} for n in range(20)]
    _, plain = formatted(tmp_path / "one", rows)
    _, given = formatted(tmp_path / "other", rows, template_arguments=OFF)
    for split in ("train", "valid", "test"):
        before, after = conversations(plain, split), conversations(given, split)
        assert before.keys() == after.keys(), "the same rows are held out"
        assert all(dict(one.template_arguments) == OFF for one in after.values())
        assert not any(one.template_arguments for one in before.values())


def test_a_rows_own_arguments_win(tmp_path):
    own = {"enable_thinking": True}
    _, chat = formatted(tmp_path, [], own, template_arguments=OFF | {"date": "today"})
    (one,) = conversations(chat, "test").values()
    assert dict(one.template_arguments) == {"enable_thinking": True, "date": "today"}


def test_a_row_that_gives_what_rendering_gives_is_dropped_and_counted(tmp_path):
    with pytest.raises(formatting.RecordError, match="template_argument_taken"):
        formatted(tmp_path, [], {"tools": []})


# What is asked with them.


def test_every_kind_asks_with_the_benchmarks_arguments(tmp_path, tokenizer):
    _, chat = formatted(tmp_path, [])
    exact = tmp_path / "exact"
    write_rows(exact / "questions.jsonl", [{"prompt": "Say A", "answer": "A"}])
    mmlu = write_benchmark(tmp_path / "mmlu")
    kinds = [
        (held_out_questions.questions, chat, asked("held_out", template_arguments=OFF)),
        (judged_questions.questions, chat, asked("judged_pairs", template_arguments=OFF)),
        (exact_questions, exact, asked("exact_match", subject=None, template_arguments=OFF)),
        (
            mmlu_questions,
            mmlu,
            asked("mmlu", subject="anatomy", max_new_tokens=None, template_arguments=OFF),
        ),
    ]
    for questions, folder, wanted in kinds:
        prompts = [one.prompt for one in questions(wanted, folder, tokenizer, 2048)]
        assert prompts and all(EMPTY in prompt for prompt in prompts), wanted.kind


def test_a_conversations_own_arguments_win_over_a_benchmarks(tmp_path, tokenizer):
    _, chat = formatted(tmp_path, [], template_arguments=OFF)
    for kind, module in (("held_out", held_out_questions), ("judged_pairs", judged_questions)):
        (own,) = module.questions(asked(kind), chat, tokenizer, 2048)
        assert own.prompt.endswith(EMPTY)
        other = asked(kind, template_arguments={"enable_thinking": True})
        (both,) = module.questions(other, chat, tokenizer, 2048)
        assert both.prompt == own.prompt


def test_the_protocol_states_them_and_nothing_where_there_are_none(model, tmp_path):
    folder = tmp_path / "exact"
    write_rows(folder / "questions.jsonl", [{"prompt": "Say A", "answer": "A"}])
    wanted = asked("exact_match", subject=None, template_arguments=OFF)
    facts, _ = score(wanted, model, folder, tmp_path / "off")
    assert facts["protocol"]["template_arguments"] == OFF
    assert "chat template (enable_thinking: false)" in protocol_words(facts["protocol"])
    facts, _ = score(asked("exact_match", subject=None), model, folder, tmp_path / "plain")
    assert "template_arguments" not in facts["protocol"]
    assert "chat template, float32" in protocol_words(json.loads(json.dumps(facts["protocol"])))


def test_rendering_is_given_them_and_counts_whom(tmp_path, model):
    template = "{{ '[' + (mood or 'plain') + ']' }}" + CHATML
    _, chat = formatted(tmp_path, [], template_arguments={"mood": "glad"})
    settings = {"max_length_tokens": 99, "on_too_long": "drop"}
    wanted = RenderSpec(template={"name": "custom", "text": template}, **settings)
    out = tmp_path / "shards"
    out.mkdir()
    facts = render_shards(wanted, chat, model, out)
    texts = pq.read_table(out / "test-00000.parquet")["text"].to_pylist()
    assert texts and all(text.startswith("[glad]") for text in texts)
    tokens = facts["tokens"]
    assert tokens["template_arguments"] == {'{"mood": "glad"}': tokens["conversations"]}
