"""What the columns of a dataset's rows, and the keys of their turns, are called."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from scripts.lib.config.fields import Settings, Text, refusal, setting
from scripts.lib.data.columns import LISTS, SHAPES, SPEAKERS, fields_of, is_format_string
from scripts.lib.data.layouts import Format

_PLAIN_TEXT = (
    "has no turns: a chat model is tuned on what it is to answer. Give what is asked as `prompt`"
    " and what is answered as `completion`, each a column or a text with columns in braces"
)
_SOURCE = "a column, a path such as `meta.text`, or a text with columns in braces"


def _source(description: str, *, text: bool = True) -> Any:
    allowed = _SOURCE if text else "a column, or a path such as `meta.turns`"
    return setting(description, "identity", None, allowed=allowed)


class Columns(Settings):
    """Which columns of the rows hold what; what is left out is read under its own name."""

    messages: Text | None = _source("The list of turns.", text=False)
    prompt: Text | None = _source("What is asked: a text, or a list of turns.")
    completion: Text | None = _source("What is answered: a text, or a list of turns.")
    instruction: Text | None = _source("What is asked, in alpaca's layout.")
    input: Text | None = _source("What follows the instruction on a line of its own, if anything.")
    output: Text | None = _source("What is answered, in alpaca's layout.")
    history: Text | None = _source("Pairs of earlier questions and answers.", text=False)
    system: Text | None = _source("The system message.")
    tools: Text | None = _source("The tools that may be called.", text=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_plain_text(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "text" in value:
            raise refusal(_PLAIN_TEXT, "text")
        return value

    @model_validator(mode="after")
    def _check_sources(self) -> Self:
        given = self.given()
        shapes = [
            [key for key in keys if key in given] for keys in SHAPES.values() if {*keys} & {*given}
        ]
        if len(shapes) > 1:
            first, other, *_ = shapes
            raise refusal(f"and {', '.join(first)} are of two layouts; keep one", other[0])
        for key, source in given.items():
            if key in LISTS and is_format_string(source):
                raise refusal("makes a text, and a list is needed; allowed: a column", key)
            try:
                names = fields_of(source)
            except ValueError as error:
                text = f"is no format string ({error}); double a brace that is meant as one"
                raise refusal(text, key) from None
            if not names:
                raise refusal("holds no column: all rows would have this text", key)
        return self

    def given(self) -> dict[str, str]:
        """Return the keys that are mapped."""
        return self.model_dump(exclude_none=True)


Spellings = Text | Annotated[tuple[Text, ...], Field(min_length=1)]


class Tags(Settings):
    """What the turns of a list call their keys and speakers."""

    role: Text | None = setting("Key of a turn that says who speaks.", "identity", None)
    content: Text | None = setting("Key of a turn with what is said.", "identity", None)
    system: Spellings | None = setting("The system's name, or names.", "identity", None)
    user: Spellings | None = setting("The user's name, or names.", "identity", None)
    assistant: Spellings | None = setting("The assistant's name, or names.", "identity", None)
    tool: Spellings | None = setting("Name of what a tool answers with.", "identity", None)
    function_call: Spellings | None = setting(
        "Name of the assistant's turns that call functions, as JSON.", "identity", None
    )

    @model_validator(mode="after")
    def _check_spellings(self) -> Self:
        given = self.given()
        meant: dict[str, str] = {}
        for speaker in SPEAKERS:
            words = given.get(speaker, ())
            for word in (words,) if isinstance(words, str) else words:
                if meant.setdefault(word, speaker) != speaker:
                    raise refusal(f"is the name of {meant[word]} already", speaker)
        return self

    def given(self) -> dict[str, Any]:
        """Return the tags that are set, as JSON has them."""
        return self.model_dump(exclude_none=True, mode="json")


def check_layout(layout: Format, columns: Columns, tags: Tags) -> None:
    """Refuse a layout that does not read what the columns are mapped onto.

    Raises:
        PydanticCustomError: If it does not.
    """
    given = {*columns.given()}
    shape = next((name for name, keys in SHAPES.items() if given.intersection(keys)), None)
    fitting = ("messages", "sharegpt") if shape == "messages" else (shape,)
    if shape and layout not in ("auto", *fitting):
        raise refusal(f"does not read what `columns` gives; write {fitting[0]} or auto", "format")
    no_turns = shape == "alpaca" or (not shape and layout in ("alpaca", "prompt_completion"))
    if tags.given() and no_turns:
        raise refusal("have no use: there is no list of turns", "tags")
    if tags.function_call and shape == "prompt_completion":
        raise refusal("is read in a list of `messages` only", "tags.function_call")
