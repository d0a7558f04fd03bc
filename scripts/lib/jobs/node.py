"""The processes of one node under torchrun: where they meet, what they are told, how they ended.

launch.py starts it, on each node once. Torchrun's own way with SIGTERM leaves 30 seconds to save a
checkpoint, and its own exit status does not say that memory ran out; the rest is torchrun's.
"""

import argparse
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence

import psutil
from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from scripts.lib.train.micro_batch import OUT_OF_MEMORY

OTHERS_SECONDS = 10.0
"""Before a node says that a process failed: where it did because one on another node was gone, that
node says why, and the first to speak ends them all."""


def meeting_point(nodes: int, start: int, environ: Mapping[str, str]) -> list[str]:
    """Return where the processes meet, as torchrun's options.

    Slurm's first node is where srun was called, so its address is the meeting point; the port
    follows from the job's number, so that two jobs on one node do not meet, and from the start.

    Args:
        nodes: How many nodes.
        start: How many starts there were before.
        environ: The variables of a task of srun (srun(1), "output environment variables").
    """
    if nodes == 1:
        return ["--standalone", "--local-addr=127.0.0.1"]
    port = 20_000 + (int(environ["SLURM_JOB_ID"]) * 16 + start) % 20_000
    return [
        f"--nnodes={nodes}",
        f"--node-rank={environ['SLURM_NODEID']}",
        "--rdzv-backend=static",
        f"--master-addr={environ['SLURM_LAUNCH_NODE_IPADDR']}",
        f"--master-port={port}",
    ]


def status_of(failures: Mapping[int, ProcessFailure]) -> int:
    """Return the exit status that tells how processes failed, by their numbers among all."""
    codes = {failure.exitcode for failure in failures.values()}
    return OUT_OF_MEMORY if OUT_OF_MEMORY in codes else 1


def words_of(failures: Mapping[int, ProcessFailure]) -> list[str]:
    """Return what to say of processes that failed, by their numbers among all."""
    host = socket.gethostname()
    lost = [rank for rank, failure in failures.items() if failure.exitcode < 0]
    if lost:
        # Those that failed after it failed because of it.
        return [
            f"process {lost[0]} on {host} was lost: {failures[lost[0]].signal_name()} ended it, as"
            " the system does where a node's memory runs out. All end; the next start goes on"
            " from the last checkpoint, if there is one"
        ]
    return [
        f"process {rank} on {host} ended with status {failure.exitcode}; its own words stand above"
        for rank, failure in failures.items()
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and see the node's processes through.

    Raises:
        SystemExit: With 0, OUT_OF_MEMORY or 1.
    """
    parser = argparse.ArgumentParser(prog="python -m scripts.lib.jobs.node")
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--start", type=int, required=True)
    parser.add_argument("program")
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    given = parser.parse_args(argv)
    told = []

    def pass_on(*_: object) -> None:
        told.append(True)
        started = psutil.Process().children()
        for process in started:
            process.send_signal(signal.SIGTERM)
        if not started:
            sys.exit("told to end before any process was started")

    signal.signal(signal.SIGTERM, pass_on)
    options = [
        *meeting_point(given.nodes, given.start, os.environ),
        f"--nproc-per-node={given.processes}",
        "--max-restarts=0",
        "--signals-to-handle=SIGINT,SIGHUP,SIGQUIT",
        "--module",
    ]
    try:
        torchrun.run(torchrun.parse_args([*options, given.program, *given.rest]))
    except ChildFailedError as error:
        status = status_of(error.failures)
        if status != OUT_OF_MEMORY and not told:
            time.sleep(OTHERS_SECONDS if given.nodes > 1 else 0.0)
            print(*words_of(error.failures), sep="\n", file=sys.stderr, flush=True)
        sys.exit(status)


if __name__ == "__main__":
    main()
