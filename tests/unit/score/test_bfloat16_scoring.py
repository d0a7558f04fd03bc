"""Scoring in bfloat16 on a processor without arithmetic for it: fast products, the same answers."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from scripts.lib.machine import bfloat16
from scripts.lib.machine.bfloat16 import Float32Products
from scripts.lib.questions.prompts import load_tokenizer
from scripts.lib.questions.requests import GreedyRequest, ReferenceRequest
from scripts.lib.score.fitted_hf import FittedHFLM
from scripts.lib.score.shared_prefix import SharedPrefixLM
from tests.tiny_model import make_tiny_model

# How far bfloat16's own rounding moves the log-probability of a word of this model, in nats.
NOISE = 0.05


@pytest.fixture(scope="module")
def model_and_tokenizer(tmp_path_factory):
    folder = make_tiny_model(tmp_path_factory.mktemp("model"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    return model, load_tokenizer(folder, chat_template=False)


@pytest.fixture
def entered(monkeypatch):
    """Note how often products of float32 were begun."""
    times = []

    class Noted(Float32Products):
        def __enter__(self):
            times.append(1)
            return super().__enter__()

    monkeypatch.setattr(bfloat16, "Float32Products", Noted)
    return times


def asked(lm):
    shared = list(range(5, 105))
    requests = [ReferenceRequest((*shared, 10 + at, 7), (20 + at, 9)) for at in range(12)]
    tokens = [(None, [*request.context], [*request.answer]) for request in requests]
    return [logprob for logprob, _ in lm._loglikelihood_tokens(tokens, disable_tqdm=True)]


@pytest.mark.parametrize("kind", [SharedPrefixLM, FittedHFLM])
def test_log_probabilities_are_within_the_noise_of_bfloat16(
    kind, model_and_tokenizer, entered, monkeypatch
):
    model, tokenizer = model_and_tokenizer
    lm = kind(pretrained=model, tokenizer=tokenizer, batch_size="auto")
    found = {}
    for arithmetic in (True, False):
        monkeypatch.setattr(bfloat16, "computes_bfloat16", lambda said=arithmetic: said)
        found[arithmetic] = asked(lm)
        assert bool(entered) is not arithmetic
    assert found[False] == pytest.approx(found[True], abs=NOISE)


def test_generated_answers_are_computed_so_too(model_and_tokenizer, entered, monkeypatch):
    monkeypatch.setattr(bfloat16, "computes_bfloat16", lambda: False)
    model, tokenizer = model_and_tokenizer
    lm = SharedPrefixLM(pretrained=model, tokenizer=tokenizer, batch_size="auto")
    answers = lm.greedy_answers([GreedyRequest("the question was A", 4)], disable_tqdm=True)
    assert len(answers) == 1
    assert entered
