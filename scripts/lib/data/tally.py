"""What became of the rows of a dataset: verdicts, reasons, ignored keys, counted and in words."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from scripts.lib.data.misfits import Misfits
from scripts.lib.data.records import SOURCES

TOP_REASONS = 3
LISTED_NAMES = 100
SHOWN_NAMES = 10
NOTES: Mapping[str, str] = {
    "labelled_false": "these are unpaired preferences, of which only the good answers are kept",
    "preference_row": "these hold a better and a worse answer: `use: chosen` trains on the better",
    "multimodal": "only text is trained on",
    "unfilled_placeholder": "`placeholders` of the dataset fills them",
    "fractional_weight": "an answer is trained on or not: write 1 or 0",
}
"""What to know, or to do, where rows are dropped for such a reason."""


@dataclass(kw_only=True)
class Tally:
    """What has been seen so far."""

    verdicts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    names: dict[str, Counter[str]] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def keep(self, row_id: str, fixed: str, split: str, ignored: Iterable[str]) -> None:
        """Count a row that stays.

        Args:
            row_id: The row.
            fixed: What was mended, as a code; '' for nothing.
            split: Where it stands.
            ignored: Keys that hold something and were not used, printable.
        """
        self.verdicts["fixed" if fixed else "kept"] += 1
        self.splits[split] += 1
        if fixed:
            self.reasons[fixed] += 1
            self.examples.setdefault(fixed, row_id)
        for name in ignored:
            self.ignored[name] += 1

    def drop(self, row_id: str, reason: str, detail: str, names: Iterable[str] = ()) -> None:
        """Count a row that is dropped.

        Args:
            row_id: The row.
            reason: What is wrong, as a code.
            detail: The same in words.
            names: What the reason is about, where it has names.
        """
        self.verdicts["dropped"] += 1
        self.reasons[reason] += 1
        self.examples.setdefault(reason, f"{row_id}: {detail}")
        for name in names:
            self.names.setdefault(reason, Counter())[name] += 1

    def add(self, later: "Tally") -> None:
        """Count what was seen of rows behind these."""
        for mine, theirs in (
            (self.verdicts, later.verdicts),
            (self.reasons, later.reasons),
            (self.ignored, later.ignored),
            (self.splits, later.splits),
            *((self.names.setdefault(one, Counter()), names) for one, names in later.names.items()),
        ):
            mine.update(theirs)
        self.examples = later.examples | self.examples

    def summary(self) -> dict[str, Any]:
        """Return the counts as `summary.json` holds them."""
        rows, dropped = self.verdicts.total(), self.verdicts["dropped"]
        summary = {
            "rows": rows,
            "kept": self.verdicts["kept"],
            "fixed": self.verdicts["fixed"],
            "dropped": dropped,
            "by_reason": dict(sorted(self.reasons.items())),
            "splits": {split: self.splits[split] for split in SOURCES},
            "dropped_fraction": dropped / rows if rows else 0.0,
        }
        if self.names:
            summary["by_name"] = {
                reason: _most(names) for reason, names in sorted(self.names.items())
            }
        notes = {reason: NOTES[reason] for reason in sorted(self.reasons) if reason in NOTES}
        if notes := notes | self.notes:
            summary["notes"] = notes
        if self.ignored:
            summary["ignored_keys"] = _most(self.ignored)
        return summary

    def problems(self, misfits: Misfits) -> str:
        """Say why no row can be used, and what to do."""
        top = self.reasons.most_common(TOP_REASONS)
        reasons = "; ".join(
            f"{count} x {reason} (for example {self.examples[reason]})" for reason, count in top
        )
        notes = "; ".join(NOTES[reason] for reason, _ in top if reason in NOTES)
        remedy = misfits.words() or notes
        return f"{reasons}; {remedy or 'correct the rows, or take them from another source'}"


def told(summary: Mapping[str, Any]) -> str:
    """Say in a few lines what became of the rows."""
    names = {
        reason: f" ({_listed(counts)})" for reason, counts in summary.get("by_name", {}).items()
    }
    reasons = ", ".join(
        f"{reason} {count:,}{names.get(reason, '')}"
        for reason, count in summary["by_reason"].items()
    )
    lines = [
        f"{summary['rows']:,} rows: {summary['kept']:,} kept as they are, {summary['fixed']:,}"
        f" mended, {summary['dropped']:,} dropped{f' ({reasons})' if reasons else ''}"
    ]
    lines += [f"{reason}: {note}" for reason, note in summary.get("notes", {}).items()]
    if ignored := summary.get("ignored_keys"):
        lines.append(f"ignored keys, with their rows: {_listed(ignored)}")
    return "\n".join(lines)


def _listed(counts: Mapping[str, int]) -> str:
    shown = [f"{name} {count:,}" for name, count in list(counts.items())[:SHOWN_NAMES]]
    rest = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def _most(counts: Counter[str]) -> dict[str, int]:
    """Return the most frequent names with their counts, most first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    most = dict(ordered[:LISTED_NAMES])
    if others := len(ordered) - len(most):
        most[f"({others} others)"] = sum(count for _, count in ordered[LISTED_NAMES:])
    return most


def printable(name: str) -> str:
    """Return a key without lone surrogates, which no file takes."""
    return name.encode("utf-8", "backslashreplace").decode()
