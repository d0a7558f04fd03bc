"""What a search writes: every question that stands in a split, where, and which conversations."""

import json
from pathlib import Path

import pytest

from scripts.lib.contamination.document import CONVERSATIONS_TABLE, QUESTIONS_TABLE, found_in
from scripts.lib.contamination.finding import ContaminationSpec, excerpt, find_contamination
from scripts.lib.data.formatting import FormatSpec, format_chat
from scripts.lib.data.parquet import read_table_rows

FIRST = "Which of these minerals is the hardest one on the scale that Friedrich Mohs made?"
SECOND = "In which year did the first steam engine of James Watt begin to pump out a mine?"
THIRD = "How many sides does a regular dodecahedron have that is cut in the middle by a plane?"
SPEC = ContaminationSpec(kind="mmlu", subject=None, ngram=8, threshold=0.5)


def lines(place: Path, rows: list[dict]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("".join(json.dumps(row) + "\n" for row in rows))


def question(text: str) -> dict:
    return {"question": text, "choices": ["1", "2", "3", "4"], "answer": 0}


@pytest.fixture
def benchmark(tmp_path) -> Path:
    folder = tmp_path / "benchmark"
    lines(folder / "test/geology.jsonl", [question(FIRST), question("Who?")])
    lines(folder / "test/history.jsonl", [question(SECOND), question(THIRD)])
    lines(folder / "dev/history.jsonl", [question(FIRST)])
    return folder


def chat_of(tmp_path: Path, train: list[dict], valid: list[dict] | None = None) -> Path:
    """Format rows as the workflow does."""
    raw, out = tmp_path / "raw", tmp_path / "chat"
    lines(raw / "train.jsonl", train)
    if valid:
        lines(raw / "valid.jsonl", valid)
    out.mkdir()
    spec = FormatSpec(
        format="auto", system=None, valid_fraction=0, test_fraction=0, split_seed=0, limit=None
    )
    format_chat(spec, raw, out)
    return out


def row(prompt: str, completion: str = "Well.") -> dict:
    return {"prompt": prompt, "completion": completion}


def search(benchmark: Path, chat: Path, spec: ContaminationSpec = SPEC) -> tuple[Path, dict]:
    out = chat.parent / "found"
    out.mkdir()
    return out, find_contamination(spec, benchmark, chat, out)["contamination"]


def test_planted_questions_are_told_with_their_ids_their_place_and_an_excerpt(tmp_path, benchmark):
    shortened = "Tell me. " + " ".join(SECOND.split()[:11])
    rows = [row("hello"), row("ask me something", f"Gladly:\n\n  {FIRST.upper()}"), row(shortened)]
    out, summary = search(benchmark, chat_of(tmp_path, rows))
    one, two = read_table_rows(out / QUESTIONS_TABLE)
    assert (one["question_id"], one["subject"], one["how"]) == ("geology:0", "geology", "exact")
    assert (one["conversation_id"], one["split"], one["train"]) == ("train:1", "train", 1)
    assert one["question"] == FIRST
    assert FIRST.upper() in one["excerpt"]
    assert (two["question_id"], two["how"]) == ("history:0", "n-grams")
    assert 0.5 <= two["share"] < 1
    assert summary["questions"] == 4
    assert summary["short"] == 1
    assert summary["found"] == {"train": 2, "valid": 0}
    assert summary["exact"] == {"train": 1, "valid": 0}
    assert summary["conversations"] == {"train": 3, "valid": 0}
    assert summary["holding"] == {"train": 2, "valid": 0}
    assert json.loads((out / "summary.json").read_text()) == summary
    assert [one["question_id"] for one in summary["examples"]] == ["geology:0", "history:0"]


def test_every_conversation_that_holds_a_question_is_told(tmp_path, benchmark):
    rows = [row(f"{FIRST} Take {number}.") for number in range(3)]
    rows += [row("hello"), row(f"{FIRST} {SECOND}")]
    out, summary = search(benchmark, chat_of(tmp_path, rows))
    found = read_table_rows(out / CONVERSATIONS_TABLE)
    assert [one["conversation_id"] for one in found] == ["train:0", "train:1", "train:2", "train:4"]
    assert [one["questions"] for one in found] == [1, 1, 1, 2]
    assert found_in(out, "train")["geology:0"]["train"] == 4
    assert summary["holding"]["train"] == 4


def test_training_rows_count_before_validation_rows(tmp_path, benchmark):
    shortened = " ".join(FIRST.split()[:11])
    out, summary = search(benchmark, chat_of(tmp_path, [row(shortened)], [row(FIRST), row(SECOND)]))
    train, valid = found_in(out, "train"), found_in(out, "valid")
    assert set(train) == {"geology:0"}
    assert set(valid) == {"geology:0", "history:0"}
    assert (train["geology:0"]["how"], train["geology:0"]["split"]) == ("n-grams", "train")
    assert summary["found"] == {"train": 1, "valid": 2}
    assert summary["exact"] == {"train": 0, "valid": 2}


def test_what_is_held_out_for_a_test_is_not_searched(tmp_path, benchmark):
    chat = chat_of(tmp_path, [row("hello")])
    (chat / "train.parquet").rename(chat / "test.parquet")
    _, summary = search(benchmark, chat)
    assert summary["conversations"] == {"train": 0, "valid": 0}


def test_thoughts_are_searched_as_answers_are(tmp_path, benchmark):
    messages = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "Hi.", "reasoning_content": f"They ask: {FIRST}"},
    ]
    out, _ = search(benchmark, chat_of(tmp_path, [{"messages": messages}]))
    assert set(found_in(out, "train")) == {"geology:0"}


def test_a_benchmark_that_stands_nowhere_leaves_empty_tables(tmp_path, benchmark):
    out, summary = search(benchmark, chat_of(tmp_path, [row("hello")]))
    assert read_table_rows(out / QUESTIONS_TABLE) == []
    assert read_table_rows(out / CONVERSATIONS_TABLE) == []
    assert summary["examples"] == []


def test_equal_inputs_give_equal_bytes(tmp_path, benchmark):
    chat = chat_of(tmp_path, [row(FIRST), row(SECOND)])
    out, _ = search(benchmark, chat)
    before = {place.name: place.read_bytes() for place in out.iterdir()}
    out.rename(tmp_path / "first")
    again, _ = search(benchmark, chat)
    assert {place.name: place.read_bytes() for place in again.iterdir()} == before


def test_an_excerpt_begins_before_the_word_and_says_where_it_was_cut():
    text = "one two three " * 100
    cut = excerpt(text, 90)
    assert cut.startswith("… ")
    assert cut.endswith(" …")
    assert excerpt("short text", 1) == "short text"
    assert excerpt("", 3) == ""
