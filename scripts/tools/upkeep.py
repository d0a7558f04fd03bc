"""Keep results tidy, from the command line.

    python -m scripts.tools.upkeep gc                list what the config no longer reaches
    python -m scripts.tools.upkeep gc --remove       and delete it
    python -m scripts.tools.upkeep adopt --reason "renamed a helper; no number changes"
                                                     keep artifacts under changed code

Run it where you run Snakemake; `--configfile` names the config as there.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.lib import planning, upkeep
from scripts.lib.errors import PipelineError

ROOT = Path(__file__).resolve().parent.parent.parent


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and do what it asks for.

    Raises:
        SystemExit: with status 1 and a message when the config is wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m scripts.tools.upkeep", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--configfile", type=Path, action="append", default=[])
    commands = parser.add_subparsers(dest="command", required=True)
    collect = commands.add_parser("gc", help="list what the config no longer reaches")
    collect.add_argument("--remove", action="store_true", help="delete it")
    collect.add_argument(
        "--unfinished", action="store_true", help="delete it though the report is not made yet"
    )
    keep = commands.add_parser("adopt", help="declare artifacts valid under changed code")
    keep.add_argument("--reason", required=True, help="goes into the manifests")
    arguments = parser.parse_args(argv)
    try:
        given = planning.merge_configs(arguments.configfile)
        graph = planning.graph_of(planning.read_configs(given, arguments.configfile, ROOT), ROOT)
    except PipelineError as error:
        sys.exit(str(error))
    store = planning.open_store()
    if arguments.command == "gc":
        finished = store.look(graph.report, graph.artifacts[graph.report].key) is not None
        if arguments.remove and not finished and not arguments.unfinished:
            sys.exit(
                "the report of this config is not made yet, and what lies here may still be taken"
                " over by its bytes: run the workflow first, or add --unfinished"
            )
        total = 0
        for path, size in list(upkeep.unreached(graph, store)):
            total += size
            print(f"{size / 2**20:10.1f} MiB  {path}")
            if arguments.remove:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        word = "removed" if arguments.remove else "to remove with --remove"
        print(f"{total / 2**20:10.1f} MiB  {word}")
    else:
        for new, old in upkeep.adopt(graph, store, reason=arguments.reason):
            print(f"{old} -> {new}")


if __name__ == "__main__":
    main()
