"""Parametric value at risk of positions. Losses are positive fractions of equity. Knows no limits and no prices."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

from edgefleet.instruments import AssetClass
from edgefleet.risk.horizons import CalendarName

_NORMAL = NormalDist()
Z_95: Final = _NORMAL.inv_cdf(0.95)
ES_TAIL: Final = _NORMAL.pdf(_NORMAL.inv_cdf(0.975)) / 0.025  # mean loss past the 97.5 % quantile, in deviations

# Markets that close do not stop moving: an hour of a stock's session is scaled as if the day had 24 of them, which
# overstates its day. Calendars would say less and need the overnight gap beside.
SECONDS_PER_DAY = 86_400.0


def calendar_of(asset_class: AssetClass) -> CalendarName:
    """Return the calendar that a class of assets trades by."""
    return "XNYS" if asset_class == "us_stocks" else "24/7"


def day_deviation(per_second: float) -> float:
    """Return the standard deviation of a day's return from the variance of a second's."""
    return math.sqrt(per_second * SECONDS_PER_DAY)


def deviation_behind(var: float, level: float, interval_ms: int) -> float:
    """Return the standard deviation of a day's return that a normal value at risk of `var` over an interval means.

    Over the interval ``var / z`` with a mean of zero, over a day by the root of time.

    Raises
    ------
    ValueError
        If `var` is not positive and finite, `level` is not in (0.5, 1) or the interval is not positive.

    Examples
    --------
    >>> round(deviation_behind(0.012, 0.95, 3_600_000), 5)
    0.03574
    """
    if not 0 < var < math.inf:
        raise ValueError(f"a value at risk must be positive and finite, was {var!r}")
    if not (0.5 < level < 1 and interval_ms > 0):
        raise ValueError(f"a level must be in (0.5, 1) and an interval positive, were {level!r} and {interval_ms!r}")
    return var / _NORMAL.inv_cdf(level) * math.sqrt(SECONDS_PER_DAY * 1_000 / interval_ms)


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
