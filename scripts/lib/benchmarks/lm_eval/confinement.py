"""Run one program that a model wrote, with nothing to write to and little of anything else.

Read by `generated_code.py`, which starts it as a process of its own:

    python -P -s -B confinement.py < REQUEST     REQUEST: {"program", "token", "limits"} as JSON

It prints the token if the program runs to its end. It is no sandbox against an attacker; what it
keeps away, and what not, stands in docs/benchmarks.md.
"""

import ctypes
import json
import os
import resource
import sys
from collections.abc import Mapping

# Rights of Landlock (linux/landlock.h): run a file, write one, remove, make, and cut one short.
_EXECUTE, _WRITE_FILE = 1 << 0, 1 << 1
_REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))
_TRUNCATE = 1 << 14
_BIND_AND_CONNECT = 0b11
# The same on every architecture.
_CREATE_RULESET, _RESTRICT_SELF = 444, 446
_VERSION_FLAG = 1
_PR_SET_NO_NEW_PRIVS = 38


def confine(limits: Mapping[str, int]) -> None:
    """Take from this process, for good, what a solution to a puzzle does not need.

    Args:
        limits: `cpu_seconds` and `memory_bytes`.
    """
    no_file, no_process = (0, 0), (0, 0)
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu_seconds"], limits["cpu_seconds"] + 1))
    resource.setrlimit(resource.RLIMIT_AS, (limits["memory_bytes"], limits["memory_bytes"]))
    resource.setrlimit(resource.RLIMIT_CORE, no_file)
    resource.setrlimit(resource.RLIMIT_FSIZE, no_file)
    resource.setrlimit(resource.RLIMIT_NPROC, no_process)
    _forbid_writing()


def landlock_version() -> int:
    """Return the version of Landlock that this kernel offers, below 1 for none."""
    return int(ctypes.CDLL(None).syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG))


def _forbid_writing() -> None:
    """Let the kernel refuse every change to a folder, and TCP; without Landlock, do nothing."""
    libc = ctypes.CDLL(None)
    version = landlock_version()
    if version < 1:
        return
    handled = _EXECUTE | _WRITE_FILE | _REMOVE_AND_MAKE | (_TRUNCATE if version >= 3 else 0)
    words = [handled, _BIND_AND_CONNECT] if version >= 4 else [handled]
    rules = (ctypes.c_uint64 * len(words))(*words)
    ruleset = libc.syscall(_CREATE_RULESET, rules, ctypes.sizeof(rules), 0)
    if ruleset < 0:
        return
    # No rule is added to the set: what it handles is allowed nowhere.
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.syscall(_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def main() -> None:
    """Read the request, run its program, and tell whether that came to its end."""
    request = json.load(sys.stdin)
    verdict = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    program = compile(request["program"], "<generated>", "exec")
    confine(request["limits"])
    exec(program, {"__name__": "__main__"})
    os.write(verdict, request["token"].encode())


if __name__ == "__main__":
    main()
