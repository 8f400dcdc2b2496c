"""Variance of returns at any spacing, weighted by age. Knows nothing of instruments or of where prices come from."""

from __future__ import annotations

import math

import msgspec


class ReturnVariance(msgspec.Struct):
    """Exponentially weighted variance per second of log returns around zero, for samples at any spacing.

    A return ``r`` over ``d`` seconds says ``r**2 / d`` of the variance per second and counts
    ``1 - 2**(-d / half_life)``; what was known before counts the rest. The weights are divided by their sum, so the
    first returns are not drawn toward zero. The mean is taken as zero: over seconds it is far below what can be
    estimated [1]_.

    References
    ----------
    .. [1] J.P. Morgan/Reuters, "RiskMetrics - Technical Document", 4th ed., 1996, section 5.3.
    """

    weighted: float = 0.0
    weight: float = 0.0
    count: int = 0
    price: float | None = None  # of the last sample
    ts: int = 0  # ns, of the last sample

    def sample(self, price: float, ts: int, half_life_s: float) -> None:
        """Take the price at `ts` (ns); one that is not positive, finite and later than the last is passed over."""
        if not 0.0 < price < math.inf:
            return
        if self.price is None:
            self.price, self.ts = price, ts
            return
        seconds = (ts - self.ts) / 1e9
        if not seconds > 0:
            return
        change = math.log(price / self.price)
        kept = 0.5 ** (seconds / half_life_s)
        self.weighted = kept * self.weighted + (1 - kept) * change * change / seconds
        self.weight = kept * self.weight + (1 - kept)
        self.count += 1
        self.price, self.ts = price, ts

    @property
    def per_second(self) -> float | None:
        """Return the variance of one second's log return, None before the first return."""
        return self.weighted / self.weight if self.weight > 0 else None
