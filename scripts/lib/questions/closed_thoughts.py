r"""A thought that a prompt opens, closed before a text is scored right behind it.

Templates of thinking models end the prompt with `<think>`: a letter scored there would be a word of
the thought. So the prompt is continued by what the template itself writes between there and an
answer without a thought, found by rendering one:

    template                          prompt ends with     continued by
    -------------------------------   ------------------   ----------------
    writes an empty thought (Qwen3.5) `<think>\n`          `\n</think>\n\n`
    cuts thoughts (DeepSeek-R1)       `<think>\n`          `</think>\n\n`
    opens none, or closes it itself   anything else        nothing

That is what training teaches a model to write before such an answer (`plain_answers: close_empty`
of `scripts.lib.data.reasoning`; a test holds the two together). Apart from there, since a score of
letters must not depend on how conversations are trained.
"""

import re

# `<think>`, `[THINK]`, `◁think▷`; the tag that closes one has a stroke in front of its name.
_TAG_AT_END = re.compile(r"([<\[◁])([A-Za-z][\w:]*)([>\]▷])\s*\Z")
# Behind a template that writes no thoughts only its name tells what a tag opens.
_OF_THOUGHTS = re.compile("think|thought|reason", re.IGNORECASE)


def opened_tag(prompt: str) -> str:
    """Return the tag that a prompt ends with, white space behind it included; '' for none.

    Only behind one it is worth to render an answer.
    """
    found = _TAG_AT_END.search(prompt)
    return found.group() if found else ""


def closing(prompt: str, before_answer: str | None) -> str:
    r"""Return what closes the thought that a prompt opens, as its template would; '' for none.

    Args:
        prompt: Where the model's turn begins.
        before_answer: The same conversation up to the words of an answer without a thought; None
            where the template renders none.

    Example: `...assistant\n<think>\n` before `...assistant\n<think>\n\n</think>\n\n` is closed by
    `\n</think>\n\n`.
    """
    tag = _TAG_AT_END.search(prompt)
    if tag is None:
        return ""
    left, name, right = tag.groups()
    opened, closed, head = f"{left}{name}{right}", f"{left}/{name}{right}", prompt[: tag.start()]
    written = None
    if before_answer is not None and before_answer.startswith(head):
        written = before_answer[len(head) :]
    if written is None or opened not in written:
        return f"{closed}\n\n" if _OF_THOUGHTS.search(name) else ""
    if closed not in written:
        return ""  # answers stand in this tag
    if before_answer is not None and before_answer.startswith(prompt):
        return before_answer[len(prompt) :]
    return closed + written.partition(closed)[2]
