"""Prints and quotes of stocks: who took, what a bar counts, the best of several exchanges, the synthetic day."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.clock import NS_PER_S
from edgefleet.matching.engine import Side
from edgefleet.matching.hours import Hours
from edgefleet.matching.stock_history import DAY, MINUTE, StockHistory, TimeFrame, time_frame
from edgefleet.matching.stocks import Aggressor, Nbbo, StockQuote, StockTrade
from edgefleet.matching.synthetic_stocks import SyntheticStocks

from .stock_days import DAYS, STOCK, at, later

D = Decimal


def print_(ts_ns: int, price: str, size: str, *conditions: str, exchange: str = "N") -> StockTrade:
    return StockTrade(STOCK, ts_ns, 1, D(price), D(size), exchange, conditions or ("@",))


def quote(exchange: str, bid: str, ask: str, bid_size: str = "100", ask_size: str = "100") -> StockQuote:
    return StockQuote(STOCK, 0, D(bid), D(bid_size), exchange, D(ask), D(ask_size), exchange)


@pytest.mark.parametrize(
    ("prices", "bid", "ask", "side"),
    [
        (["10.02"], "10.00", "10.02", Side.BUY),
        (["10.03"], "10.00", "10.02", Side.BUY),
        (["10.00"], "10.00", "10.02", Side.SELL),
        (["10.005"], "10.00", "10.02", Side.SELL),
        (["10.02", "10.01"], "10.00", "10.02", Side.SELL),  # midpoint: the price came down
        (["10.00", "10.01", "10.01"], "10.00", "10.02", Side.BUY),  # and here up, a while ago
        (["10.00", "10.01"], "0", "0", Side.BUY),  # no quotes: the direction alone
    ],
)
def test_taker_is_guessed_by_quotes_and_then_by_direction(prices: list[str], bid: str, ask: str, side: Side) -> None:
    guess = Aggressor()

    assert [guess.of(D(price), D(bid), D(ask)) for price in prices][-1] is side


def test_best_quote_is_over_all_exchanges_with_the_size_at_it() -> None:
    nbbo = Nbbo(STOCK)
    nbbo.update(quote("N", "10.00", "10.03", "200"))
    nbbo.update(quote("P", "10.01", "10.04", "300"))

    best = nbbo.update(quote("B", "10.01", "10.03", "50", "70"))

    assert best is not None
    assert (best.bid, best.bid_size, best.bid_exchange) == (D("10.01"), D(350), "P")
    assert (best.ask, best.ask_size, best.ask_exchange) == (D("10.03"), D(170), "N")
    assert nbbo.update(quote("Z", "9.00", "11.00")) is None, "what is not best changes nothing"


def test_exchange_that_quotes_nothing_has_left() -> None:
    nbbo = Nbbo(STOCK)
    nbbo.update(quote("N", "10.00", "10.02"))

    best = nbbo.update(quote("N", "0", "10.02", "0"))

    assert best is not None
    assert (best.bid, best.bid_size, best.bid_exchange) == (D(0), D(0), "")


def test_newer_quote_that_crosses_an_older_one_stands_alone() -> None:
    nbbo = Nbbo(STOCK)
    nbbo.update(quote("N", "10.00", "10.02"))

    best = nbbo.update(quote("P", "10.03", "10.05"))

    assert best is not None
    assert (best.bid, best.ask) == (D("10.03"), D("10.05"))
    assert nbbo.update(quote("B", "10.04", "10.04")) is None, "locked in itself: left out"


@given(
    st.lists(
        st.tuples(st.sampled_from("NPBZ"), st.integers(0, 9), st.integers(0, 9), st.integers(0, 3), st.integers(0, 3)),
        max_size=40,
    )
)
def test_best_quotes_are_never_locked_or_crossed_and_never_beyond_what_an_exchange_quoted(
    quotes: list[tuple[str, int, int, int, int]],
) -> None:
    nbbo, last = Nbbo(STOCK), {}
    for exchange, bid, ask, bid_size, ask_size in quotes:
        best = nbbo.update(quote(exchange, str(bid), str(ask), str(bid_size), str(ask_size)))
        if not (bid and ask and bid >= ask):
            last[exchange] = (bid if bid_size else 0, ask if ask_size else 0)
        if best is None:
            continue
        assert not (best.bid and best.ask) or best.bid < best.ask
        assert best.bid <= max((b for b, _ in last.values()), default=0)
        asks = [a for _, a in last.values() if a]
        assert not best.ask or best.ask >= min(asks)


def test_conditions_say_what_a_bar_takes_of_a_print() -> None:
    history, start = StockHistory(), at("10:00")
    for number, (price, size, condition) in enumerate(
        [
            ("10.00", "100", "@"),
            ("12.00", "5", "I"),  # odd lot: volume alone
            ("10.50", "10", "Z"),  # out of sequence: may be a high, opens and closes nothing
            ("99.00", "1000", "M"),  # the official close repeats what was printed
            ("10.20", "200", "@"),
        ]
    ):
        history.add(print_(later(start, number), price, size, condition))

    (bar,) = history.bars(MINUTE)
    assert (bar.open, bar.high, bar.low, bar.close) == (D("10.00"), D("10.50"), D("10.00"), D("10.20"))
    assert (bar.volume, bar.trades) == (D(315), 4)
    assert bar.vwap == (D(1_000) + D(60) + D(105) + D(2_040)) / 315


def test_minute_without_a_price_has_no_bar_and_its_volume_counts_in_the_day() -> None:
    history = StockHistory()
    history.add(print_(at("10:00"), "10.00", "100"))
    history.add(print_(at("10:01"), "10.00", "7", "I"))

    assert [bar.volume for bar in history.bars(MINUTE)] == [100]
    (day,) = history.bars(DAY)
    assert (day.volume, day.start_ns) == (D(107), at("00:00"))


def test_minute_is_told_once_when_it_is_over() -> None:
    history = StockHistory()
    history.add(print_(at("10:00:30"), "10.00", "100"))

    assert history.closed(at("10:00:59")) is None
    told = history.closed(at("10:01"))
    assert told is not None
    assert told.start_ns == at("10:00")
    assert history.closed(at("10:02")) is None


@pytest.mark.parametrize(
    ("frame", "clock", "start"),
    [
        ("5Min", "10:04:59", "10:00"),
        ("1Hour", "10:59", "10:00"),
        ("4Hour", "11:30", "08:00"),
        ("1Day", "15:00", "00:00"),
    ],
)
def test_bars_begin_where_new_york_s_clock_has_them(frame: str, clock: str, start: str) -> None:
    found = time_frame(frame)

    assert found is not None
    assert found.start_of(at(clock)) == at(start)


def test_week_begins_on_monday_and_month_on_its_first() -> None:
    assert TimeFrame(1, "Week").start_of(at("10:00")) == at("00:00", 25)
    assert TimeFrame(3, "Month").start_of(at("10:00")) == at("00:00", month=10, day=1)


@given(
    st.lists(st.tuples(st.integers(0, 3 * 3_600), st.integers(900, 1_100), st.integers(1, 500)), min_size=1).map(
        sorted
    ),
    st.sampled_from(["5Min", "15Min", "1Hour", "1Day"]),
)
def test_longer_bars_are_what_the_prints_themselves_say(prints: list[tuple[int, int, int]], frame: str) -> None:
    history, start, wide = StockHistory(), at("09:30"), time_frame(frame)
    assert wide is not None
    expected: dict[int, list[tuple[int, int]]] = {}
    for second, cents, size in prints:
        ts_ns = start + second * NS_PER_S
        history.add(print_(ts_ns, str(D(cents) / 100), str(size)))
        expected.setdefault(wide.start_of(ts_ns), []).append((cents, size))

    for bar, (begins, inside) in zip(history.bars(wide), expected.items(), strict=True):
        prices = [D(c) / 100 for c, _ in inside]
        assert bar.start_ns == begins
        assert (bar.open, bar.high, bar.low, bar.close) == (prices[0], max(prices), min(prices), prices[-1])
        assert bar.volume == sum(size for _, size in inside)
        assert bar.amount == sum(D(c) / 100 * size for c, size in inside)


def test_synthetic_stock_trades_in_regular_hours_alone_in_cents_and_whole_shares() -> None:
    hours = Hours(DAYS)
    source = SyntheticStocks([STOCK], hours, seed=3, start_ns=at("12:59:50"))

    before = list(source.advance(at("13:00")))
    night = list(source.advance(at("09:29", month=12, day=2)))
    after = list(source.advance(at("09:30:05", month=12, day=2)))

    assert before
    assert night == []
    assert after[0].ts_ns >= at("09:30", month=12, day=2)
    assert all(at("12:59:50") <= event.ts_ns <= at("13:00") for event in before)
    trades = [event.trade for event in before + after if event.trade is not None]
    quotes = [event.quote for event in before + after if event.quote is not None]
    assert not any(price % D("0.01") for price in [t.price for t in trades] + [q.bid for q in quotes])
    assert not any(size % 1 for size in [t.size for t in trades] + [q.ask_size for q in quotes])


def test_synthetic_stock_is_its_seed_s_however_time_is_cut() -> None:
    whole = SyntheticStocks([STOCK], Hours(DAYS), seed=5, start_ns=at("09:29:58"))
    cut = SyntheticStocks([STOCK], Hours(DAYS), seed=5, start_ns=at("09:29:58"))

    pieces = [event for second in range(1, 9) for event in cut.advance(later(at("09:29:58"), second * 0.73))]

    assert list(whole.advance(later(at("09:29:58"), 8 * 0.73))) == pieces
