"""Each key of a run, changed alone, reaches the objects that do the work, and nothing else does.

What is looked at is what the real code makes of a config: the arguments of TRL's trainer, PEFT's
adapter, how the base is loaded, the spec of the shards, edges and gates of the plan.

A new key of a run needs a `Case` in CASES: a value that is not the default, and by hand what is
then another. Keys that it needs beside it stand in `beside`; they are set before and after.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import ANY

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from scripts.lib.config.expansion import leaf_keys, run_schema
from scripts.lib.data.rendering import RenderSpec
from scripts.lib.train import model as train_model
from scripts.lib.train import training
from scripts.lib.train.answers import AnswerKeeper
from scripts.lib.train.callbacks import BestKeeper
from scripts.lib.train.continuing import with_shape_of
from scripts.lib.train.lora_tuning import train_adapter
from scripts.lib.train.optimization import keeps_best
from scripts.lib.train.spec import TrainSpec
from tests.tiny_architectures import make_architecture
from tests.tiny_model import make_tiny_model
from tests.tiny_shards import make_tiny_shards
from tests.unit.plan.test_base_templates import PLAIN, planned
from tests.unit.scoring_data import write_rows

RUN = {
    "model": "base",
    "dataset": "orders",
    "training": {
        "packing": False,
        "epochs": 4,
        "max_length_tokens": 128,
        "dtype": "float32",
        "warmup_ratio": 0.0,
    },
}
"""24 rows in batches of 8: three steps an epoch, twelve in all."""


@dataclass(frozen=True)
class Case:
    """One key of a run.

    Attributes:
        value: Another value than RUN's or the default.
        reaches: What is then another -> its new value.
        beside: Keys that are set before and after.
    """

    value: Any
    reaches: Mapping[str, Any]
    beside: Mapping[str, Any] = field(default_factory=dict)


def trl(name: str, value: Any, told: Any = None, **beside: Any) -> Case:
    """A key of `training` whose value goes to TRL's trainer as it is, or as *told*."""
    reaches = {f"SFTConfig.{name}": value if told is None else told}
    return Case(value, reaches, {f"training.{key}": one for key, one in beside.items()})


def peft(name: str, value: Any) -> Case:
    """A key of `lora` whose value goes to PEFT's adapter as it is."""
    return Case(value, {f"LoraConfig.{name}": value})


def shards(name: str, value: Any, **beside: Any) -> Case:
    """A key that decides the shards."""
    return Case(value, {f"RenderSpec.{name}": value}, beside)


LAYER_1 = [
    *(f"model.layers.1.mlp.{name}_proj" for name in ("down", "gate", "up")),
    *(f"model.layers.1.self_attn.{name}_proj" for name in "koqv"),
]
NF4 = {
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": True,
    "bnb_4bit_compute_dtype": "torch.float32",
}
REPO = {"publish.repo_id": "me/x"}
CASES: dict[str, Case] = {
    "model": Case("other", {"plan.model": "other"}),
    "dataset": Case("chats", {"plan.dataset": "chats"}),
    "evaluate_on": Case(
        {"others": "chats"},
        {"plan.evaluation": ["shards/chats"], "data.sets": ["valid", "others"]},
    ),
    "template": shards("template", "chatml"),
    "train_on": shards("train_on", "all"),
    "turns": shards("turns", "each"),
    "plain_answers": shards("plain_answers", "reject"),
    "fold_reasoning": shards("fold_reasoning", True),
    "on_too_long": shards("on_too_long", "truncate"),
    "on_contamination": Case("drop", {"plan.trained_on": "decontaminated"}),
    "max_growth": Case(3.0, {"plan.growth": 3.0}),
    "on_verdict": Case("stop", {"plan.stops_at_verdict": True}),
    "merge": Case(False, {"plan.merged": False}),
    "keep_merged": Case(False, {"plan.keep_merged": False}),
    "publish.repo_id": Case("me/x", {"plan.publish": ANY}),
    "publish.private": Case(False, {"plan.publish": {**REPO, "publish.private": False}}, REPO),
    "publish.revision": Case("v2", {"plan.publish": {**REPO, "publish.revision": "v2"}}, REPO),
    "quantization": Case("nf4", {"base.quantization_config": NF4}),
    "double_quantization": Case(
        False,
        {"base.quantization_config": {**NF4, "bnb_4bit_use_double_quant": False}},
        {"quantization": "nf4"},
    ),
    # Its shape is that of a new one, but for names of layers that PEFT has written out.
    "continue_from": Case(
        "given",
        {
            "plan.start": ["base-given"],
            "LoraConfig.base_model_name_or_path": ANY,
            "LoraConfig.target_modules": ANY,
        },
    ),
    "lora.target_parameters": Case(
        ["experts.down_proj"],
        {"LoraConfig.target_parameters": ANY},
        {"model": "mixture", "lora.dropout": 0.0},
    ),
    "lora.r": peft("r", 4),
    "lora.alpha": peft("lora_alpha", 8),
    "lora.rank_pattern": peft("rank_pattern", {"q_proj": 8}),
    "lora.alpha_pattern": peft("alpha_pattern", {"q_proj": 64.0}),
    "lora.exclude_modules": peft("exclude_modules", ["down_proj", "k_proj"]),
    "lora.layers_to_transform": Case([1], {"LoraConfig.target_modules": LAYER_1}),
    "lora.modules_to_save": peft("modules_to_save", ["norm"]),
    "lora.eva_rho": Case(1.0, {"LoraConfig.eva_config": ANY}, {"lora.init": "eva"}),
    "lora.dropout": peft("lora_dropout", 0.2),
    "lora.bias": peft("bias", "all"),
    "lora.target_modules": peft("target_modules", ["k_proj", "q_proj"]),
    "lora.use_rslora": peft("use_rslora", True),
    "lora.use_dora": peft("use_dora", True),
    "lora.init": peft("init_lora_weights", "gaussian"),
    "training.epochs": trl("num_train_epochs", 2.0),
    "training.max_steps": trl("max_steps", 5),
    "training.learning_rate": trl("learning_rate", 3e-4),
    "training.scheduler": trl("lr_scheduler_type", "linear"),
    "training.lr_scheduler_kwargs": trl("lr_scheduler_kwargs", {"num_cycles": 1.5}),
    "training.warmup_ratio": trl("warmup_steps", 0.2, 3),
    "training.warmup_steps": Case(5, {"SFTConfig.warmup_steps": 5}),
    "training.optim": trl("optim", "adamw_torch"),
    "training.optim_args": trl("optim_args", {"momentum": 0.9}, "momentum=0.9", optim="sgd"),
    "training.adam_beta1": trl("adam_beta1", 0.8),
    "training.adam_beta2": trl("adam_beta2", 0.99),
    "training.adam_epsilon": trl("adam_epsilon", 1e-6),
    "training.weight_decay": trl("weight_decay", 0.1),
    "training.loraplus_lr_ratio": trl("loraplus_lr_ratio", 16.0),
    "training.loraplus_lr_embedding": trl("loraplus_lr_embedding", 1e-5, loraplus_lr_ratio=4.0),
    "training.neftune_noise_alpha": trl("noise_alpha", 5.0),
    "training.label_smoothing_factor": trl("smoothing", 0.1),
    "training.max_grad_norm": trl("max_grad_norm", 0.5),
    # The end of an epoch is at another step.
    "training.batch_size": Case(
        4, {"SFTConfig.gradient_accumulation_steps": 4, "SFTConfig.eval_steps": 6}
    ),
    "training.packing": Case(
        True,
        {
            "SFTConfig.packing": True,
            "SFTConfig.max_length": 128,
            "SFTConfig.eval_steps": 1,
            "data.train_sequences": ANY,
        },
    ),
    # TRL's trainer is told of it only where it packs; the shards are cut to it in any case.
    "training.max_length_tokens": Case(
        100,
        {
            "RenderSpec.max_length_tokens": 100,
            "SFTConfig.max_length": 100,
            "SFTConfig.eval_steps": 2,
            "data.train_sequences": ANY,
        },
        {"training.packing": True},
    ),
    "training.eval_every_steps": trl("eval_steps", 2),
    # Two of the six held-out rows have answers of more than 16 tokens; the others come first.
    "training.answers": Case(3, {"callbacks.answers": 3}),
    "training.answer_tokens": Case(16, {"callbacks.answer_tokens": 16}),
    "training.early_stopping_patience": Case(
        2,
        {"callbacks.patience": 2, "callbacks.keeps_best": True, "callbacks.key": "valid_loss"},
    ),
    "training.keep": Case("best", {"callbacks.keeps_best": True, "callbacks.key": "valid_loss"}),
    "training.best_by": Case(
        "chats",
        {"callbacks.key": "valid_chats_loss"},
        {"training.keep": "best", "evaluate_on": ["chats"]},
    ),
    "training.seed": trl("seed", 7),
    "training.dtype": Case("bfloat16", {"base.dtype": "torch.bfloat16"}),
}
UNTOLD = ("output_dir", "logging_dir", "run_name")
"""What TRL's trainer is told that no key decides."""


def nested(keys: Mapping[str, Any]) -> dict[str, Any]:
    """RUN with some dotted keys set."""
    run = json.loads(json.dumps(RUN))
    for key, value in keys.items():
        *groups, last = key.split(".")
        place = run
        for name in groups:
            place = place.setdefault(name, {})
        place[last] = value
        if key == "training.warmup_steps":
            del run["training"]["warmup_ratio"]
    return run


def plain(value: Any) -> Any:
    """A value as it can be compared and read: sets in order, dtypes by name."""
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    return value if isinstance(value, bool | int | float | str | list | None) else str(value)


class Reached(Exception):
    """What a trainer would be made of."""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reach")
    for name in ("base", "other"):
        make_tiny_model(folder / name)
    (folder / "other/README.md").write_text("Another model.")
    make_architecture("mixtral", folder / "mixture")
    make_tiny_shards(folder / "shards", folder / "base")
    base = AutoModelForCausalLM.from_pretrained(folder / "base")
    shape = LoraConfig(
        r=16,
        lora_alpha=32,
        lora_dropout=0.05,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    get_peft_model(base, shape).save_pretrained(folder / "given")
    write_rows(folder / "q.jsonl", [{"prompt": "one tea", "answer": "1 TEA"}])
    for name in ("orders", "chats"):
        rows = [{"prompt": f"{n} tea", "completion": f"{n} {name}"} for n in range(60)]
        write_rows(folder / f"{name}.jsonl", rows)
    return folder


class Loading:
    """Stands in for the library's loader: keeps what it is asked, and quantises nothing."""

    def __init__(self, honest):
        self._honest = honest
        self.asked: dict[str, Any] = {}

    def from_pretrained(self, folder, **options):
        self.asked = options
        loaded = {key: one for key, one in options.items() if key != "quantization_config"}
        return self._honest.from_pretrained(folder, **loaded)


@pytest.fixture
def reached(home, monkeypatch):
    """Return what the real code makes of a run with some keys set, flat."""

    def end(**options):
        raise Reached(options)

    def look(keys: Mapping[str, Any]) -> dict[str, Any]:
        graph = planned(
            home,
            {"b": PLAIN},
            others={name: {"path": name} for name in ("other", "mixture")},
            runs={"r": nested(keys)},
            datasets={name: {"path": f"{name}.jsonl"} for name in ("orders", "chats")},
            candidates={"given": {"adapter": "given", "base": "base"}},
        )
        (candidate,) = (one for one in graph.candidates if one.name == "r")
        found = {name: graph.artifacts[id] for name, id in candidate.artifacts.items()}
        spec = json.loads(json.dumps(found["adapters"].spec))
        start = home / "given" if "start" in found["adapters"].reads else None
        sets = found["adapters"].reads.get("evaluation", ())
        loader = Loading(train_model.AutoModelForCausalLM)
        with monkeypatch.context() as patch:
            patch.setattr(training, "Trainer", end)
            patch.setattr(train_model, "AutoModelForCausalLM", loader)
            patch.setattr(train_model, "BitsAndBytesConfig", dict)
            patch.setattr(train_model, "prepare_model_for_kbit_training", lambda base, **_: base)
            patch.setattr(train_model, "computes_bfloat16", lambda: True)
            patch.setattr("scripts.lib.train.lora_faults.find_spec", lambda name: name)
            with pytest.raises(Reached) as caught:
                train_adapter(
                    TrainSpec.from_json(with_shape_of(spec, {}, start) if start else spec),
                    home / nested(keys)["model"],
                    home / "shards",
                    home / "out",
                    scratch=home / "scratch",
                    threads=1,
                    micro_batch=1,
                    start=start,
                    evaluation=[home / "shards" for _ in sets],
                )
        (made,) = caught.value.args
        keepers = [one for one in made["callbacks"] if isinstance(one, BestKeeper)]
        (asked,) = (o._questions for o in made["callbacks"] if isinstance(o, AnswerKeeper))
        told = {key: one for key, one in made["args"].to_dict().items() if key not in UNTOLD}
        groups = {
            "SFTConfig": told,
            "LoraConfig": made["peft_config"].to_dict(),
            "base": loader.asked,
            "data": {
                "train_sequences": len(made["train_dataset"]),
                "sets": list(made["eval_dataset"]),
            },
            "callbacks": {
                "keeps_best": bool(keepers) and keeps_best(vars(keepers[0]._tuning.loop)),
                "patience": keepers[0]._tuning.loop.early_stopping_patience if keepers else None,
                "key": keepers[0]._key if keepers else None,
                "answers": len(asked.rows),
                "answer_tokens": asked.limit,
            },
            "RenderSpec": dataclasses.asdict(RenderSpec(**found["shards"].spec)),
            "plan": plan_of(graph, candidate, found),
        }
        return {
            f"{group}.{name}": plain(value)
            for group, values in groups.items()
            for name, value in values.items()
        }

    return look


def plan_of(graph, candidate, found) -> dict[str, Any]:
    """What the plan says of a run beside the specs of its stages."""
    gates = {gate.kind: gate.limit for gate in found["adapters"].gates}
    publish = candidate.publish or {}
    defaults = {"private": True, "revision": None}
    return {
        "model": found["models"].slug,
        "dataset": found["raw"].slug,
        "trained_on": found["shards"].reads["chat"][0].split("/")[0],
        "evaluation": [
            f"shards/{graph.artifacts[graph.artifacts[id].reads['chat'][0]].slug}"
            for id in found["adapters"].reads.get("evaluation", ())
        ],
        "start": [graph.artifacts[id].slug for id in found["adapters"].reads.get("start", ())],
        "growth": gates["growth"],
        "stops_at_verdict": any(
            gate.kind == "verdict" for one in graph.artifacts.values() for gate in one.gates
        ),
        "merged": "merged" in found,
        "keep_merged": candidate.keep_merged,
        "publish": {
            f"publish.{key}": value
            for key, value in publish.items()
            if key not in defaults or value != defaults[key]
        },
    }


def test_every_key_of_a_run_has_a_case():
    keys = leaf_keys(run_schema()).keys()
    lacking, gone = sorted(keys - CASES.keys()), sorted(CASES.keys() - keys)
    assert not lacking, f"add a Case to CASES in {__file__} for: {', '.join(lacking)}"
    assert not gone, f"take the Case out of CASES in {__file__} for: {', '.join(gone)}"


@pytest.mark.parametrize("key", CASES)
def test_a_key_that_changes_alone_reaches_what_it_is_for_and_nothing_else(key, reached):
    case = CASES[key]
    before, after = reached(case.beside), reached({**case.beside, key: case.value})
    changed = {
        name: after.get(name)
        for name in {*before, *after}
        if before.get(name) != after.get(name) or (name in before) != (name in after)
    }
    assert changed == case.reaches
