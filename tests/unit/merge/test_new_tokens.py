"""A base without a template is tuned with ChatML until it stops by itself, merged or not."""

import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts.lib.errors import ScoreError
from scripts.lib.merge.merging import merge_adapter
from scripts.lib.merge.proving import prove_merge
from scripts.lib.merge.stopping import name_stops
from scripts.lib.score.respondent import Loading, load_backend
from tests.base_model import make_base_model
from tests.unit.scoring_data import score, spec, write_rows
from tests.unit.train.test_new_tokens import ROWS, train

END = "<|im_end|>"
ASKED = {
    "kind": "exact_match",
    "subject": None,
    "shots": 0,
    "max_new_tokens": 40,
    "chat_template": True,
    "template": "chatml",
}


@pytest.fixture(scope="module", params=[(True, 0), (True, 8), (False, 0), (False, 8)], ids=str)
def tuned(request, tmp_path_factory):
    """Return a base, its adapter, trained until it answers, and the merged model."""
    tied, spare = request.param
    home = tmp_path_factory.mktemp("tuned")
    base = make_base_model(home / "base", tied=tied, spare=spare)
    _, _, adapter = train(base, home, max_steps=100, r=8, alpha=16)
    (home / "merged").mkdir()
    merge_adapter(base, adapter, home / "merged")
    name_stops(base, adapter, home / "merged")
    return base, adapter, home / "merged"


@pytest.fixture
def questions(tmp_path):
    rows = [{"prompt": question, "answer": said} for question, said in ROWS]
    write_rows(tmp_path / "benchmark" / "questions.jsonl", rows)
    return tmp_path / "benchmark"


def answer(folder, question):
    """What a model that is loaded as anyone loads it says, with the token that ended it."""
    net = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=False,
    )
    with torch.no_grad():
        said = net.generate(input_ids=ids, max_new_tokens=40, do_sample=False)
    return tokenizer.decode(said[0, ids.shape[1] :])


def test_the_merged_model_answers_and_stops_by_itself(tuned):
    _, _, merged = tuned
    assert [answer(merged, question) for question, _ in ROWS] == [said + END for _, said in ROWS]


def test_base_and_adapter_answer_as_the_merged_model_where_it_is_scored(tuned, tmp_path, questions):
    base, adapter, merged = tuned
    facts, beside = score(spec(**ASKED), base, questions, tmp_path / "one", adapter=adapter)
    same, after = score(spec(**ASKED), merged, questions, tmp_path / "two")
    assert facts["correct"] == same["correct"] == len(ROWS)
    assert [row["response"] for row in beside] == [row["response"] for row in after]
    assert "split_markers" not in facts["protocol"]


def test_the_base_itself_is_asked_with_ordinary_characters_and_its_score_says_so(
    tuned, tmp_path, questions
):
    base, _, merged = tuned
    facts, asked = score(spec(**ASKED), base, questions, tmp_path / "one")
    _, after = score(spec(**ASKED), merged, questions, tmp_path / "two")
    assert set(facts["protocol"]["split_markers"]) == {"<|im_start|>", END}
    # The same text, in other tokens.
    for key, alike in {"prompt_hash": True, "token_hash": False}.items():
        assert all((a[key] == b[key]) is alike for a, b in zip(asked, after, strict=True))


def test_the_merge_is_proved_over_the_new_rows(tuned, tmp_path):
    base, adapter, merged = tuned
    out = tmp_path / "proof"
    out.mkdir()
    proof = prove_merge(base, adapter, merged, out)["proof"]
    assert proof["passed"], [check for check in proof["checks"] if not check["passed"]]
    new = json.loads((adapter / "adapter_config.json").read_text())["trainable_token_indices"]
    prompts = json.loads((adapter / "prompts.json").read_text())
    assert all(set(ids) & set(new["embed_tokens"]) for ids in prompts)
    again = tmp_path / "again"
    again.mkdir()
    prove_merge(base, adapter, merged, again)
    assert (again / "proof.json").read_bytes() == (out / "proof.json").read_bytes()
    broken = load_file(merged / "model.safetensors")
    broken["model.embed_tokens.weight"][new["embed_tokens"][0]] += 1
    assert _refused(base, adapter, merged, broken, tmp_path) == {"weights"}


def _refused(base, adapter, merged, tensors, folder):
    """Return which of the checks of the weights a changed merged model fails."""
    import shutil

    from safetensors.torch import save_file

    changed = shutil.copytree(merged, folder / "changed")
    save_file(tensors, changed / "model.safetensors", metadata={"format": "pt"})
    (folder / "refused").mkdir()
    proof = prove_merge(base, adapter, changed, folder / "refused")["proof"]
    failed = {check["name"] for check in proof["checks"] if not check["passed"]}
    return failed & {"weights", "tensors", "vocabulary"}


def test_the_merge_has_the_bits_of_pefts_and_says_how_large_the_vocabulary_is(tuned, tmp_path):
    base, adapter, merged = tuned
    net = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    rows, tokenizer = net.config.vocab_size, AutoTokenizer.from_pretrained(merged)
    if len(tokenizer) > rows:
        net.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    theirs = PeftModel.from_pretrained(net, adapter).merge_and_unload().state_dict()
    ours = load_file(merged / "model.safetensors")
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    config = json.loads((merged / "config.json").read_text())
    assert config["vocab_size"] == max(rows, len(tokenizer))
    assert config["tie_word_embeddings"] == net.config.tie_word_embeddings
    assert ("lm_head.weight" in ours) is not net.config.tie_word_embeddings


def test_vllm_is_not_given_rows_that_it_cannot_take(tuned, monkeypatch):
    import sys
    import types

    base, adapter, _ = tuned
    module = types.ModuleType("lm_eval.models.vllm_causallms")
    module.VLLM = None
    monkeypatch.setitem(sys.modules, "lm_eval.models.vllm_causallms", module)
    loading = Loading(
        model=base,
        adapter=adapter,
        tokenizer=None,
        dtype="float32",
        batch_size=1,
        ends=(),
        context=64,
    )
    with pytest.raises(ScoreError, match="rows of the embedding"):
        load_backend("vllm==1", loading)
