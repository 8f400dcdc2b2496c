"""Value at risk and expected shortfall of one series of returns, by nine methods. Knows no positions and no prices.

Losses are positive fractions of what the returns are of. `level` is the probability that the loss stays below the value
at risk; the shortfall is the mean loss beyond it. `periods` is the horizon in periods of the series, and may be a
fraction; returns of different periods are taken as independent, so a horizon's mean is `periods` times one period's and
its deviation ``sqrt(periods)`` times, unless a method says otherwise. Either number is negative where even the bad case
is a gain.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from edgefleet.risk.garch import fit_garch
from edgefleet.stats.checks import check_decay, check_series
from edgefleet.stats.covariance import decay_weights

Floats = npt.NDArray[np.float64]
Method = Literal[
    "normal",
    "ewma",
    "ewma-t",
    "historical",
    "age-weighted",
    "filtered",
    "cornish-fisher",
    "monte-carlo",
    "garch",
]
Draws = Literal["normal", "bootstrap"]

_NORMAL = NormalDist()
_DEEPEST = -6.0  # standard deviations down to which a Cornish-Fisher quantile has to fall; beyond are 1e-9


class Risk(NamedTuple):
    """What is lost at worst with the level's probability, and on average beyond."""

    var: float
    es: float


def normal(returns: Floats, *, level: float = 0.95, periods: float = 1.0, ddof: int = 1) -> Risk:
    """Return the risk of a normal distribution with the mean and the standard deviation of the returns.

    ``VaR = z s - m`` and ``ES = s phi(z) / (1 - level) - m`` with ``z`` the normal quantile of `level` [1]_.

    Raises
    ------
    ValueError
        As `check_series` says, or if `level` is outside (0.5, 1) or `periods` is not positive and finite.

    References
    ----------
    .. [1] A. J. McNeil, R. Frey, P. Embrechts, "Quantitative Risk Management", 2nd ed., 2015, section 2.3.
    """
    check_series(returns)
    return normal_risk(float(returns.mean()), float(returns.std(ddof=ddof)), level, periods)


def normal_risk(mean: float, deviation: float, level: float, periods: float = 1.0) -> Risk:
    """Return the risk of a normal distribution with the mean and the deviation of one period; see `normal`."""
    check_level(level)
    _check_periods(periods)
    drift, spread = mean * periods, deviation * math.sqrt(periods)
    z = _NORMAL.inv_cdf(level)
    return Risk(z * spread - drift, spread * _NORMAL.pdf(z) / (1 - level) - drift)


def ewma(returns: Floats, *, level: float = 0.95, periods: float = 1.0, decay: float = 0.94) -> Risk:
    """Return the risk of a normal distribution with no mean and the exponentially weighted variance of the returns.

    ``sum(decay**age r^2) / sum(decay**age)``, as `ewma_covariance`; RiskMetrics' `decay` is 0.94 for days [1]_.

    Raises
    ------
    ValueError
        As `normal` says, or if `decay` is outside (0, 1).

    References
    ----------
    .. [1] J.P. Morgan/Reuters, "RiskMetrics - Technical Document", 4th ed., 1996, section 5.2.
    """
    return normal_risk(0.0, _ewma_deviation(returns, decay), level, periods)


def ewma_t(
    returns: Floats, *, level: float = 0.95, periods: float = 1.0, decay: float = 0.94, degrees: float = 5.0
) -> Risk:
    """Return the risk of a Student-t distribution with no mean and the variance that `ewma` tells.

    ``VaR = q s c`` and ``ES = s c f(q) (degrees + q^2) / ((degrees - 1) (1 - level))`` with ``q`` the quantile and
    ``f`` the density of Student's t, and ``c = sqrt((degrees - 2) / degrees)`` so that its variance is ``s^2`` [1]_.
    Five `degrees` are those of RiskMetrics 2006 for a day [2]_. The same shape is told for every horizon.

    Raises
    ------
    ValueError
        As `ewma` says, or if `degrees` is not above 2 and finite.

    References
    ----------
    .. [1] A. J. McNeil, R. Frey, P. Embrechts, "Quantitative Risk Management", 2nd ed., 2015, section 2.3.
    .. [2] G. Zumbach, "The RiskMetrics 2006 methodology", 2007, section 6.
    """
    check_level(level)
    _check_periods(periods)
    if not 2 < degrees < math.inf:
        raise ValueError(f"degrees of freedom must be above 2 and finite, were {degrees!r}")
    return student(_ewma_deviation(returns, decay) * math.sqrt(periods), level, degrees)


def student(deviation: float, level: float, degrees: float) -> Risk:
    """Return the risk of a Student-t distribution around zero with this standard deviation; see `ewma_t`."""
    from scipy.special import stdtrit

    quantile = float(stdtrit(degrees, level))
    scale = deviation * math.sqrt((degrees - 2) / degrees)
    log_density = (
        math.lgamma((degrees + 1) / 2)
        - math.lgamma(degrees / 2)
        - math.log(degrees * math.pi) / 2
        - (degrees + 1) / 2 * math.log1p(quantile**2 / degrees)
    )
    beyond = math.exp(log_density) * (degrees + quantile**2) / ((degrees - 1) * (1 - level))
    return Risk(scale * quantile, scale * beyond)


def _ewma_deviation(returns: Floats, decay: float) -> float:
    check_series(returns)
    return math.sqrt(float(np.average(returns**2, weights=decay_weights(len(returns), decay))))


def historical(returns: Floats, *, level: float = 0.95, periods: float = 1.0) -> Risk:
    """Return the empirical quantile of the losses and the mean of those that are not smaller.

    The quantile lies between the two order statistics next to ``(n - 1) level``, counted from 0: numpy's default, type
    7 of Hyndman and Fan [1]_. Both numbers are multiplied by ``sqrt(periods)``, which leaves a mean out.

    Raises
    ------
    ValueError
        As `normal` says.

    References
    ----------
    .. [1] R. J. Hyndman, Y. Fan, "Sample Quantiles in Statistical Packages", American Statistician 50, 1996, p. 361.
    """
    check_series(returns)
    _check_periods(periods)
    found = empirical(-returns, level)
    return Risk(found.var * math.sqrt(periods), found.es * math.sqrt(periods))


def age_weighted(returns: Floats, *, level: float = 0.95, periods: float = 1.0, decay: float = 0.99) -> Risk:
    """Return the historical risk of returns that count the less the older they are [1]_.

    A loss of some age counts ``decay**age``, divided by the sum of all. The value at risk is the greatest loss for
    which losses that are not smaller count ``1 - level`` together, the shortfall their weighted mean. Without the
    interpolation between losses of the paper, whose `decay` is 0.97 and 0.99. Both numbers are multiplied by
    ``sqrt(periods)``.

    Raises
    ------
    ValueError
        As `normal` says, or if `decay` is outside (0, 1).

    References
    ----------
    .. [1] J. Boudoukh, M. Richardson, R. Whitelaw, "The Best of Both Worlds", Risk 11(5), 1998, p. 64.
    """
    check_series(returns)
    check_level(level)
    _check_periods(periods)
    weights = decay_weights(len(returns), decay)
    order = np.argsort(returns, kind="stable")  # the greatest loss first
    losses, counted = -returns[order], np.cumsum(weights[order] / weights.sum())
    # Of 100 equal weights five sum up to 0.05 less rounding, and are meant to be enough.
    place = min(int(np.searchsorted(counted, (1 - level) * (1 - 1e-9))), len(losses) - 1)
    var = float(losses[place])
    beyond = losses >= var
    es = float(np.average(losses[beyond], weights=weights[order][beyond]))
    return Risk(var * math.sqrt(periods), max(es, var) * math.sqrt(periods))


def empirical(losses: Floats, level: float) -> Risk:
    """Return the quantile of the losses and the mean of those that are not smaller, as `historical` says."""
    check_level(level)
    ordered = np.sort(losses)
    place = (len(ordered) - 1) * level
    # 0.95 * 100 is 95.0 and 0.55 * 100 is 55.00000000000001: a place this close to a whole number is meant to be it.
    below = round(place) if abs(place - round(place)) < 1e-9 else math.floor(place)
    part = max(0.0, place - below)
    var = float(ordered[below])
    if part > 0 and below + 1 < len(ordered):
        over = float(ordered[below + 1])
        var = min(var + part * (over - var), over)
    return Risk(var, float(ordered[np.searchsorted(ordered, var) :].mean()))


def filtered(returns: Floats, *, level: float = 0.95, periods: float = 1.0, decay: float = 0.94) -> Risk:
    """Return the historical risk of returns that were rescaled to today's volatility [1]_, [2]_.

    Each return is divided by the deviation that was told before it and multiplied by the one told now, by
    ``v' = decay v + (1 - decay) r^2`` with the mean square of all returns to begin with; then `historical`.

    Raises
    ------
    ValueError
        As `ewma` says.

    References
    ----------
    .. [1] J. Hull, A. White, "Incorporating volatility updating into the historical simulation method for value at
       risk", Journal of Risk 1(1), 1998, p. 5.
    .. [2] G. Barone-Adesi, K. Giannopoulos, L. Vosper, "VaR without correlations for portfolios of derivative
       securities", Journal of Futures Markets 19, 1999, p. 583.
    """
    check_series(returns)
    check_decay(decay)
    squares = returns**2
    variances = [float(np.mean(squares))]
    for square in squares.tolist():
        variances.append(decay * variances[-1] + (1 - decay) * square)
    deviations = np.sqrt(variances)
    return historical(returns / deviations[:-1] * deviations[-1], level=level, periods=periods)


def cornish_fisher(returns: Floats, *, level: float = 0.95, periods: float = 1.0, ddof: int = 1) -> Risk:
    """Return the risk with the normal quantile corrected for skewness and kurtosis [1]_.

    With `S` the skewness, `K` the excess kurtosis (both by moments that divide by `n`), divided by ``sqrt(periods)``
    and `periods`, and ``z`` the normal quantile of ``1 - level``::

        q(z) = z + (z^2 - 1) S/6 + (z^3 - 3 z) K/24 - (2 z^3 - 5 z) S^2/36
        VaR = -m - s q(z)           ES = -m - s (mean of q over the tail below z)

    The mean over the tail is exact: ``E[Z^k | Z < z]`` has closed forms [2]_.

    Raises
    ------
    ValueError
        As `normal` says, or if `q` does not rise with `z` in the tail down to six deviations: with such skewness and
        kurtosis the expansion is no distribution there [2]_.

    References
    ----------
    .. [1] E. A. Cornish, R. A. Fisher, "Moments and Cumulants in the Specification of Distributions", Revue de
       l'Institut International de Statistique 5, 1938, p. 307.
    .. [2] D. Maillard, "A User's Guide to the Cornish Fisher Expansion", 2012.
    """
    check_series(returns)
    check_level(level)
    _check_periods(periods)
    mean, deviation = float(returns.mean()), float(returns.std(ddof=ddof))
    unit = (returns - mean) / returns.std()
    skew = float(np.mean(unit**3)) / math.sqrt(periods)
    kurtosis = (float(np.mean(unit**4)) - 3) / periods
    z = _NORMAL.inv_cdf(1 - level)
    if not _rises(skew, kurtosis, z):
        raise ValueError(
            f"skewness {skew!r} and excess kurtosis {kurtosis!r} are beyond what the Cornish-Fisher expansion can "
            f"describe below {z!r} deviations: take the historical method"
        )
    hazard = _NORMAL.pdf(z) / (1 - level)
    powers = (-hazard, 1 - z * hazard, -(z * z + 2) * hazard)  # E[Z^k | Z < z]
    quantile, tail = (_expanded(moments, skew, kurtosis) for moments in ((z, z * z, z**3), powers))
    drift, spread = mean * periods, deviation * math.sqrt(periods)
    return Risk(-drift - spread * quantile, -drift - spread * tail)


def _expanded(powers: tuple[float, float, float], skew: float, kurtosis: float) -> float:
    one, two, three = powers
    return one + (two - 1) * skew / 6 + (three - 3 * one) * kurtosis / 24 - (2 * three - 5 * one) * skew * skew / 36


def _rises(skew: float, kurtosis: float, z: float) -> bool:
    """Return whether the expansion's derivative, a parabola in `z`, is positive from `_DEEPEST` to `z`."""
    square, linear = kurtosis / 8 - skew * skew / 6, skew / 3
    constant = 1 - kurtosis / 8 + 5 * skew * skew / 36
    places = [_DEEPEST, z]
    if square > 0:
        places.append(min(max(-linear / (2 * square), _DEEPEST), z))
    return all(square * place * place + linear * place + constant > 0 for place in places)


def monte_carlo(
    returns: Floats,
    *,
    level: float = 0.95,
    periods: float = 1.0,
    draws: Draws = "normal",
    paths: int = 100_000,
    seed: int = 0,
) -> Risk:
    """Return the empirical risk of simulated returns over the horizon, compounded period by period.

    `normal` draws each period from a normal distribution with the mean and deviation (``n - 1``) of the returns, a
    fraction of a period with its share of both; `bootstrap` draws the returns themselves, with replacement, and needs
    whole periods. The same seed gives the same number; the error of the value at risk falls with ``sqrt(paths)``.

    Raises
    ------
    ValueError
        As `normal` says, or if `draws` is unknown, `paths` is below 100, or the bootstrap is asked for a fraction of a
        period.
    """
    check_series(returns)
    check_level(level)
    _check_periods(periods)
    if draws not in get_args(Draws):
        raise ValueError(f"draws must be one of {', '.join(get_args(Draws))}, was {draws!r}")
    if paths < 100:
        raise ValueError(f"paths must be 100 at least, were {paths!r}")
    whole, rest = int(periods), periods - int(periods)
    if draws == "bootstrap" and rest > 0:
        raise ValueError(f"returns are drawn whole, and the horizon has {periods!r} periods: take draws 'normal'")
    generator = np.random.default_rng(seed)
    mean, deviation = float(returns.mean()), float(returns.std(ddof=1))
    wealth = np.ones(paths)
    for share in [1.0] * whole + ([rest] if rest > 0 else []):
        if draws == "bootstrap":
            drawn = generator.choice(returns, paths)
        else:
            drawn = generator.normal(mean * share, deviation * math.sqrt(share), paths)
        wealth *= 1 + drawn
    return empirical(1 - wealth, level)


def garch(returns: Floats, *, level: float = 0.95, periods: float = 1.0, backcast: float | None = None) -> Risk:
    """Return the risk of a normal distribution with the mean and the variance that `fit_garch` foresees.

    The variance of a horizon is the sum of those foreseen for its periods, which go back to the long-run variance.

    Raises
    ------
    ValueError
        As `normal` and `fit_garch` say.
    """
    check_level(level)
    _check_periods(periods)
    fitted = fit_garch(returns, backcast=backcast)
    return normal_risk(fitted.mu * periods, math.sqrt(fitted.variance_over(periods)), level)


METHODS: dict[Method, Callable[..., Risk]] = {
    "normal": normal,
    "ewma": ewma,
    "ewma-t": ewma_t,
    "historical": historical,
    "age-weighted": age_weighted,
    "filtered": filtered,
    "cornish-fisher": cornish_fisher,
    "monte-carlo": monte_carlo,
    "garch": garch,
}


def check_level(level: float) -> None:
    """Refuse a level that is not of a tail of losses.

    Raises
    ------
    ValueError
        If it is outside (0.5, 1).
    """
    if not 0.5 < level < 1:
        raise ValueError(f"level must be in (0.5, 1), 0.95 for 95 %, was {level!r}")


def _check_periods(periods: float) -> None:
    if not 0 < periods < math.inf:
        raise ValueError(f"a horizon must have a positive and finite number of periods, was {periods!r}")
