"""What the card of a published model says of judged pairs."""

from collections.abc import Iterator, Mapping

from scripts.lib.benchmarks.judged_pairs.document import JudgedSection, PairFigures, answers_of
from scripts.lib.benchmarks.judged_pairs.tables import proportion_words, with_interval
from scripts.lib.report.card_results import markdown_table

OPENING = (
    "## Judged pairs\n\nThe model's answers beside its base's, each pair judged in both orders;"
    " rates in % with 95 % intervals, ties counted half."
)

_HEADER = ("prompts", "n", "wins", "losses", "ties", "win rate", "to the first place")


def tables(section: Mapping[str, JudgedSection], name: str) -> Iterator[str]:
    """Yield what each benchmark says of a model, of those where it was judged.

    Args:
        section: Benchmark -> its results.
        name: The model's name in the comparison.
    """
    for benchmark, judged in section.items():
        found = judged["candidates"].get(name)
        if found is None:
            continue
        parts: dict[str, PairFigures] = {"all": found, **found["categories"]}
        rows = [_row(part, figures) for part, figures in parts.items()]
        notes = [note["text"] for note in found["notes"]]
        blocks = [f"### {benchmark}", _judge_words(judged), *notes, markdown_table(_HEADER, rows)]
        yield "\n\n".join(blocks)


def _row(part: str, found: PairFigures) -> tuple[str, ...]:
    counts = (found["n"], found["wins"], found["losses"], found["ties"])
    return (
        part,
        *(f"{count:,}" for count in counts),
        with_interval(found["win_rate"], found["interval"]),
        proportion_words(found["first_place"]),
    )


def _judge_words(section: JudgedSection) -> str:
    judge, answers = section["judge"], answers_of(section)
    told = "" if judge["criteria"] is None else f" It was told: {judge['criteria']}"
    return (
        f"Judged by {judge['model']}; greedy answers of at most {answers['max_new_tokens']}"
        f" tokens, {answers['dtype']}.{told}"
    )
