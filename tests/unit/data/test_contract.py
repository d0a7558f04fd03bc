"""A template is proved on a golden conversation before it is trusted."""

import pytest
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

from scripts.lib.data.contract import Findings, golden_conversation, prove_template
from scripts.lib.data.encoding import Encoder
from scripts.lib.data.samples import SampleSpec
from scripts.lib.data.templates import CHATML, load_fast_tokenizer
from scripts.lib.errors import TemplateError
from tests.chat_samples import (
    DEFAULT_SYSTEM,
    DOUBLE_BOS,
    DROPS_SYSTEM,
    FOREIGN,
    NO_END,
    NO_SYSTEM,
    THINKING,
    TINY_TEMPLATE,
    TRIMMED,
    renderer_of,
)
from tests.tiny_model import make_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def tokenizer(folder):
    return load_fast_tokenizer(folder)


@pytest.fixture(scope="module")
def encoder(tokenizer):
    return Encoder(tokenizer)


def proof(tokenizer, encoder, template, train_on="assistant", *, system=True, several=True, **more):
    findings = Findings(system=system, several=several, plain=True, rows=1, trained_tokens=9)
    spec = SampleSpec(train_on=train_on, **more)
    return prove_template(renderer_of(tokenizer, template), encoder, spec, findings)


def failed(contract):
    return {check["name"] for check in contract["checks"] if not check["passed"]}


@pytest.mark.parametrize("template", [TINY_TEMPLATE, CHATML, DEFAULT_SYSTEM, TRIMMED])
@pytest.mark.parametrize("train_on", ["assistant", "last_assistant", "all"])
def test_good_templates_pass_the_contract(tokenizer, encoder, template, train_on):
    contract = proof(tokenizer, encoder, template, train_on)
    assert contract["passed"] and not failed(contract)
    assert all(check["evidence"] for check in contract["checks"])
    roles = [message["role"] for message in contract["golden"]["messages"]]
    assert roles == ["system", "user", "assistant", "user", "assistant"]
    assert contract["golden"]["answers"][-1] == "素数.<|im_end|>"


@pytest.mark.parametrize(
    ("template", "broken"),
    [
        (NO_END, {"end_of_turn_is_trained"}),
        (DROPS_SYSTEM, {"content_is_verbatim", "end_of_turn_is_trained"}),
        (FOREIGN, {"markers_are_single_tokens", "end_of_turn_is_trained"}),
        (DOUBLE_BOS, {"at_most_one_bos"}),
    ],
)
def test_a_bad_template_fails_with_evidence_and_no_error(tokenizer, encoder, template, broken):
    contract = proof(tokenizer, encoder, template)
    assert failed(contract) == broken and not contract["passed"]


def test_turns_that_later_ones_change_pass_unless_they_are_to_stand_together(tokenizer, encoder):
    contract = proof(tokenizer, encoder, THINKING)
    assert contract["passed"]
    assert len(contract["golden"]["answers"]) == 2
    found = {check["name"]: check["evidence"] for check in contract["checks"]}
    assert "a row of its own" in found["answers_follow_their_prompts"]
    together = proof(tokenizer, encoder, THINKING, turns="together")
    assert failed(together) == {"answers_follow_their_prompts", "end_of_turn_is_trained"}


def test_answers_that_must_reason_are_proved_on_answers_that_do(tokenizer, encoder):
    findings = Findings(rows=1, trained_tokens=9)
    spec = SampleSpec(plain_answers="reject")
    contract = prove_template(renderer_of(tokenizer, TINY_TEMPLATE), encoder, spec, findings)
    assert contract["passed"] and "</think>" in contract["golden"]["text"]


def test_a_contract_asks_only_for_what_the_data_uses(tokenizer, encoder):
    assert proof(tokenizer, encoder, NO_SYSTEM, system=False)["passed"]
    with pytest.raises(TemplateError, match="System role"):
        proof(tokenizer, encoder, NO_SYSTEM)
    assert proof(tokenizer, encoder, THINKING, several=False)["passed"]


def test_a_lossy_tokenizer_fails_the_contract(folder):
    lossy = AutoTokenizer.from_pretrained(folder)
    lossy.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    assert "text_survives_encoding" in failed(proof(lossy, Encoder(lossy), TINY_TEMPLATE))


def test_what_the_rows_showed_decides_too(tokenizer, encoder):
    renderer = renderer_of(tokenizer, TINY_TEMPLATE)

    def broken(**findings):
        found = Findings(rows=1, plain=True, **findings)
        return failed(prove_template(renderer, encoder, SampleSpec(), found))

    assert broken(trained_tokens=1) == set()
    assert broken() == {"something_is_trained"}
    assert broken(trained_tokens=1, unended=1) == {"end_of_turn_is_trained"}
    assert broken(trained_tokens=1, double_bos=1) == {"at_most_one_bos"}


def test_padding_with_the_end_token_is_said_and_safe_only_if_the_end_is_trained(folder):
    padded = AutoTokenizer.from_pretrained(folder)
    padded.pad_token = "<|im_end|>"
    encoder = Encoder(padded)
    good = proof(padded, encoder, TINY_TEMPLATE)
    assert good["passed"] and "explicit loss mask" in good["checks"][-1]["evidence"]
    tail = TINY_TEMPLATE.replace("<|im_end|>\\n'", "<|im_end|>\\n--\\n'")
    assert "padding_is_not_trained" in failed(proof(padded, encoder, tail))


def test_golden_conversations_begin_with_a_question_or_a_system_turn():
    assert len(golden_conversation(system=False, several=False).messages) == 2
    assert len(golden_conversation(system=True, several=True).messages) == 5
