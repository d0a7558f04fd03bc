"""Word by word a text becomes the tokens that the tokenizer makes of it as a whole."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from scripts.lib.data import word_cache
from scripts.lib.data.encoding import Encoder
from scripts.lib.data.word_cache import PATTERNS, cuts_at_words
from tests.tiny_model import make_tokenizer

CORPUS = [
    "It's the answer:  1234567 of 42\n\n  and the questions' words, they'll say, were\tthese.\r\n",
    "naïve café 日本語の 🙂 x<|im_end|>y (a) [b] {c} \n a\u0301e\u0301 İ ﬁ ½ Ⅷ ٣ \u00a0 \u2003end",
]
MARKS = ["<|im_start|>", "<|im_end|>", "<tool>"]


def tokenizer_of(*steps, normalizer=None):
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(list(steps)) if len(steps) > 1 else steps[0]
    backend.decoder = decoders.ByteLevel()
    if normalizer:
        backend.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=MARKS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS * 9, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def byte_level(**more):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, **more)


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


KNOWN = [
    *(
        (f"pattern {n}", [split(one), byte_level(use_regex=False)])
        for n, one in enumerate(sorted(PATTERNS))
    ),
    ("as GPT-2", [byte_level()]),
    ("as SmolLM2", [pre_tokenizers.Digits(individual_digits=True), byte_level()]),
]
PIECES = st.one_of(
    st.sampled_from(
        [
            *" \n\t.,'",
            "  ",
            "\r\n",
            " \n ",
            "'s",
            "'LL",
            "12345",
            *MARKS,
            *"aé日🙂½٣\u0301\u00a0\u3000\ufffd",
        ]
    ),
    st.text("abcXYZ' ,.-0123456789", max_size=8),
    st.text(st.characters(codec="utf-8"), max_size=4),
)
TEXTS = st.lists(PIECES, max_size=30).map("".join)


@pytest.mark.parametrize(("name", "steps"), KNOWN, ids=[name for name, _ in KNOWN])
@pytest.mark.parametrize("normalizer", [None, normalizers.NFC()], ids=["as it is", "NFC"])
def test_word_by_word_gives_the_tokens_and_places_of_the_whole(name, steps, normalizer):
    tokenizer = tokenizer_of(*steps, normalizer=normalizer)
    encoder = Encoder(tokenizer)
    cache = word_cache.word_cache(encoder.backend)

    @settings(
        max_examples=150,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(TEXTS)
    def holds(text):
        (whole,) = encoder.encode([text])
        found = cache.encode(text)
        assert found is None or found == whole
        if encoder.decode([whole.ids]) != [text]:
            assert found is None
        elif text.isascii():
            assert found == whole

    holds()
    for text in CORPUS:
        assert cache.encode(text) in (None, encoder.encode([text])[0])


def test_what_is_forgotten_is_made_again(monkeypatch):
    monkeypatch.setattr(word_cache, "CACHED_PIECES", 3)
    encoder = Encoder(make_tokenizer())
    cache = word_cache.word_cache(encoder.backend)
    for text in ("a b c d e f", "f e d c b a", "a b c d e f"):
        assert cache.encode(text) == encoder.encode([text])[0]


def changed(**changes):
    content = json.loads(make_tokenizer().backend_tokenizer.to_str())
    return content | changes


@pytest.mark.parametrize(
    "content",
    [
        changed(pre_tokenizer={"type": "Metaspace", "prepend_scheme": "always"}),
        changed(pre_tokenizer=None),
        changed(pre_tokenizer={"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}),
        changed(pre_tokenizer={"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}),
        changed(normalizer={"type": "Lowercase"}),
        changed(decoder={"type": "Metaspace"}),
        changed(model={"type": "Unigram"}),
        changed(model={"type": "BPE", "dropout": 0.1}),
    ],
)
def test_whoever_is_not_known_to_cut_at_words_is_asked_for_wholes(content):
    assert cuts_at_words(changed())
    assert not cuts_at_words(content)


def test_an_added_token_that_takes_spaces_with_it_is_not_for_words():
    content = changed()
    content["added_tokens"][0]["lstrip"] = True
    assert not cuts_at_words(content)
