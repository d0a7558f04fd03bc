"""What is to be said where one text is not the same tokens to every model."""

from collections.abc import Iterator, Mapping

from scripts.lib.score.files import SPLIT_MARKERS

Note = dict[str, str]


def other_tokens(base: Mapping[str, str], run: Mapping[str, str]) -> int:
    """Return how many questions two models read as different tokens.

    Args:
        base: Question -> hash of its prompt's tokens, as one model reads them.
        run: Likewise for the other, which was asked the same texts.
    """
    return sum(base[question] != read for question, read in run.items())


def split_notes(protocols: Mapping[str, Mapping[str, object]]) -> Iterator[Note]:
    """Yield who reads control tokens of the template as ordinary characters.

    Args:
        protocols: Candidate -> protocol of its scores.
    """
    readers: dict[str, list[str]] = {}
    for name, protocol in protocols.items():
        if words := _markers(protocol):
            readers.setdefault(words, []).append(name)
    for words, names in readers.items():
        text = (
            f"Read as ordinary characters by {', '.join(names)}: {words}. The tokenizer has no such"
            " control tokens, as the chat template was not made for it."
        )
        yield {"code": "split_markers", "text": text}


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


def _markers(protocol: Mapping[str, object]) -> str:
    split = protocol.get(SPLIT_MARKERS)
    if not isinstance(split, Mapping):
        return ""
    return " and ".join(f"{marker} ({count} tokens)" for marker, count in sorted(split.items()))
