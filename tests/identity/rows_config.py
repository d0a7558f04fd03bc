"""Changes of the configuration."""

from collections.abc import Callable
from typing import Any

from tests.identity.table import CHATS, END, ORDERS, RUNS, Row, categories, rendered, scored, tuned
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


def _say_defaults(world: World) -> None:
    """Write out what the schema says anyway."""
    run = world.config["runs"]["gentle"]
    run["template"] = "tokenizer"
    run["lora"]["bias"] = "none"
    run["training"] |= {"epochs": 1, "scheduler": "cosine", "learning_rate": "2e-4"}
    world.config["report"] = {}


def _reverse_keys(world: World) -> None:
    """Write the keys of a run in another order."""
    run = world.config["runs"]["gentle"]
    run["training"] = dict(reversed(run["training"].items()))
    world.config["runs"]["gentle"] = dict(reversed(run.items()))


def _reverse(group: str) -> Callable[[World], None]:
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
    Row("runs in another order", _reverse("runs"), END),
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


def _mmlu(key: str, value: Any) -> Row:
    """Return the row of an option of how the first benchmark is asked."""
    missing = scored("tiny", *RUNS, on=["mmlu"]) | END
    return Row(f"mmlu {key}", put(f"benchmarks/mmlu/{key}", value), missing)


def _exact(key: str, value: Any) -> Row:
    """Return the row of an option of how the second benchmark is asked."""
    missing = scored("tiny", *RUNS, on=["exact"]) | END
    return Row(f"exact_match {key}", put(f"benchmarks/exact/{key}", value), missing)


ONLY_JUDGED = categories("tiny", *RUNS, on=["exact"]) | END


def _other_pattern(world: World) -> None:
    world.config["benchmarks"]["exact"] |= {"metric": "regex", "pattern": "= (.*)"}


ONLY_CATEGORIES = categories("tiny", *RUNS, on=["mmlu"]) | END

SCORE_ROWS = [
    _mmlu("shots", 0),
    _mmlu("chat_template", True),
    _mmlu("limit", 1),
    _mmlu("dtype", "bfloat16"),
    _mmlu("on_long_prompt", "fewer_shots"),
    _mmlu("backend", "hf"),
    _exact("chat_template", False),
    _exact("limit", 1),
    _exact("dtype", "bfloat16"),
    _exact("max_new_tokens", 8),
    _exact("template_arguments", {"enable_thinking": False}),
    Row(
        "no arguments for exact_match, in words",
        put("benchmarks/exact/template_arguments", {}),
        frozenset(),
    ),
    Row(
        "mmlu on_bad_row",
        put("benchmarks/mmlu/on_bad_row", "leave_out"),
        frozenset({"benchmarks:mmlu"}) | scored("tiny", *RUNS, on=["mmlu"]) | END,
    ),
    Row(
        "exact_match on_bad_row",
        put("benchmarks/exact/on_bad_row", "leave_out"),
        frozenset({"benchmarks:exact"}) | scored("tiny", *RUNS, on=["exact"]) | END,
    ),
    Row("bad rows are refused, in words", put("benchmarks/mmlu/on_bad_row", "error"), frozenset()),
    Row("metric", put("benchmarks/exact/metric", "numeric"), ONLY_JUDGED),
    Row("metric without case", put("benchmarks/exact/ignore_case", True), ONLY_JUDGED),
    Row("another pattern of a metric", _other_pattern, ONLY_JUDGED),
    Row("category map", put("benchmarks/mmlu/categories", "lm-eval"), ONLY_CATEGORIES),
    Row(
        "a subject fewer",
        put("benchmarks/mmlu/subjects", ["anatomy", "astronomy", "philosophy"]),
        ONLY_CATEGORIES,
    ),
    Row(
        "a whole category fewer",
        put("benchmarks/mmlu/subjects", ["astronomy", "college_physics"]),
        ONLY_CATEGORIES,
    ),
    Row(
        "subjects more, which were never scored",
        drop("benchmarks/mmlu/subjects"),
        scored("tiny", *RUNS, on=["mmlu"]) | END,
    ),
    Row(
        "subjects in another order",
        lambda world: world.config["benchmarks"]["mmlu"]["subjects"].reverse(),
        frozenset(),
    ),
    Row(
        "a benchmark is renamed",
        rename("benchmarks", "mmlu", "knowledge"),
        categories("tiny", *RUNS, on=["knowledge"]) | END,
    ),
    Row("a benchmark is removed", drop("benchmarks/exact"), END),
    Row("benchmarks in another order", _reverse("benchmarks"), END),
    Row(
        "a benchmark is added",
        put(
            "benchmarks/short",
            {"kind": "exact_match", "path": "data/exact/questions.jsonl", "limit": 1},
        ),
        scored("tiny", *RUNS, on=["short"]) | END,
    ),
    Row("results in the old layout", put("report/legacy_results", True), frozenset({"reports"})),
    Row("report title", put("report/title", "Another title"), frozenset({"reports"})),
]

EVERYTHING_POLITE = (
    rendered("talks-plain-remote")
    | {"adapters:polite", "merged:polite", "proofs:polite"}
    | scored("polite", on=["mmlu"])
    | END
)
TALKS = frozenset({"raw:talks-plain", "chat:talks-plain"}) | EVERYTHING_POLITE
REMOTE = frozenset({"models:remote"}) | scored("remote", on=["mmlu"]) | EVERYTHING_POLITE
FAR = frozenset({"benchmarks:mmlu"}) | scored("remote", "packed", "polite", on=["mmlu"]) | END


def _renamed_slug(words: frozenset[str], old: str, new: str) -> frozenset[str]:
    return frozenset(word.replace(old, new) for word in words)


def _replace_gguf(world: World) -> None:
    world.write("data/packed/small.gguf", "other weights")


def _move_gguf(world: World) -> None:
    world.write("data/moved/small.gguf", "weights")
    put("models/packed/path", "data/moved")(world)


HUB_ROWS = [
    Row("hub model's revision", put("models/remote/revision", "d" * 40), REMOTE, "hub"),
    Row("hub model's code is trusted", put("models/remote/trust_remote_code", True), REMOTE, "hub"),
    Row("another owner's hub model", put("models/remote/hub", "other/remote"), REMOTE, "hub"),
    Row("hub dataset's revision", put("datasets/talks/revision", "d" * 40), TALKS, "hub"),
    Row("hub model's template", put("models/remote/template", "chatml"), EVERYTHING_POLITE, "hub"),
    Row(
        "a template that nobody is asked through",
        put("models/packed/template", "chatml"),
        frozenset(),
        "hub",
    ),
    Row("another owner's hub dataset", put("datasets/talks/hub", "other/talks"), TALKS, "hub"),
    Row("hub dataset's splits", put("datasets/talks/splits", {"train": "all"}), TALKS, "hub"),
    Row(
        "hub dataset's subset",
        put("datasets/talks/name", "other"),
        _renamed_slug(TALKS, "talks-plain", "talks-other"),
        "hub",
    ),
    Row("hub benchmark's revision", put("benchmarks/mmlu/revision", "d" * 40), FAR, "hub"),
    Row("hub benchmark's bad rows", put("benchmarks/mmlu/on_bad_row", "leave_out"), FAR, "hub"),
    Row("another owner's hub benchmark", put("benchmarks/mmlu/hub", "other/mmlu"), FAR, "hub"),
    Row(
        "the GGUF file is replaced",
        _replace_gguf,
        frozenset({"models:small"}) | scored("packed", on=["mmlu"]) | END,
        "hub",
    ),
    Row(
        "the GGUF file moves",
        _move_gguf,
        frozenset(),
        "hub",
    ),
]

CONFIG_ROWS = [*RUN_ROWS, *DATA_ROWS, *SCORE_ROWS, *HUB_ROWS]
