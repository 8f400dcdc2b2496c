"""A venue's candles to bars that warm models up. Knows no venue's own answers."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from edgefleet.clock import NS_PER_MS
from edgefleet.errors import Poison
from edgefleet.messages.market import Bar
from edgefleet.venues.figures import is_plausible


class Candle(NamedTuple):
    """One interval as a venue tells it."""

    start_ms: int
    open: Decimal  # quote per base unit, as the next three
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal  # base units
    trades: int  # 0 where the venue does not say
    is_traded: bool


def closed_bars(
    candles: Iterable[Candle], instrument: str, width_ms: int, *, until_ms: int, trace: str, ts_init: int
) -> list[Bar]:
    """Return the bars of what was traded and ended by `until_ms`, the venue's time, in the order of the candles.

    Raises
    ------
    Poison
        If a candle holds a price that cannot be.
    """
    found = []
    for one in candles:
        if not all(is_plausible(value) for value in (one.open, one.high, one.low, one.close)):
            raise Poison(f"candles of {instrument} hold a price that cannot be")
        end_ms = one.start_ms + width_ms
        if one.is_traded and end_ms <= until_ms:
            found.append(
                Bar(
                    instrument=instrument,
                    interval_ms=width_ms,
                    open=one.open,
                    high=one.high,
                    low=one.low,
                    close=one.close,
                    volume=one.volume,
                    trades=one.trades,
                    backfill=True,
                    ts_event=end_ms * NS_PER_MS,
                    ts_init=ts_init,
                    trace_id=f"{trace}candle:{one.start_ms}",
                )
            )
    return found
