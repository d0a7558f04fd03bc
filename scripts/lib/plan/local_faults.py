"""What is wrong with a local file of rows or a model folder, told at planning instead of by a job.

A file of rows is known by its first bytes, where that is not what its name says. JSON lines named
`.json` and an array named `.jsonl` are read as what they are and are no fault. All else is told:
what it is, and what to do.
"""

import json
from collections.abc import Collection, Iterator
from pathlib import Path

from scripts.lib.data.chat_template_files import read_settings
from scripts.lib.data.packed_files import PACKINGS, kind_of, opened, packing_of
from scripts.lib.model_files import VOCABULARY_FILES, WEIGHTS_INDEX, quantisation_of

_LFS = b"version https://git-lfs"

# What a file that is no text begins with -> what it is, and what to do.
_SIGNATURES = (
    (b"\x1f\x8b", "is compressed by gzip: unpack it with gunzip; a dataset's may be named .gz"),
    (b"PK\x03\x04", "is a zip archive (a spreadsheet is one, too): unpack it, or save it as CSV"),
    (b"BZh", "is compressed by bzip2: unpack it with bunzip2; a dataset's may be named .bz2"),
    (b"\xfd7zXZ\x00", "is compressed by xz: unpack it with unxz; a dataset's may be named .xz"),
    (
        b"\x28\xb5\x2f\xfd",
        "is compressed by Zstandard: unpack it with unzstd; a dataset's may be named .zst",
    ),
    (b"ARROW1", "is an Arrow file: name it .arrow"),
    (b"FEA1", "is Feather of the first version, which is no longer read: save it as Parquet"),
    (
        b"\xff\xfe\x00\x00",
        "is UTF-32: save it as UTF-8, for example with `iconv -f UTF-32 -t UTF-8`",
    ),
    (b"\xff\xfe", "is UTF-16: save it as UTF-8, for example with `iconv -f UTF-16 -t UTF-8`"),
    (b"\xfe\xff", "is UTF-16: save it as UTF-8, for example with `iconv -f UTF-16 -t UTF-8`"),
    (
        _LFS,
        "is a pointer of Git LFS, not the file itself: fetch that with `git lfs pull`",
    ),
)
_PARQUET = b"PAR1"
_ARROW = (b"ARROW1", b"\xff\xff\xff\xff")
"""What Arrow's files begin with: those with an index, and streams."""
_TABLES = {".parquet": (_PARQUET,), ".arrow": _ARROW, ".feather": _ARROW}
_BOM = b"\xef\xbb\xbf"
_HEAD_BYTES = 1 << 16
_SHOWN_CHARACTERS = 40


def kind_fault(place: Path, *, one_a_line: bool) -> str | None:
    """Say what is in a file if that is not what its suffix says, or return None.

    Args:
        place: A file named as files of rows are.
        one_a_line: Whether JSON that is no array must have one object a line.
    """
    with place.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    kind, packing = kind_of(place), packing_of(place)
    if kind in _TABLES:
        if head.startswith(_TABLES[kind]) or not head:
            return None
        name = "Parquet" if kind == ".parquet" else "Arrow"
        return _foreign(head) or f"is no {name}{_named(head)}"
    if packing and not head.startswith(packing.magic):
        return f"is not compressed by {packing.name}, as its name says: {_rightly(place, head)}"
    if packing:
        try:
            with opened(place) as unpacked:
                head = unpacked.read(_HEAD_BYTES)
        except OSError as error:
            return f"cannot be unpacked ({error}): it is cut short or damaged; fetch it anew"
    if head.startswith(_PARQUET):
        return f"is Parquet: name it {place.stem}.parquet"
    if fault := _foreign(head):
        return fault
    text = head.removeprefix(_BOM).decode("utf-8", "replace").lstrip()
    if kind in (".csv", ".tsv"):
        return f"is no CSV{_named(head)}" if _json_length(text.partition("\n")[0]) else None
    return _json_fault(place, text, one_a_line)


def _rightly(place: Path, head: bytes) -> str:
    """Say how a file is to be named that is not compressed as its name says."""
    for suffix, packing in PACKINGS.items():
        if head.startswith(packing.magic):
            return f"name it {place.stem}{suffix}"
    return f"name it {place.stem}, or fetch it anew"


def _json_fault(place: Path, text: str, one_a_line: bool) -> str | None:
    first, _, more = text.partition("\n")
    if first[:1] in ("{", "["):
        if one_a_line and first[0] == "{" and _json_length(text) > len(first):
            return (
                "has JSON objects over several lines: write one object a line, or all of them as"
                " one array [...]"
            )
        return None
    # One odd line above rows of JSON is a row that cannot be read, and counted as such. The last
    # line may go on behind what was read.
    *whole, last = (line.lstrip() for line in more.split("\n"))
    if not text or any(map(_json_length, whole)) or last[:1] in ("{", "["):
        return None
    return (
        f"is no JSON: it begins with {first.strip()[:_SHOWN_CHARACTERS]!r}. Name a table with a"
        f" header and commas {place.stem}.csv; anything else is to be written as JSON"
    )


def _foreign(head: bytes) -> str | None:
    """Say what a file is that is no text in UTF-8, or return None."""
    found = (words for start, words in _SIGNATURES if head.startswith(start))
    if words := next(found, None):
        return words
    if b"\0" in head:
        return "is no text: it holds zero bytes (UTF-16 without a mark, or something binary)"
    return None


def _named(head: bytes) -> str:
    text = head.removeprefix(_BOM).decode("utf-8", "replace").lstrip()
    if text[:1] in ("{", "["):
        return ": it is JSON, so name it .json, or .jsonl with one object a line"
    return (
        f": it begins with {text.partition(chr(10))[0][:_SHOWN_CHARACTERS]!r}; name it by its kind"
    )


def _json_length(text: str) -> int:
    """Return where the JSON object or array that *text* begins with ends; 0 where there is none."""
    if text[:1] not in ("{", "["):
        return 0
    try:
        return json.JSONDecoder().raw_decode(text)[1]
    except (ValueError, RecursionError):
        return 0


WEIGHTS = "model.safetensors"


def model_faults(folder: Path, names: Collection[str]) -> Iterator[str]:
    """Yield why *folder* is no complete safetensors model with a tokenizer.

    Weights are not read: what is in them is the business of the jobs.

    Args:
        folder: The folder.
        names: The files in it that belong to the model.
    """
    if pointers := [name for name in sorted(names) if _begins(folder / name, _LFS)]:
        yield (
            f"{folder} holds pointers of Git LFS instead of {', '.join(pointers)}: run"
            " `git lfs pull` there"
        )
        return  # what a pointer stands for is not known
    yield from _config_faults(folder, names)
    if not any(name.endswith(".safetensors") for name in names):
        yield f"{folder} has no *.safetensors: save the model with safetensors"
    elif WEIGHTS not in names and WEIGHTS_INDEX in names:
        yield from _shard_faults(folder, names)
    if not any(name in names for name in VOCABULARY_FILES):
        yield (
            f"{folder} has no tokenizer (none of {', '.join(VOCABULARY_FILES)}): copy the"
            " tokenizer's files of the model into it, for example with"
            " AutoTokenizer.from_pretrained(...).save_pretrained(folder)"
        )


def quantisation(folder: Path) -> str | None:
    """Return how the weights in a model folder are quantised, or None."""
    return quantisation_of(read_settings(folder / "config.json"))


def quantised_words(how: str) -> str:
    """Say what is wrong with a finished checkpoint whose weights are quantised.

    Args:
        how: By which method.
    """
    return (
        f"is quantised ({how}), so that its scores would tell of that rounding as much as of the"
        " training; give the checkpoint as it was before"
    )


def _config_faults(folder: Path, names: Collection[str]) -> Iterator[str]:
    if "config.json" not in names:
        yield f"{folder} has no config.json: {_what_instead(folder)}"
    elif "model_type" not in read_settings(folder / "config.json"):
        yield (
            f"{folder / 'config.json'} names no model_type: it is damaged, or of something else"
            " than a Hugging Face model (an adapter?)"
        )


def _what_instead(folder: Path) -> str:
    """Say what a folder is that is no model, and what to do."""
    if (folder / "adapter_config.json").is_file():
        return (
            "it is an adapter; name the model that it was made from, and write the adapter under"
            " `candidates`"
        )
    if ggufs := sorted(file.name for file in folder.glob("*.gguf")):
        return f"give one of its GGUF files as `gguf`: {', '.join(ggufs)}"
    if inner := sorted(file.parent.name for file in folder.glob("*/config.json")):
        return f"the model is a folder further down: {', '.join(inner)}"
    return "it is no Hugging Face model"


def _shard_faults(folder: Path, names: Collection[str]) -> Iterator[str]:
    """Yield the weight files that the index names and nobody has."""
    places = read_settings(folder / WEIGHTS_INDEX).get("weight_map")
    wanted = set(places.values()) if isinstance(places, dict) else set()
    if not wanted:
        yield f"{folder / WEIGHTS_INDEX} names no weight file: it is damaged"
    elif lacking := sorted(wanted - set(names)):
        yield (
            f"{folder} lacks {', '.join(lacking)}, which {WEIGHTS_INDEX} names: copy the rest"
            " of the model there"
        )


def _begins(file: Path, start: bytes) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(start)) == start
