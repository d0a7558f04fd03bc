"""The starts of an adapter: one list, from which configuration and training follow."""

from typing import get_args

import pytest
from peft import EvaConfig, LoraConfig
from pydantic import TypeAdapter, ValidationError

from scripts.lib.adapters.lora import INITS, REPEATABLE_INITS, Bias, changes_base
from scripts.lib.config.lora import Lora
from scripts.lib.merge.adapter import BASE_CHANGING_INITS


def test_the_starts_that_change_the_base_are_those_that_can_be_repeated():
    """A merge of any other could not do again what training did to the base."""
    for init in INITS:
        read_as_changing = isinstance(init, str) and init.startswith(BASE_CHANGING_INITS)
        assert changes_base(init) == read_as_changing == (init in REPEATABLE_INITS)


@pytest.mark.parametrize("init", INITS)
def test_peft_and_the_configuration_know_every_start(init):
    eva = EvaConfig() if init == "eva" else None
    assert LoraConfig(init_lora_weights=init, eva_config=eva).init_lora_weights == init
    assert Lora(init=init).init == init


@pytest.mark.parametrize("init", ["orthogonal", "pissa_niter_4", "corda", False])
def test_the_configuration_takes_no_other_start(init):
    with pytest.raises(ValidationError):
        Lora(init=init)


def test_the_schema_lists_what_is_taken():
    fields = TypeAdapter(Lora).json_schema()["properties"]
    assert fields["init"]["enum"] == list(INITS)
    assert fields["bias"]["enum"] == list(get_args(Bias))
