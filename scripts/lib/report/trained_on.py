"""What the report shows of the conversations that were trained on: two short ones of each dataset.

The whole of it is the stage `examples`; a report stays small whatever conversations hold.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypedDict

from markupsafe import Markup

from scripts.lib.examples.document import Examples, TokenRow
from scripts.lib.examples.page import row_words, tokens_html
from scripts.lib.report.manifests import ReportedCandidate, users_of

SHOWN_ARTIFACTS, SHOWN_CONVERSATIONS = 4, 2
SHOWN_TOKENS = 600
"""Of the longest conversation that is shown."""


class TokensView(TypedDict):
    """One row that is trained on."""

    id: str
    words: str
    tokens: Markup


class TrainedOnView(TypedDict):
    """What some candidates were trained on.

    Attributes:
        who: Their names.
        sentences: What became of rows and conversations.
        rows: A few rows, token by token; none where all are long, or other datasets have many.
        page: Where every example is, from the folder of links.
    """

    who: str
    sentences: list[str]
    rows: list[TokensView]
    page: str


def trained_on(
    candidates: Sequence[ReportedCandidate], examples: Mapping[str, Examples]
) -> list[TrainedOnView]:
    """Return what each dataset looks like to a model.

    Args:
        candidates: All of them.
        examples: Documents of `show_examples`, by artifact id.
    """
    users = {id_: who for id_, who in users_of(candidates, "examples") if id_ in examples}
    return [
        {
            "who": who,
            "sentences": [examples[id_]["formatted"], examples[id_]["rendered"]],
            "rows": [
                {"id": row["id"], "words": row_words(row), "tokens": tokens_html(row)}
                for row in (_short_rows(examples[id_]) if place < SHOWN_ARTIFACTS else ())
            ],
            "page": _page(candidates, id_),
        }
        for place, (id_, who) in enumerate(users.items())
    ]


def _page(candidates: Sequence[ReportedCandidate], id_: str) -> str:
    """Return where examples are, from the folder of links."""
    user = next(one for one in candidates if id_ in one.made_in("examples"))
    below = [f"{one['name']}/" for one in user.datasets if one["examples"] == id_]
    return f"runs/{user.name}/examples/{''.join(below)}index.html"


def _short_rows(examples: Examples) -> Iterator[TokenRow]:
    """Yield the first row of the first conversations that are not too long."""
    rows = [one["rows"][0] for one in examples["conversations"]]
    short = [row for row in rows if len(row["ids"]) <= SHOWN_TOKENS]
    yield from short[:SHOWN_CONVERSATIONS]
