"""Changes of the configuration: of runs, and of what they are made from."""

from collections.abc import Callable
from typing import Any

from tests.identity.table import (
    CHATS,
    END,
    ORDERS,
    SEARCHES,
    Row,
    rendered,
    scored,
    searched,
    tuned,
)
from tests.identity.world import World

TUNE_GENTLE = tuned("gentle") | END


def put(path: str, value: Any) -> Callable[[World], None]:
    """Return the change that sets one key of the configuration, given with slashes."""

    def change(world: World) -> None:
        *groups, last = path.split("/")
        place = world.config
        for name in groups:
            place = place.setdefault(name, {})
        assert place.get(last) != value, f"{path} is {value!r} already"
        place[last] = value

    return change


def drop(path: str) -> Callable[[World], None]:
    """Return the change that takes one key out of the configuration."""

    def change(world: World) -> None:
        *groups, last = path.split("/")
        place = world.config
        for name in groups:
            place = place[name]
        del place[last]

    return change


def rename(group: str, old: str, new: str) -> Callable[[World], None]:
    """Return the change that gives an entry another name in the same place."""

    def change(world: World) -> None:
        world.config[group] = {
            new if name == old else name: entry for name, entry in world.config[group].items()
        }
        for run in world.config["runs"].values():
            for key in ("model", "dataset"):
                if group == f"{key}s" and run[key] == old:
                    run[key] = new

    return change


def _swap_r_and_alpha(world: World) -> None:
    lora = world.config["runs"]["gentle"]["lora"]
    lora["r"], lora["alpha"] = lora["alpha"], lora["r"]


def _more_seeds(world: World) -> None:
    """Make of a run several, one with the seed that it had."""
    gentle = world.config["runs"]["gentle"]
    gentle["seeds"] = [5, gentle["training"].pop("seed"), 6]


def _momentum(world: World) -> None:
    """Give an optimizer of another kind an argument of its own."""
    put("runs/gentle/training/optim", "sgd")(world)
    put("runs/gentle/training/optim_args", {"momentum": 0.9})(world)


def _embedding_rate(world: World) -> None:
    """Train with LoRA+, adapters of embeddings at a rate of their own."""
    put("runs/gentle/training/loraplus_lr_ratio", 4.0)(world)
    put("runs/gentle/training/loraplus_lr_embedding", 1e-5)(world)


def _measure_chats(world: World) -> None:
    """Measure a run on rows that another dataset holds out."""
    put("datasets/chats/valid_fraction", 0.5)(world)
    put("runs/gentle/evaluate_on", {"talk": "chats"})(world)


def _best_by_chats(world: World) -> None:
    """Keep the weights that are the best on them."""
    _measure_chats(world)
    put("runs/gentle/training/keep", "best")(world)
    put("runs/gentle/training/best_by", "talk")(world)


def patience(run: str) -> Callable[[World], None]:
    """Return the change that ends a run early, which keeps the last weights as before."""

    def change(world: World) -> None:
        put(f"runs/{run}/training/early_stopping_patience", 2)(world)
        put(f"runs/{run}/training/keep", "last")(world)

    return change


def _say_defaults(world: World) -> None:
    """Write out what the schema says anyway."""
    run = world.config["runs"]["gentle"]
    run["template"] = "tokenizer"
    run["lora"]["bias"] = "none"
    run["training"] |= {"epochs": 1, "scheduler": "cosine", "learning_rate": "2e-4", "keep": "last"}
    world.config["report"] = {}


def _reverse_keys(world: World) -> None:
    """Write the keys of a run in another order."""
    run = world.config["runs"]["gentle"]
    run["training"] = dict(reversed(run["training"].items()))
    world.config["runs"]["gentle"] = dict(reversed(run.items()))


def reverse(group: str) -> Callable[[World], None]:
    """Return the change of the order of entries."""

    def change(world: World) -> None:
        world.config[group] = dict(reversed(world.config[group].items()))

    return change


def _add_run(name: str, **training: Any) -> Callable[[World], None]:
    """Return the change that adds a run like `gentle`."""

    def change(world: World) -> None:
        gentle = world.config["runs"]["gentle"]
        world.config["runs"][name] = {**gentle, "training": {**gentle["training"], **training}}

    return change


def _alike(world: World) -> None:
    """Give the second run the settings of the first."""
    world.config["runs"]["strong"] = world.config["runs"]["gentle"]


def _tune_experts(world: World) -> None:
    """Let the first run tune parameters, which goes without dropout only."""
    world.config["runs"]["gentle"]["lora"] |= {"target_parameters": "experts", "dropout": 0.0}


def _quantise_once(world: World) -> None:
    """Quantise the first run's base, and not its scales."""
    world.config["runs"]["gentle"] |= {"quantization": "nf4", "double_quantization": False}


def _start_by_eva(world: World) -> None:
    """Let the rows say how the first run's adapter starts, and what ranks its layers have."""
    world.config["runs"]["gentle"]["lora"] |= {"init": "eva", "eva_rho": 1.5}


def _template(template: str, missing: frozenset[str], name: str) -> Row:
    return Row(name, put("runs/gentle/template", template), missing)


SHARDS_OF_GENTLE = rendered("orders-tiny") | TUNE_GENTLE

LORA = {
    "r": 4,
    "alpha": 32,
    "dropout": 0.2,
    "bias": "all",
    "rank_pattern": {"k_proj": 2},
    "alpha_pattern": {"k_proj": 2},
    "target_modules": ["k_proj"],
    "exclude_modules": ["k_proj"],
    "layers_to_transform": [1],
    "modules_to_save": ["lm_head"],
    "use_rslora": True,
    "use_dora": True,
    "init": "gaussian",
}

TRAINING = {
    "epochs": 2.5,
    "max_steps": 9,
    "learning_rate": 3e-4,
    "scheduler": "linear",
    "lr_scheduler_kwargs": {"num_cycles": 1.5},
    "warmup_ratio": 0.1,
    "warmup_steps": 3,
    "optim": "adamw_torch",
    "adam_beta1": 0.8,
    "adam_beta2": 0.99,
    "adam_epsilon": 1e-6,
    "loraplus_lr_ratio": 16.0,
    "neftune_noise_alpha": 5.0,
    "label_smoothing_factor": 0.1,
    "weight_decay": 0.01,
    "max_grad_norm": 0.5,
    "batch_size": 4,
    "packing": False,
    "eval_every_steps": 3,
    "early_stopping_patience": 2,
    "answers": 3,
    "answer_tokens": 16,
    "seed": 2,
    "dtype": "float32",
}

RUN_ROWS = [
    Row("nothing changes", lambda world: None, frozenset()),
    *(Row(f"lora.{k}", put(f"runs/gentle/lora/{k}", v), TUNE_GENTLE) for k, v in LORA.items()),
    *(
        Row(f"training.{k}", put(f"runs/gentle/training/{k}", v), TUNE_GENTLE)
        for k, v in TRAINING.items()
    ),
    Row("training.optim_args", _momentum, TUNE_GENTLE),
    Row("training.loraplus_lr_embedding", _embedding_rate, TUNE_GENTLE),
    Row("lora.target_parameters", _tune_experts, TUNE_GENTLE),
    Row("double_quantization", _quantise_once, TUNE_GENTLE),
    Row("lora.eva_rho", _start_by_eva, TUNE_GENTLE),
    Row("training.keep", put("runs/gentle/training/keep", "best"), TUNE_GENTLE),
    Row("patience that keeps the last weights", patience("gentle"), TUNE_GENTLE),
    Row("evaluate_on", _measure_chats, CHATS | tuned("chatty") | TUNE_GENTLE),
    Row("training.best_by", _best_by_chats, CHATS | tuned("chatty") | TUNE_GENTLE),
    Row("r and alpha swapped", _swap_r_and_alpha, TUNE_GENTLE),
    Row("quantization", put("runs/gentle/quantization", "nf4"), TUNE_GENTLE),
    Row(
        "training.max_length_tokens",
        put("runs/gentle/training/max_length_tokens", 128),
        SHARDS_OF_GENTLE,
    ),
    Row("train_on", put("runs/gentle/train_on", "all"), SHARDS_OF_GENTLE),
    Row("on_too_long", put("runs/gentle/on_too_long", "truncate"), SHARDS_OF_GENTLE),
    Row("turns", put("runs/gentle/turns", "each"), SHARDS_OF_GENTLE),
    Row("plain_answers", put("runs/gentle/plain_answers", "reject"), SHARDS_OF_GENTLE),
    Row("fold_reasoning", put("runs/gentle/fold_reasoning", True), SHARDS_OF_GENTLE),
    Row("contamination ngram", put("contamination", {"ngram": 13}), SEARCHES | END),
    Row("contamination threshold", put("contamination", {"threshold": 0.7}), SEARCHES | END),
    Row(
        "contamination, in words",
        put("contamination", {"ngram": 8, "threshold": 0.5}),
        frozenset(),
    ),
    Row(
        "on_contamination",
        put("runs/gentle/on_contamination", "drop"),
        searched("orders") | {"decontaminated:orders"} | SHARDS_OF_GENTLE,
    ),
    Row("on_contamination, in words", put("runs/gentle/on_contamination", "report"), frozenset()),
    Row("max_growth", put("runs/gentle/max_growth", 3.0), frozenset()),
    _template("chatml", SHARDS_OF_GENTLE, "template from the tokenizer's to chatml"),
    _template("data/plain.jinja", SHARDS_OF_GENTLE, "template from the tokenizer's to a file"),
    _template("trl", SHARDS_OF_GENTLE, "template from the tokenizer's to TRL's for training"),
    Row("defaults are written out", _say_defaults, frozenset()),
    Row("keys in another order", _reverse_keys, frozenset()),
    Row("on_verdict", put("runs/gentle/on_verdict", "stop"), frozenset()),
    Row("tracking", put("tracking", {"report_to": ["tensorboard"]}), frozenset()),
    Row("keep_merged", put("runs/gentle/keep_merged", False), frozenset()),
    Row("publish", put("runs/gentle/publish", {"repo_id": "me/gentle"}), frozenset()),
    Row("a run is added", _add_run("hasty", learning_rate=1e-2), tuned("hasty") | END),
    Row("a run is added that equals another", _add_run("twin"), END),
    Row("a run is renamed", rename("runs", "gentle", "mild"), END),
    Row("a run is removed", drop("runs/strong"), END),
    Row("two runs become alike", _alike, END),
    Row("runs in another order", reverse("runs"), END),
    Row(
        "a run on another dataset",
        put("runs/gentle/dataset", "chats"),
        rendered("chats-tiny") | TUNE_GENTLE,
    ),
]


def _data(key: str, value: Any) -> Row:
    """Return the row of an option of the dataset that two runs share."""
    missing = ORDERS | tuned("gentle", "strong") | END
    return Row(f"dataset {key}", put(f"datasets/orders/{key}", value), missing)


# The third run has a template of its own, and the other benchmark asks in plain text.
GIVEN_TEMPLATE = (
    rendered("orders-tiny") | tuned("gentle", "strong") | scored("tiny", on=["exact"]) | END
)


def _template_of_the_model(world: World) -> None:
    """Leave the template to the model that only the third run had."""
    world.config["models"]["tiny"]["template"] = world.config["runs"]["chatty"].pop("template")
    for name in ("gentle", "strong"):
        world.config["runs"][name]["template"] = "tokenizer"


DATA_ROWS = [
    Row("a run gets more seeds", _more_seeds, tuned("gentle-seed5", "gentle-seed6") | END),
    _data("format", "prompt_completion"),
    _data("system", "Be brief."),
    _data("test_fraction", 0.1),
    _data("split_seed", 1),
    _data("split_by", "prompt"),
    _data("near_duplicates", 0.8),
    _data("limit", 1),
    _data("columns", {"prompt": "prompt"}),
    _data("tags", {"user": "user"}),
    _data("template_arguments", {"enable_thinking": False}),
    Row(
        "no arguments for the template, in words",
        put("datasets/orders/template_arguments", {}),
        frozenset(),
    ),
    _data("use", "chosen"),
    _data("placeholders", {"name": "Ada"}),
    Row(
        "dataset valid_fraction",
        put("datasets/chats/valid_fraction", 0.5),
        CHATS | tuned("chatty") | END,
    ),
    Row(
        "max_dropped_fraction",
        put("datasets/orders/max_dropped_fraction", 0.5),
        frozenset(),
    ),
    Row("a dataset is renamed", rename("datasets", "orders", "tickets"), frozenset()),
    Row(
        "a dataset that no run uses is added",
        put("datasets/idle", {"path": "data/chats.jsonl"}),
        frozenset(),
    ),
    Row("a model is renamed", rename("models", "tiny", "small"), END),
    Row("a model's template", put("models/tiny/template", "chatml"), GIVEN_TEMPLATE),
    Row(
        "a model's template is a file",
        put("models/tiny/template", "data/plain.jinja"),
        GIVEN_TEMPLATE,
    ),
    Row(
        "a model's template is said to be the tokenizer's",
        put("models/tiny/template", "tokenizer"),
        frozenset(),
    ),
    Row(
        "a model's template that its runs had already",
        _template_of_the_model,
        scored("tiny", on=["exact"]) | END,
    ),
]

CONFIG_ROWS = [*RUN_ROWS, *DATA_ROWS]
