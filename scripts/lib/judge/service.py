"""A client for OpenAI-compatible chat completions: greedy, patient, and silent about its key."""

import json
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from scripts.lib.errors import ScoreError

_TRIES = 8  # together about two minutes
_LONGEST_WAIT = 60.0  # seconds between two tries, unless the service asks for more
_MOST_PATIENCE = 300.0  # seconds that a service may ask for
_TIMEOUT = (10.0, 300.0)  # seconds to connect, and until a reply

# A verdict is one letter; the rest is for models that think first, and against those that loop.
_REPLY_TOKENS = 2048

_EXCERPT = 300  # characters of a service's words in an error

PARAMETERS: Mapping[str, Any] = {"temperature": 0, "max_tokens": _REPLY_TOKENS}
"""What is asked for beside the model and the words.

Where a model refuses one of them it is asked without: it then does as it always does.
"""


@dataclass(frozen=True)
class Said:
    """A reply.

    Attributes:
        text: Its words; empty where the model says nothing.
        without: Names of the parameters that it was asked without, since the model refuses them.
    """

    text: str
    without: tuple[str, ...] = ()


class _Again(Exception):
    """Something that may be over at the next try.

    Attributes:
        wait: Seconds that the service asks to wait, or None.
    """

    def __init__(self, what: str, wait: float | None = None) -> None:
        super().__init__(what)
        self.wait = wait


class _Bearer(requests.auth.AuthBase):
    """Puts the key on a request; being there, it keeps requests from looking into ~/.netrc."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: Any) -> Any:
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request


class ChatService:
    """One model of one service."""

    def __init__(self, endpoint: str, model: str, api_key_env: str | None) -> None:
        """Take the key from the environment.

        Args:
            endpoint: Address up to and with the version, such as `https://api.example.org/v1`.
            model: Name of the model there.
            api_key_env: Environment variable of the key, or None where the service wants none.

        Raises:
            ScoreError: The variable is not set, or cannot be a key.
        """
        self._address = f"{endpoint}/chat/completions"
        self._model = model
        self._variable = api_key_env
        self._key = _key_of(api_key_env) if api_key_env else ""
        self._options = PARAMETERS
        self._lock = threading.Lock()

    def reply(self, text: str) -> Said:
        """Return what the model says to *text*.

        Raises:
            ScoreError: The service refuses, or does not answer after many tries.
        """
        tries = Retrying(
            retry=retry_if_exception_type(_Again),
            stop=stop_after_attempt(_TRIES),
            wait=_wait,
            reraise=True,
        )
        try:
            said: Said = tries(self._reply, text)
            return said
        except _Again as error:
            raise ScoreError(
                f"{self._address} gave no reply in {_TRIES} tries: {error}. What was judged so far"
                " is kept; run again when the service is well."
            ) from None

    def _reply(self, text: str) -> Said:
        messages = [{"role": "user", "content": text}]
        options = self._options
        try:
            response = requests.post(
                self._address,
                json={"model": self._model, "messages": messages, **options},
                auth=_Bearer(self._key),
                timeout=_TIMEOUT,
                # A redirected POST would become a GET, and could carry the key elsewhere.
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise _Again(f"no connection ({type(error).__name__})") from None
        if response.status_code == 200:
            without = tuple(sorted(PARAMETERS.keys() - options.keys()))
            return Said(self._hidden(self._content(response)), without)
        if response.status_code == 400 and self._drop_refused(response, options):
            return self._reply(text)
        raise self._error(response)

    def _content(self, response: requests.Response) -> str:
        """Return the words of a completion.

        Raises:
            _Again: It is none.
        """
        try:
            said = response.json()["choices"][0]["message"]["content"]
            if isinstance(said, str | None):
                # JSON may hold half a character, which no file takes.
                return (said or "").encode(errors="replace").decode()
        except (json.JSONDecodeError, requests.JSONDecodeError, KeyError, IndexError, TypeError):
            pass
        shown = self._hidden(response.text)[:_EXCERPT]
        raise _Again(f"what came is no chat completion: {shown}")

    def _drop_refused(self, response: requests.Response, sent: Mapping[str, Any]) -> bool:
        """Leave out an optional parameter that the model refuses; tell whether there was one."""
        refused = _error_part(response, "param")
        if refused not in sent:
            return False
        with self._lock:
            self._options = {k: v for k, v in self._options.items() if k != refused}
        print(f"{self._model} takes no {refused}: asked without", flush=True)
        return True

    def _error(self, response: requests.Response) -> Exception:
        status = response.status_code
        # Some services repeat a wrong key in what they say of it.
        said = self._hidden(_error_part(response, "message") or response.text)[:_EXCERPT]
        if status in (408, 409, 425, 429) or status >= 500:
            return _Again(f"status {status}: {said}", _asked_wait(response))
        if status in (401, 403):
            remedy = (
                f"Look at the key in the environment variable {self._variable}."
                if self._variable
                else "If it wants a key, name its environment variable as judge.api_key_env."
            )
            return ScoreError(f"{self._address} refuses to work for us (status {status}). {remedy}")
        if status == 404:
            return ScoreError(
                f"{self._address} knows no model {self._model!r} (status 404: {said}). Look at"
                " judge.model, and whether judge.endpoint ends with the version, such as /v1."
            )
        return ScoreError(f"{self._address} refuses a request (status {status}): {said}")

    def _hidden(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


def _key_of(variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ScoreError(
            f"The environment variable {variable}, which judge.api_key_env names, is not set. Set"
            " it to the key of the judge's service, and start again."
        )
    if fault := key_fault(key):
        raise ScoreError(f"What the environment variable {variable} holds {fault}.")
    return key


def key_fault(key: str) -> str | None:
    """Say why a text is no key that could be sent, or return None; the text is not shown."""
    if re.fullmatch(r"[\x21-\x7e]+", key):
        return None
    return "is no key: it has spaces or letters outside ASCII in it"


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _Again) and error.wait is not None:
        return error.wait
    return float(wait_random_exponential(multiplier=1, max=_LONGEST_WAIT)(state))


def _asked_wait(response: requests.Response) -> float | None:
    try:
        return min(max(float(response.headers["Retry-After"]), 0.0), _MOST_PATIENCE)
    except (KeyError, ValueError):
        return None


def _error_part(response: requests.Response, name: str) -> str:
    """Return a part of an error in OpenAI's form, or nothing."""
    try:
        return str(response.json()["error"][name] or "")
    except (json.JSONDecodeError, requests.JSONDecodeError, KeyError, TypeError):
        return ""
