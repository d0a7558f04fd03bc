"""Read the rows of raw dataset files as a stream: JSON, tables as text, Parquet and Arrow.

A row that cannot be parsed is still a row: it comes out as the error that the ledger will count.
An array named `.jsonl` is read as an array, JSON lines named `.json` as lines, and of one object
with one list of objects (`{"version": 1, "data": [...]}`) that list.
"""

import codecs
import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from scripts.lib.data.json_lists import key_of_rows, rows_under
from scripts.lib.data.packed_files import kind_of, opened
from scripts.lib.errors import RecordError

SOURCES = ("train", "valid", "test")
CHUNK_CHARACTERS = 1 << 20
PARQUET_BATCH_ROWS = 2_000
ARROW_FILE = b"ARROW1"
JSON_SPACE = " \t\r\n,"
_BLANK = b" \t\r\n\f\v" + codecs.BOM_UTF8


class UnusableRow(RecordError):
    """One raw row cannot become a conversation.

    Attributes:
        reason: Short snake_case code that the ledger counts.
        detail: One sentence for people, plain ASCII.
    """

    def __init__(self, reason: str, detail: str) -> None:
        # Rows may hold lone surrogates, which no UTF-8 file can take.
        self.reason = reason
        self.detail = detail.encode("ascii", "backslashreplace").decode("ascii")
        super().__init__(f"{reason}: {self.detail}")

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors go from one process to another by what they were made of.
        return type(self), (self.reason, self.detail)


RawRow = Any | UnusableRow


RowFiles = Path | Sequence[Path]
"""A file of rows, a folder of such files in the order of their names, or files in this order."""


def source_files(raw: Path) -> dict[str, Path]:
    """Return the file, or the folder of files, of each source (`train`, `valid`, `test`) in *raw*.

    Raises:
        RecordError: If there is no `train` file, or two files for one source.
    """
    found: dict[str, Path] = {}
    for path in sorted(raw.iterdir()):
        source = path.name.partition(".")[0]
        if source in SOURCES and (path.is_dir() or kind_of(path) in _READERS):
            if source in found:
                raise RecordError(
                    f"{raw} holds both {found[source].name} and {path.name}; keep one of them"
                )
            found[source] = path
    if "train" not in found:
        known = ", ".join(f"train{suffix}" for suffix in _READERS)
        raise RecordError(f"{raw} holds no training rows; one of these is needed: {known}")
    return found


def files_of(rows: RowFiles) -> Sequence[Path]:
    """Return the files of rows in their order."""
    if not isinstance(rows, Path):
        return rows
    return (
        [path for path in sorted(rows.iterdir()) if path.name[0] != "."]
        if rows.is_dir()
        else [rows]
    )


def named(rows: RowFiles) -> str:
    """Return what an error calls files of rows."""
    if isinstance(rows, Path):
        return str(rows)
    more = len(rows) - 1
    return f"{rows[0]}{f' and {more:,} more' if more else ''}"


def read_rows(rows: RowFiles) -> Iterator[RawRow]:
    """Yield the rows of files in order, one at a time in bounded memory.

    Raises:
        RecordError: If a file as a whole cannot be read.
    """
    yield from (row for path in files_of(rows) for _, row in read_numbered_rows(path))


def read_numbered_rows(path: Path) -> Iterator[tuple[int, RawRow]]:
    """Yield the rows of *path* as `read_rows` does, each with where it stands.

    That is its line in JSON lines, the line on which it ends in CSV, and else its place from 1.

    Raises:
        RecordError: If the file as a whole cannot be read.
    """
    with naming(path):
        yield from _READERS[kind_of(path)](path)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Say which file it was where one cannot be read.

    Raises:
        RecordError: In place of what reading it raised.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        raise RecordError(f"{path} is not UTF-8 ({error}); save it as UTF-8") from error
    except (OSError, ValueError, csv.Error) as error:  # Arrow's errors are one of the two
        raise RecordError(f"{path} cannot be read: {error}; fetch or repair the file") from error


def _read_jsonl(path: Path) -> Iterator[tuple[int, RawRow]]:
    if is_array(path):
        yield from _read_json(path)
    else:
        yield from ((number, parsed_line(line, number)) for number, line in numbered_lines(path))


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file that are not blank, each with its number."""
    with opened(path) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip(_BLANK):
                yield number, line


def is_array(path: Path) -> bool:
    """Tell whether a file of JSON is one array; a row that is one could not be used anyway."""
    with opened(path) as file:
        while chunk := file.read(CHUNK_CHARACTERS):
            if text := chunk.lstrip(_BLANK):
                return text.startswith(b"[")
    return False


def parsed_line(line: bytes, number: int) -> RawRow:
    """Return the row of a line of JSON."""
    try:
        return json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return UnusableRow("not_json", f"line {number}: {error}")


def _read_json(path: Path) -> Iterator[tuple[int, RawRow]]:
    key = key_of_rows(path)
    rows = _json_rows(path) if key is None else rows_under(path, key)
    yield from enumerate(rows, start=1)


def _json_rows(path: Path) -> Iterator[RawRow]:
    """Read an array of objects, or objects one after another, without holding the whole file."""
    decoder = json.JSONDecoder()
    with opened(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig") as text:
        buffer, wanted = "", CHUNK_CHARACTERS
        while not buffer and (more := text.read(CHUNK_CHARACTERS)):
            buffer = more.lstrip()
        end = "]" if buffer.startswith("[") else ""
        buffer = buffer.removeprefix("[")
        while True:
            rows, buffer = _complete_rows(decoder, buffer)
            yield from rows
            # A row longer than a chunk doubles what is read, so that parsing stays linear.
            wanted = CHUNK_CHARACTERS if rows else wanted * 2
            more = text.read(wanted)
            if not more:
                break
            buffer += more
    rows, rest = _complete_rows(decoder, f"{buffer}\n")
    yield from rows
    rest = rest.strip(JSON_SPACE)
    if end and not rest:
        raise RecordError(
            f"{path} begins an array that does not end: it was cut short; fetch it anew"
        )
    if rest != end:
        kind = "one array, as it begins with [" if end else "JSON"
        raise RecordError(f"{path} is not {kind}, from here on: {rest[:80]!r}; repair it")


def _complete_rows(decoder: json.JSONDecoder, text: str) -> tuple[list[RawRow], str]:
    """Return the values that stand completely in *text*, and what is left of it."""
    rows: list[RawRow] = []
    position = 0
    while True:
        while position < len(text) and text[position] in JSON_SPACE:
            position += 1
        try:
            row, after = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            return rows, text[position:]
        if after == len(text):  # a number may go on in the next chunk
            return rows, text[position:]
        rows.append(row)
        position = after


def _read_csv(path: Path, delimiter: str = ",") -> Iterator[tuple[int, RawRow]]:
    csv.field_size_limit(sys.maxsize)
    with opened(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        rows = csv.DictReader(text, delimiter=delimiter)
        for row in rows:
            fits = None not in row and None not in row.values()
            unfit = UnusableRow("wrong_number_of_columns", "the row does not fit the header")
            yield rows.line_num, row if fits else unfit


def _read_table(path: Path) -> Iterator[tuple[int, RawRow]]:
    rows = (row for batch in record_batches(path) for row in rows_of_batch(batch))
    yield from enumerate(rows, start=1)


def record_batches(path: Path) -> Iterator[Any]:
    """Yield the rows of a Parquet or Arrow file as Arrow's record batches."""
    yield from _parquet_batches(path) if kind_of(path) == ".parquet" else _arrow_batches(path)


def rows_of_batch(batch: Any) -> Iterator[RawRow]:
    """Yield the rows of a table as they were written."""
    from scripts.lib.data.arrow_rows import cleaner

    yield from map(cleaner(batch.schema), batch.to_pylist())


def _parquet_batches(path: Path) -> Iterator[Any]:
    # It takes a while to import, which planning need not wait for other files.
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as table:
        yield from table.iter_batches(batch_size=PARQUET_BATCH_ROWS)


def _arrow_batches(path: Path) -> Iterator[Any]:
    """Read Arrow's files in either form: with an index, or the stream that `datasets` saves."""
    import pyarrow as pa

    with path.open("rb") as file:
        is_stream = not file.read(len(ARROW_FILE)).startswith(ARROW_FILE)
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_stream(source) if is_stream else pa.ipc.open_file(source)
        batches = (
            iter(table) if is_stream else map(table.get_batch, range(table.num_record_batches))
        )
        for batch in batches:
            for start in range(0, batch.num_rows, PARQUET_BATCH_ROWS):
                yield batch.slice(start, PARQUET_BATCH_ROWS)


_READERS: dict[str, Callable[[Path], Iterator[tuple[int, RawRow]]]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": partial(_read_csv, delimiter="\t"),
    ".parquet": _read_table,
    ".arrow": _read_table,
    ".feather": _read_table,
}

ROW_SUFFIXES = tuple(_READERS)
"""What files of rows are named, where they are not compressed."""
