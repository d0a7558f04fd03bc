"""Rows of lm-eval's tasks: of the hub at a commit, in a folder, or beside a task of one's own."""

import huggingface_hub
import pytest
from datasets import Dataset, DatasetDict, load_from_disk

from scripts.lib.benchmarks.lm_eval import rows as lm_eval_rows
from scripts.lib.benchmarks.lm_eval.plan import task_files
from scripts.lib.benchmarks.lm_eval.rows import RowSources, Source, load_rows
from scripts.lib.errors import ConfigError
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.remembered import HashMemory
from tests.unit.benchmarks.lm_eval.test_lm_eval_tasks import OWN, own_files, refused
from tests.unit.lm_eval_data import fetch


def test_rows_in_a_data_dir_are_part_of_a_task_and_are_read_from_anywhere(tmp_path):
    by_folder = OWN["common/base.yaml"].replace(
        "data_files:\n    test: rows/test.jsonl", "data_dir: rows"
    )
    files = own_files(tmp_path, **{"common/base.yaml": by_folder})
    (tmp_path / "rows").mkdir()
    files["local/rows/test.jsonl"].rename(tmp_path / "rows/test.jsonl")
    sources = LocalSources((tmp_path,), HashMemory(tmp_path / "memory.json"))
    names, places = task_files(sources, ["own/tasks/mine.yaml"], None)
    assert places["local/rows/test.jsonl"] == tmp_path / "rows/test.jsonl"
    facts = fetch(tmp_path / "fetched", own=names, files=places)
    assert facts["datasets"] == {"json": "local"}


def test_a_data_dir_of_the_hub_is_no_local_folder(tmp_path):
    of_hub = OWN["common/base.yaml"].replace("dataset_path: json", "dataset_path: some/where")
    of_hub = of_hub.replace("data_files:\n    test: rows/test.jsonl", "data_dir: rows")
    own_files(tmp_path, **{"common/base.yaml": of_hub})
    sources = LocalSources((tmp_path,), HashMemory(tmp_path / "memory.json"))
    _, places = task_files(sources, ["own/tasks/mine.yaml"], None)
    assert all(name.startswith("own/") for name in places)


def test_rows_of_the_hub_are_read_at_their_commit_and_it_is_said_which(tmp_path, monkeypatch):
    """The hub is out of reach here, so `load_dataset` is asked for what it was told."""
    commit = "c" * 40
    told = []

    def load(path, name, **options):
        told.append((path, name, options))
        rows = Dataset.from_list([{"question": "q", "answer": "#### 1"}] * 6)
        place = tmp_path / "cache" / options["revision"]
        rows.save_to_disk(place)
        return DatasetDict({"train": load_from_disk(place), "test": load_from_disk(place)})

    monkeypatch.setattr(lm_eval_rows, "load_dataset", load)
    facts = fetch(tmp_path / "out", ["gsm8k"], revisions={"openai/gsm8k": commit})
    assert told == [("openai/gsm8k", "main", {"revision": commit})]
    assert facts["datasets"] == {"openai/gsm8k (main)": commit}


def test_rows_of_another_commit_than_the_pinned_are_refused(tmp_path, monkeypatch):
    """Without the hub `datasets` gives what its cache holds, of whatever commit."""
    cached = tmp_path / "cache" / ("c" * 40)
    Dataset.from_list([{"question": "q", "answer": "#### 1"}] * 6).save_to_disk(cached)
    rows = DatasetDict({"train": load_from_disk(cached), "test": load_from_disk(cached)})
    monkeypatch.setattr(lm_eval_rows, "load_dataset", lambda *_, **__: rows)
    message = refused(tmp_path, ["gsm8k"], revisions={"openai/gsm8k": "d" * 40})
    assert f"could not be read at the commit {'d' * 40}" in message
    assert "c" * 40 in message


def test_a_hub_that_cannot_be_reached_is_said_with_what_to_do(tmp_path, monkeypatch):
    def load(*_, **__):
        raise ConnectionError("Couldn't reach 'openai/gsm8k' on the Hub (OfflineModeIsEnabled)")

    monkeypatch.setattr(lm_eval_rows, "load_dataset", load)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    text = refused(tmp_path, ["gsm8k"])
    assert "gsm8k: the dataset openai/gsm8k (main) cannot be loaded: the hub may not be" in text
    assert "give its rows in a folder, by `data`" in text and "by `path`" not in text


def test_a_column_that_comes_late_in_a_file_is_kept(tmp_path):
    place = tmp_path / "data/openai/gsm8k/main/test.jsonl"
    place.parent.mkdir(parents=True)
    place.write_text('{"question": "q", "answer": "1"}\n{"question": "r", "hint": "h"}\n')
    rows, _ = load_rows(GSM8K, ["test"], data_folder(place))
    assert rows["test"].to_list() == [
        {"question": "q", "answer": "1", "hint": None},
        {"question": "r", "answer": None, "hint": "h"},
    ]


def test_a_cell_of_a_table_may_have_several_lines(tmp_path):
    place = tmp_path / "test.csv"
    text = 'one\ntwo, "three"'
    quoted = text.replace('"', '""')
    # More than the reader takes at once.
    place.write_text("question,answer\n" + f'"{quoted}",1\n' * 100_000)
    rows, _ = load_rows(GSM8K, ["test"], data_folder(place))
    assert set(rows["test"]["question"]) == {text}
    assert len(rows["test"]) == 100_000


def test_a_row_that_is_no_json_is_named_with_its_line(tmp_path):
    place = tmp_path / "test.jsonl"
    place.write_text('{"question": "q"}\nquestion\n')
    with pytest.raises(ConfigError, match=r"test\.jsonl:2 is not JSON \("):
        load_rows(GSM8K, ["test"], data_folder(place))


GSM8K = Source("openai/gsm8k", "main", {})


def data_folder(place):
    """Return where the rows of GSM8K's test split are read from."""
    return RowSources(data={f"openai/gsm8k/main/test{place.suffix}": place})
