"""LoRA on the fused experts of a mixture is merged into files that hold experts one by one."""

import json

import pytest

from scripts.lib.errors import MergeError
from scripts.lib.merge.adapter import ExpertPart, Update, read_adapter
from scripts.lib.merge.experts import spread
from scripts.lib.merge.merging import merge_adapter
from tests.merge_kinds import make_kind
from tests.tiny_architectures import make_architecture

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:peft", "ignore::RuntimeWarning:peft")
FUSED = "model.layers.0.mlp.experts.gate_up_proj"


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    return make_architecture("qwen3_moe", tmp_path_factory.mktemp("base") / "mixture")


@pytest.fixture
def adapter(tmp_path, mixture):
    return make_kind("LoRA on experts", "qwen3_moe", mixture, tmp_path / "adapter")


def change(adapter, **options):
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | options))


def test_each_expert_gets_its_half_of_gate_and_up():
    stored = [
        f"model.layers.0.mlp.experts.{expert}.{name}_proj.weight"
        for expert in range(2)
        for name in ("gate", "up", "down")
    ]
    update = Update(scale=3.0, expert=ExpertPart(count=2))
    found = spread({FUSED: update}, stored)
    assert {name: (one.expert.index, one.expert.half) for name, one in found.items()} == {
        f"model.layers.0.mlp.experts.{expert}.{name}_proj.weight": (expert, half)
        for expert in range(2)
        for half, name in enumerate(("gate", "up"))
    }
    assert {one.scale for one in found.values()} == {3.0}
    # A file with all experts, or one without some, is not taken apart.
    for other in ([FUSED], stored[:-2], []):
        assert spread({FUSED: update}, other) == {FUSED: update}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"r": 3}, "no multiple of its rank 3"),
        ({"target_parameters": ["experts.down_proj"]}, "is of no parameter that"),
    ],
)
def test_an_adapter_that_disagrees_with_its_config_is_refused(adapter, options, told):
    change(adapter, **options)
    with pytest.raises(MergeError, match=told):
        read_adapter(adapter, "qwen3_moe")


def test_experts_beside_a_router_are_merged_by_peft(tmp_path, mixture):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = make_kind("LoRA on attention", "qwen3_moe", mixture, tmp_path / "adapter")
    wanted = ["mlp.gate.weight", "experts.down_proj"]
    peft = get_peft_model(
        AutoModelForCausalLM.from_pretrained(mixture, dtype="auto"),
        LoraConfig(r=4, target_modules=["q_proj"], target_parameters=wanted, task_type="CAUSAL_LM"),
    )
    peft.save_pretrained(folder)
    (tmp_path / "out").mkdir()
    facts = merge_adapter(mixture, folder, tmp_path / "out")
    assert (facts["method"], facts["reason"]) == ("peft", "it uses target_parameters")
