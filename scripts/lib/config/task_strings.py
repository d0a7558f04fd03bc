"""Names of tasks as lighteval and lm-eval take them, and the benchmark that each is here."""

import re
from collections.abc import Iterable, Mapping, Sequence

MMLU = "mmlu"
_SUBJECT = re.compile(r"[a-z0-9_]+")


def as_benchmarks(names: Iterable[str]) -> list[str]:
    """Return a line of YAML for each benchmark that some tasks of other tools make here.

    Args:
        names: Such as `mmlu|anatomy|0|0` and `leaderboard|mmlu:anatomy|5|0` (lighteval's suite,
            task, examples, and whether to shorten them), `gsm8k|5`, or lm-eval's `hellaswag`.
    """
    subjects: dict[str | None, list[str]] = {}
    tasks: dict[str | None, list[str]] = {}
    for name in names:
        task, subject, shots = _read(name)
        if task == MMLU:
            subjects.setdefault(shots, []).extend([subject] if subject else [])
        else:
            tasks.setdefault(shots, []).append(f"{task}_{subject}" if subject else task)
    lines = []
    for shots, chosen in subjects.items():
        given = "kind: mmlu, hub: cais/mmlu, revision: <commit hash>" + _shots(shots)
        given += f", subjects: [{', '.join(chosen)}]" if chosen else ""
        lines.append(f"{_name(MMLU, shots, subjects)}: {{{given}}}")
    for shots, chosen in tasks.items():
        name = _name(_plain(chosen[0]) if len(chosen) == 1 else "tasks", shots, tasks)
        lines.append(f"{name}: {{kind: lm_eval, tasks: [{', '.join(chosen)}]{_shots(shots)}}}")
    return lines


def task_hint(path: Sequence[str | int], value: object) -> str:
    """Return what to write where tasks of another tool stand for benchmarks; else nothing.

    Args:
        path: Where an error was found.
        value: What stands there.
    """
    if path[:1] != ("benchmarks",) or len(path) > 2:
        return ""
    name = str(path[1]) if len(path) == 2 else ""
    if isinstance(value, str):
        names = [part.strip() for part in value.split(",")]
    elif isinstance(value, Sequence):
        names = [one for one in value if isinstance(one, str)]
    elif name and ("|" in name or not value):
        names = [name]
    else:
        names = []
    known = [name for name in names if name and not re.search(r"[\s/]", name)]
    return f"; write {'; '.join(as_benchmarks(known))}" if known else ""


def task_fault(name: str) -> str | None:
    """Say what is wrong with the name of a task of lm-eval that another tool's spelling has."""
    if "|" not in name:
        return None
    return (
        f"holds {name!r}, a task as lighteval writes it; write {'; '.join(as_benchmarks([name]))}"
    )


def _read(name: str) -> tuple[str, str, str | None]:
    """Return the task, its subject or nothing, and its number of examples where it has one."""
    parts = name.split("|")
    shots = next((part for part in parts[1:] if part.isdecimal()), None)
    words = [part for part in parts if not part.isdecimal()]
    task, _, subject = words[-1].partition(":")
    if len(words) > 1 and words[0] == MMLU and not subject:
        task, subject = MMLU, words[-1]
    if task == MMLU and not _SUBJECT.fullmatch(subject or "all"):
        task, subject = words[-1], ""
    return task, subject, shots


def _shots(shots: str | None) -> str:
    return "" if shots is None else f", shots: {int(shots)}"


def _name(task: str, shots: str | None, others: Mapping[str | None, object]) -> str:
    return task if len(others) == 1 or shots is None else f"{task}_{int(shots)}_shots"


def _plain(task: str) -> str:
    """Return a name that a benchmark may have."""
    return re.sub(r"[^a-z0-9._-]+", "_", task.lower()).strip("._-") or "task"
