"""What a market has printed so far: recent trades, candles and rolling figures of the day. Knows nothing of orders.

Built from prints alone; where nothing was printed there is no candle.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from decimal import Decimal

import msgspec

from edgefleet.units import ZERO

from .wire import Trade

INTERVALS_MS = {
    "1s": 1_000,
    "1m": 60_000,
    "3m": 180_000,
    "5m": 300_000,
    "15m": 900_000,
    "30m": 1_800_000,
    "1h": 3_600_000,
    "2h": 7_200_000,
    "4h": 14_400_000,
    "6h": 21_600_000,
    "8h": 28_800_000,
    "12h": 43_200_000,
    "1d": 86_400_000,
}
DAY_MS = 86_400_000


class Candle(msgspec.Struct):
    """Prints of one interval. `start` is its first millisecond."""

    start: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal
    trades: int
    taker_buy_volume: Decimal
    taker_buy_quote_volume: Decimal
    first_trade: int
    last_trade: int
    last_quantity: Decimal

    def merge(self, later: Candle) -> None:
        """Take in a candle that began later."""
        self.high = max(self.high, later.high)
        self.low = min(self.low, later.low)
        self.close = later.close
        self.volume += later.volume
        self.quote_volume += later.quote_volume
        self.trades += later.trades
        self.taker_buy_volume += later.taker_buy_volume
        self.taker_buy_quote_volume += later.taker_buy_quote_volume
        self.last_trade = later.last_trade
        self.last_quantity = later.last_quantity


def _candle(trade: Trade, start: int) -> Candle:
    amount = trade.p * trade.q
    bought = not trade.m
    return Candle(
        start,
        trade.p,
        trade.p,
        trade.p,
        trade.p,
        trade.q,
        amount,
        1,
        trade.q if bought else ZERO,
        amount if bought else ZERO,
        trade.t,
        trade.t,
        trade.q,
    )


class MarketHistory:
    """Recent prints of one symbol: the last `keep` trades, an hour of seconds, `days` days of minutes."""

    def __init__(self, *, keep: int = 1_000, days: int = 2) -> None:
        self.trades: deque[Trade] = deque(maxlen=keep)
        self._seconds: deque[Candle] = deque(maxlen=3_600)
        self._minutes: deque[Candle] = deque(maxlen=1_440 * days)
        self._current: dict[str, Candle] = {}  # of the intervals that were asked for

    def add(self, trade: Trade) -> None:
        """Take in a print."""
        self.trades.append(trade)
        _add(self._seconds, trade, 1_000)
        _add(self._minutes, trade, 60_000)
        for interval, candle in self._current.items():
            later = _joined(candle, trade, INTERVALS_MS[interval])
            if later is not None:
                self._current[interval] = later

    def current(self, interval: str) -> Candle:
        """Return the candle of `interval` that is open, kept up with every print from the first call on.

        Raises
        ------
        IndexError
            If nothing was printed yet.
        """
        if interval not in self._current:
            self._current[interval] = self.candles(interval)[-1]
        return self._current[interval]

    def candles(self, interval: str) -> list[Candle]:
        """Return the candles of `interval` (a key of `INTERVALS_MS`), oldest first, the last still open."""
        width = INTERVALS_MS[interval]
        source = self._seconds if width < 60_000 else self._minutes
        return list(_merged(source, width))

    def day(self, now_ms: int) -> Candle | None:
        """Return the prints of the 24 hours up to `now_ms` as one candle, or None where there was none."""
        recent = (candle for candle in self._minutes if candle.start > now_ms - DAY_MS)
        whole: Candle | None = None
        for candle in recent:
            if whole is None:
                whole = msgspec.structs.replace(candle)
            else:
                whole.merge(candle)
        return whole


def _add(candles: deque[Candle], trade: Trade, width: int) -> None:
    later = _joined(candles[-1], trade, width) if candles else _candle(trade, trade.T - trade.T % width)
    if later is not None:
        candles.append(later)


def _joined(last: Candle, trade: Trade, width: int) -> Candle | None:
    """Return the candle that `trade` opens, or None where it joins `last`, as one stamped out of order does."""
    start = trade.T - trade.T % width
    if start > last.start:
        return _candle(trade, start)
    amount = trade.p * trade.q
    last.close = trade.p
    last.high = max(last.high, trade.p)
    last.low = min(last.low, trade.p)
    last.volume += trade.q
    last.quote_volume += amount
    last.trades += 1
    last.last_trade = trade.t
    last.last_quantity = trade.q
    if not trade.m:
        last.taker_buy_volume += trade.q
        last.taker_buy_quote_volume += amount
    return None


def _merged(candles: Iterable[Candle], width: int) -> Iterator[Candle]:
    whole: Candle | None = None
    for candle in candles:
        start = candle.start - candle.start % width
        if whole is not None and whole.start == start:
            whole.merge(candle)
            continue
        if whole is not None:
            yield whole
        whole = msgspec.structs.replace(candle, start=start)
    if whole is not None:
        yield whole
