"""The limits of one instrument in its portfolio, as shares of equity: how much of each others use, and what is left.

Knows fractions and parameters; nothing of edges, streams or money. A position is signed, and so is what it may become.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from edgefleet.instruments import AssetClass
from edgefleet.messages import Refusal
from edgefleet.params.schema.risk import RiskParams
from edgefleet.risk.horizons import days_of
from edgefleet.risk.var import ES_TAIL, Z_95, calendar_of


class Limit(msgspec.Struct, frozen=True, gc=False):
    """A limit on size: `used = others + |fraction|` must not exceed `cap`."""

    name: str
    refusal: Refusal
    cap: float
    aim: float  # what sizing aims at, <= cap
    others: float = 0.0

    def used(self, fraction: float) -> float:
        """Return how much is used with the signed `fraction` of equity held here."""
        return self.others + abs(fraction)

    def room(self, sign: int) -> float:
        """Return the largest size, on the side of `sign`, that keeps to the aim, at least 0; NaN anywhere gives 0."""
        left = self.aim - self.others
        return left if left > 0 else 0.0

    def head_room(self, fraction: float) -> float:
        """Return what is left with `fraction` held, as a fraction of the limit; negative where it is exceeded."""
        used = self.used(fraction)
        if self.cap > 0:
            return (self.cap - used) / self.cap
        return -1.0 if used > 0 else 0.0

    def adds(self, fraction: float) -> bool:
        """Return whether a little more of the position would be more of what is limited."""
        return True


class NetLimit(Limit, frozen=True, gc=False):
    """A limit on what longs and shorts come to together: the others may be anywhere from `low` to `high`."""

    low: float = 0.0
    high: float = 0.0

    def used(self, fraction: float) -> float:
        """Return the larger of what may be long and what may be short."""
        up, down = self.high + fraction, -(self.low + fraction)
        return up if up >= down else down if down > up else math.nan

    def room(self, sign: int) -> float:
        """Return the largest size that keeps to the aim; on the side that brings the net back, more."""
        left = self.aim - self.high if sign > 0 else self.aim + self.low
        return left if left > 0 and self.low <= self.high else 0.0


class ChangeLimit(Limit, frozen=True, gc=False):
    """A limit on how far one target may be from what is held."""

    held: float = 0.0

    def used(self, fraction: float) -> float:
        """Return what is added to what is held; the way back to zero is nobody's risk."""
        return max(abs(fraction) - max(math.copysign(1.0, fraction) * self.held, 0.0), 0.0)

    def room(self, sign: int) -> float:
        """Return the largest size one change may reach."""
        left = self.aim + max(sign * self.held, 0.0)
        return left if left > 0 else 0.0


class VarLimit(Limit, frozen=True, gc=False):
    """A limit on `scale` times a day's deviation of the whole portfolio.

    The others are a part whose correlations are known, of variance `variance` and covariance `covariance` with a unit
    of this instrument, and a part that counts by its sum, `linear`: orders that may or may not fill, and instruments
    whose correlations are not known. Deviations are no larger than their sum [1]_, so the true deviation is never above
    what is used here.

    References
    ----------
    .. [1] P. Artzner et al., "Coherent Measures of Risk", Mathematical Finance 9, 1999 (subadditivity).
    """

    scale: float = 1.0
    unit: float = 0.0  # a day's deviation of the instrument's return
    variance: float = 0.0
    covariance: float = 0.0
    linear: float = 0.0

    def used(self, fraction: float) -> float:
        """Return `scale * (deviation of the correlated part + the rest)`."""
        square = self.variance + fraction * (2 * self.covariance + fraction * self.unit * self.unit)
        return self.scale * (math.sqrt(square if square > 0 else 0.0 * square) + self.linear)

    def room(self, sign: int) -> float:
        """Return the largest size whose use is not above the aim; 0 where the others alone are.

        The use is convex in the size, so every smaller size keeps to the aim as well: rounding down is safe, also for a
        hedge.
        """
        bound = self.aim / self.scale - self.linear
        return _room_of_risk(bound, self.variance, sign * self.covariance, self.unit * self.unit)

    def adds(self, fraction: float) -> bool:
        """Return whether a little more of the position would be more of what is limited; of a hedge it is less."""
        sign = 1 if fraction > 0 else -1
        return not sign * self.covariance + abs(fraction) * self.unit * self.unit < 0


class FleetLimit(Limit, frozen=True, gc=False, kw_only=True):
    """A limit of the whole fleet, asked in shares of the equity of the instrument's own account.

    What is used, the cap and the aim are shares of the equity of all accounts; room is one of the account's own.
    """

    of_all: Limit
    weight: float  # equity of the account / equity of all

    def used(self, fraction: float) -> float:
        """Return how much of all equity is used with `fraction` of the account's held here."""
        return self.of_all.used(fraction * self.weight)

    def room(self, sign: int) -> float:
        """Return the largest size that keeps to the aim, as a share of the account's equity."""
        return self.of_all.room(sign) / self.weight

    def adds(self, fraction: float) -> bool:
        """Return whether a little more of the position would be more of what is limited."""
        return self.of_all.adds(fraction * self.weight)


class Beside(msgspec.Struct, frozen=True, gc=False):
    """What the others of a portfolio may have come to hold, as fractions of equity, each at its worst."""

    gross: float = 0.0
    in_class: float = 0.0
    in_sector: float = 0.0
    in_cluster: float = 0.0
    low: float = 0.0  # net of longs and shorts
    high: float = 0.0
    variance: float = 0.0  # of a day, of those whose correlations are known
    covariance: float = 0.0  # of a day, with a unit of this instrument
    linear: float = 0.0  # a day's deviations that add up: unknown correlations, orders that may fill
    pull: float = 0.0  # covariance of the wanted positions with a unit of this instrument, per unit of its deviation
    pull_linear: float = 0.0  # deviations of wanted positions whose correlation with it is not known


NOBODY = Beside()  # no other instrument is there


class Cap(msgspec.Struct, frozen=True, gc=False):
    """One cap and what sizing aims at below it."""

    name: str
    refusal: Refusal
    cap: float
    aim: float

    def parts(self) -> tuple[str, Refusal, float, float]:
        """Return what a limit of it begins with."""
        return self.name, self.refusal, self.cap, self.aim


class Caps(msgspec.Struct, frozen=True, gc=False):
    """What the parameters say of an instrument's limits: name, refusal, cap and aim of each."""

    alone: tuple[Limit, ...]  # on the instrument by itself
    order: Cap
    in_class: tuple[Cap, ...]
    in_sector: Cap | None
    cluster: Cap
    gross: tuple[Cap, ...]
    net: Cap
    risk: tuple[tuple[Cap, float], ...]  # with the factor on a day's deviation
    aim_fraction: float

    def aimed(self) -> float:
        """Return the aimed share of equity of the instrument when nothing else is held: what size steps divide."""
        return min(*(one.aim for one in self.alone), self.in_class[0].aim)

    def tightest(self) -> Caps:
        """Return the ones that can bind: of limits on the same number the tightest, and of those on risk by its factor.

        Of two with the same room the first stays, so `Limits` tells the same with either.
        """
        risk = tuple(
            dict.fromkeys(
                (
                    min(self.risk, key=lambda one: one[0].aim / one[1]),
                    min(self.risk, key=lambda one: one[0].cap / one[1]),
                )
            )
        )
        return msgspec.structs.replace(
            self,
            alone=(min(self.alone, key=lambda one: one.aim),),
            in_class=(min(self.in_class, key=lambda one: one.aim),),
            gross=(min(self.gross, key=lambda one: one.aim),),
            risk=tuple(one for one in self.risk if one in risk),
        )


class Limits:
    """Every limit of one instrument, in the order in which they are applied.

    Verdicts ask how much room is left and whether all hold, which takes the numbers of the few that can bind and no
    `Limit`. Those are made where one is named, and all of them where a verdict is told.
    """

    __slots__ = ("_all", "_beside", "_budget", "_caps", "_deviation", "_down", "_fleet", "_held", "_up")

    def __init__(
        self,
        caps: tuple[Caps, Caps],
        deviation: float | None,
        beside: Beside,
        held: float,
        budget: float | None,
        fleet: tuple[FleetLimit, ...] = (),
    ) -> None:
        self._fleet = fleet  # of all accounts, where there is more than one
        self._caps, self._deviation = caps, deviation or 0.0
        self._beside, self._held, self._budget = beside, held, budget
        self._all: tuple[Limit, ...] | None = None
        self._up: float | None = None
        self._down: float | None = None

    @property
    def each(self) -> tuple[Limit, ...]:
        """Return all of them."""
        found = self._all
        if found is None:
            found = self._all = self._made(self._caps[0])
        return found

    def room(self, sign: int) -> float:
        """Return the least room that a limit leaves for its aim on the side of `sign`."""
        found = self._up if sign > 0 else self._down
        if found is None:
            found = self._room(sign)
            if sign > 0:
                self._up = found
            else:
                self._down = found
        return found

    def tightest(self, sign: int) -> tuple[Limit, float]:
        """Return the limit that leaves least room on the side of `sign`, of equals the first, and that."""
        return least_room(self._made(self._caps[1]), sign)

    def hold(self, fraction: float) -> bool:
        """Return whether `fraction` exceeds none of them; with NaN anywhere it does."""
        few, beside, size = self._caps[1], self._beside, abs(fraction)
        held = self._held if fraction > 0 else -self._held
        sector, budget = few.in_sector, self._budget
        return (
            size <= few.alone[0].cap
            and size - (0.0 if held <= 0 else held) <= few.order.cap
            and beside.in_class + size <= few.in_class[0].cap
            and (sector is None or beside.in_sector + size <= sector.cap)
            and beside.in_cluster + size <= few.cluster.cap
            and beside.gross + size <= few.gross[0].cap
            and beside.high + fraction <= few.net.cap
            and -(beside.low + fraction) <= few.net.cap
            and (budget is None or size <= budget)
            and self._risk_holds(fraction)
            and not [limit for limit in self._fleet if not limit.used(fraction) <= limit.cap]
        )

    def first_broken(self, fraction: float) -> Limit | None:
        """Return the first limit that `fraction` exceeds, None where all hold; NaN holds nowhere."""
        if self.hold(fraction):
            return None
        for limit in self._made(self._caps[1]):
            if not limit.used(fraction) <= limit.cap:
                return limit
        return None

    def _made(self, caps: Caps) -> tuple[Limit, ...]:
        return limits_for(caps, self._deviation, self._beside, self._held, self._budget) + self._fleet

    def _room(self, sign: int) -> float:
        few, beside, held = self._caps[1], self._beside, sign * self._held
        alone = few.alone[0].aim
        order = few.order.aim + (0.0 if held <= 0 else held)
        in_class = few.in_class[0].aim - beside.in_class
        cluster = few.cluster.aim - beside.in_cluster
        gross = few.gross[0].aim - beside.gross
        net = few.net.aim - beside.high if sign > 0 else few.net.aim + beside.low
        least, total = (
            min(alone, order, in_class, cluster, gross, net),
            alone + order + in_class + cluster + gross + net,
        )
        if few.in_sector is not None:
            sector = few.in_sector.aim - beside.in_sector
            least, total = min(least, sector), total + sector
        if self._budget is not None:
            budget = few.aim_fraction * self._budget
            least, total = min(least, budget), total + budget
        # A sum is NaN where one of its parts is, and `min` may not tell.
        if not (least > 0 and total > 0 and beside.low <= beside.high):
            return 0.0
        deviation = self._deviation
        towards, square = sign * (beside.covariance * deviation), deviation * deviation
        for cap, scale in few.risk:
            room = _room_of_risk(cap.aim / scale - beside.linear, beside.variance, towards, square)
            if room < least:
                least = room
        for limit in self._fleet:
            room = limit.room(sign)
            if room < least:
                least = room
        return least

    def _risk_holds(self, fraction: float) -> bool:
        beside, deviation = self._beside, self._deviation
        covariance = beside.covariance * deviation
        square = beside.variance + fraction * (2 * covariance + fraction * deviation * deviation)
        used = math.sqrt(square if square > 0 else 0.0 * square) + beside.linear
        return not [cap for cap, scale in self._caps[1].risk if not scale * used <= cap.cap]


def _room_of_risk(bound: float, variance: float, towards: float, square: float) -> float:
    """Return the largest size whose deviation, beside others of `variance`, is not above `bound`, at least 0."""
    spare = bound * bound - variance
    if not (bound > 0 and spare > 0):
        return 0.0
    if square == 0:
        return math.inf
    # The positive root of unit^2 f^2 + 2 towards f - spare, in the form that does not cancel.
    root = math.sqrt(towards * towards + square * spare)
    found = spare / (root + towards) if towards >= 0 else (root - towards) / square
    return found if found > 0 else 0.0


def least_room(limits: Sequence[Limit], sign: int) -> tuple[Limit, float]:
    """Return the limit that leaves least room on the side of `sign`, of equals the first, and its room."""
    binding, least = limits[0], math.inf
    for limit in limits:
        room = limit.room(sign)
        if room < least:
            binding, least = limit, room
    return binding, least


def caps_of(asset_class: AssetClass, sector: str, params: RiskParams) -> Caps:
    """Return the caps on a position of this class and sector. A class without a cap of its own has a cap of zero."""
    sizing, bounds = params.position_sizing, params.risk_limits
    groups, exposure = bounds.concentration_limits, bounds.exposure_limits
    aim = sizing.aim_fraction

    def cap(name: str, refusal: Refusal, most: float) -> Cap:
        return Cap(name, refusal, most, aim * most)

    position = Refusal.POSITION_LIMIT
    own = cap("position", position, sizing.max_position_pct.get(asset_class, 0.0))
    return Caps(
        alone=tuple([Limit(*one.parts()) for one in (own, cap("single", position, groups.single))]),
        order=cap("order_size", Refusal.ORDER_LIMIT, bounds.order_limits.max_order_pct),
        in_class=(
            cap("leverage", Refusal.LEVERAGE_LIMIT, sizing.max_leverage.get(asset_class, 0.0)),
            cap("class", position, groups.class_),
        ),
        in_sector=None if sector == "none" else cap("sector", position, groups.sector),
        cluster=cap("cluster", Refusal.CORRELATION_LIMIT, bounds.max_correlation_exposure),
        gross=(cap("venue", position, exposure.venue), cap("gross", position, exposure.gross)),
        net=cap("net", position, exposure.net),
        risk=_risk_caps(asset_class, params),
        aim_fraction=aim,
    )


def _risk_caps(asset_class: AssetClass, params: RiskParams) -> tuple[tuple[Cap, float], ...]:
    """Return each limit on the portfolio's loss, with its factor on a day's deviation.

    The weekly and monthly values at risk scale by the root of the calendar's days. They are targets that sizing aims
    at; the one hard limit is the daily, so theirs is the same deviation over their horizon.
    """
    bounds = params.risk_limits
    targets, hard, shortfall = bounds.var_targets, bounds.var_hard_limit, bounds.expected_shortfall
    calendar = calendar_of(asset_class)
    week, month = math.sqrt(days_of("1w", calendar)), math.sqrt(days_of("1m", calendar))
    var = Refusal.VAR_LIMIT
    return (
        (Cap("var", var, hard, targets.daily_95pct), Z_95),
        (Cap("var_week", var, hard * week, min(targets.weekly_95pct, hard * week)), Z_95 * week),
        (Cap("var_month", var, hard * month, min(targets.monthly_95pct, hard * month)), Z_95 * month),
        (Cap("es", Refusal.ES_LIMIT, shortfall.hard_limit, shortfall.target), ES_TAIL),
    )


def limits_for(caps: Caps, deviation: float, beside: Beside, held: float, budget: float | None) -> tuple[Limit, ...]:
    """Return the limits of `caps` beside the others, in the order in which they are applied.

    `deviation` is that of the instrument's daily return; where it is not known it is 0 and the value at risk that of
    the others alone, which is right for closing and for nothing else. `held` is the position now, `budget` the share of
    equity that allocation leaves to the instrument.
    """
    found = [*caps.alone, ChangeLimit(*caps.order.parts(), 0.0, held)]
    found += [Limit(*cap.parts(), beside.in_class) for cap in caps.in_class]
    if caps.in_sector is not None:
        found.append(Limit(*caps.in_sector.parts(), beside.in_sector))
    found.append(Limit(*caps.cluster.parts(), beside.in_cluster))
    found += [Limit(*cap.parts(), beside.gross) for cap in caps.gross]
    found.append(NetLimit(*caps.net.parts(), 0.0, beside.low, beside.high))
    if budget is not None:
        found.append(Limit("budget", Refusal.BUDGET_LIMIT, budget, caps.aim_fraction * budget))
    covariance = beside.covariance * deviation
    found += [
        VarLimit(*cap.parts(), 0.0, scale, deviation, beside.variance, covariance, beside.linear)
        for cap, scale in caps.risk
    ]
    return tuple(found)


class FleetCaps(msgspec.Struct, frozen=True, gc=False):
    """What the parameters say of all accounts together."""

    gross: Cap
    net: Cap
    risk: tuple[tuple[Cap, float], ...]  # with the factor on a day's deviation
    max_drawdown: float


def fleet_caps_of(params: RiskParams) -> FleetCaps:
    """Return the caps on what all accounts hold together."""
    whole, aim = params.fleet_limits, params.position_sizing.aim_fraction
    position, shortfall = Refusal.POSITION_LIMIT, whole.expected_shortfall
    return FleetCaps(
        gross=Cap("fleet_gross", position, whole.gross, aim * whole.gross),
        net=Cap("fleet_net", position, whole.net, aim * whole.net),
        risk=(
            (Cap("fleet_var", Refusal.VAR_LIMIT, whole.var_hard_limit, whole.var_target), Z_95),
            (Cap("fleet_es", Refusal.ES_LIMIT, shortfall.hard_limit, shortfall.target), ES_TAIL),
        ),
        max_drawdown=whole.max_drawdown,
    )


def fleet_limits_for(caps: FleetCaps, deviation: float, beside: Beside, weight: float) -> tuple[FleetLimit, ...]:
    """Return the limits on all accounts for an instrument whose account is `weight` of all equity.

    `beside` is what all others of the fleet come to, as fractions of all equity.
    """
    covariance = beside.covariance * deviation
    found = [
        Limit(*caps.gross.parts(), beside.gross),
        NetLimit(*caps.net.parts(), 0.0, beside.low, beside.high),
        *[
            VarLimit(*cap.parts(), 0.0, scale, deviation, beside.variance, covariance, beside.linear)
            for cap, scale in caps.risk
        ],
    ]
    return tuple([FleetLimit(one.name, one.refusal, one.cap, one.aim, of_all=one, weight=weight) for one in found])
