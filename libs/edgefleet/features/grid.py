"""The mid on whole seconds, and what returns and volatility need of it. Knows nothing of messages.

Second `k` of the grid holds the last mid at or before it, so it is settled once an event is later. A mid that stays
stands on every second it lasted.
"""

from __future__ import annotations

import math

import msgspec

from edgefleet.features.spec import GRID_NS
from edgefleet.stats.exact import grow

_SLACK = 256  # seconds that nothing needs, kept until they are worth a removal


def second_of(ts: int) -> int:
    """Return the number of the second that `ts` (ns) falls in, its end included: 5.0 s is in the 5th."""
    return -(-ts // GRID_NS)


class MidGrid(msgspec.Struct):
    """One unbroken history of the mid. Changed in place; bounded by the longest window."""

    windows: tuple[int, ...]  # of volatility, in seconds
    keep: int  # seconds that are looked back to at most
    sums: list[list[float]]  # per window an exact sum of returns
    squares: list[list[float]]  # per window an exact sum of squared returns
    first: int = 0  # the grid's first second
    settled: int = 0  # its newest; before `first`: there is none yet
    mids: list[float] = []  # of the newest seconds up to `settled`
    mid: float | None = None  # the newest, not on the grid yet; None: no history
    ts: int = 0  # ns, when `mid` was last confirmed

    @classmethod
    def of(cls, windows: tuple[int, ...], lags: tuple[int, ...]) -> MidGrid:
        """Return an empty history that answers volatility over `windows` and returns over `lags`, in seconds."""
        empty: tuple[list[list[float]], list[list[float]]] = ([[] for _ in windows], [[] for _ in windows])
        return cls(windows, max((*windows, *lags), default=0) + 2, *empty)

    def clear(self) -> None:
        """Forget everything."""
        self.mid = None
        self.mids = []
        self.sums, self.squares = [[] for _ in self.windows], [[] for _ in self.windows]

    def take(self, mid: float, ts: int, second: int) -> None:
        """Take a mid that is not older than the last."""
        if self.mid is None:
            self.first, self.settled = second, second - 1
        elif second - 1 > self.settled:
            self.settle(second - 1)
        self.mid, self.ts = mid, ts

    def settle(self, second: int) -> None:
        """Put the newest mid on every second up to `second`, all of which are over."""
        mid = self.mid
        if mid is None:
            return
        for _ in range(second - self.settled):
            self._push(mid)
        self.settled = max(self.settled, second)
        if len(self.mids) > self.keep + _SLACK:
            del self.mids[: -self.keep]

    def _push(self, mid: float) -> None:
        mids = self.mids
        mids.append(mid)
        if len(mids) < 2:
            return
        change = math.log(mid / mids[-2]) if mid != mids[-2] else 0.0
        for place, width in enumerate(self.windows):
            if change:
                grow(self.sums[place], change)
                grow(self.squares[place], change * change)
            if len(mids) > width + 1 and mids[-width - 1] != mids[-width - 2]:
                left = math.log(mids[-width - 1] / mids[-width - 2])
                grow(self.sums[place], -left)
                grow(self.squares[place], -(left * left))

    def lagged(self, second: int) -> float | None:
        """Return the mid on `second`, None where the history begins later. What is long past is not kept."""
        if self.mid is None or second < self.first:
            return None
        return self.mids[second - self.settled - 1]

    def deviation(self, place: int) -> float | None:
        """Return the standard deviation of the returns in the window at `place`, None before it is full."""
        count = self.windows[place]
        if self.mid is None or self.settled - self.first < count:
            return None
        total, squares = math.fsum(self.sums[place]), math.fsum(self.squares[place])
        return deviation(total, squares, count)


def deviation(total: float, squares: float, count: int) -> float:
    """Return the standard deviation (ddof 1) of `count` terms from their sum and the sum of their squares."""
    variance = (squares - total * total / count) / (count - 1)
    return math.sqrt(variance) if variance > 0 else 0.0
