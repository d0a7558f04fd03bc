"""Held-out results as CSV lines, Markdown and sentences."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scripts.lib.benchmarks.held_out.adherence_kinds import ADHERENCE
from scripts.lib.compare.wording import percent, plus_minus, signed

ROWS = {
    "stops": "Stops by itself",
    "format": "Keeps the form",
    "language": "Keeps the language",
}
"""Way of adherence -> its name in tables."""

_SENTENCES = {
    "stops": "stopping by itself",
    "format": "keeping the form",
    "language": "keeping the language",
}

_OPENINGS = {
    "better": "is better",
    "worse": "is worse",
    "undecided": "shows no decided difference",
    "unchanged": "is unchanged",
}
_LINKS = {"better": "at", "worse": "at", "undecided": "in", "unchanged": "in"}


def tidy_rows(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a CSV line per benchmark, measure and candidate.

    The line of perplexity has the difference in nats per token, the others in percentage points of
    the answers.

    Args:
        document: A parsed comparison.
    """
    for name, view in document["held_out"].items():
        for measure in ("perplexity", *ADHERENCE):
            for candidate in _candidates(document, view):
                own = view["candidates"][candidate["name"]]
                change = view["differences"].get(candidate["name"], {})
                line = {
                    "benchmark": name,
                    "category": measure,
                    "candidate": candidate["name"],
                    "kind": candidate["kind"],
                    "base": candidate["base"],
                }
                if measure == "perplexity":
                    yield line | _loss_line(own, change.get("loss"))
                elif own["adherence"][measure]:
                    yield line | _rate_line(own["adherence"][measure], change.get(measure))


def _loss_line(own: Mapping[str, Any], change: Mapping[str, Any] | None) -> dict[str, Any]:
    line = {key: own[key] for key in ("n", "perplexity", "bits_per_byte")}
    if change is None:
        return line
    moved = {"gained": change["improved"], "lost": change["worsened"]}
    return line | moved | _tested(change)


def _rate_line(own: Mapping[str, Any], change: Mapping[str, Any] | None) -> dict[str, Any]:
    line = {
        "n": own["n"],
        "correct": round(own["n"] * own["rate"]),
        "accuracy": own["rate"],
        "stderr": own["stderr"],
    }
    if change is None:
        return line
    return line | {key: change[key] for key in ("gained", "lost")} | _tested(change)


def _tested(change: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "difference": change["difference"],
        "difference_stderr": change["stderr"],
        "p_value": change["p_value"],
        "verdict": change["verdict"],
    }


def markdown(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the paragraphs and tables of held-out benchmarks.

    Args:
        document: A parsed comparison.
    """
    for name, view in document["held_out"].items():
        names = [c["name"] for c in _candidates(document, view)]
        header = ["Measure", *(one.replace("|", r"\|") for one in names)]
        yield f"## {name}\n"
        yield from (f"{sentence(view, one)}\n" for one in view["differences"])
        yield f"| {' | '.join(header)} |"
        yield f"|:---{'|---:' * len(names)}|"
        for row in rows(view):
            cells = (text(view, one, row) for one in names)
            yield f"| {label(row)} | {' | '.join(cells)} |"
        yield ""
        yield f"{about(view)}\n"
        yield from (f"{note['text']}\n" for note in view["notes"])


def rows(view: Mapping[str, Any]) -> list[str]:
    """Return the measures of a table: perplexity, bits per byte, and what could be judged."""
    (first, *_) = view["candidates"].values()
    judged = [measure for measure in ADHERENCE if first["adherence"][measure]]
    return ["perplexity", "bits_per_byte", *judged]


def label(row: str) -> str:
    """Return the name of a table's row."""
    named = {"perplexity": "Perplexity per token", "bits_per_byte": "Bits per byte", **ROWS}
    return named[row] + (" (%)" if row in ROWS else "")


def value(view: Mapping[str, Any], name: str, row: str) -> str:
    """Return a candidate's number in a row of the table."""
    own = view["candidates"][name]
    if row in ROWS:
        return percent(own["adherence"][row]["rate"])
    return number(own[row])


def change_of(view: Mapping[str, Any], name: str, row: str) -> Mapping[str, Any] | None:
    """Return the tested difference behind a row; bits per byte say what perplexity says."""
    found: Mapping[str, Any] = view["differences"].get(name, {})
    change: Mapping[str, Any] | None = found.get("loss" if row == "perplexity" else row)
    return change


def change_words(row: str, change: Mapping[str, Any]) -> str:
    """Return a difference with its error, and its unit where that is not percentage points."""
    if row in ROWS:
        return f"{signed(change['difference'])}{plus_minus(change['stderr'])}"
    difference = signed(change["difference"], decimals=3)
    return f"{difference}{plus_minus(change['stderr'], decimals=3)} nats"


def text(view: Mapping[str, Any], name: str, row: str) -> str:
    """Return a cell of a table as plain text."""
    change = change_of(view, name, row)
    own = value(view, name, row)
    return own if change is None else f"{own} ({change_words(row, change)})"


def sentence(view: Mapping[str, Any], name: str) -> str:
    """Say in words what became better or worse for a candidate on the domain itself.

    Example: `On the held-out conversations, gentle is better than smollm2 at predicting the answers
    (perplexity 9.10 → 3.20); it shows no decided difference in stopping by itself (97 → 98 %).`
    """
    change = view["differences"][name]
    base = view["candidates"][change["base"]]
    own = view["candidates"][name]
    before, after = number(base["perplexity"]), number(own["perplexity"])
    parts = {f"predicting the answers (perplexity {before} → {after})": change["loss"]["verdict"]}
    for row, words in _SENTENCES.items():
        if change[row]:
            one, two = (100 * c["adherence"][row]["rate"] for c in (base, own))
            parts[f"{words} ({one:.0f} → {two:.0f} %)"] = change[row]["verdict"]
    clauses: list[str] = []
    for verdict, opening in _OPENINGS.items():
        if found := [part for part, said in parts.items() if said == verdict]:
            # The base is named once.
            than = f" than {change['base']}" if verdict in ("better", "worse") else ""
            clauses.append(f"{opening}{'' if clauses else than} {_LINKS[verdict]} {listed(found)}")
    return f"On the held-out conversations, {name} {'; it '.join(clauses)}."


def listed(items: Sequence[str]) -> str:
    """Return items as English lists them."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def about(view: Mapping[str, Any]) -> str:
    """Say how a held-out set was asked and what its measures mean."""
    first = next(iter(view["candidates"].values()))
    protocol = view["protocol"]
    forms = listed(view["forms"]) if view["forms"] else "none that a program can check"
    parts = [
        f"{first['n']:,} held-out conversations ({view['split']} split)",
        "chat template",
        str(protocol["dtype"]),
        f"greedy answers of at most {protocol['max_new_tokens']} tokens",
    ]
    if protocol["limit"] is not None:
        parts.append(f"only the first {protocol['limit']}")
    return (
        f"{', '.join(parts)}. Perplexity and bits per byte are of the reference answers with the"
        " end of their turn: less is better; the difference is in nats per token. Form that all"
        f" reference answers share: {forms}."
    )


def number(value: float) -> str:
    """Return a perplexity or a number of bits with three digits or more."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" if value >= 100 else f"{value:.2f}"


def _candidates(document: Mapping[str, Any], view: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [c for c in document["candidates"] if c["name"] in view["candidates"]]
