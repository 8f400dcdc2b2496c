"""Weights of a portfolio from covariances alone: HRP in its four conventions, inverse and minimum variance.

Knows no expected returns, no limits and no money. scipy, which comes with the extra `research`, is loaded when asked.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from edgefleet.stats.checks import check_finite
from edgefleet.stats.covariance import check_returns, sample_moments

Floats = npt.NDArray[np.float64]
Convention = Literal["A", "B", "C", "D"]


class Allocation(NamedTuple):
    """Who gets how much, and how the tree lines them up."""

    weights: Floats  # in the order of the columns; positive, their sum is 1
    order: tuple[int, ...]  # the columns, from 0, as the leaves of the tree stand


def hierarchical_risk_parity(returns: Floats, *, convention: Convention = "B") -> Allocation:
    """Return HRP weights of `returns` (rows in time, a column per asset; NaN is missing) [1]_.

    Sample covariance and correlation, pair by pair over the rows which both have; then `parity`.

    Raises
    ------
    ValueError
        As `check_returns` and `correlation` of `edgefleet.stats.covariance` and `parity` say.

    References
    ----------
    .. [1] M. Lopez de Prado, "Building Diversified Portfolios that Outperform Out of Sample", Journal of Portfolio
       Management 42(4), 2016, p. 59.
    """
    check_returns(returns)
    return parity(*sample_moments(returns), convention=convention)


def parity(covariance: Floats, correlations: Floats, *, convention: Convention = "B") -> Allocation:
    """Return the HRP weights of a covariance and its correlations.

    Assets are joined by single linkage of the distance ``d = sqrt((1 - rho) / 2)``. The row of leaves is then cut into
    halves (the left one is the smaller) again and again; what a piece has goes to its halves in the inverse proportion
    of their risk, which is that of a portfolio of the half by inverse risk.

    ========== =============================================== ======================== ==================
    convention distance that is linked                         leaves                   risk
    ========== =============================================== ======================== ==================
    A          Euclidean distance between the *rows* of `d`    as they were joined      variance
    B          `d`                                             as they were joined      variance
    C          `d`                                             optimal leaf order [2]_  variance
    D          `d`                                             optimal leaf order [2]_  standard deviation
    ========== =============================================== ======================== ==================

    A is the paper [1]_, whose code hands the square matrix to the linkage; B is PyPortfolioOpt, and Riskfolio-Lib
    without `leaf_order`; C is skfolio with single linkage and the variance, and Riskfolio-Lib with `leaf_order`; D is
    C with the standard deviation.

    Where leaves stand as they were joined, and among equal distances, the order of the columns has a say. A single
    asset gets everything.

    Raises
    ------
    ValueError
        If `convention` is none of the four, the shapes differ, a correlation is outside [-1, 1], a variance is not
        positive and finite, or a cluster's is not, which happens where a covariance is put together from pairs.

    References
    ----------
    .. [1] M. Lopez de Prado, "Building Diversified Portfolios that Outperform Out of Sample", Journal of Portfolio
       Management 42(4), 2016, p. 59.
    .. [2] Z. Bar-Joseph, D. K. Gifford, T. S. Jaakkola, "Fast optimal leaf ordering for hierarchical clustering",
       Bioinformatics 17, 2001, p. S22.
    """
    if convention not in get_args(Convention):
        raise ValueError(f"convention must be one of {', '.join(get_args(Convention))}, was {convention!r}")
    _check_covariance(covariance)
    if correlations.shape != covariance.shape:
        raise ValueError(f"correlations of shape {correlations.shape} do not fit a covariance of {covariance.shape}")
    if not (np.abs(correlations) <= 1).all():
        outside = correlations[~(np.abs(correlations) <= 1)]
        raise ValueError(f"a correlation must be in [-1, 1], was {float(outside[0])!r}")
    order = _leaves(correlations, convention)
    return Allocation(_bisected(covariance, order, by_deviation=convention == "D"), order)


def _leaves(correlations: Floats, convention: Convention) -> tuple[int, ...]:
    if len(correlations) == 1:
        return (0,)
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import pdist

    distance = np.sqrt((1 - correlations) / 2)
    apart = pdist(distance) if convention == "A" else distance[np.triu_indices(len(distance), 1)]
    tree = linkage(apart, method="single", optimal_ordering=convention in "CD")
    return tuple(leaves_list(tree).tolist())


def _bisected(covariance: Floats, order: tuple[int, ...], *, by_deviation: bool) -> Floats:
    line = list(order)
    variances = np.diag(covariance)[line]
    inverse = 1 / (np.sqrt(variances) if by_deviation else variances)
    # What a portfolio by inverse risk varies is the sum over its block, divided by the square of its inverse risks.
    shares = covariance[np.ix_(line, line)] * np.outer(inverse, inverse)
    placed = np.ones(len(line))
    pieces = [(0, len(line))]
    while pieces:
        start, end = pieces.pop()
        if end - start < 2:
            continue
        middle = start + (end - start) // 2
        left, right = (
            _cluster_risk(shares[a:b, a:b], inverse[a:b], by_deviation=by_deviation)
            for a, b in ((start, middle), (middle, end))
        )
        placed[start:middle] *= right / (left + right)
        placed[middle:end] *= left / (left + right)
        pieces += [(start, middle), (middle, end)]
    weights = np.empty(len(line))
    weights[line] = placed
    return weights


def _cluster_risk(shares: Floats, inverse: Floats, *, by_deviation: bool) -> float:
    variance = float(shares.sum() / inverse.sum() ** 2)
    if not 0 < variance < math.inf:
        raise ValueError(
            f"the variance of a cluster of {len(inverse)} assets must be positive, was {variance!r}: "
            "the covariance is not positive definite"
        )
    return math.sqrt(variance) if by_deviation else variance


def inverse_variance(covariance: Floats) -> Floats:
    """Return weights in proportion to ``1 / variance``; correlations do not matter.

    Raises
    ------
    ValueError
        If `covariance` is not square and symmetric, or a variance is not positive and finite.

    Examples
    --------
    >>> inverse_variance(np.diag([0.01, 0.03]))
    array([0.75, 0.25])
    """
    _check_covariance(covariance)
    inverse = 1 / np.diag(covariance)
    found: Floats = inverse / inverse.sum()
    return found


def minimum_variance(covariance: Floats, *, long_only: bool = True) -> Floats:
    """Return the weights, their sum 1, whose portfolio varies least.

    ``C^-1 1 / (1' C^-1 1)``; where no weight may be negative, the `w >= 0` that makes ``w'Cw / 2 - sum(w)`` least,
    divided by its sum: with ``C = L L'`` that is least squares of ``L' w`` to ``L^-1 1`` without negative parts, which
    an active set finds exactly [1]_.

    Raises
    ------
    ValueError
        If `covariance` is not square, symmetric and positive definite.

    References
    ----------
    .. [1] C. L. Lawson, R. J. Hanson, "Solving Least Squares Problems", 1974, chapter 23.
    """
    _check_covariance(covariance)
    lower = cholesky(covariance)
    ones = np.ones(len(covariance))
    if long_only:
        from scipy.optimize import nnls

        scale = float(np.sqrt(np.diag(covariance).max()))  # a solver's tolerances are made for numbers of size one
        solved = nnls(lower.T / scale, np.linalg.solve(lower / scale, ones))[0]
    else:
        solved = np.linalg.solve(covariance, ones)
    found: Floats = solved / solved.sum()
    return found


def cholesky(covariance: Floats) -> Floats:
    """Return the lower factor of a covariance.

    Raises
    ------
    ValueError
        If it is not positive definite by more than rounding; the message tells its least eigenvalue and its greatest.
    """
    values = np.linalg.eigvalsh(covariance)
    if not values[0] > 1e-12 * values[-1]:
        raise ValueError(
            f"covariance is not positive definite: its eigenvalues are {float(values[0])!r} to {float(values[-1])!r}"
        )
    return np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)


def _check_covariance(covariance: Floats) -> None:
    if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1] or not len(covariance):
        raise ValueError(f"a covariance must be square, was shape {covariance.shape}")
    check_finite(covariance, "a covariance must be finite, has")
    variances = np.diag(covariance)
    if not (variances > 0).all():
        place = int(np.argmin(variances))
        raise ValueError(f"variance {place + 1} must be positive, was {float(variances[place])!r}")
    uneven = np.abs(covariance - covariance.T) > 1e-9 * np.sqrt(np.outer(variances, variances))
    if uneven.any():
        i, j = (int(place) for place in np.argwhere(uneven)[0])
        raise ValueError(
            f"covariance is not symmetric at {i + 1},{j + 1}: {float(covariance[i, j])!r}, {float(covariance[j, i])!r}"
        )
