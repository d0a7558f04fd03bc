"""What the card of a published model says of held-out conversations."""

from collections.abc import Iterator, Mapping

from scripts.lib.benchmarks.held_out import tables as held_out
from scripts.lib.benchmarks.held_out.document import HeldOutSection
from scripts.lib.report.card_results import markdown_table

OPENING = (
    "## Held-out conversations\n\nOf the data that the model was trained for, beside the base on"
    " the same conversations; differences with their 95 % intervals."
)

# Notes that name no candidate.
_NOTES = ("valid_split", "left_out", "references_over_limit")


def tables(section: Mapping[str, HeldOutSection], name: str) -> Iterator[str]:
    """Yield what each benchmark says of a model.

    Args:
        section: Benchmark -> its results.
        name: The model's name in the comparison.
    """
    for benchmark, found in section.items():
        base = found["differences"][name]["base"]
        rows = [
            (
                held_out.label(row),
                *(held_out.value(found, one, row) for one in (base, name)),
                held_out.change_words(found, name, row),
            )
            for row in held_out.rows(found)
        ]
        table = markdown_table(("measure", "base", "this model", "difference"), rows)
        notes = [note["text"] for note in found["notes"] if note["code"] in _NOTES]
        yield "\n\n".join([f"### {benchmark}", held_out.about(found), *notes, table])
