"""A folder of one's own with a tiny model, tiny data and a config over them.

Tests run the real Snakefile in it: every stage takes seconds there.

Try it: python -m tests.workspace FOLDER && cd FOLDER && snakemake -s .../Snakefile -c2
"""

import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.tiny_model import make_tiny_model

ROOT = Path(__file__).resolve().parent.parent
SUBJECTS = ("astronomy", "college_physics")
"""Two subjects of one category: one scoring job for each candidate."""

TINY = ROOT / "tests" / "config" / "tiny.yaml"


def make_workspace(folder: Path) -> Path:
    """Fill *folder* with a model, a dataset, two benchmarks and config/config.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    make_tiny_model(folder / "model")
    words = ["red", "green", "blue", "black", "white", "brown", "pink", "grey"]
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Say {word} {number} times."},
                {"role": "assistant", "content": " ".join([word] * number)},
            ]
        }
        for word in words
        for number in range(1, 6)
    ]
    write_rows(folder / "data" / "say.jsonl", rows)
    write_rows(
        folder / "data" / "held_out.jsonl",
        [{"prompt": f"Say {word} 2 times.", "answer": f"{word} {word}"} for word in words],
    )
    for subject in SUBJECTS:
        for split, count in (("dev", 3), ("test", 4)):
            questions = [
                {
                    "question": f"Which letter follows {split} {number} of {subject}?",
                    "subject": subject,
                    "choices": ["one", "two", "three", "four"],
                    "answer": number % 4,
                }
                for number in range(count)
            ]
            write_rows(folder / "mmlu" / split / f"{subject}.jsonl", questions)
    write_config(folder, yaml.safe_load(TINY.read_text()))
    return folder


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Make *config* the config of a workspace."""
    (folder / "config").mkdir(exist_ok=True)
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(dict(config), sort_keys=False))


def read_config(folder: Path) -> dict[str, Any]:
    """Return the config of a workspace."""
    return yaml.safe_load((folder / "config" / "config.yaml").read_text())


def leave_one_run_and_mmlu(folder: Path) -> None:
    """Take out of a workspace's config what a test of scores can do without."""
    config = read_config(folder)
    del config["runs"]["low"], config["benchmarks"]["say"]
    write_config(folder, config)


def copy_workspace(source: Path, target: Path) -> Path:
    """Copy a workspace; artifacts are hard links, everything that tests edit is a copy."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("results"), symlinks=True)
    if (source / "results").exists():
        shutil.copytree(source / "results", target / "results", symlinks=True, copy_function=_link)
    return target


def _link(source: str, target: str, *, follow_symlinks: bool = True) -> None:
    """Link an artifact's file; copy what is written in place."""
    os.link(source, target, follow_symlinks=follow_symlinks)


def jobs(output: str) -> list[str]:
    """Return `rule words` for every job in Snakemake's output, without keys and rule all.

    The words are the slug of the artifact, so that a reader of a test sees which run is meant.
    """
    found = []
    for block in re.split(r"\n(?=(?:local)?rule )", output):
        rule = re.match(r"(?:local)?rule (\w+):", block)
        name = re.search(r"wildcards: artifact=(\S+)-[0-9a-f]{20}", block)
        if rule and name:
            found.append(f"{rule[1]} {name[1]}")
    return sorted(found)


def snakemake(
    folder: Path,
    *arguments: str,
    root: Path = ROOT,
    env: Mapping[str, str] | None = None,
    limit: float = 900,
    fresh: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in a workspace and return what it printed (both streams in stdout).

    Args:
        folder: The workspace.
        arguments: Options and targets.
        root: The project.
        env: Variables beside those of this process.
        limit: Seconds after which it hangs, however slow the machine.
        fresh: Start Python anew, for what that reads when it starts.
    """
    command = ["snakemake", "-s", str(root / "Snakefile"), *arguments]
    variables = {**os.environ, "TUNESMITH_CACHE": "", **(env or {})}
    with tempfile.NamedTemporaryFile() as output:
        process = FORKS.Process(
            target=_be_snakemake, args=(command, folder, variables, output.name, fresh)
        )
        process.start()
        process.join(limit)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(command, limit)
        said = Path(output.name).read_text()
    return subprocess.CompletedProcess(command, process.exitcode, said)


FORKS = multiprocessing.get_context("forkserver")
"""Processes that begin with Snakemake imported, which else is half of what a dry run takes."""

FORKS.set_forkserver_preload(["snakemake.cli"])


def _be_snakemake(
    command: list[str], folder: Path, variables: Mapping[str, str], output: str, fresh: bool
) -> None:
    """Become what `python -m snakemake` is, or do in this process what that does."""
    from snakemake import cli

    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    with open(output, "wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    if fresh:
        os.execv(sys.executable, [sys.executable, "-m", *command])
    sys.argv = command
    cli.main()


if __name__ == "__main__":
    make_workspace(Path(sys.argv[1]))
