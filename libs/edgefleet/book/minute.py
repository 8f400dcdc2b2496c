"""The volume-weighted average price of the last minute's prints, in steps of a second. Knows no stream and no clock.

It takes as much memory however many prints come; `aggregator.RollingVwap` keeps each. Time is the prints' stamps.
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal

from edgefleet.clock import NS_PER_S
from edgefleet.units import EXACT, ZERO

SECONDS = 60
_PLACES = 12


class MinuteVwap:
    """Sums of whole seconds; those that began more than a minute before the newest are gone."""

    __slots__ = ("_seconds", "_turnover", "_volume")

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, Decimal, Decimal]] = deque()  # second, volume, turnover of those that are over
        self._volume, self._turnover = ZERO, ZERO  # of the newest second

    def add(self, ts: int, price: Decimal, quantity: Decimal) -> None:
        """Take a print; one that comes late counts into the newest second."""
        second = ts // NS_PER_S
        seconds = self._seconds
        if not seconds or second > seconds[-1][0]:
            if seconds:
                seconds[-1] = (seconds[-1][0], self._volume, self._turnover)
            seconds.append((second, ZERO, ZERO))
            self._volume, self._turnover = ZERO, ZERO
            while seconds[0][0] <= second - SECONDS:
                seconds.popleft()
        self._volume = EXACT.add(self._volume, quantity)
        self._turnover = EXACT.fma(price, quantity, self._turnover)

    def value(self, ts: int) -> Decimal | None:
        """Return the average as of `ts`, in quote per base unit to twelve places; None where nothing was traded."""
        since = ts // NS_PER_S - SECONDS
        volume, turnover = ZERO, ZERO
        for second, parts, worth in self._seconds:
            if second > since:
                volume, turnover = EXACT.add(volume, parts), EXACT.add(turnover, worth)
        if self._seconds and self._seconds[-1][0] > since:
            volume, turnover = EXACT.add(volume, self._volume), EXACT.add(turnover, self._turnover)
        return round(turnover / volume, _PLACES).normalize() if volume else None
