"""Rows that are left out of a benchmark: what stays, what is remembered, what is refused."""

import pytest

from scripts.lib.benchmarks.judged_pairs.options import JudgedPairs
from scripts.lib.benchmarks.mmlu.options import LocalMmlu
from scripts.lib.benchmarks.multiple_choice import rows as choice_rows
from scripts.lib.errors import ConfigError
from scripts.lib.files import sha256_of
from scripts.lib.plan.remembered import CheckMemory
from scripts.lib.questions.bad_rows import count_left_out
from tests.unit.plan.test_bad_rows import (
    FOUR,
    OWN,
    PROMPT,
    fetch,
    lines,
    of_kind,
    own,
    plan,
    refusal,
    write_table,
)
from tests.unit.scoring_data import write_rows


@pytest.mark.parametrize("on_bad_row", ["error", "leave_out"])
def test_a_benchmark_without_a_good_row_is_an_error_either_way(tmp_path, on_bad_row):
    path = tmp_path / "own.csv"
    write_table(path, [OWN | {"answer": ""}] * 2)
    told = refusal(tmp_path, own(path, on_bad_row=on_bad_row))
    assert f"{path}:2 " in told and f"{path}:3 " in told
    path = tmp_path / "asked.jsonl"
    path.write_text(lines([{"prompt": "Say one."}]))
    assert "asked.jsonl:1 " in refusal(
        tmp_path, of_kind("exact_match", path, on_bad_row=on_bad_row)
    )
    for place, answer in (("test/anatomy", 9), ("test/virology", 1)):
        write_rows(tmp_path / f"q/{place}.jsonl", [FOUR | {"answer": answer}])
    asked = LocalMmlu(kind="mmlu", path=str(tmp_path / "q"), shots=0, on_bad_row=on_bad_row)
    assert "anatomy.jsonl:1 " in refusal(tmp_path, asked)


def test_a_category_does_not_vanish_without_a_word(tmp_path):
    path = tmp_path / "own.csv"
    write_table(path, [OWN, OWN | {"field": "law", "answer": ""}])
    told = refusal(tmp_path, own(path, on_bad_row="leave_out"))
    assert "no question is left of 'law'" in told


def test_a_column_is_missing_only_where_no_row_has_it(tmp_path):
    path = tmp_path / "own.jsonl"
    without = {key: value for key, value in OWN.items() if key != "answer"}
    write_table(path, [without, OWN])
    assert ":2 has neither text" in refusal(tmp_path, own(path))
    write_table(path, [without, without])
    assert "has no column answer; its columns are question, A, B" in refusal(tmp_path, own(path))


def test_a_bad_first_example_does_not_make_the_examples_those_of_all_categories(tmp_path):
    path, solved = tmp_path / "own.jsonl", tmp_path / "solved.jsonl"
    write_table(path, [OWN, OWN | {"field": "law"}])
    without = {key: value for key, value in OWN.items() if key != "field"}
    write_table(solved, [without, OWN, OWN | {"question": "Law?", "field": "law"}])
    asked = own(path, shots_path=str(solved), shots=1, on_bad_row="leave_out")
    _, files = fetch(plan(tmp_path, asked), tmp_path / "out")
    assert [row["question"] for row in files["dev/law.jsonl"]] == ["Law?"]
    assert count_left_out(tmp_path / "out", (), examples=True) == {
        "examples": {"without_category": 1}
    }


@pytest.mark.parametrize("kind", ["multiple_choice", "exact_match", "mmlu"])
def test_leave_out_changes_no_byte_of_a_benchmark_that_has_no_bad_row(tmp_path, kind):
    write_table(tmp_path / "own.csv", [OWN, OWN])
    (tmp_path / "asked.jsonl").write_text(lines([PROMPT])[:-1])
    write_rows(tmp_path / "q/test/anatomy.jsonl", [FOUR])
    make = {
        "multiple_choice": lambda **o: own(tmp_path / "own.csv", **o),
        "exact_match": lambda **o: of_kind("exact_match", tmp_path / "asked.jsonl", **o),
        "mmlu": lambda **o: LocalMmlu(kind="mmlu", path=str(tmp_path / "q"), shots=0, **o),
    }[kind]
    written = []
    for on_bad_row in ("error", "leave_out"):
        out = tmp_path / on_bad_row
        fetch(plan(tmp_path, make(on_bad_row=on_bad_row)), out)
        files = [path for path in sorted(out.rglob("*")) if path.is_file()]
        written.append({path.relative_to(out): path.read_bytes() for path in files})
    assert written[0] == written[1]


def test_lines_that_stay_are_kept_byte_for_byte(tmp_path):
    path = tmp_path / "asked.jsonl"
    kept = b'{ "prompt":"\xc3\xa9",  "answer": "\\u00e9" }'
    path.write_bytes(b'\xef\xbb\xbf{"prompt": ""}\r\n' + kept + b"\r\n\r\n" + kept)
    fetch(plan(tmp_path, of_kind("exact_match", path, on_bad_row="leave_out")), tmp_path / "out")
    assert (tmp_path / "out/questions.jsonl").read_bytes() == kept + b"\r\n\r\n" + kept


def test_rows_that_were_read_are_not_read_again(tmp_path, monkeypatch):
    """Planning has to stay quick, however large the files are."""
    path = tmp_path / "own.csv"
    write_table(path, [OWN, OWN | {"answer": ""}])
    read = []
    honest = choice_rows.read_choices

    def counted(spec, places):
        read.append(spec.get("on_bad_row", "error"))
        return honest(spec, places)

    monkeypatch.setattr(choice_rows, "read_choices", counted)

    def start(on_bad_row, code="a"):
        checks = CheckMemory(tmp_path / "checks.json", code)
        try:
            plan(tmp_path, own(path, on_bad_row=on_bad_row), checks)
        finally:
            checks.save()

    for _ in range(2):
        start("leave_out")
    assert read == ["leave_out"]
    for _ in range(2):
        with pytest.raises(ConfigError):
            start("error")
    assert read == ["leave_out", "error", "error"], "an error comes until it is corrected"
    start("leave_out", code="b")
    write_table(path, [OWN, OWN])
    start("leave_out", code="b")
    assert read[3:] == ["leave_out"] * 2, "other checks and other rows are another question"
    (tmp_path / "checks.json").write_text("{")
    start("leave_out")
    assert len(read) == 6


def test_a_file_that_changed_after_planning_is_refused_with_rows_left_out(tmp_path):
    path = tmp_path / "asked.jsonl"
    path.write_text(lines([PROMPT, {"prompt": ""}]))
    artifact = plan(tmp_path, of_kind("exact_match", path, on_bad_row="leave_out"))
    assert artifact.spec["files"]["questions.jsonl"] == sha256_of(path)
    path.write_text(lines([PROMPT, PROMPT, {"prompt": ""}]))
    with pytest.raises(ConfigError, match="changed while it was planned"):
        fetch(artifact, tmp_path / "out")


def test_what_a_dataset_holds_out_has_a_gate_of_its_own():
    judge = {"model": "m"}
    with pytest.raises(ValueError, match="max_dropped_fraction"):
        JudgedPairs(kind="judged_pairs", dataset="d", judge=judge, on_bad_row="leave_out")
