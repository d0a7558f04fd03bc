"""A raw dataset becomes conversations, and every row is accounted for."""

import hashlib
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts.lib.data import records
from scripts.lib.data.formatting import FormatSpec, format_chat
from scripts.lib.errors import RecordError
from scripts.lib.progress import VARIABLE, read_note
from tests.chat_samples import FORMAT

DATA = Path(__file__).parents[2] / "data" / "chat"


@pytest.fixture
def run(tmp_path):
    """Format the given files and return (facts, tables by name, folder)."""

    def run(files, name="out", **settings):
        raw, out = tmp_path / f"{name}-raw", tmp_path / name
        raw.mkdir()
        out.mkdir()
        for file, content in files.items():
            if isinstance(content, Path):
                shutil.copy(content, raw / file)
            else:
                (raw / file).write_text("\n".join(map(json.dumps, content)), encoding="utf-8")
        facts = format_chat(FormatSpec(**(FORMAT | settings)), raw, out)
        tables = {path.stem: pq.read_table(path).to_pylist() for path in out.glob("*.parquet")}
        return facts, tables, out

    return run


def pairs(numbers):
    return [{"prompt": f"question {n}", "completion": f"answer {n}"} for n in numbers]


def side_of(tables):
    return {
        row["messages"][-1]["content"]: split
        for split in ("train", "valid", "test")
        for row in tables.get(split, [])
    }


def test_every_row_has_one_ledger_line_with_its_verdict(run):
    facts, tables, _ = run({"train.jsonl": DATA / "messages.jsonl"})
    assert [(line["row"], line["verdict"], line["reason"]) for line in tables["ledger"]] == [
        (0, "kept", ""),
        (1, "fixed", "trailing_turn_cut"),
        (2, "dropped", "roles_do_not_alternate"),
        (3, "dropped", "empty_assistant"),
        (4, "dropped", "not_json"),
        (5, "dropped", "duplicate"),
    ]
    assert "line 6" in tables["ledger"][4]["detail"]
    assert tables["ledger"][5]["detail"] == "equal to train:1"
    assert facts["summary"] == {
        "rows": 6,
        "kept": 1,
        "fixed": 1,
        "dropped": 4,
        "by_reason": {
            "duplicate": 1,
            "empty_assistant": 1,
            "not_json": 1,
            "roles_do_not_alternate": 1,
            "trailing_turn_cut": 1,
        },
        "splits": {"train": 2, "valid": 0, "test": 0},
        "dropped_fraction": 4 / 6,
    }


def test_the_summary_file_holds_the_facts_and_empty_splits_have_no_file(run):
    facts, _, out = run({"train.jsonl": pairs(range(3))})
    assert json.loads((out / "summary.json").read_text()) == facts["summary"]
    assert {path.name for path in out.iterdir()} == {
        "train.parquet",
        "ledger.parquet",
        "summary.json",
    }


def test_conversations_have_the_agreed_columns(run):
    _, tables, _ = run({"train.json": DATA / "sharegpt_tools.json"})
    row = tables["train"][0]
    assert set(row) == {"conversation_id", "messages", "tools", "template_arguments"}
    assert row["conversation_id"] == "train:0"
    assert [set(message) for message in row["messages"]] == [
        {"role", "content", "reasoning", "name", "tool_call_id", "tool_calls", "trained"}
    ] * 4
    function = json.loads(row["messages"][1]["tool_calls"])[0]["function"]
    assert function == {"name": "get_weather", "arguments": {"city": "Oslo"}}


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "parquet"])
def test_every_file_format_gives_the_same_conversations(run, tmp_path, suffix):
    rows = [{"instruction": 'Add,\n"them".', "input": "1+1", "output": "é 2"}, *pairs([])]
    path = tmp_path / f"rows.{suffix}"
    if suffix == "csv":
        path.write_text('instruction,input,output\n"Add,\n""them"".",1+1,é 2\n', encoding="utf-8")
    elif suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        text = json.dumps(rows) if suffix == "json" else "\n".join(map(json.dumps, rows))
        path.write_text(text, encoding="utf-8")
    _, tables, _ = run({f"train.{suffix}": path})
    assert [message["content"] for message in tables["train"][0]["messages"]] == [
        'Add,\n"them".\n1+1',
        "é 2",
    ]


def test_csv_rows_without_an_answer_are_dropped(run):
    _, tables, _ = run({"train.csv": DATA / "alpaca.csv"})
    assert [line["reason"] for line in tables["ledger"]] == ["", "", "empty_assistant"]


def test_a_json_array_is_read_in_pieces_of_any_size(run, monkeypatch, tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(pairs(range(20)), indent=1))
    for size in (1, 7, 64, 100_000):
        monkeypatch.setattr(records, "CHUNK_CHARACTERS", size)
        facts, _, _ = run({"train.json": path}, name=f"out{size}")
        assert facts["summary"]["kept"] == 20


def test_a_broken_json_file_is_refused_with_its_place(run, tmp_path):
    path = tmp_path / "rows.json"
    path.write_text('[{"prompt": "a", "completion": "b"}, {"prompt": ')
    with pytest.raises(RecordError, match=r"not one array.*from here on"):
        run({"train.json": path})


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_no_array_that_was_cut_short_passes_for_a_whole_one(tmp_path, name):
    """Not even one that was cut between two rows, or before its end."""
    path = tmp_path / name
    text = json.dumps([{"a": 1}, {"a": [2]}], indent=1)
    for length in range(1, len(text)):
        path.write_text(text[:length])
        with pytest.raises(RecordError):
            list(records.read_rows(path))
    path.write_text(text + "\n")
    assert list(records.read_rows(path)) == [{"a": 1}, {"a": [2]}]


def test_adding_rows_moves_no_other_row(run):
    fractions = {"valid_fraction": 0.2, "test_fraction": 0.2}
    few = side_of(run({"train.jsonl": pairs(range(100))}, name="few", **fractions)[1])
    many = pairs(range(200, 300)) + pairs(range(100))
    all_sides = side_of(run({"train.jsonl": many}, name="many", **fractions)[1])
    assert {content: all_sides[content] for content in few} == few
    assert Counter(few.values()).keys() == {"train", "valid", "test"}


def test_fractions_are_met_about_and_another_seed_holds_out_others(run):
    rows = {"train.jsonl": pairs(range(2000))}
    one, two = (
        run(rows, name=f"seed{seed}", valid_fraction=0.1, test_fraction=0.05, split_seed=seed)
        for seed in (1, 2)
    )
    splits = one[0]["summary"]["splits"]
    # Four standard deviations of a binomial draw of 2,000.
    assert abs(splits["valid"] - 200) < 54 and abs(splits["test"] - 100) < 39
    assert side_of(one[1]) != side_of(two[1])


def test_changing_one_fraction_leaves_the_other_split_alone(run):
    rows = {"train.jsonl": pairs(range(300))}
    small = side_of(run(rows, name="small", valid_fraction=0.1, test_fraction=0.1)[1])
    large = side_of(run(rows, name="large", valid_fraction=0.3, test_fraction=0.1)[1])
    tests = [{key for key, split in sides.items() if split == "test"} for sides in (small, large)]
    assert tests[0] == tests[1]


def test_a_system_setting_moves_no_row_and_spares_rows_that_have_one(run):
    own = {"messages": [{"role": "system", "content": "Own."}, *_turns("Hi", "Hello")]}
    rows = {"train.jsonl": [*pairs(range(100)), own]}
    plain = run(rows, name="plain", valid_fraction=0.3)[1]
    given = run(rows, name="given", valid_fraction=0.3, system="Given.")[1]
    assert side_of(plain) == side_of(given)
    first = {row["messages"][0]["content"] for split in ("train", "valid") for row in given[split]}
    assert first == {"Given.", "Own."}


def _turns(question, answer):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def test_official_splits_are_used_as_such_and_fractions_fill_the_rest(run):
    files = {"train.jsonl": pairs(range(100)), "valid.jsonl": pairs(range(100, 105))}
    _, tables, _ = run(files, valid_fraction=0.5, test_fraction=0.2)
    assert [row["conversation_id"] for row in tables["valid"]] == [f"valid:{n}" for n in range(5)]
    assert tables["test"] and len(tables["train"]) + len(tables["test"]) == 100


def test_a_training_row_that_is_also_held_out_is_dropped_from_training(run):
    files = {"train.jsonl": pairs(range(5)), "test.jsonl": pairs([3, 9])}
    _, tables, _ = run(files)
    assert len(tables["test"]) == 2 and len(tables["train"]) == 4
    dropped = [line for line in tables["ledger"] if line["verdict"] == "dropped"]
    assert [(line["source"], line["row"], line["detail"]) for line in dropped] == [
        ("train", 3, "equal to test:0")
    ]


def test_a_limit_reads_only_the_first_rows(run):
    facts, tables, _ = run({"train.jsonl": pairs(range(9))}, limit=4)
    assert facts["summary"]["rows"] == len(tables["ledger"]) == 4


def test_a_lone_surrogate_is_a_dropped_row_not_a_crash(run):
    bad = {"prompt": "\ud83d", "completion": "x"}
    _, tables, _ = run({"train.jsonl": [bad, *pairs([1])]})
    assert tables["ledger"][0]["reason"] == "not_unicode"


def test_no_usable_row_is_an_error_that_names_the_reasons(run):
    with pytest.raises(RecordError, match=r"none of 2 rows.*2 x unknown_format.*train:0.*format"):
        run({"train.jsonl": [{"a": 1}, {"a": 2}]})


def test_nothing_left_to_train_on_is_an_error(run):
    with pytest.raises(RecordError, match="held out"):
        run({"train.jsonl": pairs(range(3))}, valid_fraction=1.0)


def test_an_empty_dataset_and_a_folder_without_train_are_errors(run):
    with pytest.raises(RecordError, match="holds no rows"):
        run({"train.jsonl": []})
    with pytest.raises(RecordError, match=r"train\.jsonl"):
        run({"valid.jsonl": pairs([1])}, name="other")


def test_equal_inputs_give_equal_bytes(run):
    rows = {"train.jsonl": pairs(range(50)), "test.jsonl": pairs([70])}
    folders = [run(rows, name=name, valid_fraction=0.2)[2] for name in ("one", "two")]
    digests = [
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        for folder in folders
    ]
    assert digests[0] == digests[1] and len(digests[0]) == 5


@pytest.mark.parametrize(
    ("name", "rows", "duplicates"),
    [("alpaca_en_demo", 999, 14), ("identity", 91, 0), ("glaive_toolcall_en_demo", 300, 35)],
)
def test_real_datasets_lose_only_duplicates(run, name, rows, duplicates):
    folder = os.environ.get("TUNESMITH_REAL_DATA")
    if not folder:
        pytest.skip("TUNESMITH_REAL_DATA names no folder with real datasets")
    files = {"train.json": Path(folder, "sft", f"{name}.json")}
    fillings = {"name": "Ada", "author": "Bob"} if name == "identity" else None
    facts, tables, _ = run(files, valid_fraction=0.1, placeholders=fillings)
    summary = facts["summary"]
    assert summary["rows"] == len(tables["ledger"]) == rows
    assert summary["by_reason"] == ({"duplicate": duplicates} if duplicates else {})


def test_a_real_dataset_of_an_identity_is_not_trained_with_placeholders(run):
    folder = os.environ.get("TUNESMITH_REAL_DATA")
    if not folder:
        pytest.skip("TUNESMITH_REAL_DATA names no folder with real datasets")
    path = Path(folder, "sft", "identity.json")
    facts, tables, _ = run({"train.json": path}, valid_fraction=0.1)
    rows = json.loads(path.read_text(encoding="utf-8"))
    held = [number for number, row in enumerate(rows) if "{{" in json.dumps(row)]
    dropped = [line["row"] for line in tables["ledger"] if line["verdict"] == "dropped"]
    assert dropped == held and facts["summary"]["by_reason"] == {"unfilled_placeholder": len(held)}


def test_a_job_leaves_word_of_how_far_it_is(run, tmp_path, monkeypatch):
    place = tmp_path / "progress.json"
    monkeypatch.setenv(VARIABLE, str(place))
    rows = [*pairs(range(1_200)), {"prompt": "no answer"}]
    run({"train.jsonl": rows})
    assert read_note(place)["text"].startswith(f"{len(rows):,} of {len(rows):,} rows written")
