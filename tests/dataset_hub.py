"""A stand-in for the hub on this machine: datasets that the real client reads at a commit."""

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from tests.loopback import serving
from tests.workspace import ROOT

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


def dataset_files(
    config: str, splits: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, bytes]:
    """Return the files of a dataset with one configuration, as the hub's datasets lay them out."""
    files, listed = {}, ""
    for split, rows in splits.items():
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(list(rows)), buffer)
        files[f"{config}/{split}-00000-of-00001.parquet"] = buffer.getvalue()
        listed += f"  - {{split: {split}, path: {config}/{split}-*}}\n"
    card = f"---\nconfigs:\n- config_name: {config}\n  data_files:\n{listed}---\n"
    return {"README.md": card.encode(), **files}


# Fetches each spec into a folder of its own; prints the error where there is one.
_PROGRAM = """
import json, sys
from pathlib import Path
from scripts.lib.errors import PipelineError
from scripts.lib.fetching import fetch_dataset
from scripts.lib.fetching_benchmarks import fetch_benchmark

for place, spec in json.loads(sys.argv[1]).items():
    out = Path(place)
    out.mkdir(parents=True)
    try:
        (fetch_benchmark if spec.get("kind") else fetch_dataset)(spec, [], out)
        print("fetched")
    except PipelineError as error:
        print(" | ".join(str(error).splitlines()))
"""


def fetch_from_hub(
    repositories: Mapping[str, Commits],
    home: Path,
    specs: Mapping[str, Mapping[str, Any]],
    *,
    offline: bool = False,
) -> list[str]:
    """Fetch raw rows and benchmarks in a process of its own: the client reads its settings once.

    Args:
        repositories: What the hub holds.
        home: Where the client keeps what it fetched.
        specs: New folder -> what to fetch there.
        offline: Tell the client not to use the network.

    Returns:
        `fetched`, or the error in one line, for each spec.
    """
    with dataset_hub(repositories) as hub:
        settings = {"HF_HOME": str(home), "HF_ENDPOINT": hub.url}
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, json.dumps(specs)],
            cwd=ROOT,
            env={**os.environ, **settings, "HF_HUB_OFFLINE": str(int(offline))},
            check=True,
            capture_output=True,
            text=True,
        )
    return done.stdout.splitlines()


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
