"""What decisions on one instrument rest on as long as only opinions and targets change. Pure; knows no stream.

Between two beats, touches, fills, orders or commands thousands of ensembles may come. Nothing here depends on an
ensemble, on the time or on a standing target, so it is worked out once and asked often.
"""

from __future__ import annotations

import math
from decimal import Decimal

import msgspec

from edgefleet.book.sessions import closed_now
from edgefleet.messages import Refusal
from edgefleet.params.schema.risk import RiskParams
from edgefleet.risk.blend import trading_cost_bps
from edgefleet.risk.exposures import Exposures
from edgefleet.risk.fleet import Fleet, Over
from edgefleet.risk.limits import Beside, FleetLimit, Limits, fleet_limits_for
from edgefleet.risk.plan import RiskPlan, Terms
from edgefleet.risk.state import Desk, RiskState, believed, deviation_of, drawdown, position, unknown_quantity
from edgefleet.risk.verdict import No
from edgefleet.units import BPS, ZERO, to_decimal


class Ground(msgspec.Struct, frozen=True):
    """One instrument's market and account, all of it sound and fresh."""

    plan: RiskPlan
    terms: Terms
    bid: float
    ask: float
    equity: float
    drawdown: float
    cost_bps: float  # of what an edge must pay for
    variance: float | None  # of one second's return; None before it is believed
    deviation: float | None  # of a day's return, the same
    lag_ns: int | None  # newest beat minus newest watermark; None before the first watermark
    units: float  # base units held, signed
    barred: No | None  # why no position may be enlarged, whatever the edge
    beside: Beside  # what the other instruments of the account have come to
    limits: Limits
    share: float  # of the full Kelly bet, after what the drawdown leaves of it
    growth: float  # of a size that may be entered or grown to: what the breakers leave of it
    over: Over | None  # the whole fleet, where it has more than one account and each can be valued

    def tradable(self) -> Decimal:
        """Return the position in whole lots, zero where the venue would not take it."""
        if self.units == 0:
            return ZERO
        size = to_decimal(self.units, self.terms.lot)
        return size if self.terms.takes(abs(size), self.bid) else ZERO


class NoEquity(msgspec.Struct, frozen=True, gc=False):
    """The account is worth nothing that could be told; an opinion that is no number is told first."""

    no: No


class Own(msgspec.Struct, frozen=True):
    """What is so of one instrument whatever the touches are, its own and those of the others of its account."""

    terms: Terms
    variance: float | None
    deviation: float | None
    lag_ns: int | None
    units: float
    budget: float | None  # share of equity that allocation leaves to it
    growth: float
    reducing: No | None  # why nothing may be enlarged: what is said before a drawdown,
    barred: No | None  # what is said after it,
    unusual: No | None  # and what is said last


def own_of(state: RiskState, desk: Desk, plan: RiskPlan) -> Own | No:
    """Return what is so of the instrument by itself, or why nothing may be decided on it."""
    terms, params = plan.terms(desk.instrument), plan.params
    if isinstance(terms, No):
        return terms
    if state.trading == "HALTED":
        return No(Refusal.HALTED, detail=state.trading_reason)
    if desk.venue not in state.holdings:
        return No(Refusal.NO_ACCOUNT, detail=f"no balances of {plan.account} at {desk.venue} yet")
    if desk.is_cash:
        what = "it is priced for a rate alone" if desk.is_rate else f"the account at {desk.venue} counts in {desk.base}"
        return No(Refusal.ACCOUNT_ASSET, detail=f"{what}: {desk.base} is no position")
    closed = closed_now(terms.rules.asset_class, state.time)
    if closed is not None:
        return No(Refusal.MARKET_CLOSED, detail=closed)
    if desk.quarantined:
        return No(Refusal.QUARANTINED, detail="its market data is not believed at present")
    variance = believed(desk, params)
    beat, watermark = state.beat.get(desk.venue), state.watermark.get(desk.venue)
    return Own(
        terms,
        variance,
        None if variance is None else deviation_of(desk, variance),
        None if beat is None or watermark is None else beat - watermark,
        float(position(state, desk)),
        state.budgets.get(desk.instrument),
        state.watch.scale(desk.venue, desk.quote, params.breakers),
        None if state.trading == "ACTIVE" else No(Refusal.REDUCING, detail=state.trading_reason),
        _barred(state, desk),
        _restless(desk, params),
    )


def ground_of(
    state: RiskState,
    desk: Desk,
    plan: RiskPlan,
    exposures: Exposures,
    own: Own | No | None = None,
    fleet: Fleet | None = None,
) -> Ground | NoEquity | No:
    """Return what decisions on the instrument may rest on, or why there can be none; `own` is what `own_of` gives.

    `fleet` are all accounts where there is more than one.
    """
    if own is None:
        own = own_of(state, desk, plan)
    if isinstance(own, No):
        return own
    bid, ask = desk.bid, desk.ask
    if bid is None or ask is None or desk.age_ms is None:
        return No(Refusal.NO_TOUCH)
    unsound = _unsound_touch(bid, ask, desk.age_ms, plan.params.freshness.stale_after_ms)
    if unsound is not None:
        return unsound
    total = exposures.equity()
    if total is None:
        return NoEquity(No(Refusal.NO_TOUCH, detail="an asset of the account has no price"))
    if not -math.inf < total < math.inf:
        return NoEquity(No(Refusal.NOT_FINITE, input="equity"))
    fall = drawdown(state, desk.venue, desk.quote, total)
    if not total > 0:
        most = plan.params.risk_limits.max_drawdown
        return NoEquity(No(Refusal.DRAWDOWN, limit=most, observed=fall, detail=f"equity {total!r}"))
    trouble = exposures.first_trouble(desk.instrument)
    if trouble is not None:
        return NoEquity(trouble)
    over = None if fleet is None else fleet.over(desk, total)
    return _sound(desk, plan, exposures, own, over, bid, ask, total, fall)


def _sound(
    desk: Desk,
    plan: RiskPlan,
    exposures: Exposures,
    own: Own,
    over: Over | No | None,
    bid: float,
    ask: float,
    equity: float,
    fall: float,
) -> Ground:
    params, terms, deviation = plan.params, own.terms, own.deviation
    sizing, beside = params.position_sizing, exposures.beside(desk, equity)
    fleet = () if over is None else _of_fleet(plan, deviation, over)
    cost = trading_cost_bps(bid, ask, terms.fee, sizing.cost_sides)
    return Ground(
        plan,
        terms,
        bid,
        ask,
        equity,
        fall,
        cost if terms.daily_volume is None else cost + impact_bps(terms, deviation, equity / ask, params),
        own.variance,
        deviation,
        own.lag_ns,
        own.units,
        _barred_beside(desk, plan, exposures, own, over, fall),
        beside,
        Limits(terms.caps, deviation, beside, own.units * ask / equity, own.budget, fleet),
        sizing.kelly_fraction * left_of_drawdown(fall, params),
        own.growth,
        over if isinstance(over, Over) else None,
    )


def _of_fleet(plan: RiskPlan, deviation: float | None, over: Over | No | None) -> tuple[FleetLimit, ...]:
    """Return the limits of the whole fleet; none where it is one account, or one cannot be valued."""
    if not isinstance(over, Over):
        return ()
    return fleet_limits_for(plan.fleet_caps, deviation or 0.0, over.beside, over.weight)


def impact_bps(terms: Terms, deviation: float | None, units: float, params: RiskParams) -> float:
    """Return what one size step moves the price against itself, by the square-root law [1]_; 0 where nothing is known.

    ``Y * day's deviation * sqrt(order / day's volume)``, `units` being what all equity would buy.

    References
    ----------
    .. [1] B. Toth et al., "Anomalous Price Impact and the Critical Nature of Liquidity in Financial Markets", Physical
       Review X 1, 021006, 2011.
    """
    if terms.daily_volume is None or deviation is None:
        return 0.0
    share = terms.step * units / terms.daily_volume
    return params.position_sizing.impact_coefficient * deviation * math.sqrt(share) * BPS


def left_of_drawdown(fall: float, params: RiskParams) -> float:
    """Return the factor on the Kelly share: 1 at the peak, 0 at `max_drawdown` [1]_.

    The bet is proportional to what wealth has above its floor ``(1 - max_drawdown) * peak``, as a share of wealth.

    References
    ----------
    .. [1] S. J. Grossman, Z. Zhou, "Optimal Investment Strategies for Controlling Drawdowns", Mathematical Finance 3,
       1993.
    """
    if not params.position_sizing.drawdown_aware:
        return 1.0
    most = params.risk_limits.max_drawdown
    left = (most - fall) / (most * (1 - fall)) if fall < 1 else 0.0
    return min(left, 1.0) if left > 0 else 0.0


def _unsound_touch(bid: float, ask: float, age_ms: int, stale_after_ms: int) -> No | None:
    if not 0 < bid <= ask < math.inf:
        for name, price in (("bid", bid), ("ask", ask)):
            if not math.isfinite(price):
                return No(Refusal.NOT_FINITE, input=name)
        return No(Refusal.NO_TOUCH, limit=ask, observed=bid, detail="crossed or not positive")
    if not age_ms <= stale_after_ms:
        return No(Refusal.STALE_DATA, limit=float(stale_after_ms), observed=float(age_ms), detail="ms")
    return None


def _barred(state: RiskState, desk: Desk) -> No | None:
    breaker = state.watch.open(desk.venue, desk.quote)
    if breaker is not None:
        return No(Refusal.BREAKER, limit=breaker.limit, observed=breaker.observed, detail=breaker.name)
    unknown = unknown_quantity(state, desk.instrument)
    if unknown > 0:
        return No(Refusal.UNRESOLVED_ORDER, limit=0.0, observed=unknown, detail="base units of UNKNOWN orders")
    return None


def _barred_beside(
    desk: Desk, plan: RiskPlan, exposures: Exposures, own: Own, over: Over | No | None, fall: float
) -> No | None:
    if own.reducing is not None:
        return own.reducing
    params = plan.params
    most = params.risk_limits.max_drawdown
    if not fall < most:
        return No(Refusal.DRAWDOWN, limit=most, observed=fall)
    if over is not None:
        if isinstance(over, No):
            return over
        whole = plan.fleet_caps.max_drawdown
        if not over.drawdown < whole:
            return No(Refusal.DRAWDOWN, limit=whole, observed=over.drawdown, detail="of all accounts together")
        if over.old is not None:
            return over.old
    if own.barred is not None:
        return own.barred
    unknown = exposures.first_unknown(desk.instrument)
    return unknown or _far_from_the_mean(desk, params) or own.unusual


def _far_from_the_mean(desk: Desk, params: RiskParams) -> No | None:
    """Return whether the price is too far from what the last while was like for anything to be enlarged."""
    if desk.reference is None or desk.bid is None or desk.ask is None:
        return None
    collar, away = params.risk_limits.order_limits.price_collar_pct, distance(desk, (desk.bid + desk.ask) / 2)
    if away is None or away <= collar:
        return None
    detail = f"distance of the mid from its mean of the last minutes, {desk.reference!r}"
    return No(Refusal.PRICE_COLLAR, limit=collar, observed=away, detail=detail)


def _restless(desk: Desk, params: RiskParams) -> No | None:
    """Return whether the volatility is too far from the usual for anything to be enlarged."""
    most, times = params.risk_limits.vol_multiplier_limit, times_the_usual(desk)
    if times is None or times <= most:
        return None
    return No(Refusal.VOLATILITY, limit=most, observed=times, detail="times the usual deviation")


def distance(desk: Desk, mid: float) -> float | None:
    """Return how far `mid` is from its mean of the last minutes, as a fraction of that; None where there is none."""
    return None if desk.reference is None else abs(mid / desk.reference - 1)


def times_the_usual(desk: Desk) -> float | None:
    """Return the deviation now as a multiple of the usual one, None where either is not known."""
    now, usual = desk.returns.per_second, desk.usual.per_second
    return math.sqrt(now / usual) if now is not None and usual is not None and usual > 0 else None
