"""Held-out results as CSV lines, Markdown and sentences."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from scripts.lib.benchmarks.held_out.document import (
    ADHERENCE,
    Adherence,
    HeldOutResult,
    HeldOutSection,
    LossDifference,
    Rate,
)
from scripts.lib.compare.document import ListedCandidate
from scripts.lib.compare.wording import (
    UNDECIDED,
    percent,
    template_words,
    verdict_words,
    with_interval,
)
from scripts.lib.score.paired_documents import DecidedDifference

Row = Literal["perplexity", "bits_per_byte"] | Adherence

ROWS: Mapping[Adherence, str] = {
    "stops": "Stops by itself",
    "format": "Keeps the form",
    "language": "Keeps the language",
}
"""Way of adherence -> its name in tables."""

_SENTENCES: Mapping[Adherence, str] = {
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


def tidy_rows(
    section: Mapping[str, HeldOutSection], candidates: Sequence[ListedCandidate]
) -> Iterator[dict[str, object]]:
    """Yield a CSV line per benchmark, measure and candidate.

    The line of perplexity has the difference in nats per token, the others in percentage points of
    the answers.

    Args:
        section: Benchmark -> its results.
        candidates: All candidates, in the order of tables.
    """
    for name, view in section.items():
        for candidate in compared(candidates, view):
            yield _line(name, "perplexity", candidate) | _loss_cells(view, candidate["name"])
        for measure in ADHERENCE:
            for candidate in compared(candidates, view):
                if rate := view["candidates"][candidate["name"]]["adherence"][measure]:
                    change = difference_of(view, candidate["name"], measure)
                    yield _line(name, measure, candidate) | _rate_cells(rate, change)


def _line(benchmark: str, measure: Row, candidate: ListedCandidate) -> dict[str, object]:
    return {
        "benchmark": benchmark,
        "category": measure,
        "candidate": candidate["name"],
        "kind": candidate["kind"],
        "base": candidate["base"],
    }


def _loss_cells(view: HeldOutSection, name: str) -> dict[str, object]:
    own = view["candidates"][name]
    cells: dict[str, object] = {
        "n": own["n"],
        "perplexity": own["perplexity"],
        "bits_per_byte": own["bits_per_byte"],
    }
    if name not in view["differences"]:
        return cells
    change = view["differences"][name]["loss"]
    moved = {"gained": change["improved"], "lost": change["worsened"]}
    return cells | moved | _tested(change)


def _rate_cells(own: Rate, change: DecidedDifference | None) -> dict[str, object]:
    cells: dict[str, object] = {
        "n": own["n"],
        "correct": round(own["n"] * own["rate"]),
        "accuracy": own["rate"],
        "stderr": own["stderr"],
    }
    if change is None:
        return cells
    return cells | {"gained": change["gained"], "lost": change["lost"]} | _tested(change)


def _tested(change: DecidedDifference | LossDifference) -> dict[str, object]:
    low, high = change["interval"] or (None, None)
    return {
        "difference": change["difference"],
        "difference_stderr": change["stderr"],
        "difference_low": low,
        "difference_high": high,
        "p_value": change["p_value"],
        "family": change["family"],
        "p_corrected": change["p_corrected"],
        "verdict": change["verdict"],
        "detectable": change["detectable"],
    }


def markdown(
    section: Mapping[str, HeldOutSection], candidates: Sequence[ListedCandidate]
) -> Iterator[str]:
    """Yield the paragraphs and tables of held-out benchmarks.

    Args:
        section: Benchmark -> its results.
        candidates: All candidates, in the order of tables.
    """
    for name, view in section.items():
        names = [c["name"] for c in compared(candidates, view)]
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


def rows(view: HeldOutSection) -> list[Row]:
    """Return the measures of a table: perplexity, bits per byte, and what can be told."""
    (first, *_) = view["candidates"].values()
    told = [measure for measure in ADHERENCE if first["adherence"][measure]]
    return ["perplexity", "bits_per_byte", *told]


def label(row: Row) -> str:
    """Return the name of a table's row."""
    match row:
        case "perplexity":
            return "Perplexity per token"
        case "bits_per_byte":
            return "Bits per byte"
        case _:
            return f"{ROWS[row]} (%)"


def value(view: HeldOutSection, name: str, row: Row) -> str:
    """Return a candidate's number in a row of the table."""
    own = view["candidates"][name]
    match row:
        case "perplexity" | "bits_per_byte":
            return number(own[row])
        case _:
            return percent(rate_of(own, row)["rate"])


def rate_of(own: HeldOutResult, row: Adherence) -> Rate:
    """Return a rate that a table has a row for: what can be told of one, can be of all."""
    rate = own["adherence"][row]
    assert rate is not None
    return rate


def change_words(view: HeldOutSection, name: str, row: Row) -> str:
    """Return a candidate's difference from its base with its interval, in the unit of the row.

    Nothing for a base, nor for bits per byte, which say what perplexity says.
    """
    match row:
        case "perplexity":
            loss = view["differences"][name]["loss"] if name in view["differences"] else None
            return loss_words(loss) if loss else ""
        case "bits_per_byte":
            return ""
        case _:
            change = difference_of(view, name, row)
            return with_interval(change["difference"], change["interval"]) if change else ""


def loss_words(change: LossDifference) -> str:
    """Return a difference of losses with its interval."""
    return f"{with_interval(change['difference'], change['interval'], decimals=3)} nats"


def difference_of(view: HeldOutSection, name: str, row: Adherence) -> DecidedDifference | None:
    """Return a candidate's difference from its base in a rate; None where it has none."""
    return view["differences"][name][row] if name in view["differences"] else None


def text(view: HeldOutSection, name: str, row: Row) -> str:
    """Return a cell of a table as plain text."""
    change, own = change_words(view, name, row), value(view, name, row)
    return f"{own} ({change}, {decision_words(view, name, row)})" if change else own


def decision_words(view: HeldOutSection, name: str, row: Row) -> str:
    """Return what is decided of a difference; undecided with what would have been shown."""
    match row:
        case "perplexity":
            loss = view["differences"][name]["loss"]
            return verdict_words(loss["verdict"], loss["detectable"], decimals=3)
        case "bits_per_byte":
            return ""
        case _:
            change = difference_of(view, name, row)
            return verdict_words(change["verdict"], change["detectable"]) if change else ""


def sentence(view: HeldOutSection, name: str) -> str:
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
        if found := change[row]:
            one, two = (100 * rate_of(c, row)["rate"] for c in (base, own))
            parts[f"{words} ({one:.0f} → {two:.0f} %)"] = found["verdict"]
    clauses: list[str] = []
    for verdict, opening in _OPENINGS.items():
        if said := [part for part, decided in parts.items() if decided == verdict]:
            # The base is named once.
            than = f" than {change['base']}" if verdict in ("better", "worse") else ""
            clauses.append(f"{opening}{'' if clauses else than} {_LINKS[verdict]} {listed(said)}")
    return f"On the held-out conversations, {name} {'; it '.join(clauses)}."


def listed(items: Sequence[str]) -> str:
    """Return items as English lists them."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def about(view: HeldOutSection) -> str:
    """Say how a held-out set was asked and what its measures mean."""
    first = next(iter(view["candidates"].values()))
    protocol = view["protocol"]
    forms = listed(view["forms"]) if view["forms"] else "none that a program can check"
    parts = [
        f"{first['n']:,} held-out conversations ({view['split']} split)",
        template_words(protocol),
        str(protocol["dtype"]),
        f"greedy answers of at most {protocol['max_new_tokens']} tokens",
    ]
    if protocol["limit"] is not None:
        parts.append(f"only the first {protocol['limit']}")
    return (
        f"{', '.join(parts)}. Perplexity and bits per byte are of the reference answers with the"
        " end of their turn, over tokens and bytes (micro averages): less is better; the difference"
        " is in nats per token. Differences have 95 % intervals; the loss is decided alone, the"
        f" others together (Holm). {UNDECIDED}. Form that all reference answers share: {forms}."
    )


def number(value: float) -> str:
    """Return a perplexity or a number of bits with three digits or more."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" if value >= 100 else f"{value:.2f}"


def compared(candidates: Sequence[ListedCandidate], view: HeldOutSection) -> list[ListedCandidate]:
    """Return the candidates that a benchmark has results of."""
    return [c for c in candidates if c["name"] in view["candidates"]]
