"""Bars hold exactly the prints of their time; every width, every form and every order of making them agree."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Context, Decimal
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.book.bar_columns import TradeColumns, scaled, size_bars, time_bars
from edgefleet.book.grid import DAY_MS, MINUTE_MS, WIDTHS_MS, grid_for
from edgefleet.book.sessions import calendar_named
from edgefleet.book.trade_bars import Resampler, SizeBars, TimeBars, resample, starts_at, vwap
from edgefleet.clock import NS_PER_MS, NS_PER_S
from edgefleet.instruments import AssetClass
from edgefleet.messages import Bar, Trade
from edgefleet.testing import build
from edgefleet.venues.binance.feed import BinanceFeed
from edgefleet.venues.tape import read_tape

D = Decimal
START = 1_700_006_400 * NS_PER_S  # midnight, UTC
HALF_DAY = calendar_named("XNYS").session_of(1_732_890_600 * NS_PER_S)  # 2024-11-29, 14:30 to 18:00 UTC
INSTRUMENT = "BTC/USDT@sim"


def print_at(ts: int, price: str | int = 10, quantity: str | int = 1) -> Trade:
    return build.trade(price=D(price), quantity=D(quantity), ts_event=ts, ts_init=ts, trace_id=f"t{ts}")


def made(trades: Sequence[Trade], interval_ms: int, **how: int | str) -> tuple[list[Bar], TimeBars]:
    bars = msgspec.convert({"instrument": INSTRUMENT, "interval_ms": interval_ms, **how}, TimeBars)
    closed = [bar for trade in trades for bar in bars.add(trade)]
    return closed + bars.flush(), bars


def content(bars: Sequence[Bar]) -> list[tuple[object, ...]]:
    """What a bar says of the market, without its trace."""
    return [
        (b.interval_ms, b.kind, b.open, b.high, b.low, b.close, b.volume, b.turnover, b.trades, b.ts_open, b.ts_event)
        for b in bars
    ]


def plain(trades: Sequence[Trade], width_ns: int, grace_ns: int) -> list[tuple[object, ...]]:
    """The definition: who is not too far behind the latest stamp before him; grouped by time; ordered by stamp."""
    kept, latest = [], 0
    for trade in trades:
        latest = max(latest, trade.ts_event)
        if trade.ts_event >= latest - grace_ns:
            kept.append(trade)
    groups: dict[int, list[Trade]] = {}
    for trade in sorted(kept, key=lambda trade: trade.ts_event):
        groups.setdefault(trade.ts_event // width_ns * width_ns, []).append(trade)
    return [
        (
            width_ns // NS_PER_MS,
            "time",
            group[0].price,
            max(trade.price for trade in group),
            min(trade.price for trade in group),
            group[-1].price,
            sum((trade.quantity for trade in group), D(0)),
            sum((trade.price * trade.quantity for trade in group), D(0)),
            len(group),
            start,
            start + width_ns,
        )
        for start, group in sorted(groups.items())
    ]


prices = st.decimals(min_value="0.01", max_value=100_000, places=2)
quantities = st.decimals(min_value="0.00001", max_value=1_000, places=5)
# ms, now and then backwards, often to the very stamp of another print or to the edge of a bar or of the grace
steps = st.one_of(st.integers(-3_000, 90_000), st.sampled_from([-1_000, -500, -1, 0, 0, 1, 500, 1_000, 60_000]))


@st.composite
def tapes(draw: st.DrawFn, start: int = START, most: int = 60) -> list[Trade]:
    ts, trades = start, list[Trade]()
    for step, price, quantity in draw(st.lists(st.tuples(steps, prices, quantities), max_size=most)):
        ts += step * NS_PER_MS
        trades.append(build.trade(price=price, quantity=quantity, ts_event=ts, ts_init=ts, trace_id=str(len(trades))))
    return trades


@given(tapes(), st.sampled_from([1_000, MINUTE_MS, 5 * MINUTE_MS]), st.sampled_from([0, 500, 1_000, 5_000]))
def test_bars_equal_their_definition(trades: list[Trade], width_ms: int, grace_ms: int) -> None:
    bars, state = made(trades, width_ms, grace_ms=grace_ms)

    assert content(bars) == plain(trades, width_ms * NS_PER_MS, grace_ms * NS_PER_MS)
    assert sum(bar.trades for bar in bars) + state.late == len(trades)


@given(tapes(), st.sampled_from([0, 1_000, 5_000]))
def test_wider_bars_are_the_same_whether_made_from_trades_or_from_any_narrower_bars(
    trades: list[Trade], grace_ms: int
) -> None:
    direct = {name: made(trades, width, grace_ms=grace_ms)[0] for name, width in WIDTHS_MS.items()}
    names = list(WIDTHS_MS)

    for i, wide in enumerate(names):
        for narrow in names[:i]:
            assert resample(direct[narrow], WIDTHS_MS[wide]) == direct[wide]


@given(st.data())
def test_wider_bars_of_a_stock_are_the_same_on_a_half_day(data: st.DataObject) -> None:
    assert HALF_DAY is not None
    start = data.draw(st.sampled_from([HALF_DAY.open - 60 * NS_PER_S, HALF_DAY.close - 3_600 * NS_PER_S]))
    trades = data.draw(tapes(start=start))
    stock: AssetClass = "us_stocks"
    direct = {name: made(trades, width, asset_class=stock)[0] for name, width in WIDTHS_MS.items()}
    names = list(WIDTHS_MS)

    for i, wide in enumerate(names):
        for narrow in names[:i]:
            assert resample(direct[narrow], WIDTHS_MS[wide], stock) == direct[wide]
    for day in direct["1d"]:
        assert (day.ts_open, day.ts_event) == (HALF_DAY.open, HALF_DAY.close)


@given(tapes(), st.sampled_from(sorted(WIDTHS_MS.values())), st.sampled_from([0, 1_000]))
def test_columns_give_the_bars_of_the_stream(trades: list[Trade], width_ms: int, grace_ms: int) -> None:
    bars, state = made(trades, width_ms, grace_ms=grace_ms)

    columns = time_bars(TradeColumns.of(trades), width_ms, grace_ms=grace_ms)

    assert content(columns.bars(INSTRUMENT, width_ms)) == content(bars)
    assert (columns.late, columns.outside) == (state.late, state.outside)


@given(st.data(), st.sampled_from([0, 120_000]))
def test_columns_give_the_bars_of_a_stock(data: st.DataObject, auction_ms: int) -> None:
    assert HALF_DAY is not None
    trades = data.draw(tapes(start=HALF_DAY.close - 1_200 * NS_PER_S))
    for width in WIDTHS_MS.values():
        bars, state = made(trades, width, asset_class="us_stocks", auction_ms=auction_ms)

        columns = time_bars(TradeColumns.of(trades), width, "us_stocks", auction_ms=auction_ms)

        assert content(columns.bars(INSTRUMENT, width)) == content(bars)
        assert (columns.late, columns.outside) == (state.late, state.outside)
        assert sum(bar.trades for bar in bars) + state.late + state.outside == len(trades)


@given(tapes(), st.sampled_from(["volume", "dollar"]), st.sampled_from(["0.1", "500", "1500.5", "90000"]))
def test_bars_of_size_equal_their_definition_and_their_columns(
    trades: list[Trade], kind: Literal["volume", "dollar"], threshold: str
) -> None:
    bars = SizeBars(INSTRUMENT, kind, D(threshold))
    streamed = [bar for bar in [*(bars.add(trade) for trade in trades), bars.flush()] if bar is not None]
    groups: list[list[Trade]] = [[]]
    for trade in trades:
        groups[-1].append(trade)
        if sum(t.quantity * (t.price if kind == "dollar" else 1) for t in groups[-1]) >= D(threshold):
            groups.append([])

    columns = size_bars(TradeColumns.of(trades), kind, D(threshold)).bars(INSTRUMENT, 0, kind)

    assert content(columns) == content(streamed)
    assert [bar.trades for bar in streamed] == [len(group) for group in groups if group]
    for bar, group in zip(streamed, groups, strict=False):
        by_time = sorted(group, key=lambda trade: trade.ts_event)
        assert (bar.open, bar.close) == (by_time[0].price, by_time[-1].price)
        assert (bar.ts_open, bar.ts_event) == (by_time[0].ts_event, by_time[-1].ts_event)
        assert bar.volume == sum(trade.quantity for trade in group)
        assert bar.turnover == sum(trade.quantity * trade.price for trade in group)


@given(tapes(most=30), st.integers(0, 30))
def test_a_restart_in_the_middle_changes_nothing(trades: list[Trade], cut: int) -> None:
    whole, _ = made(trades, MINUTE_MS)
    bars = TimeBars(INSTRUMENT, MINUTE_MS)
    closed = [bar for trade in trades[:cut] for bar in bars.add(trade)]

    again = msgspec.msgpack.decode(msgspec.msgpack.encode(bars), type=TimeBars)

    assert closed + [bar for trade in trades[cut:] for bar in again.add(trade)] + again.flush() == whole


@given(tapes(most=40), st.integers(0, 5_000))
def test_what_was_closed_is_never_changed_and_bars_come_in_order(trades: list[Trade], grace_ms: int) -> None:
    bars, _ = made(trades, 1_000, grace_ms=grace_ms)

    starts = [starts_at(bar) for bar in bars]
    assert starts == sorted(set(starts))


def test_a_late_print_within_the_grace_falls_into_its_own_bar() -> None:
    bars = TimeBars(INSTRUMENT, 1_000, grace_ms=500)
    bars.add(print_at(START + 900 * NS_PER_MS, 10))
    assert bars.add(print_at(START + 1_100 * NS_PER_MS, 11)) == []

    assert bars.add(print_at(START + 700 * NS_PER_MS, 9)) == []
    (closed,) = bars.add(print_at(START + 1_500 * NS_PER_MS, 12))

    assert (closed.open, closed.low, closed.close, closed.trades) == (D(9), D(9), D(10), 2)


def test_a_print_later_than_the_grace_is_counted_and_left_out() -> None:
    bars = TimeBars(INSTRUMENT, 1_000, grace_ms=500)
    bars.add(print_at(START + 1_100 * NS_PER_MS))

    assert bars.add(print_at(START + 599 * NS_PER_MS)) == []

    assert (bars.late, len(bars.buckets)) == (1, 1)


def test_market_time_without_a_print_closes_bars() -> None:
    bars = TimeBars(INSTRUMENT, 1_000, grace_ms=500)
    bars.add(print_at(START))

    assert bars.advance(START + 1_499 * NS_PER_MS) == []
    assert [bar.ts_event for bar in bars.advance(START + 1_500 * NS_PER_MS)] == [START + NS_PER_S]
    assert bars.advance(START + 9_000 * NS_PER_MS) == []


def test_a_stocks_hour_begins_at_the_bell_and_its_last_one_is_short() -> None:
    opens = 1_719_840_600 * NS_PER_S  # 2024-07-01 09:30 in New York
    minutes = [0, 59, 60, 385]
    bars, state = made(
        [print_at(opens + m * 60 * NS_PER_S) for m in [-1, *minutes, 390]], 60 * MINUTE_MS, asset_class="us_stocks"
    )

    assert state.outside == 2
    assert [bar.trades for bar in bars] == [2, 1, 1]
    assert [(bar.ts_event - starts_at(bar)) // (60 * NS_PER_S) for bar in bars] == [60, 60, 30]


def test_the_closing_auction_belongs_to_the_last_bar_of_the_day() -> None:
    closes = 1_719_864_000 * NS_PER_S  # 2024-07-01 16:00 in New York
    trades = [print_at(closes - NS_PER_S, 10), print_at(closes + 3 * NS_PER_S, 11), print_at(closes + 61 * NS_PER_S)]

    (minute,), state = made(trades, MINUTE_MS, asset_class="us_stocks", auction_ms=60_000)
    (day,), _ = made(trades, DAY_MS, asset_class="us_stocks", auction_ms=60_000)

    assert (minute.trades, minute.close, minute.ts_event, state.outside) == (2, D(11), closes, 1)
    assert (day.trades, day.close, day.ts_event, starts_at(day)) == (2, D(11), closes, closes - 23_400 * NS_PER_S)
    assert resample([minute], DAY_MS, "us_stocks") == [day]


def test_a_day_of_crypto_is_the_day_of_utc() -> None:
    bars, _ = made([print_at(START), print_at(START + 86_399 * NS_PER_S), print_at(START + 86_400 * NS_PER_S)], DAY_MS)

    assert [(bar.trades, bar.ts_event) for bar in bars] == [
        (2, START + 86_400 * NS_PER_S),
        (1, START + 172_800 * NS_PER_S),
    ]


def test_bars_that_do_not_fit_or_come_out_of_order_are_refused() -> None:
    five, _ = made([print_at(START)], 5 * MINUTE_MS)
    three, _ = made([print_at(START + 200 * NS_PER_S)], 3 * MINUTE_MS)
    old, _ = made([print_at(START - 60 * NS_PER_S)], MINUTE_MS)
    volume = SizeBars(INSTRUMENT, "volume", D(1)).add(print_at(START))
    assert volume is not None

    with pytest.raises(ValueError, match="fits no bar of 60000 ms"):
        resample(five, MINUTE_MS)
    with pytest.raises(ValueError, match="fits no bar of 300000 ms"):
        resample(three, 5 * MINUTE_MS)
    with pytest.raises(ValueError, match=r"a volume bar .* fits no bar"):
        resample([volume], MINUTE_MS)
    with pytest.raises(ValueError, match="is older than"):
        resample([*five, *old], 15 * MINUTE_MS)


def test_bars_without_a_turnover_have_no_vwap_however_wide() -> None:
    known, _ = made([print_at(START, 10, 1), print_at(START + NS_PER_S, 13, 2)], MINUTE_MS)
    foreign = msgspec.structs.replace(known[0], turnover=None, ts_open=None)

    assert vwap(known[0]) == D(12)
    assert vwap(foreign) is None
    assert [bar.turnover for bar in resample([foreign], 5 * MINUTE_MS)] == [None]
    assert starts_at(foreign) == START


@pytest.mark.parametrize("width", [0, DAY_MS + 1])
def test_a_width_that_no_bar_has_is_refused(width: int) -> None:
    with pytest.raises(ValueError, match=f"was {width} ms"):
        grid_for(width, "crypto")


def test_a_threshold_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="must be positive, was 0"):
        SizeBars(INSTRUMENT, "volume", D(0))
    with pytest.raises(ValueError, match="must be positive, was NaN"):
        size_bars(TradeColumns.of([]), "dollar", D("NaN"))


def test_sums_beyond_64_bits_stay_exact() -> None:
    trades = [print_at(START + i, "99999999.99999999", "99999.99999999") for i in range(40)]
    bars, _ = made(trades, MINUTE_MS)

    columns = time_bars(TradeColumns.of(trades), MINUTE_MS).bars(INSTRUMENT, MINUTE_MS)

    assert content(columns) == content(bars)
    assert bars[0].turnover is not None
    assert int(bars[0].turnover.scaleb(16, Context(prec=50))) == 40 * 9_999_999_999_999_999 * 9_999_999_999_999


def test_a_sum_just_beyond_64_bits_stays_exact() -> None:
    trades = [print_at(START + i, 1, 2**62) for i in range(3)]

    (bar,) = time_bars(TradeColumns.of(trades), MINUTE_MS).bars(INSTRUMENT, MINUTE_MS)

    assert bar.volume == bar.turnover == 3 * 2**62


def test_a_threshold_between_two_sums_is_reached_by_the_larger() -> None:
    trades = [print_at(START + i) for i in range(6)]

    bars = size_bars(TradeColumns.of(trades), "volume", D("2.5")).bars(INSTRUMENT, 0, "volume")

    assert [bar.trades for bar in bars] == [3, 3]


def test_of_prints_with_one_stamp_the_first_opens_and_the_last_closes() -> None:
    bars = TimeBars(INSTRUMENT, 1_000)
    for ms, price in ((1, 10), (5, 11), (1, 12), (5, 13), (3, 14)):
        bars.add(print_at(START + ms * NS_PER_MS, price))

    (bar,) = bars.flush()

    assert (bar.open, bar.close, bar.high) == (D(10), D(13), D(14))


def test_a_print_exactly_the_grace_behind_is_taken() -> None:
    bars = TimeBars(INSTRUMENT, 1_000, grace_ms=500)
    bars.add(print_at(START + 1_100 * NS_PER_MS))

    bars.add(print_at(START + 600 * NS_PER_MS))

    assert (bars.late, len(bars.buckets)) == (0, 2)


def test_a_value_that_fits_no_column_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit into 64 bits"):
        scaled([D("1e-10"), D("1e10")])
    with pytest.raises(ValueError, match="only finite numbers"):
        scaled([D("NaN")])


def test_resampling_one_by_one_equals_resampling_at_once() -> None:
    minutes, _ = made([print_at(START + m * 60 * NS_PER_S, 10 + m) for m in (0, 1, 7, 31)], MINUTE_MS)
    resampler = Resampler(5 * MINUTE_MS)

    closed = [bar for bar in map(resampler.add, minutes) if bar is not None]

    assert closed == resample(minutes, 5 * MINUTE_MS)[:-1]
    assert dt.timedelta(minutes=5).total_seconds() * 1_000 == closed[0].interval_ms


@pytest.mark.data
def test_the_recorded_tape_gives_the_same_bars_by_both_forms_and_by_every_way(recorded: Path) -> None:
    feed, trades = BinanceFeed("sim", ["BTC/USDT"]), []
    names = ("btcusdt_20240808.gz", "btcusdt_20240809.gz")
    for line in read_tape([recorded / "binance_spot" / name for name in names]):
        outputs = feed.on_line(line.stamp_ns, line.body, ts_init=line.stamp_ns)
        trades += [out.message for out in outputs if isinstance(out.message, Trade)]
    columns = TradeColumns.of(trades)

    direct = {name: made(trades, width)[0] for name, width in WIDTHS_MS.items()}

    assert [len(bars) for bars in direct.values()] == [12, 4, 2, 2, 2]
    assert sum(bar.volume for bar in direct["1d"]) == D("437.91552")
    for name, width in WIDTHS_MS.items():
        assert resample(direct["1m"], width) == direct[name]
        assert content(time_bars(columns, width).bars(INSTRUMENT, width)) == content(direct[name])
