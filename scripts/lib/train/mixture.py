"""Several datasets as one (a mixture): which rows of each are trained on, in which shares.

What a dataset gives is counted in trained tokens, those that the loss looks at. Rows are taken in
the order of the hash of their text, which no other row has a part in: a row more, another weight,
or another order of the datasets leaves the choice as it was but for the border. Nothing here is
random, and no seed has a say, so that runs of several seeds train on the same rows.

Only hashes and counts are kept, 24 bytes a row; a shard is read a batch at a time.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scripts.lib.train.mixture_document import Given

BATCH_ROWS = 10_000

Places: TypeAlias = NDArray[np.int64]
"""Places of rows in a split, in the order in which they are taken."""


@dataclass(frozen=True, kw_only=True)
class Portion:
    """What is asked of a dataset.

    Attributes:
        share: Of the trained tokens of all, 0-1; None where rows are taken as they are.
        repeat: Times that a row is read in an epoch; with shares, at most.
        max_rows: Most rows that are taken.
    """

    share: float | None = None
    repeat: int = 1
    max_rows: int | None = None


PLAIN = Portion()


def portions_of(given: Sequence[Mapping[str, Any]]) -> tuple[Portion, ...]:
    """Return the portions of a spec, which holds them as JSON."""
    return tuple(Portion(**one) for one in given)


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """What the choice has to know of the rows of a split of a dataset.

    Attributes:
        hashes: Of their texts.
        tokens: Of each.
        trained: Trained tokens of each.
    """

    hashes: NDArray[np.uint64]
    tokens: NDArray[np.int64]
    trained: NDArray[np.int64]

    @classmethod
    def of(cls, files: Sequence[Path]) -> Self:
        """Read the shards of a split, in order."""
        found = [
            _counted(batch)
            for file in files
            for batch in pq.ParquetFile(file).iter_batches(
                BATCH_ROWS, columns=["text", "input_ids", "loss_mask"]
            )
        ]
        hashes, tokens, trained = zip(*found, strict=True) if found else ((), (), ())
        return cls(
            hashes=np.concatenate([*hashes, np.empty(0, np.uint64)]),
            tokens=np.concatenate([*tokens, np.empty(0, np.int64)]),
            trained=np.concatenate([*trained, np.empty(0, np.int64)]),
        )

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.hashes)


def _counted(batch: pa.RecordBatch) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the hash of each row's text, its tokens, and its trained tokens."""
    texts = batch["text"].cast(pa.binary()).to_pylist()
    hashes = [hashlib.blake2b(text, digest_size=8).digest() for text in texts]
    ids, mask = batch["input_ids"], batch["loss_mask"]
    bounds = mask.offsets.to_numpy()
    sums = np.concatenate([[0], np.cumsum(mask.values.to_numpy(), dtype=np.int64)])
    # The first token of a row is never predicted.
    starts = np.minimum(bounds[:-1] + 1, bounds[1:])
    return (
        np.frombuffer(b"".join(hashes), dtype="<u8").astype(np.uint64),
        np.diff(ids.offsets.to_numpy()).astype(np.int64),
        sums[bounds[1:]] - sums[starts],
    )


def held_elsewhere(train: Sequence[Rows], held: Sequence[Sequence[Rows]]) -> list[NDArray[Any]]:
    """Return for each dataset which of its rows to train on another one holds out.

    Whoever trains on them would be measured, or asked, what it has seen.

    Args:
        train: The train split of each dataset.
        held: The splits that each dataset holds out.
    """
    return [
        np.isin(
            rows.hashes,
            _hashes(one for other, sets in enumerate(held) for one in sets if other != n),
        )
        for n, rows in enumerate(train)
    ]


def also_elsewhere(train: Sequence[Rows]) -> list[int]:
    """Return how many rows of each dataset another one has, too, to train on."""
    return [
        int(
            np.isin(
                rows.hashes, _hashes(one for other, one in enumerate(train) if other != n)
            ).sum()
        )
        for n, rows in enumerate(train)
    ]


def _hashes(sets: Iterable[Rows]) -> NDArray[np.uint64]:
    return np.concatenate([*(one.hashes for one in sets), np.empty(0, np.uint64)])


def choose(
    rows: Sequence[Rows], portions: Sequence[Portion], barred: Sequence[NDArray[Any]]
) -> list[Places]:
    """Return the rows of each dataset that are trained on in an epoch.

    With shares the total is the largest at which no dataset has to give more than it has, each row
    as often as `repeat` allows: the scarcest is used up, and of the others rows are left out. No
    row is read twice before all that may be read were.

    Args:
        rows: The train split of each dataset.
        portions: What is asked of each; all have a share, or none.
        barred: Which rows of each must not be taken.
    """
    able = [
        _in_order(one, bar)[: portion.max_rows]
        for one, portion, bar in zip(rows, portions, barred, strict=True)
    ]
    once = [int(one.trained[places].sum()) for one, places in zip(rows, able, strict=True)]
    shares = [portion.share for portion in portions]
    wanted = _wanted([n * p.repeat for n, p in zip(once, portions, strict=True)], shares)
    found = []
    for one, places, whole, want in zip(rows, able, once, wanted, strict=True):
        reads = int(want // whole) if whole else 0
        left = _first(places, one.trained, want - reads * whole, least=0 if reads else 1)
        found.append(np.concatenate([*[places] * reads, left]))
    return found


def choose_held_out(rows: Sequence[Rows], shares: Sequence[float]) -> list[Places]:
    """Return the held-out rows of each dataset whose loss tells of what is trained.

    Each gives the same share of trained tokens as to training, and one row at least; one without
    held-out rows gives none.

    Args:
        rows: The valid split of each dataset.
        shares: Of the trained tokens that each gives to training.
    """
    able = [_in_order(one, np.zeros(len(one), bool)) for one in rows]
    there = [int(one.trained[places].sum()) for one, places in zip(rows, able, strict=True)]
    wanted = _wanted(there, [share if n else 0.0 for share, n in zip(shares, there, strict=True)])
    return [
        _first(places, one.trained, want, least=1)
        for one, places, want in zip(rows, able, wanted, strict=True)
    ]


def _in_order(rows: Rows, barred: NDArray[Any]) -> Places:
    """Return the rows that can be trained on, in the order of their hashes."""
    able = np.flatnonzero((rows.trained > 0) & ~barred)
    order: Places = able[np.argsort(rows.hashes[able], kind="stable")]
    return order


def _wanted(there: Sequence[float], shares: Sequence[float | None]) -> list[float]:
    """Return the trained tokens that each dataset is to give, of those that are there."""
    total = min((n / share for n, share in zip(there, shares, strict=True) if share), default=0.0)
    return [
        float(n) if share is None else min(float(n), share * total)
        for n, share in zip(there, shares, strict=True)
    ]


def expected_reads(
    rows: Sequence[int], trained: Sequence[int], portions: Sequence[Portion]
) -> list[float]:
    """Return about how often an epoch reads each dataset, by its counts alone.

    Args:
        rows: Of the train split of each dataset.
        trained: Trained tokens of each.
        portions: What is asked of each.
    """
    able = [
        tokens * min(1.0, (portion.max_rows or n) / max(1, n))
        for n, tokens, portion in zip(rows, trained, portions, strict=True)
    ]
    there = [tokens * portion.repeat for tokens, portion in zip(able, portions, strict=True)]
    wanted = _wanted(there, [portion.share for portion in portions])
    return [want / max(1, tokens) for want, tokens in zip(wanted, trained, strict=True)]


def _first(places: Places, trained: NDArray[np.int64], wanted: float, *, least: int) -> Places:
    """Return so many of the first places that their trained tokens are nearest to what is wanted.

    So many at least, where anything is wanted.
    """
    sums = np.concatenate([[0], np.cumsum(trained[places])])
    after = min(int(np.searchsorted(sums, wanted)), len(places))
    if after and wanted - sums[after - 1] < sums[after] - wanted:
        after -= 1
    return places[: max(after, least if wanted > 0 else 0)]


def mixed_order(rows: Sequence[Rows], chosen: Sequence[Places]) -> NDArray[np.int64]:
    """Return the chosen rows of all datasets in one order, as places in all of them laid together.

    By hash, so that it does not depend on the order of the datasets, and neighbours are of any of
    them; a row that is read again comes somewhere else.
    """
    starts = np.cumsum([0, *(len(one) for one in rows)])[:-1]
    places = np.concatenate([start + one for start, one in zip(starts, chosen, strict=True)])
    times = np.concatenate([_times(one) for one in chosen])
    hashes = np.concatenate([one.hashes for one in rows])[places]
    order: NDArray[np.int64] = places[np.argsort(_scattered(hashes, times), kind="stable")]
    return order


def _times(places: Places) -> NDArray[np.uint64]:
    """Return for each place how often it came before."""
    order = np.argsort(places, kind="stable")
    ordered = places[order]
    first = np.searchsorted(ordered, ordered)
    found = np.empty(len(places), np.uint64)
    found[order] = (np.arange(len(places)) - first).astype(np.uint64)
    return found


def _scattered(hashes: NDArray[np.uint64], times: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return another hash for each time that a row is read (splitmix64, Steele et al. 2014)."""
    found = hashes + times * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        found = (found ^ (found >> np.uint64(shift))) * np.uint64(factor)
    scattered: NDArray[np.uint64] = found ^ (found >> np.uint64(31))
    return scattered


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixture:
    """The rows that a training on several datasets reads.

    Attributes:
        train: Places of rows, in order, in the train splits laid one behind the other.
        valid: Places of held-out rows in the valid split of each dataset, in the order of files.
        given: What each dataset gives.
    """

    train: NDArray[np.int64]
    valid: Sequence[Places]
    given: Sequence[Given]

    @property
    def tokens(self) -> int:
        """All tokens of an epoch."""
        return sum(one["tokens"] for one in self.given)

    @property
    def trained_tokens(self) -> int:
        """Trained tokens of an epoch."""
        return sum(one["trained_tokens"] for one in self.given)


def mix(
    train: Sequence[Rows],
    valid: Sequence[Rows],
    test: Sequence[Rows],
    portions: Sequence[Portion],
) -> Mixture:
    """Choose what is trained on and what is measured.

    Args:
        train: The train split of each dataset.
        valid: The valid split of each; it may be empty.
        test: The test split of each; it may be empty.
        portions: What is asked of each.
    """
    barred = held_elsewhere(train, list(zip(valid, test, strict=True)))
    chosen = choose(train, portions, barred)
    trained = [int(one.trained[places].sum()) for one, places in zip(train, chosen, strict=True)]
    shares = [n / max(1, sum(trained)) for n in trained]
    if all(portion == PLAIN for portion in portions):
        held_out = [np.arange(len(one)) for one in valid]
    else:
        held_out = [np.sort(places) for places in choose_held_out(valid, shares)]
    shared = also_elsewhere(train)
    given = [
        Given(
            rows_there=len(one),
            different_rows=len(np.unique(chosen[n])),
            rows=len(chosen[n]),
            tokens=int(one.tokens[chosen[n]].sum()),
            trained_tokens=trained[n],
            share_asked=portions[n].share,
            share=shares[n],
            repeat=portions[n].repeat,
            held_out_elsewhere=int(barred[n].sum()),
            also_elsewhere=shared[n],
            held_out_there=len(valid[n]),
            held_out=len(held_out[n]),
        )
        for n, one in enumerate(train)
    ]
    return Mixture(train=mixed_order(train, chosen), valid=held_out, given=given)


def told(given: Given) -> str:
    """Say in one line what a dataset gives."""
    asked = "" if given["share_asked"] is None else f" ({given['share_asked']:.2%} asked)"
    out = given["rows_there"] - given["different_rows"] - given["held_out_elsewhere"]
    notes = [
        f"{given['different_rows']:,} of {given['rows_there']:,} rows",
        f"{given['rows']:,} reads in an epoch" if given["rows"] != given["different_rows"] else "",
        f"{out:,} left out" if out else "",
        f"{given['held_out_elsewhere']:,} left out that another dataset holds out"
        if given["held_out_elsewhere"]
        else "",
        f"{given['also_elsewhere']:,} are in another dataset, too"
        if given["also_elsewhere"]
        else "",
        f"{given['tokens']:,} tokens",
        f"{given['trained_tokens']:,} trained, {given['share']:.2%} of all{asked}",
        f"{given['held_out']:,} of {given['held_out_there']:,} held-out rows measured",
    ]
    return ", ".join(note for note in notes if note)
