"""What a comparison says of one tuned model, as sections of its published card.

A card is for everybody: it names no run of the configuration and no address of a judging service.
"""

from collections.abc import Iterator, Sequence

from scripts.lib.compare.contamination_words import told_of
from scripts.lib.compare.document import Comparison, parts_of, sections
from scripts.lib.compare.wording import percent, protocol_words, with_interval

_OPENING = (
    "## Scores\n\nAccuracy in %, beside the base on the same questions; the difference in"
    " percentage points with the 95 % interval of the paired difference."
)


def results(document: Comparison, name: str) -> Iterator[str]:
    """Yield the sections on a model's results beside its base; none where nothing was measured.

    Args:
        document: A parsed `comparison.json`.
        name: The candidate's name there.
    """
    found = sections(document)
    if scores := list(_scores(document, name)):
        yield from (_OPENING, *scores)
    for section, part in parts_of("publish", found).items():
        if tables := list(part.tables(found[section], name)):
            yield from (part.OPENING, *tables)
    contamination = document["contamination"]
    told = [
        f"- {benchmark}: {words}"
        for benchmark, _, words in told_of(name, contamination, document["benchmarks"])
    ]
    if told:
        method = f"\n\n{contamination['method']}." if contamination["method"] else ""
        yield "## Questions in the training rows\n\n" + "\n".join(told) + method


def _scores(document: Comparison, name: str) -> Iterator[str]:
    for benchmark, found in document["benchmarks"].items():
        rows = []
        for category, change in found["differences"][name].items():
            base = found["candidates"][change["base"]][category]
            own = found["candidates"][name][category]
            difference = with_interval(change["difference"], change["interval"])
            scores = (percent(base["accuracy"]), percent(own["accuracy"]))
            rows.append((category, f"{own['n']:,}", *scores, difference))
        header = ("category", "questions", "base", "this model", "difference")
        words = protocol_words(found["protocol"])
        yield f"### {benchmark}\n\n{words}.\n\n{markdown_table(header, rows)}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; what stands in a cell ends neither cell nor line."""
    lines = [header, [":---", *["---:"] * (len(header) - 1)], *rows]
    cells = ([" ".join(cell.split()).replace("|", r"\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
