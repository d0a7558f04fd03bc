"""How a step is shared out to passes: by the memory that there is, and when it runs out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.lib.errors import TrainingError
from scripts.lib.train.micro_batch import (
    FULL_PASS_TOKENS,
    MOST_TOKENS,
    Passes,
    choose_passes,
    divisors,
    smaller_passes,
)

FULL = FULL_PASS_TOKENS["cuda"]


def need(tokens):
    """The bytes of a way: 10 of a token, less what is recomputed, and 1000 of all else."""

    def bytes_of(way):
        kept = 10 if way.recomputed == 0 else 10 - 9 / way.recomputed
        return 1000 + int(kept * tokens * way.sequences)

    return bytes_of


def chosen(room, *, tokens=1024, batch=16, **options):
    return choose_passes(divisors(batch), need(tokens), lambda n: n * tokens, room, **options)


def test_a_card_takes_what_it_holds_and_recomputes_no_more_than_it_must():
    assert chosen(10**9) == Passes(sequences=16, recomputed=0)
    assert chosen(1000 + 10 * 4096) == Passes(sequences=4, recomputed=0)
    # Two sequences fill a pass, and only with some layers recomputed do they fit.
    assert chosen(1000 + 8 * 2048) == Passes(sequences=2, recomputed=4)
    assert chosen(1000 + 2 * 2048) == Passes(sequences=4, recomputed=1)
    assert chosen(1001) == Passes(sequences=1, recomputed=1), "the least is tried where none fits"


def test_nothing_is_recomputed_that_lets_no_more_sequences_in():
    # Of two sequences each fits alone, whatever is recomputed.
    assert choose_passes([1, 2], lambda way: way.sequences, lambda n: n * 512, 1) == Passes(
        sequences=1, recomputed=0
    )


def test_what_is_told_is_kept_and_only_what_is_recomputed_is_chosen():
    told = choose_passes([8], need(1024), lambda n: n * 1024, 1000 + 5 * 8192)
    assert told.sequences == 8 and told.recomputed in (1, 2)
    assert choose_passes([8], need(1024), lambda n: n * 1024, 0) == Passes(
        sequences=8, recomputed=1
    )


def test_a_pass_has_no_more_tokens_than_help():
    assert chosen(10**12, tokens=8192, batch=64).sequences * 8192 == MOST_TOKENS
    assert chosen(10**12, most=4096).sequences == 4
    assert chosen(10**12, tokens=10**6).sequences == 1, "a long row is one all the same"


@settings(max_examples=200)
@given(
    room=st.integers(1000, 10**6), tokens=st.sampled_from([64, 512, 2048]), batch=st.integers(1, 24)
)
def test_what_is_chosen_fits_if_anything_does_and_divides_the_batch(room, tokens, batch):
    way = chosen(room, tokens=tokens, batch=batch)
    least = need(tokens)(Passes(sequences=1, recomputed=1))
    assert need(tokens)(way) <= room or least > room
    assert batch % way.sequences == 0


def ladder(way, *, tokens, device="cuda", batch=16):
    steps = []
    with pytest.raises(TrainingError, match="nf4"):
        while True:
            way = smaller_passes(way, batch, tokens, device, "no memory")
            steps.append((way.sequences, way.recomputed))
    return steps


def test_on_a_gpu_passes_are_halved_while_they_fill_it_and_then_layers_recomputed():
    assert ladder(Passes(sequences=8), tokens=FULL // 2) == [
        (4, 0),
        (2, 0),
        (2, 2),
        (2, 1),
        (1, 1),
    ]
    assert ladder(Passes(sequences=1, recomputed=4), tokens=FULL) == [(1, 2), (1, 1)]


def test_on_a_cpu_layers_are_recomputed_last():
    told = ladder(Passes(sequences=9), tokens=100, device="cpu", batch=9)
    assert told == [(3, 0), (1, 0), (1, 2), (1, 1)]


@settings(max_examples=100)
@given(batch=st.integers(1, 48), tokens=st.integers(1, 5000), data=st.data())
def test_every_step_down_takes_less_and_divides_the_batch(batch, tokens, data):
    way = Passes(
        sequences=data.draw(st.sampled_from(divisors(batch))),
        recomputed=data.draw(st.sampled_from([0, 1, 2, 3, 4])),
    )
    bytes_of = need(tokens)
    for sequences, recomputed in ladder(way, tokens=tokens, batch=batch):
        less = Passes(sequences=sequences, recomputed=recomputed)
        assert bytes_of(less) < bytes_of(way)
        assert batch % sequences == 0
        way = less
