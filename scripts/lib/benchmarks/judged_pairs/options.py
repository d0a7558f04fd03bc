"""Pairs of answers and who judges them, as a configuration names them."""

import re
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from scripts.lib.config.benchmark_options import ConversationOptions, RowOptions
from scripts.lib.config.fields import Positive, Settings, Text, refusal, secret_refusal, setting


def _address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise refusal("is no address; allowed: such as https://api.example.org/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise secret_refusal(
            "holds more than a host and a path; a key belongs into an environment variable, whose"
            " name is given as api_key_env"
        )
    return value.rstrip("/")


def _variable(value: str) -> str:
    if not re.fullmatch(r"[A-Z][A-Z0-9_]*", value):
        raise secret_refusal(
            "is no name of an environment variable (capitals, digits and _); a key itself has no"
            " place in a configuration"
        )
    return value


Address = Annotated[Text, AfterValidator(_address)]
Variable = Annotated[Text, AfterValidator(_variable)]


class Judge(Settings):
    """Who judges."""

    model: Text = setting(
        "A model of `models:` or, with an endpoint, the name of a model there.", "identity"
    )
    endpoint: Address | None = setting(
        "Address of an OpenAI-compatible service, up to and with its version; null for a model of"
        " `models:`. It is asked from where Snakemake runs.",
        "identity",
        None,
        allowed="such as https://api.example.org/v1, or null",
    )
    api_key_env: Variable | None = setting(
        "Environment variable that holds the service's key; null where it wants none.",
        "execution",
        None,
        allowed="the name of an environment variable, or null",
    )

    @model_validator(mode="after")
    def _only_an_endpoint_has_a_key(self) -> Self:
        if self.api_key_env and not self.endpoint:
            raise refusal("goes with an endpoint; leave it out", "api_key_env")
        return self


class JudgedPairs(ConversationOptions, RowOptions):
    """Prompts that base and tuned model answer; a judge says in both orders who did better."""

    kind: Literal["judged_pairs"] = setting("A judge compares two answers.", "identity")
    path: Text | None = setting(
        "JSON lines, or a JSON array, with `prompt` (and maybe `system`) or `messages`; where there"
        " is one, the judge sees the `reference`, and each `category` has figures of its own."
        " Either this or `dataset`.",
        "location",
        None,
    )
    dataset: Text | None = setting(
        "Dataset whose held-out conversations are asked, in place of `path`: all up to the last"
        " answer, which is the reference.",
        "identity",
        None,
        allowed="a name under `datasets`, or null",
    )
    split: Literal["test", "valid"] = setting(
        "With `dataset`: which of its held-out splits; training looks at valid where it evaluates"
        " or stops early, so test is the stricter one.",
        "identity",
        "test",
    )
    judge: Judge = Field(description="Who judges.")
    criteria: Text | None = setting(
        "What the judge is told to look at; null for what docs/judged_pairs.md shows.",
        "identity",
        None,
    )
    max_new_tokens: Positive = setting("Longest answer, in tokens.", "identity", 512)

    @model_validator(mode="after")
    def _prompts_come_from_one_place(self) -> Self:
        if self.path and self.dataset:
            raise refusal("goes without dataset; leave one of the two out", "path")
        if not self.path and not self.dataset:
            raise refusal("gives no prompts; name their file here, or a dataset as dataset", "path")
        if self.path and "split" in self.model_fields_set:
            raise refusal("goes with a dataset, and path has one file; leave it out", "split")
        if self.dataset and self.on_bad_row != "error":
            raise refusal(
                "goes with path; what a dataset may lose is its own max_dropped_fraction",
                "on_bad_row",
            )
        return self

    NEEDS: ClassVar[str] = "path or dataset"

    def held_out_split(self) -> tuple[str, str] | None:
        """Return the dataset and its split, where no file gives the prompts."""
        return None if self.dataset is None else (self.dataset, self.split)
