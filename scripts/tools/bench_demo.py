"""How long the embedded demo takes from nothing, and how long it takes to do nothing.

Try it: make bench-demo
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scripts.tools.bench import Figure, publish

ROOT = Path(__file__).resolve().parent.parent.parent


def timed_run(folder: str) -> tuple[float, str]:
    """Run the embedded default in *folder*; return seconds and what Snakemake printed."""
    began = time.monotonic()
    result = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile")),
            *("--directory", folder, "--profile", str(ROOT / "profiles/local")),
            *("--set-threads", "train_adapter=1", "score_benchmark=1"),
        ],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "TUNESMITH_CACHE": ""},
    )
    return time.monotonic() - began, result.stdout + result.stderr


def main() -> None:
    """Measure and publish."""
    with tempfile.TemporaryDirectory() as folder:
        first, _ = timed_run(folder)
        second, text = timed_run(folder)
    if "Nothing to be done" not in text:
        sys.exit(f"the second run did something:\n{text}")
    publish("demo", [Figure("seconds", first, "s"), Figure("noop_seconds", second, "s")])


if __name__ == "__main__":
    main()
