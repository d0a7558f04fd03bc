"""Page, Markdown, CSV, JSON and the rows in Parquet and CSV say the same figures."""

import json
import re

import pytest

from tests.agreement import assert_agreement
from tests.conftest import MakeOnce
from tests.unit.report_rows import make_rows


@pytest.fixture(scope="module")
def made(make_once: MakeOnce):
    return make_once("report-rows", make_rows)


def test_all_figures_of_a_report_agree_across_its_files(made):
    document = json.loads((made / "whole-comparison/comparison.json").read_text())
    looked_at = assert_agreement(made / "whole-comparison", made / "whole-report")
    parts = [
        candidate
        for benchmark in document["benchmarks"].values()
        for scores in (benchmark["candidates"], benchmark["subjects"])
        for candidate in scores.values()
    ]
    assert looked_at == sum(map(len, parts)) > 12


def test_a_page_of_flips_has_as_many_of_each_as_the_comparison(made):
    document = json.loads((made / "whole-comparison/comparison.json").read_text())
    for name, benchmark in document["benchmarks"].items():
        for run, changes in benchmark["differences"].items():
            page = (made / f"whole-report/flips/{name}/{run}.html").read_text()
            outcomes = re.findall(r'data-outcome="([^"]+)"', page)
            change = changes["Average"]
            counts = outcomes.count("wrong to right"), outcomes.count("right to wrong")
            assert counts == (change["gained"], change["lost"])
            assert sum(counts) == len(outcomes)
