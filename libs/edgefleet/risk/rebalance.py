"""From the weights that are held to those that are wanted, in steps that are worth their cost. Knows no prices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

from edgefleet.units import BPS

Reason = Literal["band", "min_move", "cost", "turnover_cap"]


class Rebalanced(NamedTuple):
    """What to hold next. Weights, moves and costs are signed shares of equity, as they came."""

    targets: dict[str, float]  # every name of both mappings; 0 where none is left
    turnover: float  # sum of |move|
    cost: float | None  # of the moves, a share of equity; None where a moved name has no cost
    held_back: dict[str, Reason]  # names that differ from what is wanted and do not move at all
    unchecked: tuple[str, ...]  # names that move though their cost or their variance is unknown, closings aside


class _Move(NamedTuple):
    name: str
    size: float  # |move|, were it made in full
    least: float  # the smallest part of it that may be made


def rebalance(
    now: Mapping[str, float],
    wanted: Mapping[str, float],
    *,
    band: float,
    turnover_cap: float,
    min_move: float,
    cost_bps: Mapping[str, float] | None = None,
    variance: Mapping[str, float] | None = None,
    risk_aversion: float = 1.0,
    regime_scale: float = 1.0,
) -> Rebalanced:
    """Return the next weights on the way from `now` to ``regime_scale * wanted``.

    A name moves to what is wanted of it, and not at all where, in this order,

    - it lies within `band` of it: ``|now - wanted| <= band * |wanted|``;
    - the move is below `min_move`;
    - it costs more than it brings: ``|move| * cost > risk_aversion / 2 * variance * move**2``, the loss of quadratic
      utility that the move ends, correlations aside [1]_. Who has no cost or no variance is not asked.

    A name that is wanted at 0, or no longer named, is closed whatever the move's size and cost. One that is not held
    starts from 0.

    Where the moves sum to more than `turnover_cap` one factor shortens all, but none that is no closing below
    `min_move`; where the cap has no room for so many, the smallest wait (ties in the order of names). So the cap is
    used in full while there is work for it, and calling again with the outcome never trades more than before. Between
    now and the target no weight overshoots.

    Parameters
    ----------
    now, wanted
        Signed shares of equity. Names come out in their order: those of `now`, then those only `wanted`.
    band
        A share of the wanted weight, in [0, 1): at 1 a new name would never be entered.
    turnover_cap
        Most that the moves may sum to in this call, zero or more; infinite is no cap.
    min_move
        A share of equity.
    cost_bps
        What trading costs per name, in bps of what is traded: fee and half the spread.
    variance
        Of each name's return over the time until the next rebalance.
    risk_aversion
        Of the quadratic utility; a full Kelly bettor's is 1.
    regime_scale
        In [0, 1]: how much of what is wanted the regime allows. It cannot turn a position around.

    Raises
    ------
    ValueError
        If a number is not finite or outside its range; the name and the number are told.

    Examples
    --------
    >>> rebalance({"A": 0.30, "B": 0.20}, {"A": 0.20, "B": 0.21}, band=0.1, turnover_cap=0.05, min_move=0.01).targets
    {'A': 0.25, 'B': 0.2}

    References
    ----------
    .. [1] W. Sun, A. Fan, L.-W. Chen, T. Schouwenaars, M. A. Albota, "Optimal Rebalancing for Institutional
       Portfolios", Journal of Portfolio Management 32(2), 2006: a rebalance is due where what being off the optimum
       costs exceeds what trading costs. They solve for all later periods; this is one period, name by name.
    """
    costs, variances = cost_bps or {}, variance or {}
    _check(now, wanted, costs, variances)
    if not 0 <= band < 1:
        raise ValueError(f"band must be in [0, 1), was {band!r}")
    if not turnover_cap >= 0:
        raise ValueError(f"turnover_cap must be 0 or more, was {turnover_cap!r}")
    if not 0 <= min_move < math.inf:
        raise ValueError(f"min_move must be 0 or more and finite, was {min_move!r}")
    if not 0 < risk_aversion < math.inf:
        raise ValueError(f"risk_aversion must be positive and finite, was {risk_aversion!r}")
    if not 0 <= regime_scale <= 1:
        raise ValueError(f"regime_scale must be in [0, 1], was {regime_scale!r}")

    targets = {name: now.get(name, 0.0) for name in dict.fromkeys((*now, *wanted))}
    goals = {name: regime_scale * wanted.get(name, 0.0) + 0.0 for name in targets}  # + 0.0: no minus zero
    held_back: dict[str, Reason] = {}
    moves: list[_Move] = []
    for name, goal in goals.items():
        size = abs(goal - targets[name])
        if size == 0:
            continue
        if goal == 0:
            moves.append(_Move(name, size, 0.0))
        elif size <= band * abs(goal):
            held_back[name] = "band"
        elif size < min_move:
            held_back[name] = "min_move"
        elif _costs_more(size, costs.get(name), variances.get(name), risk_aversion):
            held_back[name] = "cost"
        else:
            moves.append(_Move(name, size, min_move))

    parts = _within(moves, turnover_cap)
    for move in moves:
        part, here, goal = parts.get(move.name, 0.0), targets[move.name], goals[move.name]
        if part == 0:
            held_back[move.name] = "turnover_cap"
        else:
            targets[move.name] = goal if part == move.size else here + math.copysign(part, goal - here)
    moved = {name: part for name, part in parts.items() if part}
    return Rebalanced(
        targets=targets,
        turnover=math.fsum(moved.values()),
        cost=math.fsum(p * costs[n] / BPS for n, p in moved.items()) if all(name in costs for name in moved) else None,
        held_back=held_back,
        unchecked=tuple(name for name in moved if goals[name] and not (name in costs and name in variances)),
    )


def _costs_more(size: float, cost_bps: float | None, variance: float | None, risk_aversion: float) -> bool:
    if cost_bps is None or variance is None:
        return False
    return size * cost_bps / BPS > risk_aversion / 2 * variance * size * size


def _within(moves: list[_Move], cap: float) -> dict[str, float]:
    """Return how far each goes when together they may go no farther than `cap`; who is not named waits."""
    if math.fsum(move.size for move in moves) <= cap:
        return {move.name: move.size for move in moves}
    # Closings have no least part, so all stay; of the others, as many of the largest as the cap holds at their least.
    kept = [move for move in moves if move.least == 0]
    for move in sorted((move for move in moves if move.least > 0), key=lambda move: -move.size):
        if math.fsum((*(one.least for one in kept), move.least)) <= cap:
            kept.append(move)
    # Whom one factor would shorten below the least part moves by that part, and the factor for the rest is found anew.
    parts = {move.name: move.least for move in kept}
    scaled, room = kept, cap
    while scaled:
        factor = min(1.0, room / math.fsum(move.size for move in scaled))
        whole = [move for move in scaled if factor * move.size >= move.least]
        if len(whole) == len(scaled):
            return parts | {move.name: factor * move.size for move in scaled}
        scaled = whole
        room = cap - math.fsum(move.least for move in kept if move not in whole)
    return parts


def _check(
    now: Mapping[str, float], wanted: Mapping[str, float], costs: Mapping[str, float], variances: Mapping[str, float]
) -> None:
    for told, weights in (("now", now), ("wanted", wanted)):
        for name, weight in weights.items():
            if not -math.inf < weight < math.inf:
                raise ValueError(f"the weight of {name} {told} must be finite, was {weight!r}")
    for told, numbers in (("cost_bps", costs), ("variance", variances)):
        for name, number in numbers.items():
            if not 0 <= number < math.inf:
                raise ValueError(f"{told} of {name} must be 0 or more and finite, was {number!r}")
