"""What is to be said of candidates that do not read alike, or are not merged."""

from collections.abc import Iterator, Mapping, Sequence

from scripts.lib.score.documents import Note


def marker_notes(markers: Mapping[str, Mapping[str, int]]) -> Iterator[Note]:
    """Yield who reads control tokens of the template as ordinary characters.

    Args:
        markers: Candidate -> control token that its tokenizer reads as several -> their number.
    """
    readers: dict[str, list[str]] = {}
    for name, split in markers.items():
        if split:
            words = (f"{marker} ({count} tokens)" for marker, count in sorted(split.items()))
            readers.setdefault(" and ".join(words), []).append(name)
    for words_of_all, names in readers.items():
        text = (
            f"Read as ordinary characters by {', '.join(names)}: {words_of_all}. The tokenizer has"
            " no such control tokens, as the chat template was not made for it."
        )
        yield {"code": "split_markers", "text": text}


def control_text_note(counts: Mapping[str, int]) -> Iterator[Note]:
    """Yield a note where questions spell control tokens that a tokenizer reads as such.

    Args:
        counts: Candidate -> number of such questions.
    """
    if found := {name: count for name, count in counts.items() if count}:
        listed = ", ".join(f"{name} {count:,}" for name, count in found.items())
        text = (
            f"Questions whose own text spells control tokens of the model: {listed}. They are read"
            " as such here, as lm-eval encodes a prompt as a whole; training reads such text as"
            " text."
        )
        yield {"code": "control_text", "text": text}


def differing_note(base: str, run: str, differing: int, asked: int) -> Iterator[Note]:
    """Yield a note where a base and what was tuned from it read other tokens.

    Args:
        base: Name of the base.
        run: Name of the tuned model.
        differing: In how many questions they do.
        asked: How many they were asked.
    """
    if differing:
        text = (
            f"{run} and its base {base} read the same text as different tokens in {differing:,} of"
            f" {asked:,} questions, so what lies between them is not the training alone."
        )
        yield {"code": "tokens_differ", "text": text}


def other_prompts_note(base: str, other: str, differing: int, asked: int) -> Iterator[Note]:
    """Yield a note where a candidate was asked through another chat template than its base.

    Args:
        base: Name of the base.
        other: Name of the candidate.
        differing: How many prompts its template writes otherwise.
        asked: How many it was asked.
    """
    if differing:
        text = (
            f"{other} and its base {base} were each asked through a chat template of its own, and"
            f" {differing:,} of {asked:,} prompts differ: the difference is that of model and"
            " template together. `template` of both decides."
        )
        yield {"code": "prompts_differ", "text": text}


def other_reading_note(base: str, other: str, differing: int, asked: int) -> Iterator[Note]:
    """Yield a note where a candidate with a template of its own was asked in other tokens.

    Args:
        base: Name of the base.
        other: Name of the candidate.
        differing: In how many prompts its tokens are others.
        asked: How many it was asked.
    """
    if differing:
        text = (
            f"{other} and its base {base} were each asked through a chat template and a tokenizer"
            f" of its own, and {differing:,} of {asked:,} prompts were other tokens: the difference"
            " is that of model and template together."
        )
        yield {"code": "prompts_differ", "text": text}


def unmerged_note(names: Sequence[str]) -> Iterator[Note]:
    """Yield a note on the candidates whose model and adapter were scored side by side."""
    if names:
        text = (
            f"Not merged: {', '.join(names)}. Model and adapter were scored side by side; a merged"
            " model rounds its weights and may answer a little differently."
        )
        yield {"code": "unmerged", "text": text}
