"""The largest losses: peaks over a threshold and the generalised Pareto distribution of what is beyond it.

Knows losses, positive where money is lost; nothing of time or of what lost it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgefleet.stats.checks import check_finite

Floats = npt.NDArray[np.float64]

# Two parameters by maximum likelihood: with fewer the maximum often does not exist, and its errors say nothing.
LEAST_EXCEEDANCES = 10
_SERIES_BELOW = 1e-2  # size of an argument below which a power series is nearer than the closed form
_SERIES_TERMS = 12


class ParetoTail(NamedTuple):
    """A generalised Pareto distribution of the losses beyond a threshold, and how sure its parameters are."""

    threshold: float
    xi: float  # shape; above 0 the tail is a power of the loss with exponent -1/xi, at 0 it is exponential
    beta: float  # scale, in units of the losses
    se_xi: float | None  # standard errors; None where xi <= -1/2 and the theory behind them fails
    se_beta: float | None
    n_exceed: int
    n: int  # of all losses

    def var(self, level: float) -> float | None:
        """Return the loss that is not exceeded with probability `level`; None where that is not beyond the threshold.

        ``u + beta / xi ((n / n_exceed (1 - level))**-xi - 1)`` [1]_, for ``xi = 0`` its limit with a logarithm.

        Raises
        ------
        ValueError
            If `level` is outside (0, 1).

        References
        ----------
        .. [1] A. J. McNeil, R. Frey, P. Embrechts, "Quantitative Risk Management", 2nd ed., 2015, section 5.2.3.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be in (0, 1), was {level!r}")
        depth = -math.log(self.n / self.n_exceed * (1 - level))
        if depth < 0:
            return None
        return self.threshold + self.beta * depth * _expm1_over(self.xi * depth)

    def es(self, level: float) -> float | None:
        """Return the mean of the losses beyond `var`; None where there is no `var`, or ``xi >= 1`` and no finite mean.

        ``VaR / (1 - xi) + (beta - xi u) / (1 - xi)``.

        Raises
        ------
        ValueError
            If `level` is outside (0, 1).
        """
        var = self.var(level)
        if var is None or self.xi >= 1:
            return None
        return (var + self.beta - self.xi * self.threshold) / (1 - self.xi)

    def beyond(self, loss: float) -> float | None:
        """Return the probability of a larger loss; None below the threshold, where the tail tells nothing.

        ``n_exceed / n (1 + xi (loss - u) / beta)**(-1 / xi)``, the inverse of `var`; 0 past the end of a tail
        that ends.

        Raises
        ------
        ValueError
            If `loss` is not finite.
        """
        if not math.isfinite(loss):
            raise ValueError(f"loss must be finite, was {loss!r}")
        if loss < self.threshold:
            return None
        step = (loss - self.threshold) / self.beta
        if self.xi * step <= -1:
            return 0.0
        depth = math.log1p(self.xi * step) / self.xi if self.xi else step
        return self.n_exceed / self.n * math.exp(-depth)


def fit_tail(losses: Floats, threshold: float) -> ParetoTail:
    """Return the generalised Pareto distribution under which the losses beyond `threshold` are likeliest.

    With ``theta = xi / beta`` the likelihood at its best `xi` is a function of `theta` alone, and ``xi(theta)`` is the
    mean of ``log(1 + theta y)`` over the excesses `y` [1]_. All its maxima are bracketed and the highest is taken, so
    that no start can be the wrong one. Excesses are divided by their mean first: a change of unit changes nothing but
    the unit. Standard errors come from the observed information.

    Parameters
    ----------
    losses
        All of them, those below the threshold as well: how many there are decides what 99 % means.
    threshold
        In the unit of the losses; what is larger than it counts.

    Raises
    ------
    ValueError
        If a loss or the threshold is not finite, fewer than `LEAST_EXCEEDANCES` losses are larger, all of those are
        equal, or the likelihood has no maximum with ``xi > -1``.

    References
    ----------
    .. [1] S. D. Grimshaw, "Computing Maximum Likelihood Estimates for the Generalized Pareto Distribution",
       Technometrics 35, 1993, p. 185.
    """
    excesses = _excesses(losses, threshold)
    if len(excesses) < LEAST_EXCEEDANCES:
        raise ValueError(
            f"only {len(excesses)} of {len(losses)} losses exceed {threshold!r}; {LEAST_EXCEEDANCES} are the least "
            "that two parameters are fitted to; take a lower threshold"
        )
    unit = float(excesses.mean())
    if not np.ptp(excesses) > 1e-12 * unit:
        raise ValueError(f"all {len(excesses)} losses beyond {threshold!r} are equal: they have no distribution to fit")
    scaled = excesses / unit
    theta = _likeliest(scaled)
    xi = _shape(theta, scaled)
    beta = xi / theta if theta else 1.0  # the limit is the mean, which is one
    errors = _standard_errors(scaled, xi, beta)
    return ParetoTail(
        threshold=threshold,
        xi=xi,
        beta=beta * unit,
        se_xi=None if errors is None else errors[0],
        se_beta=None if errors is None else errors[1] * unit,
        n_exceed=len(excesses),
        n=len(losses),
    )


def _excesses(losses: Floats, threshold: float) -> Floats:
    if not math.isfinite(threshold):
        raise ValueError(f"threshold must be finite, was {threshold!r}")
    if losses.ndim != 1 or not len(losses):
        raise ValueError(f"losses must be one series with one loss at least, was shape {losses.shape}")
    check_finite(losses, "a loss must be finite, was")
    found: Floats = losses[losses > threshold] - threshold
    return found


def _shape(theta: float, scaled: Floats) -> float:
    return float(np.mean(np.log1p(theta * scaled)))


def _slope(theta: float, scaled: Floats) -> float:
    """Return the profile likelihood's derivative per excess: ``((1 + xi) mean(1 / (1 + theta y)) - 1) / (theta xi)``.

    Numerator and denominator both vanish as ``theta**2``; the series keeps their quotient right there.
    """
    if theta == 0:
        return float(np.mean(scaled**2)) / 2 - 1.0
    steps = theta * scaled
    xi, part = float(np.mean(np.log1p(steps))), float(np.mean(steps / (1 + steps)))
    gap = float(np.mean(_by_series(steps, lambda u: np.log1p(u) - u / (1 + u), lambda k: (-1) ** k * (k - 1) / k, 2)))
    return (gap - xi * part) / (theta * xi)


def _by_series(
    steps: Floats, closed: Callable[[Floats], Floats], coefficient: Callable[[int], float], first: int
) -> Floats:
    """Return a function by its closed form; where all steps are small, by ``sum(coefficient(k) u**k)``, ``k >= first``.

    The largest decide: beside them the rounding of the small ones does not count.
    """
    if np.abs(steps).max() > _SERIES_BELOW:
        return closed(steps)
    return np.asarray(sum(coefficient(k) * steps**k for k in range(first, first + _SERIES_TERMS)))


def _likeliest(scaled: Floats) -> float:
    """Return the `theta` of the highest maximum of the profile likelihood with ``xi > -1``."""
    grid = _grid(scaled)
    slopes = [_slope(theta, scaled) for theta in grid]
    maxima = [
        _root(low, high, scaled)
        for low, high, before, after in zip(grid, grid[1:], slopes, slopes[1:], strict=False)
        if before > 0 >= after
    ]
    if not maxima:
        raise ValueError(
            f"the likelihood of the {len(scaled)} excesses has no maximum with xi > -1: the threshold cuts into a "
            "distribution that ends, take a lower one"
        )
    return max(maxima, key=lambda theta: _profile(theta, scaled))


def _grid(scaled: Floats) -> list[float]:
    """Return values of `theta`, ascending, between which the profile likelihood turns at most once.

    Above ``2 (mean - least) / least**2`` it falls (Grimshaw 1993); toward ``-1 / most`` it grows without bound, but
    only where ``xi < -1``.
    """
    least, most = float(scaled.min()), float(scaled.max())
    highest = min(2 * (1 - least) / least**2, 1e12)
    above = np.geomspace(1e-6, max(highest, 1e-5), 120)
    below = -(1 - np.geomspace(1e-12, 1 - 1e-6, 120)) / most
    below = below[[_shape(float(theta), scaled) > -1 for theta in below]]
    return [*below.tolist(), 0.0, *above.tolist()]


def _root(low: float, high: float, scaled: Floats) -> float:
    """Return where the slope turns from positive to negative, by halving to the last bit."""
    while True:
        middle = (low + high) / 2
        if not low < middle < high:
            return middle
        if _slope(middle, scaled) > 0:
            low = middle
        else:
            high = middle


def _profile(theta: float, scaled: Floats) -> float:
    xi = _shape(theta, scaled)
    return -math.log(xi / theta if theta else 1.0) - xi - 1


def _standard_errors(scaled: Floats, xi: float, beta: float) -> tuple[float, float] | None:
    """Return those of `xi` and `beta` by the inverse of the observed information, None where it has no meaning."""
    if xi <= -0.5:
        return None
    z = scaled / beta
    w = 1 + xi * z
    cubic = _by_series(
        xi * z,
        lambda u: (-2 * np.log1p(u) + 2 * u / (1 + u) + (u / (1 + u)) ** 2) / u**3,
        lambda k: (-1) ** (k + 1) * (2 / (k + 3) + k),
        0,
    )
    shape = float(np.sum(z**3 * cubic + (z / w) ** 2))
    scale = float(np.sum(1 - (1 + xi) * z / w * (1 + 1 / w))) / beta**2
    both = float(np.sum(z / w - (1 + xi) * (z / w) ** 2)) / beta
    determinant = shape * scale - both**2
    if not (determinant > 0 and shape < 0):
        return None
    return math.sqrt(-scale / determinant), math.sqrt(-shape / determinant)


def _expm1_over(value: float) -> float:
    return math.expm1(value) / value if value else 1.0


def mean_excesses(losses: Floats) -> tuple[Floats, Floats]:
    """Return the losses as thresholds, ascending and each once, and the mean excess of the larger ones over each.

    Thresholds with fewer than `LEAST_EXCEEDANCES` losses beyond are left out.

    Raises
    ------
    ValueError
        If a loss is not finite, there is none, or no threshold is left.
    """
    _excesses(losses, 0.0)
    ordered = np.sort(losses)
    thresholds, first = np.unique(ordered, return_index=True)
    after = np.append(first[1:], len(ordered))  # where the larger ones begin
    count = len(ordered) - after
    enough = count >= LEAST_EXCEEDANCES
    if not enough.any():
        raise ValueError(
            f"none of {len(losses)} losses has {LEAST_EXCEEDANCES} larger ones, the least to take a mean of; bring more"
        )
    total = np.append(np.cumsum(ordered[::-1])[::-1], 0.0)[after]
    return thresholds[enough], total[enough] / count[enough] - thresholds[enough]


class Candidate(NamedTuple):
    """A threshold that could be taken, and what speaks for it."""

    threshold: float
    n_exceed: int
    mean_excess: float  # grows in a straight line with the threshold where the tail is generalised Pareto
    tail: ParetoTail | None  # None where nothing could be fitted


def propose_thresholds(
    losses: Floats, shares: Sequence[float] = (0.2, 0.15, 0.1, 0.075, 0.05, 0.025)
) -> list[Candidate]:
    """Return thresholds beyond which each of `shares` of the losses lie, with the mean excess and the fit there.

    For the eye: the lowest threshold from which on the mean excess is a straight line, with slope ``xi / (1 - xi)``,
    and `xi` stays within its errors [1]_. Thresholds with fewer than `LEAST_EXCEEDANCES` beyond them are left out.

    Raises
    ------
    ValueError
        If a share is outside (0, 1), or a loss is not finite.

    References
    ----------
    .. [1] A. J. McNeil, R. Frey, P. Embrechts, "Quantitative Risk Management", 2nd ed., 2015, section 5.2.2.
    """
    found = []
    for share in shares:
        if not 0 < share < 1:
            raise ValueError(f"a share of the losses must be in (0, 1), was {share!r}")
        threshold = float(np.quantile(losses, 1 - share))
        excesses = _excesses(losses, threshold)
        if len(excesses) < LEAST_EXCEEDANCES:
            continue
        try:
            tail = fit_tail(losses, threshold)
        except ValueError:
            tail = None
        found.append(Candidate(threshold, len(excesses), float(excesses.mean()), tail))
    return found
