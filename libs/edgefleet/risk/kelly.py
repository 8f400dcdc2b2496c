"""How much of one's equity a bet deserves. Knows returns and variances; no prices, no limits."""

from __future__ import annotations

import math
from collections.abc import Sequence


def kelly_fraction(edge: float, variance: float, *, share: float = 0.25) -> float:
    """Return the signed share of equity that grows wealth fastest, scaled by `share`.

    With log-growth ``g(f) = f * edge - f**2 * variance / 2`` the peak is at ``f = edge / variance`` [1]_.

    Parameters
    ----------
    edge
        Expected return over the horizon, in excess of cash, as a fraction; 0.001 is 10 bps. The sign is the direction.
    variance
        Variance of that return over the same horizon, as a fraction squared.
    share
        How much of the full Kelly bet to take, in (0, 1].

    Raises
    ------
    ValueError
        If `edge` is not finite, `variance` is not a positive finite number, or `share` is outside (0, 1].

    Examples
    --------
    >>> kelly_fraction(0.001, 0.02, share=0.5)
    0.025

    References
    ----------
    .. [1] E. O. Thorp, "The Kelly Criterion in Blackjack, Sports Betting, and the Stock Market", Handbook of Asset and
       Liability Management, vol. 1, 2006.
    """
    if not math.isfinite(edge):
        raise ValueError(f"edge must be finite, was {edge!r}")
    if not 0 < variance < math.inf:
        raise ValueError(f"variance must be positive and finite, was {variance!r}")
    if not 0 < share <= 1:
        raise ValueError(f"share must be in (0, 1], was {share!r}")
    return share * edge / variance


def growth_rate(fraction: float, edge: float, variance: float, *, rate: float = 0.0) -> float:
    """Return the expected log-growth of wealth that holds `fraction` of itself in the bet and the rest at `rate`.

    ``g(f) = rate + f * edge - f**2 * variance / 2``, all over the same horizon, `edge` in excess of `rate`.

    Examples
    --------
    >>> round(growth_rate(1.0, 0.11 - 0.06, 0.15**2, rate=0.06), 5)
    0.09875
    """
    return rate + fraction * edge - fraction * fraction * variance / 2


def coin_fraction(win: float, *, odds: float = 1.0) -> float:
    """Return the share of wealth to bet on an event of probability `win` that pays `odds` to one; negative: against it.

    ``f = win - (1 - win) / odds``.

    Raises
    ------
    ValueError
        If `win` is outside (0, 1) or `odds` is not positive and finite.

    Examples
    --------
    >>> round(coin_fraction(0.53), 10)
    0.06
    """
    if not 0 < win < 1:
        raise ValueError(f"a probability of winning must be in (0, 1), was {win!r}")
    if not 0 < odds < math.inf:
        raise ValueError(f"odds must be positive and finite, were {odds!r}")
    return win - (1 - win) / odds


def coin_growth(fraction: float, win: float, *, odds: float = 1.0) -> float:
    """Return the expected log-growth per bet of `fraction` of wealth at `odds` to one."""
    return win * math.log1p(odds * fraction) + (1 - win) * math.log1p(-fraction)


def kelly_fractions(covariance: Sequence[Sequence[float]], edges: Sequence[float]) -> tuple[float, ...]:
    """Return the full Kelly shares ``C^-1 M`` of several assets, by Cholesky factors in pure floats.

    Raises
    ------
    ValueError
        If an edge is not finite, the shapes differ, `covariance` is not symmetric, or it is not positive definite.
    """
    size = len(edges)
    for edge in edges:
        if not math.isfinite(edge):
            raise ValueError(f"an edge must be finite, was {edge!r}")
    if len(covariance) != size or any(len(row) != size for row in covariance):
        raise ValueError(f"a covariance of {size} assets must be {size} x {size}")
    for i in range(size):
        for j in range(i):
            if not math.isclose(covariance[i][j], covariance[j][i], rel_tol=1e-9, abs_tol=1e-300):
                raise ValueError(f"covariance is not symmetric at {i},{j}: {covariance[i][j]!r}, {covariance[j][i]!r}")
    lower = cholesky(covariance)
    forward: list[float] = []
    for i in range(size):
        forward.append((edges[i] - math.fsum(lower[i][k] * forward[k] for k in range(i))) / lower[i][i])
    solved = [0.0] * size
    for i in reversed(range(size)):
        known = math.fsum(lower[k][i] * solved[k] for k in range(i + 1, size))
        solved[i] = (forward[i] - known) / lower[i][i]
    return tuple(solved)


def portfolio_growth_rate(
    fractions: Sequence[float], edges: Sequence[float], covariance: Sequence[Sequence[float]], *, rate: float = 0.0
) -> float:
    """Return the expected log-growth of wealth that holds `fractions` of itself in bets and the rest at `rate`.

    ``g(F) = rate + F'M - F'CF / 2``, all over the same horizon, the edges `M` in excess of `rate`.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if not len(fractions) == len(edges) == len(covariance):
        raise ValueError(f"{len(fractions)} fractions, {len(edges)} edges and {len(covariance)} rows do not fit")
    gain = math.fsum(f * m for f, m in zip(fractions, edges, strict=True))
    spread = math.fsum(
        f * g * c for f, row in zip(fractions, covariance, strict=True) for g, c in zip(fractions, row, strict=True)
    )
    return rate + gain - spread / 2


def cholesky(matrix: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return the lower factor of a symmetric matrix, by rows.

    Raises
    ------
    ValueError
        If it is not positive definite, with the pivot and what is on the diagonal there.
    """
    lower: list[list[float]] = []
    for i, row in enumerate(matrix):
        line: list[float] = []
        for j in range(i + 1):
            above = lower[j] if j < i else line
            rest = row[j] - math.fsum(line[k] * above[k] for k in range(j))
            if j < i:
                line.append(rest / lower[j][j])
            elif not rest > 1e-12 * abs(row[i]):
                raise ValueError(
                    f"covariance is not positive definite: pivot {i} is {rest!r} of {row[i]!r}; "
                    "shrink it, or leave an asset out"
                )
            else:
                line.append(math.sqrt(rest))
        lower.append(line)
    return lower
