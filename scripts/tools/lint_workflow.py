"""Run `snakemake --lint` and accept one finding.

No rule names a conda or container environment: the environment is .venv with its lock, whose pins
are part of every key; a container line that is never deployed would only silence the linter.

Try it: python -m scripts.tools.lint_workflow
"""

import re
import subprocess
import sys

NO_ENVIRONMENT = "Specify a conda environment or container for each rule."
ACCEPTED = (NO_ENVIRONMENT,)


def findings(report: str) -> list[str]:
    """Return a line for every finding in the text of `snakemake --lint` that is not accepted."""
    place, left = "", []
    for line in report.splitlines():
        if line.startswith("Lints for "):
            place = line.removeprefix("Lints for ").rstrip(":")
        elif (match := re.match(r"    \* (.*?):?$", line)) and match[1] not in ACCEPTED:
            left.append(f"{place}: {match[1]}")
    return left


def main() -> None:
    """Print what is left and fail if something is, or if there was nothing to read."""
    result = subprocess.run(
        [sys.executable, "-m", "snakemake", "--lint"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if NO_ENVIRONMENT not in result.stdout:
        sys.exit(f"snakemake --lint did not get to the rules:\n{result.stdout}")
    left = findings(result.stdout)
    print("\n".join(left) or "snakemake --lint: nothing but what is accepted")
    sys.exit(1 if left else 0)


if __name__ == "__main__":
    main()
