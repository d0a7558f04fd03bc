"""Run one program, and write down what starting it took: CPU seconds beside its work, and modules.

Seconds are those of the processor, user and system, of all threads of the process. The work is what
the program's function does, less what it imports: libraries load their parts when they are first
used, and that is starting, too. All else is starting: the interpreter, imports, reading the plan,
checking code, pins and inputs, and writing the manifest.

Try it: python -m scripts.tools.start_meter OUT.json scripts.aggregate_scores --plan ...
"""

import importlib
import json
import runpy
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_BOOTSTRAP: Any = importlib._bootstrap
"""Python's import machinery: every import that finds nothing in `sys.modules` goes through it."""


class Meter:
    """Counts CPU seconds of imports, and of work without its imports.

    Attributes:
        imports: Seconds of imports, each with those that it causes.
        work: Seconds of work.
    """

    def __init__(self) -> None:
        self.imports = self.work = 0.0
        self._depth = 0

    @contextmanager
    def counting_imports(self) -> Iterator[None]:
        """Count every import until the block ends."""
        find_and_load = _BOOTSTRAP._find_and_load

        def counted(name: str, import_: Any) -> Any:
            if self._depth:
                return find_and_load(name, import_)
            self._depth, began = 1, time.process_time()
            try:
                return find_and_load(name, import_)
            finally:
                self.imports += time.process_time() - began
                self._depth = 0

        _BOOTSTRAP._find_and_load = counted
        try:
            yield
        finally:
            _BOOTSTRAP._find_and_load = find_and_load

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count a block as work."""
        began, imported = time.process_time(), self.imports
        try:
            yield
        finally:
            self.work += time.process_time() - began - (self.imports - imported)

    def counted_work(self, work: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return a program's function of which each step is counted as work."""

        def counted(given: Any) -> Any:
            with self.working():
                result = work(given)
            return self._counted_steps(result) if isinstance(result, Iterator) else result

        return counted

    def _counted_steps(self, steps: Iterator[Any]) -> Iterator[Any]:
        end = object()
        while True:
            with self.working():
                step = next(steps, end)
            if step is end:
                return
            yield step


METER = Meter()


def measured(program: str, argv: list[str]) -> dict[str, Any]:
    """Run a module as a program.

    Returns:
        `start`, its CPU seconds but those of its work; `imports`, those of imports among them;
        `work`; and `modules`, the names of all modules that it loaded.
    """
    with METER.counting_imports():
        from scripts.lib.jobs import job

        for name in ("run_job", "run_batch"):
            setattr(job, name, _with_counted_work(getattr(job, name)))
        sys.argv = [program, *argv]
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    return {
        "start": time.process_time() - METER.work,
        "imports": METER.imports,
        "work": METER.work,
        "modules": sorted(sys.modules),
    }


def _with_counted_work(run: Callable[..., None]) -> Callable[..., None]:
    def counted(rule: str, work: Callable[[Any], Any], *rest: Any, **options: Any) -> None:
        run(rule, METER.counted_work(work), *rest, **options)

    return counted


if __name__ == "__main__":
    # Under its own name, so that what it runs can reach the same meter.
    from scripts.tools import start_meter

    out, program, *argv = sys.argv[1:]
    Path(out).write_text(json.dumps(start_meter.measured(program, argv)))
