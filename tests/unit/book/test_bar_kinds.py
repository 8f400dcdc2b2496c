"""All kinds of bars at once are the library's own of each kind, whenever they are remembered and gone on with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.book.test_trade_bars import HALF_DAY, START, content, print_at

from edgefleet.book.bar_columns import TradeColumns, size_bars, time_bars
from edgefleet.book.bar_kinds import BarKinds, BarPlan, InstrumentBars
from edgefleet.book.grid import MINUTE_MS, WIDTHS_MS
from edgefleet.clock import NS_PER_MS, NS_PER_S
from edgefleet.messages import Bar, Beat, Trade
from edgefleet.testing import build

D = Decimal
MINUTE, HOUR = 60 * NS_PER_S, 3_600 * NS_PER_S
PLAN = BarPlan(sizes={"volume": D(7), "dollar": D(100)})
INSTRUMENT = build.INSTRUMENT


def keeper(plan: BarPlan = PLAN, memory: bytes | None = None) -> BarKinds:
    known = None if memory is None else msgspec.json.decode(memory, type=dict[str, InstrumentBars])
    kinds = BarKinds(known)
    kinds.plan(INSTRUMENT, plan)
    return kinds


def beat_at(ts: int) -> Beat:
    return build.beat(ts_event=ts, ts_init=ts)


def closed(kinds: BarKinds, messages: Iterable[Trade | Beat]) -> dict[tuple[str, int], list[Bar]]:
    found: dict[tuple[str, int], list[Bar]] = defaultdict(list)
    for message in messages:
        for bar in kinds.take(message):
            found[bar.kind, bar.interval_ms].append(bar)
    return found


def prints(gaps: Sequence[int]) -> list[Trade]:
    """Return prints so many milliseconds after each other, backwards too, at prices and sizes that move."""
    found, ts = [], START
    for i, gap in enumerate(gaps):
        ts += gap * NS_PER_MS
        found.append(print_at(ts, 10 + i % 5, 1 + i % 3))
    return found


GAPS = st.lists(st.integers(-2_500, 40_000), min_size=1, max_size=80)


@given(GAPS)
def test_each_kind_is_what_whole_columns_make(gaps: list[int]) -> None:
    trades = prints(gaps)
    columns = TradeColumns.of(trades)

    found = closed(keeper(), trades)

    for width in WIDTHS_MS.values():
        whole = time_bars(columns, width).bars(INSTRUMENT, width)
        ours = content(found["time", width])
        assert ours == content(whole)[: len(ours)]
        assert len(whole) - len(ours) <= 2  # what the grace holds open
    for kind, threshold in (("volume", D(7)), ("dollar", D(100))):
        whole = size_bars(columns, kind, threshold).bars(INSTRUMENT, 0, kind)  # type: ignore[arg-type]
        ours = content(found[kind, 0])
        assert ours == content(whole)[: len(ours)]
        assert len(whole) - len(ours) <= 1


@given(GAPS, st.integers(0, 160))
def test_one_that_goes_on_from_what_was_remembered_makes_the_same_bars(gaps: list[int], at: int) -> None:
    messages = [each for trade in prints(gaps) for each in (trade, beat_at(trade.ts_event + NS_PER_S))]
    never_stopped = keeper()
    whole = closed(never_stopped, messages)

    first = keeper()
    head = closed(first, messages[:at])
    second = keeper(memory=msgspec.json.encode(first.memory))
    tail = closed(second, messages[at:])

    assert {key: head[key] + tail[key] for key in {*head, *tail}} == whole
    assert second.memory == never_stopped.memory


def test_a_beat_closes_a_bar_of_a_market_that_went_quiet() -> None:
    kinds = keeper()
    kinds.take(beat_at(START))
    kinds.take(print_at(START + NS_PER_S))

    assert kinds.take(beat_at(START + MINUTE + 5 * NS_PER_S)) == []  # a print may still come
    bars = kinds.take(beat_at(START + MINUTE + 7 * NS_PER_S))

    assert [(bar.interval_ms, bar.trades) for bar in bars] == [(MINUTE_MS, 1)]
    assert kinds.memory[INSTRUMENT].newest["1m"] == bars[0]


def test_a_clock_of_ours_that_is_an_hour_ahead_of_the_venues_leaves_no_print_out() -> None:
    kinds = keeper()
    messages: list[Trade | Beat] = []
    for second in range(0, 180, 10):
        ts = START + second * NS_PER_S
        messages += [beat_at(ts + HOUR), print_at(ts)]

    found = closed(kinds, messages)

    assert [bar.trades for bar in found["time", MINUTE_MS]] == [6, 6]
    assert set(kinds.left_out().values()) == {0}


def test_the_beat_of_another_venue_closes_nothing() -> None:
    kinds = keeper()
    kinds.take(print_at(START))
    other = build.beat(venue="kraken", touches=(), ts_event=START + HOUR, ts_init=START + HOUR)

    assert kinds.take(other) == []


def test_minutes_without_a_print_make_no_bar() -> None:
    found = closed(keeper(), [print_at(START), print_at(START + 5 * MINUTE), print_at(START + 9 * MINUTE)])

    assert [bar.ts_open for bar in found["time", MINUTE_MS]] == [START, START + 5 * MINUTE]


def test_late_prints_and_prints_of_a_closed_market_are_counted_once_whatever_the_widths() -> None:
    assert HALF_DAY is not None
    stocks = keeper(BarPlan(asset_class="us_stocks"))
    inside = HALF_DAY.close - NS_PER_S

    closed(stocks, [print_at(inside), print_at(inside - MINUTE), print_at(HALF_DAY.close + HOUR)])

    assert stocks.left_out() == {"late": 1, "outside": 1, "without_hours": 0}
    assert stocks.memory[INSTRUMENT].newest["1d"].ts_event == HALF_DAY.close


def test_a_market_whose_hours_are_not_known_has_bars_of_size_alone() -> None:
    kinds = keeper(BarPlan(asset_class="forex", sizes={"volume": D(1)}))

    assert set(closed(kinds, [print_at(START), print_at(START + HOUR)])) == {("volume", 0)}


def test_a_day_that_no_table_of_sessions_has_is_counted_and_stops_nothing() -> None:
    kinds = keeper(BarPlan(asset_class="us_stocks", sizes={"volume": D(1)}))

    found = closed(kinds, [print_at(4_000_000_000 * NS_PER_S)])

    assert set(found) == {("volume", 0)}
    assert kinds.left_out()["without_hours"] == 1


def test_a_size_that_changed_ends_the_open_bar_where_it_is_due() -> None:
    kinds = keeper(BarPlan(widths=(), sizes={"volume": D(10)}))
    kinds.take(print_at(START, 10, 4))

    kinds.plan(INSTRUMENT, BarPlan(widths=(), sizes={"volume": D(5)}))
    bars = kinds.take(print_at(START + 1, 10, 2))

    assert [(bar.volume, bar.trades) for bar in bars] == [(D(6), 2)]


def test_a_kind_that_is_not_made_any_more_is_not_the_newest_of_anything() -> None:
    kinds = keeper()
    closed(kinds, [print_at(START), print_at(START + 2 * MINUTE)])

    kinds.plan(INSTRUMENT, BarPlan(widths=("5m",)))

    assert kinds.memory[INSTRUMENT].newest == {}
    assert set(kinds.memory[INSTRUMENT].time) == {"5m"}
