"""What rendering counts, block by block, and how the counts of blocks become one."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scripts.lib.data.contract import Findings

SHOWN_EXAMPLES = 3


@dataclass(kw_only=True)
class Tally:
    """Counts for the facts.

    Attributes:
        dropped: Reason -> conversations of which no row is left.
        rows_dropped: Reason -> rows of conversations that have others left.
        given: Arguments of the template, as JSON -> conversations that are rendered with them.
        examples: Reason -> the first conversations or rows that it took.
        new_examples: Reason and text of each of them, in order.
        tokens_once: Tokens of the longest row of each conversation.
    """

    findings: Findings = field(default_factory=Findings)
    splits: dict[str, Counter[str]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    rows_dropped: Counter[str] = field(default_factory=Counter)
    given: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    new_examples: list[tuple[str, str]] = field(default_factory=list)
    read: int = 0
    kept: int = 0
    turn_by_turn: int = 0
    truncated: int = 0
    defused: int = 0
    tokens_once: int = 0

    def begin(self, split: str) -> Counter[str]:
        """Return the counts of a split, zeros at first."""
        zeros = Counter(conversations=0, rows=0, tokens=0, trained_tokens=0, longest_tokens=0)
        return self.splits.setdefault(split, zeros)

    def drop(self, id_: str, reason: str, detail: str) -> None:
        """Count a conversation that is lost."""
        self.dropped[reason] += 1
        self.show(id_, reason, detail)

    def show(self, id_: str, reason: str, detail: str) -> None:
        """Keep the first examples of each reason."""
        shown = self.examples.setdefault(reason, [])
        if len(shown) < SHOWN_EXAMPLES:
            shown.append(f"{id_}: {detail}")
            self.new_examples.append((reason, shown[-1]))

    def add(self, later: "Tally") -> list[tuple[str, str]]:
        """Add what later conversations showed.

        Returns:
            Reason and text of the examples that are kept of them, in order.
        """
        self.findings.add(later.findings)
        for split, counts in later.splits.items():
            mine = self.begin(split)
            longest = max(mine["longest_tokens"], counts["longest_tokens"])
            mine.update(counts)
            mine["longest_tokens"] = longest
        for name in ("dropped", "rows_dropped", "given"):
            getattr(self, name).update(getattr(later, name))
        for name in ("read", "kept", "turn_by_turn", "truncated", "defused", "tokens_once"):
            setattr(self, name, getattr(self, name) + getattr(later, name))
        kept = []
        for reason, text in later.new_examples:
            shown = self.examples.setdefault(reason, [])
            if len(shown) < SHOWN_EXAMPLES:
                shown.append(text)
                kept.append((reason, text))
        return kept

    def tokens(self) -> dict[str, Any]:
        """Return the facts."""
        every = sum(split["tokens"] for split in self.splits.values())
        return {
            "conversations": self.read,
            "kept": self.kept,
            "dropped": dict(sorted(self.dropped.items())),
            "rows": self.findings.rows,
            "rows_dropped": dict(sorted(self.rows_dropped.items())),
            "turn_by_turn": self.turn_by_turn,
            "growth": round(every / self.tokens_once, 3) if self.tokens_once else 1.0,
            "truncated": self.truncated,
            "control_text_defused": self.defused,
            "splits": {split: dict(sorted(self.splits[split].items())) for split in self.splits},
            **({"template_arguments": dict(sorted(self.given.items()))} if self.given else {}),
        }


def told(tokens: Mapping[str, Any]) -> str:
    """Say in one line what became of the conversations."""
    splits = tokens["splits"].values()
    trained, every = (sum(s[key] for s in splits) for key in ("trained_tokens", "tokens"))
    lost, rows_lost = tokens["dropped"], tokens["rows_dropped"]
    return (
        f"{tokens['conversations']:,} conversations: {tokens['kept']:,} rendered as"
        f" {tokens['rows']:,} rows ({tokens['turn_by_turn']:,} turn by turn, which makes"
        f" {tokens['growth']:g} times their tokens), of which {tokens['truncated']:,} were cut;"
        f" {_counted(lost)} dropped, and {_counted(rows_lost)} rows of others;"
        f" {trained:,} of {every:,} tokens are trained on"
    )


def _counted(lost: Mapping[str, int]) -> str:
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in lost.items())
    return f"{sum(lost.values()):,}{f' ({reasons})' if reasons else ''}"
