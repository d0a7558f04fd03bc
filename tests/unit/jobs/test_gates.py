"""What a finding must be for a job to start."""

import pytest

from scripts.lib.errors import GateError
from scripts.lib.jobs.checks import check_gate

SUMMARY = {"rows": 10, "dropped": 2, "by_reason": {"empty": 2}, "dropped_fraction": 0.2}


def test_rows_dropped_up_to_the_limit_pass():
    check_gate("ledger", "chat/x", {"summary": SUMMARY}, 0.2)
    check_gate("ledger", "chat/x", {"summary": SUMMARY}, None)


def test_more_dropped_rows_are_refused_with_count_reasons_and_limit():
    with pytest.raises(GateError, match=r"chat/x: 2 of 10 rows.*empty.*0\.1.*ledger\.parquet"):
        check_gate("ledger", "chat/x", {"summary": SUMMARY}, 0.1)


def rendered(**dropped):
    return {"tokens": {"conversations": 10, "kept": 10 - sum(dropped.values()), "dropped": dropped}}


def test_conversations_lost_in_rendering_up_to_the_limit_pass():
    check_gate("rendering", "shards/x", rendered(), 0.0)
    check_gate("rendering", "shards/x", rendered(too_long=1, template_refuses=1), 0.2)


@pytest.mark.parametrize(
    ("dropped", "counts", "advice", "other"),
    [
        ({"template_refuses": 3}, "template_refuses 3", "`template`", "on_too_long"),
        ({"too_long": 3}, "too_long 3", "on_too_long: truncate", "`template`"),
        ({"template_refuses": 1, "too_long": 2}, "template_refuses 1, too_long 2", "`temp", "!"),
        ({"too_long": 2, "tools_not_rendered": 1}, "too_long 2, tools_not_re", "max_length", "!"),
    ],
)
def test_more_conversations_lost_in_rendering_are_refused_with_counts_and_what_helps(
    dropped, counts, advice, other
):
    with pytest.raises(GateError) as error:
        check_gate("rendering", "shards/x", rendered(**dropped), 0.2)
    text = str(error.value)
    assert text.startswith("shards/x: 3 of 10 conversations")
    assert counts in text and advice in text and other not in text
    assert "0.2" in text and "summary.json" in text


def verdict(word):
    return {"verdict": {"verdict": word, "evidence": "9 > 1.", "remedy": "Learn slower."}}


def test_a_healthy_verdict_passes():
    check_gate("verdict", "adapters/x", verdict("healthy"), None)


@pytest.mark.parametrize("word", ["overfitting", "diverging", "not_a_number"])
def test_any_other_verdict_is_refused_with_evidence_and_remedy(word):
    with pytest.raises(GateError, match=rf"{word}: 9 > 1\. Learn slower\."):
        check_gate("verdict", "adapters/x", verdict(word), None)


@pytest.mark.parametrize("kind", ["contract", "proof"])
def test_a_finding_that_holds_passes_and_one_that_does_not_names_the_failed_checks(kind):
    checks = [
        {"name": "prefix", "passed": True, "evidence": "fine"},
        {"name": "mask", "passed": False, "evidence": "token 3"},
        {"name": "end", "passed": False},
    ]
    check_gate(kind, "x/y", {kind: {"passed": True, "checks": checks}}, None)
    with pytest.raises(GateError, match=rf"the {kind} does not hold: mask: token 3; end") as error:
        check_gate(kind, "x/y", {kind: {"passed": False, "checks": checks}}, None)
    assert "fine" not in str(error.value)


def test_an_unknown_gate_is_no_open_gate():
    with pytest.raises(GateError, match="no gate 'door'"):
        check_gate("door", "x/y", {}, None)
