"""What is wrong with a configuration, in words: where, which value, and what would be right."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from scripts.lib.config.fields import HIDDEN, REFUSED
from scripts.lib.config.task_strings import task_hint
from scripts.lib.config.unknown_keys import own_places, say_meanings
from scripts.lib.errors import ConfigError

Schema = Mapping[str, Any]

VALUE_LIMIT = 80  # characters of a value that an error shows


@dataclass(frozen=True)
class Problem:
    """One error of a configuration.

    Attributes:
        path: The keys that lead to it; a list index is an int.
        text: The offending value and what is allowed.
    """

    path: tuple[str | int, ...]
    text: str

    def __str__(self) -> str:
        return f"{dotted(self.path)}: {self.text}"


def dotted(path: Sequence[str | int]) -> str:
    """Return a key path as people write it: `runs.gentle.sweep.lora.r[1]`."""
    text = ""
    for part in path:
        word = part if isinstance(part, str) and part.isprintable() and part else repr(part)
        text += f"[{part}]" if isinstance(part, int) else f".{word}"
    return text.lstrip(".") or "the configuration"


def config_error(problems: Iterable[Problem]) -> ConfigError:
    """Return one error that lists each of *problems* once, in their order."""
    lines = list(dict.fromkeys(str(problem) for problem in problems))
    count = "an error" if len(lines) == 1 else f"{len(lines)} errors"
    return ConfigError(
        f"The configuration has {count}:\n"
        + "".join(f"  {line}\n" for line in lines)
        + "Correct the config file (or --config) and start again; docs/configuration.md explains"
        " every key."
    )


def shown(value: object) -> str:
    """Return *value* as it stands in an error: short, and text in quotes."""
    text = _written(value) if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= VALUE_LIMIT else text[: VALUE_LIMIT - 3] + "..."


def nearest(word: object, words: Iterable[str]) -> str:
    """Return "did you mean 'x'? " for the word most like *word*, or nothing."""
    matches = difflib.get_close_matches(str(word), list(words), n=1, cutoff=0.6)
    return f"did you mean {matches[0]!r}? " if matches else ""


def is_unknown(word: str, noun: str, words: Iterable[str]) -> str:
    """Return the text for a reference to something that is not declared.

    Args:
        word: The name that nothing has.
        noun: What it should be the name of: "model".
        words: The names that there are.
    """
    names = list(words)
    known = f"{noun}s are: {', '.join(names)}" if names else f"there are no {noun}s"
    return f"{shown(word)} is no {noun}; {nearest(word, names)}{known}"


def problems_of(error: ValidationError, schema: Schema) -> list[Problem]:
    """Return the problems that a validation found.

    Args:
        error: What pydantic raised.
        schema: The JSON schema of the validated class; it knows the keys and what is allowed.
    """
    found: dict[tuple[str | int, ...], Problem] = {}
    for detail in error.errors(include_url=False):
        if detail["type"] == "too_short" and detail["input"]:
            continue  # not empty, but every entry in it is wrong and has its own error
        problem = _problem(detail, schema)
        if hint := task_hint(problem.path, detail["input"]):
            problem = Problem(problem.path, problem.text + hint)
        found.setdefault(problem.path, problem)
    return list(found.values())


def _problem(detail: ErrorDetails, schema: Schema) -> Problem:
    path, node = locate(schema, detail["loc"])
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "string_type" and detail["loc"][-1] == "[key]":
        return Problem(path, f"the name {shown(value)} is no text; write it in quotes")
    if kind == "extra_forbidden":
        forms = [resolve(form, schema) for form in (node, *node.get("anyOf", ()))]
        key, keys = detail["loc"][-1], [key for form in forms for key in form.get("properties", ())]
        known = f"{nearest(key, keys)}keys here are: {', '.join(keys)}"
        said = _said_elsewhere(key, path, value, keys, schema) or known
        return Problem((*path, key), f"unknown key; {said}")
    if kind == "missing":
        about = node.get("description", "").rstrip(".")
        return Problem(path, f"is missing ({about}); allowed: {allowed(node, schema)}")
    if kind == HIDDEN:
        return Problem(path, context["text"])
    if kind == REFUSED and context["key"] is not None:
        below = tuple(context["key"].split("."))
        given = value
        for part in below:
            given = given.get(part) if isinstance(given, Mapping) else None
        return Problem((*path, *below), f"{shown(given)} {context['text']}")
    if kind == REFUSED:
        return Problem(path, f"{shown(value)} {context['text']}")
    if kind.startswith("form_of_"):
        return _form_problem(path, value, detail["msg"], node, schema)
    if kind == "too_short" and isinstance(value, Mapping):
        return Problem(path, "is empty; at least one entry is needed")
    words = [word for word in choices(node, schema) if isinstance(word, str)]
    hint = nearest(value, words) if isinstance(value, str) else ""
    if isinstance(value, list) and entry_schema(node) is not None:
        hint = f"give each a name, as in {path[-1]}: {{NAME: ...}}; "
    if kind == "string_type" and isinstance(value, int | float):
        hint = "write it in quotes if it is meant as text; "
    return Problem(path, f"{shown(value)} is refused; {hint}allowed: {allowed(node, schema)}")


def _form_problem(
    path: tuple[str | int, ...], value: object, message: str, node: Schema, schema: Schema
) -> Problem:
    """Return the problem of an entry that fits none of the forms of its section."""
    if not isinstance(value, Mapping):
        return Problem(path, f"{shown(value)} {message}")
    (listed,) = [one["oneOf"] for one in (node, *node.get("anyOf", ())) if "oneOf" in one]
    forms = [resolve(form, schema)["properties"] for form in listed]
    kinds = sorted({form["kind"]["const"] for form in forms if "kind" in form})
    if kinds and "kind" in value and value["kind"] not in kinds:
        kind = value["kind"]
        text = f"{shown(kind)} is refused; {nearest(kind, kinds)}allowed: {', '.join(kinds)}"
        return Problem((*path, "kind"), text)
    keys = {key for form in forms for key in form}
    hints = [
        f"; unknown key {key!r}: {say_meanings(str(key), path) or nearest(key, keys)}"
        for key in value
        if key not in keys
    ]
    return Problem(path, f"{shown(value)} {message}" + "".join(hints).rstrip(": "))


def _said_elsewhere(
    key: object, path: tuple[str | int, ...], value: object, keys: Sequence[str], schema: Schema
) -> str:
    """Return what a key means that is another tool's, or ours in another place; else nothing."""
    if not isinstance(key, str):
        return ""
    places = own_places(key, path, entry_keys(schema))
    if dotted((*path, key)) in places:
        return (
            f"other entries of {path[0]} have it, and this one cannot; its keys are:"
            f" {', '.join(keys)}"
        )
    if said := say_meanings(key, path):
        return said + task_hint(("benchmarks",), value if key == "tasks" else None)
    return f"write it as {' or '.join(f'`{place}`' for place in places)}" if places else ""


def locate(schema: Schema, location: Sequence[str | int]) -> tuple[tuple[str | int, ...], Schema]:
    """Return the key path of an error, and the schema that holds there.

    pydantic's locations also name the members of unions ("HubModel", "tuple[str, ...]"). Those
    that are classes are followed without becoming part of the path; at any other the path ends.
    """
    path: list[str | int] = []
    node: Schema = schema
    for part in location:
        follow = _child(node, part, schema)
        if follow is None:
            break
        is_list = "patternProperties" not in node
        node, is_key = follow
        if is_key:
            path.append(part if is_list else str(part))
    return tuple(path), node


def _child(node: Schema, part: str | int, schema: Schema) -> tuple[Schema, bool] | None:
    """Return the schema one *part* below *node*, and whether the part is a key of the file."""
    for variant in node.get("oneOf", ()):
        if variant["$ref"] == f"#/$defs/{part}":
            return resolve(variant, schema), False
    for variant in node.get("anyOf", ()):
        follow = _child(resolve(variant, schema), part, schema)
        if follow is not None:
            return follow
    if isinstance(part, int) and "items" in node:
        return resolve(node["items"], schema), True
    if part in node.get("properties", {}):
        return resolve(node["properties"][part], schema), True
    entry = entry_schema(node)
    if entry is not None and part != "[key]":
        return resolve(entry, schema), True
    return None


def entry_keys(schema: Schema) -> Iterator[tuple[str, str]]:
    """Yield each section of a configuration with each dotted key, group or not, of its entries.

    A section without entries of their own names has its keys itself.
    """
    for section, node in schema.get("properties", {}).items():
        entry = entry_schema(resolve(node, schema)) or node
        yield from ((section, key) for key in _keys_below(entry, schema))


def _keys_below(node: Schema, schema: Schema) -> Iterator[str]:
    node = resolve(node, schema)
    for form in (*node.get("oneOf", ()), *node.get("anyOf", ())):
        yield from _keys_below(form, schema)
    for key, below in node.get("properties", {}).items():
        yield key
        yield from (f"{key}.{inner}" for inner in _keys_below(below, schema))


def entry_schema(node: Schema) -> Schema | None:
    """Return the schema of the entries of a mapping with free names; None for other nodes."""
    for entry in node.get("patternProperties", {}).values():
        return dict(entry)
    entry = node.get("additionalProperties")
    return entry if isinstance(entry, Mapping) else None


def resolve(node: Schema, schema: Schema) -> Schema:
    """Return *node*, or the definition that it refers to with the node's own words on top."""
    if "$ref" not in node:
        return node
    definition = schema["$defs"][node["$ref"].removeprefix("#/$defs/")]
    return {**definition, **{key: value for key, value in node.items() if key != "$ref"}}


def choices(node: Schema, schema: Schema) -> list[object]:
    """Return the values that *node* lists one by one; empty when it lists none."""
    found = list(node.get("enum", ()))
    if "const" in node:
        found.append(node["const"])
    for variant in node.get("anyOf", ()):
        found += choices(resolve(variant, schema), schema)
    return found


def allowed(node: Schema, schema: Schema) -> str:
    """Return in words what a value of *node* may be.

    Args:
        node: The JSON schema of the value.
        schema: The whole JSON schema, for references.

    Returns:
        For example "a whole number, at least 1, or null".
    """
    if "allowed" in node:
        return str(node["allowed"])
    if "anyOf" in node or "oneOf" in node:
        variants = node.get("anyOf") or node["oneOf"]
        texts = [allowed(resolve(variant, schema), schema) for variant in variants]
        return ", or ".join(dict.fromkeys(texts))
    listed = choices(node, schema)
    if listed:
        return ", ".join(_written(value) for value in listed)
    words = {
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "string": "text",
        "null": "null",
        "object": "a group of settings",
        "array": "a list",
    }
    bounds = {
        "minimum": "at least",
        "exclusiveMinimum": "more than",
        "maximum": "at most",
        "exclusiveMaximum": "less than",
    }
    limits = [f"{word} {node[key]}" for key, word in bounds.items() if key in node]
    kind = node.get("type", "")
    text = ", ".join([words.get(kind, "anything"), *limits])
    if kind == "array":
        text += f" of {allowed(resolve(node['items'], schema), schema)}"
    if kind == "string" and "pattern" in node:
        text += f" that matches `{node['pattern']}`"
    if kind == "object" and "properties" in node:
        text += f" ({', '.join(node['properties'])})"
    elif kind == "object":
        text = "a mapping from names"
    return text


def _written(value: object) -> str:
    """Return a value as YAML writes it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
