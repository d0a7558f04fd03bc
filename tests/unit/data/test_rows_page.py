"""docs/rows.md names every key, spelling and reason of the code, and no others as harmless."""

import ast
import re
from pathlib import Path

from scripts.lib.data import beside_turns, content_parts, raw_turns, roles, tool_calls
from scripts.lib.data.conversation import REASONING_KEYS
from scripts.lib.data.preferences import PREFERENCE_COLUMNS
from scripts.lib.data.raw_fields import HARMLESS_KEYS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/rows.md").read_text(encoding="utf-8")
MODULES = (
    *("records", "layouts", "raw_fields", "raw_turns", "content_parts", "tool_calls", "roles"),
    *("beside_turns", "preferences", "placeholders", "row_verdicts", "draws"),
)
FAULTS = ("UnusableRow", "NamedFault")


def reasons(module):
    tree = ast.parse((ROOT / f"scripts/lib/data/{module}.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            named = [word.value for word in node.keywords if word.arg == "reason"]
            fault = getattr(node.func, "id", "") in FAULTS
            for value in [*(node.args[:1] if fault else ()), *named]:
                if isinstance(value, ast.Constant):
                    yield value.value


def test_every_reason_stands_on_the_page():
    found = {reason for module in MODULES for reason in reasons(module)}
    assert len(found) > 30
    missing = {reason for reason in found if f"`{reason}`" not in PAGE}
    assert not missing


def test_every_key_and_spelling_stands_on_the_page():
    names = [
        *REASONING_KEYS,
        *raw_turns.SPEAKER_KEYS,
        *raw_turns.CONTENT_KEYS,
        *raw_turns.CALL_KEYS,
        *raw_turns.ANSWERED_KEYS,
        *raw_turns.WEIGHT_KEYS,
        *content_parts.TEXT_PARTS,
        *content_parts.REASONING_PARTS,
        *content_parts.CALL_PARTS,
        *content_parts.RESULT_PARTS,
        *tool_calls.SCHEMA_KEYS,
        *beside_turns.ARGUMENT_COLUMNS,
        *beside_turns.LABEL_COLUMNS,
        *PREFERENCE_COLUMNS,
        *(name for names in roles.SPELLINGS.values() for name in names),
    ]
    assert not [name for name in names if f"`{name}`" not in PAGE]


def test_the_harmless_keys_of_the_page_are_those_of_the_code():
    (passage,) = re.findall(r"\*\*Harmless keys\*\*(.*?)Nor is", PAGE, re.DOTALL)
    assert set(re.findall(r"`([^`]+)`", passage)) == HARMLESS_KEYS
