"""One merge, in a process of its own: ours, PEFT's, or a plain copy of the base's files.

    python -m scripts.tools.merge_contestants ours MODEL ADAPTER OUT THREADS

Prints one line of JSON: peak memory, bytes read and written, processor time. What a contestant does
not need is not imported, since the libraries are a good part of the memory and the time.
"""

import json
import resource
import shutil
import sys
import time
from pathlib import Path


def ours(model: Path, adapter: Path, out: Path, threads: int) -> None:
    """Merge as the merge program does."""
    from scripts.lib.merge.merging import merge_adapter

    facts = merge_adapter(model, adapter, out, threads=threads)
    if facts["method"] != "stream":
        sys.exit(f"not streamed: {facts['reason']}")


def peft(model: Path, adapter: Path, out: Path, threads: int) -> None:
    """Load, merge and save with PEFT and Transformers, as their documentation does."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    base = AutoModelForCausalLM.from_pretrained(model, dtype="auto")
    PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(out)


def copy(model: Path, adapter: Path, out: Path, threads: int) -> None:
    """Copy the base's files."""
    shutil.copytree(model, out, dirs_exist_ok=True)


def peak_gib() -> float:
    """Return this process's largest memory, in GiB."""
    # Not of getrusage: it keeps what the parent had before this program was loaded.
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def moved_gib() -> tuple[float, float]:
    """Return what this process read and wrote, in GiB; NaN where the system does not tell."""
    counts = Path("/proc/self/io")
    if not counts.exists():
        return float("nan"), float("nan")
    lines = dict(line.split(": ") for line in counts.read_text().splitlines())
    return int(lines["rchar"]) / 2**30, int(lines["wchar"]) / 2**30


def main() -> None:
    """Run the contestant that the command line names."""
    name, model, adapter, out, threads = sys.argv[1:]
    contestant = {"ours": ours, "peft": peft, "copy": copy}[name]
    contestant(Path(model), Path(adapter), Path(out), int(threads))
    read, written = moved_gib()
    told = {"peak_gib": peak_gib(), "read_gib": read, "written_gib": written}
    print(json.dumps({**told, "processor_seconds": time.process_time()}))


if __name__ == "__main__":
    main()
