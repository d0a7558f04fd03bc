"""Templates of models that are fetched first: training waits until it is seen that there is one."""

import pytest

from scripts.lib.errors import GateError
from scripts.lib.jobs.checks import check_gates
from tests.unit.plan.test_base_templates import (
    DOMAIN,
    HUB,
    JUDGED,
    PLAIN,
    RUN,
    TEXT,
    home,  # noqa: F401
    planned,
    write_folder,
)


def gates_of(graph, stage):
    (found,) = (a for a in graph.artifacts.values() if a.stage == stage)
    return [gate for gate in found.gates if gate.kind == "chat_template"]


@pytest.mark.parametrize("stage", ["shards", "adapters"])
def test_training_waits_for_the_template_of_a_base_that_is_fetched_first(home, stage):  # noqa: F811
    run = {"r": RUN | {"template": "chatml"}}
    (gate,) = gates_of(planned(home, {"d": DOMAIN}, model=HUB, runs=run), stage)
    assert (gate.artifact.partition("/")[0], gate.limit) == ("models", "models.base.template")
    assert not gates_of(planned(home, {"p": PLAIN}, model=HUB, runs=run), stage)
    given = HUB | {"template": "chatml"}
    assert not gates_of(planned(home, {"d": DOMAIN}, model=given, runs=run), stage)


@pytest.mark.parametrize("benchmark", [DOMAIN, JUDGED | {"judge": {"model": "other"}}])
def test_training_waits_for_the_templates_of_other_models_too(home, benchmark):  # noqa: F811
    """Another base, or a judge: what the comparison will lack is told before it is trained."""
    given, other = HUB | {"template": "chatml"}, {"hub": "acme/other", "revision": "b" * 40}
    graph = planned(home, {"b": benchmark}, model=given, runs={"r": RUN}, others={"other": other})
    assert [gate.limit for gate in gates_of(graph, "adapters")] == ["models.other.template"]


def test_the_gate_looks_at_what_was_fetched(tmp_path):
    folder = write_folder(tmp_path / "models/base-1", {})
    folder.with_suffix(".json").write_text('{"facts": {}}')
    entry = {"gates": [["chat_template", "models/base-1", str(folder), "models.base.template"]]}
    with pytest.raises(GateError, match=r"Set `models\.base\.template`: chatml"):
        check_gates(entry)
    (folder / "chat_template.jinja").write_text(TEXT)
    check_gates(entry)


def test_a_model_whose_files_are_gone_holds_up_nothing(tmp_path):
    """It was looked at when they were there; whoever fetches it again looks again."""
    place = tmp_path / "base-1"
    place.with_suffix(".json").write_text('{"facts": {}}')
    check_gates({"gates": [["chat_template", "models/base-1", str(place), "models.b.template"]]})
