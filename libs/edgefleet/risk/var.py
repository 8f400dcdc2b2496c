"""Parametric value at risk of positions. Losses are positive fractions of equity. Knows no limits and no prices."""

from __future__ import annotations

import math
from statistics import NormalDist

Z_95 = NormalDist().inv_cdf(0.95)

# Markets that close do not stop moving: an hour of a stock's session is scaled as if the day had 24 of them, which
# overstates its day. Calendars would say less and need the overnight gap beside.
SECONDS_PER_DAY = 86_400.0


def normal_var(fraction: float, variance: float) -> float:
    """Return the loss, as a fraction of equity, that a position is not to exceed with 95 % over the variance's horizon.

    ``z * |fraction| * sqrt(variance)`` with ``z = 1.64485`` and a mean of zero.

    Parameters
    ----------
    fraction
        Exposure as a fraction of equity; its sign does not matter.
    variance
        Variance of the return over the horizon, as a fraction squared.

    Raises
    ------
    ValueError
        If `fraction` is not finite or `variance` is not a finite number >= 0.

    Examples
    --------
    >>> round(normal_var(0.2, 0.03**2), 6)
    0.009869
    """
    if not math.isfinite(fraction):
        raise ValueError(f"fraction must be finite, was {fraction!r}")
    if not 0 <= variance < math.inf:
        raise ValueError(f"variance must be finite and not negative, was {variance!r}")
    return Z_95 * abs(fraction) * math.sqrt(variance)
