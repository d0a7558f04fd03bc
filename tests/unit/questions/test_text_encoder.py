"""Texts are encoded once, in batches, and as lm-eval's `hf` encodes them."""

import hashlib
import random
import struct

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from scripts.lib.benchmarks.mmlu.questions import mmlu_task
from scripts.lib.questions import text_encoder
from scripts.lib.questions.choices import grade_choices
from scripts.lib.questions.line_reading import reads_by_lines
from scripts.lib.questions.prompt_tokens import check_lengths, encode_questions, with_fewer_shots
from scripts.lib.questions.prompts import Chat, load_tokenizer
from scripts.lib.questions.tasks import ask
from scripts.lib.questions.text_encoder import TextEncoder
from scripts.lib.score.shared_prefix import SharedPrefixLM
from tests.tiny_model import CHATML, make_tiny_model
from tests.unit.scoring_data import rows, score, spec, write_benchmark
from tests.unit.tokenizer_families import BY_LINES, CORPUS, WHOLE, bytewise

FAMILIES = BY_LINES | WHOLE


@pytest.fixture(scope="module")
def tokenizer_of():
    made = {}

    def make(name):
        if name not in made:
            made[name] = FAMILIES[name]()
            made[name].chat_template = CHATML
        return made[name]

    return make


def lm_of(kind, tokenizer, **options):
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1}
    config = LlamaConfig(vocab_size=len(tokenizer), num_hidden_layers=1, **sizes)
    model = AutoModelForCausalLM.from_config(config).eval()
    return kind(pretrained=model, tokenizer=tokenizer, batch_size=4, **options)


def requests_read(lm, requests, monkeypatch):
    """Return context and continuation tokens of each request, as the model is given them."""
    read = []

    def note(given, **_):
        read.extend((list(context), list(own)) for _, context, own in given)
        return [(0.0, False)] * len(given)

    monkeypatch.setattr(lm, "_loglikelihood_tokens", note)
    lm.loglikelihood(requests, disable_tqdm=True)
    return read


def mmlu_questions(tokenizer, *, shots, chat=False, count=5):
    test = rows("anatomy", count)
    test[0]["question"] = "Caf\u00e9 e\u0301 \u4e2d\u6587\n\n\nWhich?\r\nThis \U0001f642 \n one"
    test[1]["choices"] = [" a ", "<|begin|>", "x\n\ny", "\u00e9"]
    dev = rows("anatomy", shots, salt="Example of ")
    renderer = Chat(tokenizer) if chat else None
    task = mmlu_task("anatomy", test, dev, shots=shots)
    return list(ask(task, "anatomy", chat=renderer, grade=grade_choices))


def odd_requests():
    """Return contexts and continuations as tasks of lm-eval have them, and worse."""
    contexts = [
        "the question was",
        "The answer is ",
        "A\nB\nC\n\n",
        "<|begin|>The\nanswer",
        "<|user|>\nThe question\nA",
        "<|beg",
        "   ",
        "\nAnswer:",
        "Answer:\n",
        "Find x\n  \u00e9\n\u4e2d\nThe \u0301",
    ]
    ends = [" A", " B", "yes it is", "Yes\nNo", "\nB. 3", " trailing ", "in|>x", "\u0301e", "s"]
    empty = [("", "the answer"), ("", " A")]
    pairs = [(context, end) for context in contexts for end in ends] + empty
    return [Instance("loglikelihood", {}, pair, at) for at, pair in enumerate(pairs)]


WAYS = {"zero-shot": {"shots": 0}, "five-shot": {"shots": 5}, "chat": {"shots": 2, "chat": True}}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FAMILIES)
def test_the_model_is_asked_the_tokens_of_hf(tokenizer_of, monkeypatch, name, way):
    tokenizer = tokenizer_of(name)
    questions = mmlu_questions(tokenizer, **WAYS[way])
    requests = [r for q in questions for r in q.requests] + odd_requests()
    theirs = requests_read(lm_of(HFLM, tokenizer), requests, monkeypatch)
    ours = requests_read(lm_of(SharedPrefixLM, tokenizer), requests, monkeypatch)
    assert ours == theirs
    texts = TextEncoder(tokenizer)
    encode_questions(questions, texts, asked=True)
    given = requests_read(lm_of(SharedPrefixLM, tokenizer, texts=texts), requests, monkeypatch)
    assert given == theirs


def texts_of_lines(count):
    """Return texts of few characters in any order, line breaks and letters most of all."""
    draw = random.Random(7)
    pieces = ["\n", "\n", "\n\n", "A", "the", "B.", " ", "  ", "\r\n", "\t", "'s", "7", "12", "!"]
    pieces += ["\u0301", "\u00e9", "\u4e2d", "<|end|>", "<|begin|>", ".\n", "\u2028", "\u00a0", "|"]
    pieces += ["<|user|>", "<|user|>\n"]
    return ["".join(draw.choices(pieces, k=draw.randrange(1, 25))) for _ in range(count)] + CORPUS


@pytest.mark.parametrize("name", FAMILIES)
def test_a_text_has_its_own_tokens_whatever_lines_it_shares(tokenizer_of, name):
    tokenizer = tokenizer_of(name)
    texts, asked = TextEncoder(tokenizer), texts_of_lines(400)
    for opened in (False, True):
        expected = [tokenizer.encode(text, add_special_tokens=opened) for text in asked]
        texts.encode(texts=[(text, opened) for text in asked])
        assert [list(texts.text(text, opened=opened)) for text in asked] == expected


@pytest.mark.parametrize("split", sorted(set(GGUF_PRE_TOKENIZER_SPLITS.values())))
def test_the_patterns_of_published_tokenizers_keep_lines_apart(split):
    """They are those that transformers gives models which come without a tokenizer.json."""
    tokenizer = bytewise(split=split)
    assert reads_by_lines(tokenizer)
    texts, asked = TextEncoder(tokenizer), texts_of_lines(400)
    texts.encode(texts=[(text, True) for text in asked])
    assert [list(texts.text(text, opened=True)) for text in asked] == tokenizer(asked)["input_ids"]


def test_a_tokenizer_that_draws_its_merges_reads_texts_whole():
    tokenizer = bytewise()
    tokenizer.backend_tokenizer.model.dropout = 0.5
    assert not reads_by_lines(tokenizer)


@pytest.mark.parametrize("name", FAMILIES)
def test_lines_are_encoded_alone_where_that_is_known_to_be_the_same(tokenizer_of, name):
    assert reads_by_lines(tokenizer_of(name)) == (name in BY_LINES)


@pytest.mark.parametrize("name", sorted(WHOLE.keys() - {"slow", "unigram", "merges-across-lines"}))
def test_without_that_knowledge_lines_would_get_other_tokens(tokenizer_of, monkeypatch, name):
    tokenizer = tokenizer_of(name)
    monkeypatch.setattr(text_encoder, "reads_by_lines", lambda _: True)
    own = ["x\n\nAnswer: a\nB. 3", "x\nA\u0301", "<|user|>\nThe answer"]
    texts, asked = TextEncoder(tokenizer), [*texts_of_lines(400), *own]
    found = [list(texts.text(text, opened=False)) for text in asked]
    assert found != [tokenizer.encode(text, add_special_tokens=False) for text in asked]


def test_a_tokenizer_that_puts_something_behind_texts_reads_them_whole(tokenizer_of):
    from tokenizers.processors import TemplateProcessing

    tokenizer = FAMILIES["gpt-2"]()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A <|end|>", special_tokens=[("<|end|>", 1)]
    )
    assert not reads_by_lines(tokenizer)
    assert reads_by_lines(FAMILIES["gpt-2"]())


# A job of scoring.


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def texts_given(monkeypatch):
    """Return a list that is filled with every text that a fast tokenizer is given."""
    given = []
    whole = PreTrainedTokenizerFast._encode_plus

    def note(self, text, *args, **options):
        given.extend([text] if isinstance(text, str) else text)
        return whole(self, text, *args, **options)

    monkeypatch.setattr(PreTrainedTokenizerFast, "_encode_plus", note)
    return given


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("by_lines", [True, False])
@pytest.mark.parametrize("changes", [{}, {"on_long_prompt": "fewer_shots"}])
def test_a_job_encodes_each_text_once(model, tmp_path, monkeypatch, chat, by_lines, changes):
    benchmark = write_benchmark(tmp_path / "mmlu")
    if not by_lines:
        monkeypatch.setattr(text_encoder, "reads_by_lines", lambda _: False)
    given = texts_given(monkeypatch)
    _, answers = score(spec(chat_template=chat, **changes), model, benchmark, tmp_path)
    # Probes of the tokenizer, and its template's control tokens, are not the questions'.
    asked = [text for text in given if "how much" in text or text.startswith("Answer")]
    assert len(asked) == len(set(asked))
    shared = [text for text in given if "Example of" in text]
    assert len(shared) == 2 * 2 if by_lines else len(shared) >= 5 * len(answers)


def test_texts_that_only_hf_reads_are_encoded_as_often_as_they_are_measured(
    model, tmp_path, monkeypatch
):
    tokenizer = load_tokenizer(model, chat_template=False)
    questions = mmlu_questions(tokenizer, shots=2)
    monkeypatch.setattr(text_encoder, "reads_by_lines", lambda _: False)
    given = texts_given(monkeypatch)
    texts = TextEncoder(tokenizer)
    encode_questions(questions, texts, asked=False)
    check_lengths(questions, texts, 2048)
    wholes = [question.prompt + question.requests[0].args[1] for question in questions]
    assert sorted(given) == sorted(wholes + [question.prompt for question in questions])


@pytest.mark.parametrize("name", FAMILIES)
def test_the_hash_is_of_every_token_in_four_bytes(tokenizer_of, name):
    tokenizer = tokenizer_of(name)
    questions = mmlu_questions(tokenizer, shots=2)
    texts = TextEncoder(tokenizer)
    encode_questions(questions, texts, asked=True)
    for question, found in zip(questions, check_lengths(questions, texts, 9999), strict=True):
        ids = tokenizer.encode(question.prompt + " A")
        packed = struct.pack(f"<{1 + len(ids)}I", len(ids), *ids)
        assert found == hashlib.sha256(packed).hexdigest()[:16]


def test_only_as_many_examples_are_left_out_as_must_be(tokenizer_of):
    tokenizer = tokenizer_of("llama-3")
    questions = mmlu_questions(tokenizer, shots=5)
    lengths = [len(tokenizer.encode(q.prompt + " A")) - 1 for q in questions]
    limit = (min(lengths) + max(lengths)) // 2
    found = with_fewer_shots(questions, TextEncoder(tokenizer), limit, asked=True)
    assert {question.shots for question in found} >= {4, 5}
    for before, after in zip(questions, found, strict=True):
        assert len(tokenizer.encode(after.prompt + " A")) - 1 <= limit
        while before.shots > after.shots:
            assert len(tokenizer.encode(before.prompt + " A")) - 1 > limit
            before = before.fewer()
        assert before.prompt == after.prompt
