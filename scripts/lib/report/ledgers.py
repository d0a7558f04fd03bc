"""What the report shows of rows and conversations: kept, dropped and why, and keys not used."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypedDict

from scripts.lib.report.manifests import (
    Manifests,
    ReportedCandidate,
    RowSummary,
    facts_of,
    users_of,
)


class Counted(TypedDict):
    """Heading -> count, and reason -> count, in words."""

    what: str
    counts: dict[str, str]
    reasons: list[tuple[str, str]]


class LedgerView(Counted):
    """One dataset: what became of its rows or conversations."""

    name: str
    who: str


def ledgers(candidates: Sequence[ReportedCandidate], manifests: Manifests) -> list[LedgerView]:
    """Return what became of each dataset's rows, and of its conversations under a template."""
    views: list[LedgerView] = []
    of_rows = (*users_of(candidates, "chat"), *users_of(candidates, "decontaminated"))
    for id_, who in of_rows:
        if summary := facts_of(manifests, id_).get("summary"):
            splits = summary["splits"]
            counts = {
                "Rows": summary["rows"],
                "Kept": summary["kept"],
                "Fixed": summary["fixed"],
                "Dropped": summary["dropped"],
                "Train": splits.get("train", 0),
                "Held out": splits.get("valid", 0),
                "Test": splits.get("test", 0),
            }
            view = _counted("raw row", counts, summary["by_reason"])
            view["reasons"] += _named(summary)
            views.append({"name": manifests[id_]["slug"], "who": who, **view})
    for id_, who in users_of(candidates, "shards"):
        if tokens := facts_of(manifests, id_).get("tokens"):
            dropped, rendered = tokens["dropped"], tokens["splits"].values()
            too_long = dropped.get("too_long", 0)
            counts = {
                "Conversations": tokens["conversations"],
                "Rendered": tokens["kept"],
                "Turn by turn": tokens["turn_by_turn"],
                "Dropped": sum(dropped.values()) - too_long,
                "Too long": too_long,
                "Rows": tokens["rows"],
                "Cut": tokens["truncated"],
                "Tokens": sum(split["tokens"] for split in rendered),
                "Trained tokens": sum(split["trained_tokens"] for split in rendered),
            }
            lost_rows = {
                f"one turn of several: {why}": n for why, n in tokens["rows_dropped"].items()
            }
            reasons = {**dropped, **lost_rows}
            view = _counted("conversation in the chat template", counts, reasons)
            if tokens["turn_by_turn"]:
                view["counts"]["Tokens grew by"] = f"{tokens['growth']:.2f} times"
            for given, count in tokens.get("template_arguments", {}).items():
                view["counts"][f"Rendered with {given}"] = f"{count:,}"
            views.append({"name": manifests[id_]["slug"], "who": who, **view})
    return views


def _counted(what: str, counts: Mapping[str, int], reasons: Mapping[str, int]) -> Counted:
    return {
        "what": what,
        "counts": {heading: f"{count:,}" for heading, count in counts.items()},
        "reasons": [(reason.replace("_", " "), f"{n:,}") for reason, n in reasons.items()],
    }


def _named(summary: RowSummary) -> Iterator[tuple[str, str]]:
    """Yield what reasons are about and what to know, and the keys that were not used."""
    for reason, note in summary.get("notes", {}).items():
        yield f"on {reason.replace('_', ' ')}", note
    for reason, names in summary.get("by_name", {}).items():
        for name, count in names.items():
            yield f"{reason.replace('_', ' ')}: {name}", f"{count:,}"
    for key, count in summary.get("ignored_keys", {}).items():
        yield f"ignored key: {key}", f"{count:,}"
