"""A model behind an OpenAI-compatible service as judge.

Every reply is in the journal before the next one is asked for, so that nothing is paid for twice.
The key is known to this module only: texts of the service lose it before anyone else sees them.
"""

import hashlib
import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.lib.judge.files import Reply
from scripts.lib.judge.prompt import Pair, judge_prompts
from scripts.lib.judge.service import PARAMETERS, ChatService, Said
from scripts.lib.progress import note

_AT_ONCE = 4  # requests; more would meet the limits of most services

_SAY_EVERY = 20  # replies


@dataclass(frozen=True, kw_only=True)
class RemoteJudgeSpec:
    """What decides a remote judge's judgements, as far as it can be known.

    Attributes:
        criteria: What the judge is told to look at; None for the default text.
        endpoint: Address of the service.
        model: Name of the model there.
    """

    criteria: str | None
    endpoint: str
    model: str


def judge_remotely(
    spec: RemoteJudgeSpec, pairs: Sequence[Pair], service: ChatService, scratch: Path
) -> dict[str, tuple[Reply, Reply]]:
    """Return prompt -> the replies with the base's answer first and with the run's.

    Args:
        spec: How to judge.
        pairs: What to judge; equal answers are not.
        service: Who is asked.
        scratch: Folder of this identity for the journal.

    Raises:
        ScoreError: The service refuses or stays away; what it said before is in the journal.
    """
    texts = {pair.id: judge_prompts(pair, spec.criteria) for pair in pairs if not pair.equal}
    with _Journal(scratch) as journal:
        wanted = dict.fromkeys(text for both in texts.values() for text in both)
        _ask([text for text in wanted if not journal.has(text)], service, journal)
        return {
            name: (_reply(journal.said(first)), _reply(journal.said(second)))
            for name, (first, second) in texts.items()
        }


def _reply(said: Said) -> Reply:
    return Reply(said.text, without=said.without)


def judge_facts(
    spec: RemoteJudgeSpec, replies: Mapping[str, tuple[Reply, Reply]]
) -> dict[str, Any]:
    """Return what is to be known of a judge: the spec, and what it was really asked for.

    Args:
        spec: How to judge.
        replies: From `judge_remotely`.

    Returns:
        With the spec, `parameters` of the requests and how many replies came without which of them,
        as `refused`.
    """
    refused = Counter(name for both in replies.values() for one in both for name in one.without)
    return {
        "kind": "endpoint",
        **vars(spec),
        "parameters": dict(PARAMETERS),
        "refused": dict(sorted(refused.items())),
    }


def _ask(texts: Sequence[str], service: ChatService, journal: "_Journal") -> None:
    """Ask for every text; the first error ends it, after what is under way has been noted."""
    failed = threading.Event()

    def ask(text: str) -> None:
        if failed.is_set():
            return
        try:
            journal.note(text, service.reply(text))
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(_AT_ONCE) as workers:
        jobs = [workers.submit(ask, text) for text in texts]
        try:
            for number, job in enumerate(jobs, start=1):
                job.result()
                if number % _SAY_EVERY == 0 or number == len(jobs):
                    text = f"{number:,} of {len(jobs):,} judged"
                    print(text, file=sys.stderr, flush=True)
                    note(text, last=number == len(jobs))
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)
            raise


class _Journal:
    """Replies by what was asked, a line for each, on disk before anybody goes on."""

    def __init__(self, scratch: Path) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self._path = scratch / "replies.jsonl"
        self._replies = dict(self._read())
        self._lock = threading.Lock()

    def __enter__(self) -> "_Journal":
        self._stream = self._path.open("a", encoding="utf-8")
        # The last line may have been cut short by a kill.
        self._stream.write("\n")
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def has(self, text: str) -> bool:
        """Return whether there was a reply to *text*."""
        return _digest(text) in self._replies

    def said(self, text: str) -> Said:
        """Return the reply to *text*."""
        return self._replies[_digest(text)]

    def note(self, text: str, said: Said) -> None:
        """Keep a reply."""
        line = json.dumps({"asked": _digest(text), "reply": said.text, "without": said.without})
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._replies[_digest(text)] = said

    def _read(self) -> Iterator[tuple[str, Said]]:
        if not self._path.exists():
            return
        for line in self._path.read_text(encoding="utf-8").split("\n"):
            with suppress(json.JSONDecodeError):  # an empty line, or one that was cut short
                entry = json.loads(line)
                yield entry["asked"], Said(entry["reply"], tuple(entry["without"]))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
