"""Greedy generation that reads what prompts have in common once and answers many at a time.

Prompts are grouped by the tokens they begin with. Each such prefix is read once; the rests of its
prompts are read a few at a time, and every prompt then gets a token per step, beside the others
that are being answered (`scripts.lib.score.decoding`). Who has ended makes room for the next, so
that the model always computes for many; the vocabulary is met at the last position only.

When memory runs out, half as many are answered at a time. Those that have to wait keep the tokens
they have and are read again with these.
"""

import itertools
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import PreTrainedModel

from scripts.lib.machine.memory_limits import room_bytes
from scripts.lib.machine.out_of_memory import until_it_fits
from scripts.lib.score.batches import Batches
from scripts.lib.score.continuations import Prefix, read_row_cache
from scripts.lib.score.decoding import Slots, blocks, read_next
from scripts.lib.score.memory import Need
from scripts.lib.score.padded import read_padded_cache
from scripts.lib.score.prefix_groups import TokenSequence, prefix_groups

# By the products of single layers of SmolLM2 more at a time gain little on a processor; a GPU fills
# later, which no card has shown yet.
_MOST_ANSWERS = {"cpu": 32}
_MOST_ANSWERS_ELSEWHERE = 256

# Others begin when one in so many has ended: to read a few prompts costs hardly more than one.
_REFILL = 8

# Tokens of an answer for which memory is left when it begins. Longer ones may have to wait and be
# read again; most that may become longer do not.
_EXPECTED_TOKENS = 256

# Of the memory that may be filled, for keys and values; the rest is for reading.
_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What is to be gone on with, always by the likeliest token.

    Attributes:
        tokens: At least one.
        most_new: Longest answer, in tokens; at least one.
        is_over: Tells of the new tokens whether the answer ends with them; asked after each.
    """

    tokens: tuple[int, ...]
    most_new: int
    is_over: Callable[[Sequence[int]], bool]


@dataclass(kw_only=True)
class _Group:
    """Prompts that begin with the same tokens.

    Attributes:
        tokens: These tokens; none for prompts that have nothing in common.
        unanswered: How many of its prompts have no answer yet.
        prefix: What was read of the tokens, from its first prompt to its last.
    """

    tokens: tuple[int, ...]
    unanswered: int
    prefix: Prefix | None = None


@dataclass(kw_only=True)
class _Answer:
    """What was said so far.

    Attributes:
        place: Where its prompt stands among all.
        prompt: What it goes on with.
        group: Which beginning the prompt has.
        new: Its tokens.
    """

    place: int
    prompt: Prompt
    group: _Group
    new: list[int] = field(default_factory=list)

    @property
    def unread(self) -> tuple[int, ...]:
        """What has to be read after the prefix before it can go on."""
        return (*self.prompt.tokens[len(self.group.tokens) :], *self.new)

    @property
    def room(self) -> int:
        """For how many tokens after the prefix there should be memory."""
        whole = len(self.prompt.tokens) - len(self.group.tokens) + self.prompt.most_new
        return min(whole, len(self.unread) + _EXPECTED_TOKENS)

    def says(self, token: int) -> bool:
        """Add a token, and return whether the answer is complete."""
        self.new.append(token)
        return self.prompt.is_over(self.new) or len(self.new) == self.prompt.most_new


class Generator:
    """A model that answers prompts, and how many at a time."""

    def __init__(
        self,
        model: PreTrainedModel,
        batches: Batches,
        read_prefix: Callable[[tuple[int, ...]], Prefix],
        *,
        packs: bool,
    ) -> None:
        """Keep the model.

        Args:
            model: One for which `shares_prefixes` and `has_open_attention` hold.
            batches: What fits into memory beside it.
            read_prefix: Reads what prompts begin with.
            packs: Whether the rests of prompts are read in a row, or as a padded batch.
        """
        device = torch.device(model.device)
        self._model = model
        self._batches = batches
        self._read_prefix = read_prefix
        self._packs = packs
        self._most = _MOST_ANSWERS.get(device.type, _MOST_ANSWERS_ELSEWHERE)
        self._bytes = int(room_bytes(device) * _SHARE)
        self._waiting = deque[_Answer]()
        # What is being answered, and where it lies, in the same order.
        self._now = list[_Answer]()
        self._slots = Slots()

    def answers(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, list[int]]]:
        """Yield place and new tokens of every prompt, in the order in which they end.

        Args:
            prompts: What is asked.

        Raises:
            NotPackableError: This way would not give the model's own numbers; who has no answer
                yet has to be asked in another way.
            RuntimeError: Memory runs out over a single prompt.
        """
        self._waiting = deque(_queue(prompts))
        try:
            while self._waiting or self._now:
                while self._waiting and (count := self._next_few()):
                    tokens, count = until_it_fits(self._read_few, count, self._fewer_to_read)
                    first = len(self._now)
                    self._now += [self._waiting.popleft() for _ in range(count)]
                    yield from self._say(tokens, first)
                if self._now:
                    size = min(len(self._now), self._most_of(max(self._slots.lengths) + 1))
                    tokens, _ = until_it_fits(self._go_on, size, self._fewer_to_answer)
                    yield from self._say(tokens, 0)
        finally:  # what is asked next needs the memory
            self._waiting, self._now, self._slots = deque(), [], Slots()

    def _most_of(self, tokens: int) -> int:
        """Return how many answers of so many tokens after their prefixes there can be at a time."""
        # Before the first is read its config says what a token takes.
        token_bytes = self._slots.token_bytes or self._batches.bytes.cached
        fitting = self._bytes // (blocks(tokens) * token_bytes)
        return max(1, min(self._most, fitting))

    def _next_few(self) -> int:
        """Return how many of those who wait are read next, in one go; none for not yet."""
        room = max(answer.room for answer in (*self._now, self._waiting[0]))
        most = self._most_of(room)
        if (most - len(self._now)) * _REFILL < most and self._now:
            return 0
        bound = None if self._packs else self._batches.most
        return self._batches.fitting(self._needs(itertools.islice(self._waiting, bound)))

    def _needs(self, waiting: Iterable[_Answer]) -> Iterator[Need]:
        """Yield what reading the first takes, the first two and so on, while there is a slot."""
        costs = self._batches.bytes
        room = max((answer.room for answer in self._now), default=0)
        group, tokens, widest = None, 0, 0
        for count, answer in enumerate(waiting, start=1):
            room = max(room, answer.room)
            is_full = len(self._now) + count > self._most_of(room)
            if count > 1 and (is_full or answer.group is not group):
                return
            group = answer.group
            tokens, widest = tokens + len(answer.unread), max(widest, len(answer.unread))
            past = len(group.tokens)
            if self._packs:
                need = costs.row(tokens, count, 1, past)
            else:
                need = costs.batch(count, widest, 1, past)
            yield need._replace(bytes=int(need.bytes / (1 - _SHARE)))

    def _read_few(self, count: int) -> list[int]:
        """Read the next prompts and return the first token of each one's answer."""
        self._slots.shrink(self._most)
        few = list(itertools.islice(self._waiting, count))
        group = few[0].group
        if group.tokens and not group.prefix:
            group.prefix = self._read_prefix(group.tokens)
        read = read_row_cache if self._packs else read_padded_cache
        logits, caches = read(self._model, group.prefix, [answer.unread for answer in few])
        self._slots.add(caches)
        return _likeliest(logits)

    def _fewer_to_read(self, size: int, _: str) -> int | None:
        if size > 1:
            return self._batches.halved(self._needs(itertools.islice(self._waiting, size)), size)
        if not self._now:
            return None
        self._halve()  # what they hold is given up before the next try
        self._keep(len(self._now) // 2)
        return 1

    def _go_on(self, size: int) -> list[int]:
        """Return the next token of the first *size* answers; the others have to wait."""
        self._keep(size)
        self._slots.shrink(self._most)
        prefixes = [answer.group.prefix for answer in self._now]
        said = [answer.new[-1] for answer in self._now]
        return _likeliest(read_next(self._model, self._slots, prefixes, said))

    def _fewer_to_answer(self, size: int, _: str) -> int | None:
        if size == 1:
            return None
        self._halve()
        return self._most

    def _halve(self) -> None:
        self._most = max(1, len(self._now) // 2)
        print(f"out of memory: now {self._most} answers at once", file=sys.stderr)

    def _keep(self, size: int) -> None:
        """Go on with the first *size* answers; the others wait, in their order."""
        while len(self._now) > size:
            self._slots.drop(len(self._now) - 1)
            self._waiting.appendleft(self._now.pop())

    def _say(self, tokens: Sequence[int], first: int) -> Iterator[tuple[int, list[int]]]:
        """Add tokens to the answers from *first* on; yield those that end."""
        over = [answer.says(token) for answer, token in zip(self._now[first:], tokens, strict=True)]
        # From the last: who moves to a place that is left has been seen.
        for at in reversed([first + at for at, is_over in enumerate(over) if is_over]):
            answer = self._now[at]
            self._slots.drop(at)
            self._now[at] = self._now[-1]
            self._now.pop()
            answer.group.unanswered -= 1
            if not answer.group.unanswered:
                answer.group.prefix = None
            yield answer.place, answer.new


def _queue(prompts: Sequence[Prompt]) -> Iterator[_Answer]:
    """Yield the answers to be given: those of a beginning together, the longest first."""
    sequences = [
        TokenSequence(tokens=prompt.tokens, asked=((place, []),), unscored=len(prompt.tokens) - 1)
        for place, prompt in enumerate(prompts)
    ]
    for length, members in prefix_groups(sorted(sequences, key=lambda one: one.tokens)):
        group = _Group(tokens=members[0].tokens[:length], unanswered=len(members))
        for sequence in sorted(members, key=lambda one: -len(one.tokens)):
            ((place, _),) = sequence.asked
            yield _Answer(place=place, prompt=prompts[place], group=group)


def _likeliest(logits: Any) -> list[int]:
    """Return the likeliest token of each row; the first of equals, as transformers' generate()."""
    found: list[int] = logits.float().argmax(dim=-1).tolist()
    return found
