"""What processes of tests do with blocks; they import this, and nothing that takes long."""

import os
import signal
import time
from functools import partial
from pathlib import Path

from scripts.lib.data.processes import in_processes


def scaled_by(factor):
    return lambda block: [factor * number for number in block]


def failing_at(number, error):
    def work(block):
        if number in block:
            raise error
        return sum(block)

    return work


def dying_at(number):
    def work(block):
        if number in block:
            os.kill(os.getpid(), signal.SIGKILL)
        return block

    return work


def telling_its_process(folder):
    Path(folder, str(os.getpid())).touch()
    return lambda block: (os.getpid(), block)


def work_forever(folder):
    """Start processes that work until they are ended."""
    blocks = ([number] for number in range(10**9))
    for _ in in_processes(partial(telling_its_process, folder), blocks, 2, at_home=0):
        time.sleep(0.01)
