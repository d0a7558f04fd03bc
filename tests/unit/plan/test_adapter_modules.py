"""Modules that a run names are looked up in a local model's files, before any job."""

import shutil

import pytest
from transformers import AutoModelForCausalLM

from scripts.lib.adapters.modules import module_faults
from scripts.lib.plan.adapter_modules import stored_modules
from scripts.lib.train.lora_config import modules_of
from tests.tiny_architectures import KINDS, make_architecture
from tests.unit.plan.test_base_templates import (
    HUB,
    PLAIN,
    RUN,
    home,  # noqa: F401  a fixture
    planned,
)
from tests.unit.plan.test_refused_at_planning import refusal
from tests.unit.train.test_lora_shapes import WRONG
from tests.unit.train.test_training import make_spec

MIXTURES = ("mixtral", "qwen3_moe", "gpt_oss")
BASE = {"path": "base", "template": "chatml"}


@pytest.fixture
def llama(home):  # noqa: F811
    shutil.rmtree(home / "base")
    make_architecture("llama_tied", home / "base")
    return home


@pytest.mark.parametrize(("lora", "told"), WRONG.values(), ids=WRONG)
def test_planning_refuses_for_a_local_model_what_the_job_would_in_the_same_words(llama, lora, told):
    text = refusal(llama, {"b": PLAIN}, model=BASE, runs={"r": RUN | {"lora": lora}})
    assert text.startswith("runs.r.lora.") and text.endswith("(models.base)")
    assert told in text
    model = AutoModelForCausalLM.from_pretrained(llama / "base")
    _, words = next(module_faults(make_spec(**lora).lora, modules_of(model)))
    assert words.partition("; it has")[0].partition(", such as")[0] in text
    # What is on a hub is not here yet: the job says it.
    planned(llama, {"b": PLAIN}, model=HUB, runs={"r": RUN | {"lora": lora}})


@pytest.mark.parametrize("architecture", [kind for kind in KINDS if kind not in MIXTURES])
def test_files_and_memory_tell_the_same_modules(tmp_path, architecture):
    folder = make_architecture(architecture, tmp_path)
    stored, loaded = (
        stored_modules(folder),
        modules_of(AutoModelForCausalLM.from_pretrained(folder)),
    )
    assert set(stored.linear) >= set(loaded.linear)
    assert stored.layers == loaded.layers == 2
    assert {name for name in loaded.others if name in stored.others} >= {*loaded.others} - {
        "transformer.wpe"
    }
    named = {
        name for name in loaded.all if name.endswith(("norm", "embed_tokens", "lm_head", "wte"))
    }
    assert named <= set(stored.all)


MIXTURE_FAULTS = [
    ("mixtral", {"target_modules": ["q_proj", "w1"]}, "names 'w1', which in this mixture means"),
    ("qwen3_moe", {"target_modules": ["up_proj"]}, "target_parameters: experts with dropout: 0"),
    ("qwen3_moe", {"target_modules": ["q_prj"]}, "did you mean 'q_proj'?"),
    ("gpt_oss", {"layers_to_transform": [7]}, "names layer 7, and the model has 2"),
]


@pytest.mark.parametrize(("architecture", "lora", "told"), MIXTURE_FAULTS)
def test_what_no_adapter_of_a_mixture_reaches_is_refused(home, architecture, lora, told):  # noqa: F811
    shutil.rmtree(home / "base")
    make_architecture(architecture, home / "base")
    run = RUN | {"lora": lora}
    assert told in refusal(home, {"b": PLAIN}, model=BASE, runs={"r": run})
    model = AutoModelForCausalLM.from_pretrained(home / "base")
    assert any(told in text for _, text in module_faults(make_spec(**lora).lora, modules_of(model)))
    # What can be trained passes: experts, their single parameters, and their own ranks.
    for good in (
        {"target_parameters": "experts"},
        {"target_parameters": ["experts.down_proj"], "rank_pattern": {"down_proj": 4}},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    ):
        planned(home, {"b": PLAIN}, model=BASE, runs={"r": RUN | {"lora": good}})


def test_files_that_do_not_tell_refuse_nothing(home):  # noqa: F811
    run = RUN | {"lora": {"target_modules": ["query_key_value"]}}
    planned(home, {"b": PLAIN}, model=BASE, runs={"r": run})
