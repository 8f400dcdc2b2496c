"""How equity is shared out between a venue's instruments before any edge is known. Moves no position by itself.

A budget is a limit of its instrument. Budgets follow the covariance of what the market did, by the rebalancer's rules:
inside the band they stay, a look moves no more than the turnover cap, and small moves are not made.
"""

from __future__ import annotations

import math

from edgefleet.clock import NS_PER_S
from edgefleet.params.schema.risk import AllocationParams, RiskParams
from edgefleet.risk.exposures import Correlations
from edgefleet.risk.rebalance import rebalance
from edgefleet.risk.state import RiskState, believed


def refresh_budgets(
    state: RiskState, venue: str, correlations: Correlations | None, ts: int, params: RiskParams
) -> None:
    """Look at the venue's budgets where that is due. Without two instruments that are known together there are none."""
    allocation = params.allocation
    mine = {name: budget for name, budget in state.budgets.items() if name.rpartition("@")[2] == venue}
    if correlations is None or len(correlations.at) < 2 or allocation.method == "none" or not all(correlations.known):
        for name in mine:
            del state.budgets[name]
        return
    if mine and ts - state.budgets_at[venue] < allocation.refresh_s * NS_PER_S:
        return
    wanted = _wanted(state, correlations, params)
    if wanted is None:
        return
    state.budgets_at[venue] = ts
    if mine.keys() != wanted.keys():
        mine = wanted  # the first look, or instruments came: there is nothing to move from
    moved = rebalance(
        mine,
        wanted,
        band=allocation.band,
        turnover_cap=allocation.turnover_cap * allocation.gross,
        min_move=allocation.min_move,
    )
    state.budgets.update(moved.targets)


def _wanted(state: RiskState, correlations: Correlations, params: RiskParams) -> dict[str, float] | None:
    """Return the shares of equity that the covariance asks for, None where it has no answer yet."""
    variances = [believed(state.desks[name], params) for name in correlations.at]
    if any(variance is None for variance in variances):
        return None
    deviations = [math.sqrt(variance) for variance in variances if variance is not None]
    try:
        shares = _shares(correlations, deviations, params.allocation)
    except ValueError:  # two that cancel each other out have no risk to share out by
        return None
    return {name: share * params.allocation.gross for name, share in zip(correlations.at, shares, strict=True)}


def _shares(correlations: Correlations, deviations: list[float], allocation: AllocationParams) -> list[float]:
    import numpy as np  # where there are correlations it is loaded already; a fleet of one instrument spares it

    from edgefleet.risk.allocation import inverse_variance, parity

    covariance = correlations.table * np.multiply.outer(deviations, deviations)
    if allocation.method == "hrp":
        found: list[float] = parity(covariance, correlations.table, convention=allocation.convention).weights.tolist()
    else:
        found = inverse_variance(covariance).tolist()
    return found
