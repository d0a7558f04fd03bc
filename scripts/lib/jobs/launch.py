"""Starts a training program as several processes, and again where memory ran out in one of them.

    python -m scripts.lib.jobs.launch --nodes 2 --processes 4 scripts.train_adapter --plan ...

On each node the processes of its GPUs run under torchrun (node.py); several nodes are a step of
Slurm with one task each. A process whose memory ran out ends all of them with a status of its own;
then all start again from the last checkpoint, with less at once (`--halved` says how often).

How a program is launched decides no byte of what it makes: no program imports this module.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from scripts.lib.train.micro_batch import OUT_OF_MEMORY

RESTARTS = 12
"""Starts after the first: each takes less at once, which ends before that."""


def launcher(gpus: int, tasks: int, nodes: int) -> str:
    """Return what stands between `exec` and the name of a training program.

    Args:
        gpus: GPUs of the job (the resource `gpu`), one process each.
        tasks: Slurm tasks of the job (the resource `tasks`): one process each, if they are more.
        nodes: Nodes of the job (the resource `nodes`).
    """
    processes = process_count(gpus, tasks)
    if processes == 1:
        return "python -m"
    return f"python -m scripts.lib.jobs.launch --nodes {nodes} --processes {processes // nodes}"


def process_count(gpus: int, tasks: int) -> int:
    """Return the processes of a job on all nodes: one for each GPU, or for each task of more."""
    return max(1, gpus, tasks)


def nodes_fault(processes: int, nodes: int) -> str | None:
    """Say why a job's processes cannot be shared out to its nodes, or return None."""
    if processes % nodes == 0:
        return None
    return (
        f"{processes} process(es), one for each GPU or each task, cannot be shared out evenly to"
        f" nodes={nodes}: give the job a multiple of {nodes}"
    )


def step(nodes: int, processes: int, start: int) -> list[str]:
    """Return the command that starts the processes of all nodes.

    Args:
        nodes: How many nodes.
        processes: Processes on each.
        start: How many starts there were before in this job: each has a meeting point of its own.
    """
    here = [sys.executable, "-m", "scripts.lib.jobs.node"]
    here += [f"--nodes={nodes}", f"--processes={processes}", f"--start={start}"]
    if nodes == 1:
        return here
    # One task has all that the job has of its node, whatever sbatch meant to be a task's.
    share = ["--ntasks-per-node=1", "--whole", "--cpu-bind=none", "--mem=0"]
    return ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", *share, "--kill-on-bad-exit=1", *here]


class _Supervised:
    """One start of all processes, told to end when this process is."""

    def __init__(self) -> None:
        self.told = False
        self._process: subprocess.Popen[bytes] | None = None
        signal.signal(signal.SIGTERM, self._pass_on)
        # The terminal tells the whole group; what to do about it is the programs' business.
        signal.signal(signal.SIGINT, lambda *_: None)

    def run(self, command: Sequence[str]) -> int:
        """Return the exit status of *command*, as a shell does."""
        self._process = subprocess.Popen(command)
        if self.told:
            self._process.terminate()
        status = self._process.wait()
        return status if status >= 0 else 128 - status

    def _pass_on(self, *_: object) -> None:
        self.told = True
        if self._process:
            self._process.terminate()


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and see a program through.

    Raises:
        SystemExit: With the status that the processes ended with.
    """
    parser = argparse.ArgumentParser(prog="python -m scripts.lib.jobs.launch")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1, help="on each node")
    parser.add_argument("program", help="name of a module that knows --halved")
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    given = parser.parse_args(argv)
    # Threads are of a node's job; its processes share them.
    threads = int(os.environ.get("OMP_NUM_THREADS", "1")) // given.processes
    os.environ["OMP_NUM_THREADS"] = str(max(1, threads))
    processes = _Supervised()
    status = OUT_OF_MEMORY
    for start in range(RESTARTS + 1):
        if start:
            print(
                "memory ran out in one of"
                f" {given.nodes * given.processes} processes: all start again from the last"
                f" checkpoint, with less at once (start {start + 1} of at most"
                f" {RESTARTS + 1})",
                flush=True,
            )
        command = step(given.nodes, given.processes, start)
        status = processes.run([*command, given.program, *given.rest, f"--halved={start}"])
        if status != OUT_OF_MEMORY or processes.told:
            break
    sys.exit(status)


if __name__ == "__main__":
    main()
