"""Rows of a user's benchmark that are no questions: told at planning, or left out and counted."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts.lib.artifacts.graph import Graph
from scripts.lib.artifacts.pins import read_lock
from scripts.lib.benchmarks.exact_match.options import ExactMatch
from scripts.lib.benchmarks.judged_pairs.options import JudgedPairs
from scripts.lib.benchmarks.mmlu.options import LocalMmlu
from scripts.lib.benchmarks.multiple_choice.options import MultipleChoice
from scripts.lib.errors import ConfigError
from scripts.lib.fetch.benchmarks import fetch_benchmark
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.remembered import HashMemory
from scripts.lib.plan.sources import add_questions
from scripts.lib.questions.bad_rows import count_left_out
from tests.unit.scoring_data import write_rows
from tests.workspace import ROOT

LOCK = read_lock(ROOT / "requirements.lock")

FOUR = {"question": "Which is hot?", "choices": ["ice", "sun", "moon", "sea"], "answer": 1}
"""A row in MMLU's form."""

OWN = {"question": "Which?", "A": "ice", "B": "sun", "C": "sea", "answer": "B", "field": "art"}

PROMPT = {"prompt": "Say one.", "answer": "one"}

# Every way in which a row can be no question: change of a good row, reason, what is told.
OWN_FAULTS = {
    "no question": ({"question": " "}, "without_question", "has no text in `question`"),
    "one choice": ({"B": "", "C": ""}, "unusable_choices", "needs 2 to 26 choices"),
    "an empty choice": ({"A": " "}, "unusable_choices", "has no text in choice A"),
    "equal choices": (
        {"C": "sun", "answer": "sun"},
        "equal_choices",
        "has 'sun' in `answer`, which is the text of B and C",
    ),
    "no answer": ({"answer": ""}, "without_answer", "has neither text nor a whole number"),
    "another answer": (
        {"answer": "D"},
        "answer_not_among_choices",
        "has 'D' in `answer`, which is none of its 3 choices",
    ),
    "no category": ({"field": ""}, "without_category", "has no text in `field`"),
}

MMLU_FAULTS = {
    "no question": ({"question": ""}, "without_question", "has no text in `question`"),
    "three choices": ({"choices": list("abc")}, "unusable_choices", "needs a list of 4 texts"),
    "a number": ({"choices": ["a", "b", "c", 4]}, "unusable_choices", "a choice that is not a"),
    "no answer": ({"answer": None}, "without_answer", "needs a whole number from 0 to 3"),
    "another answer": ({"answer": 4}, "answer_not_among_choices", "from 0 to 3 in `answer`, not 4"),
    "half a character": ({"question": "\ud800"}, "broken_characters", "has half of a character"),
}

TURN = {"role": "user", "content": "Say one."}

PROMPT_FAULTS = {
    "no prompt": ({"prompt": " "}, "without_prompt", "has no text in `prompt`"),
    "both": ({"messages": [TURN]}, "prompt_and_turns", "needs either `prompt` or `messages`"),
    "a system of numbers": (
        {"system": 1},
        "unusable_turns",
        "something else than text in `system`",
    ),
}

EXACT_FAULTS = PROMPT_FAULTS | {
    "no answer": ({"answer": 5}, "without_answer", "has no text in `answer`"),
}

JUDGED_FAULTS = PROMPT_FAULTS | {
    "another reference": ({"reference": 1}, "unusable_reference", "in `reference`"),
    "another category": ({"category": [1]}, "unusable_category", "in `category`"),
}


def write_table(path: Path, rows):
    """Write rows as what the suffix says; return the numbers that an error calls them by."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        # A blank line is no row, but it is a line.
        path.write_text("\n" + "".join(json.dumps(row) + "\n" for row in rows))
        return [f"{path}:{n}" for n in range(2, 2 + len(rows))]
    if path.suffix == ".csv":
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return [f"{path}:{n}" for n in range(2, 2 + len(rows))]
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return [f"{path}: row {n}" for n in range(1, 1 + len(rows))]


def plan(folder, benchmark, checks=None):
    """Plan a benchmark over local files; return its artifact."""
    sources = LocalSources((folder,), HashMemory(folder / "hashes.json"), checks)
    graph = Graph(lambda *_: "code", LOCK)
    return graph.artifacts[add_questions(graph, sources, benchmark, {}).id]


def fetch(artifact, out):
    """Fetch what was planned; return the facts and file -> its rows."""
    out.mkdir()
    spec = json.loads(json.dumps(artifact.spec))
    facts = fetch_benchmark(spec, [Path(source) for source in artifact.sources], out)
    return facts, {
        path.relative_to(out).as_posix(): [
            json.loads(line) for line in path.read_text().split("\n") if line
        ]
        for path in out.rglob("*.jsonl")
    }


def own(path, **options):
    return MultipleChoice(
        kind="multiple_choice", path=str(path), category_column="field", **options
    )


def refusal(folder, benchmark):
    with pytest.raises(ConfigError) as caught:
        plan(folder, benchmark)
    return str(caught.value)


SUFFIXES = ("jsonl", "json", "csv", "parquet")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", OWN_FAULTS)
def test_all_bad_rows_of_every_format_are_told_at_planning_or_left_out(tmp_path, suffix, name):
    change, reason, words = OWN_FAULTS[name]
    path = tmp_path / f"own.{suffix}"
    # The first row too, which planning may take for all.
    places = write_table(path, [OWN | change, OWN, OWN | {"field": "law"}, OWN | change])
    text = refusal(tmp_path, own(path))
    assert text.startswith("2 of 4 rows are no questions:")
    for place in (places[0], places[3]):
        assert f"{place} {words}" in text
    assert places[1] not in text
    assert "set `on_bad_row: leave_out`" in text

    facts, files = fetch(plan(tmp_path, own(path, on_bad_row="leave_out")), tmp_path / "out")
    assert facts["left_out"] == 2
    assert [row["question"] for row in files["test/art.jsonl"]] == ["Which?"]
    assert len(files["test/law.jsonl"]) == 1
    assert count_left_out(tmp_path / "out", (), examples=False) == {"questions": {reason: 2}}
    assert [(row["file"], row["reason"]) for row in files["left_out.jsonl"]] == [
        (f"test.{suffix}", reason)
    ] * 2


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_solved_questions_are_held_to_the_same(tmp_path, suffix):
    asked, solved = tmp_path / f"own.{suffix}", tmp_path / f"solved.{suffix}"
    write_table(asked, [OWN, OWN])
    places = write_table(solved, [OWN | {"answer": ""}, OWN, OWN])
    options = {"shots_path": str(solved), "shots": 2}
    assert places[0] in refusal(tmp_path, own(asked, **options))
    artifact = plan(tmp_path, own(asked, **options, on_bad_row="leave_out"))
    _, files = fetch(artifact, tmp_path / "out")
    assert len(files["dev/art.jsonl"]) == 2
    counted = {"examples": {"without_answer": 1}}
    assert count_left_out(tmp_path / "out", (), examples=True) == counted
    assert count_left_out(tmp_path / "out", (), examples=False) == {}
    few = own(asked, **options | {"shots": 3}, on_bad_row="leave_out")
    assert "holds 2 questions of art, but 3 shots" in refusal(tmp_path, few)


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


KINDS = {
    "exact_match": (ExactMatch, PROMPT, EXACT_FAULTS),
    "judged_pairs": (JudgedPairs, PROMPT, JUDGED_FAULTS),
}


def of_kind(kind, path, **options):
    more = {"judge": {"model": "m"}} if kind == "judged_pairs" else {}
    return KINDS[kind][0](kind=kind, path=str(path), **more, **options)


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in KINDS for name in KINDS[kind][2]]
)
@pytest.mark.parametrize("array", [False, True], ids=["lines", "an array"])
def test_rows_with_prompts_are_told_at_planning_or_left_out(tmp_path, kind, name, array):
    good, (change, reason, words) = KINDS[kind][1], KINDS[kind][2][name]
    path = tmp_path / "asked.jsonl"
    rows = [good | change, good | {"prompt": "Say two."}, good | change]
    path.write_text(
        json.dumps(rows, indent=1) if array else lines(rows[:2]) + "\n" + lines(rows[2:])
    )
    text = refusal(tmp_path, of_kind(kind, path))
    assert text.startswith("2 of 3 rows are no questions:")
    places = (": row 1 ", ": row 3 ") if array else (":1 ", ":4 ")
    assert all(f"{path}{place}" in text for place in places) and text.count(words) == 2
    facts, files = fetch(
        plan(tmp_path, of_kind(kind, path, on_bad_row="leave_out")), tmp_path / "o"
    )
    assert [row["prompt"] for row in files["questions.jsonl"]] == ["Say two."]
    assert facts["left_out"] == 2
    assert count_left_out(tmp_path / "o", (), examples=False) == {"questions": {reason: 2}}


@pytest.mark.parametrize("split", ["test", "dev"])
@pytest.mark.parametrize("name", MMLU_FAULTS)
def test_rows_in_mmlu_s_layout_are_told_at_planning_or_left_out(tmp_path, split, name):
    change, reason, words = MMLU_FAULTS[name]
    for place in ("test/virology", "test/anatomy", "dev/virology", "dev/anatomy"):
        bad = [FOUR | change] if place == f"{split}/anatomy" else []
        write_rows(tmp_path / f"q/{place}.jsonl", [FOUR, *bad, FOUR])
    asked = {"kind": "mmlu", "path": str(tmp_path / "q")}
    text = refusal(tmp_path, LocalMmlu(**asked, shots=2))
    assert text.startswith("1 of 9 rows is no question:")
    assert f"{tmp_path / 'q' / split / 'anatomy.jsonl'}:2 " in text and words in text
    artifact = plan(tmp_path, LocalMmlu(**asked, shots=2, on_bad_row="leave_out"))
    _, files = fetch(artifact, tmp_path / "out")
    assert files.pop("left_out.jsonl")[0]["row"] == 2
    assert {name: len(rows) for name, rows in files.items()} == {
        f"{part}/{subject}.jsonl": 2
        for part in ("dev", "test")
        for subject in ("anatomy", "virology")
    }
    part = {"test": "questions", "dev": "examples"}[split]
    for subjects in ((), ("anatomy",), ("anatomy", "virology")):
        found = count_left_out(tmp_path / "out", subjects, examples=True)
        assert found == {part: {reason: 1}}
    assert count_left_out(tmp_path / "out", ("virology",), examples=True) == {}
    few = LocalMmlu(**asked, shots=3, on_bad_row="leave_out")
    assert "3 few-shot examples of each subject are asked for" in refusal(tmp_path, few)


def test_equal_choices_are_no_fault_in_mmlu_s_layout(tmp_path):
    write_rows(
        tmp_path / "q/test/anatomy.jsonl", [FOUR | {"choices": ["ice", "ice", "moon", "sea"]}]
    )
    plan(tmp_path, LocalMmlu(kind="mmlu", path=str(tmp_path / "q"), shots=0))


def test_the_choices_of_a_published_suite_may_repeat_where_letters_are_asked_for(tmp_path):
    """CMMLU and C-Eval have such rows."""
    path = tmp_path / "own.csv"
    write_table(path, [OWN, OWN | {"C": "sun"}])
    facts, files = fetch(plan(tmp_path, own(path)), tmp_path / "out")
    assert facts["left_out"] == 0
    assert files["test/art.jsonl"][1]["choices"] == ["ice", "sun", "sun"]


def test_bad_rows_of_all_files_come_at_once_and_a_long_list_is_cut(tmp_path):
    for place, count in (("test/virology", 19), ("test/anatomy", 12), ("dev/anatomy", 1)):
        bad = [FOUR | {"answer": 7}] * count
        write_rows(tmp_path / f"q/{place}.jsonl", [FOUR, *bad])
    text = refusal(tmp_path, LocalMmlu(kind="mmlu", path=str(tmp_path / "q"), shots=1))
    assert text.startswith("32 of 35 rows are no questions:")
    told = [line for line in text.splitlines() if ".jsonl:" in line]
    assert len(told) == 20
    assert {Path(line.split()[0]).name.split(":")[0] for line in told} == {
        "anatomy.jsonl",
        "virology.jsonl",
    }
    assert "and 12 more" in text


BROKEN = {
    "own.jsonl": (lines([OWN]) + '{"question": "Wh', ":2 cannot be read"),
    "list.jsonl": (lines([OWN]) + "[1, 2]\n", ":2 is not an object"),
    "own.csv": ("question,A,B,answer,field\nq,1,2,A,art\nq,1\n", ":3 cannot be read"),
    "own.json": (json.dumps([OWN])[:-1] + ', {"question": "Wh', "from here on"),
    "latin.jsonl": (lines([OWN]).encode() + b'{"question": "\xe9"}\n', ":2 cannot be read"),
    "latin.csv": (
        b"question,A,B,answer,field\nq,1,2,A,art\n\xe9,1,2,A,art\n",
        "is not UTF-8",
    ),
}


@pytest.mark.parametrize("on_bad_row", ["error", "leave_out"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_never_half_read(tmp_path, name, on_bad_row):
    text, words = BROKEN[name]
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    told = refusal(tmp_path, own(path, on_bad_row=on_bad_row))
    assert words in told and name in told
    assert "leave_out" not in told


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("line", ['{"prompt": "Wh', "7", '{"prompt": "\xe9", "answer": "a"}'])
def test_broken_json_lines_are_never_left_out(tmp_path, kind, line):
    path = tmp_path / "asked.jsonl"
    bad = line.encode("latin-1")
    path.write_bytes(lines([PROMPT, PROMPT | {"prompt": ""}]).encode() + bad)
    assert "2 of 3 rows are no questions" in (told := refusal(tmp_path, of_kind(kind, path)))
    assert f"{path}:2 has no text" in told
    assert "`on_bad_row: leave_out` leaves 1 of them out" in told
    told = refusal(tmp_path, of_kind(kind, path, on_bad_row="leave_out"))
    assert told.startswith("1 of 3 rows is no question") and f"{path}:3 " in told


@pytest.mark.parametrize("on_bad_row", ["error", "leave_out"])
def test_an_answer_with_two_readings_is_asked_about_and_not_left_out(tmp_path, on_bad_row):
    path = tmp_path / "own.jsonl"
    write_table(path, [OWN, OWN | {"A": "B", "B": "A", "answer": "A"}])
    told = refusal(tmp_path, own(path, on_bad_row=on_bad_row))
    assert "say in the benchmark's `answers`" in told
    plan(tmp_path, own(path, on_bad_row=on_bad_row, answers="letter"))


@pytest.mark.parametrize("on_bad_row", ["error", "leave_out"])
def test_turns_without_a_template_contradict_the_benchmark_and_stay(tmp_path, on_bad_row):
    path = tmp_path / "asked.jsonl"
    path.write_text(lines([PROMPT, {"messages": [TURN], "answer": "one"}]))
    asked = {"chat_template": False, "on_bad_row": on_bad_row}
    told = refusal(tmp_path, of_kind("exact_match", path, **asked))
    assert f"{path}:2 has turns" in told and "need `chat_template: true`" in told
    plan(tmp_path, of_kind("exact_match", path, on_bad_row=on_bad_row))
