"""Properties of the shared-prefix model, with lm-eval's `hf` as the yardstick."""

import copy
import math
import os
from pathlib import Path

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.models.huggingface import HFLM
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import (
    AutoModelForCausalLM,
    PreTrainedTokenizerFast,
)

from scripts.lib.attention.selection import KERNELS
from scripts.lib.benchmarks.mmlu.questions import mmlu_task, read_subject
from scripts.lib.errors import ScoreError
from scripts.lib.questions.choices import grade_choices
from scripts.lib.questions.prompts import Chat, load_tokenizer
from scripts.lib.questions.tasks import ask
from scripts.lib.score import shared_prefix
from scripts.lib.score.continuations import read_prefix
from scripts.lib.score.padded import shares_prefixes
from scripts.lib.score.shared_prefix import SharedPrefixLM
from tests.tiny_model import make_tiny_model
from tests.unit.gpu_attention import gpu_kernels, strict_kernels
from tests.unit.score.shared_prefix_models import (
    NOT_SHARING,
    SHARING,
    UNUSUAL,
    assert_same,
    mmlu_requests,
    replies,
    request,
    rows_read,
    uneven_requests,
)


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
            kind, sizes = (SHARING | UNUSUAL | NOT_SHARING)[name]
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


# Packed rows, windows and an attention of its own are asked in every way each time, the others in
# one way; the rest is for the long run of the tests.
IN_EVERY_WAY = ("llama", "gemma3", "bloom")
WAYS = ((5, False), (5, True), (0, False), (0, True))


@pytest.mark.parametrize(
    ("name", "shots", "chat"),
    [
        pytest.param(
            name,
            *way,
            marks=[] if name in IN_EVERY_WAY or way == WAYS[0] else [pytest.mark.slow],
        )
        for name in SHARING
        for way in WAYS
    ],
)
def test_multiple_choice_gets_the_answers_of_hf(model_of, tokenizer, name, shots, chat):
    assert shares_prefixes(model_of(name))
    asked = mmlu_requests(tokenizer, shots=shots, chat_template=chat)
    theirs = assert_same(model_of(name), tokenizer, asked)
    # Otherwise any order of the replies would do.
    assert len({round(logprob, 3) for logprob, _ in theirs}) > len(theirs) // 2


@pytest.mark.parametrize("name", SHARING)
def test_uneven_requests_get_the_answers_of_hf(model_of, tokenizer, name):
    assert_same(model_of(name), tokenizer, uneven_requests(), batch_size=8)


@pytest.mark.parametrize("name", UNUSUAL)
def test_models_with_ways_of_their_own_get_the_answers_of_hf(model_of, tokenizer, name):
    assert shares_prefixes(model_of(name))
    assert_same(model_of(name), tokenizer, mmlu_requests(tokenizer, shots=2))


@pytest.mark.parametrize("row_tokens", [1, 64, 4096])
def test_the_size_of_a_row_changes_no_answer(model_of, tokenizer, row_tokens):
    model, asked = model_of("llama"), uneven_requests()
    theirs = replies(HFLM, model, tokenizer, asked)
    lm = SharedPrefixLM(pretrained=model, tokenizer=tokenizer, row_tokens=row_tokens)
    ours = lm.loglikelihood(asked, disable_tqdm=True)
    assert [logprob for logprob, _ in ours] == pytest.approx([p for p, _ in theirs], abs=1e-4)


@pytest.mark.parametrize("name", SHARING)
def test_rows_are_packed_where_attention_is_plain(model_of, tokenizer, name):
    """Windows shorter than the text and capped attention are left to the model's own code."""
    read = rows_read(model_of(name), mmlu_requests(tokenizer, shots=5), tokenizer)
    packed = name not in ("mistral", "gemma2", "gemma3", "bloom")
    assert all(rows == 1 for rows, _ in read) == packed


def test_a_window_longer_than_the_text_is_packed(model_of, tokenizer):
    model = model_of("mistral")
    asked = [request(f"A A A {letter}", " B") for letter in "ABCD"]
    assert [rows for rows, _ in rows_read(model, asked, tokenizer)] == [1]


def test_a_device_without_kernels_reads_padded_batches(model_of, tokenizer, monkeypatch):
    monkeypatch.setattr(shared_prefix, "packing_kernels", lambda model: None)
    asked = mmlu_requests(tokenizer, shots=5)
    assert max(rows for rows, _ in rows_read(model_of("llama"), asked, tokenizer)) > 1
    assert_same(model_of("llama"), tokenizer, asked)


@pytest.mark.parametrize("name", ["llama", "qwen3", "mixtral"])
def test_a_gpus_way_packs_rows_and_gets_the_answers_of_hf(model_of, tokenizer, name, monkeypatch):
    """The processor's kernels stand behind its functions."""
    monkeypatch.setitem(KERNELS, "cpu", gpu_kernels())
    for asked in (mmlu_requests(tokenizer, shots=5), uneven_requests()):
        assert_same(model_of(name), tokenizer, asked)
    lm = SharedPrefixLM(pretrained=model_of(name), tokenizer=tokenizer)
    lm.loglikelihood(mmlu_requests(tokenizer, shots=5), disable_tqdm=True)
    assert lm.attention == {"stand-in"}


def test_a_gpus_kernels_are_given_half_precision_alone(model_of, tokenizer, monkeypatch):
    monkeypatch.setitem(KERNELS, "cpu", strict_kernels())
    asked = mmlu_requests(tokenizer, shots=5)
    model = copy.deepcopy(model_of("llama")).to(torch.bfloat16)
    assert all(rows == 1 for rows, _ in rows_read(model, asked, tokenizer))
    ours = [p for p, _ in replies(SharedPrefixLM, model, tokenizer, asked)]
    theirs = [p for p, _ in replies(HFLM, model, tokenizer, asked)]
    exact = [p for p, _ in replies(HFLM, model_of("llama"), tokenizer, asked)]
    ours_off, theirs_off = (
        max(abs(a - b) for a, b in zip(found, exact, strict=True)) for found in (ours, theirs)
    )
    assert ours_off < 2 * theirs_off + 0.05


@pytest.mark.parametrize("name", ["llama", "gemma3", "mamba"])
def test_by_what_was_attended_to_is_told(model_of, tokenizer, name):
    lm = SharedPrefixLM(pretrained=model_of(name), tokenizer=tokenizer)
    assert lm.attention == set()
    lm.loglikelihood(mmlu_requests(tokenizer, shots=5), disable_tqdm=True)
    own = KERNELS["cpu"].name if name == "llama" else shared_prefix.MODELS_OWN
    assert lm.attention == {own}


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 1 bytes."),
    ],
)
@pytest.mark.parametrize("name", ["llama", "gemma3", "mamba"])
def test_when_memory_runs_out_less_is_read_at_once(model_of, tokenizer, capsys, name, error):
    model, asked = model_of(name), mmlu_requests(tokenizer, shots=0)
    longest = max(len(tokenizer(r.args[0]).input_ids) for r in asked)
    theirs = replies(HFLM, model, tokenizer, asked)

    def small_memory(_, args, kwargs):
        if (args[0] if args else kwargs["input_ids"]).numel() > longest:
            raise error

    hook = model.register_forward_pre_hook(small_memory, with_kwargs=True)
    try:
        ours = replies(SharedPrefixLM, model, tokenizer, asked, batch_size=8)
    finally:
        hook.remove()
    assert [p for p, _ in ours] == pytest.approx([p for p, _ in theirs], abs=1e-4)
    assert "out of memory" in capsys.readouterr().err


def test_an_error_that_is_not_about_memory_is_not_tried_again(model_of, tokenizer):
    def fail(*_):
        raise RuntimeError("shapes do not match")

    hook = model_of("llama").register_forward_pre_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="shapes do not match"):
            replies(SharedPrefixLM, model_of("llama"), tokenizer, mmlu_requests(tokenizer, shots=2))
    finally:
        hook.remove()


def test_one_text_that_does_not_fit_into_memory_is_an_error(model_of, tokenizer):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")

    hook = model_of("llama").register_forward_pre_hook(fail)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            replies(SharedPrefixLM, model_of("llama"), tokenizer, [request("A", "B")])
    finally:
        hook.remove()


def test_memory_that_never_suffices_is_an_error_when_lm_eval_chooses_the_batch(
    model_of, tokenizer, monkeypatch
):
    tries = []

    def fail(*_, **__):
        tries.append(1)
        assert len(tries) < 9, "tried again and again"
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")

    monkeypatch.setattr(HFLM, "_detect_batch_size", lambda *_: 1)
    lm = SharedPrefixLM(pretrained=model_of("mamba"), tokenizer=tokenizer, batch_size="auto")
    monkeypatch.setattr(lm.model, "forward", fail)
    with pytest.raises(torch.OutOfMemoryError):
        lm.loglikelihood([request("A", "B")], disable_tqdm=True)


def test_a_continuation_that_greedy_decoding_gives_is_told(model_of, tokenizer):
    context = "the question was " * 20
    ids = tokenizer(context, return_tensors="pt").input_ids
    following = model_of("llama").generate(ids, max_new_tokens=3, do_sample=False)[0]
    continuation = following[ids.shape[1] :].tolist()
    lm = SharedPrefixLM(pretrained=model_of("llama"), tokenizer=tokenizer, batch_size=4)
    tokens = ids[0].tolist()
    wrong = [*continuation[:2], (continuation[2] + 1) % len(tokenizer)]
    asked = [(None, tokens, end) for end in (continuation, wrong, continuation[:1])]
    assert [greedy for _, greedy in lm._loglikelihood_tokens(asked)] == [True, False, True]


@pytest.mark.parametrize("packed", [True, False])
def test_probabilities_of_a_model_in_bfloat16_are_not_rounded_to_it(
    model_of, tokenizer, monkeypatch, packed
):
    if not packed:
        monkeypatch.setattr(shared_prefix, "packing_kernels", lambda model: None)
    model = copy.deepcopy(model_of("llama")).to(torch.bfloat16)
    lm = SharedPrefixLM(pretrained=model, tokenizer=tokenizer, batch_size=4)
    context = tokenizer.encode("the question was " * 9)
    asked = [(None, context, [token]) for token in range(len(tokenizer))]
    found = [logprob for logprob, _ in lm._loglikelihood_tokens(asked, disable_tqdm=True)]
    assert math.fsum(map(math.exp, found)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", NOT_SHARING)
def test_what_cannot_share_is_left_to_hf(model_of, tokenizer, name):
    assert not shares_prefixes(model_of(name))
    asked = mmlu_requests(tokenizer, shots=2)
    assert replies(SharedPrefixLM, model_of(name), tokenizer, asked) == replies(
        HFLM, model_of(name), tokenizer, asked
    )


def test_an_unmerged_adapter_is_left_to_hf(model_of, tokenizer):
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(
        AutoModelForCausalLM.from_config(model_of("llama").config),
        LoraConfig(target_modules=["q_proj"]),
    )
    assert not shares_prefixes(adapted)


def test_a_context_beyond_the_window_is_cut_as_hf_cuts_it(model_of, tokenizer):
    asked = mmlu_requests(tokenizer, shots=2)
    asked.append(request("the answer is", " A"))
    theirs = assert_same(model_of("llama"), tokenizer, asked, max_length=64)
    assert theirs != replies(HFLM, model_of("llama"), tokenizer, asked)


def test_a_choice_that_melts_into_the_text_before_it_is_named(model_of, tokenizer):
    # "the answer" is one token, so nothing is left of the choice after those of "the ans".
    backend = Tokenizer(WordLevel({"?": 0, "the": 1, "answer": 2, "the answer": 3}, unk_token="?"))
    backend.pre_tokenizer = Split(Regex("the answer|."), "isolated")
    melting = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="?", pad_token="?")
    with pytest.raises(ScoreError, match=r"'er' leaves no token of its own after '.*the answ'"):
        replies(SharedPrefixLM, model_of("llama"), melting, [request("the answ", "er")])


def test_a_beginning_is_read_once_and_choices_cost_nothing(model_of, tokenizer):
    asked = mmlu_requests(tokenizer, shots=5)
    lengths = [len(tokenizer(r.args[0]).input_ids) for r in asked[::4]]
    read = rows_read(model_of("llama"), asked, tokenizer)
    assert sum(rows * tokens for rows, tokens in read) < sum(lengths) / 2.5


def test_a_short_beginning_is_not_worth_a_pass(model_of, tokenizer):
    asked = [request(f"A A A {letter}", " B") for letter in "ABCD"]
    lengths = [len(tokenizer(r.args[0]).input_ids) for r in asked]
    assert rows_read(model_of("llama"), asked, tokenizer) == [(1, sum(lengths))]


def test_a_beginning_that_was_just_read_is_not_read_again(model_of, tokenizer):
    asked = mmlu_requests(tokenizer, shots=5)[:7]
    lm = SharedPrefixLM(pretrained=model_of("llama"), tokenizer=tokenizer)
    first = lm.loglikelihood(asked, disable_tqdm=True)
    shapes = []
    hook = lm.model.register_forward_pre_hook(
        lambda _, args, kwargs: shapes.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    try:
        assert lm.loglikelihood(asked, disable_tqdm=True) == first
    finally:
        hook.remove()
    assert len(shapes) == 1


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt-neox"])
def test_a_prefix_keeps_nothing_but_its_keys_and_values_in_memory(model_of, name):
    """Those of some models are views of one product, queries included."""
    prefix = read_prefix(model_of(name), range(5, 45))
    assert len(prefix.layers) == 3
    for kept in (tensor for layer in prefix.layers for tensor in layer):
        assert kept.untyped_storage().nbytes() == kept.nbytes


def test_rolling_likelihood_is_that_of_hf(model_of, tokenizer):
    asked = [Instance("loglikelihood_rolling", {}, ("the question was " * 9,), 0)] * 2
    found = [
        kind(
            pretrained=model_of("llama"), tokenizer=tokenizer, max_length=32
        ).loglikelihood_rolling(asked, disable_tqdm=True)
        for kind in (SharedPrefixLM, HFLM)
    ]
    assert found[0] == found[1]


def test_lm_eval_knows_the_model_by_name():
    assert get_model("tunesmith-hf") is SharedPrefixLM


@pytest.mark.parametrize(
    ("name", "shots", "chat", "count"),
    [
        ("qwen3", 0, True, 1),
        pytest.param("llama", 5, False, 1, marks=pytest.mark.slow),
        pytest.param("qwen2", 0, False, 2, marks=pytest.mark.slow),
        pytest.param("gpt-neox", 2, True, 1, marks=pytest.mark.slow),
        pytest.param("gemma3", 2, False, 1, marks=pytest.mark.slow),
    ],
)
def test_real_questions_of_every_subject_get_the_answers_of_hf(
    model_of, tokenizer, name, shots, chat, count
):
    """The window is 4,096 bytes here; what is longer takes lm-eval's own way, cut as it cuts."""
    folder = os.environ.get("TUNESMITH_REAL_DATA")
    if not folder:
        pytest.skip("TUNESMITH_REAL_DATA does not name a folder with mmlu/test and mmlu/dev")
    chat = Chat(tokenizer) if chat else None
    subjects = sorted(file.stem for file in Path(folder).glob("mmlu/test/*.jsonl"))
    asked = []
    for subject in subjects:
        test, dev = read_subject(Path(folder) / "mmlu", subject, shots=shots, limit=None)
        some = test[:: len(test) // count][:count]
        for question in ask(
            mmlu_task(subject, some, dev, shots=shots), subject, chat=chat, grade=grade_choices
        ):
            asked += question.requests
    assert len(subjects) == 57
    theirs = assert_same(model_of(name), tokenizer, asked)
    best = [
        max(range(4), key=lambda at: four[at][0]) for four in zip(*[iter(theirs)] * 4, strict=True)
    ]
    assert len(set(best)) > 1
