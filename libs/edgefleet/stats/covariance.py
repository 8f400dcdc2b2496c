"""Covariances of returns, rows in time and a column per asset. Knows nothing of portfolios or where returns come from.

A value that is missing is NaN, and each pair of assets is then judged by the rows which both have, as pandas and
PyPortfolioOpt do. An infinite value is refused everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgefleet.stats.checks import are_constant, check_decay, is_constant

Floats = npt.NDArray[np.float64]


class Shrunk(NamedTuple):
    """A covariance that was pulled toward equal variances without correlation."""

    covariance: Floats
    shrinkage: float  # 0 is the sample, 1 the target
    observations: int  # rows without a missing value, which are all that count


def returns_of(prices: Floats) -> Floats:
    """Return the simple returns ``p[t] / p[t-1] - 1`` of each column, one row less; missing where either price is.

    A price is not carried over a gap. Rows in which no asset has a return are left out.

    Raises
    ------
    ValueError
        If there are fewer than two rows, or a price is not positive and finite.

    Examples
    --------
    >>> returns_of(np.array([[100.0], [101.0], [np.nan], [99.0]]))
    array([[0.01]])
    """
    if prices.ndim != 2 or len(prices) < 2:
        raise ValueError(f"returns need two rows of prices at least, was shape {prices.shape}")
    wrong = np.argwhere(~(np.isnan(prices) | ((prices > 0) & (prices < np.inf))))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(
            f"a price must be positive and finite, was {float(prices[row, column])!r} "
            f"in row {row + 1} of column {column + 1}"
        )
    returns: Floats = prices[1:] / prices[:-1] - 1
    return returns[~np.isnan(returns).all(axis=1)]


def check_returns(returns: Floats, names: Sequence[str] | None = None) -> None:
    """Refuse what has no covariance; `names` are the columns' for the message, else they are counted from 1.

    Raises
    ------
    ValueError
        If `returns` is not a table with a column, a value is infinite, a column has fewer than two values or all of
        them equal, or two columns have fewer than two rows in common.
    """
    if returns.ndim != 2 or returns.shape[1] == 0:
        raise ValueError(f"returns must be rows by assets, with one asset at least, was shape {returns.shape}")
    labels = [f"column {place + 1}" for place in range(returns.shape[1])] if names is None else list(names)
    if np.isinf(returns).any():
        row, place = np.argwhere(np.isinf(returns))[0]
        raise ValueError(f"{labels[place]}: a return must be finite, was {float(returns[row, place])!r}")
    missing = np.isnan(returns)
    if len(returns) > 1 and not missing.any() and not are_constant(returns).any():
        return
    for place, label in enumerate(labels):
        values = returns[~missing[:, place], place]
        if len(values) < 2:
            raise ValueError(f"{label}: {_counted(len(values), 'return')}, 2 are the least that vary; bring more rows")
        if is_constant(values):
            raise ValueError(f"{label}: all {len(values)} returns are {float(values[0])!r}, variance 0; leave it out")
    if not missing.any():
        return
    present = (~missing).astype(np.float64)
    common = present.T @ present
    if common.min() < 2:
        one, other = np.argwhere(common < 2)[0]
        raise ValueError(
            f"{labels[one]} and {labels[other]}: {_counted(int(common[one, other]), 'row')} in common, "
            "2 are the least that vary; leave one of them out"
        )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def sample_covariance(returns: Floats) -> Floats:
    """Return ``sum((x - mean x)(y - mean y)) / (n - 1)`` for each pair, over the `n` rows which both have.

    In units of the returns squared, over the time of one row. With missing values the whole need not be positive
    definite, for each entry rests on rows of its own.

    Raises
    ------
    ValueError
        As `check_returns` says.
    """
    check_returns(returns)
    count, cross, _ = _pairwise(returns)
    return cross / (count - 1)


def correlation(returns: Floats) -> Floats:
    """Return Pearson's correlation for each pair, over the rows which both have, in [-1, 1] with ones on the diagonal.

    Raises
    ------
    ValueError
        As `check_returns` says, or if an asset does not move in the rows it has in common with another.
    """
    check_returns(returns)
    return sample_moments(returns)[1]


def sample_moments(returns: Floats) -> tuple[Floats, Floats]:
    """Return `sample_covariance` and `correlation` by one pass over returns that `check_returns` has let pass."""
    count, cross, square = _pairwise(returns)
    still = np.argwhere(~(square > 0))
    if len(still):
        one, other = still[0]
        raise ValueError(
            f"column {one + 1} does not move in the rows it has in common with column {other + 1}: no correlation"
        )
    found: Floats = np.clip(cross / np.sqrt(square * square.T), -1.0, 1.0)
    np.fill_diagonal(found, 1.0)
    return cross / (count - 1), found


def _pairwise(returns: Floats) -> tuple[Floats, Floats, Floats]:
    """Return for each pair: rows in common, the centred sum of products, and the row asset's centred sum of squares."""
    missing = np.isnan(returns)
    if not missing.any():
        centred = returns - returns.mean(axis=0)
        cross = centred.T @ centred
        shape = cross.shape
        return np.full(shape, float(len(returns))), cross, np.broadcast_to(np.diag(cross)[:, None], shape)
    mask = (~missing).astype(np.float64)
    # Centred by its own mean first, so that what is taken off again for the rows in common is small.
    centred = np.where(missing, 0.0, returns - np.nanmean(returns, axis=0))
    count = mask.T @ mask
    total = centred.T @ mask  # of the row's asset, in the rows where the column's asset is present
    cross = centred.T @ centred - total * total.T / count
    square = (centred**2).T @ mask - total**2 / count
    return count, (cross + cross.T) / 2, square


def ewma_covariance(returns: Floats, *, decay: float = 0.94) -> Floats:
    """Return ``sum(w x y) / sum(w)`` with ``w = decay**age``, the newest row of age 0 and the mean taken as zero.

    The exponentially weighted covariance of RiskMetrics [1]_, whose `decay` (its lambda) is 0.94 for days and 0.97 for
    months. Weights are divided by their sum, so a short history is not drawn toward zero; a pair is judged by the rows
    which both have.

    Raises
    ------
    ValueError
        If `decay` is outside (0, 1), or as `check_returns` says.

    References
    ----------
    .. [1] J.P. Morgan/Reuters, "RiskMetrics - Technical Document", 4th ed., 1996, section 5.2.
    """
    check_returns(returns)
    weights = decay_weights(len(returns), decay)[:, None]
    present = ~np.isnan(returns)
    mask, values = present.astype(np.float64), np.where(present, returns, 0.0)
    weight = mask.T @ (weights * mask)
    # A pair whose rows are so old that their weights vanish in floating point has no weighted mean.
    faded = np.argwhere(~(weight > 0))
    if len(faded):
        one, other = faded[0]
        raise ValueError(
            f"columns {one + 1} and {other + 1}: their rows in common are too old for a decay of {decay!r}"
        )
    found: Floats = values.T @ (weights * values) / weight
    return (found + found.T) / 2


def decay_weights(count: int, decay: float) -> Floats:
    """Return ``decay**age`` for `count` rows, the oldest first.

    Raises
    ------
    ValueError
        If `decay` is outside (0, 1).
    """
    check_decay(decay)
    found: Floats = decay ** np.arange(count - 1, -1, -1, dtype=np.float64)
    return found


def ledoit_wolf(returns: Floats) -> Shrunk:
    """Return the covariance shrunk toward ``m I`` by the share that is best for large samples [1]_.

    With `S` the covariance that divides by `n`, `p` assets and ``m = trace(S) / p``::

        d = |S - m I|^2 / p         b = min(d, sum_t |x_t x_t' - S|^2 / (n^2 p))         (|.| is Frobenius' norm)
        shrinkage = b / d           covariance = (1 - shrinkage) S + shrinkage m I

    This is scikit-learn's `LedoitWolf`. Only rows without a missing value count: a covariance put together from pairs
    is no sample of anything that `b` could judge. A single asset is not shrunk.

    Raises
    ------
    ValueError
        If fewer than two rows have no missing value, or as `check_returns` says of them.

    References
    ----------
    .. [1] O. Ledoit, M. Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", Journal of
       Multivariate Analysis 88, 2004, p. 365.
    """
    if returns.ndim != 2:
        raise ValueError(f"returns must be rows by assets, was shape {returns.shape}")
    whole = returns[~np.isnan(returns).any(axis=1)]
    if len(whole) < 2:
        raise ValueError(f"{len(whole)} of {len(returns)} rows have no missing value, 2 are the least that vary")
    check_returns(whole)
    rows, assets = whole.shape
    centred = whole - whole.mean(axis=0)
    sample = centred.T @ centred / rows
    mean = float(np.trace(sample)) / assets
    distance = float(np.sum((sample - mean * np.eye(assets)) ** 2)) / assets
    # |x x' - S|^2 summed over the rows is sum((x'x)^2) - n |S|^2.
    spread = float(np.sum(np.sum(centred**2, axis=1) ** 2)) - rows * float(np.sum(sample**2))
    error = max(0.0, min(distance, spread / (rows**2 * assets)))
    shrinkage = error / distance if error > 0 else 0.0
    return Shrunk((1 - shrinkage) * sample + shrinkage * mean * np.eye(assets), shrinkage, rows)
