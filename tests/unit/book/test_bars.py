"""Bars hold exactly the prints of their interval."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from edgefleet.book import BarBuilder
from edgefleet.clock import NS_PER_MS, NS_PER_S
from edgefleet.testing import build

START = 1_700_000_000 * NS_PER_S


def test_bar_is_closed_by_the_first_print_of_a_later_interval() -> None:
    bars = BarBuilder(1_000)
    for ms, price in ((0, 10), (300, 12), (999, 9)):
        assert bars.add(build.trade(price=Decimal(price), ts_event=START + ms * NS_PER_MS)) is None

    closed = bars.add(build.trade(price=Decimal(11), ts_event=START + 1_000 * NS_PER_MS))

    assert closed is not None
    assert (closed.open, closed.high, closed.low, closed.close) == tuple(map(Decimal, (10, 12, 9, 9)))
    assert (closed.trades, closed.volume) == (3, Decimal("1.5"))
    assert closed.ts_event == START + NS_PER_S


def test_interval_without_a_print_makes_no_bar() -> None:
    bars = BarBuilder(1_000)
    bars.add(build.trade(ts_event=START))

    closed = bars.add(build.trade(ts_event=START + 5 * NS_PER_S))

    assert closed is not None
    assert closed.ts_event == START + NS_PER_S


def test_print_that_comes_late_does_not_change_a_closed_bar() -> None:
    bars = BarBuilder(1_000)
    bars.add(build.trade(ts_event=START + NS_PER_S))

    assert bars.add(build.trade(ts_event=START + NS_PER_S - 1)) is None
    assert bars.bar is not None
    assert bars.bar.trades == 2


@given(st.lists(st.tuples(st.integers(0, 9_999), st.integers(1, 50)), min_size=1, max_size=40))
def test_bars_hold_every_print_once(prints: list[tuple[int, int]]) -> None:
    bars, closed = BarBuilder(1_000), []
    for ms, price in sorted(prints):
        bar = bars.add(build.trade(price=Decimal(price), quantity=Decimal(1), ts_event=START + ms * NS_PER_MS))
        if bar is not None:
            closed.append(bar)
    assert bars.bar is not None

    assert sum(bar.trades for bar in closed) + bars.bar.trades == len(prints)
    assert sum(bar.volume for bar in closed) + bars.bar.volume == len(prints)
    assert all(bar.low <= bar.open <= bar.high and bar.low <= bar.close <= bar.high for bar in closed)
