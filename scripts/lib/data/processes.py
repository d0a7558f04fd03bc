"""Map a function over blocks of rows in several processes: results in order, in bounded memory.

The result does not depend on the number of processes: a block is worked on without the others, and
whoever asks sees results, and the first error, in the order of the blocks.

Processes are spawned, which is safe beside the threads of libraries where a fork is not, and costs
each of them its imports. So the first blocks are worked on at home: a small dataset starts none.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import Any, TypeVar

from scripts.lib.errors import RoomError

BLOCKS_AT_HOME = 8
# Blocks that are read ahead, for each process: one that it works on and one that waits for it.
AHEAD = 2

Block = TypeVar("Block")
Result = TypeVar("Result")


def in_processes(
    start: Callable[[], Callable[[Block], Result]],
    blocks: Iterable[Block],
    processes: int,
    *,
    at_home: int = BLOCKS_AT_HOME,
) -> Iterator[Result]:
    """Yield what a function makes of each block, in order.

    Args:
        start: Makes the function, once in each process; a function of a module, or a `partial` of
            one, whose arguments can be pickled, as blocks and results can. Example:
            `partial(Formatter, spec)`, where `Formatter` has `__call__`.
        blocks: What to work on; read a few ahead, in this process.
        processes: How many work; with 1 all is done here, without any other process.
        at_home: So many blocks are worked on here, before any process is started.

    Raises:
        RoomError: A process was killed.
        Exception: What the function or *blocks* raised, at the block where it did.
    """
    rest = iter(blocks)
    yield from map(start(), rest if processes < 2 else islice(rest, at_home))
    for block in rest:
        yield from _shared(start, chain([block], rest), processes)


def _shared(
    start: Callable[[], Callable[[Block], Result]], blocks: Iterator[Block], processes: int
) -> Iterator[Result]:
    waiting: deque[Future[Result]] = deque()
    pool = ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(start,),
    )
    try:
        # An error of the blocks comes at its place, behind the results of those before it.
        ends: Exception | None = None
        more = True
        while more or waiting:
            while more and len(waiting) < AHEAD * processes:
                try:
                    waiting.append(pool.submit(_work_on, next(blocks)))
                except StopIteration:
                    more = False
                except BrokenProcessPool:
                    raise
                except Exception as error:
                    ends, more = error, False
            if waiting:
                yield waiting.popleft().result()
        if ends is not None:
            raise ends
    except BrokenProcessPool as error:
        raise RoomError(
            f"one of {processes} processes of this job was killed, most likely because the memory"
            " did not suffice: give the job more of it (`mem_mb`), or fewer threads"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_start: Callable[[], Callable[[Any], Any]]
_work: Callable[[Any], Any] | None = None


def _begin(start: Callable[[], Callable[[Any], Any]]) -> None:
    """Prepare a process of the pool."""
    global _start
    _start = start
    # One of the job's threads: a tokenizer is not to start as many of its own as there are cores.
    os.environ["RAYON_NUM_THREADS"] = "1"
    # Whoever interrupts a job interrupts its first process, which ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, even if that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work_on(block: Any) -> Any:
    global _work
    if _work is None:
        _work = _start()
    return _work(block)
