"""What `examples.json` holds: conversations token by token, and rows of each reason of a ledger."""

from typing import Literal, TypedDict

Step = Literal["formatting", "rendering"]
"""Where a row got its reason: on its way to a conversation, or a conversation's to tokens."""


class TokenRow(TypedDict):
    """One row of a shard; the lists are as long as it has tokens.

    Attributes:
        id: Id of the conversation, with `#` and the turn where each turn is a row.
        ids: Token ids.
        texts: What each token adds to the text; nothing where a character needs several tokens and
            this is not the last of them.
        trained: 1 for each token that the loss looks at.
        control: 1 for each control token.
    """

    id: str
    ids: list[int]
    texts: list[str]
    trained: list[int]
    control: list[int]


class ShownConversation(TypedDict):
    """One conversation.

    Attributes:
        id: Its source and the number of its raw row.
        split: `train`, `valid` or `test`.
        shows: What it is an example of, in words.
        rows: Its rows in the shards, the first ones where there are many.
        rows_in_all: How many it has.
        raw: Its raw row as JSON for people.
    """

    id: str
    split: str
    shows: list[str]
    rows: list[TokenRow]
    rows_in_all: int
    raw: str


class ReasonedRow(TypedDict):
    """One row that got a reason.

    Attributes:
        id: Its source and number, with `#` and the turn where only a turn is meant.
        detail: What is wrong with it, or was mended.
        raw: The raw row as JSON for people.
    """

    id: str
    detail: str
    raw: str


class ShownReason(TypedDict):
    """One reason and its first rows.

    Attributes:
        step: Where rows got it.
        verdict: `dropped`, or `fixed` where the row was kept in another form.
        reason: Its code.
        count: How many got it.
        rows: The first of them.
    """

    step: Step
    verdict: str
    reason: str
    count: int
    rows: list[ReasonedRow]


class Examples(TypedDict):
    """The whole document.

    Attributes:
        formatted: What became of the raw rows, in a sentence.
        rendered: What became of the conversations, in a sentence; nothing where none was rendered.
        looked_at: From how many conversations these were chosen.
        conversations: The chosen ones.
        reasons: Every reason of the ledger and of rendering.
    """

    formatted: str
    rendered: str
    looked_at: int
    conversations: list[ShownConversation]
    reasons: list[ShownReason]
