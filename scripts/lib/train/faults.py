"""How it is told, while planning, that a fine-tune cannot be trained with what it is given.

Pure, without torch. Who tells what: `optimization`, `schedules`, and of an adapter `lora_faults`.
"""

from typing import NamedTuple


class SettingFault(NamedTuple):
    """One setting that cannot be, its dotted key among a run's, and what to write instead."""

    key: str
    text: str


def batch_fault(batch_size: int, micro_batch: int, processes: int) -> str | None:
    """Say why a batch cannot be shared out, or return None.

    Args:
        batch_size: Sequences in an optimiser step, over all processes.
        micro_batch: Sequences in one pass of one process; 0 where a divisor is chosen.
        processes: Processes that train together, one a GPU.
    """
    part = max(1, micro_batch) * max(1, processes)
    if batch_size % part == 0:
        return None
    below, above = batch_size // part * part, -(-batch_size // part) * part
    return (
        f"batch_size {batch_size} is not a multiple of micro_batch {max(1, micro_batch)} x"
        f" {max(1, processes)} process(es), so no step could see exactly {batch_size} sequences;"
        f" write {' or '.join(str(size) for size in (below, above) if size)}, or choose numbers"
        " that divide it"
    )
