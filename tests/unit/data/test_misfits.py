"""Rows that do not have the layout of their dataset: the columns are told, and what would do."""

import json
import re

import pytest

from scripts.lib.artifacts.graph import Graph
from scripts.lib.config.sources import LocalDataset
from scripts.lib.data.formatting import FormatSpec, format_chat
from scripts.lib.data.layouts import LAYOUTS, to_conversation
from scripts.lib.errors import ConfigError, RecordError
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.remembered import HashMemory
from scripts.lib.plan.sources import add_raw

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
SPOKEN = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]
ROWS = {
    "messages": {"messages": TURNS},
    "sharegpt": {"conversations": SPOKEN},
    "alpaca": {"instruction": "Hi", "input": "", "output": "Ho"},
    "prompt_completion": {"prompt": "Hi", "completion": "Ho"},
}


def plan(folder, row, **settings):
    (folder / "rows.jsonl").write_text(f"{json.dumps(row)}\n" * 2)
    sources = LocalSources((folder,), HashMemory(folder / "memory.json"))
    dataset = LocalDataset(path="rows.jsonl", **settings)
    graph = Graph(lambda *_: "0", {"datasets": "1", "pyarrow": "1"})
    return add_raw(graph, sources, dataset, {"train"})


def format_rows(folder, row, layout):
    (folder / "raw").mkdir()
    (folder / "out").mkdir()
    (folder / "raw" / "train.jsonl").write_text(json.dumps(row))
    spec = FormatSpec(
        format=layout,
        system=None,
        valid_fraction=0.0,
        test_fraction=0.0,
        split_seed=0,
        limit=None,
    )
    return format_chat(spec, folder / "raw", folder / "out")


def test_the_columns_that_are_told_are_those_that_are_read():
    """Each row of just the needed columns is read; without any one of them it is not."""
    assert set(ROWS) == set(LAYOUTS)
    for name, layout in LAYOUTS.items():
        for names in layout.needs:
            for column in names:
                value = next(ROWS[name][other] for other in names if other in ROWS[name])
                row = {key: cell for key, cell in ROWS[name].items() if key not in names}
                assert to_conversation({**row, column: value}, name).messages
                assert f"`{column}`" in layout.words()
                with pytest.raises(RecordError):
                    to_conversation(row, name)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("written", LAYOUTS)
def test_another_layout_than_the_rows_have_is_refused_with_the_one_that_fits(
    tmp_path, layout, written
):
    if layout == written:
        plan(tmp_path, ROWS[written], format=layout)
        return
    for attempt in (
        lambda: plan(tmp_path, ROWS[written], format=layout),
        lambda: format_rows(tmp_path, ROWS[written], layout),
    ):
        with pytest.raises((ConfigError, RecordError)) as caught:
            attempt()
        text = str(caught.value)
        assert re.search(rf"columns {', '.join(ROWS[written])};", text)
        assert f"write `format: {written}`, which fits them" in text
        assert all(f"{name}: {LAYOUTS[name].words()}" in text for name in LAYOUTS)


@pytest.mark.parametrize("layout", ["auto", *LAYOUTS])
def test_columns_that_no_layout_reads_are_told_with_those_that_they_do(tmp_path, layout):
    row = {"question": "Hi", "reply": "Ho"}
    for attempt in (
        lambda: plan(tmp_path, row, format=layout),
        lambda: format_rows(tmp_path, row, layout),
    ):
        with pytest.raises((ConfigError, RecordError)) as caught:
            attempt()
        text = str(caught.value)
        assert "columns question, reply; no format fits them: rename the columns" in text
        assert all(f"{name}: {LAYOUTS[name].words()}" in text for name in LAYOUTS)


def test_columns_that_are_right_are_not_blamed(tmp_path):
    row = {"prompt": "Hi", "completion": ""}
    with pytest.raises(RecordError) as caught:
        format_rows(tmp_path, row, "prompt_completion")
    text = str(caught.value).removeprefix(str(tmp_path))
    assert "empty_assistant" in text
    assert "column" not in text and "format" not in text
    with pytest.raises(ConfigError, match=r"not_a_list_of_turns.*; correct the rows"):
        plan(tmp_path, {"prompt": "Hi", "completion": [3]}, format="prompt_completion")


def test_one_row_that_can_be_read_is_enough_for_planning(tmp_path):
    rows = [{"question": "Hi"}] * 30 + [ROWS["alpaca"]]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    sources = LocalSources((tmp_path,), HashMemory(tmp_path / "memory.json"))
    files = {"train": tmp_path / "rows.jsonl"}
    spec = {"format": "auto", "system": None, "split_seed": 0}
    spec |= {"valid_fraction": 0.0, "test_fraction": 0.0}
    sources.check_usable_rows(spec | {"limit": None}, files, {"train"})
    with pytest.raises(ConfigError, match="none of 30 rows"):
        sources.check_usable_rows(spec | {"limit": 30}, files, {"train"})


def test_a_table_with_hundreds_of_columns_is_told_by_its_first(tmp_path):
    with pytest.raises(ConfigError, match=r"columns c0, c1.*c19 and 280 more;"):
        plan(tmp_path, {f"c{n}": 1 for n in range(300)})
