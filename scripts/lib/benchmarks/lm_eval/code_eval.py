"""The metric `code_eval`, by which lm-eval judges generated code, without the hub.

lm-eval's tasks (humaneval, mbpp and their kin) fetch it from the hub while they are read, which a
node without a network cannot, and it runs programs without limits of files, processes or network.
This one has the same interface and counts in the same way.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from scripts.lib.benchmarks.lm_eval.generated_code import passes

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
