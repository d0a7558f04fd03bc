"""What a run trains on: one dataset, or several with weights, caps and repeats (a mixture)."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

from scripts.lib.config.fields import Positive, PositiveNumber, Settings, Text, refusal, setting

DATASET = "dataset"
"""The key of a run that names what it trains on."""


class Member(Settings):
    """What a run takes of a dataset."""

    weight: PositiveNumber | None = setting(
        "Its share of the tokens that the loss looks at, beside the weights of the others. All"
        " datasets of a run have one, or none: then each is read whole.",
        "identity",
        None,
    )
    repeat: Positive = setting(
        "Times that its rows are read in an epoch; with weights, at most.", "identity", 1
    )
    max_rows: Positive | None = setting(
        "Most rows of it that are trained on, chosen by the hash of their text.", "identity", None
    )


def members(value: object) -> object:
    """Return what a run's `dataset` says with a mapping of settings for each name in it.

    Anything that is no form of it comes back as it is, for the schema to refuse.
    """
    if isinstance(value, str):
        return {value: {}}
    if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        return {name: {} for name in value}
    if isinstance(value, Mapping):
        return {name: _settings(one) for name, one in value.items()}
    return value


def _settings(value: object) -> object:
    if value is None:
        return {}
    is_weight = isinstance(value, int | float | str) and not isinstance(value, bool)
    return {"weight": value} if is_weight else value


def names_in(value: object) -> list[tuple[tuple[str | int, ...], object]]:
    """Return the datasets that a run's raw `dataset` names, each with its place below the key."""
    if isinstance(value, list | tuple):
        return [((index,), name) for index, name in enumerate(value)]
    if isinstance(value, Mapping):
        return [((str(name),), name) for name in value]
    return [((), value)]


class Taken(dict[str, Member]):
    """What a run takes of each dataset; a part of settings, which have a hash."""

    def __hash__(self) -> int:  # type: ignore[override]
        """Return a hash of what is in it, whatever the order."""
        return hash(frozenset(self.items()))


def _weighed(found: Mapping[str, Member]) -> Mapping[str, Member]:
    """Check that what is named can be weighed: all of it, or nothing."""
    if not found:
        raise refusal("names no dataset; name one under `datasets`")
    weighed = [name for name, one in found.items() if one.weight is not None]
    lacking = [name for name in found if name not in weighed]
    if weighed and lacking:
        raise refusal(
            f"stands beside a weight of {weighed[0]}: give {', '.join(lacking)} a weight, too, or"
            " take all weights out, and each dataset is read whole (max_rows and repeat say"
            " otherwise)",
            f"{lacking[0]}.weight",
        )
    return Taken(found)


Members = Annotated[
    Mapping[Text, Member],
    BeforeValidator(
        members, json_schema_input_type=str | list[str] | Mapping[str, float | Member | None]
    ),
    AfterValidator(_weighed),
    PlainSerializer(lambda found: {name: dict(one) for name, one in found.items()}),
]


def setting_of(key: str) -> tuple[str, str] | None:
    """Return dataset and setting that the key of a sweep means, such as dataset.general.weight.

    Names of datasets may hold dots.
    """
    first, _, rest = key.partition(".")
    name, _, option = rest.rpartition(".")
    return (name, option) if first == DATASET and name and option in Member.model_fields else None


def split_key(key: str) -> list[str]:
    """Return the parts of a dotted key of a run."""
    found = setting_of(key)
    return [DATASET, *found] if found else key.split(".")


def written_out(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run with a mapping for each of its datasets."""
    return {**run, DATASET: members(run[DATASET])} if DATASET in run else dict(run)
