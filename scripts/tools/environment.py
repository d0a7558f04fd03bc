"""Say whether .venv is as it was installed: `make env` asks, and mends what is not.

    python -IS scripts/tools/environment.py record .venv    after an install
    python -IS scripts/tools/environment.py check .venv     before the next use

Imports nothing but the standard library, and runs without the packages that it looks for.
"""

import json
import os
import sys
from pathlib import Path

RECORD = "made.json"
ANEW, LOST = 3, 4
"""Exit codes of `check`: all is to be made anew, or the packages whose folders stdout lists."""


def main() -> None:
    """Do what the command line says."""
    what, venv = sys.argv[1], Path(sys.argv[2])
    if what == "record":
        (venv / RECORD).write_text(json.dumps(state(venv), indent=1) + "\n")
        return
    try:
        made = json.loads((venv / RECORD).read_text())
    except FileNotFoundError:
        return  # it was installed before there were records
    except ValueError:
        made = {}
    if reason := changed(made, state(venv)):
        print(f"{reason}: .venv is made anew", file=sys.stderr)
        sys.exit(ANEW)
    if lost := [name for name in made["packages"] if not is_whole(packages_of(venv) / name)]:
        names = [name.partition("-")[0].replace("_", "-") for name in lost]
        print(f".venv has lost files of {', '.join(names)}: installed again", file=sys.stderr)
        print(*lost)
        sys.exit(LOST)


def packages_of(venv: Path) -> Path:
    """Return the folder of packages of the Python that runs this."""
    return venv / "lib" / f"python{version()}" / "site-packages"


def version() -> str:
    """Return the version that decides where packages lie."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def state(venv: Path) -> "dict[str, object]":
    """Return where .venv is, for which Python, and the folders that describe its packages."""
    return {
        "place": os.path.realpath(venv),
        "python": version(),
        "packages": sorted(path.name for path in packages_of(venv).glob("*.dist-info")),
    }


def changed(made: "dict[str, object]", now: "dict[str, object]") -> str:
    """Say why nothing of .venv can be used as it is; an empty text where it can."""
    if not {"place", "python", "packages"} <= made.keys():
        return f"{RECORD} is damaged"
    if made["place"] != now["place"]:
        return f".venv was installed in {made['place']}, which its commands name"
    if made["python"] != now["python"]:
        return f".venv was installed for Python {made['python']}, and is run by {now['python']} now"
    return ""


def is_whole(described: Path) -> bool:
    """Tell whether a package is there: of each folder and file that it put beside others, one file.

    Args:
        described: Its folder `NAME-VERSION.dist-info`.
    """
    try:
        lines = (described / "RECORD").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    firsts: dict[str, str] = {}
    for line in lines:
        path = line.rpartition(",")[0].rpartition(",")[0].strip('"')
        if not path.endswith(".pyc"):
            firsts.setdefault(path.partition("/")[0], path)
    return all((described.parent / path).exists() for path in firsts.values())


if __name__ == "__main__":
    main()
