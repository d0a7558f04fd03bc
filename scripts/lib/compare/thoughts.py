"""What is to be said of thoughts: those that a prompt opened, and those that were left open.

A letter is scored behind a thought that was closed, and a generated answer is judged by what stands
behind its thought; an answer that never left it is judged as an empty one.
"""

import json
from collections.abc import Iterator, Mapping

from scripts.lib.score.documents import Note, OwnProtocol, Thoughts


def thoughts_of(protocols: Mapping[str, OwnProtocol]) -> dict[str, Thoughts]:
    """Return candidate -> what became of the thoughts in its answers, of those that had any.

    Args:
        protocols: Candidate -> how it was asked.
    """
    return {name: one["thoughts"] for name, one in protocols.items() if "thoughts" in one}


def thought_notes(protocols: Mapping[str, OwnProtocol]) -> Iterator[Note]:
    """Yield what closed the thoughts that templates open, and how many were left open.

    Args:
        protocols: Candidate -> how it was asked.
    """
    by_closing: dict[str, list[str]] = {}
    for name, protocol in protocols.items():
        for closing in protocol.get("closed_thoughts", {}):
            by_closing.setdefault(closing, []).append(name)
    for closing, names in by_closing.items():
        text = (
            f"The chat template of {', '.join(names)} opens a thought in front of the answer. It"
            f" was closed by {json.dumps(closing)}, as for an answer without a thought, before"
            " anything was scored behind it."
        )
        yield {"code": "closed_thoughts", "text": text}
    yield from open_thoughts_note({name: p.get("thoughts") for name, p in protocols.items()})


def open_thoughts_note(thoughts: Mapping[str, Thoughts | None]) -> Iterator[Note]:
    """Yield a note where answers ended or were cut inside a thought.

    Args:
        thoughts: Candidate -> what became of its thoughts; None where it had none.
    """
    if any(one and one["open"] for one in thoughts.values()):
        listed = ", ".join(
            f"{name} {one['open']:,} of {one['answers']:,}" if one else f"{name} none"
            for name, one in thoughts.items()
        )
        text = (
            f"Answers that ended or were cut inside a thought: {listed}. Nothing stands behind it,"
            " so they are judged as empty (lm-eval's tasks on plain text judge the thought); see"
            " `max_new_tokens`."
        )
        yield {"code": "open_thoughts", "text": text}
