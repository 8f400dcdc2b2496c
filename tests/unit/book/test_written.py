"""Levels as a venue wrote them: the same levels, in a book, in a message and in the stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.book import Book, Side
from edgefleet.messages import BookDelta, Level, WrittenLevels, decode, encode, tag_of

D = Decimal
PRICES = st.integers(1, 40).flatmap(lambda tenths: st.sampled_from([f"{tenths / 10:.1f}", f"{tenths / 10:.2f}"]))
ALIKE = st.integers(10, 40).map(lambda last: f"1.000000000000000{last}")  # all the same as floats
SIZES = st.sampled_from(["0", "0.000", "0.00000000", "1", "1.0", "2.50", "0.00000003"])
BATCH = st.lists(st.tuples(st.one_of(PRICES, PRICES, ALIKE), SIZES), max_size=10)


def written(texts: list[tuple[str, str]]) -> WrittenLevels:
    return WrittenLevels(texts, [(float(price), float(size)) for price, size in texts])


def exact(texts: list[tuple[str, str]]) -> tuple[Level, ...]:
    return tuple((D(price), D(size)) for price, size in texts)


@given(st.lists(BATCH, max_size=8), BATCH, st.booleans(), st.integers(0, 6), st.booleans())
def test_a_side_of_written_levels_is_the_side_of_their_figures_and_its_definition(
    batches: list[list[tuple[str, str]]], first: list[tuple[str, str]], bids: bool, looks: int, mixed: bool
) -> None:
    of_texts, of_figures = Side(bids=bids), Side(bids=bids)
    of_texts.load(written(first))
    of_figures.load(exact(first))
    plain = dict(exact(first))
    for number, batch in enumerate(batches):
        if number == looks:  # from here on both keep their best prices in order
            assert of_texts.levels(3) == of_figures.levels(3)
        of_texts.apply(exact(batch) if mixed and number % 2 else written(batch))
        of_figures.apply(iter(exact(batch)))
        assert of_texts.best() == of_figures.best()
        plain |= dict(exact(batch))
    plain = {price: size for price, size in plain.items() if size}
    best_first = tuple(sorted(plain.items(), reverse=bids))
    for side in (of_texts, of_figures):
        assert side.sizes == plain
        assert side.best() == next(iter(best_first), None)
        assert side.levels(5) == best_first[:5]
        assert side.levels() == best_first
        assert side.depth(4) == sum(size for _, size in best_first[:4])


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
    sent = BookDelta(instrument="BTC/USDT@sim", bids=written(texts), asks=written([("1", "0.00000089")]), **ids)  # type: ignore[arg-type]

    data = encode(sent)

    assert b'"bids":[["61602.01000000","0E-8"],["61600.00000000","1.67177000"]],"asks":[["1","8.9E-7"]]' in data
    read = decode(tag_of(sent), data)
    assert isinstance(read, BookDelta)
    assert read == sent
    assert read.bids == exact(texts)
    assert encode(read) == data


@pytest.mark.parametrize("looks", [False, True])
@pytest.mark.parametrize("write", [written, exact])
def test_prices_that_are_the_same_as_floats_are_never_taken_for_each_other(
    write: Callable[[list[tuple[str, str]]], Sequence[Level]], looks: bool
) -> None:
    one, other = "1.00000000000000001", "1.00000000000000002"
    assert float(one) == float(other)
    side = Side(bids=True)
    side.load(write([("0.5", "7"), (one, "1")]))
    if looks:
        side.levels(1)

    side.apply(write([(other, "0")]))
    assert side.levels() == exact([(one, "1"), ("0.5", "7")])
    side.apply(write([(other, "2"), (one + "0", "3")]))
    assert side.levels() == exact([(other, "2"), (one, "3"), ("0.5", "7")])
    side.apply(write([(other, "0")]))
    assert side.best() == (D(one), D(3))
    side.load(write([(one, "1"), (other, "1")]))
    assert side.levels(2) == exact([(other, "1"), (one, "1")])


def test_levels_that_came_as_figures_and_as_texts_are_one_book() -> None:
    book = Book()
    book.load(exact([("1.0", "1"), ("0.9", "2")]), exact([("1.1", "3")]))

    book.apply(written([("1.00", "5"), ("0.900", "0")]), written([("1.10", "4")]))

    assert book.top() == (D(1), D(5), D("1.1"), D(4))
    assert book.bids.sizes == {D(1): D(5)}
