"""What jobs say of themselves reaches whoever watches, and nobody is told twice."""

import os
import threading
import time
from pathlib import Path

import pytest

from scripts.lib import progress
from scripts.lib.jobs.progress import SILENT_SECONDS, Repeater, progress_file, running
from scripts.lib.progress import VARIABLE, Count, note


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let notes follow one another; tests have no time."""
    monkeypatch.setattr(progress, "_LEAST_SECONDS", 0.0)
    monkeypatch.delenv(VARIABLE, raising=False)


def test_a_job_outside_a_workflow_writes_nothing(tmp_path: Path) -> None:
    note("step 1 of 2")
    assert list(tmp_path.iterdir()) == []


def test_what_a_job_says_is_there_until_it_ends(tmp_path: Path) -> None:
    with progress_file(tmp_path, "adapters/mine-1"):
        note("step 1 of 2", left_seconds=3.0)
        note("step 2 of 2", left_seconds=0.0, last=True)
        (one,) = running(tmp_path)
        assert (one.id, one.text, one.left_seconds) == ("adapters/mine-1", "step 2 of 2", 0.0)
        assert one.said == pytest.approx(time.time(), abs=60)
    assert running(tmp_path) == [] and VARIABLE not in os.environ


def test_a_job_that_fails_takes_its_word_away(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), progress_file(tmp_path, "adapters/mine-1"):
        note("step 1 of 2")
        raise ZeroDivisionError
    assert running(tmp_path) == []


def test_a_full_disk_does_not_end_a_job(tmp_path: Path) -> None:
    (tmp_path / ".progress").write_text("no folder")
    with progress_file(tmp_path, "adapters/mine-1"):
        note("step 1 of 2")
    assert running(tmp_path) == []


def test_notes_in_short_order_are_one_and_the_last_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_LEAST_SECONDS", 3600.0)
    with progress_file(tmp_path, "scores/short-order"):
        for step in range(5):
            note(f"step {step}")
        assert [one.text for one in running(tmp_path)] == ["step 0"]
        note("step 5", last=True)
        assert [one.text for one in running(tmp_path)] == ["step 5"]


def test_a_line_is_repeated_once_and_old_ones_of_killed_jobs_never(tmp_path: Path) -> None:
    said: list[str] = []
    with progress_file(tmp_path, "scores/killed"):
        note("question 1")
        repeater = Repeater(tmp_path, said.append)
        with progress_file(tmp_path, "scores/alive"):
            note("question 2")
            repeater.look()
            repeater.look()
            assert said == ["scores/alive: question 2"]
            note("question 3")
            repeater.look()
            assert said[1:] == ["scores/alive: question 3"]


def test_a_workflow_repeats_by_itself_and_ends_its_thread(tmp_path: Path) -> None:
    heard = threading.Event()
    with progress_file(tmp_path, "scores/alive"), Repeater(tmp_path, lambda _: heard.set(), 0.01):
        note("question 2")
        assert heard.wait(60)
    assert all(thread.name != "progress" for thread in threading.enumerate())


def test_a_silent_job_is_told_as_such(tmp_path: Path) -> None:
    with progress_file(tmp_path, "scores/alive"):
        note("question 2")
        (one,) = running(tmp_path)
    assert "nothing since" not in one.words(one.said + SILENT_SECONDS / 2)
    assert "nothing since" in one.words(one.said + 2 * SILENT_SECONDS)


def test_what_is_no_note_is_passed_over(tmp_path: Path) -> None:
    for name, text in (("a", "{"), ("b", "[]"), ("c", '{"text": "x"}')):
        place = tmp_path / ".progress" / "scores" / f"{name}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    assert running(tmp_path) == []


def test_what_is_counted_is_told_with_what_is_left(tmp_path: Path) -> None:
    with progress_file(tmp_path, "shards/mine-1"):
        count = Count("conversations rendered", 2_000)
        count.add(500)
        (one,) = running(tmp_path)
        assert one.text.startswith("500 of 2,000 conversations rendered, about ")
        assert one.left_seconds is not None
        count.add(1_500)
        (one,) = running(tmp_path)
        assert one.left_seconds == 0
        Count("rows read").add(7)  # a file tells nobody how many it has
        (one,) = running(tmp_path)
        assert one.text.startswith("7 rows read, ") and one.left_seconds is None


def test_a_log_has_a_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1_000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    count = Count("rows written", 1_000)
    for _ in range(180):
        now += 1
        count.add(5)
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" of ")[0] for line in said] == ["300", "600", "900"]
