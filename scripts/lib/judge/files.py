"""Files around judgements: two models' answers become pairs, a judge's replies become a table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scripts.lib.data.parquet import read_table, read_table_rows, table_of
from scripts.lib.data.replies import without_reasoning
from scripts.lib.errors import ScoreError
from scripts.lib.judge.prompt import Pair, request_text
from scripts.lib.judge.rows import FILE_SUBJECT, read_judged_rows
from scripts.lib.score.files import (
    OWN_MATTERS,
    PROTOCOL_FILE,
    QUESTIONS_TABLE,
    SPLIT_MARKERS,
    THOUGHTS,
)
from scripts.lib.score.token_hashes import other_tokens

JUDGEMENTS_TABLE = "judgements.parquet"

_REPLIES = [(f"{order}_first", pa.string()) for order in ("base", "run")]
_LOGPROBS = [(f"{order}_first_logprobs", pa.list_(pa.float64())) for order in ("base", "run")]
_SCHEMA = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("category", pa.string()),
        ("request", pa.string()),
        ("reference", pa.string()),
        ("base", pa.string()),
        ("run", pa.string()),
        ("base_ended", pa.bool_()),
        ("run_ended", pa.bool_()),
        ("equal", pa.bool_()),
        *_REPLIES,
        *_LOGPROBS,
    ]
)


@dataclass(frozen=True)
class Reply:
    """What a judge said to one prompt.

    Attributes:
        text: Its words.
        logprobs: Where the words were weighed and not generated, the log-probability (nats) of each
            verdict in `VERDICTS`.
        without: Names of the parameters that a service was asked without, since it refuses them.
    """

    text: str
    logprobs: tuple[float, ...] | None = None
    without: tuple[str, ...] = ()


def load_pairs(base: Path, run: Path, benchmark: Path) -> list[Pair]:
    """Return the answers of two models to the same prompts, side by side.

    Args:
        base: Folder of the base's answers.
        run: Folder of the tuned model's answers.
        benchmark: Folder of the prompts; the answers' subject says which of its splits was asked.

    Raises:
        ScoreError: The two were not asked the same prompts in the same way.
    """
    answers, others = _answers(base), _answers(run)
    if answers.keys() != others.keys() or _shared(base) != _shared(run):
        raise ScoreError(
            f"{base} and {run} hold answers to other prompts, or under another protocol, so they"
            " are no pairs. Remove both and run again."
        )
    rows = {row.id: row for row in read_judged_rows(benchmark, _split(base))}
    return [
        Pair(
            id=name,
            category=rows[name].category,
            request=request_text(rows[name].messages, rows[name].tools),
            reference=rows[name].reference,
            base=without_reasoning(answers[name]["response"]),
            run=without_reasoning(others[name]["response"]),
            base_ended=answers[name]["ended"],
            run_ended=others[name]["ended"],
        )
        for name in answers
    ]


def write_judgements(
    pairs: Sequence[Pair],
    replies: Mapping[str, tuple[Reply, Reply]],
    judge: Mapping[str, Any],
    base: Path,
    run: Path,
    out: Path,
) -> dict[str, Any]:
    """Write `judgements.parquet`, and `protocol.json` with who judged and how answers were made.

    Args:
        pairs: All pairs, the equal ones included.
        replies: Prompt -> the replies with the base's answer first and with the run's.
        judge: What is to be known of the judge.
        base: Folder of the base's answers.
        run: Folder of the tuned model's answers.
        out: Existing empty folder.

    Returns:
        `{"prompts", "equal"}`, how many there are and of how many nobody was asked.
    """
    table = table_of((_row(pair, replies.get(pair.id)) for pair in pairs), _SCHEMA)
    pq.write_table(table, out / JUDGEMENTS_TABLE)
    folders = {"base": base, "run": run}
    protocol: dict[str, Any] = {
        "judge": dict(judge),
        "answers": _shared(base),
        "split": _split(base),
        "other_tokens": other_tokens(_token_hashes(base), _token_hashes(run)),
        SPLIT_MARKERS: {
            who: _protocol(place).get(SPLIT_MARKERS, {}) for who, place in folders.items()
        },
    }
    thoughts = {who: _protocol(place).get(THOUGHTS) for who, place in folders.items()}
    if any(thoughts.values()):
        protocol[THOUGHTS] = thoughts
    text = json.dumps(protocol, indent=2, sort_keys=True, ensure_ascii=False)
    (out / PROTOCOL_FILE).write_text(text + "\n", encoding="utf-8")
    return {"prompts": len(pairs), "equal": sum(pair.equal for pair in pairs)}


def _row(pair: Pair, replies: tuple[Reply, Reply] | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for order, reply in zip(("base", "run"), replies or (None, None), strict=True):
        found[f"{order}_first"] = reply.text if reply else None
        found[f"{order}_first_logprobs"] = reply.logprobs if reply else None
    own = {key: value for key, value in vars(pair).items() if key != "id"}
    return {"prompt_id": pair.id, "equal": pair.equal, **own, **found}


def _answers(folder: Path) -> dict[str, dict[str, Any]]:
    columns = ["question_id", "response", "ended"]
    rows = read_table_rows(folder / QUESTIONS_TABLE, columns)
    return {row["question_id"]: row for row in rows}


def _split(folder: Path) -> str | None:
    """Return the held-out split that was answered, or None for prompts from a file."""
    table = read_table(folder / QUESTIONS_TABLE, ["subject"])
    subject: str = table["subject"][0].as_py()
    return None if subject == FILE_SUBJECT else subject


def _token_hashes(folder: Path) -> dict[str, str]:
    """Return for each prompt the hash of its tokens as a model read them."""
    columns = ["question_id", "token_hash"]
    rows = read_table_rows(folder / QUESTIONS_TABLE, columns)
    return {row["question_id"]: row["token_hash"] for row in rows}


def _shared(folder: Path) -> dict[str, Any]:
    """Return what of a protocol is the same for two that answer the same prompts."""
    return {key: value for key, value in _protocol(folder).items() if key not in OWN_MATTERS}


def _protocol(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / PROTOCOL_FILE).read_text(encoding="utf-8"))
    return found
