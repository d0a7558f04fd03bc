"""The benchmark of data runs to its end: rows through our stages and through the peers."""

import json

import pytest

from scripts.tools import bench_data
from scripts.tools.made_texts import write_mixture
from tests.tiny_model import make_tiny_model


@pytest.mark.slow
def test_every_promised_figure_is_published(tmp_path, monkeypatch, capsys):
    model = make_tiny_model(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(bench_data.ROOT))
    bench_data.main(["--model", str(model), *["--rows", "300", "--sample", "40", "--rounds", "1"]])
    published = json.loads((tmp_path / "results/bench/data.json").read_text())["figures"]
    figures = {figure["name"]: figure["value"] for figure in published}
    # No rate is asserted: how fast a machine is decides no test.
    promised = ("rows_per_second", "speedup_vs_map", "speedup_vs_bare_map", "peak_gib")
    for name in (*promised, "render_vs_tokenizer"):
        assert figures[name] > 0 and figures[f"{name}_1_process"] > 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["rows"] == 300 and line["machine"] and line["date"]
    assert {name: line[name] for name in figures} == figures


def test_the_rows_are_the_same_each_time_and_mixed(tmp_path):
    for name in "ab":
        write_mixture(tmp_path / name, 2_000)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    rows = [json.loads(line)["messages"] for line in (tmp_path / "a").read_text().splitlines()]
    assert len(rows) == 2_000
    assert {len(turns) for turns in rows} == {2, 4, 6, 8}
    assert any(not turns[-1]["content"] for turns in rows)
    assert len({json.dumps(turns) for turns in rows}) < 2_000
