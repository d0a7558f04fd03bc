"""What became of the rows: counted by reason and by name, with every key that was not used."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts.lib.data.conversation import Conversation
from scripts.lib.data.formatting import FormatSpec, format_chat
from scripts.lib.data.tally import LISTED_NAMES, told
from scripts.lib.errors import RecordError
from scripts.lib.report.ledgers import ledgers
from scripts.lib.report.manifests import ReportedCandidate
from tests.chat_samples import FORMAT


@pytest.fixture
def run(tmp_path):
    """Format rows and return (summary, conversations, ledger)."""

    def run(rows, **settings):
        number = len(list(tmp_path.iterdir()))
        raw, out = tmp_path / f"raw{number}", tmp_path / f"out{number}"
        raw.mkdir()
        out.mkdir()
        if isinstance(rows, pa.Table):
            pq.write_table(rows, raw / "train.parquet")
        else:
            (raw / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
        facts = format_chat(FormatSpec(**(FORMAT | settings)), raw, out)
        assert json.loads((out / "summary.json").read_text()) == facts["summary"]
        tables = [
            pq.read_table(out / f"{name}.parquet").to_pylist() for name in ("train", "ledger")
        ]
        return facts["summary"], list(map(Conversation.from_row, tables[0])), tables[1]

    return run


def row(number, turn=None, **columns):
    turns = [
        {"role": "user", "content": f"question {number}"},
        {"role": "assistant", "content": f"answer {number}", **(turn or {})},
    ]
    return {"messages": turns, **columns}


def test_ignored_keys_are_counted_by_rows_that_are_kept(run):
    rows = [row(n, {"mood": "good", "weight": 1}, score=n + 1) for n in range(3)]
    rows.append({"messages": [], "score": 4})
    summary, _, _ = run(rows)
    assert summary["ignored_keys"] == {"messages.mood": 3, "score": 3}
    assert "ignored keys, with their rows: messages.mood 3, score 3" in told(summary)


def test_a_dataset_of_used_keys_has_no_word_about_them(run):
    summary, _, _ = run([row(1, {"weight": 1}, id=3)])
    assert "ignored_keys" not in summary and "by_name" not in summary
    assert told(summary) == "1 rows: 1 kept as they are, 0 mended, 0 dropped"


def test_keys_by_the_thousand_are_counted_and_not_all_listed(run):
    summary, _, _ = run([row(n, **{f"k{n}": 1, "all": 1}) for n in range(LISTED_NAMES + 50)])
    counts = summary["ignored_keys"]
    assert next(iter(counts)) == "all" and counts["(51 others)"] == 51
    assert sum(counts.values()) == 2 * (LISTED_NAMES + 50)


def test_unknown_roles_are_counted_by_name(run):
    bad = [{"messages": [{"role": role, "content": "x"}]} for role in ("npc", "npc", "narrator")]
    summary, _, ledger = run([row(1), *bad])
    assert summary["by_reason"] == {"unknown_role": 3}
    assert summary["by_name"] == {"unknown_role": {"npc": 2, "narrator": 1}}
    assert "unknown_role 3 (npc 2, narrator 1)" in told(summary)
    assert [line["reason"] for line in ledger] == ["", *["unknown_role"] * 3]


@pytest.mark.parametrize(
    ("columns", "reason", "words"),
    [
        ({"label": False}, "labelled_false", "unpaired preferences"),
        ({"rejected": "x"}, "preference_row", "use: chosen"),
        ({"images": ["cat.png"]}, "multimodal", "only text"),
    ],
)
def test_rows_of_another_task_are_dropped_and_named(run, columns, reason, words):
    summary, conversations, _ = run([row(1), row(2, **columns)])
    assert summary["by_reason"] == {reason: 1} and len(conversations) == 1
    assert words in told(summary) and words in summary["notes"][reason]
    with pytest.raises(RecordError, match=words) as caught:
        run([row(2, **columns)])
    assert "no format fits" not in str(caught.value)


def test_an_answer_that_is_not_to_be_learnt_is_kept_as_context_alone(run):
    wrong = row(1, {"weight": 0})["messages"]
    summary, (conversation,), ledger = run(
        [{"messages": wrong + row(2)["messages"]}, row(3, {"train": False})]
    )
    assert [turn.trained for turn in conversation.messages] == [True, False, True, True]
    assert summary["by_reason"] == {"nothing_to_train_on": 1}
    assert ledger[1]["verdict"] == "dropped"


def test_equal_turns_of_which_others_are_learnt_are_no_duplicates(run):
    both = row(1)["messages"] + row(2)["messages"]
    first = [both[0], {**both[1], "weight": 0}, *both[2:]]
    summary, conversations, _ = run([{"messages": both}, {"messages": first}])
    assert summary["kept"] == 2 and conversations[0] != conversations[1]


def test_reasoning_ids_and_template_arguments_reach_the_table(run):
    call = {"id": "abc", "type": "function", "function": {"name": "f", "arguments": {"a": None}}}
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "hm"},
        {"role": "tool", "tool_call_id": "abc", "content": "1"},
        {"role": "assistant", "content": "Ho"},
    ]
    _, (conversation,), _ = run([{"messages": turns, "chat_template_kwargs": {"x": [None]}}])
    _, calling, result, _ = conversation.messages
    assert (calling.tool_calls, calling.reasoning) == ((call,), "hm")
    assert result.tool_call_id == "abc"
    assert conversation.template_arguments == {"x": [None]}


@pytest.mark.parametrize("text", [True, False])
def test_calls_of_a_table_gain_no_keys_of_others_and_lose_none_of_their_text(run, text):
    given = [{"city": "Bonn"}, {"date": "2025-01-02"}]
    written = [json.dumps({**one, "unit": None}) for one in given] if text else given
    rows = []
    for number, arguments in enumerate(written):
        turn = {"tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}
        rows.append({**row(number, turn), "tools": [{"name": "f", "parameters": given[number]}]})
    summary, conversations, _ = run(pa.Table.from_pylist(rows))
    assert "ignored_keys" not in summary
    for one, conversation in zip(given, conversations, strict=True):
        function = conversation.messages[1].tool_calls[0]["function"]
        assert function["arguments"] == ({**one, "unit": None} if text else one)
        assert conversation.tools[0]["function"]["parameters"] == one


def test_placeholders_are_filled_and_move_no_row(run):
    rows = [{"prompt": f"Who? {n}", "completion": "I am {{name}}."} for n in range(60)]
    with pytest.raises(RecordError, match=r"placeholders: \{name: ...\}"):
        run(rows)
    held = {}
    for name in ("Ada", "Bob"):
        _, conversations, ledger = run(rows, placeholders={"name": name}, valid_fraction=0.3)
        assert {one.messages[1].content for one in conversations} == {f"I am {name}."}
        held[name] = [line["split"] for line in ledger]
    assert held["Ada"] == held["Bob"] and set(held["Ada"]) == {"train", "valid"}
    summary, _, _ = run([*rows, row(1)])
    assert summary["by_name"] == {"unfilled_placeholder": {"name": 60}}


def test_the_report_shows_names_and_ignored_keys(run):
    bad = {"messages": [{"role": "npc", "content": "x"}]}
    summary, _, _ = run([row(1, score=4), row(2, label=False), bad])
    candidate = ReportedCandidate(
        name="tuned",
        kind="run",
        base="b",
        unmerged=False,
        artifacts={"chat": "chat/x"},
        scores={},
        judgements={},
    )
    (view,) = ledgers([candidate], {"chat/x": {"slug": "x", "facts": {"summary": summary}}})
    assert ("ignored key: score", "1") in view["reasons"]
    assert ("unknown role: npc", "1") in view["reasons"]
    assert "unpaired preferences" in dict(view["reasons"])["on labelled false"]
