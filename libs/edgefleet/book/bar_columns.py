"""Bars from whole columns of trades: those of `trade_bars`, digit for digit. Loads numpy; lean services do not.

Prices and sizes are integers of the smallest unit that holds them all, so that nothing is rounded on the way.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgefleet.book.grid import ClockGrid, SessionGrid, Span, grid_for
from edgefleet.clock import NS_PER_MS
from edgefleet.instruments import AssetClass
from edgefleet.messages.market import Bar, Trade
from edgefleet.units import EXACT

Ints = NDArray[np.int64]
_LARGEST = 2**63 - 1


class TradeColumns(NamedTuple):
    """Trades of one instrument in order of arrival, one array per field."""

    ts: Ints  # ns since the epoch
    price: Ints  # units of 10**-price_places
    quantity: Ints  # units of 10**-quantity_places
    price_places: int
    quantity_places: int

    @classmethod
    def of(cls, trades: Sequence[Trade]) -> TradeColumns:
        """Return the columns of messages.

        Raises
        ------
        ValueError
            If a price or a size does not fit into 64 bits of the common smallest unit.
        """
        price, price_places = scaled([trade.price for trade in trades])
        quantity, quantity_places = scaled([trade.quantity for trade in trades])
        stamps = np.array([trade.ts_event for trade in trades], dtype=np.int64)
        return cls(stamps, price, quantity, price_places, quantity_places)


class BarColumns(NamedTuple):
    """Bars, oldest first, one array per field. `late` and `outside` count the prints that were left out."""

    start: Ints
    end: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: NDArray[Any]  # int64, or Python integers where a sum needs more
    turnover: NDArray[Any]  # units of 10**-(price_places + quantity_places)
    trades: Ints
    price_places: int
    quantity_places: int
    late: int = 0
    outside: int = 0

    def bars(self, instrument: str, interval_ms: int, kind: Literal["time", "volume", "dollar"] = "time") -> list[Bar]:
        """Return the bars as messages, with an empty trace and their end as `ts_init`."""
        p, q = -self.price_places, -self.quantity_places
        return [
            Bar(
                instrument=instrument,
                interval_ms=interval_ms,
                open=_decimal(self.open[i], p),
                high=_decimal(self.high[i], p),
                low=_decimal(self.low[i], p),
                close=_decimal(self.close[i], p),
                volume=_decimal(self.volume[i], q),
                trades=int(self.trades[i]),
                kind=kind,
                turnover=_decimal(self.turnover[i], p + q),
                ts_open=int(self.start[i]),
                ts_event=int(self.end[i]),
                ts_init=int(self.end[i]),
                trace_id="",
            )
            for i in range(len(self.start))
        ]


def time_bars(
    trades: TradeColumns,
    interval_ms: int,
    asset_class: AssetClass = "crypto",
    *,
    grace_ms: int = 1_000,
    auction_ms: int = 0,
) -> BarColumns:
    """Return the bars that `TimeBars` would have made of the same prints, the last as they stand."""
    ts = trades.ts
    market = np.maximum.accumulate(ts) if len(ts) else ts
    late = ts < market - grace_ms * NS_PER_MS
    start, end = _spans(ts, grid_for(interval_ms, asset_class, auction_ms))
    kept = np.flatnonzero(~late & (end > start))
    kept = kept[np.lexsort((kept, ts[kept], start[kept]))]
    begins = np.flatnonzero(np.diff(start[kept], prepend=-1))
    outside = int(np.count_nonzero(~late & (end == start)))
    columns = _grouped(trades, kept, begins, start[kept][begins], end[kept][begins])
    return columns._replace(late=int(np.count_nonzero(late)), outside=outside)


def size_bars(trades: TradeColumns, kind: Literal["volume", "dollar"], threshold: Decimal) -> BarColumns:
    """Return the bars that `SizeBars` would have made of the same prints, the last as it stands.

    Raises
    ------
    ValueError
        If the threshold is not positive.
    """
    if not (threshold.is_finite() and threshold > 0):
        raise ValueError(f"a bar's {kind} must be positive, was {threshold}")
    places = trades.quantity_places + (trades.price_places if kind == "dollar" else 0)
    # Rounded up: sums are whole numbers of the unit.
    needed = int(EXACT.scaleb(threshold, places).to_integral_value(ROUND_CEILING))
    sizes = trades.quantity if kind == "volume" else _products(trades.price, trades.quantity)
    reached = np.cumsum(_safe(sizes))
    sums = reached.tolist()
    begins = [0] if len(sums) else []
    while begins and (last := bisect_left(sums, needed + (sums[begins[-1] - 1] if begins[-1] else 0))) + 1 < len(sums):
        begins.append(last + 1)
    everything = np.arange(len(sums))
    edges = np.array(begins, dtype=np.int64)
    stamps = trades.ts
    columns = _grouped(trades, _by_stamp(stamps, edges), edges, edges, edges)
    if not begins:
        return columns
    return columns._replace(
        start=np.minimum.reduceat(stamps[everything], edges), end=np.maximum.reduceat(stamps[everything], edges)
    )


def scaled(values: Sequence[Decimal]) -> tuple[Ints, int]:
    """Return decimals as integers of their common smallest unit, and its decimal places.

    Raises
    ------
    ValueError
        If one does not fit into 64 bits, or is not finite.

    Examples
    --------
    >>> scaled([Decimal("1.50"), Decimal("20")])
    (array([ 150, 2000]), 2)
    """
    exponents = []
    for value in values:
        exponent = value.as_tuple().exponent
        if not isinstance(exponent, int):
            raise ValueError(f"only finite numbers have a place in a column, was {value}")
        exponents.append(exponent)
    places = max(0, -min(exponents, default=0))
    whole = [int(EXACT.scaleb(value, places)) for value in values]
    if whole and not -_LARGEST <= min(whole) <= max(whole) <= _LARGEST:
        raise ValueError(f"{places} decimal places of {max(values)} do not fit into 64 bits")
    return np.array(whole, dtype=np.int64), places


def _spans(ts: Ints, grid: object) -> tuple[Ints, Ints]:
    """Return each stamp's bar; its start and end are equal where there is none."""
    if isinstance(grid, ClockGrid):
        start = ts - ts % grid.width_ns
        return start, start + grid.width_ns
    assert isinstance(grid, SessionGrid)
    start, end = ts.copy(), ts.copy()
    span: Span | None = None
    for i, stamp in enumerate(ts.tolist()):
        if span is None or not span.start <= stamp < span.end:
            span = grid.span(stamp)
        if span is not None:
            start[i], end[i] = span.start, span.end
    return start, end


def _by_stamp(ts: Ints, begins: Ints) -> Ints:
    """Return the order of stamps within each group, groups in place, equal stamps in order of arrival."""
    group = np.zeros(len(ts), dtype=np.int64)
    group[begins[1:]] = 1
    return np.lexsort((np.arange(len(ts)), ts, np.cumsum(group)))


def _grouped(trades: TradeColumns, order: Ints, begins: Ints, start: Ints, end: Ints) -> BarColumns:
    """Return the bars of groups that begin at `begins` of the trades in `order`."""
    places = (trades.price_places, trades.quantity_places)
    if not len(order):
        none = np.zeros(0, dtype=np.int64)
        return BarColumns(none, none, none, none, none, none, none, none, none, *places)
    price, quantity = trades.price[order], trades.quantity[order]
    ends = np.append(begins[1:], len(order))
    return BarColumns(
        start=start,
        end=end,
        open=price[begins],
        high=np.maximum.reduceat(price, begins),
        low=np.minimum.reduceat(price, begins),
        close=price[ends - 1],
        volume=np.add.reduceat(_safe(quantity), begins),
        turnover=np.add.reduceat(_safe(_products(price, quantity)), begins),
        trades=ends - begins,
        price_places=places[0],
        quantity_places=places[1],
    )


def _products(left: Ints, right: Ints) -> NDArray[Any]:
    """Return the products, as Python integers where 64 bits may not hold one."""
    if len(left) and int(np.abs(left).max()) * int(np.abs(right).max()) > _LARGEST:
        products: NDArray[Any] = left.astype(object) * right.astype(object)
        return products
    return left * right


def _safe(values: NDArray[Any]) -> NDArray[Any]:
    """Return values whose sum fits, as Python integers where 64 bits may not hold it."""
    if values.dtype != object and len(values) and int(np.abs(values).max()) * len(values) > _LARGEST:
        return values.astype(object)
    return values


def _decimal(units: Any, exponent: int) -> Decimal:
    return EXACT.scaleb(Decimal(int(units)), exponent)
