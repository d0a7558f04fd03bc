"""Write the JSON schema and the pages of the configuration: its keys, and other tools' words.

Reads   nothing: the classes in scripts.lib.config.load and the tables of words are the source
Writes  <root>/config/config.schema.json   for editors
        <root>/docs/configuration.md       for people
        <root>/docs/words.md               for people who know other tools
Try it  python -m scripts.tools.write_config_docs
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from scripts.lib.config.expansion import inner_group, leaf_keys
from scripts.lib.config.fields import KINDS
from scripts.lib.config.load import ConfigFile
from scripts.lib.config.problems import Schema, allowed, entry_schema, resolve
from scripts.lib.config.unknown_keys import TABLE, place
from scripts.lib.config.words import TOOLS

SCHEMA_PATH = Path("config/config.schema.json")
PAGE_PATH = Path("docs/configuration.md")
WORDS_PATH = Path("docs/words.md")

INTRODUCTION = """\
# Configuration

<!-- Written by `python -m scripts.tools.write_config_docs`; edit the classes in
     scripts/lib/config*.py instead. -->

One YAML file says what is compared: models, datasets, runs (fine-tunes), and benchmarks. Start
with `snakemake --configfile FILE`; values given with `--config` win over the file. Everything is
checked before the first job, and all errors come at once, each with its key, the value, and what
is allowed. Unknown keys and keys that stand twice are errors.

Names (of models, datasets, runs, candidates, benchmarks) are lower-case letters, digits and `.`,
`_`, `-`, at most 60 characters. A run or a combination of runs must not be named like a model: all
are candidates in the report ([candidates.md](candidates.md)). Whole set-ups to start from are
in the folder `config/examples` ([tour.md](tour.md#examples)).
Relative paths start in the working directory or, if nothing is there, in the project's folder.

```yaml
models:
  smollm2: {hub: HuggingFaceTB/SmolLM2-135M-Instruct, revision: COMMIT}
datasets:
  orders: {path: data/orders.jsonl}
runs:
  gentle:
    model: smollm2
    dataset: orders
    lora: {r: 8}
  grid:
    model: smollm2
    dataset: orders
    sweep: {lora.r: [8, 16], training.learning_rate: [1e-4, 2e-4]}
benchmarks:
  mmlu: {kind: mmlu, path: data/mmlu}
```

`sweep` makes one run for every combination, here `grid-r8-lr1e-4`, `grid-r8-lr2e-4`,
`grid-r16-lr1e-4` and `grid-r16-lr2e-4`. A swept value wins over one that the run gives itself.
There is no run `grid` besides. COMMIT stands for a full commit hash.

## Kinds of settings

"""

WORDS_INTRODUCTION = """\
# Words of other tools

<!-- Written by `python -m scripts.tools.write_config_docs`; edit scripts/lib/config/words_of_*.py
     instead. -->

What settings of TRL, PEFT, LLaMA-Factory, Axolotl, lighteval and lm-eval are here, or why there is
nothing to write. A key of theirs in a configuration is an error that says the same, wherever it
stands: paste your file, start, and read. `<name>` is a name of your choice: models, datasets, runs
and benchmarks have names, so that there can be several. All keys are in
[configuration.md](configuration.md); what becomes of LLaMA-Factory's `eval` is in
[moving_from_llamafactory.md](moving_from_llamafactory.md).

```yaml
models:
  llama3: {hub: meta-llama/Meta-Llama-3-8B-Instruct, revision: <commit hash>}
datasets:
  mine: {path: data/mine.json, limit: 1000}       # dataset, max_samples
runs:
  sft:                                            # stage: sft, do_train: true
    model: llama3                                 # model_name_or_path
    dataset: mine
    lora: {r: 8, target_modules: all-linear}      # lora_rank: 8, lora_target: all
    training:
      max_length_tokens: 2048                     # cutoff_len
      batch_size: 8                               # 1 on a device x 8 accumulated x 1 device
      learning_rate: 1.0e-4
      epochs: 3.0                                 # num_train_epochs
      warmup_ratio: 0.1
benchmarks:
  mmlu: {kind: mmlu, hub: cais/mmlu, revision: <commit hash>}
```

Tasks have their spelling, too. An error shows the benchmark that each of these makes:

- lighteval's `mmlu|anatomy|0|0` (suite, task, examples, shorten):
  `mmlu: {kind: mmlu, hub: cais/mmlu, revision: <commit hash>, shots: 0, subjects: [anatomy]}`
- its `leaderboard|mmlu:anatomy|5|0` and `mmlu:anatomy|5`: the same with `shots: 5`
- its `lighteval|gsm8k|5|0`: `gsm8k: {kind: lm_eval, tasks: [gsm8k], shots: 5}`, where lm-eval has
  the task under that name ([lm_eval_tasks.md](lm_eval_tasks.md))
- lm-eval's `hellaswag`: `hellaswag: {kind: lm_eval, tasks: [hellaswag]}`
"""


class _Untitled(GenerateJsonSchema):
    """JSON schema without the titles that pydantic derives from the keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def config_schema() -> dict[str, Any]:
    """Return the JSON schema of a configuration file."""
    schema = ConfigFile.model_json_schema(schema_generator=_Untitled)
    for node in schema["properties"].values():
        if "patternProperties" in node:
            # Without this an editor would let names pass that the pattern refuses.
            node["additionalProperties"] = False
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_text() -> str:
    """Return the text of the JSON schema file."""
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"


def page_text() -> str:
    """Return the text of the reference page."""
    schema = config_schema()
    lines = ["| kind | meaning |", "|---|---|"]
    lines += [f"| {kind} | {meaning} |" for kind, meaning in KINDS.items()]
    levers: dict[str, Schema] = {}
    for key, raw in schema["properties"].items():
        node = resolve(raw, schema)
        entry = entry_schema(node)
        if entry is not None:
            lines += ["", f"## {key}", "", node["description"]]
            lines += _entry_lines(key, resolve(entry, schema), schema)
        elif "properties" in node:
            lines += [
                "",
                f"## {key}",
                "",
                node["description"],
                "",
                *_table(node["properties"], schema),
            ]
        else:
            levers[key] = node
    lines += ["", "## Other keys", "", "These stand at the top level.", ""]
    lines += _table(levers, schema)
    return INTRODUCTION + "\n".join(lines) + "\n"


def words_text() -> str:
    """Return the text of the page of other tools' words."""
    parts = [WORDS_INTRODUCTION]
    for subject, table in TABLE.items():
        lines = ["| there | here | how |", "|---|---|---|"]
        for meaning in table:
            there = "; ".join(
                f"{TOOLS[tool]}: {' '.join(f'`{word}`' for word in words)}"
                for tool, words in meaning.words.items()
            )
            here = f"`{place(meaning.section, meaning.key, ())}`" if meaning.key else "nothing"
            lines.append(f"| {there} | {here} | {meaning.text} |")
        parts.append(f"## {subject}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _entry_lines(key: str, entry: Schema, schema: Schema) -> Iterator[str]:
    """Yield a table for every form that an entry of a section can have."""
    forms = [resolve(form, schema) for form in entry.get("oneOf", [entry])]
    if len(forms) == 1:
        yield from ("", f"Keys below `{key}.<name>`:", "", *_table(entry["properties"], schema))
        return
    properties = [form["properties"] for form in forms]
    common = {
        name: node
        for name, node in properties[0].items()
        if all(other.get(name) == node for other in properties)
    }
    for form in forms:
        own = {name: node for name, node in form["properties"].items() if name not in common}
        yield from ("", f"### {form['description'].rstrip('.')}", "")
        yield from (f"Keys below `{key}.<name>`:", "", *_table(own, schema))
    if common:
        yield from ("", f"### All of these {key}", "", *_table(common, schema))


def _table(properties: Mapping[str, Schema], schema: Schema) -> Iterator[str]:
    """Yield the table of some settings, required keys first."""
    leaves = leaf_keys({"properties": properties, "$defs": schema["$defs"]})
    yield "| key | value | default | kind | meaning |"
    yield "|---|---|---|---|---|"
    for key, leaf in sorted(leaves.items(), key=lambda item: "default" in item[1]):
        cells = [
            f"`{key}`",
            allowed(leaf, schema),
            _default(leaf),
            leaf["kind"],
            leaf["description"],
        ]
        yield _row(cells)
        for form in _forms(leaf, schema):
            inner = {f"{key}.{name}": node for name, node in form["properties"].items()}
            yield from list(_table(inner, schema))[2:]
        for form in _entry_forms(leaf, schema):
            inner = {f"{key}.<name>.{name}": node for name, node in form["properties"].items()}
            yield from list(_table(inner, schema))[2:]
    for key, raw in properties.items():
        node = resolve(raw, schema)
        if inner_group(node, schema) is not node:
            told = ["a group of settings, or null", "`{}`", "identity", node["description"]]
            yield _row([f"`{key}`", *told])


def _forms(leaf: Schema, schema: Schema) -> list[Schema]:
    """Return the groups of settings that a value can be instead of a plain one."""
    listed = [form for one in leaf.get("anyOf", ()) for form in one.get("oneOf", ())]
    return [resolve(form, schema) for form in listed]


def _entry_forms(leaf: Schema, schema: Schema) -> list[Schema]:
    """Return the groups of settings that the entries of a mapping can be, by names of their own."""
    entries = [entry for one in leaf.get("anyOf", ()) if (entry := entry_schema(one))]
    forms = [resolve(form, schema) for entry in entries for form in entry.get("anyOf", ())]
    return [form for form in forms if "properties" in form]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(leaf: Mapping[str, Any]) -> str:
    return f"`{json.dumps(leaf['default'])}`" if "default" in leaf else "required"


def write_files(argv: Sequence[str] | None, what: str, texts: Mapping[Path, str]) -> None:
    """Write files below the folder that *argv* names: path in the project -> text."""
    parser = argparse.ArgumentParser(description=f"Write {what}.")
    parser.add_argument("--root", type=Path, default=Path(), help="folder of the project")
    root = parser.parse_args(argv).root
    for path, text in texts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> None:
    """Write the schema and the pages."""
    texts = {SCHEMA_PATH: schema_text(), PAGE_PATH: page_text(), WORDS_PATH: words_text()}
    write_files(argv, "the schema and its pages", texts)


if __name__ == "__main__":
    main()
