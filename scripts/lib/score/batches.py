"""How much a loaded model is given at once: what memory holds, and half of it when it runs out.

One `Batches` goes with one loaded model. Whatever runs out of memory makes all that follows
smaller; what was answered before stays answered.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch

from scripts.lib.machine.memory_limits import room_bytes
from scripts.lib.machine.out_of_memory import until_it_fits
from scripts.lib.score.memory import Need, PassBytes, Room, pass_bytes
from scripts.lib.score.prefix_groups import TokenSequence

_Item = TypeVar("_Item")
_Reply = TypeVar("_Reply")

# More tokens at once are not read faster: on a processor measured from 256 to 2,048 of them; on a
# GPU so many keep even a model of 135M parameters computing longer than a pass takes to start.
_MOST_TOKENS = {"cpu": 1024}
_MOST_TOKENS_ELSEWHERE = 65_536

# As many answers at once fill a processor; on a GPU there are never more between two entries of a
# journal.
_MOST_ANSWERS = {"cpu": 16}
_MOST_ANSWERS_ELSEWHERE = 256

# A text that memory cannot hold as a whole is read in parts of so many tokens, or of several times
# as many.
_PIECE = 64

# Which tokens are drawn depends on what else is in a batch, so its size must not depend on memory.
SAMPLED_ANSWERS = 16
"""Answers at once where tokens are drawn."""


class Batches:
    """What fits into memory beside one model.

    Attributes:
        bytes: What the model takes to read.
        most: Most sequences of a padded batch; None for as many as memory holds.
        most_answers: Most answers that are generated together by code that is not ours.
    """

    def __init__(self, model: Any, most: int | None = None, row_tokens: int | None = None) -> None:
        """Look at the memory that is free now.

        Args:
            model: The model, loaded, in its place.
            most: Most sequences of a padded batch; None for as many as memory holds.
            row_tokens: Most tokens in one pass; None for as many as are read faster together.
        """
        device = torch.device(model.device)
        tokens = row_tokens or _MOST_TOKENS.get(device.type, _MOST_TOKENS_ELSEWHERE)
        answers = _MOST_ANSWERS.get(device.type, _MOST_ANSWERS_ELSEWHERE)
        self.bytes: PassBytes = pass_bytes(model.config, model.dtype.itemsize)
        self.most = most
        self.most_answers = min(answers, most or answers)
        self._room = Room(room_bytes(device), tokens)

    def rows(self, sequences: Sequence[TokenSequence], past: int) -> Iterator[Need]:
        """Yield what the first of *sequences*, the first two and so on take as one packed row.

        Args:
            sequences: What is read.
            past: How many of their first tokens were read before.
        """
        tokens = scored = graded = 0
        for sequence in sequences:
            tokens += len(sequence.tokens) - past
            scored += sequence.scored
            graded = max(graded, sequence.scored)
            yield self.bytes.row(tokens, scored, graded, past, keeps=False)

    def padded(self, sequences: Sequence[TokenSequence], past: int) -> Iterator[Need]:
        """Yield what the first of *sequences*, the first two and so on take as one padded batch.

        Args:
            sequences: What is read, the longest first.
            past: How many of their first tokens were read before.
        """
        width = len(sequences[0].tokens) - past
        # The vocabulary comes out at all of them of every sequence.
        positions = set[int]()
        for size, sequence in enumerate(sequences, start=1):
            positions.update(range(sequence.unscored, len(sequence.tokens)))
            yield self.bytes.batch(size, width, len(positions), past)

    def answered(
        self,
        waiting: Sequence[_Item],
        needs: Callable[[Sequence[_Item]], Iterable[Need]],
        answer: Callable[[Sequence[_Item]], _Reply],
        most: int | None = None,
    ) -> Iterator[tuple[Sequence[_Item], _Reply]]:
        """Yield batch after batch of *waiting* with what *answer* gives for it.

        Args:
            waiting: What is asked, the longest first: memory runs out at once or not at all.
            needs: Gives what the first takes, the first two, and so on.
            answer: Asks a batch.
            most: Most of them in one batch; None for as many as memory holds.

        Raises:
            RuntimeError: Memory runs out over a single one.
        """

        def ask(size: int) -> _Reply:
            return answer(waiting[:size])

        def smaller(size: int, _: str) -> int | None:
            return self.halved(needs(waiting[:size]), size) if size > 1 else None

        while waiting:
            size = self._room.fitting(needs(waiting[:most]))
            reply, size = until_it_fits(ask, size, smaller)
            yield waiting[:size], reply
            waiting = waiting[size:]

    def in_parts(
        self,
        tokens: Sequence[int],
        read: Callable[[Sequence[int], _Reply | None], _Reply],
        cost: Callable[[int, int], Need],
    ) -> _Reply:
        """Read one text, in as few parts as memory holds, and return what *read* makes of it.

        Args:
            tokens: The text, at least one token.
            read: Reads a part after what it returned for those before it, None for the first.
            cost: Gives what so many tokens take after so many.
        """
        before: _Reply | None = None
        past = 0

        def needs(pieces: Sequence[Sequence[int]]) -> Iterator[Need]:
            length = 0
            for piece in pieces:
                length += len(piece)
                # Read as a whole where that can be, however long: nothing else is read with it.
                yield cost(length, past)._replace(tokens=0)

        def ask(pieces: Sequence[Sequence[int]]) -> _Reply:
            return read([token for piece in pieces for token in piece], before)

        pieces = [tokens[at : at + _PIECE] for at in range(0, len(tokens), _PIECE)]
        for batch, read_so_far in self.answered(pieces, needs, ask):
            before, past = read_so_far, past + sum(map(len, batch))
        assert before is not None
        return before

    def fitting(self, needs: Iterable[Need]) -> int:
        """Return how many can be read at once: at least one; see `Room.fitting`."""
        return self._room.fitting(needs)

    def halved(self, needs: Iterable[Need], size: int) -> int:
        """Take half as much from now on, as memory ran out, and return how many to try next.

        Args:
            needs: What the first took, the first two, and so on, up to all that did not fit.
            size: How many did not fit, at least two.
        """
        tried = list(needs)
        self._room = self._room.below(tried[-1])
        print(
            f"out of memory over {size} at once: now {self._room.bytes / 2**20:,.0f} MiB"
            f" and {self._room.tokens:,} tokens at most",
            file=sys.stderr,
        )
        return min(size // 2, self._room.fitting(tried))
