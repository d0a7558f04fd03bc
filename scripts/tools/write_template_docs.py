"""Write docs/templates.md: what becomes of conversations on the chat templates that people use.

Reads   TRL's chat templates as installed, docs/templates/*.jinja, and the code of scripts/lib/data
Writes  <root>/docs/templates.md
Try it  python -m scripts.tools.write_template_docs
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from scripts.lib.data.conversation import Conversation, Message, PlainAnswers
from scripts.lib.data.reasoning import default_plain_answers, prompt_state
from scripts.lib.data.renderer import Renderer
from scripts.lib.data.samples import SampleSpec
from scripts.lib.data.turns import prompt_of
from scripts.tools.template_outcomes import (
    CONVERSATIONS,
    FIRST,
    LAST,
    KnownTemplate,
    Outcome,
    known_templates,
    outcome,
    renderer_for,
    wants_parts,
)
from scripts.tools.write_config_docs import write_files

PAGE_PATH = Path("docs/templates.md")

INTRODUCTION = f"""\
# Chat templates

<!-- Written by `python -m scripts.tools.write_template_docs`; edit that, or the code in
     scripts/lib/data, instead. -->

What becomes of five conversations on each chat template that TRL {{version}} ships, and on Llama
2's, Mistral's, Zephyr's and ChatML as their makers describe them ([templates](templates), each with
its source; to use one: `template: docs/templates/zephyr.jinja`). The conversations are a question
with its answer, two of them, one behind a system turn, a call of a tool with its answer, and two
answers that begin with `<think>`. They are rendered with the tokenizer of the tests and the control
tokens that stand in the template; `{FIRST}` and `{LAST}` are what it calls `bos_token` and
`eos_token`. A tokenizer that lacks a template's control tokens fails its contract, whatever this
page says.

- **together**: the conversation is one row of a shard, all its answers are trained.
- **each turn**: an earlier answer looks otherwise once a later turn follows, so each answer is a
  row behind the prompt that the model is given for it
  ([configuration.md](configuration.md), `turns`).
- anything else is the reason in the ledger; the conversation is dropped:"""

REASONS = {
    "template_refuses": "the template raises an error, such as for a system turn",
    "tool_calls_not_rendered": "the template writes nothing of the call (that of R1's distilled"
    " models writes calls only beside a content of null, which Transformers takes away)",
    "tools_not_rendered": "the template writes nothing of the list of tools; without the list, what"
    " becomes of the calls stands below",
    "content_not_rendered": "the template leaves words out, such as those beside a call",
    "prompt_is_not_a_prefix": "what the template writes does not go on from its own prompt",
    "prompt_closes_reasoning": "the generation prompt holds an empty thought already, as for models"
    " that do not think, and the row has one of its own",
    "reasoning_not_rendered": "the template writes no reasoning that stands under a key;"
    " `fold_reasoning: true` puts it into the answer",
    "reasoning_never_closes": "`</think>` is missing",
    "several_reasonings": "a turn has two",
    "no_reasoning": "`plain_answers: reject`, and the answer has none",
    "no_empty_reasoning": "`plain_answers: close_empty`, and the template's tags are others",
}
NO_END = " (no end)"

REASONING = """\
## Reasoning

An answer has one thought, closed, or none. Which text is trained follows from where the generation
prompt leaves the model, from what the row has, and, for answers without a thought, from
`plain_answers`, whose default stands in the table above. Each line is a template of its kind.
*In the answer* is a content of
`<think>\\neasy\\n</think>\\n\\n4`, *under a key* a content of `4` beside `reasoning_content: easy`
(or `reasoning`, `thinking`).

"""

# One template for each state of the prompt and each way of writing.
SHOWN = (
    ("qwen3", "opens none; the template writes an empty one itself"),
    ("lfm2_2_5", "opens none; the template writes none"),
    ("gptoss", "opens none; reasoning has tags of its own"),
    ("deepseek_r1_distill", "opens one; the template cuts what stands in the answer"),
    ("qwen3_6", "opens one; the template writes what stands under a key"),
    ("qwen3_5_nothink", "opens and closes one"),
    ("qwen2_5", "opens none; the template knows of none"),
)
FORMS = (
    ("`<think>`, line breaks, `</think>`", "<think>\neasy\n</think>\n\n4", None),
    ("without line breaks", "<think>easy</think>4", None),
    ("under a key", "4", "easy"),
    ("`</think>` alone, as behind an open prompt", "easy\n</think>\n\n4", None),
    ("empty", "<think>\n\n</think>\n\n4", None),
    ("the same in both places", "<think>easy</think>4", "easy"),
    ("another in each place", "<think>easy</think>4", "hm"),
    ("never closed", "<think>easy. 4", None),
    ("twice", "<think>easy</think><think>hm</think>4", None),
)


def page_text() -> str:
    """Return the text of the page."""
    known = [(one, renderer_for(one)) for one in known_templates()]
    text = [(one, renderer) for one, renderer in known if not wants_parts(renderer)]
    skipped = [one.name for one, renderer in known if wants_parts(renderer)]
    cells = {one.name: _cells(renderer) for one, renderer in text}
    kinds = {cell.kind for row in cells.values() for cell in row.values()}
    by_name = {one.name: renderer for one, renderer in text}
    parts = [
        INTRODUCTION.format(version=version("trl")),
        "\n".join(f"  - `{kind}`: {words}." for kind, words in REASONS.items() if kind in kinds),
        f"\n{NO_END.strip()} says that no control token ends the answers: the contract does not"
        " hold,\nand training refuses the shards; `template: trl` ends them where TRL has a"
        " template for training.\n",
        "Left out, since a turn's words must stand in parts with types, beside pictures:\n"
        f"{', '.join(f'`{name}`' for name in skipped)}.\n",
        *_table(text, cells),
        REASONING,
        *_reasoning_table(by_name),
        *_forms_table(by_name),
        "## What is trained\n",
        "A line break is `\\n`; turns stand one after the other.\n",
        *(line for one, renderer in text for line in _details(one, renderer, cells[one.name])),
    ]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)) + "\n"


def _cells(renderer: Renderer) -> dict[str, Outcome]:
    return {name: outcome(renderer, one, SampleSpec()) for name, one in CONVERSATIONS.items()}


def _table(
    known: Sequence[tuple[KnownTemplate, Renderer]], cells: dict[str, dict[str, Outcome]]
) -> Iterator[str]:
    """Yield the lines of the table of templates."""
    yield f"| template | {' | '.join(CONVERSATIONS)} | answers end with | `plain_answers` |"
    yield "|---" * (len(CONVERSATIONS) + 3) + "|"
    for one, renderer in known:
        row = " | ".join(_kind(cell) for cell in cells[one.name].values())
        name = f"[{one.name}](#{one.name})"
        yield f"| {name} | {row} | {_in_table(_ends(renderer))} | {_default(renderer)} |"
    yield ""


def _kind(cell: Outcome) -> str:
    return f"{cell.kind}{'' if cell.ended else NO_END}" if cell.trained else f"`{cell.kind}`"


def _ends(renderer: Renderer) -> str:
    ends = renderer.ends
    called = f", calls with {_code(ends.call)}" if ends.call else ""
    return (_code(ends.answer) if ends.answer else "nothing") + called


def _default(renderer: Renderer) -> str:
    """Return the default of `plain_answers`."""
    if not renderer.knows_reasoning:
        return "knows of no reasoning"
    state, _ = prompt_state(prompt_of(renderer, CONVERSATIONS["plain"], 1))
    return f"`{default_plain_answers(state)}`"


def _answering(content: str, reasoning: str | None = None) -> Conversation:
    question = CONVERSATIONS["plain"].messages[0]
    answer = Message(role="assistant", content=content, reasoning=reasoning)
    return Conversation(messages=(question, answer))


def _reasoning_table(renderers: dict[str, Renderer]) -> Iterator[str]:
    """Yield what is trained by the state of the prompt and what the row has."""
    choices: tuple[PlainAnswers, ...] = ("as_template", "close_empty", "reject")
    none = " | ".join(f"none, `{choice}`" for choice in choices)
    yield f"| template | its prompt | in the answer | under a key | {none} |"
    yield "|---" * 7 + "|"
    for name, words in SHOWN:
        renderer = renderers[name]
        thoughts = (_answering("<think>\neasy\n</think>\n\n4"), _answering("4", "easy"))
        cells = [outcome(renderer, one, SampleSpec()) for one in thoughts]
        cells += [
            outcome(renderer, _answering("4"), SampleSpec(plain_answers=choice))
            for choice in choices
        ]
        yield f"| {name} | {words} | {' | '.join(map(_shown, cells))} |"
    yield ""


def _forms_table(renderers: dict[str, Renderer]) -> Iterator[str]:
    """Yield what is trained by how a row spells its reasoning."""
    shown = ("qwen3", "deepseek_r1_distill", "qwen2_5")
    yield "How a row spells its thought, on three of them:\n"
    yield f"| the row's thought | {' | '.join(shown)} |"
    yield "|---" * (len(shown) + 1) + "|"
    for words, content, reasoning in FORMS:
        cells = [
            outcome(renderers[name], _answering(content, reasoning), SampleSpec()) for name in shown
        ]
        yield f"| {words} | {' | '.join(map(_shown, cells))} |"
    yield ""


def _details(one: KnownTemplate, renderer: Renderer, cells: dict[str, Outcome]) -> Iterator[str]:
    """Yield the section of a template: its trained texts, or what the ledger says."""
    yield f"### {one.name}\n"
    for name, cell in cells.items():
        yield f"- {name}: {_shown(cell, detail=True)}"
        if cell.kind == "tools_not_rendered":
            bare = replace(CONVERSATIONS[name], tools=())
            shown = _shown(outcome(renderer, bare, SampleSpec()), detail=True)
            yield f"- {name}, without the list: {shown}"
    yield ""


def _shown(cell: Outcome, *, detail: bool = False) -> str:
    if cell.trained:
        texts = " ".join(map(_code, cell.trained))
        return f"{_kind(cell)}: {texts}" if detail else _in_table(texts)
    return f"`{cell.kind}`" + (f": {_plain(cell.detail)}" if detail else "")


def _code(text: str) -> str:
    """Return a text as Markdown's code, on one line."""
    line = text.replace("\\", "\\\\").replace("\n", "\\n")
    ticks = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    pad = " " if line.startswith(("`", " ")) or line.endswith(("`", " ")) else ""
    return f"{ticks}{pad}{line}{pad}{ticks}"


def _in_table(text: str) -> str:
    return text.replace("|", "\\|")


def _plain(text: str) -> str:
    """Return the words of a ledger with their tags kept from being taken for HTML."""
    return " ".join(text.split()).replace("<", "&lt;").replace("*", "\\*")


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page of chat templates."""
    write_files(argv, "the page of chat templates", {PAGE_PATH: page_text()})


if __name__ == "__main__":
    main()
