"""`template: trl`: who is trained with it, who is asked through what, and who cannot have it."""

from pathlib import Path

import pytest
import trl

from scripts.lib.data.templates import CHATML
from scripts.lib.errors import ConfigError
from tests.unit.plan.test_base_templates import EXACT, HUB, PLAIN, RUN, home, planned

__all__ = ["home"]

KNOWN = (Path(trl.__file__).parent / "chat_templates/qwen3.jinja").read_text()


def specs(graph, stage):
    return [one.spec for one in graph.artifacts.values() if one.stage == stage]


@pytest.fixture
def known(home):
    (home / "base/chat_template.jinja").write_text(KNOWN)
    return home


@pytest.mark.parametrize(
    ("model", "run"),
    [({"path": "base"}, RUN | {"template": "trl"}), ({"path": "base", "template": "trl"}, RUN)],
)
def test_a_run_is_trained_with_it_and_all_are_asked_through_the_tokenizers(known, model, run):
    graph = planned(known, {"e": EXACT}, model=model, runs={"r": run})
    (shards,) = specs(graph, "shards")
    assert shards["template"] == "trl"
    scores = specs(graph, "scores")
    assert len(scores) == 2 and not any("template" in spec for spec in scores)
    (pins,) = (one.pins for one in graph.artifacts.values() if one.stage == "shards")
    assert "trl" in pins


def test_a_local_template_that_trl_does_not_know_is_refused_at_once(home):
    (home / "base/chat_template.jinja").write_text(CHATML)
    with pytest.raises(ConfigError, match=r"^runs\.r\.template: is trl, .*leave `template` out"):
        planned(home, {"e": EXACT}, runs={"r": RUN | {"template": "trl"}})
    with pytest.raises(ConfigError, match=r"^models\.base\.template: is trl, "):
        planned(home, {"e": EXACT}, model={"path": "base", "template": "trl"}, runs={"r": RUN})


def test_a_model_of_the_hub_is_told_by_the_job(home):
    planned(home, {"e": EXACT}, model=HUB, runs={"r": RUN | {"template": "trl"}})


def test_a_model_without_a_template_has_none_of_trls(home):
    with pytest.raises(ConfigError, match=r"^runs\.r\.template: .* has no chat template"):
        planned(home, {"p": PLAIN}, runs={"r": RUN | {"template": "trl"}})


def test_it_cannot_train_what_is_asked_through_another(known):
    model = {"path": "base", "template": "own.jinja"}
    with pytest.raises(ConfigError, match=r"^runs\.r\.template: is not that of its base"):
        planned(known, {"e": EXACT}, model=model, runs={"r": RUN | {"template": "trl"}})
