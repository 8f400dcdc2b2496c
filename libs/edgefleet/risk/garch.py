"""GARCH(1,1): how a variance follows from the one before. Knows one series of returns; nothing of what moved it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgefleet.stats.checks import check_series

Floats = npt.NDArray[np.float64]

LEAST_FOR_GARCH = 100
_STARTS = [(alpha, total - alpha) for alpha in (0.02, 0.05, 0.1, 0.2) for total in (0.5, 0.8, 0.95, 0.99)]
_TRIED = 3  # the likeliest starts, each followed to its maximum
_FLAT = 1e-4  # slope per observation, in units of the series' deviation, below which a maximum is one


class Garch(NamedTuple):
    """A constant mean and ``v' = omega + alpha (r - mu)^2 + beta v``, in units of the returns."""

    mu: float
    omega: float
    alpha: float
    beta: float
    backcast: float  # the variance, and squared error, that stands for what was before the first return
    next_variance: float  # of the period after the last
    log_likelihood: float

    def variance_over(self, periods: float) -> float:
        """Return the variance of the sum of the next returns; a fraction of a period counts with its share."""
        total, variance, left = 0.0, self.next_variance, periods
        while left > 0:
            total += min(1.0, left) * variance
            variance = self.omega + (self.alpha + self.beta) * variance
            left -= 1.0
        return total

    def variances(self, returns: Floats) -> Floats:
        """Return the variance told before each of `returns` and, last, of the period after them; `backcast` is first.

        One number more than `returns`. Of the returns that were fitted the last is `next_variance`.
        """
        told = _variances(np.append(returns, self.mu), self.mu, self.omega, self.alpha, self.beta, self.backcast)
        return told[1]


def fit_garch(returns: Floats, *, backcast: float | None = None) -> Garch:
    """Return GARCH(1,1) with a constant mean and normal errors, by maximum likelihood with exact derivatives [1]_.

    The variance before the first return has to come from somewhere. Without `backcast` it is the mean of
    ``(r - mu)^2`` for the very `mu` that is tried, as in the published benchmark [2]_, which is met in all the digits
    printed but the last of omega: 0.010761398 where 0.0107613 stands. With `backcast`, in units of the returns squared,
    it is that number; so does `arch`, and finds the same. The search is made on returns divided by their deviation, so
    that their unit does not decide whether it succeeds, with ``alpha, beta >= 0`` and ``alpha + beta <= 1``, from
    several starts.

    Raises
    ------
    ValueError
        If there are fewer than `LEAST_FOR_GARCH` returns, one is not finite, they do not vary, `backcast` is not
        positive and finite, or the search finds no maximum.

    References
    ----------
    .. [1] T. Bollerslev, "Generalized autoregressive conditional heteroskedasticity", Journal of Econometrics 31, 1986,
       p. 307.
    .. [2] G. Fiorentini, G. Calzolari, L. Panattoni, "Analytic derivatives and the computation of GARCH estimates",
       Journal of Applied Econometrics 11, 1996, p. 399; the benchmark of McCullough and Renfro, 1999.
    """
    if len(returns) < LEAST_FOR_GARCH:
        raise ValueError(
            f"has {len(returns)} returns, {LEAST_FOR_GARCH} are the least that a GARCH is fitted to; bring more"
        )
    check_series(returns)
    if backcast is not None and not 0 < backcast < math.inf:
        raise ValueError(f"backcast must be positive and finite, was {backcast!r}")
    unit = float(returns.std())
    scaled = returns / unit
    before = None if backcast is None else backcast / unit**2
    mu, omega, alpha, beta = _likeliest(scaled, before)
    errors, variances, first = _variances(scaled, mu, omega, alpha, beta, before)
    following = omega + alpha * float(errors[-1]) ** 2 + beta * float(variances[-1])
    return Garch(
        mu=mu * unit,
        omega=omega * unit**2,
        alpha=alpha,
        beta=beta,
        backcast=first * unit**2,
        next_variance=following * unit**2,
        log_likelihood=-len(returns) * (_cost(scaled, before, mu, omega, alpha, beta)[0] + math.log(unit)),
    )


def _likeliest(scaled: Floats, before: float | None) -> tuple[float, float, float, float]:
    from scipy.optimize import minimize

    def cost(point: Floats) -> tuple[float, Floats]:
        return _cost(scaled, before, *point.tolist())

    mean = float(scaled.mean())
    starts = [np.array([mean, 1 - alpha - beta, alpha, beta]) for alpha, beta in _STARTS]
    bounds = [(float(scaled.min()), float(scaled.max())), (1e-8, 10.0), (0.0, 1.0), (0.0, 1.0)]
    stationary = {
        "type": "ineq",
        "fun": lambda point: 1 - point[2] - point[3],
        "jac": lambda _: np.array([0.0, 0.0, -1.0, -1.0]),
    }
    found = [
        minimize(
            cost,
            start,
            jac=True,
            method="SLSQP",
            bounds=bounds,
            constraints=[stationary],
            options={"ftol": 1e-16, "maxiter": 500},
        )
        for start in sorted(starts, key=lambda start: cost(start)[0])[:_TRIED]
    ]
    best = min(found, key=lambda answer: float(answer.fun)).x
    slope = cost(best)[1]
    # At a bound the slope may point outwards; the mean and omega are always inside.
    if not (math.isfinite(cost(best)[0]) and abs(slope[0]) < _FLAT and abs(slope[1]) * best[1] < _FLAT):
        raise ValueError(f"no GARCH was found: at the end of the search the likelihood still rises by {slope.tolist()}")
    mu, omega, alpha, beta = best.tolist()
    return mu, omega, max(alpha, 0.0), max(beta, 0.0)


def _variances(
    scaled: Floats, mu: float, omega: float, alpha: float, beta: float, before: float | None
) -> tuple[Floats, Floats, float]:
    """Return the errors, the variance told before each, and the one that stands for what was before the first."""
    errors = scaled - mu
    squares = errors**2
    first = float(squares.mean()) if before is None else before
    news = omega + alpha * np.concatenate(([first], squares[:-1]))
    news[0] += beta * first
    return errors, _decayed(news, beta), first


def _decayed(news: Floats, beta: float) -> Floats:
    """Return ``y[t] = news[t] + beta y[t-1]``."""
    from scipy.signal import lfilter

    return np.asarray(lfilter([1.0], [1.0, -beta], news), dtype=np.float64)


def _cost(
    scaled: Floats, before: float | None, mu: float, omega: float, alpha: float, beta: float
) -> tuple[float, Floats]:
    """Return minus the mean log-likelihood, and its derivatives by the four parameters."""
    errors, variances, first = _variances(scaled, mu, omega, alpha, beta, before)
    squares = errors**2
    first_by_mu = -2 * float(errors.mean()) if before is None else 0.0
    by_mu = -2 * alpha * np.concatenate(([0.0], errors[:-1]))
    by_mu[0] = (alpha + beta) * first_by_mu
    news = (
        by_mu,
        np.ones(len(scaled)),
        np.concatenate(([first], squares[:-1])),
        np.concatenate(([first], variances[:-1])),
    )
    pull = (1 / variances - squares / variances**2) / 2
    slope = np.array([float(np.mean(pull * _decayed(part, beta))) for part in news])
    slope[0] -= float(np.mean(errors / variances))
    mean = float(np.mean(np.log(variances) + squares / variances) + math.log(2 * math.pi)) / 2
    return mean, slope
