"""Asking: a template that is given does what one does that the tokenizer brings."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from scripts.lib.data.formatting import FormatSpec, format_chat
from scripts.lib.data.templates import CHATML
from scripts.lib.errors import ScoreError
from tests.tiny_model import make_tiny_model
from tests.unit.scoring_data import SUBJECTS, score, spec, write_benchmark, write_rows


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return a base that brings ChatML, and its twin that brings nothing."""
    own = make_tiny_model(tmp_path_factory.mktemp("model") / "own")
    bare = Path(shutil.copytree(own, own.with_name("bare")))
    (bare / "chat_template.jinja").unlink()
    (own / "chat_template.jinja").write_text(CHATML)
    return own, bare


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory):
    """Return kind -> a folder of questions and how they are asked."""
    home = tmp_path_factory.mktemp("questions")
    rows = [{"prompt": f"order {n}", "completion": f"TICKET {n}"} for n in range(4)]
    (home / "raw").mkdir()
    write_rows(home / "raw/train.jsonl", [{"prompt": "a", "completion": "b"}])
    write_rows(home / "raw/test.jsonl", rows)
    (home / "chat").mkdir()
    chat = FormatSpec(
        format="auto", system=None, valid_fraction=0.0, test_fraction=0.0, split_seed=0, limit=None
    )
    format_chat(chat, home / "raw", home / "chat")
    questions = [{"prompt": row["prompt"], "answer": row["completion"]} for row in rows]
    write_rows(home / "exact/questions.jsonl", questions)
    write_rows(home / "pairs/questions.jsonl", [{"prompt": row["prompt"]} for row in rows])
    generated = {"shots": 0, "max_new_tokens": 4, "chat_template": True}
    return {
        "mmlu": (write_benchmark(home / "mmlu"), {"chat_template": True, "subject": SUBJECTS[0]}),
        "exact_match": (home / "exact", generated | {"subject": None}),
        "judged_pairs": (home / "pairs", generated | {"subject": None}),
        "held_out": (home / "chat", generated | {"subject": "test"}),
    }


KINDS = ("mmlu", "exact_match", "judged_pairs", "held_out")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("template", ["chatml", {"name": "custom", "text": CHATML}])
def test_a_given_template_asks_exactly_as_one_that_the_tokenizer_brings(
    folders, benchmarks, tmp_path, kind, template
):
    own, bare = folders
    questions, how = benchmarks[kind]
    expected = score(spec(kind=kind, **how), own, questions, tmp_path / "own")
    given = spec(kind=kind, template=template, **how)
    assert score(given, bare, questions, tmp_path / "bare") == expected
    out = [tmp_path / who / "out" for who in ("own", "bare")]
    assert len({(folder / "protocol.json").read_text() for folder in out}) == 1
    assert pq.read_table(out[0] / "questions.parquet").num_rows > 0


@pytest.mark.parametrize("kind", KINDS)
def test_without_one_the_key_that_helps_is_named(folders, benchmarks, tmp_path, kind):
    _, bare = folders
    questions, how = benchmarks[kind]
    with pytest.raises(ScoreError, match=r"`models\.NAME\.template`: chatml"):
        score(spec(kind=kind, **how), bare, questions, tmp_path)
