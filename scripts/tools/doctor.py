"""Look at a Slurm site before the first submission, and say what to write into site.yaml.

    make doctor

Asks Slurm's commands, then starts one small job to see what a compute node sees: this folder, this
Python, the cache and the scratch folder; and one with a GPU, to see whether its driver and the
installed build of PyTorch fit. Changes nothing but a short-lived file in results/.
"""

import argparse
import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from scripts.lib.errors import ConfigError
from scripts.lib.jobs import slurm
from scripts.lib.jobs.slurm import Finding, Site
from scripts.lib.machine import cuda_driver

COMMANDS = ("sbatch", "srun", "squeue", "scancel", "sacct", "scontrol", "sinfo")
TRAINING_MB = {"train_adapter": 32_000, "train_model": 64_000}
TRAINING_MINUTES = 360
PROBE_MINUTES = 5
COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


def main(argv: Sequence[str] | None = None) -> None:
    """Print the findings; exit with 1 when one of them is an error."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--no-job", action="store_true", help="submit nothing")
    parser.add_argument("--probe", metavar="FOLDER", type=Path, help="what the small job runs")
    parser.add_argument("--probe-gpu", action="store_true", help="what the job with a GPU runs")
    arguments = parser.parse_args(argv)
    if arguments.probe or arguments.probe_gpu:
        print(json.dumps(look_from_a_node(arguments.probe) if arguments.probe else look_at_gpu()))
        return
    path = slurm.find_site(os.environ, Path.cwd())
    try:
        site = slurm.read_site(path)
    except ConfigError as error:
        sys.exit(f"doctor: {error}")
    findings, proposal = examine(site, submit=not arguments.no_job)
    show(findings)
    if proposal != site:
        print(f"\nWrite into {path or slurm.PLACES[0]}:\n")
        print(yaml.safe_dump(proposal.model_dump(exclude_defaults=True), sort_keys=False))
    if any(finding.state == "error" for finding in findings):
        sys.exit(1)


def examine(site: Site, *, submit: bool) -> tuple[list[Finding], Site]:
    """Return all findings, and the site file that they suggest."""
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing:
        text = f"{', '.join(missing)} not on the PATH: log in to the cluster, or load its module"
        return [Finding("commands", "error", text)], site
    ping = run("scontrol", "ping")
    if ping.returncode:
        text = (ping.stdout + ping.stderr).strip()
        return [Finding("controller", "error", f"does not answer: {text}")], site
    partitions = slurm.read_partitions(run(*slurm.SINFO).stdout)
    accounts = own_accounts()
    findings = [
        Finding("commands", "ok", ", ".join(COMMANDS)),
        Finding("PyTorch", "ok", cuda_driver.needs(cuda_driver.installed_build())),
        *slurm.check_partitions(site, partitions),
        slurm.check_gpus(site, partitions),
        slurm.check_limits(site, partitions, memory_mb=TRAINING_MB, minutes=TRAINING_MINUTES),
        slurm.check_account(site, accounts),
        slurm.check_job_age(run("scontrol", "show", "config").stdout, site.poll_seconds),
        *check_folders(site),
    ]
    if submit and not any(finding.state == "error" for finding in findings):
        findings += probe(site)
        if site.device != "cpu" and slurm.gpus_of(site, partitions):
            findings.append(probe_gpu(site))
    return findings, slurm.propose(site, partitions, accounts)


def own_accounts() -> list[str]:
    """Return the accounts that may be charged; none where the site keeps or shows none."""
    if shutil.which(slurm.ACCOUNTS[0]) is None:
        return []
    shown = run(*slurm.ACCOUNTS, f"user={getpass.getuser()}").stdout
    return list(dict.fromkeys(line.split("|")[0] for line in shown.splitlines()))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run one of Slurm's commands."""
    return subprocess.run(command, capture_output=True, text=True, check=False)


def folders(site: Site) -> dict[str, Path]:
    """Return the folders that jobs write to, by their names in the site file."""
    named = {"working folder": Path.cwd()}
    for key in ("cache", "scratch"):
        if value := getattr(site, key):
            named[key] = slurm.folder_of(value)
    return named


def check_folders(site: Site) -> list[Finding]:
    """Judge the folders as this machine sees them."""
    findings = []
    for name, folder in folders(site).items():
        if not folder.is_dir():
            text = f"{folder} is not there: make it, or correct {name} in the site file"
            findings.append(Finding(name, "error", text))
        elif not os.access(folder, os.W_OK):
            state: slurm.State = "warning" if name == "cache" else "error"
            findings.append(Finding(name, state, f"{folder} cannot be written by you"))
        else:
            free = shutil.disk_usage(folder).free / 2**30
            findings.append(Finding(name, "ok", f"{folder}, {free:.0f} GiB free"))
    return findings


def probe(site: Site) -> list[Finding]:
    """Start a small job and judge what it sees."""
    base = Path("results")
    base.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=base) as name:
        folder = Path(name).absolute()
        seen_from = {key: str(path) for key, path in folders(site).items()}
        (folder / "folders.json").write_text(json.dumps(seen_from))
        print("waiting for a small job (Ctrl-C, then --no-job, to do without)", file=sys.stderr)
        result = run(*srun(site, site.partition), "--probe", str(folder))
    if result.returncode:
        text = result.stderr.strip().splitlines() or ["no message"]
        return [
            Finding(
                "a job",
                "error",
                f"failed ({text[-1]}): this folder and {sys.executable} must be on a file system"
                " that compute nodes share",
            )
        ]
    seen = json.loads(result.stdout.splitlines()[-1])
    findings = [Finding("a job", "ok", f"ran on {seen['host']} with {sys.executable}")]
    for name, problem in seen["problems"].items():
        findings.append(Finding(f"{name} on the node", "error", problem))
    return findings


def srun(site: Site, partition: str | None, *asked: str) -> list[str]:
    """Return the command that starts a small job of this program, up to the program's options."""
    command = ["srun", "--ntasks=1", f"--time={PROBE_MINUTES}", "--job-name", "tunesmith-doctor"]
    for option, value in (
        ("--partition", partition),
        ("--account", site.account),
        ("--qos", site.qos),
    ):
        command += [option, value] if value else []
    return [*command, *(asked or ("--mem=1000",)), sys.executable, "-m", "scripts.tools.doctor"]


def probe_gpu(site: Site) -> Finding:
    """Start a small job with a GPU and judge whether PyTorch can compute there."""
    kind = f"{site.gpu_model}:" if site.gpu_model else ""
    asked = [f"--gres=gpu:{kind}1", "--mem=4000"]
    asked += [f"--constraint={site.constraint}"] if site.constraint else []
    print("waiting for a job with a GPU (Ctrl-C, then --no-job, to do without)", file=sys.stderr)
    result = run(*srun(site, site.gpu_partition or site.partition, *asked), "--probe-gpu")
    if result.returncode:
        text = result.stderr.strip().splitlines() or ["no message"]
        return Finding("GPU driver", "error", f"a job with {asked[0]} failed: {text[-1]}")
    seen = json.loads(result.stdout.splitlines()[-1])
    return slurm.check_gpu_node(seen, cuda_driver.installed_build())


def look_at_gpu() -> dict[str, object]:
    """Return what this node's driver knows, and whether PyTorch can compute on its GPU."""
    import torch

    return {
        "host": socket.gethostname(),
        "driver": cuda_driver.driver_cuda(),
        "usable": torch.cuda.is_available(),
    }


def look_from_a_node(folder: Path) -> dict[str, object]:
    """Return what a compute node finds wrong with the folders that *folder* lists."""
    problems = {}
    for name, place in json.loads((folder / "folders.json").read_text()).items():
        try:
            with tempfile.NamedTemporaryFile(prefix=".doctor-", dir=place):
                pass
        except OSError as error:
            problems[name] = f"{place}: {error.strerror}"
    return {"host": socket.gethostname(), "problems": problems}


def show(findings: Sequence[Finding]) -> None:
    """Print the table."""
    table = Table(box=None)
    for title in ("", "what", "found"):
        table.add_column(title)
    for finding in findings:
        colour = COLOURS[finding.state]
        table.add_row(f"[{colour}]{finding.state}[/]", finding.what, finding.text)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


if __name__ == "__main__":
    main()
