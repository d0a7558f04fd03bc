"""Judged pairs for people: a sheet that does not say which answer is whose, and its key.

Which answer stands left, and in which order pairs come, follows from a secret by HMAC-SHA256 of the
prompt's name. The secret is in the key, not in the sheet, so that nobody who has the sheet and this
code can tell the sides; and the key makes the same sheet again.
"""

import csv
import hashlib
import hmac
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from jinja2 import Environment, StrictUndefined

from scripts.lib.errors import ScoreError
from scripts.lib.files import read_json

Side = Literal["base", "run"]

QUESTION = "Which answer is better?"
COLUMNS = ("sheet", "pair", "choice")
"""Columns of a file of answers; those of a CSV sheet begin with them, and may have others."""

CHOICES = ("left", "right", "tie")

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class ShownPair(TypedDict):
    """What a person sees of a pair."""

    pair: str
    request: str
    reference: str
    left: str
    right: str


class KeyedPair(TypedDict):
    """What the key knows of a pair."""

    prompt_id: str
    """Name of the prompt in the benchmark."""
    category: str | None
    """Its category."""
    left: Side
    """Whose answer stands left."""
    judge: str
    """What the judge decided: win, loss or tie of the run."""


class Key(TypedDict):
    """The key of a sheet."""

    sheet: str
    """Name of the sheet, which its answers bear, too."""
    run: str
    """Who was tuned."""
    benchmark: str
    """What was answered."""
    secret: str
    """Hexadecimal; whoever has it can tell the sides."""
    source: str
    """sha256 of the file of judged prompts."""
    pairs: dict[str, KeyedPair]
    """Pair of the sheet -> what it is."""
    equal: dict[str, str | None]
    """Prompt with two equal answers, which nobody is asked about -> its category."""


def blind(judged: Path, run: str, benchmark: str, secret: bytes) -> tuple[list[ShownPair], Key]:
    """Return the pairs of a sheet in its order, and the key.

    Args:
        judged: `{benchmark}.judged.jsonl` of a run.
        run: Name of the run; it stands in the key alone.
        benchmark: Name of the benchmark; likewise.
        secret: Random bytes that decide sides and order.

    Raises:
        ScoreError: The file cannot be read, or has nothing to ask about.
    """
    lines = _lines(judged)
    sheet = _digest(secret, "sheet")[:8]
    key: Key = {
        "sheet": sheet,
        "run": run,
        "benchmark": benchmark,
        "secret": secret.hex(),
        "source": hashlib.sha256(judged.read_bytes()).hexdigest(),
        "pairs": {},
        "equal": {line["prompt_id"]: line["category"] for line in lines if line["equal"]},
    }
    shown: list[ShownPair] = []
    for line in lines:
        if line["equal"]:
            continue
        name = _digest(secret, f"pair {line['prompt_id']}")[:12]
        left: Side = "base" if int(_digest(secret, f"side {name}")[:1], 16) % 2 else "run"
        right: Side = "run" if left == "base" else "base"
        key["pairs"][name] = {
            "prompt_id": line["prompt_id"],
            "category": line["category"],
            "left": left,
            "judge": line["decision"],
        }
        shown.append(
            {
                "pair": name,
                "request": line["request"],
                "reference": line["reference"] or "",
                "left": line[left],
                "right": line[right],
            }
        )
    if not shown:
        raise ScoreError(f"{judged}: all answers of both are the same; there is nothing to ask")
    key["pairs"] = dict(sorted(key["pairs"].items()))
    return sorted(shown, key=lambda pair: pair["pair"]), key


def _lines(judged: Path) -> list[dict[str, Any]]:
    try:
        text = judged.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ScoreError(
            f"{judged} is not there: name a run and a benchmark of kind judged_pairs whose"
            " workflow has ended"
        ) from None
    return [json.loads(line) for line in text.splitlines()]


def _digest(secret: bytes, text: str) -> str:
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


def sheet_html(pairs: Sequence[ShownPair], sheet: str) -> str:
    """Return the sheet as one page that works from a file and saves its answers as CSV.

    Args:
        pairs: In the order of the sheet.
        sheet: Its name.
    """
    text = Path(__file__).with_name("people.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string(text)
    return template.render(pairs=pairs, sheet=sheet, question=QUESTION, columns=COLUMNS) + "\n"


def sheet_csv(pairs: Sequence[ShownPair], sheet: str) -> str:
    """Return the sheet as CSV with an empty column `choice`, for a spreadsheet.

    A text that a spreadsheet would take for a formula has an apostrophe in front.

    Args:
        pairs: In the order of the sheet.
        sheet: Its name.
    """
    out = io.StringIO()
    texts = ("request", "reference", "left", "right")
    writer = csv.writer(out)
    writer.writerow([*COLUMNS, *texts])
    for pair in pairs:
        shown: Mapping[str, Any] = pair
        writer.writerow([sheet, pair["pair"], "", *(_plain(shown[name]) for name in texts)])
    return out.getvalue()


def _plain(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def read_key(path: Path) -> Key:
    """Read a key.

    Raises:
        ScoreError: It is not there, or is no key.
    """
    try:
        found: Key = read_json(path)
    except (OSError, ValueError) as error:
        raise ScoreError(f"{path} is no key of a sheet: {error}") from None
    if not isinstance(found, dict) or not {"sheet", "pairs", "equal"} <= found.keys():
        raise ScoreError(f"{path} is no key of a sheet: `tunesmith pairs export` writes one")
    return found
