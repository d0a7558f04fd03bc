"""A stand-in for the hub on this machine: datasets that the real client reads at a commit."""

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
        gated: Those whose files nobody gets.
        token: The token that it knows, or None: then any will do.
    """

    def __init__(
        self,
        repositories: Mapping[str, Commits],
        gated: Iterable[str] = (),
        token: str | None = None,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = repositories
        self.gated = frozenset(gated)
        self.token = token

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def dataset_hub(
    repositories: Mapping[str, Commits], gated: Iterable[str] = (), token: str | None = None
) -> Iterator[DatasetHub]:
    """Serve until the block ends."""
    with serving(DatasetHub(repositories, gated, token)) as server:
        yield server


Rows = Sequence[Mapping[str, Any]]


def dataset_files(config: str, splits: Mapping[str, Rows]) -> dict[str, bytes]:
    """Return the files of a dataset with one configuration, as the hub's datasets lay them out."""
    return files_of_configs({config: splits})


def files_of_configs(configs: Mapping[str, Mapping[str, Rows]]) -> dict[str, bytes]:
    """Return the files of a dataset with several configurations."""
    files, card = {}, "---\nconfigs:\n"
    for config, splits in configs.items():
        card += f"- config_name: {config}\n  data_files:\n"
        for split, rows in splits.items():
            buffer = io.BytesIO()
            pq.write_table(pa.Table.from_pylist(list(rows)), buffer)
            files[f"{config}/{split}-00000-of-00001.parquet"] = buffer.getvalue()
            card += f"  - {{split: {split}, path: {config}/{split}-*}}\n"
    return {"README.md": f"{card}---\n".encode(), **files}


# Fetches each spec into a folder of its own; prints the error where there is one. Where nothing
# answers the client tries again, and waits longer each time; here it waits next to nothing.
_PROGRAM = """
import json, sys, time
from pathlib import Path

sleep = time.sleep
time.sleep = lambda seconds: sleep(min(seconds, 0.01))

from scripts.lib.errors import PipelineError
from scripts.lib.fetch.datasets import fetch_dataset
from scripts.lib.fetch.benchmarks import fetch_benchmark
from scripts.lib.fetch.models import fetch_model

said = []
for place, spec in json.loads(sys.argv[1]).items():
    out = Path(place)
    out.mkdir(parents=True)
    try:
        fetch = fetch_benchmark if "kind" in spec else fetch_dataset
        (fetch_model if "trust_remote_code" in spec else fetch)(spec, [], out)
        said.append("fetched")
    except PipelineError as error:
        said.append(str(error))
print(json.dumps(said))
"""


def fetch_from_hub(
    repositories: Mapping[str, Commits],
    home: Path,
    specs: Mapping[str, Mapping[str, Any]],
    *,
    offline: bool = False,
    gated: Iterable[str] = (),
    token: str | None = None,
    env: Mapping[str, str] | None = None,
) -> list[str]:
    """Fetch rows, benchmarks and models in a new process: the client reads its settings once.

    Args:
        repositories: What the hub holds.
        home: Where the client keeps what it fetched.
        specs: New folder -> what to fetch there.
        offline: Tell the client not to use the network.
        gated: Repositories whose files the hub gives nobody.
        token: The one token that the hub knows.
        env: Settings of the client.

    Returns:
        `fetched`, or the error, for each spec.
    """
    with dataset_hub(repositories, gated, token) as hub:
        settings = {"HF_HOME": str(home), "HF_ENDPOINT": hub.url, **(env or {})}
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, json.dumps(specs)],
            cwd=ROOT,
            env={**os.environ, "HF_HUB_OFFLINE": str(int(offline)), **settings},
            check=True,
            capture_output=True,
            text=True,
        )
    return json.loads(done.stdout.splitlines()[-1])


_AT_A_COMMIT = ("revision", "tree", "resolve")


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
        parts = parts[1:] if api else parts
        parts = parts[1:] if parts[0] in ("datasets", "models") else parts
        owner, name, asked, revision, *rest = [*parts, *[""] * 6]
        repository = f"{owner}/{name}"
        found = self._commit(repository, revision if asked in _AT_A_COMMIT else "main")
        path = "/".join(part for part in rest if part)
        if fault := self._fault(repository, asked):
            self._answer(b"{}", *fault)
        elif found is None:
            self._answer(b"{}", 404, {"X-Error-Code": "RevisionNotFound"})
        elif api and asked in ("revision", "", "auth-check"):
            self._say({"id": repository, "sha": found[0], "siblings": []})
        elif api and asked == "tree":
            self._say(_listed(found[1], path))
        elif asked == "resolve" and path in found[1]:
            data = found[1][path]
            headers = {"X-Repo-Commit": found[0], "ETag": f'"{hashlib.sha1(data).hexdigest()}"'}
            self._answer(data, 200, headers)
        else:
            self._answer(b"{}", 404, {"X-Error-Code": "EntryNotFound"})

    def _fault(self, repository: str, asked: str) -> tuple[int, dict[str, str]] | None:
        """Return status and headers with which the hub refuses, as it words them."""
        given = self.headers.get("Authorization")
        if given and self.server.token and given != f"Bearer {self.server.token}":
            return 401, {"X-Error-Message": "Invalid credentials in Authorization header"}
        if repository not in self.server.repositories:
            return 404 if given else 401, {"X-Error-Code": "RepoNotFound"}
        if repository in self.server.gated and asked in ("resolve", "auth-check"):
            return 403 if given else 401, {"X-Error-Code": "GatedRepo"}
        return None

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
