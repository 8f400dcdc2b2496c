"""Levels as a venue wrote them: the same levels, in a book, in a message and in the stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.book import Book, Indistinct, Side
from edgefleet.messages import BookDelta, Level, WrittenLevels, decode, encode, tag_of

D = Decimal
PRICES = st.integers(1, 40).flatmap(
    lambda cents: st.sampled_from([f"{cents / 10:.1f}", f"{cents / 10:.2f}", f"{cents}e-1"])
)
SIZES = st.sampled_from(["0", "0.000", "1", "1.0", "2.50", "3e-3"])
BATCHES = st.lists(st.lists(st.tuples(PRICES, SIZES), max_size=10), max_size=8)


def written(texts: list[tuple[str, str]]) -> WrittenLevels:
    return WrittenLevels(texts, [(float(price), float(size)) for price, size in texts])


def exact(texts: list[tuple[str, str]]) -> tuple[Level, ...]:
    return tuple((D(price), D(size)) for price, size in texts)


@given(BATCHES, st.lists(st.tuples(PRICES, SIZES), max_size=10), st.booleans(), st.integers(0, 6))
def test_a_side_of_written_levels_is_the_side_of_their_figures(
    batches: list[list[tuple[str, str]]], first: list[tuple[str, str]], bids: bool, looks: int
) -> None:
    of_texts, of_figures = Side(bids=bids), Side(bids=bids)
    of_texts.load(written(first))
    of_figures.load(exact(first))
    for number, batch in enumerate(batches):
        if number == looks:  # from here on both keep their best prices in order
            assert of_texts.levels(3) == of_figures.levels(3)
        of_texts.apply(written(batch))
        of_figures.apply(exact(batch))
        assert of_texts.best() == of_figures.best()
    assert of_texts.levels(5) == of_figures.levels(5)
    assert of_texts.levels() == of_figures.levels()
    assert of_texts.sizes == of_figures.sizes
    assert of_texts.depth(4) == of_figures.depth(4)


def test_what_is_written_is_exact_where_it_is_looked_at() -> None:
    levels = written([("0.1", "3.10"), ("0.3", "0")])

    assert list(levels) == [(D("0.1"), D("3.1")), (D("0.3"), D(0))]
    assert levels[1] == (D("0.3"), D(0))
    assert levels[:1] == ((D("0.1"), D("3.1")),)
    assert len(levels) == 2
    assert levels == exact([("0.10", "3.1"), ("0.3", "0")])
    assert exact([("0.1", "3.1")]) != levels
    assert levels != [1]
    assert repr(levels) == "WrittenLevels([('0.1', '3.10'), ('0.3', '0')])"


def test_a_message_of_written_levels_is_what_its_readers_get() -> None:
    texts = [("61602.01000000", "0.00000000"), ("61600.00000000", "1.67177000")]
    ids = {"first_update_id": 1, "last_update_id": 2, "ts_event": 3, "ts_init": 4, "trace_id": "x"}
    sent = BookDelta(instrument="BTC/USDT@sim", bids=written(texts), asks=written([]), **ids)  # type: ignore[arg-type]

    data = encode(sent)

    assert b'"bids":[["61602.01000000","0.00000000"],["61600.00000000","1.67177000"]],"asks":[]' in data
    read = decode(tag_of(sent), data)
    assert isinstance(read, BookDelta)
    assert read == sent
    assert read.bids == exact(texts)


@pytest.mark.parametrize("looks", [False, True])
@pytest.mark.parametrize("size", ["1", "0"])
@pytest.mark.parametrize("write", [written, exact])
def test_prices_that_cannot_be_told_apart_are_never_taken_for_each_other(
    write: Callable[[list[tuple[str, str]]], Sequence[Level]], size: str, looks: bool
) -> None:
    one, other = "1.00000000000000001", "1.00000000000000002"
    assert float(one) == float(other)
    side = Side(bids=True)
    side.load(write([(one, "1")]))
    if looks:
        side.levels(1)
    side.apply(write([(one + "0", "2")]))

    with pytest.raises(Indistinct, match="cannot be told apart"):
        side.apply(write([(other, size)]))
    with pytest.raises(Indistinct, match="cannot be told apart"):
        Book().load(write([(one, "1"), (other, "1")]), ())


def test_levels_that_came_as_figures_and_as_texts_are_one_book() -> None:
    book = Book()
    book.load(exact([("1.0", "1"), ("0.9", "2")]), exact([("1.1", "3")]))

    book.apply(written([("1.00", "5"), ("0.900", "0")]), written([("1.10", "4")]))

    assert book.top() == (D(1), D(5), D("1.1"), D(4))
    assert book.bids.sizes == {D(1): D(5)}
