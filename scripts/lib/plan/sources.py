"""The start of the graph: models, raw rows and questions, as a config names them."""

import glob
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, assert_never

from scripts.lib.artifacts.graph import Graph, slug_of_path, slugify
from scripts.lib.benchmarks import kinds
from scripts.lib.config.benchmarks import Benchmark
from scripts.lib.config.existing import Checkpoint
from scripts.lib.config.sources import (
    Dataset,
    FolderGgufSource,
    FolderSource,
    HubDataset,
    HubSource,
    LocalDataset,
    LocalSplitDataset,
    ModelSource,
    PackageGgufSource,
    folder_of,
)
from scripts.lib.data.packed_files import suffix_of
from scripts.lib.errors import ConfigError
from scripts.lib.plan.local_faults import quantisation, quantised_words
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.questions import Questions
from scripts.lib.plan.row_files import check_apart, row_files

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


def add_model(graph: Graph, sources: LocalSources, model: ModelSource) -> Place:
    """Add the artifact of one model."""
    local: tuple[str, ...]
    if isinstance(model, HubSource):
        slug = slugify(model.hub.split("/")[-1])
        spec: dict[str, Any] = {
            "source": "hub",
            "hub": model.hub,
            "revision": model.revision,
            "trust_remote_code": model.trust_remote_code,
        }
        local = ()
    elif isinstance(model, FolderSource):
        folder = sources.locate(model.path)
        slug = slugify(folder.resolve().name)
        spec = {"source": "path", "files": sources.model_files(model.path)}
        local = tuple(str(folder / name) for name in spec["files"])
    elif isinstance(model, PackageGgufSource | FolderGgufSource):
        file = (
            sources.package_file(model.package, model.gguf)
            if isinstance(model, PackageGgufSource)
            else sources.locate(str(Path(model.path) / model.gguf))
        )
        slug = slugify(file.name.split(".")[0])
        spec = {"source": "gguf", "sha256": sources.sha256(file)}
        local = (str(file),)
    else:
        assert_never(model)
    return Place(graph.add("models", slug, spec, sources=local), slug)


def add_checkpoint(graph: Graph, sources: LocalSources, one: Checkpoint) -> Place:
    """Add the artifact of a finished checkpoint.

    Raises:
        ConfigError: when a local one is quantised, or no complete model.
    """
    place = add_model(graph, sources, one.model)
    folder = folder_of(one.model)
    if folder is not None and (how := quantisation(sources.locate(folder))):
        raise ConfigError(f"{sources.locate(folder)} {quantised_words(how)}")
    return place


def add_raw(
    graph: Graph, sources: LocalSources, dataset: Dataset, wanted: Collection[str] = ()
) -> Place:
    """Add the artifact of one raw dataset.

    Args:
        graph: Gets the artifact.
        sources: The local files.
        dataset: The dataset.
        wanted: Splits that something needs a row of.

    Raises:
        ConfigError: when a local file will not do, or a wanted split has no row.
    """
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
    files = {split: row_files(sources, path) for split, path in named.items()}
    check_apart(files)
    if wanted:
        sources.check_usable_rows(_format(dataset), files, wanted)
    slug = _slug_of_files(named["train"])
    # In the order of their names, which the frozen plan keeps: the job pairs names with places.
    places = dict(sorted(_raw_names(files).items()))
    spec = {
        "source": "path",
        "files": {name: sources.sha256(place) for name, place in places.items()},
    }
    return Place(graph.add("raw", slug, spec, sources=map(str, places.values())), slug)


def _raw_names(files: Mapping[str, Sequence[Path]]) -> dict[str, Path]:
    """Return the names of raw files, which are those of splits and places in the order of rows.

    Their own names decide nothing but that order, and so are no part of it.
    """
    found = {}
    for split, places in files.items():
        for number, place in enumerate(places):
            stem = split if len(places) == 1 else f"{split}/{number:05d}"
            found[f"{stem}{suffix_of(place)}"] = place
    return found


def _slug_of_files(path: str | Sequence[str]) -> str:
    """Return words for the files of a split: those of the first part that is no pattern."""
    first = Path(path if isinstance(path, str) else path[0])
    parts = [part for part in first.parts if not glob.has_magic(part)]
    return slug_of_path(str(Path(*parts))) if parts else "rows"


def add_chat(graph: Graph, dataset: Dataset, raw: Place) -> str:
    """Add the artifact of a dataset's conversations, one for all who read them; return its id."""
    return graph.add(
        "chat",
        raw.slug,
        _format(dataset),
        reads={"raw": raw.id},
    )


def _format(dataset: Dataset) -> dict[str, Any]:
    """Return what decides the conversations of a dataset, beside its rows."""
    names = {"format", "system", "use", "placeholders"}
    names |= {"valid_fraction", "test_fraction", "split_seed", "limit"}
    if dataset.template_arguments:  # else it is as before there were any, its key, too
        names.add("template_arguments")
    settings = dataset.model_dump(include=names)
    if dataset.split_by is not None:
        settings["split_by"] = dataset.split_by
    if dataset.near_duplicates is not None:
        from scripts.lib.data.near_duplicates import METHOD

        settings["near_duplicates"] = {"threshold": dataset.near_duplicates, **METHOD}
    return settings | {
        "columns": dataset.columns.given() or None,
        "tags": dataset.tags.given() or None,
    }


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

    Raises:
        ConfigError: Files are missing or will not do, or something is wrong with the dataset.
    """
    if asked := benchmark.held_out_split():
        return _add_held_out(graph, *asked, datasets)
    found: Questions = kinds.planning(benchmark.kind).questions(benchmark, sources)
    id = graph.add(
        "benchmarks",
        found.slug,
        found.spec,
        sources=map(str, found.places.values()),
        kinds=(benchmark.kind,),
    )
    backend = {}
    if getattr(benchmark, "backend", None) == "vllm":
        backend = {"backend": f"vllm=={sources.package_version('vllm')}"}
    return Place(id, found.slug, found.subjects, backend)


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


def subjects_of(benchmark: Benchmark, place: Place) -> tuple[str | None, ...]:
    """Return the wanted subjects of a benchmark, each with scores of its own.

    So another category map finds its scores made, and one more subject asks only that. None stands
    for all of a set that planning does not look into.
    """
    return getattr(benchmark, "subjects", None) or place.subjects or (None,)
