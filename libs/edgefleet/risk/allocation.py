"""Weights of a portfolio from covariances alone: HRP in its four conventions, HERC, inverse and minimum variance.

Knows no expected returns, no limits and no money. scipy, which comes with the extra `research`, is loaded when asked.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from edgefleet.stats.checks import check_finite
from edgefleet.stats.covariance import check_returns, sample_moments
from edgefleet.stats.linkage import single_linkage_leaves

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
    _check_correlations(correlations, covariance)
    order = _leaves(correlations, convention)
    return Allocation(_bisected(covariance, order, by_deviation=convention == "D"), order)


def _leaves(correlations: Floats, convention: Convention) -> tuple[int, ...]:
    if len(correlations) == 1:
        return (0,)
    distance = np.sqrt((1 - correlations) / 2)
    if convention == "A":
        return single_linkage_leaves(np.array([np.sqrt(((distance - row) ** 2).sum(axis=1)) for row in distance]))
    if convention == "B":
        return single_linkage_leaves(distance)
    from scipy.cluster.hierarchy import linkage  # its optimal order is no few lines
    from scipy.spatial.distance import squareform

    tree = _tree_of(linkage(squareform(distance, checks=False), method="single", optimal_ordering=True))
    return tree.leaves[2 * len(distance) - 2]


def _bisected(covariance: Floats, order: tuple[int, ...], *, by_deviation: bool) -> Floats:
    line = list(order)
    variances = np.diag(covariance)[line]
    inverse = 1 / (np.sqrt(variances) if by_deviation else variances)
    sums = covariance.take(line, 0).take(line, 1) * np.outer(inverse, inverse)
    placed = np.ones(len(line))
    # From single assets up: the sums of a level are sums of the one below, and nothing is ever subtracted.
    for level in _halvings(len(line)):
        risks = _cluster_risks(np.diag(sums), inverse, level.sizes, by_deviation=by_deviation)
        first, second = level.left, level.left + 1
        left, right = risks[first], risks[second]
        factors = np.ones(len(risks))
        factors[first], factors[second] = right / (left + right), left / (left + right)
        placed *= factors[level.piece]
        at = level.joined
        sums = np.add.reduceat(np.add.reduceat(sums, at, axis=0), at, axis=1)
        inverse = np.add.reduceat(inverse, at)
    weights = np.empty(len(line))
    weights[line] = placed
    return weights


class _Level(NamedTuple):
    """Pieces of a row, and how they are joined to larger ones."""

    sizes: npt.NDArray[np.intp]  # assets in each
    piece: npt.NDArray[np.intp]  # by asset: in which it is
    joined: npt.NDArray[np.intp]  # the first piece of each larger one
    left: npt.NDArray[np.intp]  # the left halves, each with the right one after it


@lru_cache(maxsize=8)
def _halvings(length: int) -> tuple[_Level, ...]:
    """Return the pieces that a row is cut into by halves, from single assets to the two halves of the whole."""
    starts = np.zeros(1, dtype=np.intp)
    levels: list[_Level] = []
    while len(starts) < length:
        coarse, sizes = starts, np.diff(starts, append=length)
        starts = np.unique(np.concatenate([starts, starts + sizes // 2]))
        finer, joined = np.diff(starts, append=length), np.searchsorted(starts, coarse)
        left = joined[np.diff(joined, append=len(starts)) == 2]
        levels.append(_Level(finer, np.repeat(np.arange(len(starts)), finer), joined, left))
    return tuple(levels[::-1])


def _cluster_risks(sums: Floats, inverse: Floats, sizes: npt.NDArray[np.intp], *, by_deviation: bool) -> Floats:
    """Return what portfolios by inverse risk vary: the sum over their block, by the square of that of inverse risks."""
    variances: Floats = sums / inverse**2
    wrong = ~((variances > 0) & (variances < np.inf))
    if wrong.any():
        place = int(np.argmax(wrong))
        raise ValueError(
            f"the variance of a cluster of {sizes[place]} assets must be positive, was {float(variances[place])!r}: "
            "the covariance is not positive definite"
        )
    return np.sqrt(variances) if by_deviation else variances


def hierarchical_equal_risk(returns: Floats, *, clusters: int | None = None) -> Allocation:
    """Return HERC weights of `returns` (rows in time, a column per asset; NaN is missing).

    Sample covariance and correlation, pair by pair over the rows which both have; then `equal_risk`.

    Raises
    ------
    ValueError
        As `check_returns` and `correlation` of `edgefleet.stats.covariance` and `equal_risk` say.
    """
    check_returns(returns)
    return equal_risk(*sample_moments(returns), clusters=clusters)


def equal_risk(covariance: Floats, correlations: Floats, *, clusters: int | None = None) -> Allocation:
    """Return the HERC weights of a covariance and its correlations [1]_ [2]_.

    Assets are joined by Ward's linkage of ``d = sqrt((1 - rho) / 2)`` and the tree is cut into `clusters` by undoing
    its last joins; None finds the number by `gap_clusters`. From the root down to the clusters each branch gets a share
    in the inverse proportion of its risk, which is the sum of its clusters' variances, a cluster's being that of its
    portfolio by inverse variance. That portfolio divides what the cluster has. So the tree itself is followed, where
    HRP halves the row of its leaves.

    These are the choices of skfolio's HierarchicalEqualRiskContribution with the variance: weights agree but where two
    joins are equally high. There it makes fewer clusters than asked for, here the later join is undone first. Its
    bounds of weights are not here.

    Raises
    ------
    ValueError
        As `parity` says, or if `clusters` is not between 1 and the number of assets.

    References
    ----------
    .. [1] T. Raffinot, "Hierarchical Clustering-Based Asset Allocation", Journal of Portfolio Management 44(2), 2017,
       p. 89: clusters of a cut tree. There all branches are equal, whatever their risk.
    .. [2] T. Raffinot, "The Hierarchical Equal Risk Contribution Portfolio", 2018, SSRN 3237540.
    """
    _check_covariance(covariance)
    _check_correlations(correlations, covariance)
    assets = len(covariance)
    if clusters is not None and not 1 <= clusters <= assets:
        raise ValueError(f"clusters must be between 1 and the {assets} assets, were {clusters!r}")
    if assets == 1:
        return Allocation(np.ones(1), (0,))
    distance = np.sqrt((1 - correlations) / 2)
    tree = _ward(distance)
    parts = tree.cut(gap_clusters(distance) if clusters is None else clusters)
    inverse = 1 / np.diag(covariance)
    weights, risks = np.zeros(assets), {}
    for part in parts:
        inside = list(tree.leaves[part])
        own = inverse[inside]
        total, block = own.sum(), float(own @ covariance[np.ix_(inside, inside)] @ own)
        risks[part] = float(
            _cluster_risks(np.array([block]), np.array([total]), np.array([len(inside)]), by_deviation=False)[0]
        )
        weights[inside] = own / total
    # A node is made of earlier ones, so from the first to the last their risks add up, and back the shares divide.
    for node, (left, right) in tree.joined.items():
        if node not in risks and left in risks and right in risks:
            risks[node] = risks[left] + risks[right]
    for node in sorted(risks.keys() - parts, reverse=True):
        left, right = tree.joined[node]
        weights[list(tree.leaves[left])] *= risks[right] / risks[node]
        weights[list(tree.leaves[right])] *= risks[left] / risks[node]
    return Allocation(weights, tree.leaves[2 * assets - 2])


def gap_clusters(distance: Floats) -> int:
    """Return into how many clusters Ward's tree of a square `distance` is best cut, by the two-order difference [1]_.

    With ``W_k`` the sum over the `k` clusters of the mean distance within each, which is 0 of a single asset, the
    number is that ``k + 1`` for which ``W_k - 2 W_{k+1} + W_{k+2}`` is greatest: where the gain of one more cluster
    falls most. Up to ``max(8, sqrt(n))`` are tried, as skfolio does; one or two assets are as many clusters.

    References
    ----------
    .. [1] S. Yue, X. Wang, M. Wei, "Application of two-order difference to gap statistic", Transactions of Tianjin
       University 14, 2008, p. 217. They sum distances over pairs; skfolio's mean over pairs is taken here.
    """
    assets = len(distance)
    if assets <= 2:
        return assets
    tree = _ward(distance)
    most = min(assets, max(8, round(math.sqrt(assets))))
    within = np.array(
        [math.fsum(_mean_distance(distance, tree.leaves[part]) for part in tree.cut(k)) for k in range(1, most + 1)]
    )
    return int(np.argmax(within[:-2] - 2 * within[1:-1] + within[2:])) + 2


def _mean_distance(distance: Floats, members: tuple[int, ...]) -> float:
    count = len(members)
    if count == 1:
        return 0.0
    return float(distance[np.ix_(members, members)].sum() / (count * (count - 1)))


class _Tree(NamedTuple):
    """Who was joined with whom: leaves are 0 to n - 1, joins n to 2n - 2 from the lowest to the highest."""

    joined: dict[int, tuple[int, int]]
    leaves: dict[int, tuple[int, ...]]  # of every node, as they stand

    def cut(self, count: int) -> set[int]:
        """Return the nodes that are left when the last ``count - 1`` joins are undone."""
        nodes = {max(self.leaves)}
        while len(nodes) < count:
            last = max(nodes)
            nodes = (nodes - {last}) | set(self.joined[last])
        return nodes


def _ward(distance: Floats) -> _Tree:
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    return _tree_of(linkage(squareform(distance, checks=False), method="ward"))


def _tree_of(joins: Floats) -> _Tree:
    """Return scipy's linkage as a tree."""
    assets = len(joins) + 1
    joined: dict[int, tuple[int, int]] = {}
    leaves: dict[int, tuple[int, ...]] = {leaf: (leaf,) for leaf in range(assets)}
    for node, (left, right) in enumerate(joins[:, :2].astype(np.intp).tolist(), assets):
        joined[node], leaves[node] = (left, right), leaves[left] + leaves[right]
    return _Tree(joined, leaves)


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


def _check_correlations(correlations: Floats, covariance: Floats) -> None:
    if correlations.shape != covariance.shape:
        raise ValueError(f"correlations of shape {correlations.shape} do not fit a covariance of {covariance.shape}")
    if not (np.abs(correlations) <= 1).all():
        outside = correlations[~(np.abs(correlations) <= 1)]
        raise ValueError(f"a correlation must be in [-1, 1], was {float(outside[0])!r}")
