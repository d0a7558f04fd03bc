"""Columns that stand beside the turns of a row, whatever its layout.

column                                        what becomes of it
-------------------------------------------   -------------------------------------------------
system                                        the system turn, where the turns have none
tools, functions                              the tools that may be called
chat_template_kwargs, template_arguments      what the chat template is given
loss_mask                                     which turns, or answers, are learnt
weight, loss_weight, train, loss              0 or false: the row is unusable
label, kto_tag                                false: the row is unusable; true: nothing
image, images, video, audio and so on         the row is unusable, if one holds anything
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from scripts.lib.data.conversation import GIVEN_ARGUMENTS, Conversation, Message
from scripts.lib.data.raw_fields import Fields, json_value, parsed
from scripts.lib.data.raw_turns import MEDIA_KEYS, WEIGHT_KEYS, as_trained, media_key
from scripts.lib.data.records import UnusableRow
from scripts.lib.data.tool_calls import tool_schemas

ARGUMENT_COLUMNS = ("chat_template_kwargs", "template_arguments")
LABEL_COLUMNS = ("label", "kto_tag")
MASK_COLUMN = "loss_mask"
_PLACEHOLDER = re.compile(r"<(image|img|video|audio)>|<\|(image|video|audio)\w*\|>")
_TRUTHS = {"true": True, "false": False}


def check_task(row: Fields) -> None:
    """Refuse a row that is there for something else than its words.

    Raises:
        UnusableRow: It holds media, is labelled as a bad answer, or says that it is not learnt.
    """
    if media := media_key(row):
        raise UnusableRow("multimodal", f"the column `{media}` holds more than text")
    for column in LABEL_COLUMNS:
        label = row.values.get(column)
        if isinstance(label, str):
            label = _TRUTHS.get(label.strip().casefold(), label)
        # A number or a word is the class of something, and says nothing about the answer.
        if not isinstance(label, bool):
            continue
        row.get(column)
        if not label:
            raise UnusableRow("labelled_false", f"`{column}` says that the answer is a bad one")
    for column in WEIGHT_KEYS:
        value = row.values.get(column)
        kinds = bool if column == "loss" else bool | int | float  # a loss can be a measured one
        if not isinstance(value, kinds) or value not in (0, 1):
            continue
        row.get(column)
        if not value:
            raise UnusableRow("nothing_to_train_on", f"`{column}` of the row is {value}")


def with_columns(row: Fields, messages: list[Message]) -> Conversation:
    """Return the turns of a row with what its other columns say about them.

    Raises:
        UnusableRow: If one of these columns cannot be read.
    """
    if not MEDIA_KEYS.isdisjoint(row.values):
        for message in messages:
            if found := _PLACEHOLDER.search(message.content):
                raise UnusableRow("multimodal", f"{found.group()} stands for something in a column")
    turns = _masked(row, messages)
    system = row.values.get("system")
    own = bool(turns) and turns[0].role == "system"
    if isinstance(system, str) and system.strip() and not own:
        turns.insert(0, Message(role="system", content=row.get("system")))
    return Conversation(
        messages=tuple(turns),
        tools=tool_schemas(row),
        template_arguments=_template_arguments(row),
    )


def _masked(row: Fields, messages: list[Message]) -> list[Message]:
    """Return the turns, those untrained that a loss mask leaves out."""
    if not row.holds(MASK_COLUMN):
        return list(messages)
    mask = parsed(row.get(MASK_COLUMN), MASK_COLUMN)
    answers = [n for n, message in enumerate(messages) if message.role == "assistant"]
    if not isinstance(mask, list) or len(mask) not in (len(messages), len(answers)):
        raise UnusableRow(
            "bad_loss_mask",
            f"`{MASK_COLUMN}` is no list of {len(messages)} turns or {len(answers)} answers",
        )
    places = list(range(len(messages))) if len(mask) == len(messages) else answers
    turns = list(messages)
    for place, value in zip(places, mask, strict=True):
        learnt, turn = as_trained(value, MASK_COLUMN), turns[place]
        if turn.role == "assistant":
            turns[place] = replace(turn, trained=turn.trained and learnt)
        elif learnt and (note := f"{MASK_COLUMN} (of the {turn.role})") not in row.ignored():
            row.note(note)
    return turns


def _template_arguments(row: Fields) -> dict[str, Any]:
    found = {key: row.get(key) for key in ARGUMENT_COLUMNS}
    given = [key for key, value in found.items() if value not in (None, "", {})]
    if not given:
        return {}
    values = [parsed(found[key], key) for key in given]
    if any(value != values[0] for value in values):
        raise UnusableRow("bad_template_arguments", f"{' and '.join(given)} are not the same")
    arguments = values[0]
    if not isinstance(arguments, Mapping):
        raise UnusableRow("bad_template_arguments", f"`{given[0]}` is not an object")
    if taken := sorted(GIVEN_ARGUMENTS & arguments.keys()):
        raise UnusableRow(
            "template_argument_taken",
            f"the row gives the template {', '.join(taken)}, which rendering gives it",
        )
    kept: dict[str, Any] = json_value(arguments, given[0])
    return kept
