"""Orders of ours in a market that was recorded: what they take, and when they are filled while they rest."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.matching.engine import Side
from edgefleet.matching.recorded import RecordedBook, RecordedMarket

from .markets import bought, diff, snapshot, sold, ticker

D = Decimal


@pytest.fixture
def market() -> RecordedMarket:
    market = RecordedMarket()
    market.on_snapshot(
        snapshot(10, [("100", "1"), ("99", "2"), ("98", "5")], [("101", "1"), ("102", "2"), ("103", "5")])
    )
    return market


def filled(market: RecordedMarket, frames: list[object]) -> Decimal:
    total = D(0)
    for frame in frames:
        match frame:
            case _ if hasattr(frame, "m"):
                fills = market.on_trade(frame)  # type: ignore[arg-type]
            case _ if hasattr(frame, "U"):
                fills = market.on_diff(frame)  # type: ignore[arg-type]
            case _:
                fills = market.on_ticker(frame)  # type: ignore[arg-type]
        total += sum((fill.quantity for fill in fills), D(0))
    return total


def test_order_walks_the_recorded_levels_without_moving_them(market: RecordedMarket) -> None:
    plan = market.plan(Side.BUY, None, D("2.5"))

    assert plan == [(D(101), D(1)), (D(102), D("1.5"))]
    assert market.book.asks.best() == (D(101), D(1))


def test_what_was_taken_is_not_taken_twice(market: RecordedMarket) -> None:
    market.take(Side.BUY, market.plan(Side.BUY, None, D("2.5")))

    assert market.plan(Side.BUY, None, D(1)) == [(D(102), D("0.5")), (D(103), D("0.5"))]


def test_level_that_changes_is_whole_again(market: RecordedMarket) -> None:
    market.take(Side.BUY, market.plan(Side.BUY, None, D(1)))
    market.on_diff(diff(11, 11, asks=[("101", "0.7")]))

    assert market.plan(Side.BUY, None, D(1)) == [(D(101), D("0.7")), (D(102), D("0.3"))]


def test_limit_takes_no_worse_price(market: RecordedMarket) -> None:
    assert market.plan(Side.SELL, D(99), D(10)) == [(D(100), D(1)), (D(99), D(2))]


def test_newer_ticker_corrects_the_top_of_the_book(market: RecordedMarket) -> None:
    market.on_ticker(ticker(11, "99", "1.5", "102", "0.4"))

    assert market.plan(Side.BUY, None, D(1)) == [(D(102), D("0.4")), (D(103), D("0.6"))]
    assert market.plan(Side.SELL, None, D(2)) == [(D(99), D("1.5")), (D(98), D("0.5"))]


def test_older_ticker_does_not_correct_a_newer_book(market: RecordedMarket) -> None:
    market.on_ticker(ticker(9, "97", "1", "104", "1"))

    assert market.top(Side.BUY) == (D(100), D(1))


def test_print_at_the_price_goes_to_the_queue_first(market: RecordedMarket) -> None:
    market.rest(1, Side.BUY, D(100), D(1))

    assert filled(market, [sold("100", "0.6")]) == 0
    assert filled(market, [sold("100", "0.6")]) == D("0.2")


def test_print_through_the_price_fills_no_more_than_was_printed(market: RecordedMarket) -> None:
    market.rest(1, Side.BUY, D(100), D(1))

    assert filled(market, [sold("99.5", "0.3")]) == D("0.3")
    assert filled(market, [sold("99.5", "3")]) == D("0.7")


def test_print_of_the_other_aggressor_fills_nothing(market: RecordedMarket) -> None:
    market.rest(1, Side.BUY, D(100), D(1), D(0))

    assert filled(market, [bought("100", "5")]) == 0


def test_cancels_ahead_shorten_the_queue(market: RecordedMarket) -> None:
    market.rest(1, Side.BUY, D(100), D(1))

    filled(market, [diff(11, 11, bids=[("100", "0.25")])])

    assert filled(market, [sold("100", "0.5")]) == D("0.25")


def test_size_that_joins_behind_does_not_lengthen_the_queue(market: RecordedMarket) -> None:
    market.rest(1, Side.BUY, D(100), D(1))

    filled(market, [diff(11, 11, bids=[("100", "9")])])

    assert filled(market, [sold("100", "1.5")]) == D("0.5")


def test_one_print_is_shared_by_price_then_time(market: RecordedMarket) -> None:
    for number, (price, ahead) in enumerate([("100", 0), ("100.5", 0), ("100", 0)], start=1):
        market.rest(number, Side.BUY, D(price), D(1), D(ahead))

    fills = market.on_trade(sold("100", "2.5"))

    assert [(fill.order_id, fill.quantity) for fill in fills] == [(2, D(1)), (1, D(1)), (3, D("0.5"))]


def test_quote_that_arrives_at_the_price_fills_what_it_shows(market: RecordedMarket) -> None:
    market.rest(1, Side.BUY, D(100), D(1))

    assert filled(market, [ticker(11, "99", "2", "99.9", "0.4")]) == D("0.4")
    assert filled(market, [ticker(12, "99", "1", "99.9", "0.4")]) == 0


def test_diffs_before_the_snapshot_are_held() -> None:
    book = RecordedBook()
    book.diff(diff(5, 8, bids=[("1", "1")]))
    book.diff(diff(9, 12, bids=[("2", "2")]))

    book.snapshot(snapshot(10, [("3", "3")], []))

    assert list(book.bids.levels()) == [(D(3), D(3)), (D(2), D(2))]
    assert (book.applied, book.stale, book.gaps, book.last_update_id) == (1, 1, 0, 12)


def test_hole_in_the_sequence_is_counted() -> None:
    book = RecordedBook()
    book.snapshot(snapshot(10, [], []))

    book.diff(diff(12, 12, bids=[("1", "1")]))

    assert book.gaps == 1


_ROWS = st.lists(st.tuples(st.sampled_from(["97", "98", "99", "100"]), st.sampled_from(["0", "1", "2"])), max_size=3)


@given(st.lists(st.tuples(st.integers(1, 3), _ROWS, _ROWS), max_size=20), st.integers(9, 80))
def test_book_as_of_an_update_is_the_book_that_was_there_then(
    diffs: list[tuple[int, list[tuple[str, str]], list[tuple[str, str]]]], update_id: int
) -> None:
    book, then = RecordedBook(remember=100), RecordedBook()
    first = snapshot(10, [("99", "2")], [("101", "1")])
    book.snapshot(first)
    then.snapshot(first)
    last = 10
    for width, bids, asks in diffs:
        change = diff(last + 1, last + width, bids, asks)
        last += width
        book.diff(change)
        if last <= update_id:
            then.diff(change)

    past = book.as_of(update_id)

    assert past.last_update_id == then.last_update_id
    for side in Side:
        assert list(past.ladder(side).levels()) == list(then.ladder(side).levels())


def test_book_as_of_an_update_it_does_not_remember_goes_as_far_back_as_it_does() -> None:
    book = RecordedBook(remember=2)
    book.snapshot(snapshot(10, [("99", "2")], [("101", "1")]))
    for update in range(11, 16):
        book.diff(diff(update, update, [("99", str(update))]))

    assert (book.as_of(11).last_update_id, book.last_update_id) == (13, 15)
