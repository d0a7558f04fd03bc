"""A stand-in on this machine for an OpenAI-compatible service: chat completions by a rule."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.loopback import serving

Reaction = tuple[int, dict[str, str], str]
"""Status, headers and body of what is sent instead of a completion."""


class Service(ThreadingHTTPServer):
    """The server, and what it was asked.

    Attributes:
        rule: Prompt -> reply.
        first: What is sent instead of a completion, one after the other, before the rule counts.
        key: The key that it accepts; any when empty.
        asked: The body of every request that was answered by the rule.
        headers: The headers of every request.
        requests: How many there were.
        delay: Called before a reply is sent.
    """

    daemon_threads = True

    def __init__(self, rule: Callable[[str], str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.rule = rule
        self.first: list[Reaction] = []
        self.key = ""
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.refuses: Callable[[dict[str, Any]], Reaction | None] = lambda body: None
        self.delay: Callable[[], None] = lambda: None
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where it listens, up to and with the version."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def prompts(self) -> list[str]:
        """What was asked, in the order of the requests."""
        return [body["messages"][0]["content"] for body in self.asked]


@contextmanager
def service(rule: Callable[[str], str]) -> Iterator[Service]:
    """Serve until the block ends."""
    with serving(Service(rule)) as server:
        yield server


class _Handler(BaseHTTPRequestHandler):
    server: Service
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        """Answer a request for a completion."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.headers.append(dict(self.headers))
            server.paths.append(self.path)
            reaction = server.first.pop(0) if server.first else server.refuses(body)
            if reaction is None and server.key:
                given = self.headers.get("Authorization", "")
                if given != f"Bearer {server.key}":
                    said = {"error": {"message": f"Incorrect API key provided: {given}"}}
                    reaction = (401, {}, json.dumps(said))
            if reaction is None:
                server.asked.append(body)
        if reaction is None:
            server.delay()
            reply = server.rule(body["messages"][0]["content"])
            message = {"role": "assistant", "content": reply}
            reaction = (200, {}, json.dumps({"choices": [{"index": 0, "message": message}]}))
        self._send(*reaction)

    def _send(self, status: int, headers: dict[str, str], text: str) -> None:
        content = text.encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def answers_in(prompt: str) -> tuple[str, str]:
    """Return the first and the second answer that a judge is shown."""
    found = re.search(
        r"<answer A>\n(.*)\n</answer A>\n\n<answer B>\n(.*)\n</answer B>", prompt, re.DOTALL
    )
    assert found, prompt
    return found[1], found[2]


def longer(prompt: str) -> str:
    """Prefer the longer answer, whatever the order."""
    first, second = answers_in(prompt)
    return "C" if len(first) == len(second) else "A" if len(first) > len(second) else "B"
