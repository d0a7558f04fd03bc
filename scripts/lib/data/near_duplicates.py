"""Near duplicates by MinHash: conversations that share most of their shingles.

A conversation is the set of its runs of five words (shingles), of all turns but the system's: what
is said to every row makes no two alike. How much of both sets is shared (the Jaccard index,
"resemblance") is estimated from which of 128 random orders have the same least shingle: Broder, "On
the resemblance and containment of documents" (1997). The standard error is at most 0.045, and 0.035
at 0.8. Rows are compared that agree in a band of their signature, wide enough to meet a pair at the
threshold in 95 of 100 cases; Lee et al., "Deduplicating Training Data Makes Language Models Better"
(2022), do so with five-word shingles and a threshold of 0.8.

Whole numbers only, so that no library and no machine has a say. Signatures may lie in a file; what
is held of a row in memory is a number for each band, or two.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from scripts.lib.data.conversation import Conversation

METHOD: Mapping[str, Any] = {"method": "minhash", "shingle_words": 5, "permutations": 128}
"""What stands in a spec beside the threshold; other numbers make other artifacts."""

RECALL = 0.95
"""A pair that is just alike enough is compared with this probability, others with a higher one."""

# So many rows are compared of those that share a band; more are met where most rows have a long
# text in common without being near duplicates.
MOST_IN_A_BAND = 64
ROWS_AT_ONCE = 4_096

# Thai to Lao, Burmese, Khmer, kana, Chinese and Hangul: a sign is a word where no spaces are.
_SIGNS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_SIGNS}]|(?:(?![{_SIGNS}])\w)+")

Signatures = npt.NDArray[np.uint32]
"""A row of least hashes, one for each permutation, for each conversation."""

_Words64 = npt.NDArray[np.uint64]


class Signer:
    """Makes signatures.

    Args:
        method: METHOD, as a spec has it.
    """

    def __init__(self, method: Mapping[str, Any]) -> None:
        self._words = int(method["shingle_words"])
        count = int(method["permutations"])
        drawn = _mixed(np.arange(1, 2 * count + 1, dtype=np.uint64) * _GOLDEN)
        self._factors, self._terms = drawn[:count, None] | np.uint64(1), drawn[count:, None]
        self._powers = _powers(self._words)
        self._known: dict[str, int] = {}

    def signature(self, conversation: Conversation) -> Signatures:
        """Return the signature of one conversation."""
        hashes = self._shingles(conversation)
        least = [
            (self._factors * part[None, :] + self._terms >> np.uint64(32)).min(axis=1)
            for part in (
                hashes[start : start + ROWS_AT_ONCE]
                for start in range(0, len(hashes), ROWS_AT_ONCE)
            )
        ]
        found: Signatures = np.minimum.reduce(least).astype(np.uint32)
        return found

    def _shingles(self, conversation: Conversation) -> _Words64:
        """Return a hash of each run of words; of all words where they are fewer."""
        text = text_of(conversation).lower()
        words = _WORD.findall(text) or list("".join(text.split()))
        hashes = np.array([self._hash(word) for word in words], dtype=np.uint64)
        length = min(self._words, len(hashes))
        if not length:
            return np.zeros(1, dtype=np.uint64)
        runs = np.lib.stride_tricks.sliding_window_view(hashes, length)
        # Equal runs of other lengths are none: a short text is no part of a longer one.
        return _mixed((runs * self._powers[:length]).sum(axis=1) + np.uint64(length))

    def _hash(self, word: str) -> int:
        known = self._known.get(word)
        if known is None:
            if len(self._known) > 1_000_000:
                self._known.clear()
            known = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest())
            self._known[word] = known
        return known


def text_of(conversation: Conversation) -> str:
    """Return what is compared of a conversation: all that is said but for the system turn."""
    parts = []
    for message in conversation.messages:
        if message.role != "system":
            parts += [message.reasoning or "", message.content]
            parts += [str(call["function"]) for call in message.tool_calls]
    return "\n".join(parts)


def near_duplicates(
    signatures: Signatures, order: npt.NDArray[np.int64], threshold: float
) -> dict[int, tuple[int, float]]:
    """Find the rows to drop.

    Args:
        signatures: Of all rows.
        order: The rows to look at, those first that are to stay.
        threshold: Rows from this similarity on are near duplicates, 0-1.

    Returns:
        Row -> the first row that stays and is alike, and how alike they are.
    """
    buckets, count = _buckets(signatures, order, threshold)
    # The rows that stay and share a bucket are a chain: the latest, and for each the one before.
    latest = np.full(count, -1, dtype=np.int32)
    before = np.full(buckets.shape, -1, dtype=np.int32)
    found: dict[int, tuple[int, float]] = {}
    for here in np.flatnonzero((buckets >= 0).any(axis=1)).tolist():
        own = [(band, one) for band, one in enumerate(buckets[here].tolist()) if one >= 0]
        met = sorted({row for band, one in own for row in _chain(latest[one], before[:, band])})
        if met:
            alike = (signatures[order[met]] == signatures[order[here]]).mean(axis=1)
            enough = np.flatnonzero(alike >= threshold)
            if len(enough):
                first = int(enough[0])
                found[int(order[here])] = int(order[met[first]]), float(alike[first])
                continue
        for band, one in own:
            before[here, band] = latest[one]
            latest[one] = here
    return found


def _chain(row: int, before: npt.NDArray[np.int32]) -> Iterator[int]:
    """Yield the rows of a chain, the latest first."""
    for _ in range(MOST_IN_A_BAND):
        if row < 0:
            return
        yield int(row)
        row = before[row]


def _buckets(
    signatures: Signatures, order: npt.NDArray[np.int64], threshold: float
) -> tuple[npt.NDArray[np.int32], int]:
    """Return the number of what each row shares in each band, -1 for nothing, and how many."""
    length = band_length(threshold, signatures.shape[1])
    bands = signatures.shape[1] // length
    hashes = np.empty((len(order), bands), dtype=np.uint32)
    powers = _powers(length)
    for start in range(0, len(order), ROWS_AT_ONCE):
        some = signatures[order[start : start + ROWS_AT_ONCE], : bands * length]
        parts = some.reshape(len(some), bands, length).astype(np.uint64)
        hashes[start : start + ROWS_AT_ONCE] = _mixed((parts * powers).sum(axis=2)) >> np.uint64(32)
    buckets = np.full((len(order), bands), -1, dtype=np.int32)
    count = 0
    for band in range(bands):
        _, place, sizes = np.unique(hashes[:, band], return_inverse=True, return_counts=True)
        shared = sizes > 1
        numbers = np.where(shared, np.cumsum(shared) - 1 + count, -1)
        buckets[:, band] = numbers[place]
        count += int(shared.sum())
    return buckets, count


def band_length(threshold: float, permutations: int) -> int:
    """Return how many least hashes have to agree for two rows to be compared.

    The most with which a pair at the threshold is met with a probability of RECALL: fewer pairs
    are compared in vain. Example: 7 of 128 at 0.8, in 18 bands.
    """
    fitting = [
        length
        for length in range(1, permutations + 1)
        if 1 - (1 - threshold**length) ** (permutations // length) >= RECALL
    ]
    return max(fitting)


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _powers(count: int) -> _Words64:
    """Return factors for the places of a run, all of them odd."""
    return _mixed(np.arange(1, count + 1, dtype=np.uint64)) | np.uint64(1)


def _mixed(values: _Words64) -> _Words64:
    """Spread 64 bits: the last step of SplitMix64 (Steele, Lea and Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
