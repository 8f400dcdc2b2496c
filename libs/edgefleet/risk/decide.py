"""The verdict on one instrument: approve a target, refuse, or leave the standing one. Pure; knows no stream.

In order: may anything be done at all (trading state, account, touch, soundness of the numbers); is what is held within
every limit; does the edge still support it; is it worth resizing or entering. Closing is never refused for its cost,
its size or its timing: only where nothing may be done at all.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Literal

import msgspec

from edgefleet.clock import NS_PER_MS
from edgefleet.messages import Refusal
from edgefleet.params.schema.risk import PositionSizingParams
from edgefleet.risk.ground import Ground, NoEquity, believed_variance
from edgefleet.risk.kelly import kelly_fraction
from edgefleet.risk.limits import Holding, Limit, Limits, day_deviation, first_broken
from edgefleet.risk.plan import RiskPlan
from edgefleet.risk.sizing import resized, step_down
from edgefleet.risk.state import Desk, Opinion, RiskState, rate, standing_quantity, worst_quantity
from edgefleet.risk.verdict import No
from edgefleet.units import BPS, ZERO, to_decimal

SILENT = Opinion(reason=Refusal.STALE_SIGNAL, detail="no ensemble has come yet")


class Yes(msgspec.Struct, frozen=True):
    """A target. Most repeat the one that stands and are told to nobody, so its numbers are made only when asked for."""

    view: View  # what it rests on
    quantity: Decimal  # base units, signed
    binding: str
    urgency: Literal["low", "normal", "high"]
    standing: bool = False  # the target that stands already is still wanted

    def numbers(self) -> Numbers:
        """Return the numbers that made it."""
        return _numbers(self.view, self.quantity)


class Numbers(msgspec.Struct, frozen=True):
    """The numbers that made a target."""

    kelly: float  # of equity, signed, before the limits
    variance: float | None  # over the horizon
    var: float  # fraction of equity with the target held
    equity: float
    mid: float
    head_room: dict[str, float]


class View(msgspec.Struct, frozen=True):
    """What one decision looks at."""

    ground: Ground
    state: RiskState
    desk: Desk
    opinion: Opinion
    limits: Limits
    unknown_other: str | None  # an instrument that is held and whose variance is not known


def decide(state: RiskState, desk: Desk, ground: Ground | NoEquity | No) -> Yes | No:
    """Return what is so for the instrument now, on the ground that `ground_of` gives for the state."""
    view = look(state, desk, ground)
    if isinstance(view, No):
        return view
    held = _held(view)
    return _when_held(view, held) if held else _when_flat(view)


def look(state: RiskState, desk: Desk, ground: Ground | NoEquity | No) -> View | No:
    """Return what a decision may rest on, or why there can be none."""
    if isinstance(ground, No):
        return ground
    opinion = desk.opinion or SILENT
    if opinion.reason is Refusal.NOT_FINITE:
        return No(Refusal.NOT_FINITE, input=opinion.input, detail=opinion.detail)
    if isinstance(ground, NoEquity):
        return ground.no
    if len(state.desks) == 1:
        return View(ground, state, desk, opinion, ground.alone, None)
    others = _others(state, desk, ground)
    if isinstance(others, No):
        return others
    holdings, unknown_other = others
    return View(ground, state, desk, opinion, ground.limits_beside(holdings), unknown_other)


def _others(state: RiskState, desk: Desk, ground: Ground) -> tuple[list[Holding], str | None] | No:
    config, params = ground.plan.config, ground.plan.params
    found: list[Holding] = []
    unknown: str | None = None
    for other in state.desks.values():
        if other is desk or other.venue != desk.venue:
            continue
        units = worst_quantity(state, other)
        if units == 0:
            continue
        worth = rate(state, desk.venue, other.quote, desk.quote, high=True)
        if worth is None or other.ask is None:
            return No(Refusal.NO_TOUCH, detail=f"{other.instrument} is held and has no price")
        fraction = units * other.ask * worth / ground.equity
        if not math.isfinite(fraction):
            return No(Refusal.NOT_FINITE, input=f"{other.instrument}.exposure")
        variance = believed_variance(other, params)
        if variance is None:
            unknown = other.instrument
        instrument = config.instruments.get(other.instrument)
        symbol = config.instruments.symbols.get(other.instrument.rpartition("@")[0])
        found.append(
            Holding(
                fraction,
                "crypto" if instrument is None else instrument.asset_class,
                "none" if symbol is None else symbol.sector,
                0.0 if variance is None else day_deviation(variance),
            )
        )
    return found, unknown


def _held(view: View) -> Decimal:
    """Return the target that stands, else the position where it is large enough to trade, else zero."""
    standing = standing_quantity(view.state, view.desk)
    if standing is not None:
        return standing
    return view.ground.tradable


def _when_flat(view: View) -> Yes | No:
    standing = view.desk.standing
    if standing is not None and is_expiring(view.state, view.desk, view.ground.plan) and view.ground.tradable:
        return _close(view, "unfinished")
    return _enter(view)


def _when_held(view: View, held: Decimal) -> Yes | No:
    ground, edge_bps = view.ground, view.opinion.edge_bps
    fraction = abs(float(held)) * ground.ask / ground.equity
    sign = 1 if held > 0 else -1
    if ground.lag_ns is not None and ground.lag_ns > ground.plan.flatten_after_ns:
        return _close(view, "stale_signal")
    broken = first_broken(view.limits.each, fraction)
    if broken is not None:
        return _shrink(view, held, broken)
    stale = _stale_signal(ground)
    if stale is not None:
        return stale
    if not edge_bps * sign > ground.plan.params.position_sizing.exit_edge_bps:
        turned = _enter(view) if edge_bps * sign < 0 else None
        reason = view.opinion.reason
        return turned if isinstance(turned, Yes) else _close(view, "edge" if reason is None else reason.value.lower())
    if ground.variance is None:
        return _not_warm(view)
    return _resize(view, held, fraction, sign)


def _resize(view: View, held: Decimal, fraction: float, sign: int) -> Yes | No:
    ground, limits = view.ground, view.limits
    variance = _horizon_variance(view)
    edge, cost = abs(view.opinion.edge_bps), ground.cost_bps
    barred = _barred(view)
    if barred is None and not edge > cost:
        barred = No(Refusal.EDGE_BELOW_COST)
    if barred is None:
        barred = _too_soon(view)
    sizing = ground.plan.params.position_sizing
    gross = _kelly(edge, variance, sizing)
    net = _kelly(edge - cost, variance, sizing) if barred is None else 0.0
    wanted = resized(
        fraction,
        min(net, limits.room),
        min(gross, limits.room),
        step=ground.terms.step,
        band=sizing.no_trade_band,
    )
    if wanted is not None:
        binding = "kelly" if gross < limits.room else limits.tightest.name
        sized = _sized(ground, wanted, sign)
        if sized == 0:
            return _close(view, binding)
        if sized != held:
            return _yes(view, sized, binding, "normal")
    if barred is not None and barred.reason in (Refusal.REDUCING, Refusal.DRAWDOWN):
        return barred
    return _yes(view, held, "standing", "low", standing=True)


def _enter(view: View) -> Yes | No:
    """Return a target for someone who holds nothing, or the first thing that speaks against one."""
    against, ground = view.opinion, view.ground
    if against.reason is not None:
        return No(against.reason, against.limit, against.observed, against.detail, against.input)
    stale = _stale_signal(ground)
    if stale is not None:
        return stale
    cost, edge = ground.cost_bps, abs(against.edge_bps)
    if not edge > cost:
        return No(Refusal.EDGE_BELOW_COST, limit=cost, observed=edge, detail="bps")
    sign = 1 if against.edge_bps > 0 else -1
    if sign < 0 and not ground.terms.rules.shortable:
        return No(Refusal.NOT_SHORTABLE, limit=0.0, observed=against.edge_bps, detail="edge in bps; the target is 0")
    barred = _barred(view)
    if barred is not None:
        return barred
    if ground.variance is None:
        return _not_warm(view)
    soon = _too_soon(view)
    if soon is not None:
        return soon
    return _sized_entry(view, edge - cost, sign)


def _sized_entry(view: View, net_bps: float, sign: int) -> Yes | No:
    ground, terms, full, room = view.ground, view.ground.terms, view.limits.tightest, view.limits.room
    if not room > 0:
        return No(full.refusal, limit=full.aim, observed=full.others, detail=full.name)
    kelly = _kelly(net_bps, _horizon_variance(view), ground.plan.params.position_sizing)
    wanted = min(kelly, room)
    sized = _sized(ground, step_down(wanted, terms.step), sign)
    if sized == 0:
        smallest = max(terms.min_notional, float(terms.min_quantity) * ground.bid)
        return No(Refusal.BELOW_MINIMUM, limit=smallest, observed=wanted * ground.equity, detail=view.desk.quote)
    return _yes(view, sized, "kelly" if kelly < room else full.name, "normal")


def _barred(view: View) -> No | None:
    """Return why no position may be enlarged at present, whatever the edge."""
    if view.ground.barred is not None:
        return view.ground.barred
    if view.unknown_other is not None:
        return No(Refusal.NOT_WARM, detail=f"{view.unknown_other} is held and its variance is not known")
    return None


def _stale_signal(ground: Ground) -> No | None:
    plan, lag = ground.plan, ground.lag_ns
    if lag is None:
        return No(Refusal.STALE_SIGNAL, limit=float(plan.signal_stale_ms), detail="no watermark has come yet")
    if not lag <= plan.signal_stale_ns:
        limit = float(plan.signal_stale_ms)
        return No(Refusal.STALE_SIGNAL, limit=limit, observed=lag / NS_PER_MS, detail="ms")
    return None


def _too_soon(view: View) -> No | None:
    changed = view.desk.changed_at
    if changed is None:
        return None
    dwell = view.ground.plan.params.position_sizing.min_dwell_ms
    since = (view.state.time - changed) / NS_PER_MS
    return None if since >= dwell else No(Refusal.DWELL, limit=float(dwell), observed=since, detail="ms")


def _not_warm(view: View) -> No:
    returns, needed = view.desk.returns, view.ground.plan.params.volatility.min_returns
    if returns.count < needed:
        return No(Refusal.NOT_WARM, limit=float(needed), observed=float(returns.count), detail="returns")
    return No(Refusal.NOT_WARM, limit=0.0, observed=returns.per_second, detail="variance of a second's return")


def _shrink(view: View, held: Decimal, broken: Limit) -> Yes | No:
    """Return the largest step inside every limit, toward zero."""
    ground = view.ground
    if ground.variance is None:
        return _not_warm(view)
    now = abs(float(held)) * ground.ask / ground.equity
    wanted = min(now, view.limits.room)
    if wanted == 0:
        return _close(view, broken.name)
    sized = _sized(ground, step_down(wanted, ground.terms.step), 1 if held > 0 else -1)
    return _yes(view, sized, broken.name, "high") if sized != 0 else _close(view, broken.name)


def _close(view: View, binding: str) -> Yes:
    return _yes(view, ZERO, binding, "high")


def _sized(ground: Ground, fraction: float, sign: int) -> Decimal:
    """Return the signed quantity, in whole lots toward zero; zero where the venue would not take it."""
    size = to_decimal(fraction * ground.equity / ground.ask, ground.terms.lot)
    return sign * size if size != 0 and ground.terms.takes(size, ground.bid) else ZERO


def _horizon_variance(view: View) -> float:
    return (view.ground.variance or math.nan) * view.opinion.horizon_ms / 1_000


def _kelly(edge_bps: float, variance: float, sizing: PositionSizingParams) -> float:
    """Return the Kelly share of an edge in bps, zero for one that is not positive."""
    return kelly_fraction(max(edge_bps, 0.0) / BPS, variance, share=sizing.kelly_fraction)


def is_expiring(state: RiskState, desk: Desk, plan: RiskPlan) -> bool:
    """Return whether two thirds of the standing target's life are over, or there is none."""
    return desk.standing is None or desk.standing.expires_at - state.time <= plan.renew_ns


def _yes(
    view: View,
    quantity: Decimal,
    binding: str,
    urgency: Literal["low", "normal", "high"],
    *,
    standing: bool = False,
) -> Yes:
    return Yes(view, quantity, binding, urgency, standing)


def _numbers(view: View, quantity: Decimal) -> Numbers:
    ground, opinion = view.ground, view.opinion
    params = ground.plan.params
    fraction = abs(float(quantity)) * ground.ask / ground.equity
    head_room = {limit.name: limit.head_room(fraction) for limit in view.limits.each}
    most = params.risk_limits.max_drawdown
    head_room["drawdown"] = (most - ground.drawdown) / most
    variance = None if ground.variance is None or opinion.reason is not None else _horizon_variance(view)
    var = next(limit.used(fraction) for limit in view.limits.each if limit.name == "var")
    kelly = 0.0
    if variance is not None:
        size = _kelly(abs(opinion.edge_bps) - ground.cost_bps, variance, params.position_sizing)
        kelly = size if opinion.edge_bps > 0 else 0.0 - size  # 0.0 - 0.0 is 0.0, where -0.0 is another text
    mid = (ground.bid + ground.ask) / 2
    return Numbers(kelly, variance, var, ground.equity, mid, head_room)
