"""The fast book equals the plain definition of a book."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from edgefleet.book import Book, Side

levels = st.lists(st.tuples(st.integers(1, 30).map(Decimal), st.integers(0, 3).map(Decimal)), max_size=12)


def plain(batches: list[list[tuple[Decimal, Decimal]]]) -> dict[Decimal, Decimal]:
    """The definition: the last size said of each price, zero meaning none."""
    said = {price: size for batch in batches for price, size in batch}
    return {price: size for price, size in said.items() if size}


@given(st.lists(levels, max_size=8), st.booleans())
def test_side_equals_its_definition(batches: list[list[tuple[Decimal, Decimal]]], bids: bool) -> None:
    side = Side(bids=bids)
    for batch in batches:
        side.apply(batch)
        side.best()

    expected = plain(batches)

    assert side.sizes == expected
    best = (max if bids else min)(expected, default=None)
    assert side.best() == (None if best is None else (best, expected[best]))
    assert [price for price, _ in side.levels()] == sorted(expected, reverse=bids)


def test_prices_that_come_and_go_do_not_pile_up() -> None:
    side = Side(bids=True)
    side.apply([(Decimal(1_000), Decimal(1))])
    for _ in range(5_000):
        side.apply([(Decimal(5), Decimal(1))])
        side.apply([(Decimal(5), Decimal(0))])

    assert len(side._heap) < 3_000
    assert side.best() == (Decimal(1_000), Decimal(1))


def test_load_replaces_everything() -> None:
    book = Book()
    book.load([(Decimal(9), Decimal(1))], [(Decimal(11), Decimal(1))])

    book.load([(Decimal(5), Decimal(2)), (Decimal(4), Decimal(0))], [(Decimal(6), Decimal(3))])

    assert book.top() == (Decimal(5), Decimal(2), Decimal(6), Decimal(3))
    assert book.bids.levels() == ((Decimal(5), Decimal(2)),)


def test_empty_side_has_no_top_and_is_not_crossed() -> None:
    book = Book()
    book.apply([(Decimal(9), Decimal(1))], [])

    assert book.top() is None
    assert not book.is_crossed


def test_locked_book_counts_as_crossed() -> None:
    book = Book()
    book.apply([(Decimal(9), Decimal(1))], [(Decimal(9), Decimal(1))])

    assert book.is_crossed
