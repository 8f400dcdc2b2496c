"""Value at risk told before every period from the returns before it alone, by every method. Knows one series.

The first period that is told is a choice of the caller's, so that methods which remember differently long are judged by
the same periods.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from edgefleet.risk.garch import LEAST_FOR_GARCH, fit_garch
from edgefleet.risk.shortfall import METHODS, Risk, check_level, empirical, normal_risk, student
from edgefleet.stats.checks import check_series

Floats = npt.NDArray[np.float64]
Refit = Literal["garch", "garch-filtered", "gjr-t"]

METHODS_REFITTED: tuple[Refit, ...] = get_args(Refit)
REFIT_EVERY = 63
LONGEST = 1000


class Rolled(NamedTuple):
    """What was told before each period, losses positive, and the return that came then."""

    returns: Floats
    var: Floats
    es: Floats
    kept: int = 0  # refits that found no maximum, where the parameters before stayed in force

    @property
    def exceptions(self) -> npt.NDArray[np.bool_]:
        """Return which losses were beyond the value at risk told before them."""
        return self.returns < -self.var


def roll(
    returns: Floats, method: str, *, window: int, level: float = 0.95, start: int | None = None, **options: Any
) -> Rolled:
    """Return what a method of `METHODS` tells before each period from the `window` returns before it.

    Parameters
    ----------
    start
        The first period that is told, counted from 0; `window` without it.
    options
        Of the method, such as `decay`.

    Raises
    ------
    ValueError
        If the method or the window cannot be, nothing is left to tell, or the method refuses a period: its number,
        counted from 1, begins the message.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, was {method!r}")
    first = _first(returns, window, start, level)
    tell = METHODS[method]

    def told(place: int) -> Risk:
        return tell(returns[place - window : place], level=level, **options)

    return _rolled(returns, first, told)


def roll_refitted(
    returns: Floats,
    model: Refit,
    *,
    level: float = 0.95,
    start: int = 500,
    longest: int = LONGEST,
    refit_every: int = REFIT_EVERY,
) -> Rolled:
    """Return what a GARCH tells before each period, refitted to the newest returns on a schedule.

    The parameters are fitted before the first period and every `refit_every` after, to all the returns before,
    `longest` at most; in between the variance goes on by them. A quarter loses little against fitting each day [1]_.

    ============== ===================================== =========================================================
    model          variance                              quantile
    ============== ===================================== =========================================================
    garch          `fit_garch`                           of the normal distribution
    garch-filtered `fit_garch`                           of the returns fitted and since, each divided by the
                                                         deviation told before it [2]_
    gjr-t          with a share ``gamma`` of squared     of Student's t with the degrees fitted; by `arch`
                   errors below zero on top [3]_
    ============== ===================================== =========================================================

    Raises
    ------
    ValueError
        If the model is unknown, `start` is less than `LEAST_FOR_GARCH`, `longest` or `refit_every` is too small, or the
        first fit finds nothing. A later one that finds nothing is counted in `kept`.

    References
    ----------
    .. [1] D. Ardia, L. F. Hoogerheide, "GARCH models for daily stock returns: Impact of estimation frequency on
       Value-at-Risk and Expected Shortfall forecasts", Economics Letters 123, 2014, p. 187.
    .. [2] G. Barone-Adesi, K. Giannopoulos, L. Vosper, "VaR without correlations for portfolios of derivative
       securities", Journal of Futures Markets 19, 1999, p. 583.
    .. [3] L. R. Glosten, R. Jagannathan, D. E. Runkle, "On the Relation between the Expected Value and the Volatility
       of the Nominal Excess Return on Stocks", Journal of Finance 48, 1993, p. 1779.
    """
    if model not in METHODS_REFITTED:
        raise ValueError(f"model must be one of {', '.join(METHODS_REFITTED)}, was {model!r}")
    if not (longest >= LEAST_FOR_GARCH and refit_every >= 1):
        raise ValueError(
            f"a refit needs {LEAST_FOR_GARCH} returns at least and a period, were {longest!r} and {refit_every!r}"
        )
    if not start >= LEAST_FOR_GARCH:
        raise ValueError(f"a GARCH needs {LEAST_FOR_GARCH} returns before the first period it tells, had {start!r}")
    first = _first(returns, LEAST_FOR_GARCH, start, level)
    fitted: _Fitted | None = None
    begin, kept = 0, 0

    def told(place: int) -> Risk:
        nonlocal fitted, begin, kept
        if (place - first) % refit_every == 0:
            earliest = max(0, place - longest)
            found = _fit(returns[earliest:place], model, needed=fitted is None)
            if found is None:
                kept += 1
            else:
                fitted, begin = found, earliest
        assert fitted is not None
        return _told(fitted, returns[begin:place], model, level)

    rolled = _rolled(returns, first, told)
    return rolled._replace(kept=kept)


def tell_next(returns: Floats, method: str, *, window: int, level: float = 0.95, longest: int = LONGEST) -> Risk:
    """Return what a method tells before the period that follows `returns`: as `roll` and `roll_refitted` do.

    A GARCH is fitted for it, to the newest `longest` returns.

    Raises
    ------
    ValueError
        If there are fewer returns than `window`, or the method refuses them.
    """
    check_level(level)
    check_series(returns)
    if method in METHODS_REFITTED:
        newest = returns[-longest:]
        fitted = _fit(newest, method, needed=True)
        assert fitted is not None
        return _told(fitted, newest, method, level)
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, was {method!r}")
    if not 2 <= window <= len(returns):
        raise ValueError(f"a window must have 2 returns at least and {len(returns)} at most, had {window!r}")
    return METHODS[method](returns[-window:], level=level)


class _Fitted(NamedTuple):
    mu: float
    variances: Callable[[Floats], Floats]  # before each of the returns and after the last
    degrees: float


def _fit(returns: Floats, model: Refit, *, needed: bool) -> _Fitted | None:
    """Return a fit; where the search finds nothing None, or, if it is needed, refuse."""
    try:
        return _gjr_t(returns) if model == "gjr-t" else _garch(returns)
    except ValueError:
        if needed:
            raise
        return None


def _garch(returns: Floats) -> _Fitted:
    found = fit_garch(returns)
    return _Fitted(found.mu, found.variances, math.inf)


def _gjr_t(returns: Floats) -> _Fitted:
    from arch import arch_model
    from scipy.signal import lfilter

    check_series(returns)
    unit = float(returns.std())
    fit = arch_model(returns / unit, vol="GARCH", p=1, o=1, q=1, dist="t", rescale=False).fit(
        disp="off", show_warning=False
    )
    if fit.convergence_flag != 0 or not np.isfinite(fit.params.to_numpy()).all():
        raise ValueError(
            f"no GJR-GARCH was found: the search of {len(returns)} returns ended with {fit.convergence_flag}"
        )
    mean, omega, alpha, gamma, beta, degrees = fit.params.tolist()
    first = float(fit.conditional_volatility[0]) ** 2

    def variances(later: Floats) -> Floats:
        errors = later / unit - mean
        news = omega + (alpha + gamma * (errors < 0)) * errors**2
        path = lfilter([1.0], [1.0, -beta], np.concatenate(([first], news)))
        return np.asarray(path, dtype=np.float64) * unit**2

    return _Fitted(mean * unit, variances, degrees)


def _told(fitted: _Fitted, returns: Floats, model: Refit, level: float) -> Risk:
    path = fitted.variances(returns)
    deviation = math.sqrt(float(path[-1]))
    if model == "garch":
        return normal_risk(fitted.mu, deviation, level)
    if model == "gjr-t":
        shape = student(deviation, level, fitted.degrees)
    else:
        shape = empirical(-(returns - fitted.mu) / np.sqrt(path[:-1]) * deviation, level)
    return Risk(shape.var - fitted.mu, shape.es - fitted.mu)


def _first(returns: Floats, window: int, start: int | None, level: float) -> int:
    check_level(level)
    check_series(returns)
    first = window if start is None else start
    if not 2 <= window <= first:
        raise ValueError(f"a window must have 2 returns at least and {first} at most, the first told, had {window!r}")
    if not first < len(returns) - 1:
        raise ValueError(f"has {len(returns)} returns, {first + 2} are the least of which two are told; bring more")
    return first


def _rolled(returns: Floats, first: int, told: Callable[[int], Risk]) -> Rolled:
    answers = []
    for place in range(first, len(returns)):
        try:
            answers.append(told(place))
        except ValueError as error:
            raise ValueError(f"period {place + 1}: {error}") from error
    var, es = np.array(answers).T
    return Rolled(returns[first:], var, es)
