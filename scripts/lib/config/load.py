"""The configuration: one schema, read once, typed and frozen.

    config = load_config(read_config_file(Path("config/config.yaml")))
    config.runs["gentle"].lora.r

All errors come together, each with its key path, the value, and what is allowed.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, ValidationError

from scripts.lib.benchmarks.mmlu.options import MmluOptions
from scripts.lib.config.benchmarks import (
    Benchmark,
    missing_split_problems,
    unknown_dataset_problems,
)
from scripts.lib.config.candidates import (
    Candidate,
    Combination,
    combination_problems,
    unknown_run_problems,
)
from scripts.lib.config.checks import (
    benchmark_problems,
    candidate_problems,
    entries,
    publish_problems,
    reference_problems,
    training_problems,
)
from scripts.lib.config.contamination import ContaminationOptions
from scripts.lib.config.existing import (
    Checkpoint,
    GivenAdapter,
    base_problems,
    continue_problems,
)
from scripts.lib.config.expansion import NamedRun, expand_run, first_point, replicates, swept
from scripts.lib.config.fields import (
    Name,
    Named,
    NamedNotEmpty,
    Settings,
    Text,
    group,
    setting,
)
from scripts.lib.config.mixtures import split_key
from scripts.lib.config.problems import Problem, Schema, config_error, dotted, problems_of
from scripts.lib.config.report import Report, budget_problems
from scripts.lib.config.runs import Run, RunEntry
from scripts.lib.config.sources import Dataset, Model
from scripts.lib.config.sweep import at_point
from scripts.lib.errors import ConfigError
from scripts.lib.train.trackers import TRACKERS, TrackerName


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Names = Annotated[
    tuple[Text, ...], BeforeValidator(_as_list, json_schema_input_type=str | list[str])
]


class Tracking(Settings):
    """Where trainings report to, beside the report."""

    report_to: tuple[TrackerName, ...] = setting(
        "Experiment trackers that trainings report their losses to. One that fails is said in the"
        " log and ends no training; what is trained does not depend on it.",
        "execution",
        (),
        allowed=f"a list of {', '.join(f'`{name}`' for name in TRACKERS)}",
    )
    project: Text = setting("Project that trackers sort the runs under.", "execution", "tunesmith")
    folder: Text = setting("Folder for what trackers write as files.", "execution", "logs/trackers")


class Sections(Settings):
    """What a configuration says, as it is written and with its sweeps expanded."""

    models: NamedNotEmpty[Model] = Field(description="Models to tune or to score, by name.")
    datasets: Named[Dataset] = Field(
        {}, validate_default=True, description="Instruction datasets, by name."
    )
    runs: Named[Run] = Field({}, validate_default=True, description="Fine-tunes, by name.")
    candidates: Named[Candidate] = Field(
        {},
        validate_default=True,
        description="What is compared beside runs, by name: combinations of several runs' adapters,"
        " and models that exist already.",
    )
    benchmarks: NamedNotEmpty[Benchmark] = Field(
        description="Benchmarks that every candidate is scored on, by name."
    )
    contamination: ContaminationOptions = group(
        "When a question of a benchmark counts as standing in a conversation"
        " (docs/contamination.md).",
        ContaminationOptions,
    )
    report: Report = group("What the report shows.", Report)
    tracking: Tracking = group("Where trainings report to, beside the report.", Tracking)
    redo: Names = setting(
        "Make these again, though nothing changed: names of runs or of stages. Meant for --config.",
        "execution",
        (),
        allowed="a name or a list of names",
    )
    plan: Literal["needed", "full"] = setting(
        "Plan what is missing, or list every artifact for pictures. Meant for --config.",
        "execution",
        "needed",
    )


class Config(Sections):
    """A whole configuration, with its sweeps and seeds expanded."""

    replicates: Named[tuple[Name, ...]] = Field(
        {},
        validate_default=True,
        exclude=True,
        description="Names of the runs that differ in their seed alone, by the name for them all.",
    )

    def template_of(self, run: Run) -> str:
        """Return the chat template of a run: its own, else its model's."""
        return run.template or self.models[run.model].template

    @property
    def combinations(self) -> dict[str, Combination]:
        """The candidates that are made of several runs."""
        return {n: one for n, one in self.candidates.items() if isinstance(one, Combination)}

    @property
    def checkpoints(self) -> dict[str, Checkpoint]:
        """The candidates that were finished elsewhere."""
        return {n: one for n, one in self.candidates.items() if isinstance(one, Checkpoint)}

    @property
    def adapters(self) -> dict[str, GivenAdapter]:
        """The candidates that are adapters which no run trained."""
        return {n: one for n, one in self.candidates.items() if isinstance(one, GivenAdapter)}

    def base_of(self, name: str) -> str:
        """Return the model that a run or a given adapter changes."""
        return self.runs[name].model if name in self.runs else self.adapters[name].base

    @property
    def bases(self) -> set[str]:
        """The models that something is compared with."""
        given = {one.base for one in self.checkpoints.values()}
        given |= {one.base for one in self.adapters.values()}
        return given | {run.model for run in self.runs.values()}


class ConfigFile(Sections):
    """A configuration as it is written; a run can be a grid of runs."""

    runs: Named[RunEntry] = Field(
        {},
        validate_default=True,
        description="Fine-tunes, by name; with `sweep` a grid of them, with `seeds` one for each.",
    )


@cache
def file_schema() -> Schema:
    """Return the JSON schema of a configuration as it is written."""
    return ConfigFile.model_json_schema()


def load_config(mapping: Mapping[str, Any]) -> Config:
    """Check a configuration and return it with types, defaults, and sweeps expanded.

    Args:
        mapping: What the YAML file and --config say, merged.

    Raises:
        ConfigError: If anything is wrong; it lists everything that is.
    """
    problems: list[Problem] = []
    runs: list[NamedRun] = []
    for name, raw in entries(mapping, "runs"):
        if isinstance(raw, Mapping):
            made, wrong = expand_run(name, raw)
            runs += made
            problems += wrong
    file = _checked_file(mapping, problems)
    problems += reference_problems(mapping)
    problems += unknown_run_problems(mapping, runs)
    problems += base_problems(mapping)
    problems += unknown_dataset_problems(mapping)
    problems += candidate_problems(mapping, runs)
    problems += benchmark_problems(mapping)
    if problems or file is None:
        raise config_error(_in_file_order(problems, mapping))
    sections = {key: getattr(file, key) for key in file.model_fields_set - {"runs"}}
    config = Config(
        **sections, runs={entry.name: entry.run for entry in runs}, replicates=replicates(runs)
    )
    problems += training_problems(runs)
    problems += _held_out_problems(config, runs)
    problems += missing_split_problems(config.benchmarks, config.datasets)
    problems += combination_problems(
        config.combinations,
        config.runs,
        config.adapters,
        {name: config.template_of(run) for name, run in config.runs.items()},
    )
    written = {entry.name: entry.source for entry in runs}
    problems += continue_problems(config.runs, config.candidates, written)
    problems += _publish_problems(config, runs)
    problems += _legacy_problems(config)
    problems += budget_problems(config.report, config.benchmarks, compared=bool(config.bases))
    if problems:
        raise config_error(problems)
    return config


def _in_file_order(problems: list[Problem], mapping: Mapping[str, Any]) -> list[Problem]:
    """Sort problems as a reader meets them: by section, then by entry."""
    sections = list(ConfigFile.model_fields)

    def place(problem: Problem) -> tuple[int, int]:
        section, name = (*problem.path, None, None)[:2]
        if section not in sections:
            return len(sections), 0
        names = [str(key) for key, _ in entries(mapping, str(section))]
        return sections.index(str(section)), names.index(name) if name in names else 0

    return sorted(problems, key=place)


def _checked_file(mapping: Mapping[str, Any], problems: list[Problem]) -> ConfigFile | None:
    """Check the fields; swept keys hold their first value meanwhile, as they may be required."""
    filled = dict(mapping)
    checked_already = set()
    if isinstance(mapping.get("runs"), Mapping):
        filled["runs"] = {}
        for name, raw in mapping["runs"].items():
            filled["runs"][name] = raw
            if swept(raw):
                makers = {key: raw[key] for key in ("sweep", "seeds") if key in raw}
                filled["runs"][name] = {**at_point(raw, first_point(raw)), **makers}
                checked_already |= {("runs", name, *split_key(key)) for key in swept(raw)}
    try:
        return ConfigFile.model_validate(filled)
    except ValidationError as error:
        known = {problem.path for problem in problems} | checked_already
        found = problems_of(error, file_schema())
        problems += [problem for problem in found if problem.path not in known]
        return None


def _legacy_problems(config: Config) -> Iterator[Problem]:
    """Yield a wish for results in the old layout where there will be none."""
    written = any(isinstance(one, MmluOptions) for one in config.benchmarks.values())
    if config.report.legacy_results and not written:
        yield Problem(
            ("report", "legacy_results"),
            "no benchmark here is of kind mmlu, and only those are written so; add one, or leave"
            " this out",
        )


def _publish_problems(config: Config, runs: list[NamedRun]) -> Iterator[Problem]:
    """Yield what `publish` asks for and cannot have, of runs and of combinations."""
    taken: dict[str, str] = {}
    tuned = {entry.name: (entry.source, entry.run.publish, entry.run.merge) for entry in runs}
    yield from publish_problems("runs", tuned, taken)
    of_candidates = {n: (n, c.publish, c.merge) for n, c in config.combinations.items()}
    of_candidates |= {n: (n, a.publish, a.merge) for n, a in config.adapters.items()}
    yield from publish_problems("candidates", of_candidates, taken)


def _held_out_problems(config: Config, runs: list[NamedRun]) -> Iterator[Problem]:
    """Yield the settings that need held-out rows where a dataset holds none out."""

    def lacks(name: str) -> bool:
        dataset = config.datasets[name]
        return dataset.valid_fraction == 0 and not dataset.has_valid_split

    for entry in runs:
        for name, dataset in entry.run.evaluate_on.items():
            if lacks(dataset):
                yield Problem(
                    ("runs", entry.source, "evaluate_on", name),
                    f"measures held-out rows, and datasets.{dataset} has none; give it a valid"
                    " split, or a valid_fraction above 0",
                )
        lacking = [name for name in entry.run.dataset if lacks(name)]
        if not lacking:
            continue
        training = entry.run.training
        # Some of a mixture's datasets are enough to be measured, and not to decide by.
        others = bool(entry.run.evaluate_on) or len(lacking) < len(entry.run.dataset)
        measured = ["eval_every_steps"] * (training.eval_every_steps is not None and not others)
        for key in (*measured, *training.watching()):
            yield Problem(
                ("runs", entry.source, "training", key),
                f"needs held-out rows, and datasets.{lacking[0]} has none;"
                " give it a valid split, or a valid_fraction above 0",
            )


def read_config_file(path: Path) -> dict[str, Any]:
    """Read a YAML file in which no key stands twice.

    Args:
        path: The file.

    Returns:
        Its content; an empty mapping for an empty file.

    Raises:
        ConfigError: If the file cannot be read, or if a key stands twice. YAML would silently
            keep the last one: the first of two runs of one name would be gone.
    """
    try:
        loader = yaml.SafeLoader(path.read_bytes())
        node = loader.get_single_node()
        repeated = list(_repeated_keys(node, path, (), set()))
        content = None if node is None or repeated else loader.construct_document(node)
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: a date such as 2026-13-01
        raise ConfigError(f"{path} cannot be read as YAML; correct it: {error}") from error
    if repeated:
        raise ConfigError(
            "Of two equal keys YAML keeps only the last; rename or remove one:\n"
            + "\n".join(f"  {line}" for line in repeated)
        )
    if not isinstance(content, dict | None):
        raise ConfigError(f"{path} holds no keys; begin it with models: (docs/configuration.md)")
    return content or {}


def _repeated_keys(
    node: yaml.Node | None, path: Path, above: tuple[str | int, ...], seen: set[int]
) -> Iterator[str]:
    """Yield a line for every key that stands again in the same mapping; aliases are read once."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _repeated_keys(item, path, (*above, index), seen)
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        here = (*above, str(key.value))
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            first = lines.setdefault(key.value, line)
            if first != line:
                yield f"{path}:{line}: {dotted(here)} stands in line {first} already"
        yield from _repeated_keys(value, path, here, seen)
