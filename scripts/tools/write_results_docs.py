"""Write the JSON schema and the reference page of `comparison.json` from its types.

Reads   nothing: the types in scripts.lib.compare.document and in kinds' documents are the source
Writes  <root>/docs/comparison.schema.json   for programs that read results
        <root>/docs/comparison.md            for people
Try it  python -m scripts.tools.write_results_docs
"""

import ast
import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from scripts.lib.benchmarks.held_out.document import HeldOutSection
from scripts.lib.benchmarks.judged_pairs.document import JudgedSection
from scripts.lib.compare.document import Comparison
from scripts.tools.write_config_docs import write_files

SCHEMA_PATH = Path("docs/comparison.schema.json")
PAGE_PATH = Path("docs/comparison.md")

SECTION_TYPES: Mapping[str, type] = {"held_out": HeldOutSection, "judged": JudgedSection}
"""Section of a comparison -> type of what it says of a benchmark."""

INTRODUCTION = """\
# comparison.json

<!-- Written by `python -m scripts.tools.write_results_docs`; edit the types in
     scripts/lib/compare/document.py and beside the kinds of benchmarks instead. -->

`results/report/comparison.json` holds all numbers of the report;
[comparison.schema.json](comparison.schema.json) is its JSON schema, which allows no other fields.
`comparison.csv` beside it has the same numbers as long rows, `comparison.md` the tables.

Scores and rates are fractions from 0 to 1. Differences of scores and rates are in percentage
points, differences of losses in nats per token; each is the candidate's minus its base's, on the
same questions. Standard errors and intervals have the unit of what they are of. A verdict is
`better` or `worse` where the corrected p-value is below 0.05, else `undecided`, and `unchanged`
where nothing moved at all. How all this is counted, and why so: [statistics.md](statistics.md).

Runs with `seeds` form groups. `seeds` says of each benchmark what a group's mean effect is, with
its errors, and whether two runs differ by more than what another seed gives; the formulas stand in
[replicates.md](replicates.md).
"""

_JSON_TYPES: Mapping[object, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    NoneType: "null",
}

Schema = dict[str, Any]


def comparison_schema() -> Schema:
    """Return the JSON schema of `comparison.json`."""
    definitions: dict[str, Schema] = {}
    top = _object(Comparison, definitions)
    for section, form in SECTION_TYPES.items():
        top["properties"][section]["additionalProperties"] = _schema(form, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "comparison.json",
        **top,
        "$defs": definitions,
    }


def schema_text() -> str:
    """Return the text of the JSON schema file."""
    return json.dumps(comparison_schema(), indent=2, ensure_ascii=False) + "\n"


def page_text() -> str:
    """Return the text of the reference page."""
    schema = comparison_schema()
    parts = [INTRODUCTION, *_lines("The file", schema)]
    for name, form in schema["$defs"].items():
        parts += _lines(name, form)
    return "\n".join(parts) + "\n"


def _lines(name: str, form: Schema) -> Iterator[str]:
    """Yield the section of the page on one form."""
    yield f"## {name}\n"
    yield f"{form['description']}\n"
    if form["properties"]:
        yield "| field | value | meaning |"
        yield "|---|---|---|"
    for key, field in form["properties"].items():
        often = "" if key in form["required"] else " Not always there."
        yield f"| `{key}` | {_words(field)} | {field['description']}{often} |"
    if form["properties"]:
        yield ""


def _words(field: Schema) -> str:
    """Say what values a field can have."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "anyOf" in field:
        return " or ".join(_words(one) for one in field["anyOf"])
    if field["type"] == "array":
        return f"list of {_words(field['items'])}"
    if field["type"] == "object":
        values = field.get("additionalProperties")
        return f"by name: {_words(values) if values else 'any value'}"
    return str(field["type"])


def _schema(form: Any, definitions: dict[str, Schema]) -> Schema:
    """Return the schema of a type; those with fields go to *definitions*."""
    origin, arguments = get_origin(form), get_args(form)
    if form in _JSON_TYPES:
        return {"type": _JSON_TYPES[form]}
    if is_typeddict(form):
        if form.__name__ not in definitions:
            definitions[form.__name__] = {}  # keeps its place before what it is made of
            definitions[form.__name__] |= _object(form, definitions)
        return {"$ref": f"#/$defs/{form.__name__}"}
    if origin is NotRequired:
        return _schema(arguments[0], definitions)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, UnionType):
        return {"anyOf": [_schema(one, definitions) for one in arguments]}
    if origin is list:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if arguments[1] is object:
            return {"type": "object"}
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    raise TypeError(f"{form} has no place in a JSON schema")


def _object(form: Any, definitions: dict[str, Schema]) -> Schema:
    """Return the schema of a TypedDict with the texts under its fields."""
    texts = _texts(form)
    hints = get_type_hints(form, include_extras=True)
    return {
        "description": inspect.cleandoc(form.__doc__),
        "type": "object",
        "properties": {
            key: _schema(hint, definitions) | {"description": texts[key]}
            for key, hint in hints.items()
        },
        "required": [key for key in hints if key in form.__required_keys__],
        "additionalProperties": False,
    }


def _texts(form: type) -> dict[str, str]:
    """Return field -> the string that stands below it, fields of what it is made from included."""
    (node,) = ast.parse(inspect.getsource(form)).body
    assert isinstance(node, ast.ClassDef)
    named = vars(sys.modules[form.__module__])
    found: dict[str, str] = {}
    for base in node.bases:
        if is_typeddict(above := named[ast.unparse(base)]):
            found |= _texts(above)
    for field, below in zip(node.body, node.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
            text = ast.literal_eval(below.value)
            found[ast.unparse(field.target)] = " ".join(text.split())
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Write the schema and the page of results."""
    texts = {SCHEMA_PATH: schema_text(), PAGE_PATH: page_text()}
    write_files(argv, "the schema and the page of results", texts)


if __name__ == "__main__":
    main()
