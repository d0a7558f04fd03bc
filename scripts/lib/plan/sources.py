"""The start of the graph: models, raw rows and questions, as a config names them."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, assert_never

from scripts.lib.artifacts.graph import Graph, slug_of_path, slugify
from scripts.lib.config.benchmark_options import RowOptions
from scripts.lib.config.benchmarks import (
    Benchmark,
    ExactMatch,
    HubMmlu,
    LocalMmlu,
    MultipleChoice,
)
from scripts.lib.config.held_out import HeldOut
from scripts.lib.config.judged_pairs import JudgedPairs
from scripts.lib.config.lm_eval import LmEval
from scripts.lib.config.sources import (
    Dataset,
    HubDataset,
    HubModel,
    LocalDataset,
    LocalGguf,
    LocalModel,
    LocalSplitDataset,
    Model,
    PackageGguf,
)
from scripts.lib.errors import ConfigError
from scripts.lib.plan.choice_columns import check_columns, has_column
from scripts.lib.plan.lm_eval_files import task_files
from scripts.lib.plan.local_files import QUESTION_SUFFIXES, LocalSources
from scripts.lib.questions.categories import CATEGORY_MAPS

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Place:
    """A fetched artifact and what later slugs and jobs need of it.

    Attributes:
        id: The artifact.
        slug: Words for it.
        subjects: The subjects of a benchmark, where planning knows them.
        backend: A benchmark's back end with its version, where no lock pins it.
    """

    id: str
    slug: str
    subjects: tuple[str, ...] = ()
    backend: Mapping[str, str] = field(default_factory=dict)


def add_model(graph: Graph, sources: LocalSources, model: Model) -> Place:
    """Add the artifact of one base model."""
    local: tuple[str, ...]
    if isinstance(model, HubModel):
        slug = slugify(model.hub.split("/")[-1])
        spec: dict[str, Any] = {
            "source": "hub",
            "hub": model.hub,
            "revision": model.revision,
            "trust_remote_code": model.trust_remote_code,
        }
        local = ()
    elif isinstance(model, LocalModel):
        folder = sources.locate(model.path)
        slug = slugify(folder.resolve().name)
        spec = {"source": "path", "files": sources.model_files(model.path)}
        local = tuple(str(folder / name) for name in spec["files"])
    elif isinstance(model, PackageGguf | LocalGguf):
        file = (
            sources.package_file(model.package, model.gguf)
            if isinstance(model, PackageGguf)
            else sources.locate(str(Path(model.path) / model.gguf))
        )
        slug = slugify(file.name.split(".")[0])
        spec = {"source": "gguf", "sha256": sources.sha256(file)}
        local = (str(file),)
    else:
        assert_never(model)
    return Place(graph.add("models", slug, spec, sources=local), slug)


def add_raw(graph: Graph, sources: LocalSources, dataset: Dataset) -> Place:
    """Add the artifact of one raw dataset."""
    if isinstance(dataset, HubDataset):
        slug = slugify(dataset.hub.split("/")[-1] + (f"-{dataset.name}" if dataset.name else ""))
        splits = {split: getattr(dataset.splits, split) for split in SPLITS}
        spec = {
            "source": "hub",
            "hub": dataset.hub,
            "revision": dataset.revision,
            "name": dataset.name,
            "splits": {split: name for split, name in splits.items() if name},
        }
        return Place(graph.add("raw", slug, spec), slug)
    if isinstance(dataset, LocalDataset):
        named = {"train": dataset.path}
    elif isinstance(dataset, LocalSplitDataset):
        named = {s: getattr(dataset.files, s) for s in SPLITS if getattr(dataset.files, s)}
    else:
        assert_never(dataset)
    # In the order of their names, which the frozen plan keeps: the job pairs names with places.
    files = {split: sources.rows_file(path) for split, path in sorted(named.items())}
    sources.check_layout(files["train"], dataset.format, dataset.limit)
    slug = slug_of_path(named["train"])
    spec = {
        "source": "path",
        "files": {f"{split}{file.suffix}": sources.sha256(file) for split, file in files.items()},
    }
    return Place(graph.add("raw", slug, spec, sources=map(str, files.values())), slug)


def add_chat(graph: Graph, dataset: Dataset, raw: Place) -> str:
    """Add the artifact of a dataset's conversations, one for all who read them; return its id."""
    return graph.add(
        "chat",
        raw.slug,
        dataset.model_dump(
            include={"format", "system", "valid_fraction", "test_fraction", "split_seed", "limit"}
        ),
        reads={"raw": raw.id},
    )


def _add_held_out(
    graph: Graph, name: str, split: str, datasets: Mapping[str, tuple[Dataset, Place]]
) -> Place:
    """Add the conversations that a benchmark asks; its one subject is the split.

    Raises:
        ConfigError: when something is wrong with the dataset.
    """
    if name not in datasets:
        raise ConfigError(f"datasets.{name}, which it asks, has problems of its own")
    dataset, raw = datasets[name]
    return Place(add_chat(graph, dataset, raw), f"{raw.slug}-{split}", (split,))


def add_questions(
    graph: Graph,
    sources: LocalSources,
    benchmark: Benchmark,
    datasets: Mapping[str, tuple[Dataset, Place]],
) -> Place:
    """Add the artifact of one benchmark's questions.

    Args:
        graph: Gets the artifact.
        sources: The local files.
        benchmark: The benchmark.
        datasets: The datasets whose raw rows are in the graph, by name.
    """
    if isinstance(benchmark, HeldOut):
        return _add_held_out(graph, benchmark.dataset, benchmark.split, datasets)
    if isinstance(benchmark, JudgedPairs) and benchmark.dataset is not None:
        return _add_held_out(graph, benchmark.dataset, benchmark.split, datasets)
    place = _add_questions(graph, sources, benchmark)
    if getattr(benchmark, "backend", None) != "vllm":
        return place
    version = sources.package_version("vllm")
    return dataclasses.replace(place, backend={"backend": f"vllm=={version}"})


def _add_questions(
    graph: Graph,
    sources: LocalSources,
    benchmark: HubMmlu | LocalMmlu | ExactMatch | MultipleChoice | LmEval | JudgedPairs,
) -> Place:
    if isinstance(benchmark, HubMmlu):
        slug = slugify(benchmark.hub.split("/")[-1])
        spec: dict[str, Any] = {
            "source": "hub",
            "kind": "mmlu",
            "hub": benchmark.hub,
            "revision": benchmark.revision,
            **_bad_rows(benchmark),
        }
        place = Place(_add(graph, slug, spec), slug, tuple(sorted(CATEGORY_MAPS["hendrycks"])))
    elif isinstance(benchmark, LocalMmlu):
        slug = slug_of_path(benchmark.path)
        files = sources.mmlu_files(benchmark.path)
        folder = sources.locate(benchmark.path)
        places = {name: folder / name for name in files}
        spec = {"source": "path", "kind": "mmlu", "files": files, **_bad_rows(benchmark)}
        counts = sources.check_questions(spec, places)
        id = _add(graph, slug, spec, places.values())
        subjects = tuple(sorted(Path(name).stem for name in files if name.startswith("test/")))
        place = Place(id, slug, subjects)
    elif isinstance(benchmark, ExactMatch | JudgedPairs):
        assert benchmark.path is not None  # else a dataset holds the prompts
        file = sources.rows_file(benchmark.path, QUESTION_SUFFIXES)
        slug = slugify(file.parent.name if file.stem == "questions" else file.stem)
        spec = {
            "source": "path",
            "kind": benchmark.kind,
            "files": {"questions.jsonl": sources.sha256(file)},
            **_bad_rows(benchmark),
        }
        chat_template = isinstance(benchmark, JudgedPairs) or benchmark.chat_template
        sources.check_questions(spec, {"questions.jsonl": file}, chat_template=chat_template)
        return Place(_add(graph, slug, spec, [file]), slug)
    elif isinstance(benchmark, MultipleChoice):
        return _add_choices(graph, sources, benchmark)
    elif isinstance(benchmark, LmEval):
        return _add_tasks(graph, sources, benchmark)
    else:
        assert_never(benchmark)
    unknown = sorted(set(benchmark.subjects or ()) - set(place.subjects))
    if unknown:
        raise ConfigError(
            f"subjects: the benchmark has no {', '.join(unknown)}; it has"
            f" {', '.join(place.subjects)}"
        )
    if isinstance(benchmark, LocalMmlu):
        wanted = benchmark.subjects or place.subjects
        _check_examples(folder / "dev", benchmark.shots, wanted, counts)
    return place


def _add(graph: Graph, slug: str, spec: Mapping[str, Any], files: Iterable[Path] = ()) -> str:
    """Add the artifact of a benchmark's questions and return its id."""
    sources = map(str, files)
    return graph.add("benchmarks", slug, spec, sources=sources, kinds=(spec["kind"],))


def _bad_rows(benchmark: RowOptions) -> dict[str, str]:
    """Return what a spec says of bad rows: nothing where they are refused, as there are none."""
    return {} if benchmark.on_bad_row == "error" else {"on_bad_row": benchmark.on_bad_row}


def _check_examples(
    dev: Path, shots: int, subjects: Sequence[str], counts: Mapping[str, int]
) -> None:
    """Refuse a folder with fewer worked examples than are to be shown."""
    few = [name for name in subjects if counts.get(f"dev/{name}.jsonl", 0) < shots]
    if few:
        raise ConfigError(
            f"shots: {shots} worked examples of each subject are asked for, but {dev} has fewer of"
            f" {', '.join(few)}; lower `shots`, or add rows"
        )


def _add_choices(graph: Graph, sources: LocalSources, benchmark: MultipleChoice) -> Place:
    """Add the artifact of a user's own multiple-choice questions.

    Raises:
        ConfigError: when a file or a column is missing.
    """
    questions = sources.rows_file(benchmark.path)
    places = {f"test{questions.suffix}": questions}
    check_columns(questions, benchmark.category_column)
    shots_category = None
    if benchmark.shots_path:
        examples = sources.rows_file(benchmark.shots_path)
        check_columns(examples, None)
        places[f"shots{examples.suffix}"] = examples
        if has_column(examples, benchmark.category_column):
            shots_category = benchmark.category_column
    places = dict(sorted(places.items()))
    spec = {
        "source": "path",
        "kind": "multiple_choice",
        "files": {name: sources.sha256(place) for name, place in places.items()},
        "answers": benchmark.answers,
        "category": benchmark.category_column,
        "shots": benchmark.shots,
        "shots_category": shots_category,
        **_bad_rows(benchmark),
    }
    sources.check_questions(spec, places)
    slug = slug_of_path(benchmark.path)
    return Place(_add(graph, slug, spec, places.values()), slug)


def _add_tasks(graph: Graph, sources: LocalSources, benchmark: LmEval) -> Place:
    """Add the artifact of lm-eval's tasks and their rows."""
    own, places = task_files(sources, benchmark.path or (), benchmark.data)
    spec = {
        "source": "lm_eval",
        "kind": "lm_eval",
        "tasks": benchmark.tasks or (),
        "own": own,
        "data": benchmark.data is not None,
        "revisions": dict(benchmark.revisions),
        "files": {name: sources.sha256(place) for name, place in places.items()},
    }
    words = slugify("-".join(benchmark.tasks or (Path(name).stem for name in own)))
    # What a user's own files lead to is known once they are read, which runs their code.
    tasks = () if own else sources.lm_eval_tasks(benchmark.tasks or ())
    return Place(_add(graph, words, spec, places.values()), words, tasks)
