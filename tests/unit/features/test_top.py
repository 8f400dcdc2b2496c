"""The top of book as models see it: what is remembered of it is what would be made anew."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from edgefleet.features import Features, TopReader

FIGURES = st.sampled_from([None, *map(Decimal, ("-0", "0", "0.0", "1", "1.00", "1.5", "61757.73000000"))])
TOPS = st.lists(st.tuples(FIGURES, FIGURES, FIGURES, FIGURES), max_size=20)


@given(TOPS)
def test_a_top_that_is_read_again_is_the_one_that_stands_to_the_sign_of_zero(
    tops: list[tuple[Decimal | None, Decimal | None, Decimal | None, Decimal | None]],
) -> None:
    reader = TopReader()

    for bid, bid_size, ask, ask_size in tops:
        features = Features(bid, bid_size, ask, ask_size)

        assert repr(reader.read(features)) == repr(features.top())


def test_a_top_that_stands_as_it_stood_is_not_made_again() -> None:
    reader = TopReader()
    features = Features(bid=Decimal(1), bid_size=Decimal(2), ask=Decimal(3), ask_size=Decimal(4))
    top = reader.read(features)

    features.update_id += 1

    assert reader.read(features) is top
