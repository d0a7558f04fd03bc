"""A dataset without the conversations that hold a question: what is left, and the ledger of it."""

import json
from pathlib import Path

import pytest

from scripts.lib.contamination.document import found_in
from scripts.lib.contamination.dropping import drop_contaminated
from scripts.lib.contamination.finding import find_contamination
from scripts.lib.data.parquet import read_table_rows
from scripts.lib.errors import RecordError
from scripts.lib.files import content_of, list_files
from tests.unit.contamination.test_finding import FIRST, SECOND, SPEC, chat_of, lines, question, row

MENDED = {
    "messages": [
        {"role": "user", "content": SECOND},
        {"role": "assistant", "content": "Well."},
        {"role": "user", "content": "And now?"},
    ]
}
TRAIN = [row("one"), row(FIRST), MENDED, {"nothing": "here"}, row("two"), row("one")]
VALID = [row("three"), row(f"{FIRST} Please.")]


class Dataset:
    """A formatted dataset, and searches in it."""

    def __init__(self, root: Path, train: list[dict], valid: list[dict] | None = None) -> None:
        self.root = root
        self.chat = chat_of(root, train, valid)
        self.searches: dict[str, Path] = {}

    def search(self, name: str, *questions: str) -> None:
        benchmark, out = self.root / f"{name}-questions", self.root / name
        lines(benchmark / "test/all.jsonl", [question(text) for text in questions])
        out.mkdir()
        find_contamination(SPEC, benchmark, self.chat, out)
        self.searches[f"contamination/{name}"] = out

    def drop(self, name: str = "left") -> tuple[Path, dict]:
        out = self.root / name
        out.mkdir()
        return out, drop_contaminated(self.chat, self.searches, out)


def ids(folder: Path, split: str) -> list[str]:
    return [one["conversation_id"] for one in read_table_rows(folder / f"{split}.parquet")]


def content(folder: Path) -> str:
    return content_of(list_files(folder))


def test_training_and_validation_rows_that_hold_a_question_go_and_all_others_stay(tmp_path):
    data = Dataset(tmp_path, TRAIN, VALID)
    data.search("one", FIRST)
    data.search("two", SECOND, FIRST)
    out, facts = data.drop()
    assert ids(out, "train") == ["train:0", "train:4"]
    assert ids(out, "valid") == ["valid:0"]
    before = {one["conversation_id"]: one for one in read_table_rows(data.chat / "train.parquet")}
    for one in read_table_rows(out / "train.parquet"):
        assert one == before[one["conversation_id"]]
    assert facts["holding"] == {"contamination/one": 2, "contamination/two": 3}


def test_the_ledger_says_of_every_row_what_became_of_it(tmp_path):
    data = Dataset(tmp_path, TRAIN, VALID)
    data.search("one", FIRST, SECOND)
    out, facts = data.drop()
    rows = {f"{one['source']}:{one['row']}": one for one in read_table_rows(out / "ledger.parquet")}
    assert len(rows) == len(TRAIN) + len(VALID)
    gone = {id_ for id_, one in rows.items() if one["reason"] == "contaminated"}
    assert gone == {"train:1", "train:2", "valid:1"}
    assert {(rows[id_]["verdict"], rows[id_]["split"]) for id_ in gone} == {("dropped", "")}
    summary = facts["summary"]
    assert summary == json.loads((out / "summary.json").read_text())
    verdicts = [one["verdict"] for one in rows.values()]
    for verdict in ("kept", "fixed", "dropped"):
        assert summary[verdict] == verdicts.count(verdict)
    assert summary["rows"] == len(rows)
    assert summary["splits"] == {"train": 2, "valid": 1, "test": 0}
    assert summary["by_reason"]["contaminated"] == 3
    assert "trailing_turn_cut" not in summary["by_reason"]
    assert sum(summary["by_reason"].values()) == summary["dropped"] + summary["fixed"]
    assert summary["dropped_fraction"] == summary["dropped"] / summary["rows"]


def test_a_dataset_in_which_nothing_was_found_keeps_every_byte(tmp_path):
    data = Dataset(tmp_path, TRAIN, VALID)
    data.search("one", "A question that nobody in these rows has ever thought of asking anyone?")
    out, _ = data.drop()
    assert content(out) == content(data.chat)


def test_a_benchmark_that_touches_nothing_more_changes_no_byte(tmp_path):
    data = Dataset(tmp_path, TRAIN, VALID)
    data.search("one", FIRST)
    first, _ = data.drop("first")
    data.search("two", FIRST, "Is there anything else that could be asked by one more benchmark?")
    second, _ = data.drop("second")
    assert content(first) == content(second)
    data.search("three", SECOND)
    third, _ = data.drop("third")
    assert content(third) != content(second)


def test_what_is_left_holds_no_question_any_more(tmp_path):
    data = Dataset(tmp_path, TRAIN, VALID)
    data.search("one", FIRST, SECOND)
    out, _ = data.drop()
    again = tmp_path / "again"
    again.mkdir()
    find_contamination(SPEC, tmp_path / "one-questions", out, again)
    assert not found_in(again, "train")
    assert not found_in(again, "valid")


def test_a_split_of_which_nothing_is_left_has_no_file(tmp_path):
    data = Dataset(tmp_path, TRAIN, VALID[1:])
    data.search("one", FIRST)
    out, facts = data.drop()
    assert not (out / "valid.parquet").exists()
    assert facts["summary"]["splits"]["valid"] == 0


def test_a_dataset_of_questions_alone_is_refused(tmp_path):
    data = Dataset(tmp_path, [row(FIRST)])
    data.search("one", FIRST)
    with pytest.raises(RecordError, match="every training conversation holds a question"):
        data.drop()


def test_held_out_tests_are_left_alone(tmp_path):
    data = Dataset(tmp_path, [row("one"), row(FIRST)])
    (data.chat / "train.parquet").rename(data.chat / "test.parquet")
    data.search("one", FIRST)
    summary = json.loads((data.chat / "summary.json").read_text())
    summary["splits"] = {"train": 1, "valid": 0, "test": 1}
    (data.chat / "summary.json").write_text(json.dumps(summary))
    out, _ = data.drop()
    assert ids(out, "test") == ["train:0", "train:1"]
