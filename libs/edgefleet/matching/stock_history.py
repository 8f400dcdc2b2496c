"""What a stock's market has shown so far: prints, quotes and bars of any time frame. Knows nothing of orders.

Which prints make a bar's prices and its volume follows their sale conditions (`stocks`). A minute in which no print
set a price has no bar; its volume still counts in the bars of longer frames.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

import msgspec

from edgefleet.clock import NS_PER_S
from edgefleet.units import ZERO

from .hours import eastern, from_eastern
from .stocks import StockQuote, StockTrade

MINUTE_NS = 60 * NS_PER_S
KEPT = 20_000  # prints, and quotes
KEPT_MINUTES = 50_000
_FRAME = re.compile(r"(\d+)(Min|T|Hour|H|Day|D|Week|W|Month|M)")
_LARGEST = {"Min": 59, "Hour": 23, "Day": 1, "Week": 1, "Month": 12}
_LONG = {"T": "Min", "H": "Hour", "D": "Day", "W": "Week", "M": "Month"}

Unit = Literal["Min", "Hour", "Day", "Week", "Month"]


class Bar(msgspec.Struct):
    """Prints of one interval from `start_ns` on; its prices are None while no print has set one."""

    start_ns: int
    open: Decimal | None = None
    high: Decimal | None = None
    low: Decimal | None = None
    close: Decimal | None = None
    volume: Decimal = ZERO
    amount: Decimal = ZERO  # USD that changed hands for `volume`
    trades: int = 0

    @property
    def vwap(self) -> Decimal | None:
        """Return the average price of a share, None where no volume counted."""
        return self.amount / self.volume if self.volume else None

    def add(self, trade: StockTrade) -> None:
        """Take in a print."""
        if trade.counts:
            self.volume += trade.size
            self.amount += trade.size * trade.price
            self.trades += 1
        if trade.sets_range:
            self._reach(trade.price, trade.price)
        if trade.sets_last:
            self.open = trade.price if self.open is None else self.open
            self.close = trade.price

    def merge(self, later: Bar) -> None:
        """Take in a bar that began later."""
        self.volume += later.volume
        self.amount += later.amount
        self.trades += later.trades
        if later.high is not None and later.low is not None:
            self._reach(later.high, later.low)
        if self.open is None:
            self.open = later.open
        if later.close is not None:
            self.close = later.close

    @property
    def priced(self) -> bool:
        """Return whether it has all four prices."""
        return None not in (self.open, self.high, self.low, self.close)

    def _reach(self, high: Decimal, low: Decimal) -> None:
        self.high = high if self.high is None else max(self.high, high)
        self.low = low if self.low is None else min(self.low, low)


class TimeFrame(msgspec.Struct, frozen=True):
    """The length of a bar."""

    amount: int
    unit: Unit

    def start_of(self, ts_ns: int) -> int:
        """Return where the bar that holds `ts_ns` begins. Days, weeks and months begin at midnight in New York."""
        if self.unit == "Min" or (self.unit == "Hour" and self.amount == 1):
            width = self.amount * MINUTE_NS * (60 if self.unit == "Hour" else 1)
            return ts_ns - ts_ns % width
        local = eastern(ts_ns)
        day = datetime.combine(local.date(), datetime.min.time())
        match self.unit:
            case "Hour":
                day += timedelta(hours=local.hour - local.hour % self.amount)
            case "Week":
                day -= timedelta(days=day.weekday())
            case "Month":
                day = day.replace(month=(day.month - 1) // self.amount * self.amount + 1, day=1)
            case _:
                pass
        return from_eastern(day)


DAY = TimeFrame(1, "Day")
MINUTE = TimeFrame(1, "Min")


def time_frame(text: str) -> TimeFrame | None:
    """Return the time frame that Alpaca writes as `5Min`, `1Hour`, `1Day`, None where it is none.

    Examples
    --------
    >>> time_frame("15Min"), time_frame("1D"), time_frame("60Min")
    (TimeFrame(amount=15, unit='Min'), TimeFrame(amount=1, unit='Day'), None)
    """
    found = _FRAME.fullmatch(text)
    if found is None:
        return None
    amount, unit = int(found[1]), _LONG.get(found[2], found[2])
    if not 1 <= amount <= _LARGEST[unit] or (unit == "Month" and 12 % amount):
        return None
    return TimeFrame(amount, msgspec.convert(unit, Unit))


class StockHistory:
    """Recent prints and quotes of one symbol, and its minutes."""

    def __init__(self, *, keep: int = KEPT) -> None:
        self.trades: deque[StockTrade] = deque(maxlen=keep)
        self.quotes: deque[StockQuote] = deque(maxlen=keep)
        self._minutes: deque[Bar] = deque(maxlen=KEPT_MINUTES)
        self._told: int = 0  # the start of the last minute that `closed` gave

    def add(self, trade: StockTrade) -> None:
        """Take in a print. One stamped before the open minute joins it: a tape's stamps do not go back."""
        self.trades.append(trade)
        start = MINUTE.start_of(trade.ts_ns)
        if not self._minutes or start > self._minutes[-1].start_ns:
            self._minutes.append(Bar(start))
        self._minutes[-1].add(trade)

    def closed(self, now_ns: int) -> Bar | None:
        """Return the last minute once, when it is over, None where it is not or had no price."""
        if not self._minutes:
            return None
        last = self._minutes[-1]
        if last.start_ns + MINUTE_NS > now_ns or last.start_ns <= self._told:
            return None
        self._told = last.start_ns
        return last if last.priced else None

    def bars(self, frame: TimeFrame) -> list[Bar]:
        """Return the bars of `frame`, oldest first, the last still open."""
        return [bar for bar in _merged(self._minutes, frame) if bar.priced]


def _merged(minutes: Iterable[Bar], frame: TimeFrame) -> list[Bar]:
    found: list[Bar] = []
    for minute in minutes:
        start = frame.start_of(minute.start_ns)
        if found and found[-1].start_ns == start:
            found[-1].merge(minute)
        else:
            found.append(msgspec.structs.replace(minute, start_ns=start))
    return found
