"""What the report says of judged pairs: who was preferred, how sure that is, and a few examples."""

from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import TypedDict

from scripts.lib.benchmarks.judged_pairs.document import (
    JudgedSection,
    PairFigures,
    Proportion,
    answers_of,
)
from scripts.lib.compare.document import ListedCandidate
from scripts.lib.compare.headline import listed
from scripts.lib.compare.wording import percent, size_words, template_words
from scripts.lib.report.folded import Effects, Folded, spread_words
from scripts.lib.report.scores import Answer, Mark, decided_words, verdict_mark

EXAMPLE_CHARACTERS = 1200
"""Of a text in an example; what is longer is cut where a mark says so."""


class Share(TypedDict):
    """A rate in % and its interval, in words."""

    rate: str
    interval: str


class RowView(TypedDict):
    """A row of the table: a tuned model, or one of its categories."""

    who: str
    total: bool
    prompts: str
    wins: str
    losses: str
    ties: str
    equal: str
    rate: str
    interval: str
    p: str
    verdict: Mark
    size: str
    first: Share
    same: Share


class ExampleView(TypedDict):
    """One judged prompt with both answers."""

    title: str
    verdicts: str
    texts: list[tuple[str, str]]


class MeanView(TypedDict):
    """The win rate of a run with seeds, over all of these."""

    who: str
    prompts: str
    rate: str
    interval: str
    spread: str
    verdict: Mark


class FoldedView(TypedDict):
    """The trainings of a run with seeds."""

    title: str
    rows: list[RowView]


class View(TypedDict):
    """The table and the examples of one benchmark."""

    name: str
    protocol: str
    notes: list[str]
    means: list[MeanView]
    rows: list[RowView]
    folded: list[FoldedView]
    examples: list[ExampleView]


_WORDS = {
    "better": "{run} is preferred to {base} on {name}.",
    "worse": "{base} is preferred to {run} on {name}.",
    "undecided": "On {name} the judge has no decided preference between {run} and {base}.",
    "unchanged": "{run} answers {name} exactly as {base} does.",
}


def template() -> str:
    """Return the section as a Jinja template, included by that of the page."""
    return Path(__file__).with_name("report.html.jinja").read_text(encoding="utf-8")


def answers(section: Mapping[str, JudgedSection], folded: Folded) -> list[Answer]:
    """Return for each judged run one sentence in words and one in numbers.

    Args:
        section: Benchmark -> its results.
        folded: Who is summed up elsewhere.
    """
    return [
        {
            "words": _WORDS[found["verdict"]].format(run=run, base=found["base"], name=name),
            "numbers": f"{name}: {found['wins']:,} wins, {found['losses']:,} losses and"
            f" {found['ties']:,} ties, win rate {_percent(found['win_rate'])} %"
            f" ({_interval(found['interval'])}).",
        }
        for name, benchmark in section.items()
        for members in [folded.members(name)]
        for run, found in benchmark["candidates"].items()
        if run not in members
    ]


def notes(section: Mapping[str, JudgedSection]) -> Iterator[str]:
    """Yield what has to be known before the tables are read."""
    for name, benchmark in section.items():
        yield from (f"{name}, {note}" for note in _notes(benchmark))


def comparisons(section: Mapping[str, JudgedSection]) -> int:
    """Return how many differences were tested."""
    return sum(
        1 + len(found["categories"])
        for benchmark in section.values()
        for found in benchmark["candidates"].values()
    )


def _notes(benchmark: JudgedSection) -> list[str]:
    """Return notes on candidates, each once with the names of those whom it is about."""
    about: dict[str, list[str]] = {}
    for name, found in benchmark["candidates"].items():
        for note in found["notes"]:
            about.setdefault(note["text"], []).append(name)
    return [f"{listed(names)}: {text}" for text, names in about.items()]


def views(
    section: Mapping[str, JudgedSection],
    candidates: Sequence[ListedCandidate],
    folded: Folded,
) -> list[View]:
    """Return the table and the examples of each benchmark on which somebody was judged.

    Args:
        section: Benchmark -> its results.
        candidates: All candidates; the section names those that were judged.
        folded: Who stands in one line.
    """
    return [
        {
            "name": name,
            "protocol": protocol_sentence(benchmark),
            "notes": _notes(benchmark),
            "rows": list(_rows(benchmark, folded.members(name))),
            "means": [
                _mean_row(group, folded.groups[group]["base"], effects)
                for group, effects in folded.on(name).items()
            ],
            "folded": [
                {
                    "title": folded.title(group),
                    "rows": list(
                        _rows(benchmark, benchmark["candidates"].keys() - {*found["members"]})
                    ),
                }
                for group, found in folded.groups.items()
                if group in folded.on(name)
            ],
            "examples": list(_examples(benchmark)),
        }
        for name, benchmark in section.items()
        if benchmark["candidates"]
    ]


def protocol_sentence(benchmark: JudgedSection) -> str:
    """Say who judged what, by what, and how the figures are to be read."""
    judge, answers = benchmark["judge"], answers_of(benchmark)
    who = (
        f"{judge['model']} at {judge['endpoint']}"
        if judge["kind"] == "endpoint"
        else f"a local model ({judge['model']}, {judge['dtype']}, files {judge['content'][:12]})"
    )
    asked = f"{template_words(answers)}, " if answers.get("template_arguments") else ""
    first = "" if answers["limit"] is None else f"only the first {answers['limit']} prompts; "
    told = "" if judge["criteria"] is None else f" It was told: {judge['criteria']}"
    return (
        f"Greedy answers of at most {answers['max_new_tokens']} tokens, {asked}{answers['dtype']};"
        f" {first}judged by {who}, each pair in both orders. A win needs both orders, or one and a"
        " tie. The interval is Tango's score interval (95 %), p the exact sign test of wins against"
        f" losses.{told}"
    )


def _mean_row(group: str, base: str, effects: Effects) -> MeanView:
    """Return the line of a run with seeds: its win rate over all of them."""
    effect = next(iter(effects.values()))
    rates = effect["interval"]
    return {
        "who": f"{group} against {base}, mean of {effect['seeds']} seeds",
        "prompts": f"{effect['n']:,} prompts",
        "rate": f"{50 + effect['difference']:.2f}",
        "interval": "" if rates is None else f"{50 + rates[0]:.2f} to {50 + rates[1]:.2f}",
        "spread": spread_words(effect),
        "verdict": verdict_mark(effect["verdict"]),
    }


def _rows(benchmark: JudgedSection, without: Set[str]) -> Iterator[RowView]:
    for run, found in benchmark["candidates"].items():
        if run in without:
            continue
        yield _row(f"{run} against {found['base']}", found, total=True)
        for category, part in found["categories"].items():
            yield _row(category, part, total=False)


def _row(who: str, found: PairFigures, *, total: bool) -> RowView:
    unreadable = f", {found['unreadable']:,} replies unreadable" if found["unreadable"] else ""
    return {
        "who": who,
        "total": total,
        "prompts": f"{found['n']:,} prompts{unreadable}",
        "wins": f"{found['wins']:,}",
        "losses": f"{found['losses']:,}",
        "ties": f"{found['ties']:,}",
        "equal": f"{found['equal']:,} answered alike" if found["equal"] else "",
        "rate": _percent(found["win_rate"]),
        "interval": _interval(found["interval"]),
        "p": decided_words(found),
        "size": size_words(found["verdict"], found["detectable"]),
        "verdict": verdict_mark(found["verdict"]),
        "first": _share(found["first_place"]),
        "same": _share(found["consistency"]),
    }


def _share(found: Proportion) -> Share:
    return {"rate": _percent(found["rate"]), "interval": _interval(found["interval"])}


def _percent(fraction: float | None) -> str:
    return "none" if fraction is None else percent(fraction)


def _interval(interval: Sequence[float] | None) -> str:
    if interval is None:
        return ""
    low, high = interval
    return f"{percent(low)} to {percent(high)}"


def _examples(benchmark: JudgedSection) -> Iterator[ExampleView]:
    words = {"A": "the first", "B": "the second", "C": "neither", None: "nothing readable"}
    for run, found in benchmark["candidates"].items():
        base = found["base"]
        for example in found["examples"]:
            decision = {"win": f"{run} wins", "loss": f"{base} wins", "tie": "Tie"}
            yield {
                "title": f"{decision[example['decision']]}: {example['prompt_id']}",
                "verdicts": f"{base} first: {words[example['base_first']]}; {run} first:"
                f" {words[example['run_first']]}",
                "texts": [
                    ("Prompt", _cut(example["request"])),
                    (base, _cut(example["base"])),
                    (run, _cut(example["run"])),
                ],
            }


def _cut(text: str) -> str:
    if len(text) <= EXAMPLE_CHARACTERS:
        return text
    rest = len(text) - EXAMPLE_CHARACTERS
    return f"{text[:EXAMPLE_CHARACTERS]} [... {rest:,} characters more]"
