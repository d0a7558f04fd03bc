"""The model that answers, loaded when the first question is really asked."""

from collections.abc import Sequence
from typing import Any

import torch

from scripts.lib.questions.question import Answer, Question
from scripts.lib.score.backends import Loading, load_backend

# Of no meaning; lm-eval's own default.
_SEED = 1234


class Respondent:
    """One of lm-eval's models and the questions that it is asked."""

    def __init__(self, backend: str, loading: Loading) -> None:
        """Keep what loading needs.

        Args:
            backend: Which model of lm-eval asks.
            loading: What it loads.
        """
        self._backend = backend
        self._loading = loading
        self._lm: Any = None

    def answer(self, block: Sequence[Question]) -> list[Answer]:
        """Ask a block of questions, those of a kind together."""
        if self._lm is None:
            self._lm = load_backend(self._backend, self._loading)
        # Some tasks of lm-eval ask for sampled answers. A block draws the same ones whether or not
        # the job was stopped before it.
        torch.manual_seed(_SEED)
        requests = [request for question in block for request in question.requests]
        replies: list[Any] = [None] * len(requests)
        for kind in dict.fromkeys(request.request_type for request in requests):
            places = [at for at, request in enumerate(requests) if request.request_type == kind]
            # lm-eval names its request types after the methods that answer them.
            ask = getattr(self._lm, kind)
            found = ask([requests[at] for at in places], disable_tqdm=True)
            for at, reply in zip(places, found, strict=True):
                replies[at] = reply
        heard = iter(replies)
        return [q.judge(q, [next(heard) for _ in q.requests]) for q in block]
