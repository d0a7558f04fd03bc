"""Memory that runs out while text is generated: who has to wait loses nothing."""

import pytest
import torch
from lm_eval.models.huggingface import HFLM

from scripts.lib.score import decoding, generation
from scripts.lib.score.shared_prefix import SharedPrefixLM
from tests.unit.score.test_generation import (  # noqa: F401
    llama,
    lm_of,
    model_of,
    one_thread,
    prompts,
    requests_of,
    said_by,
    tokenizer,
)


def short_of_memory(monkeypatch, name, most):
    """Let a function of generation run out of memory over more sequences than *most*."""
    whole, sizes = getattr(generation, name), []

    def small(model, *args):
        sizes.append(len(args[-1]))
        if len(args[-1]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(model, *args)

    monkeypatch.setattr(generation, name, small)
    return sizes


@pytest.mark.parametrize("name", ["read_row_cache", "read_next"])
@pytest.mark.parametrize("most", [1, 3])
def test_when_memory_runs_out_fewer_are_answered_at_a_time(
    llama,  # noqa: F811
    tokenizer,  # noqa: F811
    monkeypatch,
    capsys,
    name,
    most,
):
    texts = prompts()
    expected = said_by(HFLM, llama, tokenizer, texts)
    sizes = short_of_memory(monkeypatch, name, most)
    assert said_by(SharedPrefixLM, llama, tokenizer, texts) == expected
    assert max(sizes) > most
    assert "out of memory" in capsys.readouterr().err


def test_when_there_is_no_room_to_read_one_more_others_wait(llama, tokenizer, monkeypatch):  # noqa: F811
    """Memory that holds three sequences at most, whoever they are."""
    texts = prompts()
    expected = said_by(HFLM, llama, tokenizer, texts)
    add = decoding.Slots.add

    def small(slots, sequences):
        if len(slots.lengths) + len(sequences) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        add(slots, sequences)

    monkeypatch.setattr(decoding.Slots, "add", small)
    assert said_by(SharedPrefixLM, llama, tokenizer, texts) == expected


def test_memory_of_those_who_wait_is_given_up(llama, tokenizer, monkeypatch):  # noqa: F811
    """Memory in which a step fits where nobody else's keys and values are."""
    texts = prompts()
    expected = said_by(HFLM, llama, tokenizer, texts)
    kept, step = [], generation.read_next

    def small(model, slots, prefixes, tokens):
        if len(tokens) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        found = step(model, slots, prefixes, tokens)
        kept.extend(keys.shape[0] for keys, _ in slots.layers)
        return found

    monkeypatch.setattr(generation, "read_next", small)
    assert said_by(SharedPrefixLM, llama, tokenizer, texts) == expected
    assert set(kept) == {1}


def test_memory_that_answers_give_up_is_there_to_read_with(llama, tokenizer, monkeypatch):  # noqa: F811
    """Memory that holds three sequences at most, those included that wait and are still there."""
    texts = prompts()
    expected = said_by(HFLM, llama, tokenizer, texts)
    lm = lm_of(SharedPrefixLM, llama, tokenizer)
    failed, read = [], generation.read_row_cache

    def small(model, prefix, rests):
        held = max((keys.shape[0] for keys, _ in lm._generator._slots.layers), default=0)
        if held + len(rests) > 3:
            failed.append((held, len(rests)))
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return read(model, prefix, rests)

    monkeypatch.setattr(generation, "read_row_cache", small)
    assert lm.generate_until(requests_of(texts), disable_tqdm=True) == expected
    assert (3, 1) in failed


def test_memory_for_few_tokens_is_kept_to(llama, tokenizer, monkeypatch):  # noqa: F811
    texts = prompts()
    expected = said_by(HFLM, llama, tokenizer, texts, max_gen_toks=100)
    monkeypatch.setattr(generation, "_EXPECTED_TOKENS", 8)
    lm = lm_of(SharedPrefixLM, llama, tokenizer)
    token_bytes = 3 * 2 * 2 * 8 * 4  # layers, keys and values, heads, width, size of a number
    monkeypatch.setattr(
        generation, "room_bytes", lambda device: int(600 * token_bytes / generation._SHARE)
    )
    most, step = [], generation.read_next

    def watched(model, slots, prefixes, tokens):
        found = step(model, slots, prefixes, tokens)
        assert slots.token_bytes == token_bytes
        most.extend(keys.shape[0] * keys.shape[2] for keys, _ in slots.layers)
        return found

    monkeypatch.setattr(generation, "read_next", watched)
    asked = requests_of(texts, max_gen_toks=100)
    assert lm.generate_until(asked, disable_tqdm=True) == expected
    assert max(most) <= 600


def test_a_single_prompt_that_does_not_fit_is_an_error(llama, tokenizer, monkeypatch):  # noqa: F811
    short_of_memory(monkeypatch, "read_row_cache", 0)
    with pytest.raises(torch.OutOfMemoryError):
        said_by(SharedPrefixLM, llama, tokenizer, prompts(3))
