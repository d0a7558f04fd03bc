"""Blocks of rows go through several processes and come back as if there were one."""

import os
import pickle
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from scripts.lib.data.processes import AHEAD, in_processes
from scripts.lib.data.records import UnusableRow
from scripts.lib.data.roles import NamedFault
from scripts.lib.errors import RecordError, RoomError
from tests.unit.data.block_work import dying_at, failing_at, scaled_by, telling_its_process

ROOT = Path(__file__).parents[3]


def blocks_of(numbers, size=3):
    for start in range(0, len(numbers), size):
        yield list(numbers[start : start + size])


@pytest.mark.parametrize("processes", [1, 3])
def test_results_come_in_the_order_of_the_blocks(processes):
    blocks = list(blocks_of(range(40)))
    found = list(in_processes(partial(scaled_by, 3), blocks, processes, at_home=1))
    assert found == [[3 * number for number in block] for block in blocks]


def test_few_blocks_start_no_process(tmp_path):
    start = partial(telling_its_process, tmp_path)
    found = list(in_processes(start, [[1], [2]], 4, at_home=2))
    assert found == [(os.getpid(), [1]), (os.getpid(), [2])]


def test_many_blocks_go_to_others(tmp_path):
    start = partial(telling_its_process, tmp_path)
    found = list(in_processes(start, [[n] for n in range(20)], 2, at_home=2))
    assert [block for _, block in found] == [[n] for n in range(20)]
    assert {process for process, _ in found[:2]} == {os.getpid()}
    assert os.getpid() not in {process for process, _ in found[2:]}
    assert len(list(tmp_path.iterdir())) <= 3


def test_each_process_lets_tokenizers_have_one_thread(monkeypatch):
    monkeypatch.delenv("RAYON_NUM_THREADS", raising=False)
    told = in_processes(partial(partial, os.getenv), ["RAYON_NUM_THREADS"] * 2, 2, at_home=0)
    assert list(told) == ["1", "1"]


def test_blocks_are_read_a_few_ahead():
    read = []

    def blocks():
        for number in range(100):
            read.append(number)
            yield [number]

    for done, _ in enumerate(in_processes(partial(scaled_by, 1), blocks(), 2, at_home=0), start=1):
        assert len(read) <= done + 2 * AHEAD
    assert done == 100


@pytest.mark.parametrize(
    "error",
    [
        RecordError("rows.jsonl cannot be read: it is cut short; fetch it anew"),
        UnusableRow("not_json", "line 3: a comma is missing"),
        NamedFault("unfilled_placeholder", "{{name}} stands in a turn", ("name",)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_says_the_same_in_another_process(error):
    there = pickle.loads(pickle.dumps(error))
    assert (type(there), str(there), vars(there)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_comes_back_in_the_same_words_and_at_its_place(processes):
    start = partial(failing_at, 13, RecordError("rows.jsonl is cut short; fetch it anew"))
    found = []
    with pytest.raises(RecordError) as caught:
        for one in in_processes(start, blocks_of(range(40)), processes, at_home=1):
            found.append(one)
    assert str(caught.value) == "rows.jsonl is cut short; fetch it anew"
    assert found == [sum(block) for block in blocks_of(range(12))]


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_of_the_blocks_comes_behind_what_was_read_before_it(processes):
    def blocks():
        yield from blocks_of(range(30))
        raise RecordError("the file ends here")

    found = []
    with pytest.raises(RecordError, match="the file ends here"):
        for one in in_processes(partial(scaled_by, 1), blocks(), processes, at_home=1):
            found.append(one)
    assert len(found) == 10


@pytest.mark.parametrize("size", [3, 2_000_000])
def test_a_killed_process_ends_the_work_with_words(size):
    """Also where large blocks wait in its queue, which a dead process never empties."""
    blocks = [[number, "x" * size] for number in range(20)]
    with pytest.raises(RoomError, match=r"one of 2 processes .* was killed.*memory"):
        list(in_processes(partial(dying_at, 5), blocks, 2, at_home=1))


def test_whoever_stops_asking_ends_the_processes(tmp_path):
    results = in_processes(
        partial(telling_its_process, tmp_path), [[n] for n in range(99)], 2, at_home=0
    )
    process, _ = next(results)
    results.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_no_process_outlives_a_job_that_is_killed(tmp_path):
    call = "import sys; from tests.unit.data.block_work import work_forever as w; w(sys.argv[1])"
    job = subprocess.Popen([sys.executable, "-c", call, str(tmp_path)], cwd=ROOT)

    def others():
        return {int(path.name) for path in tmp_path.iterdir()} - {job.pid}

    try:
        wait_for(lambda: len(others()) >= 2)
    finally:
        job.kill()
        job.wait()
    wait_for(lambda: not any(map(is_running, others())))


def is_running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(holds, seconds=60):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "nothing happened for a minute"
        time.sleep(0.05)
