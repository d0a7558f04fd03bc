"""Optimizers and schedules are those of the installed libraries, and what they are told arrives."""

import ast
import inspect
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from transformers import Trainer, trainer_optimizer
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION, GreedyLR, get_scheduler
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

from scripts.lib.train.arguments import training_arguments
from scripts.lib.train.micro_batch import Passes
from scripts.lib.train.optimization import (
    ADAM,
    OPTIMIZERS,
    UNUSABLE,
    optimization_faults,
)
from scripts.lib.train.schedules import BY_LOSS, schedule_parameters
from tests.unit.train.test_training import make_spec

ROOT = Path(__file__).parents[3]
SCHEDULERS = [name.value for name in SchedulerType]
NEEDED = {
    "cosine_with_min_lr": {"min_lr": 1e-3},
    "cosine_warmup_with_min_lr": {"min_lr_rate": 0.1},
    "warmup_stable_decay": {"num_decay_steps": 2},
    "greedy": {"min_lr": 1e-3},
}
INSTALLED = [name for name, one in OPTIMIZERS.items() if one.package is None]


def loop_of(**changes):
    return make_spec(**changes).training


def faults_of(steps=None, **changes):
    return [
        f"{fault.key} {fault.text}"
        for fault in optimization_faults(vars(loop_of(**changes)), steps)
    ]


def arguments_of(loop, rows=40):
    return training_arguments(
        loop,
        Path("unused"),
        Passes(sequences=1),
        train_rows=rows,
        evaluated=True,
        resumed=False,
        autocast=False,
    )


def optimizer_of(loop):
    """The optimizer that transformers makes of a loop's arguments, over one weight."""
    weight = torch.nn.Parameter(torch.ones(2, 2))
    kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments_of(loop))
    return kind([weight], **options)


def test_every_optimizer_and_schedule_of_transformers_is_known():
    assert {*OPTIMIZERS, *UNUSABLE} == {name.value for name in OptimizerNames}
    assert all(schedule_parameters(name) is not None for name in SCHEDULERS)


def test_the_first_optimizer_is_what_transformers_would_take():
    assert next(iter(OPTIMIZERS)) == arguments_of(loop_of()).optim


@pytest.mark.parametrize("name", sorted(set(SCHEDULERS) - {"constant", "constant_with_warmup"}))
def test_the_arguments_of_a_schedule_are_those_that_it_takes(name):
    function = TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(name)]
    taken = {
        "reduce_lr_on_plateau": torch.optim.lr_scheduler.ReduceLROnPlateau,
        "greedy": GreedyLR,
    }.get(name, function)
    given = {"optimizer", "num_warmup_steps", "num_training_steps", "last_epoch", "verbose"}
    parameters = schedule_parameters(name)
    assert parameters.keys() == inspect.signature(taken).parameters.keys() - given
    for key, parameter in inspect.signature(taken).parameters.items():
        if key in parameters and parameter.default is not parameter.empty:
            assert ast.literal_eval(parameters[key].default) == parameter.default


def names_asked_of(handler):
    """The arguments that a handler of transformers looks for in optim_args."""
    found = set()
    for node in ast.walk(ast.parse(inspect.getsource(handler))):
        compared = ast.unparse(node.comparators[0]) if isinstance(node, ast.Compare) else ""
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("ctx.optim_args."):
            found.add(ast.literal_eval(node.args[0]))
        if isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple):
            found |= set(ast.literal_eval(node.iter))
        if compared == "ctx.optim_args" and isinstance(node.left, ast.Constant):
            found.add(node.left.value)
    return found


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_arguments_of_an_optimizer_are_those_that_transformers_looks_for(name):
    handler = trainer_optimizer._OPTIMIZER_HANDLERS[OptimizerNames(name)]
    # They have keys of their own, or come through as text that does not work.
    elsewhere = {"weight_decay", "beta1", "beta2", "block_size"}
    asked = names_asked_of(handler) - elsewhere
    if OPTIMIZERS[name].package == "bitsandbytes":
        asked = asked - {"eps"} if "ademamix" in name else set()
    assert OPTIMIZERS[name].arguments.keys() == asked


def test_planning_reads_the_signatures_without_the_libraries():
    code = (
        "import sys; from scripts.lib.train.schedules import *;"
        f"[schedule_parameters(name) for name in {SCHEDULERS}];"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("name", INSTALLED)
def test_what_an_optimizer_is_told_is_what_it_has(name):
    """Each argument and setting alone reaches it; nothing that it has not is passed over."""
    plain = optimizer_of(loop_of(optim=name)).defaults
    told = {"momentum": 0.7, "dampening": 0.1, "lr_decay": 0.2, "eps": 0.3, "alpha": 0.6}
    for key, kind in OPTIMIZERS[name].arguments.items():
        value = True if kind == "flag" else told[key]
        more = {"momentum": 0.5} if key == "nesterov" else {}
        loop = loop_of(optim=name, optim_args={key: value} | more)
        assert not list(optimization_faults(vars(loop), None))
        has = optimizer_of(loop).defaults
        assert (plain[key], has[key]) == (plain[key], value) != (value, value)
    for key in ADAM:
        loop = loop_of(optim=name, **{key: 0.5})
        changed = optimizer_of(loop).defaults != plain
        refused = bool(list(optimization_faults(vars(loop), None)))
        assert (changed, refused) == (key in OPTIMIZERS[name].settings, not changed)
    unknown = faults_of(optim=name, optim_args={"momentun": 0.1})
    assert len(unknown) == 1
    assert f"is no argument of optim: {name}" in unknown[0]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_schedule_gets_its_arguments_and_a_run_of_one_step_a_rate_above_zero(name):
    """What is not refused works in transformers, and trains."""
    for warmup in (0, 1, None):
        for arguments in (NEEDED.get(name, {}), NEEDED.get(name, {}) | {"min_lr_ratio": 0.1}):
            loop = loop_of(
                scheduler=name,
                lr_scheduler_kwargs=arguments,
                warmup_steps=warmup,
                warmup_ratio=0.03,
                learning_rate=0.01,
            )
            for steps in (1, 2, 5):
                refused = list(optimization_faults(vars(loop), steps))
                known = arguments.keys() <= schedule_parameters(name).keys()
                assert known or refused
                if not known or name in BY_LOSS:
                    continue
                plain = loop_of(**asdict(loop) | {"max_steps": steps})
                told = arguments_of(plain)
                optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.01)
                scheduler = get_scheduler(
                    told.lr_scheduler_type,
                    optimizer,
                    told.get_warmup_steps(steps),
                    steps,
                    told.lr_scheduler_kwargs,
                )
                (factor,) = scheduler.lr_lambdas
                rates = [factor(step) for step in range(steps)]
                nothing = not any(rate > 0 for rate in rates)
                assert bool(refused) == (
                    nothing
                    or "warmup_steps" in "".join(fault.key for fault in refused)
                    or "num_decay_steps" in "".join(fault.key for fault in refused)
                )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"scheduler": "linear", "lr_scheduler_kwargs": {"power": 2}}, "it takes none"),
        ({"scheduler": "constant", "lr_scheduler_kwargs": {"factor": 2}}, "it takes none"),
        ({"lr_scheduler_kwargs": {"num_cycle": 2}}, "its arguments are: num_cycles"),
        ({"lr_scheduler_kwargs": {"num_cycles": "two"}}, "must be a number"),
        ({"lr_scheduler_kwargs": {"num_cycles": 0}}, "more than 0"),
        (
            {"scheduler": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": 1.5}},
            "whole",
        ),
        ({"scheduler": "cosine_with_min_lr"}, "needs one of them"),
        (
            {
                "scheduler": "cosine_with_min_lr",
                "lr_scheduler_kwargs": {"min_lr": 1e-3, "min_lr_rate": 0.1},
            },
            "has both",
        ),
        (
            {"scheduler": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 0.1}},
            "no less than learning_rate",
        ),
        ({"scheduler": "warmup_stable_decay"}, "lacks num_decay_steps"),
        (
            {
                "scheduler": "warmup_stable_decay",
                "lr_scheduler_kwargs": {"num_decay_steps": 2, "decay_type": "sudden"},
            },
            "linear, cosine, 1-sqrt",
        ),
        ({"scheduler": "polynomial", "learning_rate": 1e-7}, "1e-07 unless it is given"),
        ({"scheduler": "greedy", "learning_rate": 2e-4}, "0.001 unless it is given"),
        (
            {"scheduler": "reduce_lr_on_plateau", "lr_scheduler_kwargs": {"factor": 1}},
            "less than 1",
        ),
        ({"scheduler": "reduce_lr_on_plateau", "lr_scheduler_kwargs": {"mode": "max"}}, "min"),
        ({"scheduler": "constant", "warmup_steps": 3}, "constant_with_warmup"),
        ({"optim": "sgd", "adam_beta1": 0.8}, "nothing that optim: sgd has"),
        ({"optim": "adafactor", "optim_args": {"beta1": 0.8}}, "it takes none"),
        ({"optim_args": {"beta1": 0.8}}, "keys of its own: adam_beta1"),
        ({"optim": "sgd", "optim_args": {"weight_decay": 0.1}}, "training.weight_decay"),
        ({"optim": "sgd", "optim_args": {"nesterov": True}}, "momentum above 0"),
        ({"optim": "sgd", "optim_args": {"momentum": "much"}}, "must be a number"),
        ({"optim": "schedule_free_adamw"}, "write constant"),
        ({"loraplus_lr_embedding": 1e-5}, "give loraplus_lr_ratio"),
    ],
)
def test_what_would_be_passed_over_or_fail_later_is_refused(changes, told):
    (fault,) = faults_of(**changes)
    assert told in fault


def test_an_argument_that_is_false_is_false_for_the_optimizer():
    """transformers reads `kahan_sum` with bool(), which takes "false" for true."""
    said = arguments_of(loop_of(optim="stable_adamw", optim_args={"kahan_sum": False})).optim_args
    assert trainer_optimizer._parse_optim_args(said) == {"kahan_sum": ""}
    assert bool("") is False
    said = arguments_of(loop_of(optim="sgd", optim_args={"nesterov": False})).optim_args
    assert said is None
