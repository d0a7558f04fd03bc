"""Scores on a held-out set -> perplexity, bits per byte and adherence of one candidate."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.lib.benchmarks.held_out.adherence import grade_all
from scripts.lib.benchmarks.held_out.document import (
    HeldOutResult,
    HeldOutScoreFile,
    Kept,
    Rate,
    values_of,
)
from scripts.lib.data.parquet import read_table_rows
from scripts.lib.errors import ScoreError
from scripts.lib.score.aggregation import prompt_set, read_provenance
from scripts.lib.score.files import FEWER_SHOTS, PROTOCOL_FILE, QUESTIONS_TABLE
from scripts.lib.score.standard_error import standard_error

# More nats per token than this make a perplexity that no float holds; such a model is broken.
_MOST_NATS = 700.0


def aggregate(
    spec: Mapping[str, Any], inputs: Mapping[str, tuple[Path, ...]], out: Path
) -> dict[str, Any]:
    """Do what `aggregate_held_out` says, as the program asks every kind."""
    return aggregate_held_out(spec["benchmark"], inputs["scores"], out)


def aggregate_held_out(benchmark: str, scores: Sequence[Path], out: Path) -> dict[str, Any]:
    """Write `{benchmark}.held_out.json`, and `{benchmark}.held_out.jsonl` with a line per answer.

    Args:
        benchmark: Its name, the first part of the file names.
        scores: The folder of the one scoring job.
        out: Existing empty folder.

    Returns:
        `{"n", "perplexity", "bits_per_byte"}` and the rates.

    Raises:
        ScoreError: There is no answer.
    """
    (folder,) = scores
    table = read_table_rows(folder / QUESTIONS_TABLE)
    if not table:
        raise ScoreError(f"{folder} holds no answers of {benchmark!r}. Score the benchmark first.")
    protocol = json.loads((folder / PROTOCOL_FILE).read_text(encoding="utf-8"))
    protocol.pop(FEWER_SHOTS, None)
    kept, forms = grade_all(table)
    longest = protocol["max_new_tokens"]
    provenance = read_provenance(scores)
    document: HeldOutScoreFile = {
        "benchmark": benchmark,
        "split": table[0]["subject"],
        **summary(kept),
        "forms": forms,
        # No good answer to these could end in time.
        "references_over_limit": sum(one["tokens"] > longest for one in kept),
        "protocol": protocol,
        "prompt_set": prompt_set(kept),
        "made_of": provenance["made_of"],
        "versions": provenance["versions"],
    }
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    (out / f"{benchmark}.held_out.json").write_text(text, encoding="utf-8")
    lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in kept)
    (out / f"{benchmark}.held_out.jsonl").write_text(lines, encoding="utf-8")
    return {**summary(kept)}


def summary(kept: Sequence[Kept]) -> HeldOutResult:
    """Return the numbers of a candidate.

    Perplexity is exp of the mean loss in nats over all tokens of all reference answers, the ends of
    their turns included. Bits per byte spread the same loss over the bytes of the answers' UTF-8
    alone, so that two templates or tokenizers can be set side by side.

    Example: two tokens of log 4 nats each over one byte: perplexity 4, 4 bits per byte.
    """
    nats = math.fsum(one["nats"] for one in kept)
    tokens, size = sum(one["tokens"] for one in kept), sum(one["bytes"] for one in kept)
    return {
        "n": len(kept),
        "tokens": tokens,
        "bytes": size,
        "loss": nats / tokens,
        "perplexity": math.exp(min(nats / tokens, _MOST_NATS)),
        "bits_per_byte": nats / math.log(2) / size,
        "adherence": {
            "stops": _rate(values_of(kept, "stops")),
            "format": _rate(values_of(kept, "format")),
            "language": _rate(values_of(kept, "language")),
        },
    }


def _rate(values: Sequence[float]) -> Rate | None:
    if not values:
        return None
    rate = math.fsum(values) / len(values)
    return {"n": len(values), "rate": rate, "stderr": standard_error(values)}
