"""Texts as words, so that case, punctuation, white space and Unicode forms do not tell them apart.

The words of GPT-3's analysis of contamination (Brown et al., Language Models are Few-Shot Learners,
arXiv:2005.14165, appendix C): "ignoring all punctuation, whitespace, and casing". Beyond it, text
is NFKC first, and of scripts that put no space between words each character is a word.
"""

import functools
import re
import sys
import unicodedata

# Thai, Lao, Tibetan, Burmese and Khmer; kana; ideographs with their extensions.
_UNSPACED = (
    *((0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x31F0, 0x31FF)),
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
)
_LAST = 0x323AF
"""No letter lies behind the last ideograph."""

_ASCII = {code: None if chr(code).isalnum() else " " for code in range(128)}
_ASCII = {code: " " for code, space in _ASCII.items() if space}


def words(text: str) -> list[str]:
    """Return the words of a text: its runs of letters, marks and digits, case folded.

    Example: `What's 2+2?` has the words what, s, 2, 2.
    """
    if text.isascii():
        return text.lower().translate(_ASCII).split()
    folded = unicodedata.normalize("NFKC", text).casefold()
    folded = unicodedata.normalize("NFKC", folded)
    # Soft hyphens, joiners and the like are seen by nobody.
    return _pattern().findall(_invisible().sub("", folded))


def spans(text: str) -> list[tuple[int, int]]:
    """Return where the words of a text begin and end, as far as it is as it is read."""
    return [match.span() for match in _pattern().finditer(text)]


@functools.cache
def _pattern() -> re.Pattern[str]:
    marks = [code for code in range(_LAST + 1) if unicodedata.category(chr(code))[0] == "M"]
    letters = [code for code in range(_LAST + 1) if unicodedata.category(chr(code))[0] in "LN"]
    unspaced = {code for code in letters if any(low <= code <= high for low, high in _UNSPACED)}
    spaced = sorted({*letters, *marks} - unspaced)
    single = f"[{_ranges(sorted(unspaced))}][{_ranges(marks)}]*"
    return re.compile(f"{single}|[{_ranges(spaced)}]+")


@functools.cache
def _invisible() -> re.Pattern[str]:
    codes = [code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Cf"]
    return re.compile(f"[{_ranges(codes)}]")


def _ranges(codes: list[int]) -> str:
    """Return what stands for ascending code points between the brackets of a pattern."""
    parts: list[list[int]] = []
    for code in codes:
        if parts and parts[-1][1] == code - 1:
            parts[-1][1] = code
        else:
            parts.append([code, code])
    return "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in parts)
