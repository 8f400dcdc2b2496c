"""Arbitrage is what single units would earn, no more; a rolling VWAP is that of the trades in its window, exactly."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.book import Book
from edgefleet.book.aggregator import (
    Arbitrage,
    ArbitrageMonitor,
    Opportunity,
    RollingVwap,
    between_books,
    opportunity,
    venue_view,
)
from edgefleet.clock import NS_PER_MS

D = Decimal
Levels = list[tuple[Decimal, Decimal]]
NONE = D(0)


def book_of(bids: Levels, asks: Levels) -> Book:
    book = Book()
    book.load(bids, asks)
    return book


def at(bid: int | str, ask: int | str, size: int = 1) -> Book:
    return book_of([(D(bid), D(size))], [(D(ask), D(size))])


def by_units(asks: Levels, bids: Levels, buy_fee: Decimal, sell_fee: Decimal) -> tuple[int, Fraction]:
    """The definition: pair the cheapest unit with the dearest bid while a unit earns; return units and profit."""
    cheap = [price for price, size in sorted(asks) for _ in range(int(size))]
    dear = [price for price, size in sorted(bids, reverse=True) for _ in range(int(size))]
    earns = [
        Fraction(bid) * (1 - Fraction(sell_fee)) - Fraction(ask) * (1 + Fraction(buy_fee))
        for ask, bid in zip(cheap, dear, strict=False)
    ]
    paid = [each for each in earns if each > 0]
    return len(paid), sum(paid, Fraction(0))


prices = st.integers(90, 115).map(Decimal)
sides = st.dictionaries(prices, st.integers(1, 6).map(Decimal), max_size=25).map(lambda side: list(side.items()))
fees = st.sampled_from([D("-0.001"), NONE, D("0.001"), D("0.0075"), D("0.05")])


@given(sides, sides, fees, fees)
def test_an_opportunity_is_what_single_units_earn(
    asks: Levels, bids: Levels, buy_fee: Decimal, sell_fee: Decimal
) -> None:
    units, profit = by_units(asks, bids, buy_fee, sell_fee)

    found = between_books(book_of([], asks), book_of(bids, []), buy_fee, sell_fee)

    assert found == opportunity(sorted(asks), sorted(bids, reverse=True), buy_fee, sell_fee)
    if not units:
        assert found is None
        return
    assert found is not None
    assert (int(found.size), Fraction(found.profit)) == (units, profit)
    assert found.profit > 0
    assert found.net_bps > 0
    assert found.size <= min(sum(size for _, size in asks), sum(size for _, size in bids))


@given(st.integers(1, 90), st.integers(1, 90), fees)
def test_deep_books_are_walked_to_where_it_ends(asks: int, bids: int, fee: Decimal) -> None:
    cheap = [(D(1_000) + n / D(10), D(1)) for n in range(asks)]
    dear = [(D(1_010) - n / D(10), D(1)) for n in range(bids)]

    found = between_books(book_of([], cheap), book_of(dear, []), fee, NONE)

    assert (0 if found is None else found.size) == by_units(cheap, dear, fee, NONE)[0]


def test_fees_of_both_venues_are_paid() -> None:
    asks, bids = [(D(100), D(5))], [(D("100.2"), D(3))]

    assert opportunity(asks, bids, D("0.001"), D("0.001")) is None
    assert opportunity(asks, bids, D("0.001"), D("0.000")) is not None
    found = opportunity(asks, bids, D("0.0005"), D("0.0005"))
    assert found is not None
    assert (found.size, found.cost, found.proceeds, found.profit) == (D(3), D(300), D("300.6"), D("0.2997"))
    assert found.gross_bps == pytest.approx(20.0)
    assert found.net_bps == pytest.approx(9.99)


def test_an_edge_of_nothing_is_no_opportunity() -> None:
    assert opportunity([(D(100), D(1))], [(D(100), D(1))], NONE, NONE) is None
    assert opportunity([(D(100), D(1))], [(D("100.1"), D(1))], D("0.001"), NONE) is None


def test_an_opportunity_opens_changes_and_closes_with_how_long_it_lasted() -> None:
    monitor = ArbitrageMonitor("BTC/USDT", {"a": NONE, "b": NONE}, stale_after_ms=1_000)
    assert monitor.on_book("a", at(99, 100), 1) == []

    (opened,) = monitor.on_book("b", at(102, 103), 5)
    assert monitor.on_book("b", at(102, 103), 7) == []
    (updated,) = monitor.on_book("b", at(103, 104), 8)
    (less,) = monitor.on_book("b", at(101, 104), 9)
    (closed,) = monitor.on_book("a", at(101, 102), 12)

    assert [event.state for event in (opened, updated, less, closed)] == ["opened", "updated", "updated", "closed"]
    assert (opened.buy_at, opened.sell_at, opened.since, opened.lasted_ns) == ("a", "b", 5, 0)
    assert opened.now is not None
    assert (opened.now.profit, opened.now.size) == (D(2), D(1))
    assert (closed.now, closed.since, closed.ts, closed.lasted_ns) == (None, 5, 12, 7)
    assert closed.best.profit == D(3)
    assert monitor.open == {}


def test_a_silent_or_dropped_venue_closes_what_it_was_part_of() -> None:
    fees = dict.fromkeys("abc", NONE)
    monitor = ArbitrageMonitor("BTC/USDT", fees, stale_after_ms=1)
    monitor.on_book("a", at(99, 100), 0)
    assert [(e.buy_at, e.sell_at) for e in monitor.on_book("b", at(102, 103), 0)] == [("a", "b")]
    assert [(e.buy_at, e.sell_at) for e in monitor.on_book("c", at(102, 103), NS_PER_MS)] == [("a", "c")]

    assert [(e.state, e.sell_at) for e in monitor.drop("c")] == [("closed", "c")]
    (closed,) = monitor.advance(NS_PER_MS + 1)
    assert (closed.state, closed.sell_at, closed.lasted_ns) == ("closed", "b", NS_PER_MS + 1)
    assert monitor.on_book("a", at(99, 100), NS_PER_MS + 2) == []


def test_a_venue_that_is_itself_too_late_is_compared_with_nobody() -> None:
    monitor = ArbitrageMonitor("BTC/USDT", {"a": NONE, "b": NONE}, stale_after_ms=1)
    monitor.on_book("a", at(99, 100), 10 * NS_PER_MS)

    assert monitor.on_book("b", at(102, 103), 5 * NS_PER_MS) == []
    assert [event.state for event in monitor.on_book("b", at(102, 103), 10 * NS_PER_MS)] == ["opened"]


def test_a_book_that_is_crossed_in_itself_opens_nothing_and_closes_what_was_open() -> None:
    monitor = ArbitrageMonitor("BTC/USDT", {"a": NONE, "b": NONE}, stale_after_ms=1_000)
    monitor.on_book("a", at(99, 100), 0)
    assert [e.state for e in monitor.on_book("b", at(102, 103), 0)] == ["opened"]

    (closed,) = monitor.on_book("b", at(104, 103), 2)

    assert (closed.state, closed.ts, closed.lasted_ns) == ("closed", 2, 2)
    assert monitor.on_book("a", at(99, 100), 2) == []


def test_a_venue_without_a_fee_is_not_compared() -> None:
    monitor = ArbitrageMonitor("BTC/USDT", {"a": NONE}, stale_after_ms=1_000)

    monitor.on_book("a", at(99, 100), 0)
    assert monitor.on_book("x", at(200, 201), 0) == []
    with pytest.raises(ValueError, match="fee is a fraction between -1 and 1, of a was 10"):
        ArbitrageMonitor("BTC/USDT", {"a": D(10)}, stale_after_ms=1_000)


events = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(95, 105), st.integers(1, 4), st.integers(1, 3), st.integers(0, 3)),
    max_size=30,
)


@given(events)
def test_what_is_open_is_what_a_look_at_all_pairs_finds(steps: list[tuple[str, int, int, int, int]]) -> None:
    taker = {"a": D("0.001"), "b": NONE, "c": D("0.01")}
    monitor, books, ts = ArbitrageMonitor("X", taker, stale_after_ms=2), dict[str, tuple[Book, int]](), 0
    told: dict[tuple[str, str], Arbitrage] = {}
    for venue, bid, spread, size, step in steps:
        ts += step * NS_PER_MS
        books[venue] = (at(bid, bid + spread, size), ts)
        for event in monitor.on_book(venue, books[venue][0], ts):
            pair = (event.buy_at, event.sell_at)
            assert (event.state == "opened") == (pair not in told)
            assert event.now is None or event.now.profit > 0
            assert event.lasted_ns == ts - event.since
            if event.state == "closed":
                assert event.since == told.pop(pair).since
            else:
                told[pair] = event

        fresh = {name: book for name, (book, at_ts) in books.items() if ts - at_ts <= 2 * NS_PER_MS}
        pairs: dict[tuple[str, str], Opportunity | None] = {
            (buy, sell): between_books(fresh[buy], fresh[sell], taker[buy], taker[sell])
            for buy in fresh
            for sell in fresh
            if buy != sell
        }
        assert {pair: event.now for pair, event in told.items()} == {p: o for p, o in pairs.items() if o is not None}


trades = st.lists(
    st.tuples(
        st.integers(-4, 6), st.decimals(min_value=1, max_value=9_999, places=4), st.decimals("0.001", 99, places=3)
    ),
    max_size=50,
)


@given(trades, st.integers(1, 10))
def test_a_rolling_vwap_is_that_of_the_window_and_nothing_stays_behind(
    steps: list[tuple[int, Decimal, Decimal]], window_ms: int
) -> None:
    rolling, taken, ts, market = RollingVwap(window_ms), list[tuple[int, Decimal, Decimal]](), 100 * NS_PER_MS, 0
    for step, price, quantity in steps:
        ts += step * NS_PER_MS
        rolling.add(ts, price, quantity)
        market = max(market, ts)
        taken.append((ts, price, quantity))
        inside = [(p, q) for at_ts, p, q in taken if at_ts > market - window_ms * NS_PER_MS]

        assert rolling.volume == sum(q for _, q in inside)
        assert rolling.turnover == sum(p * q for p, q in inside)
        assert rolling.value == (rolling.turnover / rolling.volume if inside else None)
        assert len(rolling) == len(inside)

    rolling.advance(ts + 1_000 * NS_PER_MS)
    assert (rolling.value, rolling.volume, rolling.turnover, len(rolling)) == (None, NONE, NONE, 0)


def test_a_window_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="must be positive, was 0 ms"):
        RollingVwap(0)


def test_a_venue_is_seen_by_its_book_and_its_trades() -> None:
    vwap = RollingVwap(1_000)
    assert venue_view(Book(), vwap) == type(venue_view(Book(), vwap))(None, None, None)
    vwap.add(0, D(100), D(1))
    vwap.add(1, D(103), D(2))

    view = venue_view(book_of([(D(99), D(3))], [(D(101), D(1))]), vwap)

    assert view.spread_percent == pytest.approx(2.0)
    assert (view.imbalance, view.vwap) == (0.5, D(102))
