"""Files of rows as they lie on disks: compressed or not, known by the end of their name.

A `.gz`, `.bz2`, `.xz` or `.zst` behind the suffix of text (`rows.jsonl.gz`) says that it is
compressed; it is unpacked while it is read, in bounded memory.
"""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

LINES_SUFFIXES = (".jsonl", ".ndjson")
TEXT_SUFFIXES = (*LINES_SUFFIXES, ".json", ".csv", ".tsv")
TABLE_SUFFIXES = (".parquet", ".arrow", ".feather")


class Packing(NamedTuple):
    """One way to compress a file.

    Attributes:
        name: What it is called.
        magic: What such files begin with.
        open: Opens one to read what is in it.
    """

    name: str
    magic: bytes
    open: Callable[[Path], BinaryIO]


def _open_zstd(path: Path) -> BinaryIO:
    # The standard library of Python 3.11 cannot read it, and Arrow can.
    import pyarrow as pa

    return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))


PACKINGS = {
    ".gz": Packing("gzip", b"\x1f\x8b", lambda path: cast(BinaryIO, gzip.GzipFile(path))),
    ".bz2": Packing("bzip2", b"BZh", lambda path: cast(BinaryIO, bz2.BZ2File(path))),
    ".xz": Packing("xz", b"\xfd7zXZ\x00", lambda path: cast(BinaryIO, lzma.LZMAFile(path))),  # noqa: SIM115  opened() closes it
    ".zst": Packing("Zstandard", b"\x28\xb5\x2f\xfd", _open_zstd),
}


def suffix_of(path: Path) -> str:
    """Return the end of a file's name that says what is in it: `.jsonl`, or `.jsonl.gz`.

    Capitals say nothing: `ROWS.CSV` is a `.csv`.
    """
    inner, last = "".join(path.suffixes[-2:-1]).lower(), path.suffix.lower()
    return inner + last if last in PACKINGS and inner in TEXT_SUFFIXES else last


def kind_of(path: Path) -> str:
    """Return the suffix of what is in a file: that of `rows.jsonl.gz` is `.jsonl`."""
    suffix, packing = suffix_of(path), path.suffix.lower()
    return suffix if suffix == packing else suffix.removesuffix(packing)


def packing_of(path: Path) -> Packing | None:
    """Return how a file is compressed by its name; None where it is not."""
    last = path.suffix.lower()
    return PACKINGS.get(last) if suffix_of(path) != last else None


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read what is in it, unpacked.

    Raises:
        OSError: It cannot be read, or not be unpacked.
    """
    packing = packing_of(path)
    try:
        with packing.open(path) if packing else path.open("rb") as file:
            yield file
    except (EOFError, lzma.LZMAError, zlib.error) as error:
        raise OSError(f"it cannot be unpacked: {error}") from error
