"""Tiny models of many families, and what they are asked, for tests of shared prefixes."""

import random

import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import (
    AfmoeConfig,
    BloomConfig,
    CamembertConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    MixtralConfig,
    PhiConfig,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3Config,
)

from scripts.lib.benchmarks.mmlu.questions import mmlu_task
from scripts.lib.questions.choices import grade_choices
from scripts.lib.questions.prompts import Chat
from scripts.lib.questions.tasks import ask
from scripts.lib.score.shared_prefix import SharedPrefixLM
from tests.unit.scoring_data import rows

# Weights this large make every layer, position and window matter to the answer.
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 4096,
    "initializer_range": 0.3,
}
GROUPED = SIZES | {"num_key_value_heads": 2}
# Windows are shorter than any beginning of the tests, and of their ends.
WINDOW = {"head_dim": 8, "sliding_window": 24, "query_pre_attn_scalar": 8}

SHARING = {
    "llama": (LlamaConfig, GROUPED),
    "qwen2": (Qwen2Config, GROUPED),
    "qwen3": (Qwen3Config, GROUPED | {"head_dim": 16}),
    "mixtral": (MixtralConfig, GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "gpt-neox": (GPTNeoXConfig, SIZES),
    "gpt2": (GPT2Config, SIZES),
    "phi": (PhiConfig, SIZES),
    # Distances instead of positions, and an attention of its own.
    "bloom": (
        BloomConfig,
        {"hidden_size": 32, "n_layer": 3, "n_head": 4, "initializer_range": 0.3},
    ),
    "mistral": (MistralConfig, GROUPED | {"sliding_window": 24}),
    "gemma2": (Gemma2Config, GROUPED | WINDOW | {"final_logit_softcapping": 5.0}),
    "gemma3": (Gemma3TextConfig, GROUPED | WINDOW | {"sliding_window_pattern": 3}),
}
LONG_ROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "original_max_position_embeddings": 128,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
UNUSUAL = {
    # Its attention is not told of the window that its mask has.
    "hidden-window": (
        Qwen2MoeConfig,
        GROUPED
        | EXPERTS
        | {"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1},
    ),
    # Its first position is not 0.
    "late-positions": (CamembertConfig, SIZES | {"is_decoder": True}),
    # It takes for granted how what its attention returns lies in memory.
    "contiguous": (AfmoeConfig, GROUPED | EXPERTS | {"head_dim": 8}),
}
DYNAMIC_ROPE = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
NOT_SHARING = {
    "mamba": (MambaConfig, {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
    "longrope": (LlamaConfig, GROUPED | {"rope_parameters": LONG_ROPE}),
    "dynamic": (LlamaConfig, GROUPED | {"rope_parameters": DYNAMIC_ROPE}),
    "both-ways": (
        Gemma3TextConfig,
        GROUPED | WINDOW | {"use_bidirectional_attention": True},
    ),
}


def request(context, continuation):
    return Instance("loglikelihood", {}, (context, continuation), 0)


def mmlu_requests(tokenizer, *, shots, chat_template=False):
    """Return the requests of two subjects in turn, in lm-eval's words."""
    chat = Chat(tokenizer) if chat_template else None
    asked = []
    for subject, count in (("abstract_algebra", 4), ("anatomy", 3)):
        dev = rows(subject, 5, salt="Example of ")
        task = mmlu_task(subject, rows(subject, count), dev, shots=shots)
        asked.append(
            [r for q in ask(task, subject, chat=chat, grade=grade_choices) for r in q.requests]
        )
    return asked[0][:7] + asked[1] + asked[0][7:]


def uneven_requests(count=16):
    """Return requests whose beginnings, ends and continuations differ in length, some repeated."""
    draw = random.Random(5)
    beginnings = ["the question was " * n for n in (1, 4, 8)]
    beginnings.append(beginnings[-1] + "the answer is " * 3)
    asked = [
        request(
            draw.choice(beginnings) + "".join(draw.choices("ABCD ", k=draw.randrange(1, 40))) + "=",
            " " + "".join(draw.choices("abcd", k=draw.randrange(1, 12))),
        )
        for _ in range(count)
    ]
    # A context that is another request's context with a part of its continuation.
    nested = [request("the answer is " * 6 + end, " A B"[len(end) :]) for end in ("", " A")]
    return asked + nested + asked[:5] + [request("", "the answer"), request("A", "B")]


def replies(kind, model, tokenizer, requests, *, batch_size=4, **options):
    # The yardstick reads every request by itself: when two requests of unequal continuations share
    # all tokens but the last, the logits cache of lm-eval 0.4.13 scores the shorter continuation
    # at the longer one's first position.
    lm = kind(
        pretrained=model,
        tokenizer=tokenizer,
        batch_size=batch_size,
        logits_cache=False,
        **options,
    )
    return lm.loglikelihood(requests, disable_tqdm=True)


def assert_same(model, tokenizer, requests, *, batch_size=4, **options):
    theirs = replies(HFLM, model, tokenizer, requests, **options)
    ours = replies(SharedPrefixLM, model, tokenizer, requests, batch_size=batch_size, **options)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]
    assert [logprob for logprob, _ in ours] == pytest.approx(
        [logprob for logprob, _ in theirs], abs=1e-4, rel=0
    )
    return theirs


def rows_read(model, asked, tokenizer, **options):
    """Return the (rows, tokens) of what the model reads to answer."""
    read = []

    def note(_, args, kwargs):
        read.append(tuple((args[0] if args else kwargs["input_ids"]).shape))

    hook = model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        replies(SharedPrefixLM, model, tokenizer, asked, **options)
    finally:
        hook.remove()
    return read
