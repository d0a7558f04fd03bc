"""Judged pairs whose prompts are what a dataset holds out."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from scripts import aggregate_scores, compare_runs, format_chat, judge_pairs, score_benchmark
from scripts.lib.benchmarks.held_out import questions as held_out_questions
from scripts.lib.benchmarks.judged_pairs import questions as judged_questions
from scripts.lib.data.formatting import FormatSpec
from scripts.lib.data.formatting import format_chat as make_chat
from scripts.lib.data.templates import CHATML
from scripts.lib.errors import ScoreError
from scripts.lib.judge.files import load_pairs
from scripts.lib.judge.rows import read_judged_rows
from tests import programs
from tests.comparison_file import read_comparison
from tests.identity.world import World
from tests.tiny_model import make_tiny_model
from tests.unit.judged_data import make_judged_world, write_answers
from tests.unit.scoring_data import spec, write_rows

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Århus"}}}


def turns(*said):
    """Return a conversation of turns, whose roles stand before a colon."""
    pairs = (text.split(": ", 1) for text in said)
    return {"messages": [{"role": role, "content": content} for role, content in pairs]}


CONVERSATIONS = [
    turns("system: Be brief.", "user: One tea", "assistant: 1 TEA"),
    turns("user: Hi", "assistant: Ho", "user: Two teas"),
    turns("user: Hi", "assistant: Ho", "user: Three teas", "assistant: 3 TEA"),
    turns("user: Is it warm?") | {"tools": [WEATHER]},
]
CONVERSATIONS[3]["messages"].append({"role": "assistant", "content": "", "tool_calls": [CALL]})


@pytest.fixture
def chat(tmp_path):
    """The conversations as test split, and one as valid, as the format stage writes them."""
    write_rows(tmp_path / "raw/train.jsonl", [{"prompt": "a", "completion": "b"}])
    write_rows(tmp_path / "raw/valid.jsonl", [{"prompt": "Say C", "completion": "C"}])
    write_rows(tmp_path / "raw/test.jsonl", CONVERSATIONS)
    out = tmp_path / "chat"
    out.mkdir()
    options = {"format": "auto", "system": None, "split_seed": 0, "limit": None}
    form = FormatSpec(**options, valid_fraction=0.0, test_fraction=0.0)
    make_chat(form, tmp_path / "raw", out)
    return out


def test_a_prompt_is_all_before_the_last_answer_which_is_the_reference(chat):
    brief, cut, several, called = rows = read_judged_rows(chat, "test")
    assert [row.id for row in rows] == ["test:0", "test:1", "test:2", "test:3"]
    assert brief.messages == CONVERSATIONS[0]["messages"][:-1]
    assert cut.messages == CONVERSATIONS[1]["messages"][:1], "nobody answered the second turn"
    assert several.messages == CONVERSATIONS[2]["messages"][:-1]
    assert [row.reference for row in (brief, cut, several)] == ["1 TEA", "Ho", "3 TEA"]
    assert json.loads(called.reference) == {"name": "weather", "arguments": {"city": "Århus"}}
    assert {row.category for row in rows} == {None}
    (other,) = read_judged_rows(chat, "valid")
    assert (other.id, other.reference) == ("valid:0", "C")


def test_a_split_without_answers_is_named(chat):
    (chat / "test.parquet").unlink()
    with pytest.raises(ScoreError, match=r"holds no test conversations that end with an answer"):
        read_judged_rows(chat, "test")


def test_models_are_asked_what_held_out_asks_them(chat, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(make_tiny_model(tmp_path / "tiny"))
    tokenizer.chat_template = CHATML
    held_out = list(held_out_questions.questions(answers_spec("held_out"), chat, tokenizer, 2048))
    judged = list(judged_questions.questions(answers_spec("judged_pairs"), chat, tokenizer, 2048))
    assert [one.id for one in judged] == [one.id for one in held_out]
    assert [one.prompt for one in judged] == [one.prompt for one in held_out]
    assert {one.subject for one in judged} == {"test"}
    (first,) = judged_questions.questions(
        answers_spec("judged_pairs", limit=1), chat, tokenizer, 2048
    )
    assert first.prompt == judged[0].prompt


def answers_spec(kind, **changes):
    values = {"kind": kind, "subject": "test", "shots": 0, "chat_template": True}
    return spec(**{**values, "max_new_tokens": 6, **changes})


def test_the_judge_reads_the_split_that_was_answered_with_its_tools(chat, tmp_path):
    base = write_answers(tmp_path / "base", ["a", "b", "c", "d"], "test")
    run = write_answers(tmp_path / "run", ["a", "c", "d", "e"], "test")
    brief, _, several, called = load_pairs(base, run, chat)
    assert brief.request == "[system]\nBe brief.\n\n[user]\nOne tea"
    assert (several.reference, several.run) == ("3 TEA", "d")
    tools, question = called.request.split("\n\n")
    assert json.loads(tools.removeprefix("[tools]\n")) == WEATHER
    assert question == "[user]\nIs it warm?"
    seen = write_answers(tmp_path / "seen", ["a"], "valid")
    (pair,) = load_pairs(seen, seen, chat)
    assert (pair.request, pair.reference) == ("Say C", "C")
    with pytest.raises(ScoreError, match="no pairs"):
        load_pairs(base, seen, chat)


@dataclass
class SplitWorld(World):
    """A world whose tuned model is another tiny one; training is pretended."""

    def _work(self, id, job):
        if id.startswith("merged/"):
            make_tiny_model(job.out, seed=1)
            return {}
        return super()._work(id, job)


@pytest.fixture
def world(tmp_path):
    """A project of one run, judged by its base on the dataset's held-out rows."""
    made = make_judged_world(tmp_path / "world", {"model": "tiny"}, {"base": ["none"]})
    world = SplitWorld(made.base, made.config)
    shutil.rmtree(world.home / "data/tiny")
    make_tiny_model(world.home / "data/tiny")
    rows = [{"prompt": f"order {n}", "completion": f"{n} TEA"} for n in range(6)]
    for name, part in (("train", rows[:2]), ("held_out", rows[2:4]), ("test", rows[4:])):
        write_rows(world.home / f"data/orders/{name}.jsonl", part)
    world.config["datasets"]["orders"]["files"]["test"] = "data/orders/test.jsonl"
    pairs = world.config["benchmarks"]["pairs"]
    del pairs["path"]
    pairs |= {"dataset": "orders", "max_new_tokens": 6}
    return world


def make(world, invocation, stage, program):
    """Make the artifacts of a stage with its real program and return their folders."""
    with world.inside():
        return [world.home / folder for folder in programs.make(invocation.file, stage, program)]


def judge_all(world):
    """Go from raw rows to the comparison; return its section, and the folder of what was judged."""
    invocation = world.invoke()
    world.run(invocation, stages=("models", "raw"))
    make(world, invocation, "chat", format_chat)
    world.run(invocation, stages=("shards", "adapters", "merged", "proofs"))
    scores = make(world, invocation, "scores", score_benchmark)
    assert len(scores) == 2, "the base's answers and the run's"
    make(world, invocation, "judgements", judge_pairs)
    (category,) = make(world, invocation, "categories", aggregate_scores)
    (comparison,) = make(world, invocation, "comparisons", compare_runs)
    document = read_comparison(comparison)
    return document["judged"]["pairs"], scores, category


@pytest.mark.parametrize(
    ("split", "asked", "notes"), [("test", (4, 5), 0), ("valid", (2, 3), 1)], ids=["test", "valid"]
)
def test_a_split_goes_from_raw_rows_to_the_comparison(world, split, asked, notes):
    if split != "test":
        world.config["benchmarks"]["pairs"]["split"] = split
    section, scores, category = judge_all(world)
    for folder in scores:
        told = pq.read_table(folder / "questions.parquet").to_pylist()
        assert [row["question_id"] for row in told] == [f"{split}:0", f"{split}:1"]
    lines = (Path(category) / "pairs.judged.jsonl").read_text().splitlines()
    judged = [json.loads(line) for line in lines]
    assert [row["request"] for row in judged] == [f"order {n}" for n in asked]
    assert [row["reference"] for row in judged] == [f"{n} TEA" for n in asked]
    found = section["candidates"]["gentle"]
    assert (section["split"], found["n"]) == (split, 2)
    assert [note["code"] for note in found["notes"]].count("valid_split") == notes


def test_the_conversations_of_a_run_are_those_that_are_asked(world):
    graph = world.graph()
    reads = {
        id: dict(made.reads)["benchmark"]
        for id, made in graph.artifacts.items()
        if made.stage in ("scores", "judgements")
    }
    (chat,) = (id for id in graph.artifacts if id.startswith("chat/"))
    assert len(reads) == 3 and set(reads.values()) == {(chat,)}


def test_a_model_that_only_judges_is_scored_on_nothing(world):
    shutil.copytree(world.home / "data/tiny", world.home / "data/referee")
    world.write("data/referee/model.safetensors", "another" * 9)
    world.config["models"]["referee"] = {"path": "data/referee"}
    world.config["benchmarks"]["domain"] = {"kind": "held_out", "dataset": "orders"}
    assert [c.name for c in world.graph().candidates] == ["tiny", "referee", "gentle"]
    world.config["benchmarks"]["pairs"]["judge"] = {"model": "referee"}
    graph = world.graph()
    assert [c.name for c in graph.candidates] == ["tiny", "gentle"]
    (judged,) = (made for made in graph.artifacts.values() if made.stage == "judgements")
    (judge,) = dict(judged.reads)["judge"]
    assert judge in graph.artifacts and "referee" in judge
    (compared,) = (made for made in graph.artifacts.values() if made.stage == "comparisons")
    assert judge in compared.knows["chain"], "who judged is checked like all that is compared"
    del world.config["runs"]
    assert [c.name for c in world.graph().candidates] == ["tiny", "referee"]
