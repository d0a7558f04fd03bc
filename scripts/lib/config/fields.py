"""What the fields of the configuration are made of: kinds, limits, and the refusal of a value."""

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    Strict,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError, core_schema

from scripts.lib.data.conversation import GIVEN_ARGUMENTS
from scripts.lib.data.templates import TEMPLATE_NAMES, is_named

Kind = Literal["identity", "gate", "execution", "report", "location"]

KINDS: Mapping[Kind, str] = MappingProxyType(
    {
        "identity": "changes the bytes of a result; another value makes another artifact",
        "gate": "decides whether a later step may start; changes no byte of what exists",
        "execution": "how the work is done or what is kept; never what comes out",
        "report": "what the report shows",
        "location": "where something is found; there the content is the identity, not the place",
    }
)

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]*$"
NAME_LIMIT = 60  # characters; a name is one part of a path, and sweeps make names longer
NAMES = (
    "lower-case letters, digits and . _ - (no '..'), beginning with a letter or digit, at most"
    f" {NAME_LIMIT} characters"
)
"""The values of a Name, in words."""
REFUSED = "refused_setting"
HIDDEN = "hidden_setting"

T = TypeVar("T")


class Settings(BaseModel):
    """A group of settings: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def setting(description: str, kind: Kind, default: Any = ..., allowed: str | None = None) -> Any:
    """Return the field of one setting.

    Args:
        description: One sentence for the reference page and for editors.
        kind: What a change of the setting means; see KINDS.
        default: The value without the key; left out, the key is required.
        allowed: The allowed values in words, where the type does not say them.
    """
    extra: dict[str, Any] = {"kind": kind}
    if allowed is not None:
        extra["allowed"] = allowed
    return Field(default, description=description, json_schema_extra=extra)


def group(description: str, settings: type[Settings]) -> Any:
    """Return the field of a group of settings that may be left out."""
    return Field(default_factory=settings, description=description)


def refusal(text: str, key: str | None = None) -> PydanticCustomError:
    """Return the error to raise when a value is refused.

    Args:
        text: Goes on after the value: "is a branch; give ...".
        key: For errors about several keys at once, the key (below the group) to blame.
    """
    return PydanticCustomError(REFUSED, "{text}", {"text": text, "key": key})


def secret_refusal(text: str) -> PydanticCustomError:
    """Return the error to raise for a value that may be a secret: it is not shown.

    Args:
        text: Begins the sentence: "is no ...".
    """
    return PydanticCustomError(HIDDEN, "{text}", {"text": text})


def _number(value: object) -> object:
    """Read a numeric string as a number: YAML 1.1 takes `1e-4` for text, as it has no dot."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def check_name(value: str) -> str:
    """Return *value*, which must be fit to be a name: safe as one part of a path, anywhere.

    Raises:
        PydanticCustomError: If it is not.
    """
    if not is_name(value):
        raise refusal(f"is no usable name; allowed: {NAMES}")
    return value


def is_name(value: str) -> bool:
    """Tell whether *value* is fit to be a name."""
    fits = re.fullmatch(NAME_PATTERN, value) and ".." not in value and len(value) <= NAME_LIMIT
    return bool(fits)


def _inner_file(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts:
        raise refusal("leaves its folder; allowed: a relative path without '..'")
    return value


def _not_zero(value: float) -> float:
    if value == 0:
        raise refusal("adds nothing; leave the run out")
    return value


def _hub_name(value: str) -> str:
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", value, re.ASCII) or ".." in value:
        raise refusal("is no repository of the hub; allowed: OWNER/NAME")
    return value


def _placeholder(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*", value, re.ASCII):
        raise refusal("is no name of a placeholder; allowed: letters, digits and _")
    return value


def _template(value: str) -> str:
    if is_named(value) or value.endswith(".jinja"):
        return value
    names = ", ".join(TEMPLATE_NAMES)
    raise refusal(
        f"is no chat template; allowed: {names}, or a path ending in .jinja. A model of this name"
        " brings its own: that is `tokenizer`, and the default"
    )


class JsonMapping(dict[str, Any]):
    """A mapping of JSON values as a part of settings, which are frozen and have a hash."""

    def __hash__(self) -> int:  # type: ignore[override]
        """Return a hash of what is in it."""
        return hash(json.dumps(self, sort_keys=True))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        """Return how pydantic reads and writes it: as any mapping with names."""
        named = core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema())
        return core_schema.no_info_after_validator_function(cls, named)


def _template_arguments(value: object) -> object:
    """Return arguments for a chat template if they are JSON and no other name's."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise refusal("is no mapping from names to values, such as {enable_thinking: false}")
    if taken := sorted(GIVEN_ARGUMENTS & value.keys()):
        raise refusal(f"names {', '.join(taken)}, which rendering gives a template itself")
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise refusal(
            f"holds what is no JSON ({error}); allowed: text, numbers, true, false, null, lists"
            " and mappings of these; put dates between quotes"
        ) from error
    return value


def _commit(value: str) -> str:
    if re.fullmatch(r"[0-9a-f]{40}", value):
        return value
    raise refusal(
        "can move to other files; allowed: a full commit hash of 40 hexadecimal digits. `tunesmith"
        " pin FILE` puts the commit of a branch or a tag in its place"
    )


Text = Annotated[str, Field(strict=True, min_length=1)]
Flag = Annotated[bool, Strict()]
Count = Annotated[int, Field(strict=True, ge=0)]
Positive = Annotated[int, Field(strict=True, ge=1)]
# 2**32 - 1 is the largest seed that numpy takes.
Seed = Annotated[int, Field(strict=True, ge=0, le=2**32 - 1)]
_Finite = Field(strict=True, allow_inf_nan=False)
_Numeric = BeforeValidator(_number)
PositiveNumber = Annotated[float, _Finite, Field(gt=0), _Numeric]
Number = Annotated[float, _Finite, Field(ge=0), _Numeric]
Weight = Annotated[float, _Finite, _Numeric, AfterValidator(_not_zero)]
Fraction = Annotated[float, _Finite, Field(ge=0, le=1), _Numeric]
Factor = Annotated[float, _Finite, Field(ge=1), _Numeric]
PartFraction = Annotated[float, _Finite, Field(ge=0, lt=1), _Numeric]
Similarity = Annotated[float, _Finite, Field(ge=0.5, le=1), _Numeric]

TemplateArguments = Annotated[JsonMapping, BeforeValidator(_template_arguments)]
NO_ARGUMENTS = JsonMapping()
ARGUMENTS = "a mapping from names to JSON values, such as `{enable_thinking: false}`"
"""The values of TemplateArguments, in words."""

COMMIT = "a full commit hash: 40 hexadecimal digits; branches and tags are refused, they move"
"""The values of a revision, in words."""

# Only a full commit hash names the same files for ever.
_Hash = WithJsonSchema({"type": "string", "pattern": "^[0-9a-f]{40}$"})
ModelCommit = Annotated[Text, AfterValidator(_commit), _Hash]
DatasetCommit = Annotated[Text, AfterValidator(_commit), _Hash]
HubName = Annotated[Text, AfterValidator(_hub_name)]
InnerFile = Annotated[Text, AfterValidator(_inner_file)]
TemplateChoice = Annotated[Text, AfterValidator(_template)]
TEMPLATES = ", ".join(f"`{name}`" for name in TEMPLATE_NAMES) + ", or a path ending in `.jinja`"
"""The values of a TemplateChoice, in words."""

Name = Annotated[
    str,
    Strict(),
    AfterValidator(check_name),
    WithJsonSchema({"type": "string", "pattern": NAME_PATTERN, "maxLength": NAME_LIMIT}),
]
_Frozen = AfterValidator(MappingProxyType)
Named = Annotated[Mapping[Name, T], _Frozen, PlainSerializer(dict)]
NamedNotEmpty = Annotated[Mapping[Name, T], Field(min_length=1), _Frozen, PlainSerializer(dict)]
Placeholders = Annotated[
    Mapping[Annotated[Text, AfterValidator(_placeholder)], Text], _Frozen, PlainSerializer(dict)
]
