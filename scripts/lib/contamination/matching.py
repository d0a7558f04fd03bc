"""Which questions stand in a conversation: by their words whole, or by a share of their n-grams.

Windows of n words are compared by 64-bit hashes, a rolling polynomial over the hashes of words, for
many conversations at once.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Literal, NamedTuple

import numpy as np

from scripts.lib.contamination.words import words

How = Literal["exact", "n-grams"]

_SHORTEST = 8
"""Shorter n-grams meet by chance (Brown et al., arXiv:2005.14165, appendix C)."""

_SHARED = 10
"""Questions of a benchmark that may share an n-gram; what more of them have is their frame, which
tells none of them from another, as the 33 words that all of MMLU's moral scenarios begin with."""

_BASE = np.uint64(0x9E3779B97F4A7C15)
_FILTER_BITS = 22
_BATCH_WORDS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Method:
    """When a question stands in a conversation.

    Attributes:
        ngram: Words of a window that counts where it stands in both; a shorter question is one
            window.
        threshold: Share (0-1) of the question's words that such windows of one conversation have to
            cover; the words of its frame aside.
    """

    ngram: int
    threshold: float


def shortest(method: Method) -> int:
    """Return the words of a question below which only a whole turn that says the same counts."""
    return min(_SHORTEST, method.ngram)


class Match(NamedTuple):
    """A question that stands in a conversation.

    Attributes:
        conversation: Place of the conversation among those that were looked at.
        question: Place of the question.
        how: Whether all its words stand there in a row, or enough of its n-grams.
        share: Of the question's words, what is covered, 0-1.
        turn: Place of the turn that holds the first of them.
        word: Place of that word in the turn.
    """

    conversation: int
    question: int
    how: How
    share: float
    turn: int
    word: int


class Questions:
    """The questions of a benchmark, ready to be looked for.

    Args:
        texts: One for each question.
        method: When one is found.
    """

    def __init__(self, texts: Sequence[str], method: Method) -> None:
        self.method = method
        self._shortest = shortest(method)
        self._words = [words(text) for text in texts]
        self._short: dict[tuple[str, ...], list[int]] = defaultdict(list)
        self._ids: dict[str, int] = {}
        windows: dict[int, list[np.ndarray]] = defaultdict(list)
        for question, own in enumerate(self._words):
            if len(own) < self._shortest:
                if own:
                    self._short[tuple(own)].append(question)
                continue
            ids = np.fromiter(map(self._id, own), np.uint64, len(own))
            size = min(method.ngram, len(own))
            grams = _windows(ids, (size,))[size]
            places = np.arange(len(grams), dtype=np.uint64)
            windows[size].append(np.stack([grams, np.full_like(places, question), places]))
        telling = {size: _telling(np.concatenate(of, axis=1)) for size, of in windows.items()}
        self._tables = {size: _Table(*rows) for size, rows in telling.items()}
        self._told = [np.zeros(len(own), bool) for own in self._words]
        for size, (_, questions, places) in telling.items():
            for question, place in zip(questions.tolist(), places.tolist(), strict=True):
                self._told[question][place : place + size] = True

    def _id(self, word: str) -> int:
        """Return the number of a word, which its letters decide."""
        if word not in self._ids:
            self._ids[word] = _hash(word)
        return self._ids[word]

    def find(self, conversations: Iterable[Sequence[str]]) -> Iterator[Match]:
        """Yield every question of every conversation that holds one, conversation by conversation.

        Args:
            conversations: The texts of their turns.
        """
        batch: list[list[list[str]]] = []
        begin = held = 0
        for texts in conversations:
            turns = [words(text) for text in texts]
            batch.append(turns)
            held += sum(map(len, turns))
            if held >= _BATCH_WORDS:
                yield from self._find(batch, begin)
                begin, held, batch = begin + len(batch), 0, []
        yield from self._find(batch, begin)

    def _find(self, batch: Sequence[Sequence[Sequence[str]]], begin: int) -> Iterator[Match]:
        met = self._windows_met(batch)
        for number, turns in enumerate(batch):
            found = {}
            for place, turn in enumerate(turns):
                if len(turn) < self._shortest:
                    for question in self._short.get(tuple(turn), ()):
                        found[question] = Match(begin + number, question, "exact", 1.0, place, 0)
            for question, places in met.get(number, {}).items():
                if match := self._match(question, places, turns):
                    found[question] = match._replace(conversation=begin + number)
            yield from (found[question] for question in sorted(found))

    def _windows_met(
        self, batch: Sequence[Sequence[Sequence[str]]]
    ) -> dict[int, dict[int, list[tuple[int, int, int]]]]:
        """Return conversation -> question -> where windows of it stand: question's, turn, word."""
        turns = [
            (number, place, turn)
            for number, one in enumerate(batch)
            for place, turn in enumerate(one)
        ]
        # No window reaches over the end of a turn: what stands there is no word of any question.
        total = sum(len(turn) + 1 for _, _, turn in turns)
        ids = np.zeros(total, np.uint64)
        starts = np.zeros(len(turns), np.int64)
        at = 0
        for place, (_, _, turn) in enumerate(turns):
            starts[place] = at
            known = map(self._ids.get, turn, repeat(0))
            ids[at : at + len(turn)] = np.fromiter(known, np.uint64, len(turn))
            at += len(turn) + 1
        met: dict[int, dict[int, list[tuple[int, int, int]]]] = {}
        for size, hashes in _windows(ids, self._tables).items():
            for position, question, place in self._tables[size].look(hashes):
                index = int(np.searchsorted(starts, position, side="right")) - 1
                number, turn_place, _ = turns[index]
                of_one = met.setdefault(number, {}).setdefault(question, [])
                of_one.append((place, turn_place, position - int(starts[index])))
        return met

    def _match(
        self, question: int, met: Sequence[tuple[int, int, int]], turns: Sequence[Sequence[str]]
    ) -> Match | None:
        own = self._words[question]
        size = min(self.method.ngram, len(own))
        there = np.zeros(len(own), bool)
        for place, _, _ in met:
            there[place : place + size] = True
        share = float(there[self._told[question]].mean())
        if share < self.method.threshold:
            return None
        whole = f" {' '.join(own)} "
        exact = share == 1.0 and any(
            whole in f" {' '.join(turns[turn])} " for turn in {turn for _, turn, _ in met}
        )
        _, turn, word = min(met, key=lambda one: one[1:])
        return Match(0, question, "exact" if exact else "n-grams", share, turn, word)


def _telling(windows: np.ndarray) -> np.ndarray:
    """Return the windows without those that many questions share; all, where one has no other.

    Args:
        windows: Three rows: the hash of each window, its question, and its first word there.
    """
    grams, questions, _ = windows
    order = np.lexsort((questions, grams))
    pairs = windows[:2, order]
    first = np.append(True, np.any(pairs[:, 1:] != pairs[:, :-1], axis=0))
    found, holders = np.unique(pairs[0, first], return_counts=True)
    frame = np.isin(grams, found[holders > _SHARED])
    with_own = np.isin(questions, questions[~frame])
    return windows[:, ~frame | ~with_own]


class _Table:
    """The windows of one size of all questions, by their hashes.

    Args:
        hashes: Of each window.
        questions: Whose it is.
        places: Its first word there.
    """

    def __init__(self, hashes: np.ndarray, questions: np.ndarray, places: np.ndarray) -> None:
        order = np.lexsort((places, questions, hashes))
        self._hashes = hashes[order]
        self._rows = list(zip(questions[order].tolist(), places[order].tolist(), strict=True))
        self._filter = np.zeros(1 << _FILTER_BITS, bool)
        self._filter[_filter_place(self._hashes)] = True

    def look(self, hashes: np.ndarray) -> Iterator[tuple[int, int, int]]:
        """Yield place among *hashes*, question and place in it of each window that is known."""
        maybe = np.flatnonzero(self._filter[_filter_place(hashes)])
        low = np.searchsorted(self._hashes, hashes[maybe], side="left")
        high = np.searchsorted(self._hashes, hashes[maybe], side="right")
        for index in np.flatnonzero(high > low):
            for row in self._rows[low[index] : high[index]]:
                yield int(maybe[index]), *row


def _filter_place(hashes: np.ndarray) -> np.ndarray:
    return (hashes >> np.uint64(64 - _FILTER_BITS)).astype(np.int64)


def _windows(ids: np.ndarray, sizes: Iterable[int]) -> dict[int, np.ndarray]:
    """Return size -> the hash of every window of so many words, by its first word."""
    wanted = set(sizes)
    found = {}
    rolled = ids[:0]
    for size in range(1, max(wanted, default=0) + 1):
        count = max(0, len(ids) - size + 1)
        grown = rolled[:count] * _BASE if size > 1 else np.zeros(count, np.uint64)
        rolled = grown + ids[size - 1 :]
        if size in wanted:
            found[size] = rolled
    return found


def _hash(word: str) -> int:
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
