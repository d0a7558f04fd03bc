"""Properties of greedy answers that say whether they ended."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GenerationConfig,
    GPT2Config,
    LlamaConfig,
)

from scripts.lib.errors import ScoreError
from scripts.lib.questions import requests as answering
from scripts.lib.questions.prompt_tokens import check_lengths, tokens_needed
from scripts.lib.questions.question import Question
from scripts.lib.questions.requests import GreedyAnswer, GreedyRequest, greedy_answers
from scripts.lib.questions.text_encoder import TextEncoder
from scripts.lib.score.shared_prefix import SharedPrefixLM
from tests.tiny_model import make_tiny_model, make_tokenizer

# Weights this large, and outputs of their own, make a random model say something else than the last
# character it read.
WILD = {"initializer_range": 0.5, "tie_word_embeddings": False}
SIZES = WILD | {"hidden_size": 32, "num_attention_heads": 4}
LAYERS = {"intermediate_size": 64, "num_hidden_layers": 2, "num_key_value_heads": 2}
ARCHITECTURES = {
    "llama": (LlamaConfig, SIZES | LAYERS),
    # Learnt positions, so padding that shifts them shows.
    "gpt2": (GPT2Config, WILD | {"n_embd": 32, "n_head": 4, "n_layer": 2}),
    "gemma2": (Gemma2Config, SIZES | LAYERS | {"head_dim": 8, "sliding_window": 8}),
}
PROMPTS = [f"<|im_start|>user\n{'word ' * n}<|im_end|>\n" for n in (1, 9, 4, 0, 30)]
LENGTH = 12


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


def talker(name, tokenizer):
    torch.manual_seed(3)
    config, sizes = ARCHITECTURES[name]
    made = config(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **sizes)
    return AutoModelForCausalLM.from_config(made).eval()


def tokens_by_hand(model, tokenizer, prompt, ends=(), length=LENGTH):
    """Choose the likeliest token, again and again, without cache, padding or generate()."""
    tokens = tokenizer.encode(prompt, add_special_tokens=False)
    new = []
    with torch.inference_mode():
        while len(new) < length and not set(new) & set(ends):
            new.append(int(model(torch.tensor([tokens + new])).logits[0, -1].argmax()))
    return new


def by_hand(model, tokenizer, prompt, ends, length=LENGTH):
    new = tokens_by_hand(model, tokenizer, prompt, ends, length)
    ended = new[-1] in ends
    said = new[:-1] if ended else new
    return GreedyAnswer(tokenizer.decode(said), ended, len(said))


def some_ends(model, tokenizer):
    """Return a token that comes in some answers and not in others."""
    said = [tokens_by_hand(model, tokenizer, prompt) for prompt in PROMPTS]
    return [next(t for one in said for t in one if any(t not in other for other in said))]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_batch_answers_as_each_prompt_alone_does(name, tokenizer):
    model = talker(name, tokenizer)
    ends = some_ends(model, tokenizer)
    expected = [by_hand(model, tokenizer, prompt, ends) for prompt in PROMPTS]
    assert {answer.ended for answer in expected} == {True, False}
    for size in (1, 2, len(PROMPTS)):
        options = {"ends": ends, "max_new_tokens": LENGTH, "batch_size": size}
        assert greedy_answers(model, tokenizer, PROMPTS, **options) == expected


def test_an_end_token_at_the_very_limit_still_ends_the_answer(tokenizer):
    model = talker("llama", tokenizer)
    said = tokens_by_hand(model, tokenizer, PROMPTS[1])
    last = next(at for at, token in enumerate(said) if at and token not in said[:at])
    options = {"ends": [said[last]], "batch_size": 1}
    found = [
        greedy_answers(model, tokenizer, [PROMPTS[1]], max_new_tokens=length, **options)[0]
        for length in (last, last + 1)
    ]
    assert [(answer.ended, answer.tokens) for answer in found] == [(False, last), (True, last)]


def test_a_published_generation_config_neither_samples_nor_penalises(tokenizer):
    model = talker("llama", tokenizer)
    expected = [by_hand(model, tokenizer, prompt, (2,)) for prompt in PROMPTS]
    wild = GenerationConfig(do_sample=True, temperature=5.0, repetition_penalty=9.0, min_length=99)
    model.generation_config = wild
    options = {"ends": [2], "max_new_tokens": LENGTH, "batch_size": 3}
    assert greedy_answers(model, tokenizer, PROMPTS, **options) == expected
    assert model.generation_config is wild


def test_no_second_beginning_of_text_is_added(tokenizer):
    from tokenizers.processors import TemplateProcessing

    adding = make_tokenizer()
    adding.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", adding.bos_token_id)]
    )
    assert adding.encode("a")[0] == adding.bos_token_id
    model = talker("llama", tokenizer)
    options = {"ends": [2], "max_new_tokens": LENGTH, "batch_size": 5}
    assert greedy_answers(model, adding, PROMPTS, **options) == greedy_answers(
        model, tokenizer, PROMPTS, **options
    )


def test_when_memory_runs_out_the_rest_is_asked_with_half_the_batch(tokenizer, monkeypatch, capsys):
    model = talker("llama", tokenizer)
    whole = answering._generate
    sizes = []

    def small_machine(model, tokenizer, prompts, *args):
        sizes.append(len(prompts))
        if len(prompts) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(model, tokenizer, prompts, *args)

    options = {"ends": [2], "max_new_tokens": LENGTH, "batch_size": 4}
    expected = greedy_answers(model, tokenizer, PROMPTS, **options)
    monkeypatch.setattr(answering, "_generate", small_machine)
    assert greedy_answers(model, tokenizer, PROMPTS, **options) == expected
    assert sizes == [4, 2, 1, 1, 1, 1, 1]
    assert "now 1 answers at once" in capsys.readouterr().err


def test_the_scoring_model_answers_requests_of_several_lengths_in_order(tmp_path):
    folder = make_tiny_model(tmp_path / "tiny")
    lm = SharedPrefixLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=2)
    requests = [GreedyRequest(prompt, 3 + n % 2) for n, prompt in enumerate(PROMPTS)]
    found = lm.greedy_answers(requests, disable_tqdm=True)
    expected = [
        by_hand(lm.model, lm.tokenizer, r.prompt, (lm.tokenizer.eos_token_id,), r.max_new_tokens)
        for r in requests
    ]
    assert found == expected


def test_a_prompt_too_long_for_its_answer_is_refused_before_the_model_is_loaded(tokenizer):
    request = GreedyRequest(PROMPTS[-1], LENGTH)
    question = Question(
        id="q:0",
        subject="q",
        prompt=request.prompt,
        doc={},
        shots=0,
        requests=(request,),
        task=None,
        grade=None,
    )
    length = len(tokenizer.encode(PROMPTS[-1], add_special_tokens=False)) + LENGTH
    texts = TextEncoder(tokenizer)
    assert tokens_needed(question, texts) == length
    check_lengths([question], texts, length)
    with pytest.raises(ScoreError, match="Lower `max_new_tokens`"):
        check_lengths([question], texts, length - 1)
