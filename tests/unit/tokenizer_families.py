"""Small tokenizers built as published families build theirs, for tests of how texts are encoded."""

import itertools

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, processors, trainers
from tokenizers import pre_tokenizers as splitting
from transformers import PreTrainedTokenizer, PreTrainedTokenizerFast

CORPUS = [
    "The following are multiple choice questions (with answers) about abstract algebra.\n\n"
    "Find the order of the factor group Z_6/<3>.\nA. 2\nB. 3\nC. 12\nD. 612\nAnswer: A\n\n",
    "Statement 1 | It's what they'll say, isn't it?  Caf\u00e9 na\u00efve\n\n\n",
    "\u4e2d\u6587 \u2014 x\n",
    "def f(x):\n    return x**2\r\n\tElse: 3.14159\n \nWhich? \u00bfQu\u00e9?\nthe answer is",
] * 4

# How each pattern stands in the tokenizer.json of a published model.
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_2 = LLAMA_3.replace("{1,3}", "")
SPACE = "\u2581"
CONTROL = ["<|begin|>", "<|end|>", "<|pad|>"]


def trained(backend, size=600, *, bytewise=True, control=CONTROL):
    """Train the merges of a BPE tokenizer on a few lines."""
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[*control, *([] if bytewise else [f"<0x{n:02X}>" for n in range(256)])],
        initial_alphabet=splitting.ByteLevel.alphabet() if bytewise else [],
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    return backend


def wrapped(backend, **options):
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        **{"bos_token": "<|begin|>", "eos_token": "<|end|>", "pad_token": "<|pad|>"} | options,
    )


def bytewise(
    *, prefix_space=False, split=None, normalizer=None, digits=False, begins=False, whole=False
):
    """Return a byte-level BPE tokenizer; one that is *whole* splits texts at digits at most."""
    backend = Tokenizer(models.BPE())
    steps = [splitting.Digits(individual_digits=True)] if digits else []
    if split:
        steps.append(splitting.Split(Regex(split), "isolated"))
    steps.append(splitting.ByteLevel(add_prefix_space=prefix_space, use_regex=not (split or whole)))
    backend.pre_tokenizer = splitting.Sequence(steps) if len(steps) > 1 else steps[0]
    if normalizer:
        backend.normalizer = normalizer
    trained(backend)
    if begins:
        backend.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A", special_tokens=[("<|begin|>", 0)]
        )
    return wrapped(backend)


def sentencepiece_like(*, metaspace=False, begins=True, lines_apart=True):
    """Return what a Llama 2 or Gemma tokenizer becomes: nothing splits its texts."""
    backend = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<|pad|>"))
    if metaspace:
        backend.pre_tokenizer = splitting.Metaspace(prepend_scheme="first", split=False)
    else:
        steps = [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
        backend.normalizer = normalizers.Sequence(steps)
    if lines_apart:
        # Trained on words, so that no merge reaches over the end of a line.
        own, backend.pre_tokenizer = (
            backend.pre_tokenizer,
            splitting.Split(Regex(r"\n+"), "isolated"),
        )
        trained(backend, bytewise=False)
        backend.pre_tokenizer = own or splitting.Split(" ", "merged_with_previous")
        if own is None:
            backend.pre_tokenizer = splitting.Split(" ", "merged_with_previous")
    else:
        trained(backend, bytewise=False)
    if begins:
        backend.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A", special_tokens=[("<|begin|>", 0)]
        )
    return wrapped(backend)


def unigram():
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = splitting.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=CONTROL, unk_token="<|pad|>", show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    return wrapped(backend)


def accented():
    """Return a tokenizer that makes one token of a line break and a letter with an accent."""
    tokens = [*CONTROL, *(f"<0x{n:02X}>" for n in range(256))]
    tokens += [*sorted({*"".join(CORPUS), "\u00c1"}), "\n\u00c1"]
    vocabulary = {token: at for at, token in enumerate(tokens)}
    model = models.BPE(vocabulary, [("\n", "\u00c1")], byte_fallback=True, unk_token="<|pad|>")
    backend = Tokenizer(model)
    backend.normalizer = normalizers.NFC()
    return wrapped(backend)


def with_added(tokenizer, *tokens, **options):
    tokenizer.add_tokens([AddedToken(token, normalized=False, **options) for token in tokens])
    return tokenizer


def taking_breaks(tokenizer):
    """Add a control token as Phi 3 has them: the white space behind it belongs to it."""
    return with_added(tokenizer, "<|user|>", rstrip=True, special=True)


class SlowTokenizer(PreTrainedTokenizer):
    """Characters, in Python: a tokenizer that encodes one text at a time."""

    def __init__(self, **options):
        letters = dict.fromkeys(itertools.chain.from_iterable(CORPUS))
        self._ids = {letter: at for at, letter in enumerate(["<|unknown|>", *letters])}
        super().__init__(
            bos_token="<|begin|>", eos_token="<|end|>", unk_token="<|unknown|>", **options
        )

    @property
    def vocab_size(self):
        return len(self._ids)

    def get_vocab(self):
        return self._ids | self.added_tokens_encoder

    def _tokenize(self, text, **options):
        return list(text)

    def _convert_token_to_id(self, token):
        return self._ids.get(token, 0)

    def _convert_id_to_token(self, index):
        return list(self._ids)[index]

    def build_inputs_with_special_tokens(self, token_ids_0, token_ids_1=None):
        return [self.bos_token_id, *token_ids_0]


BY_LINES = {
    "gpt-2": bytewise,
    "prefix-space": lambda: bytewise(prefix_space=True),
    "digits": lambda: bytewise(digits=True),
    "llama-3": lambda: bytewise(split=LLAMA_3, begins=True),
    "qwen-2": lambda: bytewise(split=QWEN_2, normalizer=normalizers.NFC()),
    "llama-2": sentencepiece_like,
    "metaspace": lambda: sentencepiece_like(metaspace=True),
    "takes-breaks": lambda: taking_breaks(bytewise(split=LLAMA_3)),
}
"""Those of which `reads_by_lines` knows that lines can be encoded one by one."""

WHOLE = {
    "unigram": unigram,
    "slow": SlowTokenizer,
    "unknown-pattern": lambda: bytewise(split=r"[A-Z][^A-Z]*|\S+|\s+"),
    "token-of-letters": lambda: with_added(bytewise(), "Answer"),
    "token-across-lines": lambda: with_added(bytewise(), "\nB"),
    "merges-across-lines": lambda: sentencepiece_like(lines_apart=False),
    "merges-an-accent": accented,
    "split-at-digits": lambda: bytewise(digits=True, whole=True),
    "phi-3": lambda: taking_breaks(sentencepiece_like()),
    "takes-breaks-then-space": lambda: taking_breaks(bytewise(prefix_space=True)),
}
"""Those that encode whole texts."""
