"""Run programs that a model wrote, each in a process of its own with limits.

Only tasks that the configuration allows to (`run_generated_code: true`) come here. Each program
gets an empty folder, no environment, no input, limits of time and memory, and neither files to
write nor processes to start; where the system lets an ordinary user make namespaces, also no
network and no sight of other processes' ids. This catches accidents. It is no sandbox against an
attacker: docs/benchmarks.md tells where it ends.
"""

import contextlib
import functools
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from scripts.lib.benchmarks.lm_eval import confinement

# A network and process ids of its own; all that it started dies with it.
NAMESPACES = (
    *("unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child=KILL"),
    "--",
)

# Hashes of texts decide the order of sets: one seed, or a program passes on some days only.
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a program may use.

    Attributes:
        cpu_seconds: Processor time. It decides, so that a busy machine judges as an idle one does.
        wall_seconds: Time on the clock, for a program that sleeps or waits.
        memory_bytes: Address space.
    """

    cpu_seconds: int = 5
    wall_seconds: float = 30.0
    memory_bytes: int = 2 << 30


def passes(
    program: str, limits: Limits | None = None, *, wrapper: Sequence[str] | None = None
) -> bool:
    """Tell whether a Python program runs to its end within its limits.

    Leaving early, even with exit code 0, is no end.

    Args:
        program: Its source.
        limits: What it may use.
        wrapper: Command in front of Python's; namespaces where the system has them.
    """
    limits = limits or Limits()
    token = secrets.token_hex(16)
    request = json.dumps({"program": program, "token": token, "limits": asdict(limits)})
    command = [
        *(namespaces() if wrapper is None else wrapper),
        *(sys.executable, "-P", "-s", "-B", confinement.__file__),
    ]
    with tempfile.TemporaryDirectory(prefix="generated-") as empty:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=empty,
            env=_ENVIRONMENT,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(request.encode(), timeout=limits.wall_seconds)
        except subprocess.TimeoutExpired:
            said = b""
        finally:
            _end(process)
    return said == token.encode()


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a program and what it started, as far as that is in its process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # Not communicate(), which waits until nobody holds the other end.
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


@functools.cache
def namespaces() -> tuple[str, ...]:
    """Return the command that gives a process namespaces of its own, empty where none may be."""
    try:
        tried = subprocess.run([*NAMESPACES, "true"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return NAMESPACES if tried.returncode == 0 else ()
