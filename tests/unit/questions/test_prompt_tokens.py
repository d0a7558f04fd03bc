"""Hashes of what models read: the same text counts as the same only where it is the same tokens."""

import json
import shutil
from pathlib import Path

import pytest
from tokenizers import AddedToken

from scripts.lib.compare.notes import differing_note, marker_notes
from scripts.lib.data.templates import split_markers
from scripts.lib.questions.prompts import load_tokenizer
from scripts.lib.score.token_hashes import other_tokens
from tests.tiny_model import make_tiny_model
from tests.unit.benchmarks.held_out.test_held_out_comparison import AFTER, BEFORE, compare_held_out
from tests.unit.benchmarks.held_out.test_held_out_comparison import score as held_out_score
from tests.unit.benchmarks.judged_pairs.test_comparison_judged import Judged
from tests.unit.compare.bench import Bench
from tests.unit.judged_data import pairs
from tests.unit.scoring_data import SUBJECTS, score, spec, write_benchmark, write_rows

EXACT = {"kind": "exact_match", "subject": None, "shots": 0, "max_new_tokens": 4}
CHAT = EXACT | {"chat_template": True}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def ignorant(model):
    """Return a twin whose tokenizer has no <|im_start|>: it reads it as characters."""
    folder = Path(shutil.copytree(model, model.with_name("ignorant")))
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["added_tokens"] = [
        token for token in tokenizer["added_tokens"] if token["content"] != "<|im_start|>"
    ]
    tokenizer["model"]["vocab"].pop("<|im_start|>")
    file.write_text(json.dumps(tokenizer))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("bos_token")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exact")
    rows = [{"prompt": f"order {n}", "answer": str(n)} for n in range(5)]
    write_rows(folder / "questions.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def mmlu(tmp_path_factory):
    return write_benchmark(tmp_path_factory.mktemp("mmlu"))


def column(rows, name):
    return {row["question_id"]: row[name] for row in rows}


@pytest.mark.parametrize("chat_template", [False, True])
def test_every_back_end_hashes_the_same_tokens(model, questions, mmlu, tmp_path, chat_template):
    for asked, folder in (
        (EXACT | {"chat_template": chat_template}, questions),
        ({"chat_template": chat_template, "subject": SUBJECTS[0]}, mmlu),
    ):
        ours, theirs = (
            column(score(spec(**asked, backend=b), model, folder, tmp_path / b)[1], "token_hash")
            for b in ("shared-prefix", "hf")
        )
        assert ours == theirs
        assert len(set(ours.values())) == len(ours)


def test_the_hash_is_of_tokens_and_not_of_the_batch_or_the_weights(questions, tmp_path, model):
    other = make_tiny_model(tmp_path / "other", seed=5)
    found = [
        column(score(spec(**CHAT), m, questions, tmp_path / str(n), batch_size=n)[1], "token_hash")
        for n, m in ((1, model), (4, model), (3, other))
    ]
    assert found[0] == found[1] == found[2]


def test_one_text_that_two_tokenizers_read_differently_has_two_hashes(
    model, ignorant, questions, tmp_path
):
    (facts, rows), (_, others) = (
        score(spec(**CHAT), m, questions, tmp_path / m.name) for m in (ignorant, model)
    )
    assert column(rows, "prompt_hash") == column(others, "prompt_hash")
    assert other_tokens(column(rows, "token_hash"), column(others, "token_hash")) == 5
    assert "split_markers" in facts["protocol"]


def test_a_tokenizer_that_knows_the_templates_tokens_splits_none(model, tmp_path, questions):
    assert split_markers(load_tokenizer(model, chat_template=True)) == {}
    facts, _ = score(spec(**CHAT), model, questions, tmp_path)
    assert "split_markers" not in facts["protocol"]


def test_control_tokens_that_are_characters_are_counted(model, ignorant):
    tokenizer = load_tokenizer(ignorant, chat_template=True)
    pieces = tokenizer.encode("<|im_start|>", add_special_tokens=False)
    assert len(pieces) > 1
    assert split_markers(tokenizer) == {"<|im_start|>": len(pieces)}
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [AddedToken("<|im_start|>", special=True)]}
    )
    assert split_markers(tokenizer) == {}


def test_what_is_read_as_characters_is_said_once_for_all_who_do():
    split = {"<|im_start|>": 6, "<|im_end|>": 5}
    (note,) = marker_notes({"base": split, "run": split, "other": {}})
    assert "by base, run: <|im_end|> (5 tokens) and <|im_start|> (6 tokens)." in note["text"]
    assert not list(marker_notes({"other": {}}))
    assert not list(differing_note("base", "run", 0, 5))


# The comparison says so, whatever the kind of benchmark.


def codes(notes):
    return [note["code"] for note in notes]


def test_scores_of_one_text_in_other_tokens_stand_side_by_side_with_a_note(tmp_path):
    bench = Bench(tmp_path)
    bench.add("base", right=lambda n: n % 2, tokens="b", split_markers={"<|im_start|>": 6})
    bench.add("gentle", right=lambda n: n % 3, base="base")
    bench.add("same", right=lambda n: n % 3, base="base", tokens="b")
    section = bench.compare()["benchmarks"]["mmlu"]
    split, differ = (n for n in section["notes"] if n["code"] in ("split_markers", "tokens_differ"))
    assert "by base: <|im_start|> (6 tokens)" in split["text"]
    asked = section["candidates"]["gentle"]["Average"]["n"]
    assert (
        f"gentle and its base base read the same text as different tokens in {asked} of"
        in (differ["text"])
    )
    assert "split_markers" not in section["protocol"]
    assert differ["text"] in bench.markdown


def test_held_out_conversations_in_other_tokens_are_noted():
    after = [one | {"token_hash": "x"} if n < 7 else one for n, one in enumerate(AFTER)]
    base = held_out_score("base", BEFORE, split_markers={"<|im_end|>": 4})
    section = compare_held_out("domain", [base, held_out_score("gentle", after, base="base")])
    (note,) = (n for n in section["notes"] if n["code"] == "tokens_differ")
    assert "in 7 of 30 questions" in note["text"]
    assert "split_markers" in codes(section["notes"])
    assert "split_markers" not in section["protocol"]
    alike = compare_held_out(
        "domain", [held_out_score("base", BEFORE), held_out_score("gentle", AFTER, base="base")]
    )
    assert not {"tokens_differ", "split_markers"} & set(codes(alike["notes"]))


@pytest.mark.parametrize("tokens", ["t", "other"])
def test_judged_prompts_in_other_tokens_are_noted(tmp_path, tokens):
    asked = pairs(6, lambda n: "short", lambda n: f"a longer answer {n}")
    judged = Judged(tmp_path, asked, run_tokens=tokens)
    notes = judged.compare()["judged"]["duel"]["candidates"]["gentle"]["notes"]
    assert ("tokens_differ" in codes(notes)) == (tokens == "other")
    if tokens == "other":
        (note,) = (n for n in notes if n["code"] == "tokens_differ")
        assert "gentle and its base small" in note["text"]
        assert "in 6 of 6 questions" in note["text"]
