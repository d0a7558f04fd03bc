"""What is to be said of the conversations and prompts that a benchmark asked, or left out."""

from collections.abc import Iterator

from scripts.lib.compare.wording import bad_row_words
from scripts.lib.score.documents import Note, ScoreProtocol


def split_notes(split: str | None) -> Iterator[Note]:
    """Yield what is to be said where runs may have seen how they do on what is asked."""
    if split == "valid":
        text = (
            "These conversations are the valid split: no run was trained on them, but a run may "
            "have been evaluated or stopped early on them, which flatters it. A test split is "
            "stricter."
        )
        yield {"code": "valid_split", "text": text}


def left_out_notes(protocol: ScoreProtocol) -> Iterator[Note]:
    """Yield what is to be said where conversations were too long to be asked, or no prompts."""
    if count := protocol.get("left_out"):
        text = f"Left out, as longer than the model's context with an answer: {count:,}."
        yield {"code": "left_out", "text": text}
    if unasked := protocol.get("not_asked"):
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(unasked.items()))
        text = (
            f"Left out, as the chat template cannot ask them: {sum(unasked.values()):,}"
            f" ({reasons}); training leaves such conversations out, too."
        )
        yield {"code": "not_asked", "text": text}
    for words in bad_row_words(protocol):
        yield {"code": "bad_rows", "text": f"{words}."}
