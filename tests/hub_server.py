"""A stand-in for the hub on this machine: the few endpoints that a push of a model needs."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.loopback import serving


class Hub(ThreadingHTTPServer):
    """The server, and what was pushed to it.

    Attributes:
        token: The token that it accepts.
        repositories: Repository -> what it was created with.
        branches: Branches that were made, as (repository, branch).
        commits: What each commit put where: (repository, branch, path -> bytes).
        stored: Large files by their sha256.
    """

    def __init__(self, token: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token = token
        self.repositories: dict[str, dict[str, Any]] = {}
        self.branches: list[tuple[str, str]] = []
        self.commits: list[tuple[str, str, dict[str, bytes]]] = []
        self.stored: dict[str, bytes] = {}

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def hub(token: str) -> Iterator[Hub]:
    """Serve until the block ends."""
    with serving(Hub(token)) as server:
        yield server


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_PUT(self) -> None:
        """Take a large file."""
        data = self._read()
        self.server.stored[self.path.rpartition("/")[2]] = data
        self._answer({})

    def do_POST(self) -> None:
        """Answer what the hub's client asks for."""
        data = self._read()
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self._answer({"error": "Invalid credentials"}, 401)
            return
        for pattern, handle in self.ROUTES:
            found = re.fullmatch(pattern, self.path)
            if found:
                handle(self, data, *found.groups())
                return
        self._answer({"error": f"no endpoint {self.path}"}, 404)

    def _create(self, data: bytes) -> None:
        asked = json.loads(data)
        repo = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else ""
        repo = repo or f"me/{asked['name']}"
        if repo in self.server.repositories:
            url = f"{self.server.url}/{repo}"
            self._answer({"error": "You already created this model repo", "url": url}, 409)
            return
        self.server.repositories[repo] = asked
        self._answer({"url": f"{self.server.url}/{repo}", "name": repo, "id": "0"})

    def _branch(self, _: bytes, repo: str, branch: str) -> None:
        self.server.branches.append((repo, branch))
        self._answer({})

    def _validate(self, _: bytes) -> None:
        self._answer({"errors": [], "warnings": []})

    def _preupload(self, data: bytes, *_: str) -> None:
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for file in json.loads(data)["files"]
        ]
        self._answer({"files": files})

    def _batch(self, data: bytes, _: str) -> None:
        objects = [
            {
                "oid": item["oid"],
                "size": item["size"],
                "actions": {"upload": {"href": f"{self.server.url}/store/{item['oid']}"}},
            }
            for item in json.loads(data)["objects"]
        ]
        self._answer({"transfer": "basic", "objects": objects})

    def _commit(self, data: bytes, repo: str, branch: str) -> None:
        files: dict[str, bytes] = {}
        for line in map(json.loads, data.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.stored[value["oid"]]
        self.server.commits.append((repo, branch, files))
        oid = hashlib.sha1(data).hexdigest()
        self._answer({"commitUrl": f"{self.server.url}/{repo}/commit/{oid}", "commitOid": oid})

    ROUTES = (
        (r"/api/repos/create", _create),
        (r"/api/validate-yaml", _validate),
        (r"/api/models/([\w-]+/[\w-]+)/branch/(\w+)", _branch),
        (r"/api/models/([\w-]+/[\w-]+)/preupload/(\w+)", _preupload),
        (r"/([\w-]+/[\w-]+)\.git/info/lfs/objects/batch", _batch),
        (r"/api/models/([\w-]+/[\w-]+)/commit/(\w+)", _commit),
    )

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, content: dict[str, Any], status: int = 200) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
