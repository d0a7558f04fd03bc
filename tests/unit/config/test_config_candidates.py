"""Candidates beside runs: unmerged runs, and combinations of several runs."""

import copy

import pytest

from scripts.lib.config.load import load_config
from tests.unit.config.test_config import VALID, errors_of

RUN = {"model": "smollm2", "dataset": "orders"}


def mapping(combination, **runs):
    """Return a valid configuration with one combination, `blend`, and runs `a` and `b`."""
    config = copy.deepcopy(VALID)
    config["runs"] = {"a": RUN, "b": RUN} | runs
    config["candidates"] = {"blend": combination}
    return config


def error_of(combination, **runs):
    (line,) = errors_of(mapping(combination, **runs))
    return line


def test_a_run_is_merged_unless_it_says_otherwise():
    config = load_config(mapping({"combine": {"a": 1}}, quick=RUN | {"merge": False}))
    assert [config.runs[name].merge for name in ("a", "quick")] == [True, False]


def test_a_combination_is_an_exact_sum_unless_it_says_otherwise():
    blend = load_config(mapping({"combine": {"a": "7e-1", "b": -1}})).candidates["blend"]
    assert dict(blend.combine) == {"a": 0.7, "b": -1.0}
    assert (blend.method, blend.merge) == ("cat", True)


def test_a_run_of_a_sweep_is_combined_by_its_own_name():
    grid = RUN | {"sweep": {"lora.r": [4, 8]}}
    load_config(mapping({"combine": {"a": 1, "grid-r4": 1}}, grid=grid))
    line = error_of({"combine": {"a": 1, "grid": 1}}, grid=grid)
    assert line == ("candidates.blend.combine.grid: is a sweep; name its runs: grid-r4, grid-r8")


def test_a_sweep_can_set_merged_and_unmerged_side_by_side():
    config = load_config(
        mapping({"combine": {"a": 1}}, both=RUN | {"sweep": {"merge": [True, False]}})
    )
    assert config.runs["both-merge_off"].merge is False


@pytest.mark.parametrize(
    ("combination", "path", "text"),
    [
        (
            {"combine": {"a": 1, "bb": 1}},
            "combine.bb",
            "'bb' is no run; did you mean 'b'? runs are: a, b",
        ),
        ({"combine": {"blend": 1}}, "combine.blend", "is a combination itself; name the runs"),
        ({"combine": {}}, "combine", "is empty; at least one entry"),
        ({"combine": {"a": 0, "b": 1}}, "combine.a", "adds nothing; leave the run out"),
        ({"combine": {"a": "much"}}, "combine.a", "'much' is refused"),
        ({"combine": {"a": float("inf")}}, "combine.a", "inf is refused"),
        ({"combine": {"a": 1, "b": 1}, "method": "tias"}, "method", "did you mean 'ties'?"),
        ({"combine": {"a": 1, "b": 1}, "method": "ties"}, "density", "give a share above 0"),
        ({"combine": {"a": 1, "b": 1}, "density": 0.5}, "density", "of no use to method cat"),
        ({"combine": {"a": 1, "b": 1}, "rank": 4}, "rank", "of no use to method cat"),
        ({"combine": {"a": 1}, "method": "svd"}, "method", "needs two runs or more"),
        ({"combine": {"a": 1}, "weights": [1]}, "weights", "unknown key"),
        ({}, "combine", "is missing"),
    ],
)
def test_a_combination_that_cannot_be_made_is_refused_with_the_reason(combination, path, text):
    line = error_of(combination)
    assert line.startswith(f"candidates.blend.{path}: ")
    assert text in line


@pytest.mark.parametrize(
    ("settings", "path", "text"),
    [
        ({"model": "folder"}, "combine.c", "tunes folder, and a tunes smollm2"),
        ({"template": "chatml"}, "combine.c", "chat template chatml, and a has tokenizer"),
        ({"lora": {"use_dora": True}}, "combine.c", "combine runs without use_dora"),
        ({"lora": {"bias": "all"}}, "combine.c", "combine runs with bias: none"),
        ({"lora": None}, "combine.c", "trains all weights (lora: null) and has no adapter"),
        ({"lora": {"target_parameters": "experts"}}, "combine.c", "no method of PEFT combines"),
        ({"lora": {"modules_to_save": ["norm"]}}, "combine.c", "trains whole modules (norm)"),
        ({"lora": {"rank_pattern": {"q": 4}}}, "combine.c", "has ranks by layer (rank_pattern)"),
        ({"lora": {"init": "eva"}}, "combine.c", "has ranks by layer (init: eva"),
        ({"lora": {"r": 4}}, "method", "these have: a 16, c 4"),
        ({"lora": {"init": "pissa"}}, "method", "these have: a 16, c 32"),
    ],
)
def test_runs_that_do_not_fit_together_are_refused_before_any_job(settings, path, text):
    blend = {"combine": {"a": 0.5, "c": 0.5}, "method": "linear"}
    line = error_of(blend, c=RUN | settings)
    assert line.startswith(f"candidates.blend.{path}: ")
    assert text in line


@pytest.mark.parametrize("method", ["cat", "svd", "ties_svd"])
def test_methods_that_can_take_other_ranks_do(method):
    pruned = {"density": 0.5} if method == "ties_svd" else {}
    blend = {"combine": {"a": 0.5, "c": 0.5}, "method": method} | pruned
    load_config(mapping(blend, c=RUN | {"lora": {"r": 4}}))


@pytest.mark.parametrize(("name", "other"), [("smollm2", "model"), ("a", "run")])
def test_a_combination_is_named_like_no_other_candidate(name, other):
    config = mapping({"combine": {"a": 1, "b": 1}})
    config["candidates"][name] = config["candidates"].pop("blend")
    (line,) = errors_of(config)
    assert line == f"candidates.{name}: {name!r} is the name of a {other} too; rename one"


def test_a_run_with_an_error_of_its_own_is_not_called_unknown():
    lines = errors_of(mapping({"combine": {"a": 1, "c": 1}}, c=RUN | {"lora": {"r": 0}}))
    assert [line.partition(":")[0] for line in lines] == ["runs.c.lora.r"]


PLACE = {"publish": {"repo_id": "me/model"}}


@pytest.mark.parametrize(
    ("runs", "combination", "path", "text"),
    [
        ({"c": RUN | PLACE | {"merge": False}}, {}, "runs.c", "this one has merge: false"),
        ({"c": RUN | PLACE, "d": RUN | PLACE}, {}, "runs.d", "d and c would both be pushed"),
        ({"c": RUN | PLACE}, PLACE, "candidates.blend", "blend and c would both be pushed"),
        (
            {"grid": RUN | PLACE | {"sweep": {"lora.r": [4, 8]}}},
            {},
            "runs.grid",
            "grid-r8 and grid-r4 would both be pushed to me/model@main",
        ),
    ],
)
def test_what_cannot_be_published_or_would_overwrite_is_refused(runs, combination, path, text):
    line = error_of({"combine": {"a": 1}} | combination, **runs)
    assert line.startswith(f"{path}.publish.repo_id: ")
    assert text in line


def test_one_repository_takes_several_models_on_branches_of_their_own():
    other = {"publish": {"repo_id": "me/model", "revision": "second"}}
    load_config(mapping({"combine": {"a": 1}} | PLACE, c=RUN | other))


def checkpoint_errors(candidate, **changes):
    config = copy.deepcopy(VALID) | {"candidates": {"mine": candidate}} | changes
    return errors_of(config)


@pytest.mark.parametrize("form", ["sft", {"path": "sft"}])
def test_a_folder_is_a_checkpoint_by_its_path_alone(form):
    config = copy.deepcopy(VALID) | {"candidates": {"mine": {"model": form, "base": "folder"}}}
    (mine,) = load_config(config).checkpoints.values()
    assert (mine.model.path, mine.base, mine.template) == ("sft", "folder", "tokenizer")


@pytest.mark.parametrize(
    ("candidate", "text"),
    [
        ({"model": "sft"}, "candidates.mine.base: is missing"),
        ({"base": "folder"}, "is no candidate; allowed: the key combine, or model and base"),
        ("sft", "candidates.mine: 'sft' is no candidate; allowed: the key combine"),
        ({"model": "sft", "base": "fodler"}, "'fodler' is no model; did you mean 'folder'?"),
        ({"model": "sft", "base": "gentle"}, "candidates.mine.base: 'gentle' is no model"),
        ({"model": 3, "base": "folder"}, "candidates.mine.model: 3 is no model; allowed: a folder"),
        ({"model": {"pth": "x"}, "base": "folder"}, "unknown key 'pth': did you mean 'path'?"),
        ({"model": "folder", "base": "folder"}, "'folder' is the name of a model, which is a"),
        (
            {"model": "sft", "base": "folder", "merge": True},
            "candidates.mine.merge: unknown key; other entries of candidates have it, and this one"
            " cannot; its keys are: model, base, template",
        ),
        (
            {"model": "sft", "adapter": "lora", "base": "folder"},
            "candidates.mine.model: unknown key; other entries of candidates have it, and this one",
        ),
        ({"model": "sft", "base": "folder", "template": "trl"}, "'trl' is for training"),
        (
            {"model": {"hub": "o/n", "revision": "main"}, "base": "folder"},
            "candidates.mine.model.revision: 'main' can move to other files",
        ),
    ],
)
def test_a_checkpoint_that_cannot_be_is_refused_with_the_reason(candidate, text):
    (line,) = checkpoint_errors(candidate)
    assert text in line


def test_a_checkpoint_shares_no_name_with_a_model_or_a_run():
    for name in ("folder", "gentle"):
        config = copy.deepcopy(VALID) | {"candidates": {name: {"model": "sft", "base": "folder"}}}
        (line,) = errors_of(config)
        assert f"{name!r} is the name of a" in line


def test_a_checkpoint_is_no_part_of_a_combination():
    mine = {"model": "sft", "base": "smollm2"}
    blend = {"combine": {"gentle": 0.5, "mine": 0.5}}
    config = copy.deepcopy(VALID) | {"candidates": {"mine": mine, "blend": blend}}
    (line,) = errors_of(config)
    assert line.startswith("candidates.blend.combine.mine: is a finished model")


THEIRS = {"adapter": "adapter", "base": "smollm2"}


def test_an_adapter_may_be_combined_with_runs_and_gone_on_from():
    blend = {"combine": {"gentle": 0.5, "theirs": 0.5}, "method": "linear"}
    runs = {"gentle": RUN, "further": RUN | {"continue_from": "theirs"}}
    more = {"candidates": {"theirs": THEIRS, "blend": blend}, "runs": runs}
    config = load_config(copy.deepcopy(VALID) | more)
    assert config.base_of("theirs") == config.base_of("further") == "smollm2"
    assert config.adapters["theirs"].merge


@pytest.mark.parametrize(
    ("candidate", "run", "text"),
    [
        (THEIRS | {"base": "folder"}, {}, "changes folder, and this run tunes smollm2"),
        (THEIRS, {"continue_from": "others"}, "'others' is no adapter; "),
        (
            THEIRS,
            {"continue_from": "gentle"},
            "'gentle' is a run; when it is trained, give its adapter a name: candidates: {NAME:"
            " {adapter: results/runs/gentle/adapter, base: smollm2}}",
        ),
        (
            THEIRS,
            {"continue_from": "path/to/adapter"},
            "'path/to/adapter' is no name; give the folder one: candidates: {NAME: {adapter:"
            " path/to/adapter, base: smollm2}}",
        ),
        (
            THEIRS,
            {"continue_from": "whole"},
            "'whole' is a finished model and no adapter; train it on under `models`",
        ),
        (THEIRS, {"continue_from": "blend"}, "'blend' is combined here, and nothing goes on from"),
        (THEIRS, {"lora": None}, "is for an adapter, and lora: null trains all weights"),
        (THEIRS | {"adapter": {"gguf": "x"}}, {}, "is no adapter; allowed: a folder, or the key"),
        (THEIRS | {"adapter": "gentle"}, {}, "'gentle' is the name of a run, which is a candidate"),
        (THEIRS | {"template": "trl"}, {}, "'trl' is for training"),
        (
            THEIRS | {"merge": False, "publish": {"repo_id": "me/x"}},
            {},
            "is for merged models, and this one has merge: false",
        ),
    ],
)
def test_an_adapter_that_cannot_be_used_so_is_refused_with_the_reason(candidate, run, text):
    runs = {"gentle": RUN, "further": RUN | {"continue_from": "theirs"} | run}
    others = {
        "whole": {"model": "sft", "base": "folder"},
        "blend": {"combine": {"gentle": 0.5}},
    }
    lines = checkpoint_errors(candidate, candidates={"theirs": candidate, **others}, runs=runs)
    assert any(text in line for line in lines), lines
