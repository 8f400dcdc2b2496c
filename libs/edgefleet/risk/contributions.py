"""Whose risk a portfolio's risk is: marginal and component value at risk. Knows weights and a covariance; no prices."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgefleet.risk.shortfall import check_level
from edgefleet.stats.checks import check_finite

Floats = npt.NDArray[np.float64]


class Contributions(NamedTuple):
    """The normal value at risk of a portfolio and what each position brings to it; losses are positive.

    `var` is `math.fsum` of `component`: the parts are the whole to the last bit.
    """

    var: float
    es: float
    marginal: Floats  # by how much `var` grows with a weight, per unit of it
    component: Floats  # weight times marginal; negative where a position hedges the others
    component_es: Floats


def component_var(
    weights: Floats, covariance: Floats, *, level: float = 0.95, means: Floats | None = None
) -> Contributions:
    """Return the value at risk of positions and the share that each has in it, by Euler's rule [1]_.

    The whole is ``z sqrt(w'Cw) - w'm``, homogeneous in the weights, so that it is the sum of ``w_i dVaR/dw_i`` with
    ``dVaR/dw = z C w / sqrt(w'Cw) - m``. For the shortfall ``phi(z) / (1 - level)`` stands in place of ``z``.

    Parameters
    ----------
    weights
        Signed fractions of equity.
    covariance
        Of the returns over the horizon.
    means
        Of the returns over the same horizon; zero where they are not given.

    Raises
    ------
    ValueError
        If `level` is outside (0.5, 1), shapes differ, a number is not finite, or the variance of the portfolio is not
        positive.

    Examples
    --------
    >>> found = component_var(np.array([0.6, 0.4]), np.array([[0.04, 0.006], [0.006, 0.01]]))
    >>> round(found.var, 6), found.component.round(6).tolist()
    (0.22601, [0.189619, 0.036391])

    References
    ----------
    .. [1] D. Tasche, "Risk contributions and performance measurement", 1999; P. Jorion, "Value at Risk", 3rd ed., 2007,
       chapter 7.
    """
    check_level(level)
    drift = np.zeros(len(weights)) if means is None else means
    if covariance.shape != (len(weights), len(weights)) or drift.shape != weights.shape:
        raise ValueError(
            f"{len(weights)} weights do not fit a covariance of {covariance.shape} and means of {drift.shape}"
        )
    for name, numbers in (("weights", weights), ("covariance", covariance), ("means", drift)):
        check_finite(numbers, f"{name} must be finite, has")
    with_all = covariance @ weights
    variance = float(weights @ with_all)
    if not variance > 0:
        raise ValueError(f"the variance of the portfolio must be positive, was {variance!r}")
    z = NormalDist().inv_cdf(level)
    per_deviation = with_all / math.sqrt(variance)
    marginal = z * per_deviation - drift
    component = weights * marginal
    component_es = weights * (NormalDist().pdf(z) / (1 - level) * per_deviation - drift)
    return Contributions(math.fsum(component), math.fsum(component_es), marginal, component, component_es)
