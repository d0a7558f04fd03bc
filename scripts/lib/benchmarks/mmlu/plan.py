"""MMLU's questions, of a local folder or of the hub, as planning finds them: before any job."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import assert_never

from scripts.lib.artifacts.graph import slug_of_path, slugify
from scripts.lib.benchmarks.mmlu.options import HubMmlu, LocalMmlu
from scripts.lib.benchmarks.mmlu.tables import SPLITS, archive_suffix, read_tables, table_name
from scripts.lib.errors import ConfigError
from scripts.lib.plan.local_files import QUESTION_SUFFIXES, LocalSources
from scripts.lib.plan.questions import Questions, bad_rows, counts, sorted_files
from scripts.lib.questions.categories import CATEGORY_MAPS, unknown_subjects
from scripts.lib.questions.choice_faults import mmlu_fault


def questions(benchmark: HubMmlu | LocalMmlu, sources: LocalSources) -> Questions:
    """Return what the questions are made of.

    Raises:
        ConfigError: Files are missing, rows are no questions, there are too few few-shot examples,
            or a subject is asked for that is not there.
    """
    match benchmark:
        case HubMmlu():
            found = _of_hub(benchmark)
        case LocalMmlu():
            found = _of_folder(benchmark, sources)
        case _:
            assert_never(benchmark)
    return found


def _of_hub(benchmark: HubMmlu) -> Questions:
    spec = {
        "source": "hub",
        "kind": benchmark.kind,
        "hub": benchmark.hub,
        "revision": benchmark.revision,
        **bad_rows(benchmark),
    }
    subjects = tuple(sorted(CATEGORY_MAPS[benchmark.categories]))
    _check_subjects(benchmark.subjects or (), subjects)
    return Questions(slug=slugify(benchmark.hub.split("/")[-1]), spec=spec, subjects=subjects)


def _of_folder(benchmark: LocalMmlu, sources: LocalSources) -> Questions:
    place = sources.locate(benchmark.path)
    if suffix := archive_suffix(place) if place.is_file() else None:
        places = {f"questions{suffix}": place}
    else:
        places = subject_tables(place) or subject_files(place, sources)
    is_tables = not any(name.endswith(".jsonl") for name in places)
    spec = {
        "source": "path",
        "kind": benchmark.kind,
        "files": {name: sources.sha256(place) for name, place in places.items()},
        **bad_rows(benchmark),
    }
    found = counts(
        sources,
        spec,
        lambda: read_tables(places) if is_tables else sorted_files(places, mmlu_fault),
    )
    subjects = tuple(sorted(Path(name).stem for name in found if name.startswith("test/")))
    _check_subjects(benchmark.subjects or (), subjects)
    wanted = benchmark.subjects or subjects
    few = [name for name in wanted if found.get(f"dev/{name}.jsonl", 0) < benchmark.shots]
    if few:
        raise ConfigError(
            f"shots: {benchmark.shots} few-shot examples of each subject are asked for, but"
            f" {place / 'dev'} has fewer of {', '.join(few)}; lower `shots`, or add rows"
        )
    if fault := unknown_subjects(wanted, benchmark.categories):
        raise ConfigError(f"subjects: {fault}")
    slug = slug_of_path(benchmark.path)
    return Questions(slug=slug, spec=spec, places=places, subjects=subjects)


def subject_tables(folder: Path) -> dict[str, Path]:
    """Return path inside the benchmark -> place of the CSV tables of a folder without JSON lines.

    They may stand in an inner folder, as those of MMLU's own archive do.
    """
    if any(folder.glob("test/*.jsonl")):
        return {}
    for start in (folder, *sorted(place for place in folder.glob("*") if place.is_dir())):
        places = {
            f"{split}/{place.name}": place
            for split in SPLITS
            for place in sorted((start / split).glob("*.csv"))
            if table_name(PurePosixPath(place.relative_to(folder)))
        }
        if any(not name.startswith("dev/") for name in places):
            return places
    return {}


def subject_files(folder: Path, sources: LocalSources) -> dict[str, Path]:
    """Return `split/subject.jsonl` -> place of a benchmark in MMLU's layout.

    Raises:
        ConfigError: There is no test question, or a file is empty or of another kind.
    """
    places = [
        place for split in ("dev", "test") for place in sorted((folder / split).glob("*.jsonl"))
    ]
    if not any(place.parent.name == "test" for place in places):
        raise ConfigError(
            f"{folder} has no test/*.jsonl: one file for each subject is expected, or tables as"
            " CSV, or an archive of such"
        )
    for place in places:
        sources.check_rows(place, QUESTION_SUFFIXES)
    return {f"{place.parent.name}/{place.name}": place for place in places}


def _check_subjects(wanted: Sequence[str], there: Sequence[str]) -> None:
    if unknown := sorted({*wanted} - {*there}):
        raise ConfigError(
            f"subjects: the benchmark has no {', '.join(unknown)}; it has {', '.join(there)}"
        )
