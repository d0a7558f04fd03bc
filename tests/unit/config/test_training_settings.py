"""How a run trains, as the configuration takes it: defaults, and what contradicts itself."""

import pytest

from scripts.lib.config.load import load_config
from tests.unit.config.test_config import VALID, changed, errors_of, the_error_of


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
        (
            {"scheduler": "constant", "warmup_ratio": 0.1},
            "warmup_ratio: 0.1 is for schedules that begin with a warm-up, and scheduler: constant",
        ),
        (
            {"scheduler": "greedy", "warmup_ratio": 0.1},
            "warmup_ratio: 0.1 is for schedules that begin with a warm-up, and scheduler: greedy",
        ),
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
        ({"double_quantization": False}, "double_quantization: false is of use", "lora: null"),
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
