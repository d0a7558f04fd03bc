"""What of a fine-tune's settings cannot be trained with, whatever the machine: told while planning.

Pure, without torch: the configuration asks it of what is written, training of what it is to do.
"""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import NamedTuple

from scripts.lib.lora import Init, changes_base

OUTPUT_LAYER = "lm_head"


class SettingFault(NamedTuple):
    """One setting that cannot be, its dotted key among a run's, and what to write instead."""

    key: str
    text: str


def lora_faults(
    *,
    init: Init,
    target_modules: str | Sequence[str],
    use_dora: bool,
    quantization: str | None,
) -> Iterator[SettingFault]:
    """Yield what contradicts itself in the shape of an adapter.

    Args:
        init: First weights of the adapter.
        target_modules: Layers that get one.
        use_dora: Whether the magnitudes of the weights are trained, too.
        quantization: How the base is quantised while training.
    """
    if changes_base(init):
        yes = {"lora.use_dora": use_dora, "quantization": quantization}
        for key in (key for key, given in yes.items() if given):
            off = "false" if key == "lora.use_dora" else "null"
            yield SettingFault(
                "lora.init",
                f"{init!r} moves weights of the base into the adapter, which {key} cannot undo when"
                f" it is saved; write init: true, or {key}: {off}",
            )
    if OUTPUT_LAYER in target_modules:
        yield SettingFault(
            "lora.target_modules",
            f"names {OUTPUT_LAYER}, which TRL cannot train; leave it out, or write all-linear,"
            " which does",
        )


def missing_package(quantization: str | None) -> str | None:
    """Say which package a quantised base needs and this environment lacks, or return None."""
    if quantization != "nf4" or find_spec("bitsandbytes"):
        return None
    return (
        "quantization: nf4 needs the package bitsandbytes, which is not installed; install it into"
        " the environment (pip install bitsandbytes), or write quantization: null"
    )


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
