"""Where an answer ends: the control tokens that a chat template writes behind answers and calls.

    ends = answer_ends(tokenizer)
    stop_tokens(tokenizer, declared, ends)

Training ends its turns there, scoring and a merged model's generation config stop there. Apart from
`renderer`, which knows of reasoning and of forms of turns: a score of plain text must not depend on
these.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.lib.data.templates import own_template, with_fixed_date

# Words that no template changes, by which one is tried out.
PROBE = "tunesmith1"
ARGUMENT = "tunesmith3"
ANSWERING = ({"role": "user", "content": "?"}, {"role": "assistant", "content": PROBE})
TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "probe",
            "description": "?",
            "parameters": {
                "type": "object",
                "properties": {"key": {"type": "string", "description": "?"}},
                "required": ["key"],
            },
        },
    },
)

Turns = Sequence[Mapping[str, Any]]
TryOut = Callable[[Turns, Turns], str]
"""Renders turns and tools; gives nothing where the template refuses them."""


@dataclass(frozen=True, kw_only=True)
class AnswerEnds:
    """With what a chat template ends what an assistant writes.

    Attributes:
        answer: The first control token behind a plain answer; where there is none, all that is
            written behind it, white space aside; and where that is nothing, the control token with
            which the next turn begins, if any.
        call: The control token behind a call of a tool, where it is another; else nothing.
    """

    answer: str = ""
    call: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """Return those that there are."""
        return tuple(filter(None, (self.answer, self.call)))


class ControlTokens:
    """The control tokens of a tokenizer as they stand in text.

    Args:
        tokenizer: The tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        special = [
            token.content for token in tokenizer.added_tokens_decoder.values() if token.special
        ]
        longest_first = sorted(special, key=lambda text: (-len(text), text))
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def in_text(self, text: str) -> list[tuple[str, int]]:
        """Return the control tokens of a text, each with the place where it ends, in order."""
        return [(found.group(), found.end()) for found in self._pattern.finditer(text)]

    def at_end(self, text: str, start: int) -> list[tuple[str, int]]:
        """Return the control tokens that end a text and nothing but white space between them.

        Args:
            text: A rendering.
            start: What stands before this character is not looked at.

        Returns:
            Each with the place where it ends, in order.
        """
        ends: list[tuple[str, int]] = []
        place = len(text.rstrip())
        for found in reversed(list(self._pattern.finditer(text, start))):
            if text[found.end() : place].strip():
                break
            ends.insert(0, (found.group(), found.end()))
            place = found.start()
        return ends

    def stand_in(self, value: object) -> bool:
        """Tell whether JSON-like data spell a control token."""
        if isinstance(value, str):
            return self._pattern.search(value) is not None
        if isinstance(value, Mapping):
            return any(map(self.stand_in, value.values()))
        return isinstance(value, list | tuple) and any(map(self.stand_in, value))

    def is_one(self, text: str) -> bool:
        """Tell whether a text is a control token."""
        return self._pattern.fullmatch(text) is not None

    def first(self, text: str, words: str) -> str:
        """Return the first control token behind the last *words* in a text, or ''."""
        _, there, behind = text.rpartition(words)
        found = self._pattern.search(behind) if there else None
        return found.group() if found else ""

    def first_end(self, text: str, start: int, usual: str) -> tuple[str, int] | None:
        """Return the control token that ends what is written, and where it ends.

        Of several in a row, such as those behind a call, the *usual* one counts, if it is among
        them, else the first.

        Args:
            text: A rendering.
            start: Where the words end behind which to look.
            usual: The one that ends plain answers, or ''.
        """
        ends = self.at_end(text, start)
        return next((end for end in ends if end[0] == usual), ends[0] if ends else None)


def find_ends(control: ControlTokens, tried: TryOut) -> AnswerEnds:
    """Return with what a template ends answers and calls.

    Args:
        control: The tokenizer's control tokens.
        tried: Tries the template out.
    """
    answer = _end_behind(control, tried(ANSWERING, ()), PROBE, "")
    forms = (calling(arguments) for arguments in _FORMS)
    calls = next((turns for turns in forms if ARGUMENT in tried(turns, TOOLS)), ())
    call = _end_behind(control, tried(calls, TOOLS), ARGUMENT, answer) if calls else ""
    if not answer:
        # Nothing ends a turn but the beginning of the next one (GLM-4.5).
        answer = control.first(tried((*ANSWERING, ANSWERING[0]), ()), PROBE)
        result = {"role": "tool", "name": "probe", "tool_call_id": "abcdefghi", "content": "?"}
        call = control.first(tried((*calls, result), TOOLS), ARGUMENT) if calls and answer else ""
    elif not control.is_one(call):
        call = ""
    return AnswerEnds(answer=answer, call="" if call == answer else call)


def calling(arguments: object) -> Turns:
    """Return turns in which the assistant calls a tool with *arguments*, an object or its text."""
    call = {
        "type": "function",
        "id": "abcdefghi",  # Mistral's templates ask for nine letters
        "function": {"name": "probe", "arguments": arguments},
    }
    return (
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
    )


_FORMS = ({"key": ARGUMENT}, f'{{"key": "{ARGUMENT}"}}')


def _end_behind(control: ControlTokens, text: str, words: str, usual: str) -> str:
    before, answer, behind = text.rpartition(words)
    if not answer:
        return ""
    found = control.first_end(text, len(before) + len(answer), usual)
    return found[0] if found else behind.strip()


def answer_ends(tokenizer: Any) -> AnswerEnds:
    """Return with what a tokenizer's own chat template ends answers and calls.

    Raises:
        Exception: Whatever a template raises that cannot write a plain answer; it is a program.
    """
    template = with_fixed_date(own_template(tokenizer))

    def tried(turns: Turns, tools: Turns) -> str:
        try:
            return str(
                tokenizer.apply_chat_template(
                    list(turns), tools=list(tools) or None, chat_template=template, tokenize=False
                )
            )
        except Exception:
            if turns is ANSWERING:
                raise
            return ""

    return find_ends(ControlTokens(tokenizer), tried)


def end_token(tokenizer: Any, end: str) -> int | None:
    """Return the token that ends an answer where *end* is written, or None where no token does.

    Of an end that is several ordinary tokens none may stop a model: each stands in answers, too.
    """
    tokens: list[int] = tokenizer.encode(end, add_special_tokens=False)
    return tokens[0] if len(tokens) == 1 else None


def stop_tokens(
    tokenizer: Any, declared: int | Sequence[int] | None, ends: Iterable[str]
) -> list[int]:
    """Return every token that ends an answer, sorted.

    Args:
        tokenizer: The tokenizer; its end-of-text token is one.
        declared: What the model's generation config names.
        ends: Texts that end an answer, such as those of `answer_ends`.
    """
    named = [declared] if isinstance(declared, int) or declared is None else declared
    found = {tokenizer.eos_token_id, *named, *(end_token(tokenizer, end) for end in ends)}
    return sorted(token for token in found if token is not None)
