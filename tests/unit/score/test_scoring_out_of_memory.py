"""When memory runs out while a model is asked: nothing answered is asked again, nothing is lost."""

import contextlib
import itertools

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from scripts.lib.errors import ScoreError
from scripts.lib.questions.requests import GreedyRequest
from scripts.lib.score import shared_prefix
from scripts.lib.score.fitted_hf import FittedHFLM
from scripts.lib.score.respondent import load_backend
from scripts.lib.score.shared_prefix import SharedPrefixLM
from tests.tiny_model import make_tiny_model
from tests.unit.score.test_backends import loading
from tests.unit.score.test_shared_prefix import (  # noqa: F401  # fixtures
    mmlu_requests,
    model_of,
    one_thread,
    tokenizer,
    uneven_requests,
)
from tests.unit.scoring_data import rows, score, spec, write_rows


class SmallMachine:
    """A model whose memory runs out over some passes.

    Attributes:
        read: Shapes of the passes that were done, in order.
        failed: How many were not.
    """

    def __init__(self, model, too_much):
        self.read, self.failed, self._too_much = [], 0, too_much
        self._hooks = [
            model.register_forward_pre_hook(self._before, with_kwargs=True),
            model.register_forward_hook(self._after, with_kwargs=True),
        ]

    @staticmethod
    def _shape(args, kwargs):
        return tuple((args[0] if args else kwargs["input_ids"]).shape)

    def _before(self, _, args, kwargs):
        if self._too_much(self._shape(args, kwargs), len(self.read)):
            self.failed += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")

    def _after(self, _, args, kwargs, __):
        self.read.append(self._shape(args, kwargs))

    def repair(self):
        for hook in self._hooks:
            hook.remove()


@contextlib.contextmanager
def small_machine(model, too_much):
    machine = SmallMachine(model, too_much)
    try:
        yield machine
    finally:
        machine.repair()


def lm_of(model, tokenizer, kind=SharedPrefixLM, **options):  # noqa: F811
    return kind(pretrained=model, tokenizer=tokenizer, **{"batch_size": "auto"} | options)


def asked_twice(model, tokenizer, too_much, requests, kind=SharedPrefixLM):  # noqa: F811
    """Return replies of a machine with memory, those of a small one, and both machines."""
    found = []
    for fails in (lambda shape, done: False, too_much):
        lm = lm_of(model, tokenizer, kind)
        with small_machine(model, fails) as machine:
            found.append((lm.loglikelihood(requests, disable_tqdm=True), machine))
    (whole, plenty), (halved, little) = found
    assert plenty.failed == 0 < little.failed
    assert [greedy for _, greedy in halved] == [greedy for _, greedy in whole]
    assert [p for p, _ in halved] == pytest.approx([p for p, _ in whole], abs=1e-4)
    return plenty, little


def tokens_read(machine):
    return sum(rows * width for rows, width in machine.read)


def runs_out_after(passes, most):
    """Let memory run out over more than *most* tokens, once so many passes are done."""
    return lambda shape, done: done >= passes and shape[0] * shape[1] > most


def test_a_beginning_that_memory_cannot_hold_is_read_in_parts(model_of, tokenizer, monkeypatch):  # noqa: F811
    asked = mmlu_requests(tokenizer, shots=5)
    plenty, little = asked_twice(model_of("llama"), tokenizer, runs_out_after(0, 130), asked)
    # Every token was read once, shared beginnings and ends: no pass was done for nothing.
    assert tokens_read(little) == tokens_read(plenty)
    assert len(little.read) > len(plenty.read)


@pytest.mark.parametrize("name", ["llama", "gemma3", "mistral"])
def test_a_beginning_is_read_in_parts_into_a_cache_too(model_of, tokenizer, monkeypatch, name):  # noqa: F811
    """Windows, too, which forget what is behind them."""
    monkeypatch.setattr(shared_prefix, "packing_kernels", lambda model: None)
    asked = mmlu_requests(tokenizer, shots=5)
    runs_out = lambda shape, done: shape[1] > 130  # noqa: E731
    plenty, little = asked_twice(model_of(name), tokenizer, runs_out, asked)
    assert tokens_read(little) == tokens_read(plenty)


@pytest.mark.parametrize("passes", [0, 1, 2])
def test_a_row_that_is_too_long_is_halved(model_of, tokenizer, passes):  # noqa: F811
    asked = uneven_requests(40)
    plenty, little = asked_twice(model_of("llama"), tokenizer, runs_out_after(passes, 150), asked)
    assert tokens_read(little) == tokens_read(plenty)


def sequences_read(machine):
    return sum(rows for rows, _ in machine.read)


@pytest.mark.parametrize("passes", [0, 1, 2])
@pytest.mark.parametrize("name", ["gemma3", "bloom"])
def test_a_padded_batch_that_is_too_large_is_halved(model_of, tokenizer, name, passes):  # noqa: F811
    few = lambda shape, done: done >= passes and shape[0] > 2  # noqa: E731
    plenty, little = asked_twice(model_of(name), tokenizer, few, uneven_requests(40))
    assert sequences_read(little) == sequences_read(plenty)


@pytest.mark.parametrize("passes", [0, 1, 2])
@pytest.mark.parametrize(("kind", "name"), [(SharedPrefixLM, "mamba"), (FittedHFLM, "llama")])
def test_a_batch_of_lm_evals_own_code_is_halved(model_of, tokenizer, kind, name, passes):  # noqa: F811
    few = lambda shape, done: done >= passes and shape[0] > 2  # noqa: E731
    asked = uneven_requests(40)
    plenty, little = asked_twice(model_of(name), tokenizer, few, asked, kind)
    assert sequences_read(little) == sequences_read(plenty)


def test_a_batch_for_rolling_likelihood_is_halved(model_of, tokenizer):  # noqa: F811
    asked = [Instance("loglikelihood_rolling", {}, ("the question was " * n,), 0) for n in (9, 20)]
    found = []
    for most in (99, 2):
        lm = lm_of(model_of("llama"), tokenizer, max_length=16)
        with small_machine(lm.model, lambda shape, done, m=most: shape[0] > m) as machine:
            found.append((lm.loglikelihood_rolling(asked, disable_tqdm=True), machine))
    (whole, plenty), (halved, little) = found
    assert plenty.failed == 0 < little.failed
    assert halved == pytest.approx(whole, abs=1e-4)
    assert sequences_read(little) == sequences_read(plenty)


def tasks(count=9):
    """Return requests to generate, of two ways."""
    ways = ({"until": ["zz"], "max_gen_toks": 5}, {"until": ["zz"], "max_gen_toks": 8})
    texts = ["the question was " * n + f"{n} =" for n in range(1, count + 1)]
    return [
        Instance("generate_until", {}, (text, ways[at % 2]), 0) for at, text in enumerate(texts)
    ]


def prompts(count=9):
    """Return requests for greedy answers, of two lengths."""
    texts = ["the question was " * n + f"{n} =" for n in range(1, count + 1)]
    return [GreedyRequest(text, 5 + 3 * (at % 2)) for at, text in enumerate(texts)]


ANSWERING = {
    "lm-eval's": (FittedHFLM, "generate_until", tasks()),
    "lm-eval's, behind shared prefixes": (SharedPrefixLM, "generate_until", tasks()),
    "greedy": (SharedPrefixLM, "greedy_answers", prompts()),
}
WHEN = {
    "reading prompts": lambda shape, done: shape[0] > 2 and shape[1] > 1,
    "in the middle": lambda shape, done: shape[0] > 2 and shape[1] == 1 and done > 3,
    "in the middle of a later batch": lambda shape, done: shape[0] > 2 and done > 7,
}


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("name", ["llama", "gemma3"])
@pytest.mark.parametrize("way", ANSWERING)
def test_answers_that_are_generated_survive(model_of, tokenizer, monkeypatch, way, name, when):  # noqa: F811
    """Those of lm-eval and of transformers; ours are tested in test_generation.py."""
    monkeypatch.setattr(SharedPrefixLM, "_decodes", lambda lm: False)
    kind, method, asked = ANSWERING[way]
    model = model_of(name)
    found, generated = [], []
    generate = type(model).generate

    def counted(self, inputs=None, **options):
        output = generate(self, inputs, **options)
        generated.append(len(output))
        return output

    monkeypatch.setattr(type(model), "generate", counted)
    for fails in (lambda shape, done: False, WHEN[when]):
        lm = lm_of(model, tokenizer, kind)
        with small_machine(model, fails) as machine:
            found.append((getattr(lm, method)(asked, disable_tqdm=True), machine.failed))
        assert sum(generated) == len(asked)  # each once
        generated.clear()
    (whole, never), (halved, failures) = found
    assert never == 0 < failures
    assert halved == whole
    assert len({str(reply) for reply in whole}) > 1


def test_answers_that_are_drawn_come_in_batches_of_one_size(model_of, tokenizer):  # noqa: F811
    """What is drawn depends on what else is in a batch, so memory must not decide."""
    way = {"until": ["zz"], "max_gen_toks": 2, "do_sample": True, "temperature": 1.0}
    asked = [Instance("generate_until", {}, (f"{n} =", way), 0) for n in range(40)]
    lm = lm_of(model_of("llama"), tokenizer)
    with small_machine(lm.model, lambda shape, done: False) as machine:
        lm.generate_until(asked, disable_tqdm=True)
    assert [rows for rows, width in machine.read if width > 1] == [16, 16, 8]


def test_a_bound_of_the_users_holds_for_what_is_padded(model_of, tokenizer):  # noqa: F811
    lm = lm_of(model_of("gemma3"), tokenizer, batch_size=3)
    with small_machine(lm.model, lambda shape, done: False) as machine:
        lm.loglikelihood(uneven_requests(40), disable_tqdm=True)
        lm.generate_until(tasks(), disable_tqdm=True)
        lm.greedy_answers(prompts(), disable_tqdm=True)
    assert max(rows for rows, _ in machine.read) == 3


def test_weights_that_do_not_fit_are_an_error_in_words(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")

    monkeypatch.setattr(HFLM, "_create_model", fail)
    asked = loading(make_tiny_model(tmp_path / "tiny"))
    for backend in ("shared-prefix", "hf"):
        with pytest.raises(ScoreError, match=r"loaded in float32 \(CUDA out .* 9 GiB\.\)\. Give"):
            load_backend(backend, asked)


def test_a_job_whose_memory_never_suffices_says_so_and_keeps_what_was_answered(
    tmp_path, monkeypatch
):
    model = make_tiny_model(tmp_path / "tiny")
    for part, count in (("test", 40), ("dev", 5)):
        write_rows(tmp_path / f"mmlu/{part}/anatomy.jsonl", rows("anatomy", count))
    monkeypatch.setattr("scripts.lib.score.scoring._BLOCK_QUESTIONS", 10)
    asked = spec(subject="anatomy")
    expected = score(asked, model, tmp_path / "mmlu", tmp_path / "whole")[1]
    whole, blocks = SharedPrefixLM.loglikelihood, itertools.count()

    def breaks(self, requests, **options):
        if next(blocks) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")
        return whole(self, requests, **options)

    monkeypatch.setattr(SharedPrefixLM, "loglikelihood", breaks)
    with pytest.raises(ScoreError, match=r"single question of anatomy .* is kept"):
        score(asked, model, tmp_path / "mmlu", tmp_path / "broken")
    assert score(asked, model, tmp_path / "mmlu", tmp_path / "broken")[1] == expected
    assert next(blocks) == 5  # two blocks of the first start, one that failed, two of the second
