"""From a command line to finished artifacts: what every entry program has in common.

A program names its inputs and gives a function that fills a folder. Everything around it is done
from here: the checks against the frozen plan (checks.py), the temporary folder (making.py),
the manifest and the cache (output.py). It decides no byte of an artifact, and so is plumbing
(see artifacts/code_digest.py).

A job makes one artifact, or a batch: several that read the same, each finished on its own as soon
as its files are there, so that what ends the job in the middle costs only what is not finished.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.lib import files
from scripts.lib.errors import PipelineError
from scripts.lib.jobs.making import BatchWork, Job, Making

__all__ = ["Job", "run_batch", "run_job"]

Work = Callable[[Job], dict[str, Any]]


def run_job(
    rule: str,
    work: Work,
    argv: Sequence[str] | None = None,
    *,
    inputs: Sequence[str] = (),
    options: Mapping[str, int] | None = None,
) -> None:
    """Parse the command line of *rule*, make one artifact, and write its manifest.

    Args:
        rule: Name of the rule and the program.
        work: Fills the folder `job.out` and returns the facts for the manifest.
        argv: The arguments; those of the process when None.
        inputs: Names of the inputs that are options: those of one artifact each, or of a handful.
            Inputs of many artifacts come from the plan, since a command line has a limited length.
        options: Execution arguments with their defaults.

    Raises:
        SystemExit: with status 1 and a readable message, when the job cannot or must not run.
    """
    parser = _parser(rule, inputs, options or {})
    parser.add_argument("--artifact", type=Path, required=True, help="folder to make")
    parser.add_argument("--manifest", type=Path, required=True, help="its manifest, written last")
    arguments = parser.parse_args(argv)
    try:
        making = Making(rule, arguments, inputs)
        id = "/".join(arguments.artifact.parts[-2:])
        making.make(id, [id], lambda jobs: (work(job) for job in jobs))
    except PipelineError as error:
        sys.exit(f"{rule}: {error}")


def run_batch(
    rule: str,
    work: BatchWork,
    argv: Sequence[str] | None = None,
    *,
    inputs: Sequence[str] = (),
    options: Mapping[str, int] | None = None,
) -> None:
    """Parse the command line of *rule*, make the artifacts of a batch, and write its token.

    What an earlier try of the same plan finished is not made again.

    Args:
        rule: Name of the rule and the program.
        work: Fills the folders of all jobs that it is given.
        argv: The arguments; those of the process when None.
        inputs: Names of the inputs that are options; the same for all artifacts.
        options: Execution arguments with their defaults.

    Raises:
        SystemExit: with status 1 and a readable message, when the job cannot or must not run.
    """
    parser = _parser(rule, inputs, options or {})
    parser.add_argument("--batch", type=Path, required=True, help="the token, written last")
    arguments = parser.parse_args(argv)
    try:
        making = Making(rule, arguments, inputs)
        batch = "/".join(arguments.batch.parts[-2:]).removesuffix(".json")
        ids = making.members(batch)
        making.make(batch, [id for id in ids if not making.has_made(id)], work)
        files.write_json(arguments.batch, {"artifacts": ids})
    except PipelineError as error:
        sys.exit(f"{rule}: {error}")


def _parser(
    rule: str, inputs: Sequence[str], options: Mapping[str, int]
) -> argparse.ArgumentParser:
    """Return a parser of what all programs are told."""
    parser = argparse.ArgumentParser(prog=f"python -m scripts.{rule}")
    parser.add_argument("--plan", type=Path, required=True, help="the frozen plan (results/plans/)")
    for name in inputs:
        parser.add_argument(f"--{name}", type=Path, nargs="+", required=True, help="input folders")
    for name, default in options.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=int, default=default, help="execution only"
        )
    return parser
