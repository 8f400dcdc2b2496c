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
from edgefleet.risk.limits import Holding, Limits, day_deviation, limits_for
from edgefleet.risk.plan import RiskPlan, Terms
from edgefleet.risk.state import Desk, RiskState, drawdown, equity, position, unknown_quantity
from edgefleet.risk.verdict import No
from edgefleet.units import ZERO, to_decimal


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
    lag_ns: int | None  # newest beat minus newest watermark; None before the first watermark
    tradable: Decimal  # the position in whole lots, zero where the venue would not take it
    barred: No | None  # why no position may be enlarged, whatever the edge
    alone: Limits  # with nothing else held

    def limits_beside(self, others: list[Holding]) -> Limits:
        """Return every limit with `others` held at the venue."""
        return limits_of(self.terms, self.variance, others, self.plan.params) if others else self.alone


class NoEquity(msgspec.Struct, frozen=True, gc=False):
    """The account is worth nothing that could be told; an opinion that is no number is told first."""

    no: No


def ground_of(state: RiskState, desk: Desk, plan: RiskPlan) -> Ground | NoEquity | No:
    """Return what decisions on the instrument may rest on, or why there can be none."""
    terms = plan.terms(desk.instrument)
    if isinstance(terms, No):
        return terms
    if state.trading == "HALTED":
        return No(Refusal.HALTED, detail=state.trading_reason)
    if desk.venue not in state.holdings:
        return No(Refusal.NO_ACCOUNT, detail=f"no balances of {plan.account} at {desk.venue} yet")
    closed = closed_now(terms.rules.asset_class, state.time)
    if closed is not None:
        return No(Refusal.MARKET_CLOSED, detail=closed)
    if desk.quarantined:
        return No(Refusal.QUARANTINED, detail="its market data is not believed at present")
    bid, ask = desk.bid, desk.ask
    if bid is None or ask is None or desk.age_ms is None:
        return No(Refusal.NO_TOUCH)
    unsound = _unsound_touch(bid, ask, desk.age_ms, plan.params.freshness.stale_after_ms)
    if unsound is not None:
        return unsound
    total = equity(state, desk.venue, desk.quote)
    if total is None:
        return NoEquity(No(Refusal.NO_TOUCH, detail="an asset of the account has no price"))
    if not math.isfinite(total):
        return NoEquity(No(Refusal.NOT_FINITE, input="equity"))
    fall = drawdown(state, desk.venue, desk.quote, total)
    if not total > 0:
        most = plan.params.risk_limits.max_drawdown
        return NoEquity(No(Refusal.DRAWDOWN, limit=most, observed=fall, detail=f"equity {total!r}"))
    variance = believed_variance(desk, plan.params)
    beat, watermark = state.beat.get(desk.venue), state.watermark.get(desk.venue)
    size = to_decimal(float(position(state, desk)), terms.lot)
    return Ground(
        plan=plan,
        terms=terms,
        bid=bid,
        ask=ask,
        equity=total,
        drawdown=fall,
        cost_bps=trading_cost_bps(bid, ask, terms.fee, plan.params.position_sizing.cost_sides),
        variance=variance,
        lag_ns=None if beat is None or watermark is None else beat - watermark,
        tradable=size if terms.takes(abs(size), bid) else ZERO,
        barred=_barred(state, desk, fall, plan.params),
        alone=limits_of(terms, variance, [], plan.params),
    )


def believed_variance(desk: Desk, params: RiskParams) -> float | None:
    """Return the variance of one second's return, None with too few returns or where the price never moved."""
    if desk.returns.count < params.volatility.min_returns:
        return None
    variance = desk.returns.per_second
    return variance if variance is not None and 0 < variance < math.inf else None


def limits_of(terms: Terms, variance: float | None, others: list[Holding], params: RiskParams) -> Limits:
    """Return every limit that the instrument meets beside `others`."""
    deviation = None if variance is None else day_deviation(variance)
    return Limits.of(limits_for(terms.rules.asset_class, terms.sector, deviation, others, params))


def _unsound_touch(bid: float, ask: float, age_ms: int, stale_after_ms: int) -> No | None:
    for name, price in (("bid", bid), ("ask", ask)):
        if not math.isfinite(price):
            return No(Refusal.NOT_FINITE, input=name)
    if not 0 < bid <= ask:
        return No(Refusal.NO_TOUCH, limit=ask, observed=bid, detail="crossed or not positive")
    if not age_ms <= stale_after_ms:
        return No(Refusal.STALE_DATA, limit=float(stale_after_ms), observed=float(age_ms), detail="ms")
    return None


def _barred(state: RiskState, desk: Desk, fall: float, params: RiskParams) -> No | None:
    if state.trading != "ACTIVE":
        return No(Refusal.REDUCING, detail=state.trading_reason)
    most = params.risk_limits.max_drawdown
    if not fall < most:
        return No(Refusal.DRAWDOWN, limit=most, observed=fall)
    unknown = unknown_quantity(state, desk.instrument)
    if unknown > 0:
        return No(Refusal.UNRESOLVED_ORDER, limit=0.0, observed=unknown, detail="base units of UNKNOWN orders")
    return None
