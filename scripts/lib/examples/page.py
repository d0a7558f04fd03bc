"""Examples as people read them: a page of HTML that works offline, or text for a terminal.

What nobody could see is written out: white space that says something, control characters, marks
that turn the direction of the text around. Data can neither hide in a page nor command a terminal.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from scripts.lib.examples.document import Examples, ShownConversation, ShownReason, TokenRow

STYLES = {
    "plain": "",
    "control": "7",
    "trained_plain": "32;4",
    "trained_control": "32;4;7",
    "head": "1",
    "quiet": "2",
}
"""Codes of a terminal: 32 is green, 4 underlined, 7 reversed, 1 bold and 2 faint."""

Paint = Callable[[str, str], str]
"""Text and style -> text for a terminal."""

TEXT_CHARACTERS, REASON_CHARACTERS = 4_000, 600
"""Of a conversation and its raw row, and of a row of a reason, in a terminal; the page has all."""

_SHOWN = {"\n": "⏎\n", "\t": "⇥", " ": "·"}
_SEPARATING = re.compile(r"(?<!\s) (?=\S)")
_INVISIBLE = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs")


def visible(text: str) -> str:
    r"""Return a text with all of it to be seen.

    A line break is `⏎` and the break, a tab `⇥`, and spaces are `·`, except for one in front of a
    word. Every other character that shows nothing is its code. Example: `" a\u202e  "` is
    `" a⟨U+202E⟩··"`.
    """
    pieces = _SEPARATING.split(text)
    return " ".join("".join(_SHOWN.get(one) or _code(one) for one in piece) for piece in pieces)


def printable(text: str) -> str:
    """Return a text of several lines in which nothing hides; its spaces stay."""
    return "".join(one if one in " \n" else _code(one) for one in text)


def _code(one: str) -> str:
    return f"⟨U+{ord(one):04X}⟩" if unicodedata.category(one) in _INVISIBLE else one


def token_style() -> str:
    """Return the style of `tokens_html`, for a page that has colours of its own."""
    return Path(__file__).with_name("tokens.css").read_text(encoding="utf-8")


def tokens_html(row: TokenRow) -> Markup:
    """Return a row as HTML: `mark` around what is trained, and in it each token with its id."""
    parts = []
    for trained, positions in groupby(range(len(row["ids"])), row["trained"].__getitem__):
        tokens = Markup("").join(_token_html(row, at) for at in positions)
        parts.append(Markup("<mark>{}</mark>").format(tokens) if trained else tokens)
    return Markup("").join(parts)


def _token_html(row: TokenRow, at: int) -> Markup:
    text, number = row["texts"][at], row["ids"][at]
    if row["control"][at]:
        return Markup('<b title="{}, control token">{}</b>').format(number, visible(text))
    if not text:
        return Markup('<i title="{}, part of the next character">◌</i>').format(number)
    return Markup('<i title="{}">{}</i>').format(number, visible(text))


def row_words(row: TokenRow) -> str:
    """Return how much of a row is trained on."""
    return f"{len(row['ids']):,} tokens, {sum(row['trained']):,} of them trained"


def reason_words(reason: ShownReason) -> str:
    """Return what became of how many rows, and why."""
    words = reason["reason"].replace("_", " ")
    return f"{words}: {reason['count']:,} {reason['verdict']} in {reason['step']}"


def render_page(examples: Examples, title: str) -> str:
    """Return the whole page as HTML."""
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    text = Path(__file__).with_name("page.html.jinja").read_text(encoding="utf-8")
    page = environment.from_string(text).render(
        title=printable(title),
        css=Markup(token_style()),
        examples=examples,
        tokens_html=tokens_html,
        row_words=row_words,
        reason_words=reason_words,
        printable=printable,
    )
    return page + "\n"


def terminal_text(examples: Examples, *, colours: bool) -> str:
    """Return the examples for a terminal.

    Args:
        examples: What to show.
        colours: Whether it understands colours; else marks stand around what is trained.
    """
    paint = _coloured if colours else _marked
    return "\n".join(
        [
            *filter(None, (examples["formatted"], examples["rendered"])),
            *(line for one in examples["conversations"] for line in _conversation(one, paint)),
            *(line for reason in examples["reasons"] for line in _reason(reason, paint)),
        ]
    )


def _conversation(one: ShownConversation, paint: Paint) -> Iterator[str]:
    yield "\n" + paint(f"{one['id']} ({one['split']}): {'; '.join(one['shows'])}", "head")
    for row in one["rows"]:
        yield paint(f"{row['id']}: {row_words(row)}", "quiet")
        yield _cut(_painted(row, paint))
    if (more := one["rows_in_all"] - len(one["rows"])) > 0:
        yield paint(f"and {more:,} rows more", "quiet")
    yield paint("the row as it came:", "quiet")
    yield _cut(printable(one["raw"]))


def _painted(row: TokenRow, paint: Paint) -> str:
    """Return the text of a row, each stretch of a kind painted as one."""
    text = ""
    for trained, positions in groupby(range(len(row["ids"])), row["trained"].__getitem__):
        stretch = ""
        for control, tokens in groupby(positions, row["control"].__getitem__):
            part = visible("".join(row["texts"][at] for at in tokens))
            style = "control" if control else "plain"
            stretch += paint(part, f"trained_{style}" if trained else style)
        before, after = ("⟦", "⟧") if trained and paint is _marked else ("", "")
        text += f"{before}{stretch}{after}"
    return text


def _reason(reason: ShownReason, paint: Paint) -> Iterator[str]:
    yield "\n" + paint(reason_words(reason), "head")
    for row in reason["rows"]:
        yield f"{row['id']}: {printable(row['detail'])}"
        yield paint(_cut(printable(row["raw"]), REASON_CHARACTERS), "quiet")


def _coloured(text: str, style: str) -> str:
    """Return a text in a style, line by line: an underline would run on to the window's edge."""
    if not (code := STYLES[style]):
        return text
    return "\n".join(f"\x1b[{code}m{line}\x1b[0m" if line else "" for line in text.split("\n"))


def _marked(text: str, style: str) -> str:
    return f"«{text}»" if style in ("control", "trained_control") else text


def _cut(text: str, characters: int = TEXT_CHARACTERS) -> str:
    return text if len(text) <= characters else f"{text[:characters]}\n... the page has all"
