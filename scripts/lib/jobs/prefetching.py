"""What a config names elsewhere, fetched before it is needed: may one have it, and what came."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from scripts.lib.amounts import bytes_in_words
from scripts.lib.artifacts.graph import Artifact
from scripts.lib.artifacts.stages import FETCHED
from scripts.lib.artifacts.store import Store
from scripts.lib.errors import StoreError
from scripts.lib.files import walk_files

MODELS = ("models", "given_adapters")
SHOWN_DIGITS = 12


def refused(artifacts: Iterable[Artifact]) -> list[str]:
    """Return why the hub will not give what is to be fetched, before any of it is.

    What the hub's client has already in full is not asked for. Without a network, and where it may
    not be used, nothing is refused: a transfer node may have one.

    Args:
        artifacts: What is about to be fetched.
    """
    wanted = [artifact for artifact in artifacts if _repositories(artifact.stage, artifact.spec)]
    if not wanted:
        return []
    # The hub's client takes a second to import.
    from scripts.lib.fetch.access import Repository, RepositoryKind, refusals
    from scripts.lib.fetch.models import is_downloaded

    asked: dict[Repository, None] = {}
    for artifact in wanted:
        if artifact.stage != "models" or not is_downloaded(artifact.spec):
            kind: RepositoryKind = "model" if artifact.stage in MODELS else "dataset"
            names = _repositories(artifact.stage, artifact.spec)
            asked |= dict.fromkeys(Repository(*one, kind) for one in names.items())
    return refusals(list(asked))


def _repositories(stage: str, spec: Mapping[str, Any]) -> dict[str, str | None]:
    """Return repository of the hub -> commit, as far as the config names them.

    Tasks of lm-eval name more in their own files; these are told by the job that reads them.
    """
    if stage in FETCHED and spec.get("source") == "hub":
        return {spec["hub"]: spec["revision"]}
    return dict(spec.get("revisions") or {}) if stage == "benchmarks" else {}


def table(frozen: Mapping[str, Any], store: Store) -> Iterator[str]:
    """Yield lines about everything that was fetched: its size, its pin, where it lies; and the sum.

    Args:
        frozen: A plan, of an invocation that prefetches.
        store: Results and caches.

    Raises:
        StoreError: Something is not there.
    """
    rows, open_pins, total, shared = [], dict[str, str](), 0, 0
    for id, place in frozen["prefetch"]:
        found = store.look(id, id.rpartition("-")[2])
        if found is None or found.folder is None:
            raise StoreError(f"{place} is not there: start the workflow again")
        files = list(walk_files(found.folder))
        size = sum(file.stat().st_size for file in files)
        linked = sum(file.stat().st_size for file in files if file.is_symlink())
        stage = id.partition("/")[0]
        words, unpinned = _pins(stage, found.manifest)
        rows.append((stage, bytes_in_words(size), ", ".join(words), str(found.folder)))
        open_pins |= unpinned
        total, shared = total + size, shared + linked
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    for stage, size_words, words_of, folder in rows:
        first = f"{stage:<{widths[0]}}  {size_words:>{widths[1]}}"
        yield f"{first}  {words_of:<{widths[2]}}  {folder}"
    also = (
        f", of which {bytes_in_words(shared)} lie in the hub's cache and are linked"
        if shared
        else ""
    )
    yield f"{len(rows)} sources, {bytes_in_words(total)}{also}"
    if open_pins:
        yield "The config leaves these at their newest commit; to pin what was fetched, write:"
        pins = ", ".join(f"{name}: {commit}" for name, commit in open_pins.items())
        yield f"  revisions: {{{pins}}}"


def _pins(stage: str, manifest: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
    """Return what was fetched, in words, and the commits that its config leaves open."""
    spec = manifest["spec"]
    read: Mapping[str, str] = manifest["facts"].get("datasets") or {}
    if not read:
        named = _repositories(stage, spec)
        whole = [f"{name}@{str(commit)[:SHOWN_DIGITS]}" for name, commit in named.items()]
        return whole or [manifest["slug"]], {}
    pinned = spec.get("revisions") or {}
    newest = {words.partition(" ")[0]: at for words, at in read.items() if _is_commit(at)}
    return (
        [f"{words}@{at[:SHOWN_DIGITS]}" if _is_commit(at) else words for words, at in read.items()],
        {name: at for name, at in newest.items() if name not in pinned},
    )


def _is_commit(origin: str) -> bool:
    return len(origin) == 40 and not set(origin) - set("0123456789abcdef")
