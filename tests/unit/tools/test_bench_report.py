"""The benchmark of reports runs to its end: made-up artifacts, compared and reported."""

import json

import pytest

from scripts.tools import bench_report


@pytest.mark.slow
def test_every_promised_figure_is_published(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(bench_report.ROOT))
    bench_report.main(["--candidates", "20", "--subjects", "2"])
    published = json.loads((tmp_path / "results/bench/report.json").read_text())["figures"]
    figures = {figure["name"]: figure["value"] for figure in published}
    # No duration is asserted: how fast a machine is decides no test.
    for name in ("seconds", "peak_gib", "first_page_mb", "largest_page_mb"):
        assert figures[name] > 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["candidates"], line["subjects"]) == (20, 2)
    assert {name: line[name] for name in figures} == figures
