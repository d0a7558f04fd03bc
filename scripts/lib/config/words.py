"""What words of other tools for fine-tuning and scoring mean here: the form of the tables.

The tables are the one source of what is said of an unknown key, and of docs/words.md. Words are
spelt as their tools spell them: TRL 1.16 with transformers 5, PEFT 0.21, LLaMA-Factory 0.9.5,
Axolotl 0.19, lighteval 0.13, lm-eval 0.4, and as earlier versions did.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Tool: TypeAlias = Literal["hf", "trl", "peft", "llamafactory", "axolotl", "lighteval", "lm_eval"]

TOOLS: Mapping[Tool, str] = {
    "hf": "TRL, LLaMA-Factory",
    "trl": "TRL",
    "peft": "PEFT",
    "llamafactory": "LLaMA-Factory",
    "axolotl": "Axolotl",
    "lighteval": "lighteval",
    "lm_eval": "lm-eval",
}
"""What people call them; `hf` stands for transformers' TrainingArguments, which two have."""

Section: TypeAlias = Literal["models", "datasets", "runs", "benchmarks", "tracking"]


@dataclass(frozen=True)
class Meaning:
    """What some words of other tools are here.

    Attributes:
        words: Tool -> its words.
        section: The part of a configuration that they belong to.
        key: What to write, below an entry of that part; None where there is nothing to write.
        text: How the value goes over; or why there is nothing to write.
    """

    words: Mapping[Tool, tuple[str, ...]]
    section: Section
    key: str | None
    text: str

    @property
    def all_words(self) -> tuple[str, ...]:
        """Every word once."""
        return tuple(dict.fromkeys(word for words in self.words.values() for word in words))


def to(section: Section, key: str, text: str = "", **words: str) -> Meaning:
    """Return that words mean *key*; those of a tool stand in one text, with spaces between."""
    return Meaning(_split(words), section, key, text)


def no(section: Section, text: str, **words: str) -> Meaning:
    """Return that there is nothing to write for words, and why."""
    return Meaning(_split(words), section, None, text)


def _split(words: Mapping[str, str]) -> dict[Tool, tuple[str, ...]]:
    return {tool: tuple(words[tool].split()) for tool in TOOLS if tool in words}
