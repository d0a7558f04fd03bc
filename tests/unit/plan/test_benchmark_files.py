"""Properties of reading benchmarks: what cannot be asked is refused before a model is loaded."""

import dataclasses
import json
import shutil

import pytest
from tokenizers.processors import TemplateProcessing

from scripts.lib.benchmarks.mmlu.questions import mmlu_task, read_subject
from scripts.lib.benchmarks.multiple_choice.scores import AsScored
from scripts.lib.compare.wording import protocol_words
from scripts.lib.errors import ScoreError
from scripts.lib.questions.choices import grade_choices
from scripts.lib.questions.prompt_tokens import tokens_needed
from scripts.lib.questions.prompts import load_tokenizer
from scripts.lib.questions.tasks import ask
from scripts.lib.questions.text_encoder import TextEncoder
from scripts.lib.score.aggregation import load_answers
from tests.tiny_model import make_tiny_model
from tests.unit.scoring_data import rows, score, spec, write_benchmark, write_rows


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def benchmark_folder(tmp_path):
    return write_benchmark(tmp_path / "benchmark")


GOOD = rows("anatomy", 1)[0]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("", "holds no questions"),
        ("{", r"anatomy\.jsonl:1 is not JSON"),
        ("3", r"anatomy\.jsonl:1 is not a JSON object"),
        ("[]", "holds no questions"),
        ("[3]", r"anatomy\.jsonl: row 1 is not a JSON object"),
        (json.dumps(GOOD | {"question": " "}), "no text in `question`"),
        (json.dumps(GOOD | {"choices": ["a", "b", "c"]}), "a list of 4"),
        (json.dumps(GOOD | {"choices": ["a", "b", "c", 4]}), "a choice that is not a text"),
        (json.dumps(GOOD | {"answer": 4}), "from 0 to 3"),
        (json.dumps(GOOD | {"answer": "A"}), "from 0 to 3"),
        (json.dumps(GOOD | {"answer": True}), "from 0 to 3"),
    ],
)
def test_a_malformed_benchmark_is_refused_with_file_and_line_before_the_weights_are_read(
    model, benchmark_folder, tmp_path, line, complaint
):
    (benchmark_folder / "test" / "anatomy.jsonl").write_text(line + "\n")
    bare = shutil.copytree(model, tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    with pytest.raises(ScoreError, match=complaint):
        score(spec(), bare, benchmark_folder, tmp_path)


def test_missing_files_examples_and_subjects_are_refused(model, benchmark_folder, tmp_path):
    for changes, complaint in (
        ({"subject": "zoology"}, "zoology.jsonl does not exist"),
        ({"subject": "../test/anatomy"}, "cannot be a file name"),
        ({"shots": 4}, "holds 3 rows, but 4 few-shot examples"),
    ):
        with pytest.raises(ScoreError, match=complaint):
            score(spec(**changes), model, benchmark_folder, tmp_path)


def test_a_line_separator_inside_a_question_does_not_break_the_row(model, benchmark_folder):
    row = GOOD | {"question": "one\u2028two"}
    path = benchmark_folder / "test" / "anatomy.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    test, _ = read_subject(benchmark_folder, "anatomy", shots=0, limit=None)
    assert test[0]["question"] == "one\u2028two"


@pytest.mark.parametrize("excess", [0, 1])
def test_a_question_longer_than_the_context_is_named_and_never_cut(
    model, benchmark_folder, tmp_path, excess
):
    tokenizer = load_tokenizer(model, chat_template=False)
    long_row = GOOD | {"question": ""}
    (probe,) = ask(
        mmlu_task("anatomy", [long_row], [], shots=0), "anatomy", chat=None, grade=grade_choices
    )
    # The answer is not read, only predicted; "!" is one token.
    room = 2048 - len(tokenizer.encode(probe.prompt + " A")) + 1
    write_rows(
        benchmark_folder / "test" / "anatomy.jsonl",
        [GOOD, long_row | {"question": "!" * (room + excess)}],
    )
    asked = spec(subject="anatomy", shots=0)
    if excess:
        with pytest.raises(ScoreError, match=r"anatomy:1 needs 2049 tokens .* reads 2048"):
            score(asked, model, benchmark_folder, tmp_path)
    else:
        score(asked, model, benchmark_folder, tmp_path)


def test_the_choice_of_most_tokens_counts_not_the_one_of_most_letters(model):
    tokenizer = load_tokenizer(model, chat_template=False)
    few, many = " answer answer answer", "!" * 12
    assert len(few) > len(many)
    (question,) = ask(
        mmlu_task("anatomy", [GOOD], [], shots=0), "anatomy", chat=None, grade=grade_choices
    )
    requests = tuple(
        dataclasses.replace(request, arguments=(question.prompt, choice))
        for request, choice in zip(question.requests, (few, many), strict=False)
    )
    asked = dataclasses.replace(question, requests=requests)
    # The last token is only predicted.
    assert (
        tokens_needed(asked, TextEncoder(tokenizer))
        == len(tokenizer.encode(question.prompt + many)) - 1
    )


def test_a_tokenizer_that_ends_every_text_is_refused_where_texts_go_on(
    model, benchmark_folder, tmp_path
):
    ending = shutil.copytree(model, tmp_path / "ending")
    tokenizer = load_tokenizer(ending, chat_template=False)
    end = (tokenizer.eos_token, tokenizer.eos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"$A {end[0]}", special_tokens=[end]
    )
    tokenizer.save_pretrained(ending)
    (ending / "model.safetensors").rename(tmp_path / "weights")
    with pytest.raises(ScoreError, match=r"tokenizer ends every text with <\|im_end\|>"):
        score(spec(), ending, benchmark_folder, tmp_path)
    # A rendered conversation has its special tokens in it, so none are added.
    (tmp_path / "weights").rename(ending / "model.safetensors")
    chat = spec(chat_template=True)
    assert score(chat, ending, benchmark_folder, tmp_path / "one") == score(
        chat, model, benchmark_folder, tmp_path / "two"
    )


def long_question(tokenizer, dev, *, shots, limit=2048):
    """Return a row that fits with *shots* examples to the last token, and not with one more."""
    empty = GOOD | {"question": "?"}
    (probe,) = ask(
        mmlu_task("anatomy", [empty], dev, shots=shots), "anatomy", chat=None, grade=grade_choices
    )
    room = limit - len(tokenizer.encode(probe.prompt + " A")) + 1
    return empty | {"question": "?" + "!" * room}


def test_a_question_that_is_too_long_loses_its_last_examples_and_is_counted(
    model, benchmark_folder, tmp_path
):
    tokenizer = load_tokenizer(model, chat_template=False)
    dev = rows("anatomy", 3, salt="Example of ")
    long_row = long_question(tokenizer, dev, shots=1)
    write_rows(benchmark_folder / "test" / "anatomy.jsonl", [GOOD, long_row])
    asked = spec(subject="anatomy", shots=3, on_long_prompt="fewer_shots")
    facts, answers = score(asked, model, benchmark_folder, tmp_path)
    assert [answer["shots"] for answer in answers] == [3, 1]
    assert facts["protocol"]["fewer_shots"] == 1
    # It is asked as a one-shot prompt is, the other as if nothing had happened.
    for shots, row in ((3, GOOD), (1, long_row)):
        write_rows(benchmark_folder / "test" / "anatomy.jsonl", [row])
        again = spec(subject="anatomy", shots=shots)
        _, (alone,) = score(again, model, benchmark_folder, tmp_path / str(shots))
        assert alone["prompt_hash"] == answers[shots == 1]["prompt_hash"]


def test_a_question_too_long_for_any_example_is_named(model, benchmark_folder, tmp_path):
    tokenizer = load_tokenizer(model, chat_template=False)
    long_row = long_question(tokenizer, [], shots=0)
    long_row["question"] += "!"
    write_rows(benchmark_folder / "test" / "anatomy.jsonl", [GOOD, long_row])
    asked = spec(subject="anatomy", shots=3, on_long_prompt="fewer_shots")
    with pytest.raises(ScoreError, match=r"anatomy:1 needs 2049 tokens .* and 0 few-shot examples"):
        score(asked, model, benchmark_folder, tmp_path)


def test_the_jobs_of_a_benchmark_add_up_their_shortened_questions(
    model, benchmark_folder, tmp_path
):
    tokenizer = load_tokenizer(model, chat_template=False)
    folders = []
    for subject in ("abstract_algebra", "anatomy"):
        dev = rows(subject, 3, salt="Example of ")
        row = long_question(tokenizer, dev, shots=1) | {"subject": subject}
        # The other subject's first line is longer, so a few characters go.
        row["question"] = row["question"][:-20]
        write_rows(benchmark_folder / "test" / f"{subject}.jsonl", [row])
        asked = spec(subject=subject, shots=3, on_long_prompt="fewer_shots")
        score(asked, model, benchmark_folder, tmp_path / subject)
        folders.append(tmp_path / subject / "out")
    _, protocol = load_answers(folders, AsScored())
    assert protocol["fewer_shots"] == 2
    assert "2 too long questions with fewer examples" in protocol_words(protocol)
