"""What a comparison says of one tuned model, as sections of its published card.

A card is for everybody: it names no run of the configuration and no address of a judging service.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scripts.lib.benchmarks.held_out import tables as held_out_tables
from scripts.lib.benchmarks.judged_pairs.tables import with_interval
from scripts.lib.compare.wording import percent, plus_minus, protocol_words, signed

_HELD_OUT_NOTES = ("valid_split", "left_out", "references_over_limit")


def results(document: Mapping[str, Any], name: str) -> Iterator[str]:
    """Yield the sections on a model's results beside its base; none where nothing was measured.

    Args:
        document: A parsed `comparison.json`.
        name: The candidate's name there.
    """
    sections = {
        "## Scores\n\nAccuracy in %, beside the base on the same questions; the difference in"
        " percentage points ± one standard error of the paired differences.": _scores,
        "## Held-out conversations\n\nOf the data that the model was trained for, beside the base"
        " on the same conversations; differences ± one standard error.": _held_out,
        "## Judged pairs\n\nThe model's answers beside its base's, each pair judged in both orders;"
        " rates in % with 95 % intervals, ties counted half.": _judged,
    }
    for opening, tables in sections.items():
        if found := list(tables(document, name)):
            yield from (opening, *found)


def _scores(document: Mapping[str, Any], name: str) -> Iterator[str]:
    for benchmark, found in document["benchmarks"].items():
        rows = []
        for category, change in found["differences"][name].items():
            base = found["candidates"][change["base"]][category]
            own = found["candidates"][name][category]
            difference = f"{signed(change['difference'])}{plus_minus(change['stderr'])}"
            scores = (percent(base["accuracy"]), percent(own["accuracy"]))
            rows.append((category, f"{own['n']:,}", *scores, difference))
        header = ("category", "questions", "base", "this model", "difference")
        yield f"### {benchmark}\n\n{protocol_words(found['protocol'])}.\n\n{_table(header, rows)}"


def _held_out(document: Mapping[str, Any], name: str) -> Iterator[str]:
    for benchmark, found in document["held_out"].items():
        base = found["differences"][name]["base"]
        rows = []
        for row in held_out_tables.rows(found):
            change = held_out_tables.change_of(found, name, row)
            difference = held_out_tables.change_words(row, change) if change else ""
            values = (held_out_tables.value(found, one, row) for one in (base, name))
            rows.append((held_out_tables.label(row), *values, difference))
        table = _table(("measure", "base", "this model", "difference"), rows)
        notes = [n["text"] for n in found["notes"] if n["code"] in _HELD_OUT_NOTES]
        yield "\n\n".join([f"### {benchmark}", held_out_tables.about(found), *notes, table])


def _judged(document: Mapping[str, Any], name: str) -> Iterator[str]:
    for benchmark, section in document["judged"].items():
        found = section["candidates"].get(name)
        if found is None:
            continue
        parts = {"all": found, **found["categories"]}
        header = ("prompts", "n", "wins", "losses", "ties", "win rate", "to the first place")
        rows = [
            (
                part,
                *(f"{figures[key]:,}" for key in ("n", "wins", "losses", "ties")),
                with_interval(figures),
                with_interval(figures["first_place"]),
            )
            for part, figures in parts.items()
        ]
        notes = [note["text"] for note in found["notes"]]
        blocks = [f"### {benchmark}", _judge_words(section), *notes, _table(header, rows)]
        yield "\n\n".join(blocks)


def _judge_words(section: Mapping[str, Any]) -> str:
    judge, answers = section["judge"], section["answers"]
    told = "" if judge["criteria"] is None else f" It was told: {judge['criteria']}"
    return (
        f"Judged by {judge['model']}; greedy answers of at most {answers['max_new_tokens']}"
        f" tokens, {answers['dtype']}.{told}"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; what stands in a cell ends neither cell nor line."""
    lines = [header, [":---", *["---:"] * (len(header) - 1)], *rows]
    cells = ([" ".join(cell.split()).replace("|", r"\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
