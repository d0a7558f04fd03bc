"""What several seeds tell as sentences, CSV lines and Markdown."""

from collections.abc import Iterator, Mapping
from typing import Literal

from scripts.lib.compare.document import Comparison, SeedEffect, SeedPair
from scripts.lib.compare.wording import signed

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DECIMALS: Mapping[Literal["points", "nats"], int] = {"points": 1, "nats": 3}

METHOD = (
    "The interval (at least 95 %) counts both other questions and other seeds; the spread between"
    " seeds is the standard deviation of one training's difference. No seed is picked: the mean is"
    " what another training can be expected to give, the best of several is partly luck."
)
"""How the figures are to be read."""


def effect_words(effect: SeedEffect, unit: str) -> str:
    """Say what several seeds gave on average, and how much the seed alone moved it.

    Args:
        effect: The mean effect.
        unit: From `unit_words`.

    Example: `+2.1 points on average (95 % interval +0.9 to +3.3), seeds alone moved it by 0.8 (from
    +1.3 to +2.9)`.
    """
    low, high = (number(end, effect) for end in effect["seed_range"])
    spread = f"{effect['seed_sd']:.{_DECIMALS[effect['unit']]}f}"
    moved = f"seeds alone moved it by {spread} (from {low} to {high})"
    if not effect["seed_sd"]:
        moved = "all seeds gave the same"
    mean = f"{number(effect['difference'], effect)} {unit} on average"
    return f"{mean}{interval_words(effect)}, {moved}"


def pair_words(pair: SeedPair, unit: str) -> str:
    """Say whether two runs or groups differ by more than what another seed gives.

    Args:
        pair: The two.
        unit: From `unit_words`.
    """
    one, other = pair["one"], pair["other"]
    decimals = _DECIMALS[pair["unit"]]
    apart, limit = (f"{abs(pair[key]):.{decimals}f}" for key in ("difference", "limit"))
    if not pair["difference"]:
        return f"{one} and {other} do not differ on average."
    if pair["within_seeds"]:
        said = f"The {apart} {unit} between {one} and {other} are within what another seed gives"
        said += f" (up to {limit})."
    else:
        place = "above" if pair["difference"] > 0 else "below"
        said = f"{one} lies {apart} {unit} {place} {other}{interval_words(pair)}: more than another"
        said += f" seed gives ({limit})."
    if {one, other}.isdisjoint(pair["spread_of"]):
        said += (
            f" That is told by the seeds of {' and '.join(pair['spread_of'])}, on the same model"
            " and data; with other settings seeds may matter more or less."
        )
    return said


def number(value: float, of: SeedEffect | SeedPair, *, more: int = 0) -> str:
    """Return a difference with its sign, in the decimals of its unit and some *more*."""
    return signed(value, decimals=_DECIMALS[of["unit"]] + more)


def interval_words(of: SeedEffect | SeedPair, *, more: int = 0) -> str:
    """Return an interval in brackets, or nothing where there is none."""
    if of["interval"] is None:
        return ""
    low, high = (number(end, of, more=more) for end in of["interval"])
    return f" (95 % interval {low} to {high})"


def counted(count: int) -> str:
    """Return a small number as a word."""
    return _NUMBERS[count] if count < len(_NUMBERS) else str(count)


def unit_words(document: Comparison, benchmark: str, unit: Literal["points", "nats"]) -> str:
    """Return the unit of a benchmark's differences in words."""
    if unit == "nats":
        return "nats per token"
    return "points of win rate" if benchmark in document["judged"] else "points"


def seed_rows(document: Comparison) -> Iterator[dict[str, object]]:
    """Yield a CSV line per benchmark, group, and category or measure."""
    for benchmark, found in document["seeds"].items():
        for group, effects in found["effects"].items():
            for label, effect in effects.items():
                low, high = effect["interval"] or (None, None)
                yield {
                    "benchmark": benchmark,
                    "category": label,
                    "candidate": group,
                    "kind": "seeds",
                    "base": document["groups"][group]["base"],
                    "n": effect["n"],
                    "difference": effect["difference"],
                    "difference_stderr": effect["question_stderr"],
                    "p_value": effect["p_value"],
                    "family": effect["family"],
                    "p_corrected": effect["p_corrected"],
                    "verdict": effect["verdict"],
                    "seeds": effect["seeds"],
                    "seed_sd": effect["seed_sd"],
                    "difference_low": low,
                    "difference_high": high,
                }


def seed_markdown(document: Comparison) -> Iterator[str]:
    """Yield the part of `comparison.md` on several seeds; nothing without groups."""
    if not document["groups"]:
        return
    escaped = r"\|"
    yield "## Several seeds\n"
    for name, group in document["groups"].items():
        yield f"{name} stands for {', '.join(group['members'])}.\n"
    yield f"{METHOD}\n"
    yield "| Benchmark | Run | Mean difference | Between seeds | Over questions |"
    yield f"|:---|:---|{'---:|' * 3}"
    for benchmark, found in document["seeds"].items():
        for run, effects in found["effects"].items():
            for label, effect in effects.items():
                row = (f"{benchmark}, {label}", run, *cells(effect))
                yield f"| {' | '.join(cell.replace('|', escaped) for cell in row)} |"
    yield ""
    for benchmark, found in document["seeds"].items():
        for pair in found["pairs"]:
            words = pair_words(pair, unit_words(document, benchmark, pair["unit"]))
            yield f"{benchmark}: {words}\n"


def cells(effect: SeedEffect) -> tuple[str, str, str]:
    """Return a mean with its interval, the spread between seeds, and that over questions."""
    decimals = _DECIMALS[effect["unit"]] + 1
    low, high = (number(end, effect, more=1) for end in effect["seed_range"])
    stderr = effect["question_stderr"]
    return (
        f"{number(effect['difference'], effect, more=1)}{interval_words(effect, more=1)}",
        f"{effect['seed_sd']:.{decimals}f} ({low} to {high}, {effect['seeds']} seeds)",
        "" if stderr is None else f"± {stderr:.{decimals}f}",
    )
