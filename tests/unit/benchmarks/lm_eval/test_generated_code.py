"""Programs that a model wrote are judged by what they do, and kept from doing more."""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from scripts.lib.benchmarks.lm_eval import confinement
from scripts.lib.benchmarks.lm_eval.generated_code import (
    CodeEval,
    Limits,
    local_code_eval,
    namespaces,
    pass_at,
    passes,
)

QUICK = Limits(cpu_seconds=1, wall_seconds=20.0, memory_bytes=512 << 20)
MODES = pytest.mark.parametrize("wrapper", [None, ()], ids=["namespaces", "plain"])

ROW = {
    "task_id": "Made/0",
    "prompt": 'def double(n):\n    """Return twice n."""\n',
    "canonical_solution": "    return 2 * n\n",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(0) == 0\n",
    "entry_point": "double",
}


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (ROW["canonical_solution"], 1.0),
        ("    return n + 2\n", 0.0),
        ("    return 2 *", 0.0),
        ("", 0.0),
        ("    raise SystemExit(0)\n", 0.0),
        ("    import os\n    os._exit(0)\n", 0.0),
        ("    return 2 * n\n\nprint('loud' * 100000)\n", 1.0),
        ("    return 2 * n\n\nclass Bad(BaseException): pass\nraise Bad\n", 0.0),
        ("    import numpy\n    return int(numpy.add(n, n))\n", 1.0),
    ],
)
def test_a_candidate_is_right_when_the_tests_run_to_their_end(answer, right):
    tests = f"{ROW['test']}\ncheck({ROW['entry_point']})"
    found, _ = CodeEval().compute(references=[tests], predictions=[[ROW["prompt"] + answer]])
    assert found == {"pass@1": right}


def test_pass_at_k_is_the_chance_of_one_right_among_k():
    assert pass_at(1, 4, 1) == 0.25
    assert pass_at(2, 4, 1) == 0.5
    assert pass_at(2, 4, 3) == 1.0
    found, _ = CodeEval().compute(
        references=["assert f()"] * 2,
        predictions=[["def f(): return 1", "def f(): return 0"], ["", ""]],
        k=[1, 2, 3],
    )
    assert found == {"pass@1": 0.25, "pass@2": 0.5}


def test_tasks_that_run_code_are_read_without_the_hub(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delitem(sys.modules, "evaluate", raising=False)
    with local_code_eval():
        from lm_eval.tasks.humaneval import utils
    answers = utils.build_predictions([[ROW["canonical_solution"]]], [ROW])
    tests = [f"{ROW['test']}\ncheck({ROW['entry_point']})"]
    assert utils.pass_at_k(tests, answers, [1]) == {"pass@1": 1.0}
    assert "evaluate" not in sys.modules, "the stand-in is gone, and the package was not needed"


def test_other_metrics_come_from_the_package_itself(monkeypatch):
    package = ModuleType("evaluate")
    package.load, package.combine = (lambda name: f"the hub's {name}"), "combine"
    monkeypatch.setitem(sys.modules, "evaluate", package)
    with local_code_eval():
        import evaluate as seen

        assert isinstance(seen.load("code_eval"), CodeEval)
        assert (seen.load("rouge"), seen.combine) == ("the hub's rouge", "combine")
    assert sys.modules["evaluate"] is package


@MODES
def test_an_endless_program_is_stopped_by_its_processor_time(wrapper):
    before = os.times()
    assert not passes("while True: pass", QUICK, wrapper=wrapper)
    spent = os.times().children_user - before.children_user
    assert spent < 3 * QUICK.cpu_seconds


@MODES
def test_a_sleeping_program_is_stopped_by_the_clock(wrapper):
    limits = Limits(wall_seconds=1.0)
    assert not passes("import time; time.sleep(600)", limits, wrapper=wrapper)


@MODES
def test_memory_is_limited(wrapper):
    assert passes("kept = bytearray(64 << 20)", QUICK, wrapper=wrapper)
    assert not passes("kept = bytearray(1 << 30)", QUICK, wrapper=wrapper)


@MODES
def test_no_file_is_written_anywhere(wrapper, tmp_path):
    inside = "open('made', 'w').write('x' * 10)"
    assert not passes(inside, QUICK, wrapper=wrapper)
    outside = tmp_path / "kept"
    outside.write_text("kept")
    assert not passes(f"open({str(outside)!r}, 'r+').write('spoilt')", QUICK, wrapper=wrapper)
    assert outside.read_text() == "kept"


@pytest.mark.skipif(confinement.landlock_version() < 1, reason="this kernel has no Landlock")
@MODES
def test_no_file_is_removed_or_emptied_where_the_kernel_can_refuse(wrapper, tmp_path):
    kept = tmp_path / "kept"
    kept.write_text("kept")
    assert not passes(f"import os; os.remove({str(kept)!r})", QUICK, wrapper=wrapper)
    assert not passes(f"import os; os.truncate({str(kept)!r}, 0)", QUICK, wrapper=wrapper)
    assert not passes("import os; os.mkdir('made')", QUICK, wrapper=wrapper)
    assert kept.read_text() == "kept"


def test_the_program_starts_in_an_empty_folder_without_the_users_environment(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "s")
    program = "import os; assert os.listdir('.') == [] and 'SECRET_TOKEN' not in os.environ"
    assert passes(program, QUICK)


def test_programs_leave_no_folder_behind(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    passes("pass", QUICK)
    passes("while True: pass", QUICK)
    assert list(tmp_path.iterdir()) == []


def test_no_other_program_is_started():
    program = "import subprocess; subprocess.run(['true'], check=True)"
    assert not passes(program, QUICK)


@pytest.mark.skipif(not namespaces(), reason="an ordinary user makes no namespaces here")
def test_what_a_program_started_dies_with_it(monkeypatch, tmp_path):
    """Even in a session of its own, which no process group reaches."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    daemon = "import os, time\nif os.fork() == 0: os.setsid(); time.sleep(600)\n"
    passes(daemon, QUICK)
    assert not [place for place in folders_in_use() if place.startswith(str(tmp_path))]


def folders_in_use() -> list[str]:
    """Return the working directory of every process that this user may look at."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(process / "cwd"))
    return found


@pytest.mark.skipif(not namespaces(), reason="an ordinary user makes no namespaces here")
def test_there_is_no_network():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connect = f"import socket; socket.create_connection(('127.0.0.1', {port}), 1)"
        assert not passes(connect, QUICK)
        send = "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))"
        assert not passes(send, QUICK)


def test_the_order_of_sets_is_the_same_each_time():
    asked = [sys.executable, "-c", "print(hash('a'))"]
    seeded = {"PYTHONHASHSEED": "0"}
    value = subprocess.run(asked, env=seeded, capture_output=True, text=True, check=True).stdout
    assert passes(f"assert hash('a') == {value}", QUICK)
