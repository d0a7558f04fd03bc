"""What is to be said of the conversations and prompts that a benchmark asked, or left out."""

from collections.abc import Iterator, Mapping
from typing import Any

from scripts.lib.compare.wording import bad_row_words
from scripts.lib.score.files import LEFT_OUT


def split_notes(split: str | None) -> Iterator[dict[str, str]]:
    """Yield what is to be said where runs may have seen how they do on what is asked."""
    if split == "valid":
        text = (
            "These conversations are the valid split: no run was trained on them, but a run may "
            "have been evaluated or stopped early on them, which flatters it. A test split is "
            "stricter."
        )
        yield {"code": "valid_split", "text": text}


def left_out_notes(protocol: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Yield what is to be said where conversations were too long to be asked, or no prompts."""
    if count := protocol.get(LEFT_OUT):
        text = f"Left out, as longer than the model's context with an answer: {count:,}."
        yield {"code": "left_out", "text": text}
    for words in bad_row_words(protocol):
        yield {"code": "bad_rows", "text": f"{words}."}
