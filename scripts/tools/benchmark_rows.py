"""Make the rows of a benchmark that no dataset of the hub gives in the form that is asked.

Reads   a file that was downloaded before: nothing here uses a network
Writes  OUT, as the entry in config/benchmarks/ of the same name expects it
Try it  python -m scripts.tools.benchmark_rows jmmlu JMMLU.zip data/jmmlu
"""

import argparse
import csv
import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

_COLUMNS = ["question", "A", "B", "C", "D", "answer"]


def alpaca_eval(source: Path, out: Path) -> int:
    """Write AlpacaEval's instructions as prompts for judged pairs.

    Args:
        source: alpaca_eval.json of tatsu-lab/alpaca_eval.
        out: The file to write.
    """
    rows = json.loads(source.read_text(encoding="utf-8"))
    return _write(out, ({"prompt": r["instruction"], "category": r["dataset"]} for r in rows))


def jmmlu(source: Path, out: Path) -> int:
    """Write JMMLU's questions by subject.

    Args:
        source: JMMLU.zip of nlp-waseda/JMMLU, whose tables name their columns, or a clone of the
            repository of that name, whose tables do not.
        out: The folder to write.
    """
    written = 0
    for name, text in _tables(source):
        table = list(csv.reader(io.StringIO(text, newline="")))
        rows = (dict(zip(_COLUMNS, row, strict=True)) for row in table if row != _COLUMNS)
        written += _write(out / "nlp-waseda/JMMLU" / name / "test.jsonl", rows)
    return written


def llm_jp(source: Path, out: Path) -> int:
    """Write a dataset that llm-jp-eval has prepared.

    Args:
        source: A JSON file with `instruction`, `few_shots` and `samples`.
        out: The folder to write.
    """
    prepared = json.loads(source.read_text(encoding="utf-8"))

    def rows(key: str) -> Iterator[Mapping[str, Any]]:
        for row in prepared[key]:
            kept = {"input": row["input"], "output": row["output"]}
            yield {"instruction": prepared["instruction"], **kept}

    folder = out / "llm_jp/default"
    _write(folder / "dev.jsonl", rows("few_shots"))
    return _write(folder / "test.jsonl", rows("samples"))


MAKERS: dict[str, Callable[[Path, Path], int]] = {
    "alpaca_eval": alpaca_eval,
    "jmmlu": jmmlu,
    "llm_jp": llm_jp,
}


def _tables(source: Path) -> Iterator[tuple[str, str]]:
    """Yield name and text of every table in a folder or a zip file, in the order of names."""
    if source.is_dir():
        for path in sorted(source.rglob("*.csv")):
            yield path.stem, path.read_text(encoding="utf-8-sig")
        return
    with zipfile.ZipFile(source) as archive:
        for name in sorted(archive.namelist()):
            inside = PurePosixPath(name)
            # What a Mac adds to a zip file.
            if inside.suffix == ".csv" and not inside.name.startswith("._"):
                yield inside.stem, archive.read(name).decode("utf-8-sig")


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines), encoding="utf-8")
    return len(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the arguments, write the rows, and say how many there are."""
    parser = argparse.ArgumentParser(description="Make the rows of a benchmark.")
    parser.add_argument("benchmark", choices=MAKERS)
    parser.add_argument("source", type=Path, help="the downloaded file or folder")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args(argv)
    try:
        count = MAKERS[arguments.benchmark](arguments.source, arguments.out)
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        sys.exit(
            f"{arguments.source} is not what {arguments.benchmark} is made of"
            f" ({type(error).__name__}: {error}); config/benchmarks/{arguments.benchmark}.yaml says"
            " which file it is"
        )
    if not count:
        sys.exit(f"{arguments.source} holds no question of {arguments.benchmark}")
    print(f"{arguments.out}: {count} questions")


if __name__ == "__main__":
    main()
