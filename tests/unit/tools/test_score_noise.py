"""The noise of scoring: what several scorings of one model say, held against hand-made tables."""

import json
import math
import statistics

import pytest

from scripts.tools import score_noise
from scripts.tools.score_noise import figures, margin, moved
from tests.tiny_model import make_tiny_model
from tests.unit.scoring_data import SUBJECTS, write_benchmark

FIRST = [[-1.0, -1.1, -5.0], [-2.0, -0.5, -0.4], [-3.0, -0.2, -9.0]]
OTHER = [[-1.1, -1.0, -5.0], [-2.0, -0.5, -0.6], [-3.0, -0.2, -9.0]]
RIGHT = [0, 1, 1]


def test_a_margin_is_that_of_the_right_choice():
    assert margin(FIRST[0], 0) == pytest.approx(0.1)
    assert margin(FIRST[1], 1) == pytest.approx(-0.1)
    assert margin(FIRST[1], 0) == pytest.approx(-1.6)


def test_what_moved_is_counted():
    found = moved(FIRST, OTHER, RIGHT)
    assert found.margins == pytest.approx((-0.2, 0.2, 0.0))
    assert found.turned == 2 and found.net == 0
    assert found.largest == pytest.approx(0.2)


def test_the_noise_is_the_deviation_of_the_margins_and_foretells_what_turns():
    found = moved(FIRST, OTHER, RIGHT)
    values = {one.name: one.value for one in figures(FIRST, [found], RIGHT, "fp32")}
    nats = math.sqrt((0.04 + 0.04 + 0) / 3)
    assert values["noise_nats_fp32"] == pytest.approx(nats)
    normal = statistics.NormalDist(sigma=nats)
    expected = 2 * normal.cdf(-0.1) + normal.cdf(-2.8)
    assert values["turned_expected_fp32"] == pytest.approx(expected)
    assert values["turned_fp32"] == 2 and values["accuracy_moved_fp32"] == 0
    assert values["largest_margin_nats_fp32"] == pytest.approx(0.2)


def test_a_scoring_that_moves_nothing_has_no_noise():
    same = moved(FIRST, FIRST, RIGHT)
    values = {one.name: one.value for one in figures(FIRST, [same, same], RIGHT, "bf16")}
    assert set(values.values()) == {0.0}


def test_every_promised_figure_is_published(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = make_tiny_model(tmp_path / "model")
    data = write_benchmark(tmp_path / "data")
    words = "--questions 4 --shots 2 --row-tokens 64 --devices cpu"
    score_noise.main(
        ["--model", str(model), "--data", str(data), *words.split(), "--subjects", *SUBJECTS]
    )
    published = json.loads((tmp_path / "results/bench/score-noise.json").read_text())["figures"]
    values = {figure["name"]: figure["value"] for figure in published}
    assert 0 <= values["largest_logprob_nats_fp32"] < 1e-4, "it is one model"
    assert values["noise_nats_fp32"] < 1e-4
    assert values["noise_nats_bf16"] > values["noise_nats_fp32"]
