"""Jobs of a frozen plan, made in this process."""

from pathlib import Path

from scripts.tools.frozen_commands import commands


def make(plan: Path, stage: str, program) -> list[Path]:
    """Make what is missing of a stage in this process, and return all its folders."""
    folders = []
    for command in commands(plan, stage):
        if not all(Path(f"results/{id}.json").exists() for id in command.ids):
            program.main(command.argv)
        folders += [Path("results") / id for id in command.ids]
    return folders
