"""A stand-in for the hub on this machine: datasets that the real client reads at a commit."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.loopback import serving

Commits = Mapping[str, Mapping[str, bytes]]


class DatasetHub(ThreadingHTTPServer):
    """The server, and what it holds.

    Attributes:
        repositories: Repository -> commit -> path -> bytes; the last commit is the branch `main`.
    """

    def __init__(self, repositories: Mapping[str, Commits]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = repositories

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def dataset_hub(repositories: Mapping[str, Commits]) -> Iterator[DatasetHub]:
    """Serve until the block ends."""
    with serving(DatasetHub(repositories)) as server:
        yield server


class _Handler(BaseHTTPRequestHandler):
    server: DatasetHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        """Answer without the bytes."""
        self.do_GET()

    def do_GET(self) -> None:
        """Describe a commit, list a folder of it, or give a file."""
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        api = parts[0] == "api"
        owner, name, asked, revision, *rest = [*parts[2 if api else 1 :], *[""] * 4]
        found = self._commit(f"{owner}/{name}", revision)
        path = "/".join(part for part in rest if part)
        if found is None:
            self._answer(b"{}", 404, {"X-Error-Code": "RevisionNotFound"})
        elif api and asked == "revision":
            self._say({"id": f"{owner}/{name}", "sha": found[0], "siblings": []})
        elif api and asked == "tree":
            self._say(_listed(found[1], path))
        elif asked == "resolve" and path in found[1]:
            data = found[1][path]
            headers = {"X-Repo-Commit": found[0], "ETag": f'"{hashlib.sha1(data).hexdigest()}"'}
            self._answer(data, 200, headers)
        else:
            self._answer(b"{}", 404, {"X-Error-Code": "EntryNotFound"})

    def _commit(self, repository: str, revision: str) -> tuple[str, Mapping[str, bytes]] | None:
        commits = self.server.repositories.get(repository, {})
        commit = list(commits)[-1] if commits and revision == "main" else revision
        return (commit, commits[commit]) if commit in commits else None

    def _say(self, content: Any) -> None:
        self._answer(json.dumps(content).encode(), 200, {"Content-Type": "application/json"})

    def _answer(self, data: bytes, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _listed(files: Mapping[str, bytes], folder: str) -> Sequence[Mapping[str, Any]]:
    """Return what stands directly in a folder, as the hub's API says it."""
    found: dict[str, dict[str, Any]] = {}
    for name, data in files.items():
        path = PurePosixPath(name)
        for place in (path, *path.parents):
            if place != PurePosixPath() and place.parent == PurePosixPath(folder):
                said = {"path": str(place), "oid": hashlib.sha1(str(place).encode()).hexdigest()}
                kind = "file" if place == path else "directory"
                found[str(place)] = {**said, "type": kind, "size": len(data)}
    return list(found.values())
