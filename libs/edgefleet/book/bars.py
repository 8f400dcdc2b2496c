"""Time bars from trades. The bar's clock is the trades' own stamps; intervals without a trade make no bar."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from edgefleet.clock import NS_PER_MS
from edgefleet.messages.market import Bar, Trade


class OpenBar(msgspec.Struct):
    """The bar that trades are still falling into. Changed in place."""

    start: int  # ns since the epoch, a multiple of the interval
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: int


class BarBuilder(msgspec.Struct):
    """One instrument's bars of one width."""

    interval_ms: int
    bar: OpenBar | None = None

    def add(self, trade: Trade) -> Bar | None:
        """Take a print; return the bar it closed, None while the bar is open.

        A bar is known to be closed when a trade of a later interval came. A print stamped before the open bar
        (venues may reorder by a millisecond) falls into the open bar: what was closed is never changed.
        """
        width = self.interval_ms * NS_PER_MS
        start = trade.ts_event - trade.ts_event % width
        bar, price, quantity = self.bar, trade.price, trade.quantity
        if bar is None:
            self.bar = OpenBar(start, price, price, price, price, quantity, 1)
            return None
        if start > bar.start:
            closed = self._close(trade, bar, bar.start + width)
            self.bar = OpenBar(start, price, price, price, price, quantity, 1)
            return closed
        if price > bar.high:
            bar.high = price
        elif price < bar.low:
            bar.low = price
        bar.close = price
        bar.volume += quantity
        bar.trades += 1
        return None

    def _close(self, trade: Trade, bar: OpenBar, end: int) -> Bar:
        return Bar(
            instrument=trade.instrument,
            interval_ms=self.interval_ms,
            open=bar.open,
            high=bar.high,
            low=bar.low,
            close=bar.close,
            volume=bar.volume,
            trades=bar.trades,
            ts_event=end,
            ts_init=trade.ts_init,
            trace_id=f"{trade.trace_id}:bar",
        )
