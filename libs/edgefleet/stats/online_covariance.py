"""How several prices move together, one sample at a time. Knows nothing of instruments or of where prices come from.

numpy is imported once there are two names: a process that follows one price spares its 16 MB.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_CELL = 8  # bytes of a float64


class JointReturns(msgspec.Struct):
    """Exponentially weighted products of log returns around zero, for samples at any spacing.

    Returns over `d` seconds are divided by the root of `d`; their products count ``1 - 2**(-d / half_life)`` and what
    was known before counts the rest, as `ReturnVariance` weighs squares. All names move in the same samples, so the
    table is a sum of outer products and no portfolio of them has a negative variance. A name that joins begins the
    table anew, for the others' past would make its correlations look small.
    """

    names: list[str] = []
    prices: list[float] = []  # of the last sample
    cells: bytearray = msgspec.field(default_factory=bytearray)  # names x names float64, by rows
    count: int = 0  # returns taken
    ts: int = 0  # ns, of the last sample

    def sample(self, prices: Mapping[str, float], ts: int, half_life_s: float, longest_s: float) -> bool:
        """Take a price of every name at `ts` (ns) and return whether it was a sample.

        It is none where a price is missing, not positive or not finite, or `ts` is not later than the last. A gap of
        more than `longest_s` gives prices and no return: one return of a night would outweigh the day before.
        """
        if not prices or not (min(prices.values()) > 0.0 and math.fsum(prices.values()) < math.inf):
            return False  # a sum is NaN where one of its parts is
        now = [prices.get(name, 0.0) for name in self.names]
        if len(prices) > len(now) or 0.0 in now:
            joined = [name for name in prices if name not in self.names]
            if joined:
                self.names += joined
                self.cells = bytearray(_CELL * len(self.names) ** 2) if len(self.names) > 1 else bytearray()
                self.count, self.prices = 0, []
            if len(prices) < len(self.names):
                return False
            now = [prices[name] for name in self.names]
        seconds = (ts - self.ts) / 1e9
        if self.prices and not seconds > 0:
            return False
        if self.prices and seconds <= longest_s and len(now) > 1:
            root = math.sqrt(seconds)
            returns = [math.log(price / last) / root for price, last in zip(now, self.prices, strict=True)]
            self._take(returns, 0.5 ** (seconds / half_life_s))
        self.prices, self.ts = now, ts
        return True

    def _take(self, returns: list[float], kept: float) -> None:
        import numpy as np  # here, so that a lean process with one name never loads it

        moves = np.array(returns)
        table = self._table()
        table *= kept
        table += (1.0 - kept) * np.multiply.outer(moves, moves)
        self.count += 1

    def _table(self) -> Floats:
        """Return the cells as a table; what is written there is written into the state."""
        import numpy as np  # as above

        size = len(self.names)
        return np.frombuffer(self.cells, dtype="<f8").reshape(size, size)

    def correlations(self, least: int) -> Floats | None:
        """Return the correlations in the order of `names`, in [-1, 1]; None with fewer than `least` returns.

        With fewer than two names there is none either. A name that never moved correlates with nothing that could be
        told: its row is NaN beside the diagonal.
        """
        if self.count < least or len(self.names) < 2:
            return None
        import numpy as np  # as above

        table = self._table()
        deviations = np.sqrt(np.diag(table))
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Floats = np.clip(table / np.multiply.outer(deviations, deviations), -1.0, 1.0)
        np.fill_diagonal(found, 1.0)
        return found
