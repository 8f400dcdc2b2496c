"""The limits of one instrument in its portfolio, as shares of equity: how much of each others use, and what is left.

Knows fractions and parameters; nothing of edges, streams or money.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from edgefleet.instruments import AssetClass
from edgefleet.messages import Refusal
from edgefleet.params.schema.risk import RiskParams
from edgefleet.risk.var import SECONDS_PER_DAY, Z_95


class Holding(msgspec.Struct, frozen=True, gc=False):
    """What another instrument may have come to hold."""

    fraction: float  # of equity, at its worst, >= 0
    asset_class: AssetClass
    sector: str
    day_deviation: float  # of one day's return


class Limit(msgspec.Struct, frozen=True, gc=False):
    """One limit as a position meets it: `used = others + unit * |fraction|` must not exceed `cap`."""

    name: str
    refusal: Refusal
    cap: float
    aim: float  # what sizing aims at, <= cap
    others: float
    unit: float = 1.0

    def used(self, fraction: float) -> float:
        """Return how much is used with `fraction` of equity held here."""
        return self.others + self.unit * abs(fraction)

    def allows(self, fraction: float) -> bool:
        """Return whether the limit holds with `fraction` held; with NaN it does not."""
        return self.used(fraction) <= self.cap

    def room(self) -> float:
        """Return the largest fraction that keeps to the aim, at least 0; NaN in any number gives 0."""
        left = (self.aim - self.others) / self.unit if self.unit > 0 else math.inf
        return left if left > 0 else 0.0

    def head_room(self, fraction: float) -> float:
        """Return what is left with `fraction` held, as a fraction of the limit; negative where it is exceeded."""
        used = self.used(fraction)
        if self.cap > 0:
            return (self.cap - used) / self.cap
        return -1.0 if used > 0 else 0.0


class Limits(msgspec.Struct, frozen=True, gc=False):
    """Every limit of one instrument, in the order in which they are applied, and the one that binds."""

    each: tuple[Limit, ...]
    tightest: Limit
    room: float  # of the tightest

    @classmethod
    def of(cls, each: tuple[Limit, ...]) -> Limits:
        """Return the limits and the tightest of them."""
        binding = tightest(each)
        return cls(each, binding, binding.room())


def day_deviation(per_second: float) -> float:
    """Return the standard deviation of a day's return from the variance of a second's."""
    return math.sqrt(per_second * SECONDS_PER_DAY)


def limits_for(
    asset_class: AssetClass, sector: str, deviation: float | None, others: Iterable[Holding], params: RiskParams
) -> tuple[Limit, ...]:
    """Return every limit that a position of this class and sector meets, in the order in which they are applied.

    `deviation` is that of the instrument's daily return; where it is None the VaR is that of the others alone, which is
    right for closing and for nothing else. The VaR of positions is the sum of theirs, that is correlations of one in
    the bad direction: no covariance makes it larger, so the limit holds whatever the correlations are.
    A class without a cap of its own has a cap of zero.
    """
    sizing, bounds = params.position_sizing, params.risk_limits
    caps = bounds.concentration_limits
    in_class = in_sector = at_risk = 0.0
    for other in others:
        at_risk += other.fraction * other.day_deviation
        if other.asset_class == asset_class:
            in_class += other.fraction
        if other.sector == sector:
            in_sector += other.fraction
    aim = sizing.aim_fraction
    own = sizing.max_position_pct.get(asset_class, 0.0)
    leverage = sizing.max_leverage.get(asset_class, 0.0)
    found = [
        Limit("position", Refusal.POSITION_LIMIT, own, aim * own, 0.0),
        Limit("single", Refusal.POSITION_LIMIT, caps.single, aim * caps.single, 0.0),
        Limit("leverage", Refusal.LEVERAGE_LIMIT, leverage, aim * leverage, in_class),
        Limit("class", Refusal.POSITION_LIMIT, caps.class_, aim * caps.class_, in_class),
    ]
    if sector != "none":
        found.append(Limit("sector", Refusal.POSITION_LIMIT, caps.sector, aim * caps.sector, in_sector))
    target, hard = bounds.var_targets.daily_95pct, bounds.var_hard_limit
    found.append(Limit("var", Refusal.VAR_LIMIT, hard, target, Z_95 * at_risk, Z_95 * (deviation or 0.0)))
    return tuple(found)


def static_cap(asset_class: AssetClass, params: RiskParams) -> float:
    """Return the aimed share of equity of one instrument when nothing else is held: what size steps divide."""
    sizing = params.position_sizing
    own = sizing.max_position_pct.get(asset_class, 0.0)
    leverage = sizing.max_leverage.get(asset_class, 0.0)
    return sizing.aim_fraction * min(own, leverage, params.risk_limits.concentration_limits.single)


def first_broken(limits: Sequence[Limit], fraction: float) -> Limit | None:
    """Return the first limit that `fraction` exceeds, None where all hold."""
    for limit in limits:
        if not limit.used(fraction) <= limit.cap:  # `allows`, without its call: this runs with every ensemble
            return limit
    return None


def tightest(limits: Sequence[Limit]) -> Limit:
    """Return the limit that leaves least room for its aim; of equals the first."""
    return min(limits, key=Limit.room)
