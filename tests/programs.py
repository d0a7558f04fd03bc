"""Jobs of a frozen plan, made in this process."""

from collections.abc import Iterable
from contextlib import chdir
from importlib import import_module
from pathlib import Path

import pytest

from scripts.lib.artifacts.stages import STAGES
from scripts.lib.plan.invocation import CACHE_VARIABLE, plan_invocation, read_configs
from scripts.tools.frozen_commands import commands
from tests.workspace import ROOT


def make(plan: Path, stage: str, program) -> list[Path]:
    """Make what is missing of a stage in this process, and return all its folders."""
    folders = []
    for command in commands(plan, stage):
        if not all(Path(f"results/{id}.json").exists() for id in command.ids):
            program.main(command.argv)
        folders += [Path("results") / id for id in command.ids]
    return folders


def make_all(folder: Path, stages: Iterable[str] = STAGES, *, cache: Path | None = None) -> None:
    """Plan in a workspace and make what is missing of *stages*, each job by its own program.

    For what a test only starts from. Snakemake begins each of these jobs as a process, which spends
    seconds on imports; here they come once.
    """
    with chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(cache or ""))
        plan = plan_invocation(read_configs({}, [], ROOT), ROOT).file
        for stage in stages:
            make(plan, stage, import_module(f"scripts.{STAGES[stage].rule}"))
