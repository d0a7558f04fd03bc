"""Judge programs that a model wrote: each runs in a process of its own with limits.

Only tasks that the configuration allows to (`run_generated_code: true`) come here. Each program
gets an empty folder, no environment, no input, limits of time and memory, and neither files to
write nor processes to start; where the system lets an ordinary user make namespaces, also no
network and no sight of other processes' ids. This catches accidents. It is no sandbox against an
attacker: docs/benchmarks.md tells where it ends.

lm-eval's tasks (humaneval, mbpp and their kin) fetch the metric `code_eval` from the hub while they
are read, which a node without a network cannot, and it runs programs without such limits. The one
here has the same interface and counts in the same way.
"""

import contextlib
import functools
import json
import math
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

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


_METRIC = "code_eval"
_PACKAGE = "evaluate"


class CodeEval:
    """Runs each candidate followed by its tests; pass@k as in Chen et al. 2021 (arXiv 2107.03374).

    Example:
        >>> CodeEval().compute(references=["assert f() == 1"], predictions=[["def f(): return 1"]])
        ({'pass@1': 1.0}, {})
    """

    def compute(
        self,
        *,
        references: Sequence[str],
        predictions: Sequence[Sequence[str]],
        k: Sequence[int] = (1,),
    ) -> tuple[dict[str, float], dict[str, Any]]:
        """Return pass@k, over the problems that have that many candidates.

        Args:
            references: The tests of each problem.
            predictions: The candidates for each problem.
            k: Numbers of tries.

        Returns:
            The means by name, and nothing of single runs.
        """
        counts = [
            (len(candidates), sum(passes(f"{candidate}\n{tests}") for candidate in candidates))
            for candidates, tests in zip(predictions, references, strict=True)
        ]
        return {
            f"pass@{tries}": _mean([pass_at(tries, total, right) for total, right in counts])
            for tries in k
            if all(total >= tries for total, _ in counts)
        }, {}


def pass_at(tries: int, total: int, right: int) -> float:
    """Return the chance that one of *tries* candidates is right, drawn from *total*."""
    return 1.0 - math.comb(total - right, tries) / math.comb(total, tries)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


class _Evaluate(ModuleType):
    """Stands for the package `evaluate`, which takes seconds to import, until that is needed."""

    def __init__(self, package: ModuleType | None) -> None:
        super().__init__(_PACKAGE)
        self._package = package

    def load(self, path: str, *args: Any, **options: Any) -> Any:
        """Return this module's `code_eval`, or what the package loads."""
        return CodeEval() if path == _METRIC else self.package().load(path, *args, **options)

    def package(self) -> ModuleType:
        """Return the package itself."""
        if self._package is None:
            stand_in = sys.modules.pop(_PACKAGE, None)
            try:
                import evaluate
            finally:
                if stand_in:
                    sys.modules[_PACKAGE] = stand_in
            self._package = evaluate
        return self._package

    def __getattr__(self, name: str) -> Any:
        # Others look through all modules for names like __file__; that needs no import.
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.package(), name)


@contextmanager
def local_code_eval() -> Iterator[None]:
    """Let tasks that are read meanwhile get this metric where they ask the hub for theirs."""
    before = sys.modules.get(_PACKAGE)
    sys.modules[_PACKAGE] = stand_in = _Evaluate(before)
    try:
        yield
    finally:
        del sys.modules[_PACKAGE]
        if stand_in._package:
            sys.modules[_PACKAGE] = stand_in._package
