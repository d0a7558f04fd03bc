"""Properties of generation from shared prefixes, with lm-eval's `hf` as the yardstick."""

import random

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GenerationConfig,
    Glm4MoeLiteConfig,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    MixtralConfig,
    PhiConfig,
    Qwen2Config,
    Qwen3Config,
)

from scripts.lib.questions.prompts import load_tokenizer
from scripts.lib.questions.requests import GreedyRequest, greedy_answers
from scripts.lib.score import decoding, generation, shared_prefix
from scripts.lib.score.shared_prefix import SharedPrefixLM
from tests.tiny_model import make_tiny_model

# Weights this large, and outputs of their own, make a random model say many things.
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 1024,
    "initializer_range": 0.3,
    "tie_word_embeddings": False,
}
GROUPED = SIZES | {"num_key_value_heads": 2}
WINDOW = {"head_dim": 8, "query_pre_attn_scalar": 8}

# Those that are answered together.
TOGETHER = {
    "llama": (LlamaConfig, GROUPED),
    "qwen2": (Qwen2Config, GROUPED),
    "qwen3": (Qwen3Config, GROUPED | {"head_dim": 16}),
    "mixtral": (MixtralConfig, GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "gpt2": (GPT2Config, SIZES),
    "phi": (PhiConfig, SIZES),
    "mistral": (MistralConfig, GROUPED | {"sliding_window": 900}),
    "gemma3": (Gemma3TextConfig, GROUPED | WINDOW | {"sliding_window": 900}),
}
# Keys and values are as wide as each other, and made from what is cached.
LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 4,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
}
# Those that `hf` answers: windows, capped attention, attention of their own, and no attention.
BY_HF = {
    "short-window": (MistralConfig, GROUPED | {"sliding_window": 24}),
    "gemma2": (Gemma2Config, GROUPED | WINDOW | {"sliding_window": 24}),
    "short-gemma3": (
        Gemma3TextConfig,
        GROUPED | WINDOW | {"sliding_window": 24, "sliding_window_pattern": 3},
    ),
    "bloom": (
        BloomConfig,
        {"hidden_size": 32, "n_layer": 3, "n_head": 4, "initializer_range": 0.3},
    ),
    "latent": (Glm4MoeLiteConfig, SIZES | LATENT),
    "mamba": (MambaConfig, {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
}
LENGTH = 24


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")
    return load_tokenizer(folder, chat_template=True)


@pytest.fixture(autouse=True)
def one_thread():
    """Models this small lose more by waiting for a second thread than it saves them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model_of(tokenizer):
    made = {}

    def make(name):
        if name not in made:
            kind, sizes = (TOGETHER | BY_HF)[name]
            special = {
                "bos_token_id": tokenizer.bos_token_id,
                "eos_token_id": tokenizer.eos_token_id,
                "pad_token_id": tokenizer.pad_token_id,
            }
            torch.manual_seed(1)
            config = kind(vocab_size=len(tokenizer), **sizes, **special)
            made[name] = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        return made[name]

    return make


@pytest.fixture
def llama(model_of):
    model = model_of("llama")
    own = model.generation_config
    yield model
    model.generation_config = own


def prompts(count=14):
    """Return prompts of three beginnings and of none, with ends of many lengths."""
    draw = random.Random(5)
    beginnings = ["", "the question was " * 8, "one example, and its answer: " * 6]
    return [
        beginnings[at % 3] + "".join(draw.choices("ABCD ", k=draw.randrange(1, 60))) + "="
        for at in range(count)
    ]


def requests_of(texts, **options):
    said = {"until": ["\n"], "max_gen_toks": LENGTH, "do_sample": False} | options
    return [Instance("generate_until", {}, (text, dict(said)), at) for at, text in enumerate(texts)]


def lm_of(kind, model, tokenizer, *, batch_size=4, **options):
    return kind(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, **options)


def said_by(kind, model, tokenizer, texts, *, batch_size=4, **options):
    lm = lm_of(kind, model, tokenizer, batch_size=batch_size)
    return lm.generate_until(requests_of(texts, **options), disable_tqdm=True)


@pytest.fixture
def by_hf(monkeypatch):
    """Return how many requests `hf` itself has answered."""
    inherited, counts = HFLM.generate_until, []

    def counted(lm, requests, disable_tqdm=False):
        counts.append(len(requests))
        return inherited(lm, requests, disable_tqdm=disable_tqdm)

    monkeypatch.setattr(HFLM, "generate_until", counted)
    return lambda: sum(counts)


@pytest.mark.parametrize("name", TOGETHER)
def test_texts_are_those_of_hf(name, model_of, tokenizer, by_hf):
    texts = prompts()
    ours = said_by(SharedPrefixLM, model_of(name), tokenizer, texts)
    assert by_hf() == 0
    assert len(set(ours)) > 3
    for size in (1, 4):
        assert ours == said_by(HFLM, model_of(name), tokenizer, texts, batch_size=size)


@pytest.mark.parametrize("name", BY_HF)
def test_what_is_not_attention_over_the_whole_past_is_left_to_hf(name, model_of, tokenizer, by_hf):
    texts = prompts(5)
    ours = said_by(SharedPrefixLM, model_of(name), tokenizer, texts)
    assert by_hf() == len(texts)
    assert ours == said_by(HFLM, model_of(name), tokenizer, texts)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3"])
def test_texts_are_the_same_where_there_is_no_kernel_of_the_processor(
    name, model_of, tokenizer, by_hf, monkeypatch
):
    expected = said_by(HFLM, model_of(name), tokenizer, prompts())
    monkeypatch.setattr(shared_prefix, "packing_kernels", lambda model: None)
    monkeypatch.setattr(decoding, "_flash", decoding.attend_by_products)
    assert said_by(SharedPrefixLM, model_of(name), tokenizer, prompts()) == expected
    assert by_hf() == len(prompts())


def test_a_bound_on_padded_batches_is_kept(llama, tokenizer, monkeypatch):
    monkeypatch.setattr(shared_prefix, "packing_kernels", lambda model: None)
    sizes, read = [], generation.read_padded_cache

    def counted(model, prefix, rests):
        sizes.append(len(rests))
        return read(model, prefix, rests)

    monkeypatch.setattr(generation, "read_padded_cache", counted)
    expected = said_by(HFLM, llama, tokenizer, prompts())
    assert said_by(SharedPrefixLM, llama, tokenizer, prompts(), batch_size=2) == expected
    assert max(sizes) == 2


def test_what_prompts_have_in_common_is_read_once_and_kept_once(llama, tokenizer, monkeypatch):
    read = []
    hook = llama.register_forward_pre_hook(
        lambda model, args, told: read.append(told["input_ids"].numel()), with_kwargs=True
    )
    shared = "the question was " * 30
    texts = [shared + f"{number} =" for number in range(20)]
    said_by(SharedPrefixLM, llama, tokenizer, texts, max_gen_toks=1)
    hook.remove()
    common, whole = (len(tokenizer.encode(text)) for text in (shared, texts[-1]))
    assert common <= sum(read) <= common + len(texts) * (whole - common + 2)
    kept, step = [], generation.read_next

    def watched(model, slots, prefixes, tokens):
        kept.append(slots.capacity)
        return step(model, slots, prefixes, tokens)

    monkeypatch.setattr(generation, "read_next", watched)
    said_by(SharedPrefixLM, llama, tokenizer, texts, max_gen_toks=8)
    assert 0 < max(kept) < common


@pytest.mark.parametrize("name", ["llama", "latent"])
def test_memory_of_answers_is_free_for_what_is_asked_next(name, model_of, tokenizer):
    lm = lm_of(SharedPrefixLM, model_of(name), tokenizer)
    lm.generate_until(requests_of(prompts(4)), disable_tqdm=True)
    assert lm._generator._slots.layers == []
    assert not lm._generator._now and not lm._generator._waiting


def test_an_answer_does_not_depend_on_what_else_is_asked(llama, tokenizer):
    texts = prompts()
    alone = [said_by(SharedPrefixLM, llama, tokenizer, [text])[0] for text in texts]
    assert said_by(SharedPrefixLM, llama, tokenizer, texts) == alone
    assert said_by(SharedPrefixLM, llama, tokenizer, texts[::-1]) == alone[::-1]


def test_who_ended_makes_room_for_who_waits(llama, tokenizer, monkeypatch):
    monkeypatch.setattr(generation, "_MOST_ANSWERS", {"cpu": 3})
    sizes, step = [], generation.read_next

    def counted(model, slots, prefixes, tokens):
        sizes.append(len(tokens))
        return step(model, slots, prefixes, tokens)

    monkeypatch.setattr(generation, "read_next", counted)
    lengths = [2, 16, 16, 2, 2, 2, 2, 2]
    texts = prompts(len(lengths))
    lm = lm_of(SharedPrefixLM, llama, tokenizer)
    asked = [requests_of([t], max_gen_toks=n)[0] for t, n in zip(texts, lengths, strict=True)]
    found = lm.generate_until(asked, disable_tqdm=True)
    assert found == lm_of(HFLM, llama, tokenizer).generate_until(asked, disable_tqdm=True)
    assert max(sizes) == 3
    # One after the other in threes would be 15 + 15 + 1 steps.
    assert len(sizes) <= 1 + sum(lengths) - len(lengths)
    assert len(sizes) < 31


def pieces_of(said):
    """Return texts that lie across the middle of what was said."""
    middle = len(said) // 2
    return [said[middle - size : middle + size] for size in (1, 2, 4)]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_stop_texts_may_span_tokens(llama, tokenizer, batch_size):
    texts = prompts()
    whole = said_by(HFLM, llama, tokenizer, texts, until=[])
    stopped = 0
    for piece in pieces_of(next(text for text in whole if len(text) > 16)):
        until = [piece, "never said", *pieces_of(max(whole, key=len))[:1]]
        ours = said_by(SharedPrefixLM, llama, tokenizer, texts, until=until)
        assert ours == said_by(HFLM, llama, tokenizer, texts, until=until, batch_size=batch_size)
        stopped += ours != whole
    assert stopped == 3


def test_no_token_is_computed_after_a_stop_text(llama, tokenizer, monkeypatch):
    texts = prompts(1)
    (whole,) = said_by(SharedPrefixLM, llama, tokenizer, texts, until=[])
    steps, step = [], generation.read_next
    monkeypatch.setattr(generation, "read_next", lambda *args: steps.append(1) or step(*args))
    (said,) = said_by(SharedPrefixLM, llama, tokenizer, texts, until=[whole[4:6]])
    assert whole.startswith(said)
    assert len(steps) <= 8 < LENGTH


def new_tokens(model, tokenizer, text):
    """Return what a model goes on with, without cache or batch."""
    tokens, new = tokenizer.encode(text), []
    with torch.inference_mode():
        for _ in range(LENGTH):
            new.append(int(model(torch.tensor([tokens + new])).logits[0, -1].argmax()))
    return new


def test_any_of_several_end_tokens_ends_an_answer(llama, tokenizer):
    texts = prompts()
    new = [new_tokens(llama, tokenizer, text) for text in texts]
    ends = [tokenizer.eos_token_id, new[0][0], new[1][5]]
    llama.generation_config = GenerationConfig(
        eos_token_id=ends, pad_token_id=tokenizer.pad_token_id
    )
    ours = said_by(SharedPrefixLM, llama, tokenizer, texts, until=[])
    assert ours == said_by(HFLM, llama, tokenizer, texts, until=[], batch_size=1)
    assert ours[0] == tokenizer.decode(new[0][:1])


def test_an_answer_may_be_empty(llama, tokenizer):
    texts = prompts(4)
    first = new_tokens(llama, tokenizer, texts[0])[0]
    options = {"until": [tokenizer.decode([first])]}
    ours = said_by(SharedPrefixLM, llama, tokenizer, texts, **options)
    assert ours[0] == ""
    assert ours == said_by(HFLM, llama, tokenizer, texts, **options)


def test_a_prompt_longer_than_the_context_is_cut_from_the_left(llama, tokenizer, by_hf):
    texts = ["the beginning " * 200 + "was long=", *prompts(3)]
    assert len(tokenizer.encode(texts[0])) > 1024
    ours = said_by(SharedPrefixLM, llama, tokenizer, texts)
    assert by_hf() == 0
    assert ours == said_by(HFLM, llama, tokenizer, texts, batch_size=1)


@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": True, "temperature": 0.7},
        {"temperature": 0.7, "do_sample": None},
        {"num_beams": 2},
        {"repetition_penalty": 1.5},
        {"min_new_tokens": 4},
        {"no_repeat_ngram_size": 1},
    ],
)
def test_what_is_more_than_the_likeliest_token_is_left_to_hf(llama, tokenizer, by_hf, options):
    texts = prompts(4)
    options = {name: value for name, value in options.items() if value is not None}
    if "temperature" in options and "do_sample" not in options:
        options["do_sample"] = True
    found = []
    for kind in (SharedPrefixLM, HFLM):
        torch.manual_seed(2)
        found.append(said_by(kind, llama, tokenizer, texts, **options))
    assert by_hf() == 2 * len(texts)
    assert found[0] == found[1]


def test_a_penalty_of_the_models_own_config_is_left_to_hf(llama, tokenizer, by_hf):
    llama.generation_config = GenerationConfig(
        repetition_penalty=1.3, eos_token_id=tokenizer.eos_token_id
    )
    found = [said_by(kind, llama, tokenizer, prompts(4)) for kind in (SharedPrefixLM, HFLM)]
    assert by_hf() == 8
    assert found[0] == found[1]


def test_greedy_arguments_that_change_nothing_are_answered_together(llama, tokenizer, by_hf):
    llama.generation_config = GenerationConfig(
        do_sample=True, temperature=0.6, top_p=0.9, top_k=20, eos_token_id=tokenizer.eos_token_id
    )
    options = {"do_sample": False, "temperature": 0.0, "top_p": 1.0}
    ours = said_by(SharedPrefixLM, llama, tokenizer, prompts(), **options)
    assert by_hf() == 0
    assert ours == said_by(HFLM, llama, tokenizer, prompts(), **options)


def test_answers_of_greedy_requests_are_those_of_transformers(llama, tokenizer):
    texts = prompts()
    lm = lm_of(SharedPrefixLM, llama, tokenizer)
    ends = [tokenizer.eos_token_id, new_tokens(llama, tokenizer, texts[1])[5]]
    llama.generation_config = GenerationConfig(eos_token_id=ends)
    asked = [GreedyRequest(text, LENGTH) for text in texts]
    options = {"ends": ends, "max_new_tokens": LENGTH, "batch_size": 4}
    expected = greedy_answers(llama, tokenizer, texts, **options)
    assert lm.greedy_answers(asked, disable_tqdm=True) == expected
    assert {answer.ended for answer in expected} == {True, False}


def test_answers_are_told_to_lm_evals_cache(llama, tokenizer):
    lm = lm_of(SharedPrefixLM, llama, tokenizer)
    told = []
    lm.cache_hook.add_partial = lambda kind, asked, said: told.append((kind, asked, said))
    asked = requests_of(prompts(3))
    found = lm.generate_until(asked, disable_tqdm=True)
    expected = [
        ("generate_until", request.args, said) for request, said in zip(asked, found, strict=True)
    ]
    assert sorted(map(str, told)) == sorted(map(str, expected))
