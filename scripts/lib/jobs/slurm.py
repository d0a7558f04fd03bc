"""A Slurm site: what it needs to be told, what it says of itself, and whether it fits.

A site is told by the few keys of site.yaml. profiles/slurm/config.yaml reads the same file, by
itself, since a profile is read before any project code; a test holds the two lists of keys
together. All else is pure functions from the text of Slurm's commands (`sinfo`, `sacctmgr`,
`scontrol`) to findings; scripts/tools/doctor.py runs the commands.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scripts.lib.errors import ConfigError
from scripts.lib.machine import cuda_driver

SITE_VARIABLE = "TUNESMITH_SITE"
PLACES = (Path("slurm/site.yaml"), Path("~/.config/tunesmith/site.yaml"))
"""Where the file is looked for, after the one that TUNESMITH_SITE names."""


class Site(BaseModel):
    """One site; every key may be left out."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    partition: str | None = Field(default=None, description="partition of jobs without a GPU")
    gpu_partition: str | None = Field(default=None, description="partition of jobs with a GPU")
    transfer_partition: str | None = Field(
        default=None, description="partition of jobs that fetch; none: where Snakemake runs"
    )
    account: str | None = Field(default=None, description="account that is charged")
    qos: str | None = Field(default=None, description="quality of service")
    gpu_model: str | None = Field(default=None, description="GPU type, as in gres/gpu:<type>")
    constraint: str | None = Field(default=None, description="node feature that GPU jobs need")
    cache: str | None = Field(default=None, description="folder of artifacts that colleagues share")
    scratch: str | None = Field(
        default=None, description="shared folder for checkpoints and journals; else results/scratch"
    )
    device: str | None = Field(default=None, description="`cpu` keeps models off the GPUs")
    poll_seconds: int = Field(
        default=20, ge=1, description="seconds before a job's state is first asked"
    )


def find_site(environ: Mapping[str, str], folder: Path) -> Path | None:
    """Return the site file that `snakemake --profile slurm` reads when started in *folder*."""
    named = [Path(environ[SITE_VARIABLE])] if environ.get(SITE_VARIABLE) else []
    places = [folder / place.expanduser() for place in (*named, *PLACES)]
    return next((place for place in places if place.is_file()), None)


def read_site(path: Path | None) -> Site:
    """Return the site of a file, or one that says nothing.

    Raises:
        ConfigError: naming each wrong key, with what is allowed.
    """
    if path is None:
        return Site()
    try:
        return Site(**(yaml.safe_load(path.read_text()) or {}))
    except (ValidationError, yaml.YAMLError, TypeError) as error:
        keys = ", ".join(Site.model_fields)
        raise ConfigError(f"{path}: {error}\nKnown keys: {keys}") from None


def folder_of(value: str) -> Path:
    """Return a folder of a site file with ~ and variables replaced."""
    return Path(os.path.expandvars(os.path.expanduser(value)))


State = Literal["ok", "warning", "error"]

SINFO = ("sinfo", "-h", "-e", "-o", "%P|%l|%m|%c|%G|%a")
"""Partition, time limit, memory in MB, CPUs, generic resources, state: a line per kind of node."""

ACCOUNTS = ("sacctmgr", "-n", "-P", "show", "assoc", "format=account,qos")


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's table.

    Attributes:
        what: What was looked at.
        state: How it is.
        text: What was found and, unless all is well, what to do.
    """

    what: str
    state: State
    text: str


@dataclass(frozen=True)
class Partition:
    """One partition, with the largest of its nodes.

    Attributes:
        minutes: Time limit; None when there is none.
        memory_mb: Memory of its largest node.
        cpus: CPUs of its largest node.
        gpus: GPU type -> GPUs of a node; the type is "" where the site names none.
    """

    name: str
    default: bool
    minutes: int | None
    memory_mb: int
    cpus: int
    gpus: dict[str, int]


def read_partitions(text: str) -> list[Partition]:
    """Return the partitions that are up, from what SINFO printed."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        name, limit, memory, cpus, gres, state = line.split("|")
        if state != "up":
            continue
        bare = name.rstrip("*")
        before = found.get(bare)
        found[bare] = Partition(
            name=bare,
            default=name.endswith("*"),
            minutes=read_minutes(limit),
            memory_mb=max(_number(memory), before.memory_mb if before else 0),
            cpus=max(_number(cpus), before.cpus if before else 0),
            gpus={**(before.gpus if before else {}), **read_gpus(gres)},
        )
    return list(found.values())


def read_minutes(limit: str) -> int | None:
    """Return minutes of `days-hours:minutes:seconds` and its short forms; None for infinite."""
    if limit == "infinite":
        return None
    days, _, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    hours, minutes = parts[-3] if len(parts) == 3 else 0, parts[-2] if len(parts) > 1 else parts[0]
    return int(days or 0) * 1440 + hours * 60 + minutes


def read_gpus(gres: str) -> dict[str, int]:
    """Return type -> number from `gpu:a100:4(S:0-1),gpu:2`."""
    found = re.findall(r"\bgpu:(?:([^:,()]+):)?(\d+)(?=[,(]|$)", gres)
    return {kind: int(number) for kind, number in found}


def _number(text: str) -> int:
    """Return the number in `64000+`, as sinfo writes of unlike nodes."""
    return int(text.rstrip("+"))


def check_partitions(site: Site, partitions: Sequence[Partition]) -> list[Finding]:
    """Judge the partitions of a site file, or what happens without one."""
    by_name = {partition.name: partition for partition in partitions}
    names = ", ".join(by_name) or "none"
    findings = []
    for key in ("partition", "gpu_partition", "transfer_partition"):
        value = getattr(site, key)
        if value is not None and value not in by_name:
            text = f"{value} is no partition that is up; there are {names}"
            findings.append(Finding(key, "error", text))
    if site.partition is None and not any(partition.default for partition in partitions):
        text = f"the site has no default partition: write partition: one of {names}"
        findings.append(Finding("partition", "error", text))
    return findings or [Finding("partitions", "ok", names)]


def check_gpus(site: Site, partitions: Sequence[Partition]) -> Finding:
    """Judge whether jobs with a GPU can be placed."""
    with_gpus = [partition for partition in partitions if partition.gpus]
    if not with_gpus:
        return Finding(
            "GPUs",
            "warning",
            "no partition has any: add --set-resources train_adapter:gpu=0 train_model:gpu=0"
            " score_benchmark:gpu=0 judge_pairs:gpu=0",
        )
    target = site.gpu_partition or site.partition or _default(partitions)
    place = next((partition for partition in with_gpus if partition.name == target), None)
    if place is None:
        names = ", ".join(partition.name for partition in with_gpus)
        return Finding("GPUs", "error", f"{target} has none: write gpu_partition: one of {names}")
    kinds = [kind for kind in place.gpus if kind]
    if site.gpu_model is not None and site.gpu_model not in kinds:
        known = ", ".join(kinds) or "no types: leave gpu_model out"
        return Finding("GPUs", "error", f"{site.gpu_model} is not in {place.name}; it has {known}")
    listed = ", ".join(f"{number} x {kind or 'gpu'}" for kind, number in place.gpus.items())
    return Finding("GPUs", "ok", f"{listed} a node in {place.name}")


def gpus_of(site: Site, partitions: Sequence[Partition]) -> dict[str, int]:
    """Return the GPUs of a node where jobs with a GPU go; nothing where there are none."""
    target = site.gpu_partition or site.partition or _default(partitions)
    return next((partition.gpus for partition in partitions if partition.name == target), {})


def check_gpu_node(seen: Mapping[str, Any], build: cuda_driver.Build) -> Finding:
    """Judge what a job with a GPU saw.

    Args:
        seen: `host`; `driver`, the newest CUDA of the driver or None; `usable`, whether PyTorch can
            compute on the GPU.
        build: The installed build of PyTorch.
    """
    driver = tuple(seen["driver"]) if seen["driver"] else None
    if why := cuda_driver.misfit(build, driver) if not seen["usable"] else None:
        return Finding("GPU driver", "error", f"on {seen['host']}, {why}")
    if not seen["usable"]:
        text = (
            f"PyTorch can use none of the GPUs of {seen['host']}, though its build fits the driver:"
            " `python -c 'import torch; torch.cuda.init()'` in a job there says why"
        )
        return Finding("GPU driver", "error", text)
    known = f" for CUDA {driver[0]}.{driver[1]}" if driver else ""
    text = f"PyTorch {build.version} computes on {seen['host']} with its driver{known}"
    return Finding("GPU driver", "ok", text)


def check_limits(
    site: Site, partitions: Sequence[Partition], *, memory_mb: Mapping[str, int], minutes: int
) -> Finding:
    """Compare what the profile asks for with the partition that trains.

    Args:
        site: What the site's file says.
        partitions: Those that there are.
        memory_mb: Rule that trains -> the memory that its jobs ask for first.
        minutes: Their time.
    """
    target = site.gpu_partition or site.partition or _default(partitions)
    place = next((partition for partition in partitions if partition.name == target), None)
    if place is None:
        return Finding("limits", "warning", "unknown until the partition is known")
    if beyond := {rule: asked for rule, asked in memory_mb.items() if asked > place.memory_mb}:
        room = place.memory_mb * 9 // 10
        asks = " and ".join(f"{rule} asks for {asked}" for rule, asked in beyond.items())
        less = " ".join(f"{rule}:mem_mb={room}" for rule in beyond)
        return Finding(
            "limits",
            "warning",
            f"nodes of {place.name} have {place.memory_mb} MB; {asks}: add --set-resources {less}",
        )
    if place.minutes is not None and place.minutes < minutes:
        shorter = " ".join(f"{rule}:runtime={place.minutes}" for rule in memory_mb)
        return Finding(
            "limits",
            "warning",
            f"{place.name} ends jobs after {place.minutes} minutes; a training asks for {minutes}:"
            f" add --set-resources {shorter} (it goes on where it stopped, so give it --retries"
            " enough)",
        )
    most = max(memory_mb.values())
    return Finding("limits", "ok", f"{most} MB and {minutes} minutes fit into {place.name}")


def check_account(site: Site, accounts: Sequence[str]) -> Finding:
    """Judge the account of a site file, or which one is charged without."""
    names = ", ".join(accounts)
    if not accounts:
        state: State = "ok" if site.account is None else "warning"
        return Finding("account", state, "the site keeps none, or does not show them")
    if site.account is not None and site.account not in accounts:
        return Finding("account", "error", f"{site.account} is not yours; yours: {names}")
    if site.account is None and len(accounts) > 1:
        return Finding("account", "warning", f"you have {names}: write account: the one to charge")
    return Finding("account", "ok", site.account or names)


def check_job_age(config: str, poll_seconds: int) -> Finding:
    """Judge whether squeue still knows a job when its state is asked.

    Args:
        config: What `scontrol show config` printed.
        poll_seconds: Seconds before the first question.
    """
    match = re.search(r"MinJobAge\s*=\s*(\d+)", config)
    if match is None:
        return Finding("MinJobAge", "warning", "scontrol does not say how long ended jobs are kept")
    seconds = int(match[1])
    if seconds < 3 * poll_seconds:
        return Finding(
            "MinJobAge",
            "warning",
            f"ended jobs are kept {seconds} s only: write poll_seconds: {max(1, seconds // 3)}, or"
            " accounting is asked instead, which misses cancelled jobs",
        )
    return Finding("MinJobAge", "ok", f"ended jobs are kept {seconds} s")


def propose(site: Site, partitions: Sequence[Partition], accounts: Sequence[str]) -> Site:
    """Return the site with what can be known filled in where it says nothing."""
    with_gpus = [partition.name for partition in partitions if partition.gpus]
    plain = [partition.name for partition in partitions if not partition.gpus]
    default = _default(partitions)
    known = {
        "partition": None if default else next(iter(plain or with_gpus), None),
        "gpu_partition": next(iter(with_gpus), None) if default not in with_gpus else None,
        "account": accounts[0] if len(accounts) > 1 else None,
    }
    return site.model_copy(
        update={key: value for key, value in known.items() if getattr(site, key) is None}
    )


def _default(partitions: Sequence[Partition]) -> str | None:
    """Return the partition that a job without one goes to."""
    return next((partition.name for partition in partitions if partition.default), None)
