"""MMLU's questions in the tables they were published as: CSV in folders, zip and tar archives.

MMLU's own tables have no header (`test/anatomy_test.csv`: question, four choices, letter), those of
CMMLU (`test/anatomy.csv`) and C-Eval (`val/law_val.csv`) have one. C-Eval keeps the answers of its
test to itself; where no question of `test` has one, those of `val` are asked.
"""

import csv
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from scripts.lib.errors import ConfigError
from scripts.lib.questions.bad_rows import UNREADABLE, BadRow, Fault, Rows, shown
from scripts.lib.questions.choice_faults import MMLU_CHOICES, mmlu_fault
from scripts.lib.questions.rows import LETTERS, Row, is_subject

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
SPLITS = ("dev", "val", "test")
_CHOICES = LETTERS[:MMLU_CHOICES]
_COLUMNS = ("question", *_CHOICES.lower(), "answer")
_CHARACTERS_OF_A_CELL = 1 << 24

Tables = dict[str, dict[str, Rows[Row]]]
"""Split -> subject -> its rows."""


def archive_suffix(path: Path) -> str | None:
    """Return how the name of an archive of tables ends; None of anything else."""
    return next((suffix for suffix in ARCHIVES if path.name.lower().endswith(suffix)), None)


def table_name(path: PurePosixPath) -> tuple[str, str] | None:
    """Return the split and the subject of a table by its path; None of other files."""
    if path.suffix != ".csv" or path.name.startswith(".") or "__MACOSX" in path.parts:
        return None
    split = path.parent.name
    return (split, path.stem.removesuffix(f"_{split}")) if split in SPLITS else None


def read_tables(places: Mapping[str, Path]) -> dict[str, Rows[Row]]:
    """Return the rows that are asked and shown, by `test/subject.jsonl` and `dev/subject.jsonl`.

    Args:
        places: Path inside the benchmark -> where the table is; or one archive.

    Raises:
        ConfigError: A file or a table cannot be read, or no question has an answer.
    """
    tables: Tables = {}
    for place, name, content in _contents(places):
        if (found := table_name(name)) is None:
            continue
        split, subject = found
        if not is_subject(subject):
            raise ConfigError(f"{place}: the subject {subject!r} cannot name a file; rename it")
        if subject in tables.setdefault(split, {}):
            raise ConfigError(f"{place}: {subject} is there twice in {split}; keep one of them")
        tables[split][subject] = _read(place, subject, content)
    asked = asked_split(tables)
    if asked is None:
        where = ", ".join(sorted({str(place) for place in places.values()})[:1])
        raise ConfigError(
            f"{where}: there is no test/*.csv or val/*.csv with answers: one table for each subject"
            " is expected"
        )
    shots = {f"dev/{subject}.jsonl": rows for subject, rows in tables.get("dev", {}).items()}
    return shots | {f"test/{subject}.jsonl": rows for subject, rows in tables[asked].items()}


def asked_split(tables: Tables) -> str | None:
    """Return the split whose questions are asked: `test`, or `val` where that has no answers."""
    return next((split for split in ("test", "val") if _has_answers(tables.get(split, {}))), None)


def _has_answers(tables: Mapping[str, Rows[Row]]) -> bool:
    return any(
        rows.good or any(row.fault.reason != "without_answer" for row in rows.bad)
        for rows in tables.values()
    )


def _contents(places: Mapping[str, Path]) -> Iterator[tuple[Path, PurePosixPath, bytes]]:
    """Yield what an error calls a table, its path inside the benchmark, and its bytes."""
    for name, place in places.items():
        suffix = archive_suffix(place)
        try:
            if suffix is None:
                yield place, PurePosixPath(name), place.read_bytes()
            elif suffix == ".zip":
                with zipfile.ZipFile(place) as archive:
                    for inner in sorted(archive.namelist()):
                        if table_name(PurePosixPath(inner)):
                            yield place / inner, PurePosixPath(inner), archive.read(inner)
            else:
                with tarfile.open(place) as tar:
                    for member in tar:
                        if member.isfile() and table_name(PurePosixPath(member.name)):
                            file = tar.extractfile(member)
                            assert file is not None  # of a directory or a link only
                            yield place / member.name, PurePosixPath(member.name), file.read()
        # An encrypted archive and an unknown compression are RuntimeErrors.
        except (
            *(OSError, EOFError, RuntimeError, zlib.error),
            *(zipfile.BadZipFile, tarfile.TarError),
        ) as error:
            why = str(error).partition("\n")[0].rstrip(":")
            raise ConfigError(f"{place} cannot be read ({why}): fetch it anew") from error


def _read(place: Path, subject: str, content: bytes) -> Rows[Row]:
    """Return the rows of one table, the bad ones apart."""
    csv.field_size_limit(_CHARACTERS_OF_A_CELL)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{place} is not UTF-8 ({error}); save it as UTF-8") from error
    good: list[Row] = []
    bad: list[BadRow] = []
    reader = csv.reader(io.StringIO(text, newline=""))
    columns: Sequence[str] | None = None
    try:
        for cells in reader:
            if columns is None:
                columns, is_header = _columns_of(place, cells)
                if is_header:
                    continue
            if not cells:
                continue
            row = _row(columns, cells, subject)
            fault = row if isinstance(row, Fault) else mmlu_fault(row)
            if isinstance(row, Fault) or fault:
                assert fault is not None
                bad.append(BadRow(reader.line_num, fault))
            else:
                good.append(row)
    except csv.Error as error:
        raise ConfigError(f"{place}:{reader.line_num} is no CSV ({error}); correct it") from error
    return Rows(place, good, bad)


def _columns_of(place: Path, cells: Sequence[str]) -> tuple[Sequence[str], bool]:
    """Return the columns of a table, and whether its first row names them."""
    names = [cell.strip().lower() for cell in cells]
    if {*_COLUMNS[:-1]} <= {*names}:
        return names, True
    if len(cells) == len(_COLUMNS):
        return _COLUMNS, False
    raise ConfigError(
        f"{place}: it has the columns {', '.join(cells)}; a table of questions has"
        f" {', '.join((_COLUMNS[0], *_CHOICES, _COLUMNS[-1]))}, or no header and these six in order"
    )


def _row(columns: Sequence[str], cells: Sequence[str], subject: str) -> Row | Fault:
    if len(cells) != len(columns):
        return Fault(UNREADABLE, f"has {len(cells)} columns, and not {len(columns)}")
    row = dict(zip(columns, cells, strict=True))
    letter = row.get("answer", "").strip().upper()
    if not letter:
        return Fault("without_answer", "has no letter in `answer`")
    if letter not in (*_CHOICES,):
        words = f"needs a letter from A to {_CHOICES[-1]} in `answer`, not {shown(row['answer'])}"
        return Fault("answer_not_among_choices", words)
    return {
        "question": row["question"],
        "subject": subject,
        "choices": [row[name] for name in _CHOICES.lower()],
        "answer": _CHOICES.index(letter),
    }
