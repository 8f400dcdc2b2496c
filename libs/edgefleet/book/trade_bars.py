"""Bars of time, volume and turnover from trades, and wider bars from narrower ones. Knows no venue and no clock.

Late prints: market time is the largest stamp seen. A print no more than a grace behind it falls into its own bar, which
stays open for as long; one that is further behind is counted and left out, whatever the bar's width. So what was closed
is never changed, and bars of all widths hold the same prints. Sums are exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Literal

import msgspec

from edgefleet.book.grid import Span, grid_for
from edgefleet.clock import NS_PER_MS
from edgefleet.instruments import AssetClass
from edgefleet.messages.market import Bar, Trade
from edgefleet.units import EXACT, ZERO


class Bucket(msgspec.Struct):
    """A bar that prints still fall into. Changed in place."""

    start: int  # ns since the epoch
    end: int
    until: int  # market time from which on it is complete, before any grace
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    turnover: Decimal  # quote units
    trades: int
    first_ts: int  # of the print that opened it
    last_ts: int  # of the print that closes it
    ts_init: int  # of that print, too
    trace_id: str

    @classmethod
    def begin(cls, trade: Trade, span: Span) -> Bucket:
        price, ts = trade.price, trade.ts_event
        turnover = EXACT.multiply(price, trade.quantity)
        return cls(
            *span, price, price, price, price, trade.quantity, turnover, 1, ts, ts, trade.ts_init, trade.trace_id
        )

    def add(self, trade: Trade) -> None:
        """Take a print. Open and close go by stamp, among equal stamps by order of arrival."""
        price, ts = trade.price, trade.ts_event
        if price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        if ts >= self.last_ts:
            self.close, self.last_ts = price, ts
            self.ts_init, self.trace_id = trade.ts_init, trade.trace_id
        elif ts < self.first_ts:
            self.open, self.first_ts = price, ts
        self.volume = EXACT.add(self.volume, trade.quantity)
        self.turnover = EXACT.fma(price, trade.quantity, self.turnover)
        self.trades += 1

    def bar(self, instrument: str, interval_ms: int, kind: Literal["time", "volume", "dollar"] = "time") -> Bar:
        """Return the bar as it stands."""
        return Bar(
            instrument=instrument,
            interval_ms=interval_ms,
            open=self.open,
            high=self.high,
            low=self.low,
            close=self.close,
            volume=self.volume,
            trades=self.trades,
            kind=kind,
            turnover=self.turnover,
            ts_open=self.start if kind == "time" else self.first_ts,
            ts_event=self.end if kind == "time" else self.last_ts,
            ts_init=self.ts_init,
            trace_id=f"{self.trace_id}:bar",
        )


class TimeBars(msgspec.Struct):
    """One instrument's bars of one width. Intervals without a print make no bar."""

    instrument: str
    interval_ms: int
    asset_class: AssetClass = "crypto"
    grace_ms: int = 1_000  # how far behind market time a print may be, and how long a bar stays open after its end
    auction_ms: int = 0  # stocks: how long after the bell prints belong to the session's last bar
    buckets: list[Bucket] = []  # oldest first
    market_ts: int | None = None  # the largest stamp seen
    late: int = 0  # prints left out because they came too late
    outside: int = 0  # prints left out because the market was closed

    def add(self, trade: Trade) -> list[Bar]:
        """Take a print and return the bars that it closed, oldest first."""
        ts = trade.ts_event
        if self.market_ts is not None and ts < self.market_ts - self.grace_ms * NS_PER_MS:
            self.late += 1
            return []
        last = self.buckets[-1] if self.buckets else None
        belongs = last is not None and last.start <= ts < last.end
        if belongs and len(self.buckets) == 1 and self.market_ts is not None and ts >= self.market_ts:
            self.market_ts = ts  # the usual case: nothing can close
            closed = []
        else:
            closed = self.advance(ts)
        if last is not None and belongs:
            last.add(trade)
            return closed
        span = grid_for(self.interval_ms, self.asset_class, self.auction_ms).span(ts)
        if span is None:
            self.outside += 1
        else:
            self._take(trade, span)
        return closed

    def advance(self, ts: int) -> list[Bar]:
        """Let market time be `ts`, of a beat for instance, and return the bars that are complete by then."""
        if self.market_ts is None or ts > self.market_ts:
            self.market_ts = ts
        reached = self.market_ts - self.grace_ms * NS_PER_MS
        closed = []
        while self.buckets and self.buckets[0].until <= reached:
            closed.append(self.buckets.pop(0).bar(self.instrument, self.interval_ms))
        return closed

    def flush(self) -> list[Bar]:
        """Return the bars that are still open as they stand and forget them: the market has ended."""
        closed = [bucket.bar(self.instrument, self.interval_ms) for bucket in self.buckets]
        self.buckets = []
        return closed

    def _take(self, trade: Trade, span: Span) -> None:
        for i in range(len(self.buckets), 0, -1):
            if self.buckets[i - 1].start == span.start:
                self.buckets[i - 1].add(trade)
                return
            if self.buckets[i - 1].start < span.start:
                self.buckets.insert(i, Bucket.begin(trade, span))
                return
        self.buckets.insert(0, Bucket.begin(trade, span))


class SizeBars(msgspec.Struct):
    """One instrument's bars of equal volume or equal turnover ("dollar bars"), in order of arrival.

    A bar closes with the print by which it reaches the threshold; that print stays whole in it, and what it has too
    much is not carried over [1]_. A bar may span sessions.

    References
    ----------
    .. [1] M. López de Prado, "Advances in Financial Machine Learning", 2018, section 2.3.1.
    """

    instrument: str
    kind: Literal["volume", "dollar"]
    threshold: Decimal  # base units for volume, quote units for dollar bars
    bucket: Bucket | None = None

    def __post_init__(self) -> None:
        if not (self.threshold.is_finite() and self.threshold > 0):
            raise ValueError(f"a bar's {self.kind} must be positive, was {self.threshold}")

    def add(self, trade: Trade) -> Bar | None:
        """Take a print and return the bar that it completed."""
        if self.bucket is None:
            self.bucket = Bucket.begin(trade, Span(trade.ts_event, trade.ts_event, trade.ts_event))
        else:
            self.bucket.add(trade)
        reached = self.bucket.volume if self.kind == "volume" else self.bucket.turnover
        return self.flush() if reached >= self.threshold else None

    def flush(self) -> Bar | None:
        """Return the open bar as it stands and forget it, None where there is none."""
        bucket, self.bucket = self.bucket, None
        return None if bucket is None else bucket.bar(self.instrument, 0, self.kind)


class Resampler(msgspec.Struct):
    """Wider time bars from narrower ones: exactly those that the trades themselves would have made."""

    interval_ms: int
    asset_class: AssetClass = "crypto"
    bar: Bar | None = None

    def add(self, bar: Bar) -> Bar | None:
        """Take a bar, none older than the last, and return the wider bar that it closed.

        Raises
        ------
        ValueError
            If the bar is no time bar, does not lie within one wider bar, or is older than what it would go into.
        """
        begins = starts_at(bar)
        span = grid_for(self.interval_ms, self.asset_class).span(begins)
        if bar.kind != "time" or span is None or bar.ts_event > span.end:
            raise ValueError(f"a {bar.kind} bar from {begins} to {bar.ts_event} fits no bar of {self.interval_ms} ms")
        wider = self.bar
        if wider is not None and begins < wider.ts_event:
            if begins < starts_at(wider):
                raise ValueError(f"a bar from {begins} is older than {starts_at(wider)}, which is open")
            self.bar = _joined(wider, bar)
            return None
        self.bar = msgspec.structs.replace(bar, interval_ms=self.interval_ms, ts_open=span.start, ts_event=span.end)
        return wider

    def flush(self) -> Bar | None:
        """Return the open bar as it stands and forget it, None where there is none."""
        bar, self.bar = self.bar, None
        return bar


def resample(bars: Iterable[Bar], interval_ms: int, asset_class: AssetClass = "crypto") -> list[Bar]:
    """Return the wider bars of `interval_ms` that narrower ones, oldest first, add up to; the last as it stands.

    Raises
    ------
    ValueError
        If the narrower bars do not fit into the wider ones, or are not in order.
    """
    resampler = Resampler(interval_ms, asset_class)
    wider = [resampler.add(bar) for bar in bars]
    return [bar for bar in (*wider, resampler.flush()) if bar is not None]


def starts_at(bar: Bar) -> int:
    """Return a bar's start, ns since the epoch."""
    return bar.ts_event - bar.interval_ms * NS_PER_MS if bar.ts_open is None else bar.ts_open


def vwap(bar: Bar) -> Decimal | None:
    """Return a bar's volume-weighted average price, None where its turnover is not known or nothing was traded."""
    return bar.turnover / bar.volume if bar.turnover is not None and bar.volume else None


def _joined(wider: Bar, bar: Bar) -> Bar:
    known = wider.turnover is not None and bar.turnover is not None
    return msgspec.structs.replace(
        wider,
        high=max(wider.high, bar.high),
        low=min(wider.low, bar.low),
        close=bar.close,
        volume=EXACT.add(wider.volume, bar.volume),
        trades=wider.trades + bar.trades,
        turnover=EXACT.add(wider.turnover or ZERO, bar.turnover or ZERO) if known else None,
        backfill=wider.backfill or bar.backfill,
        ts_init=bar.ts_init,
        trace_id=bar.trace_id,
    )
