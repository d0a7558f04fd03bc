"""What a finding must be for a job to start."""

import pytest

from scripts.lib.errors import GateError
from scripts.lib.gates import check_gate

SUMMARY = {"rows": 10, "dropped": 2, "by_reason": {"empty": 2}, "dropped_fraction": 0.2}


def test_rows_dropped_up_to_the_limit_pass():
    check_gate("ledger", "chat/x", {"summary": SUMMARY}, 0.2)
    check_gate("ledger", "chat/x", {"summary": SUMMARY}, None)


def test_more_dropped_rows_are_refused_with_count_reasons_and_limit():
    with pytest.raises(GateError, match=r"chat/x: 2 of 10 rows.*empty.*0\.1.*ledger\.parquet"):
        check_gate("ledger", "chat/x", {"summary": SUMMARY}, 0.1)


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
