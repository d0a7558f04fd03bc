"""Whether the artifacts behind a comparison were made from each other's bytes."""

import hashlib
from collections.abc import Mapping

from scripts.lib.compare.spec import JoinedManifest
from scripts.lib.errors import StoreError
from scripts.lib.files import FileEntry, content_of, is_hidden

# Earlier versions took this empty file of Snakemake's along where they copied an adapter's folder.
_STAMP = FileEntry(".snakemake_timestamp", 0, hashlib.sha256().hexdigest())


def check_chain(manifests: Mapping[str, JoinedManifest]) -> None:
    """Check every joint between two artifacts, and that two of them used the same bytes of a third.

    Keys promise equal work, not equal bytes: a model trained again with other threads or on another
    GPU may differ in its last bits. A table must not set the scores of one adapter beside the merge
    proof of another, so the joints are compared by content.

    Args:
        manifests: Id -> manifest.

    Raises:
        StoreError: naming each artifact that was made from other bytes than are there now, or than
            another one was.
    """
    used: dict[str, tuple[str, str]] = {}
    broken = []
    for id, manifest in manifests.items():
        for source in (source for inputs in manifest["inputs"].values() for source in inputs):
            name, content = source["id"], source["content"]
            if name in manifests:
                if not _is_content_of(manifests[name], content):
                    broken.append(f"{id} was made from another {name}")
                continue
            first, expected = used.setdefault(name, (id, content))
            if content != expected:
                broken.append(f"{first} and {id} were made from other bytes of {name} each")
    if broken:
        raise StoreError(
            "the artifacts do not fit together: "
            + "; ".join(broken)
            + ". Make them again with --config redo=<run, model or stage>"
        )


def _is_content_of(manifest: JoinedManifest, content: str) -> bool:
    """Tell whether *content* is a hash of the bytes of *manifest*, with a stamp among them or not.

    So what an earlier version made with the stamp, once adopted, fits what is made without it.
    """
    if content == manifest["content"]:
        return True
    listed = tuple(FileEntry(**entry) for entry in manifest["files"])
    own = tuple(entry for entry in listed if not is_hidden(entry.path))
    return content in (content_of(own), content_of((*own, _STAMP)))
