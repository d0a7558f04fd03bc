"""What a benchmark asks of the device under it: which it is, when it is done, how much it held."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from scripts.lib.machine.cuda_driver import driver_cuda
from scripts.lib.machine.device import compute_device

_DRIVER = Path("/proc/driver/nvidia/version")

Found = TypeVar("Found")


def benchmark_device(*, tiny: bool) -> str:
    """Return what a benchmark for one GPU runs on: "cuda", or whatever is there for a tiny try.

    Raises:
        SystemExit: There is no GPU, or more than one.
    """
    device = compute_device()
    if tiny:
        return device
    if device != "cuda":
        raise SystemExit(
            "this benchmark is for a GPU, and PyTorch sees none here. TINY=1 (--tiny) runs its"
            " whole path with a tiny model on a processor, and measures nothing."
        )
    if torch.cuda.device_count() > 1:
        raise SystemExit("this benchmark is for one GPU: set CUDA_VISIBLE_DEVICES to one of them")
    return device


def described(device: str) -> str:
    """Return what a reader of figures must know: card and its memory, driver, PyTorch."""
    build = f"PyTorch {torch.__version__}"
    if device != "cuda":
        return f"no GPU, {build}"
    card = torch.cuda.get_device_properties(0)
    cuda = driver_cuda()
    driver = f"driver for CUDA {cuda[0]}.{cuda[1]}" if cuda else "no NVIDIA driver"
    if _DRIVER.exists():
        driver += f" ({_DRIVER.read_text().splitlines()[0].strip()})"
    return f"{card.name}, {card.total_memory / 2**30:.0f} GiB, {driver}, {build}"


def finish() -> None:
    """Wait until a GPU, where one is used, has done all that it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def clocked(task: Callable[[], Found]) -> tuple[float, float, Found]:
    """Run *task* to its end, a GPU's part included.

    Returns:
        Seconds by the wall's clock, seconds of processor time, and what the task returned.
    """
    finish()
    wall, processor = time.perf_counter(), time.process_time()
    found = task()
    finish()
    return time.perf_counter() - wall, time.process_time() - processor, found


def forget_peak() -> None:
    """Begin to watch the largest memory anew: a GPU's, else this process's (Linux)."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak_gib() -> float:
    """Return the largest memory since `forget_peak`, weights included.

    On a GPU what PyTorch's tensors took there; else the resident memory of this process.
    """
    if torch.cuda.is_initialized():
        return float(torch.cuda.max_memory_allocated()) / 2**30
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 2**20


def rounds_within(seconds: float, one_round: Callable[[], Found]) -> list[Found]:
    """Return what rounds found: one at least, and no more than *seconds* leave room for."""
    began = time.perf_counter()
    found, longest = list[Found](), 0.0
    while not found or time.perf_counter() - began + longest <= seconds:
        before = time.perf_counter()
        found.append(one_round())
        longest = max(longest, time.perf_counter() - before)
    return found


def product_rate(width: int, inner: int, *, dtype: torch.dtype, device: str, rows: int) -> float:
    """Return what a plain matrix product does here, in FLOP/s: the best of twenty.

    Args:
        width: Numbers in a row that goes in.
        inner: Numbers in a row that comes out.
        dtype: Of all of them.
        device: Where it is computed.
        rows: How many rows.
    """
    row = torch.randn(rows, width, device=device).to(dtype)
    weight = torch.randn(inner, width, device=device).to(dtype)

    def multiply() -> torch.Tensor:
        return torch.nn.functional.linear(row, weight)

    return 2.0 * rows * width * inner / min(clocked(multiply)[0] for _ in range(20))
