"""A check rebuilds each book from messages alone and counts what differs from what the venue said."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from edgefleet.messages import Message, VenueStatus
from edgefleet.replay.check import MarketCheck
from edgefleet.stage import Output
from edgefleet.testing import build
from edgefleet.testing.clock import START_NS
from edgefleet.venues.feed import BookCounts

D = Decimal
INSTRUMENT = build.INSTRUMENT


def checked(*messages: Message, counts: BookCounts | None = None, compares_ids: bool = True) -> dict[str, Any]:
    """Return the row of one instrument after `messages`."""
    check = MarketCheck([INSTRUMENT], compares_ids=compares_ids)
    check.take([Output("market", message) for message in messages], [INSTRUMENT])
    report = check.report({INSTRUMENT: counts or BookCounts()}, {"BTC/USDT": len(messages)})
    row = report["instruments"]["BTC/USDT"]
    assert report["total"] == row  # with one instrument the total is that instrument
    return dict(row)


def book(update_id: int, bid: str = "99", ask: str = "101") -> Message:
    return build.book_snapshot(update_id=update_id, bids=((D(bid), D(1)),), asks=((D(ask), D(2)),))


def quote(update_id: int, bid: str = "99", ask: str = "101") -> Message:
    return build.quote(update_id=update_id, bid=D(bid), bid_size=D(1), ask=D(ask), ask_size=D(2))


def delta(update_id: int, *, bids: Any = (), asks: Any = ()) -> Message:
    return build.book_delta(first_update_id=update_id, last_update_id=update_id, bids=bids, asks=asks)


def test_a_top_is_compared_whether_it_comes_before_or_after_its_update() -> None:
    row = checked(book(1), quote(1), quote(2, bid="100"), delta(2, bids=((D(100), D(1)),)))

    assert (row["tops_compared"], row["tops_equal"]) == (2, 2)


def test_a_top_that_differs_is_counted() -> None:
    row = checked(book(1), quote(1, bid="98"))

    assert (row["tops_compared"], row["tops_equal"]) == (1, 0)


def test_a_top_of_another_update_is_not_compared() -> None:
    row = checked(book(1), quote(3), delta(2, bids=((D(100), D(1)),)), delta(4, bids=((D(100), D(0)),)))

    assert row["tops_compared"] == 0


def test_a_crossed_book_is_counted() -> None:
    assert checked(book(1), delta(2, bids=((D(101), D(1)),)))["crossed"] == 1


def test_a_lost_book_is_compared_with_nothing_until_the_next() -> None:
    lost = VenueStatus(venue="sim", status="resync", detail=f"{INSTRUMENT}: a gap", ts_event=1, ts_init=1, trace_id="t")

    row = checked(book(1), lost, quote(1), book(5), quote(5))

    assert (row["tops_compared"], row["tops_equal"]) == (1, 1)


def test_prints_sum_exactly() -> None:
    prints = [build.trade(trade_id=str(i), price=D("0.1"), quantity=D("0.1")) for i in range(10)]

    row = checked(*prints)

    assert (row["trades"], row["volume"], row["vwap"], row["last"]) == (10, "1", "0.1", "0.1")


def test_the_recorders_clock_may_be_behind_the_venues() -> None:
    late = build.trade(ts_event=START_NS, ts_init=START_NS - 1_270_000_000)

    assert checked(late)["clock_lag_ms"] == {"p1": -1270.0, "p50": -1270.0, "p99": -1270.0}


def test_where_tops_carry_no_id_the_feeds_own_comparison_is_told() -> None:
    row = checked(book(1), quote(1), counts=BookCounts(tops_compared=7, tops_equal=6), compares_ids=False)

    assert (row["tops_compared"], row["tops_equal"]) == (7, 6)


def test_base_units_of_two_instruments_are_not_added() -> None:
    check = MarketCheck([INSTRUMENT, "ETH/USDT@sim"], compares_ids=True)
    trades = [build.trade(), build.trade(instrument="ETH/USDT@sim")]
    check.take([Output("market", trade) for trade in trades], [INSTRUMENT, "ETH/USDT@sim"])

    total = check.report({INSTRUMENT: BookCounts(), "ETH/USDT@sim": BookCounts()}, {})["total"]

    assert (total["trades"], total["volume"], total["vwap"]) == (2, None, None)
