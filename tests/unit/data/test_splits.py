"""Rows are split by content or by group, held-out rows win, and a fraction holds something out."""

import json
from collections import Counter

import pyarrow.parquet as pq
import pytest

from scripts.lib.data.format_spec import FormatSpec
from scripts.lib.data.formatting import check_usable_rows, format_chat
from scripts.lib.data.records import source_files
from scripts.lib.errors import GateError, RecordError
from scripts.lib.jobs.checks import check_gate
from tests.chat_samples import FORMAT

SPLITS = ("train", "valid", "test")


@pytest.fixture
def run(tmp_path):
    """Format rows by source and return (summary, where each answer stands, ledger)."""

    def run(files, name="out", **settings):
        raw, out = tmp_path / f"{name}-raw", tmp_path / name
        raw.mkdir()
        out.mkdir()
        for source, rows in files.items():
            text = "\n".join(json.dumps(row) for row in rows)
            (raw / f"{source}.jsonl").write_text(text, encoding="utf-8")
        summary = format_chat(FormatSpec(**(FORMAT | settings)), raw, out)["summary"]
        paths = {split: out / f"{split}.parquet" for split in SPLITS}
        sides = {
            row["messages"][-1]["content"]: split
            for split, path in paths.items()
            if path.exists()
            for row in pq.read_table(path).to_pylist()
        }
        return summary, sides, pq.read_table(out / "ledger.parquet").to_pylist()

    return run


def pair(number, **more):
    return {"prompt": f"question {number}", "completion": f"answer {number}", **more}


def pairs(numbers, **more):
    return [pair(number, **more) for number in numbers]


def threads(numbers, *, of=4):
    """Return rows of which *of* at a time belong to one thread."""
    return [pair(number, thread_id=f"t{number // of}") for number in numbers]


def thread_of(answer, of=4):
    return int(answer.split()[-1]) // of


def reasons(ledger):
    return {(line["source"], line["row"]): line["reason"] for line in ledger if line["reason"]}


FRACTIONS = {"valid_fraction": 0.2, "test_fraction": 0.2}


# Groups


def test_rows_of_one_group_stand_in_one_split(run):
    summary, sides, _ = run({"train": threads(range(200))}, split_by="thread_id", **FRACTIONS)
    by_thread = {}
    for answer, split in sides.items():
        by_thread.setdefault(thread_of(answer), set()).add(split)
    assert len(by_thread) == 50 and all(len(splits) == 1 for splits in by_thread.values())
    assert set(sides.values()) == set(SPLITS)
    assert summary["notes"]["split_by"] == (
        "rows of one thread_id stand in one split: 200 in 50 groups"
    )


def test_a_group_may_stand_inside_an_object_and_its_column_is_no_ignored_key(run):
    rows = [pair(n, thread={"id": n // 4}) for n in range(100)]
    sides = run({"train": rows}, split_by="thread.id", valid_fraction=0.3)[1]
    plain = run({"train": threads(range(100))}, "plain", split_by="thread_id", valid_fraction=0.3)
    for found in (sides, plain[1]):
        assert len({(thread_of(answer), split) for answer, split in found.items()}) == 25
    assert "ignored_keys" not in plain[0]


def test_numbers_and_texts_that_read_alike_are_one_group(run):
    rows = [pair(n, thread=(n // 4, str(n // 4), float(n // 4))[n % 3]) for n in range(120)]
    _, sides, _ = run({"train": rows}, split_by="thread", valid_fraction=0.4)
    assert len({(thread_of(answer), split) for answer, split in sides.items()}) == 30


@pytest.mark.parametrize("nothing", [None, "", " ", float("nan")])
def test_a_row_without_a_value_stands_where_its_content_puts_it(run, nothing):
    alone = pairs(range(100), thread_id=nothing)
    summary, sides, _ = run(
        {"train": [*alone, pair(100, thread_id="a")]}, split_by="thread_id", **FRACTIONS
    )
    plain = run({"train": pairs(range(100))}, "plain", **FRACTIONS)[1]
    assert {answer: sides[answer] for answer in plain} == plain
    assert summary["notes"]["split_by"].endswith("; 100 without a value are split by their content")


def test_a_row_more_moves_no_other(run):
    """Neither one of a new group, nor of an old one, nor one without, wherever it is put."""
    rows = [*threads(range(160)), *pairs(range(1000, 1040)), pair(2000, thread_id=None)]
    settings = {"split_by": "thread_id", **FRACTIONS}
    before = run({"train": rows}, "before", **settings)[1]
    more = [pair(5000, thread_id="new"), pair(5001, thread_id="t3"), pair(5002), *pairs([5, 1003])]
    for number, row in enumerate(more):
        for place in (0, 77, len(rows)):
            found = [*rows[:place], row, *rows[place:]]
            after = run({"train": found}, f"after{number}-{place}", **settings)[1]
            assert {answer: after.get(answer) for answer in before} == before
    assert set(before.values()) == set(SPLITS)


def test_training_rows_whose_group_is_held_out_by_a_file_are_dropped(run):
    files = {
        "train": threads(range(16)),
        "valid": [pair(100, thread_id="t1")],
        "test": [pair(101, thread_id="t2"), pair(102, thread_id="t1")],
    }
    summary, sides, ledger = run(files, split_by="thread_id")
    assert summary["by_reason"] == {"group_of_test": 9}
    assert reasons(ledger) == {
        ("valid", 0): "group_of_test",
        **{("train", row): "group_of_test" for row in range(4, 12)},
    }
    details = {line["row"]: line["detail"] for line in ledger if line["source"] == "train"}
    assert details[8] == "its thread_id is that of test:0"
    assert Counter(sides.values()) == {"train": 8, "test": 2}
    check_gate("ledger", "chat/x", {"summary": summary}, 0.0)  # no fault of the rows


def test_a_column_that_no_row_has_is_refused(run):
    with pytest.raises(
        RecordError,
        match=r"no row has the column `thread`, which `split_by` names"
        r" \(did you mean `thread_id`\?\)",
    ):
        run({"train": threads(range(4))}, split_by="thread")


# At least one


@pytest.mark.parametrize("count", range(2, 12))
@pytest.mark.parametrize(
    "fractions",
    [{"valid_fraction": 0.05}, {"test_fraction": 0.05}, {"valid_fraction": 0.01, **FRACTIONS}],
)
def test_a_fraction_holds_something_out_of_few_rows(run, count, fractions):
    summary, sides, _ = run({"train": pairs(range(count))}, **fractions)
    assert summary["splits"]["train"] and len(sides) == count
    wanted = [name.removesuffix("_fraction") for name in fractions]
    assert all(summary["splits"][split] for split in wanted) or summary["splits"]["train"] == 1


def test_the_row_nearest_to_the_border_is_held_out(run):
    rows = {"train": pairs(range(40))}
    few = run(rows, "few", valid_fraction=1e-9)
    (held,) = [answer for answer, split in few[1].items() if split == "valid"]
    assert few[0]["notes"] == {
        "valid_fraction": "1e-09 of the rows drew none for valid, so the nearest is held out:"
        f" train:{held.split()[-1]}"
    }
    for number in range(1, 40):
        summary, sides, _ = run(rows, f"more{number}", valid_fraction=number / 40)
        drawn = {answer for answer, split in sides.items() if split == "valid"}
        assert held in drawn
        if "notes" not in summary:
            break
    else:
        pytest.fail("no fraction drew a row")


def test_a_group_is_held_out_as_a_whole_and_the_last_one_stays_for_training(run):
    settings = {"split_by": "thread_id", "valid_fraction": 1e-9}
    _, sides, _ = run({"train": threads(range(12))}, **settings)
    held = [answer for answer, split in sides.items() if split == "valid"]
    assert len(held) == 4 and len(set(map(thread_of, held))) == 1
    one = run({"train": threads(range(4))}, "one", **settings)
    assert set(one[1].values()) == {"train"} and "valid_fraction" not in one[0]["notes"]


def test_rows_that_were_drawn_stay_and_no_other_is_held_out(run):
    """The rule is for a fraction that drew nothing: elsewhere splits are as they were drawn."""
    summary, sides, _ = run({"train": pairs(range(300))}, **FRACTIONS)
    assert "notes" not in summary and set(sides.values()) == set(SPLITS)


def test_planning_refuses_just_what_formatting_leaves_without_a_row(run, tmp_path):
    """Over small datasets with repeated rows, groups, unusable rows and all kinds of fractions."""
    tried = Counter()
    for number in range(60):
        bad = {"prompt": "q", "completion": ""}
        rows = [*pairs(n % (1 + number % 3) for n in range(number % 5)), *[bad] * (number % 2)]
        rows = [{**row, "thread_id": ("a", None, str(n))[number % 3]} for n, row in enumerate(rows)]
        settings = {
            "split_by": (None, "thread_id")[number % 2 if rows else 0],
            "valid_fraction": (0.0, 0.05, 0.6)[number % 3],
            "test_fraction": (0.0, 0.3)[number // 2 % 2],
        }
        try:
            splits = run({"train": rows}, f"n{number}", **settings)[0]["splits"]
        except RecordError:
            splits = dict.fromkeys(SPLITS, 0)
        files = source_files(tmp_path / f"n{number}-raw")
        for split in SPLITS:
            try:
                check_usable_rows(FormatSpec(**(FORMAT | settings)), files, {split})
                passes = True
            except RecordError:
                passes = False
            if splits["train"]:
                assert passes == bool(splits[split]), (number, split, splits)
            elif split == "train":
                assert not passes
            tried[split, passes] += 1
    assert len(tried) == 6


def test_planning_says_what_to_do_about_a_split_without_a_row(tmp_path):
    def refusal(rows, **settings):
        (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
        with pytest.raises(RecordError) as error:
            spec = FormatSpec(**(FORMAT | settings))
            check_usable_rows(spec, source_files(tmp_path), {"valid"})
        return str(error.value)

    words = refusal(pairs(range(9)), valid_fraction=0.0)
    assert "none of 9 rows is held out as valid; raise valid_fraction, which is 0.0" in words
    group = {"split_by": "thread_id", "valid_fraction": 0.5}
    words = refusal(threads(range(4)), **group)
    assert "there is but one group by thread_id, which training keeps: add rows" in words
    assert "no row has the column `thread`, which `split_by` names" in refusal(
        threads(range(4)), split_by="thread"
    )


# Duplicates across splits


def test_equal_rows_across_splits_are_counted_apart_and_test_wins(run):
    files = {
        "train": [*pairs(range(6)), pair(0)],
        "valid": pairs([1, 3, 20, 20]),
        "test": pairs([2, 3]),
    }
    summary, sides, ledger = run(files)
    assert summary["by_reason"] == {
        "duplicate": 2,
        "duplicate_of_test": 3,
        "duplicate_of_valid": 1,
    }
    assert reasons(ledger) == {
        ("valid", 1): "duplicate_of_test",
        ("valid", 3): "duplicate",
        ("train", 1): "duplicate_of_valid",
        ("train", 2): "duplicate_of_test",
        ("train", 3): "duplicate_of_test",
        ("train", 6): "duplicate",
    }
    assert sides["answer 3"] == "test" and sides["answer 1"] == "valid"
    check_gate("ledger", "chat/x", {"summary": summary}, 0.0)


def test_of_equal_rows_of_two_groups_the_one_in_test_stays_wherever_it_is(run):
    """The groups of equal rows are drawn apart, so that one conversation may be drawn twice."""
    rows = [pair(n, thread_id=f"{side}{n}") for side in "ab" for n in range(100)]
    summary, sides, ledger = run({"train": rows}, split_by="thread_id", **FRACTIONS)
    assert len(sides) == 100 and summary["dropped"] == 100
    counts = summary["by_reason"]
    assert set(counts) == {"duplicate", "duplicate_of_test", "duplicate_of_valid"}
    assert any(
        line["reason"] == "duplicate_of_test" and line["detail"].endswith(f":{line['row'] + 100}")
        for line in ledger[:100]
    )


# Near duplicates


LONG = (
    "The ferry leaves the harbour at eight every morning and it takes about two hours to reach"
    " the island where the lighthouse keeper waits with coffee and bread for whoever comes along"
)
NEAR = {
    "near_duplicates": {
        "threshold": 0.8,
        "method": "minhash",
        "shingle_words": 5,
        "permutations": 128,
    }
}


def answered(text, **more):
    return {"prompt": "When does the ferry leave?", "completion": text, **more}


def test_near_duplicates_stay_unless_they_are_asked_for(run):
    rows = {"train": [answered(LONG), answered(f"{LONG}!"), *pairs(range(4))]}
    assert run(rows, "off")[0]["dropped"] == 0
    summary, sides, ledger = run(rows, "on", **NEAR)
    assert summary["by_reason"] == {"near_duplicate": 1} and LONG in sides
    assert ledger[1]["detail"] == "alike to train:0: about 1.00 of the shingles of both"
    assert "minhash with 128 permutations" in summary["notes"]["near_duplicates"]
    check_gate("ledger", "chat/x", {"summary": summary}, 0.0)


def test_of_near_duplicates_the_held_out_row_stays(run):
    files = {
        "train": [answered(LONG), *pairs(range(4))],
        "test": [answered(f"{LONG} yesterday"), answered(f"{LONG} today")],
    }
    summary, sides, ledger = run(files, **NEAR)
    assert summary["by_reason"] == {"near_duplicate": 1, "near_duplicate_of_test": 1}
    assert sides[f"{LONG} yesterday"] == "test" and LONG not in sides
    assert ledger[2]["detail"].startswith("alike to test:0: about 0.9")


def test_a_long_system_turn_makes_no_two_rows_alike(run):
    rows = {"train": pairs(range(6))}
    assert run(rows, system=LONG * 5, **NEAR)[0]["dropped"] == 0


def test_a_dataset_whose_rows_cannot_be_read_is_still_stopped(run):
    rows = {"train": [*pairs([1, 1]), *[{"prompt": "a", "completion": ""}] * 2]}
    summary = run(rows)[0]
    with pytest.raises(GateError, match="2 of 4 rows had to be dropped"):
        check_gate("ledger", "chat/x", {"summary": summary}, 0.1)
