"""Which rows of several datasets are trained on: in the shares asked for, and steadily."""

import hashlib
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.lib.train.mixture import (
    Portion,
    Rows,
    choose,
    choose_held_out,
    expected_reads,
    mix,
    mixed_order,
)


def rows_of(*trained: int, salt: str = "") -> Rows:
    """Return rows with so many trained tokens, each with a text of its own."""
    texts = [f"{salt}:{n}".encode() for n in range(len(trained))]
    hashes = [int.from_bytes(hashlib.blake2b(t, digest_size=8).digest(), "little") for t in texts]
    return Rows(
        hashes=np.array(hashes, np.uint64),
        tokens=np.array(trained, np.int64) + 3,
        trained=np.array(trained, np.int64),
    )


def free(rows: list[Rows]) -> list[np.ndarray]:
    """Return that every row may be taken."""
    return [np.zeros(len(one), bool) for one in rows]


NOTHING = rows_of()

SIZES = st.lists(st.integers(0, 60), min_size=1, max_size=40).filter(any)
DATASETS = st.lists(SIZES, min_size=2, max_size=4)


@st.composite
def mixtures(draw):
    """Draw datasets with a portion for each, all weighed or none."""
    sizes = draw(DATASETS)
    rows = [rows_of(*one, salt=str(n)) for n, one in enumerate(sizes)]
    weights = draw(st.lists(st.integers(1, 9), min_size=len(rows), max_size=len(rows)))
    weighed = draw(st.booleans())
    portions = [
        Portion(
            share=weight / sum(weights) if weighed else None,
            repeat=draw(st.integers(1, 3)),
            max_rows=draw(st.none() | st.integers(1, 30)),
        )
        for weight in weights
    ]
    return rows, portions


def there(rows: Rows, portion: Portion) -> int:
    """Return the trained tokens that a dataset has to give, counted row by row."""
    able = sorted((h, n) for h, n in zip(rows.hashes, rows.trained, strict=True) if n)
    return portion.repeat * sum(int(n) for _, n in able[: portion.max_rows])


@given(mixtures())
def test_what_each_gives_is_within_one_row_of_what_was_asked(mixture):
    rows, portions = mixture
    most = [there(one, portion) for one, portion in zip(rows, portions, strict=True)]
    weighed = portions[0].share is not None
    total = min(n / p.share for n, p in zip(most, portions, strict=True)) if weighed else 0
    chosen = choose(rows, portions, free(rows))
    for one, portion, n, places in zip(rows, portions, most, chosen, strict=True):
        gave = int(one.trained[places].sum())
        asked = portion.share * total if weighed else n
        assert abs(gave - asked) <= (int(one.trained.max()) if weighed else 0)
        assert gave <= n


@given(mixtures())
def test_no_row_is_read_more_often_than_asked_nor_again_before_all_others(mixture):
    rows, portions = mixture
    for one, places, portion in zip(
        rows, choose(rows, portions, free(rows)), portions, strict=True
    ):
        times = np.bincount(places, minlength=len(one))
        assert times.max() <= portion.repeat
        able = int((one.trained > 0).sum())
        able = min(able, portion.max_rows or able)
        assert (times > 0).sum() <= able
        if times.max() > 1:
            assert (times > 0).sum() == able
            assert times.max() - times[times > 0].min() <= 1
        assert not times[one.trained == 0].any()


@given(mixtures(), st.integers(0, 40), st.integers(1, 60))
def test_a_row_more_moves_others_at_the_border_only(mixture, place, size):
    rows, portions = mixture
    first, *others = rows
    place = min(place, len(first))
    new = rows_of(size, salt="new")
    grown = Rows(
        hashes=np.insert(first.hashes, place, new.hashes),
        tokens=np.insert(first.tokens, place, new.tokens),
        trained=np.insert(first.trained, place, new.trained),
    )
    before = choose(rows, portions, free(rows))
    after = choose([grown, *others], portions, free([grown, *others]))
    for one, old, now in zip([first, *others], before, after, strict=True):
        source = grown if one is first else one
        was, is_now = ({*one.hashes[old].tolist()}, {*source.hashes[now].tolist()})
        # In the order of hashes, what came is behind what stayed, or is the new row.
        stayed, came, left = was & is_now, is_now - was - {*new.hashes.tolist()}, was - is_now
        assert not (came and left)
        if stayed and came:
            assert max(stayed) < min(came)
        if stayed and left:
            assert max(stayed) < min(left)


@given(mixtures(), st.randoms(use_true_random=False))
def test_the_order_of_datasets_changes_nothing(mixture, random):
    rows, portions = mixture
    order = list(range(len(rows)))
    random.shuffle(order)
    empty = [NOTHING] * len(rows)
    one = mix(rows, empty, empty, portions)
    other = mix([rows[n] for n in order], empty, empty, [portions[n] for n in order])
    laid = np.concatenate([r.hashes for r in rows])[one.train]
    laid_otherwise = np.concatenate([rows[n].hashes for n in order])[other.train]
    assert laid.tolist() == laid_otherwise.tolist()
    for place, n in enumerate(order):
        found, known = other.given[place], one.given[n]
        assert {k: v for k, v in found.items() if k != "share"} == {
            k: v for k, v in known.items() if k != "share"
        }


def test_a_larger_weight_keeps_the_rows_that_were_chosen():
    rows = [rows_of(*[5] * 100, salt="own"), rows_of(*[5] * 100, salt="general")]
    few, more = (
        choose(rows, [Portion(share=1 - share), Portion(share=share)], free(rows))[1]
        for share in (0.1, 0.3)
    )
    assert len(few) < len(more)
    assert few.tolist() == more.tolist()[: len(few)]


def test_weights_count_trained_tokens_and_not_rows():
    rows = [rows_of(*[10] * 30, salt="short"), rows_of(*[100] * 30, salt="long")]
    short, long = choose(rows, [Portion(share=0.5)] * 2, free(rows))
    assert (len(short), len(long)) == (30, 3)


def test_a_repeat_lets_a_scarce_dataset_give_more():
    rows = [rows_of(*[10] * 4, salt="own"), rows_of(*[10] * 100, salt="general")]
    for repeat in (1, 2, 3):
        own, general = choose(
            rows, [Portion(share=0.2, repeat=repeat), Portion(share=0.8)], free(rows)
        )
        assert (len(own), len(general)) == (4 * repeat, 16 * repeat)


def test_without_weights_each_is_read_whole_as_often_as_it_says():
    rows = [rows_of(1, 2, 3, salt="own"), rows_of(4, 5, salt="general")]
    own, general = choose(rows, [Portion(repeat=2), Portion(max_rows=1)], free(rows))
    assert np.bincount(own).tolist() == [2, 2, 2]
    assert len(general) == 1


def test_rows_that_are_read_again_lie_apart():
    rows = [rows_of(*[1] * 200)]
    order = mixed_order(rows, choose(rows, [Portion(repeat=2)], free(rows)))
    first, again = ({*order[:200].tolist()}, {*order[200:].tolist()})
    assert len(first & again) > 50, "a row and its repetition lie in one half only by chance"
    assert np.bincount(order).tolist() == [2] * 200


def test_neighbours_are_of_any_dataset():
    rows = [rows_of(*[1] * 500, salt="a"), rows_of(*[1] * 500, salt="b")]
    order = mixed_order(rows, choose(rows, [Portion()] * 2, free(rows)))
    assert 150 < (order[:500] < 500).sum() < 350


def test_held_out_rows_of_each_have_the_share_that_it_has_in_training():
    rows = [rows_of(*[10] * 6, salt="own"), rows_of(*[10] * 900, salt="general")]
    own, general = choose_held_out(rows, [0.75, 0.25])
    assert (len(own), len(general)) == (6, 2)


def test_one_held_out_row_is_measured_however_small_its_share():
    rows = [rows_of(*[10] * 3, salt="own"), rows_of(*[10] * 3, salt="general")]
    own, general = choose_held_out(rows, [0.99, 0.01])
    assert (len(own), len(general)) == (3, 1)


def test_a_dataset_without_held_out_rows_keeps_none_from_being_measured():
    assert [len(one) for one in choose_held_out([rows_of(5, 5), NOTHING], [0.5, 0.5])] == [2, 0]


def test_all_held_out_rows_are_measured_where_nothing_is_weighed():
    train = [rows_of(*[5] * 20, salt="a"), rows_of(*[5] * 20, salt="b")]
    valid = [rows_of(*[1] * 3, salt="c"), rows_of(*[90] * 9, salt="d")]
    found = mix(train, valid, [NOTHING] * 2, [Portion()] * 2)
    assert [len(one) for one in found.valid] == [3, 9]


@pytest.mark.parametrize("split", ["valid", "test"])
def test_what_one_dataset_holds_out_is_not_trained_on_from_another(split):
    own, general = rows_of(5, 5, 5, salt="own"), rows_of(5, 5, 5, 5, salt="general")
    held = Rows(hashes=own.hashes[:2], tokens=own.tokens[:2], trained=own.trained[:2])
    splits = {"valid": [NOTHING, NOTHING], "test": [NOTHING, NOTHING]}
    splits[split] = [NOTHING, held]
    found = mix([own, general], splits["valid"], splits["test"], [Portion()] * 2)
    assert [one["rows"] for one in found.given] == [1, 4]
    assert [one["held_out_elsewhere"] for one in found.given] == [2, 0]
    assert {*found.train.tolist()} == {2, 3, 4, 5, 6}


def test_rows_that_two_datasets_share_are_counted():
    own = rows_of(5, 5, 5, salt="own")
    found = mix([own, own], [NOTHING] * 2, [NOTHING] * 2, [Portion()] * 2)
    assert [one["also_elsewhere"] for one in found.given] == [3, 3]


def test_reads_are_reckoned_from_counts_alone():
    rows = [rows_of(*[10] * 40, salt="own"), rows_of(*[10] * 1000, salt="general")]
    portions = [Portion(share=0.8, repeat=2), Portion(share=0.2, max_rows=500)]
    chosen = choose(rows, portions, free(rows))
    reads = expected_reads([40, 1000], [400, 10_000], portions)
    assert reads == pytest.approx([len(chosen[0]) / 40, len(chosen[1]) / 1000])


def write(file, count, start=0):
    """Write a shard of *count* rows of three tokens, two of them trained."""
    table = pa.table(
        {
            "text": [f"row {start + n}" for n in range(count)],
            "input_ids": pa.array([[1, 2, 3]] * count, pa.list_(pa.int32())),
            "loss_mask": pa.array([[1, 1, 1]] * count, pa.list_(pa.int8())),
        }
    )
    pq.write_table(table, file, row_group_size=1000)


def test_rows_are_counted_as_they_lie_in_shards(tmp_path):
    write(tmp_path / "a.parquet", 3)
    odd = pa.table(
        {
            "text": ["x", "y", "", "ü"],
            "input_ids": pa.array([[], [7], [1, 2], [1, 2, 3]], pa.list_(pa.int32())),
            "loss_mask": pa.array([[], [1], [0, 1], [1, 0, 0]], pa.list_(pa.int8())),
        }
    )
    pq.write_table(odd, tmp_path / "b.parquet")
    found = Rows.of([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    assert found.tokens.tolist() == [3, 3, 3, 0, 1, 2, 3]
    assert found.trained.tolist() == [2, 2, 2, 0, 0, 1, 0]
    assert len({*found.hashes.tolist()}) == 7
    assert len(Rows.of([])) == 0


def test_a_row_is_known_by_its_text_wherever_it_lies(tmp_path):
    write(tmp_path / "a.parquet", 5)
    write(tmp_path / "b.parquet", 2, start=3)
    a, b = (Rows.of([tmp_path / name]) for name in ("a.parquet", "b.parquet"))
    assert b.hashes.tolist() == a.hashes.tolist()[3:]


@pytest.mark.slow
def test_a_million_rows_are_chosen_from_in_little_memory(tmp_path):
    files = [tmp_path / f"{n}.parquet" for n in range(20)]
    for n, file in enumerate(files):
        write(file, 50_000, start=n * 50_000)
    tracemalloc.start()
    rows = Rows.of(files)
    portions = [Portion(share=0.9), Portion(share=0.1)]
    found = mix([rows, rows_of(*[5] * 10)], [NOTHING] * 2, [NOTHING] * 2, portions)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.given[1]["rows"] == 10
    assert peak < 300 * 2**20
