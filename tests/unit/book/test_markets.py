"""Messages of many venues come to the same books, bests and arbitrage as each part makes of its own."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from edgefleet.book.aggregator import Arbitrage, VenueView, between_books
from edgefleet.book.consolidated import Out, VenueEvent
from edgefleet.book.markets import Markets
from edgefleet.clock import NS_PER_MS
from edgefleet.messages import BookDelta, BookSnapshot, Trade
from edgefleet.testing import build
from edgefleet.venues.binance.feed import BinanceFeed
from edgefleet.venues.tape import read_tape

D = Decimal
FEES = {"a": D("0.001"), "b": D("0.001")}


def markets() -> Markets:
    return Markets(FEES, stale_after_ms=1_000, window_ms=1_000)


def snapshot(venue: str, bid: int, ask: int, ts: int = 0) -> BookSnapshot:
    levels = {"bids": ((D(bid), D(2)),), "asks": ((D(ask), D(1)),)}
    return build.book_snapshot(instrument=f"BTC/USDT@{venue}", ts_event=ts, **levels)


def test_a_cross_of_two_venues_is_an_event_of_the_best_and_an_arbitrage() -> None:
    known = markets()
    assert known.take(snapshot("a", 99, 100)) == []

    out, opened = known.take(snapshot("b", 103, 104, ts=1))

    assert isinstance(out, VenueEvent)
    assert (out.venue, out.reason) == ("a", Out.CROSSED)
    assert isinstance(opened, Arbitrage)
    assert (opened.state, opened.buy_at, opened.sell_at) == ("opened", "a", "b")
    one, other = known.book("BTC/USDT@a"), known.book("BTC/USDT@b")
    assert one is not None
    assert other is not None
    assert opened.now == between_books(one, other, *FEES.values())


def test_a_delta_changes_the_book_it_belongs_to_and_waits_for_its_snapshot() -> None:
    known = markets()
    delta = build.book_delta(instrument="BTC/USDT@a", bids=((D(98), D(7)),), asks=(), ts_event=1)

    assert known.take(delta) == []
    assert known.book("BTC/USDT@a") is None
    known.take(snapshot("a", 99, 100))
    known.take(delta)

    book = known.book("BTC/USDT@a")
    assert book is not None
    assert book.bids.levels() == ((D(99), D(2)), (D(98), D(7)))


def test_figures_of_a_venue_are_of_its_book_and_its_trades() -> None:
    known = markets()
    assert known.view("BTC/USDT@a") == VenueView(None, None, None)
    known.take(snapshot("a", 99, 101))
    known.take(build.trade(instrument="BTC/USDT@a", price=D(100), quantity=D(3), ts_event=5))

    view = known.view("BTC/USDT@a")
    assert view.spread_percent == pytest.approx(2.0)
    assert view.vwap == D(100)
    assert view.imbalance == pytest.approx(1 / 3)

    known.advance(2_000 * NS_PER_MS)
    assert known.view("BTC/USDT@a").vwap is None


def test_a_book_counts_before_quotes_and_quotes_where_there_is_no_book() -> None:
    known = markets()
    known.take(build.quote(instrument="BTC/USDT@b", bid=D(98), ask=D(102), ts_event=0))
    known.take(snapshot("a", 99, 103))
    known.take(build.quote(instrument="BTC/USDT@a", bid=D(1), ask=D(2), ts_event=1))

    best = known.best("BTC/USDT")
    assert best is not None
    assert best.bid is not None
    assert best.ask is not None
    assert (best.bid.venues, best.ask.venues) == (("a",), ("b",))
    assert known.best("ETH/USDT") is None


def test_a_lost_book_closes_what_it_was_part_of_and_silence_does_so_too() -> None:
    known = markets()
    known.take(snapshot("a", 99, 100))
    known.take(snapshot("b", 103, 104))

    states = [event.state for event in known.lose("BTC/USDT@b")]
    assert states == ["released", "closed"]
    assert known.book("BTC/USDT@b") is None
    known.take(snapshot("b", 103, 104))
    assert [event.state for event in known.advance(1_000 * NS_PER_MS + 1)] == ["quarantined", "closed"]
    arbitrage = known.arbitrage("BTC/USDT")
    assert arbitrage is not None
    assert arbitrage.open == {}


@pytest.mark.data
def test_the_recorded_day_at_two_venues_of_which_one_lags_opens_only_what_pays(recorded: Path) -> None:
    feeds = {venue: BinanceFeed(venue, ["BTC/USDT"]) for venue in ("a", "b")}
    fee = D("0.00002")
    known = Markets(dict.fromkeys(feeds, fee), stale_after_ms=5_000, window_ms=60_000)
    events: list[Arbitrage] = []
    for line in list(read_tape([recorded / "binance_spot" / "btcusdt_20240808.gz"]))[:20_000]:
        for venue, feed in feeds.items():
            for out in feed.on_line(line.stamp_ns, line.body, ts_init=line.stamp_ns):
                message = out.message
                if not isinstance(message, (BookSnapshot, BookDelta, Trade)):
                    continue
                if venue == "b" and isinstance(message, BookDelta) and message.last_update_id % 3:
                    continue  # two updates of three are missed: its book errs
                for event in known.take(message):
                    if isinstance(event, Arbitrage):
                        events.append(event)
                        buy, sell = (known.book(f"BTC/USDT@{at}") for at in (event.buy_at, event.sell_at))
                        if event.now is not None and buy is not None and sell is not None:
                            assert event.now == between_books(buy, sell, fee, fee)

    assert {event.state for event in events} == {"opened", "updated", "closed"}
    assert all(event.best.profit > 0 and event.best.net_bps > 0 and event.lasted_ns >= 0 for event in events)
