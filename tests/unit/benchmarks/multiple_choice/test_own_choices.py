"""Properties of a user's own multiple-choice questions, from the file to the comparison's table."""

import pytest

from scripts.lib.artifacts.graph import Graph
from scripts.lib.artifacts.pins import read_lock
from scripts.lib.benchmarks.mmlu.options import LocalMmlu
from scripts.lib.benchmarks.multiple_choice.options import MultipleChoice
from scripts.lib.benchmarks.multiple_choice.questions import own_choice_task, read_own_choices
from scripts.lib.benchmarks.multiple_choice.scores import AsScored
from scripts.lib.compare.comparison import compare_runs
from scripts.lib.compare.spec import CompareSpec
from scripts.lib.errors import ConfigError
from scripts.lib.fetch.benchmarks import fetch_benchmark
from scripts.lib.files import sha256_of
from scripts.lib.plan.local_files import LocalSources, column_names
from scripts.lib.plan.remembered import HashMemory
from scripts.lib.plan.sources import add_questions
from scripts.lib.questions.choices import grade_choices
from scripts.lib.questions.tasks import ask
from scripts.lib.score.aggregation import AggregateSpec, aggregate_scores
from tests.comparison_file import read_comparison
from tests.tiny_model import make_tiny_model
from tests.unit.scoring_data import rows, score, spec, write_rows
from tests.workspace import ROOT

FIELDS = ("Public law", "Art")


def own_rows(count, *, salt=""):
    """Return questions of both fields with two to five choices."""
    return [
        {
            "question": f"{salt}{row['question']}",
            "choices": [f"{n}{choice}" for n, choice in enumerate(["x", "y", "z", "u", "v"])][
                : 2 + index % 4
            ],
            "answer": "A" if index % 2 else "B",
            "field": field,
        }
        for field in FIELDS
        for index, row in enumerate(rows("botany", count))
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    """The fetched set, with two few-shot examples of each field."""
    folder = tmp_path_factory.mktemp("own")
    places = {
        "shots.jsonl": write_rows(folder / "shots.jsonl", own_rows(2, salt="Solved: ")),
        "test.jsonl": write_rows(folder / "test.jsonl", own_rows(6)),
    }
    fetched = {
        "source": "path",
        "kind": "multiple_choice",
        "files": {name: sha256_of(place) for name, place in places.items()},
        "answers": "letter",
        "category": "field",
        "shots": 2,
        "shots_category": "field",
    }
    out = folder / "out"
    out.mkdir()
    fetch_benchmark(fetched, list(places.values()), out)
    return out


def own_spec(**changes):
    return spec(**{"kind": "multiple_choice", "subject": None, "shots": 2} | changes)


def test_a_question_reads_like_one_of_mmlu(questions):
    (_, about, test, dev), _ = read_own_choices(questions, shots=1, limit=1)
    (question,) = ask(
        own_choice_task("art", about, test, dev, shots=1), "Art", chat=None, grade=grade_choices
    )
    assert question.prompt == (
        "The following are multiple choice questions (with answers) about Art.\n\n"
        "Solved:  botany: how much is 0 + {{ 0 }}?\nA. 0x\nB. 1y\nAnswer: B\n\n"
        "botany: how much is 0 + {{ 0 }}?\nA. 0x\nB. 1y\nAnswer:"
    )
    plain, *_ = ask(
        own_choice_task("questions", None, test, [], shots=0),
        "questions",
        chat=None,
        grade=grade_choices,
    )
    assert plain.prompt.startswith("The following are multiple choice questions (with answers).\n")


@pytest.mark.parametrize("chat_template", [False, True])
def test_the_likeliest_letter_among_a_question_s_own_choices_is_the_prediction(
    model, questions, tmp_path, chat_template
):
    facts, answers = score(own_spec(chat_template=chat_template), model, questions, tmp_path)
    assert facts["protocol"]["backend"] == "shared-prefix"
    assert [len(answer["logprobs"]) for answer in answers] == [2, 3, 4, 5, 2, 3] * 2
    assert {answer["subject"] for answer in answers} == set(FIELDS)
    assert answers[6]["question_id"] == "public_law:0"
    for answer in answers:
        best = max(range(len(answer["logprobs"])), key=lambda n: answer["logprobs"][n])
        assert answer["prediction"] == "ABCDE"[best]
        assert answer["correct"] == (answer["prediction"] == answer["answer"])


def test_log_likelihoods_are_those_of_lm_eval(model, questions, tmp_path):
    from lm_eval.models.huggingface import HFLM

    _, answers = score(own_spec(), model, questions, tmp_path)
    theirs = HFLM(pretrained=str(model), dtype="float32", batch_size=4, device="cpu")
    asked = [
        question
        for stem, about, test, dev in read_own_choices(questions, shots=2, limit=None)
        for question in ask(
            own_choice_task(stem, about, test, dev, shots=2), stem, chat=None, grade=grade_choices
        )
    ]
    replies = iter(theirs.loglikelihood([r for q in asked for r in q.requests], disable_tqdm=True))
    for question, answer in zip(asked, answers, strict=True):
        expected = [next(replies)[0] for _ in question.requests]
        assert answer["logprobs"] == pytest.approx(expected, abs=1e-5)


def test_every_category_has_a_score_and_a_row_in_the_comparison(model, questions, tmp_path):
    score(own_spec(), model, questions, tmp_path)
    counted = AggregateSpec(
        kind="multiple_choice", benchmark="own", categories="column", subjects=None, metric=None
    )
    (tmp_path / "sums").mkdir()
    tallies = aggregate_scores(counted, [tmp_path / "out"], tmp_path / "sums", AsScored())
    assert list(tallies) == ["Average", "Art", "Public law"]
    names = sorted(path.name for path in (tmp_path / "sums").iterdir())
    assert names == [
        "own.answers.parquet",
        "own.art.json",
        "own.average.json",
        "own.public_law.json",
    ]
    candidates = [
        {"name": name, "kind": kind, "base": base, "unmerged": False}
        | {"scores": {"own": ["scores/x"]}, "categories": {"own": "categories/x"}, "judgements": {}}
        for name, kind, base in (("tiny", "base", None), ("tuned", "run", "tiny"))
    ]
    compared = CompareSpec.from_json(
        {"candidates": candidates, "benchmarks": ["own"], "held_out": [], "judged": []}
    )
    places = {"scores/x": tmp_path / "out", "categories/x": tmp_path / "sums"}
    (tmp_path / "table").mkdir()
    compare_runs(compared, places, {}, tmp_path / "table")
    document = read_comparison(tmp_path / "table")["benchmarks"]["own"]
    assert document["categories"] == ["Average", "Art", "Public law"]
    assert document["candidates"]["tiny"]["Art"] == tallies["Art"]
    assert "| Public law |" in (tmp_path / "table/comparison.md").read_text()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'question,A,B\n"one, two",1,2\n'),
        ("a.jsonl", '\n{"question": "q", "A": 1, "B": 2}\n'),
        ("a.json", '[{"question": "q", "A": 1, "B": 2}]'),
    ],
)
def test_columns_are_read_from_the_head_of_a_file(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert column_names(tmp_path / name) == ("question", "A", "B")


def test_the_head_of_a_broken_file_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text("{")
    with pytest.raises(ConfigError, match=r"a\.jsonl: its first row cannot be read \(line 1"):
        column_names(tmp_path / "a.jsonl")


def test_planning_counts_the_few_shot_examples_of_a_folder_in_mmlu_s_layout(tmp_path):
    sources = LocalSources((tmp_path,), HashMemory(tmp_path / "memory.json"))
    for name, count in {
        "test/virology": 1,
        "test/anatomy": 1,
        "dev/virology": 2,
        "dev/anatomy": 1,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_rows(tmp_path / f"{name}.jsonl", rows("botany", 1) * count)
    asked = {"kind": "mmlu", "path": str(tmp_path)}
    graph = Graph(lambda *_: "code", read_lock(ROOT / "requirements.lock"))
    with pytest.raises(ConfigError, match=r"2 few-shot examples .* has fewer of anatomy; lower"):
        add_questions(graph, sources, LocalMmlu(**asked, shots=2), {})
    for enough in ({"shots": 1}, {"shots": 2, "subjects": ("virology",)}):
        add_questions(graph, sources, LocalMmlu(**asked, **enough), {})


def test_planning_names_the_missing_file_and_column(tmp_path):
    sources = LocalSources((tmp_path,), HashMemory(tmp_path / "memory.json"))
    asked = {"kind": "multiple_choice", "path": "own.jsonl"}
    graph = Graph(lambda *_: "code", {})
    with pytest.raises(ConfigError, match=r"'own\.jsonl' does not exist"):
        add_questions(graph, sources, MultipleChoice(**asked), {})
    write_rows(tmp_path / "own.jsonl", own_rows(1))
    with pytest.raises(ConfigError, match=r"no column topic; its columns are question, choices,"):
        add_questions(graph, sources, MultipleChoice(**asked, category_column="topic"), {})
    write_rows(tmp_path / "shots.jsonl", [{"question": "q", "A": "1", "B": "2"}])
    shown = asked | {"shots_path": "shots.jsonl", "shots": 1}
    with pytest.raises(ConfigError, match=r"shots\.jsonl has no column answer"):
        add_questions(graph, sources, MultipleChoice(**shown), {})
