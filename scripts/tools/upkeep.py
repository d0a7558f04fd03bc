"""Keep results and shared caches tidy, from the command line.

    python -m scripts.tools.upkeep gc                list what the config no longer reaches
    python -m scripts.tools.upkeep gc --remove       and delete it
    python -m scripts.tools.upkeep cache-gc          list a shared cache by age and size
    python -m scripts.tools.upkeep cache-gc --older-than 30d --remove     and remove from it
    python -m scripts.tools.upkeep adopt --reason "renamed a helper; no number changes"
                                                     keep artifacts under changed code
    python -m scripts.tools.upkeep adopt --cache --reason "..."     and those of the shared caches

Run it where you run Snakemake; `--configfile` names the config as there.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.lib.artifacts import adoption, upkeep
from scripts.lib.artifacts.code_digest import ProjectCode
from scripts.lib.artifacts.graph import Graph
from scripts.lib.errors import PipelineError
from scripts.lib.plan import invocation
from scripts.tools import cache_gc

ROOT = Path(__file__).resolve().parent.parent.parent


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv* and do what it asks for.

    Raises:
        SystemExit: with status 1 and a message when the config is wrong, or what is to be adopted
            is not whole.
    """
    arguments = _parse(argv)
    if arguments.command == "cache-gc":
        cache_gc.run(arguments)
        return
    try:
        given = invocation.merge_configs(arguments.configfile)
        graph = invocation.graph_of(
            invocation.read_configs(given, arguments.configfile, ROOT), ROOT
        )
        if arguments.command == "gc":
            _collect(graph, arguments)
        else:
            _adopt(graph, arguments.reason, cache=arguments.cache)
    except PipelineError as error:
        sys.exit(str(error))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed arguments."""
    parser = argparse.ArgumentParser(prog="python -m scripts.tools.upkeep", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--configfile", type=Path, action="append", default=[])
    commands = parser.add_subparsers(dest="command", required=True)
    collect = commands.add_parser("gc", help="list what the config no longer reaches")
    collect.add_argument("--remove", action="store_true", help="delete it")
    collect.add_argument(
        "--unfinished", action="store_true", help="delete it though the report is not made yet"
    )
    cache_gc.add_arguments(commands.add_parser("cache-gc", help="list a shared cache, or tidy it"))
    keep = commands.add_parser("adopt", help="declare artifacts valid under changed code")
    keep.add_argument("--reason", required=True, help="goes into the manifests")
    keep.add_argument(
        "--cache",
        action="store_true",
        help="also what lies in the caches of TUNESMITH_CACHE; the first gets all that is adopted",
    )
    return parser.parse_args(argv)


def _collect(graph: Graph, arguments: argparse.Namespace) -> None:
    """List what *graph* no longer reaches and, on request, delete it."""
    store = invocation.open_store()
    finished = store.look(graph.report, graph.artifacts[graph.report].key) is not None
    if arguments.remove and not finished and not arguments.unfinished:
        sys.exit(
            "the report of this config is not made yet, and what lies here may still be taken"
            " over by its bytes: run the workflow first, or add --unfinished"
        )
    total = 0
    for path, size in list(upkeep.unreached(graph, store)):
        # A workflow with another config may have begun since the list was made.
        if arguments.remove and not upkeep.discard(store, path):
            continue
        total += size
        print(f"{size / 2**20:10.1f} MiB  {path}")
    word = "removed" if arguments.remove else "to remove with --remove"
    print(f"{total / 2**20:10.1f} MiB  {word}")


def _adopt(graph: Graph, reason: str, *, cache: bool) -> None:
    """Adopt what can be, and say what was.

    Raises:
        SystemExit: when a cache is to be adopted and none is named.
    """
    store = invocation.open_store()
    if cache and not store.caches:
        sys.exit(
            f"{invocation.CACHE_VARIABLE} names no cache to adopt from: set it, or leave --cache"
        )
    done = adoption.adopt(graph, store, ProjectCode(ROOT), reason=reason, cache=cache)
    for one in done:
        print(f"{one.old.with_suffix('')} -> {one.id}")
    if not done:
        print("nothing to adopt: no artifact here differs from a missing one in its code alone")


if __name__ == "__main__":
    main()
