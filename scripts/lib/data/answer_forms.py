"""Forms of answers: what all of some reference answers look like, and whether others do.

    forms = shared_forms(['{"sum": 1}', ...])  # five at least
    [form.words for form in forms if not form.holds(answer)]

A form counts only where every reference has it, so that the references themselves say what is
asked of an answer, and each rule can be told in one sentence.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

# With fewer references, what they share may be chance.
LEAST_REFERENCES = 5

# So many answers in all, and on average so many references for each, are labels to choose from.
_MOST_LABELS, _LEAST_PER_LABEL = 20, 5

# Signs that separate fields. Those of ordinary sentences are not among them.
_SEPARATORS = "|\t;=>#:\N{RIGHTWARDS ARROW}"

_FENCED = re.compile(r"```[^\n]*\n.*?\n?```", re.DOTALL)
_NUMBER = re.compile(r"[-+\u2212]?\d+(?:[.,]\d+)*")


@dataclass(frozen=True)
class Form:
    """Something that an answer can look like.

    Attributes:
        words: What it is, such as `one line`.
        holds: Whether a text, stripped, has the form.
    """

    words: str
    holds: Callable[[str], bool]


def _parsed(text: str) -> Any:
    """Return what a JSON text means, or None."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # the latter from brackets a thousand deep
        return None


_JSON_LIST = Form("a JSON list", lambda text: isinstance(_parsed(text), list))
_FENCED_BLOCK = Form("one fenced block of code", lambda text: bool(_FENCED.fullmatch(text)))
_ONE_NUMBER = Form("one number", lambda text: bool(_NUMBER.fullmatch(text)))
_ONE_LINE = Form("one line", lambda text: "\n" not in text)


def shared_forms(references: Sequence[str]) -> tuple[Form, ...]:
    """Return the forms that every one of some reference answers has.

    They are, where all references agree: a JSON object with the keys that all have; a JSON list; a
    single fenced block of code; a single number; one of few labels; a single line; and each sign
    that separates fields.

    Args:
        references: The reference answers of a set; with fewer than five, no form is shared.
    """
    texts = [text.strip() for text in references]
    if len(texts) < LEAST_REFERENCES:
        return ()
    whole = [_json_object(texts), _JSON_LIST, _FENCED_BLOCK, _ONE_NUMBER, _labels(texts)]
    for form in whole:
        if form and all(form.holds(text) for text in texts):
            return (form,)
    # Within one of the forms above these would say nothing new.
    looser = [_ONE_LINE, *map(_separated, _SEPARATORS)]
    return tuple(form for form in looser if all(form.holds(text) for text in texts))


def _json_object(texts: Sequence[str]) -> Form | None:
    found = [_parsed(text) for text in texts]
    if not all(isinstance(one, dict) for one in found):
        return None
    keys = set.intersection(*map(set, found))

    def holds(text: str) -> bool:
        one = _parsed(text)
        return isinstance(one, dict) and keys <= one.keys()

    words = f" with the keys {', '.join(sorted(keys))}" if keys else ""
    return Form(f"a JSON object{words}", holds)


def _labels(texts: Sequence[str]) -> Form | None:
    labels = Counter(texts)
    if len(labels) > min(_MOST_LABELS, len(texts) // _LEAST_PER_LABEL):
        return None
    return Form(f"one of {len(labels)} labels", lambda text: text in labels)


def _separated(sign: str) -> Form:
    name = {"\t": "a tab"}.get(sign, f"the sign {sign}")
    return Form(name, lambda text: sign in text)


# Who speaks, on a line of its own: a template's role that has slipped into the answer.
ROLE_LINE = re.compile(r"^[^\w\n]*(?:system|user|assistant)[^\w\n]*$", re.IGNORECASE | re.MULTILINE)
