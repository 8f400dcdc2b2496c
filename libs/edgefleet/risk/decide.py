"""The verdict on one instrument: approve a target, refuse, or leave the standing one. Pure; knows no stream.

In order: may anything be done at all (trading state, account, touch, soundness of the numbers); is what is held within
every limit; does the edge still support it; is it worth resizing or entering. Closing is never refused for its cost,
its size or its timing: only where nothing may be done at all.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Literal, NamedTuple

from edgefleet.clock import NS_PER_MS
from edgefleet.instruments import Instrument
from edgefleet.messages import Refusal
from edgefleet.params.schema import FleetConfig
from edgefleet.params.schema.risk import RiskParams
from edgefleet.risk.blend import trading_cost_bps
from edgefleet.risk.kelly import kelly_fraction
from edgefleet.risk.limits import Holding, Limit, day_deviation, first_broken, limits_for, static_cap, tightest
from edgefleet.risk.sizing import resized, step_down
from edgefleet.risk.state import (
    Desk,
    Opinion,
    RiskState,
    drawdown,
    equity,
    position,
    rate,
    standing_quantity,
    unknown_quantity,
    worst_quantity,
)
from edgefleet.units import BPS, ZERO, to_decimal

SILENT = Opinion(reason=Refusal.STALE_SIGNAL, detail="no ensemble has come yet")


class No(NamedTuple):
    """Nothing is approved."""

    reason: Refusal
    limit: float | None = None
    observed: float | None = None
    detail: str = ""
    input: str | None = None


class Yes(NamedTuple):
    """A target. Most repeat the one that stands and are told to nobody, so its numbers are made only when asked for."""

    view: View  # what it rests on
    quantity: Decimal  # base units, signed
    binding: str
    urgency: Literal["low", "normal", "high"]
    standing: bool = False  # the target that stands already is still wanted

    def numbers(self) -> Numbers:
        """Return the numbers that made it."""
        return _numbers(self.view, self.quantity)


class Numbers(NamedTuple):
    """The numbers that made a target."""

    kelly: float  # of equity, signed, before the limits
    variance: float | None  # over the horizon
    var: float  # fraction of equity with the target held
    equity: float
    mid: float
    head_room: dict[str, float]


class View(NamedTuple):
    """What one decision looks at, all of it sound and fresh."""

    state: RiskState
    desk: Desk
    opinion: Opinion
    params: RiskParams
    instrument: Instrument
    fee: float  # fraction of notional, taker
    bid: float
    ask: float
    equity: float
    drawdown: float
    limits: tuple[Limit, ...]
    variance: float | None  # of one second's return; None before it is believed
    lag_ns: int | None  # newest beat minus newest watermark; None before the first watermark
    unknown_other: str | None  # an instrument that is held and whose variance is not known


def decide(state: RiskState, desk: Desk, config: FleetConfig) -> Yes | No:
    """Return what is so for the instrument now."""
    view = look(state, desk, config)
    if isinstance(view, No):
        return view
    held = _held(view)
    if held == 0:
        return _when_flat(view)
    return _when_held(view, held)


def look(state: RiskState, desk: Desk, config: FleetConfig) -> View | No:
    """Return what a decision may rest on, or why there can be none."""
    params = config.risk_harmonizer
    instrument = config.instruments.get(desk.instrument)
    venue = config.venues.venues.get(desk.venue)
    if instrument is None or venue is None:
        return No(Refusal.UNKNOWN_INSTRUMENT, detail="instrument" if instrument is None else f"venue {desk.venue}")
    if state.trading == "HALTED":
        return No(Refusal.HALTED, detail=state.trading_reason)
    if desk.venue not in state.holdings:
        return No(Refusal.NO_ACCOUNT, detail=f"no balances of {config.fleet.account} at {desk.venue} yet")
    bid, ask, age = desk.bid, desk.ask, desk.age_ms
    if bid is None or ask is None or age is None:
        return No(Refusal.NO_TOUCH)
    for name, price in (("bid", bid), ("ask", ask)):
        if not math.isfinite(price):
            return No(Refusal.NOT_FINITE, input=name)
    if not 0 < bid <= ask:
        return No(Refusal.NO_TOUCH, limit=ask, observed=bid, detail="crossed or not positive")
    stale_after = params.freshness.stale_after_ms
    if not age <= stale_after:
        return No(Refusal.STALE_DATA, limit=float(stale_after), observed=float(age), detail="ms")
    opinion = desk.opinion or SILENT
    if opinion.reason is Refusal.NOT_FINITE:
        return No(Refusal.NOT_FINITE, input=opinion.input, detail=opinion.detail)
    total = equity(state, desk.venue, desk.quote)
    if total is None:
        return No(Refusal.NO_TOUCH, detail="an asset of the account has no price")
    if not math.isfinite(total):
        return No(Refusal.NOT_FINITE, input="equity")
    fall = drawdown(state, desk.venue, desk.quote, total)
    if not total > 0:
        return No(Refusal.DRAWDOWN, limit=params.risk_limits.max_drawdown, observed=fall, detail=f"equity {total!r}")
    others = _others(state, desk, config, total)
    if isinstance(others, No):
        return others
    holdings, unknown_other = others
    variance = believed_variance(desk, params)
    deviation = None if variance is None else day_deviation(variance)
    sector = config.instruments.symbols[instrument.symbol].sector
    limits = limits_for(instrument.asset_class, sector, deviation, holdings, params)
    beat, watermark = state.beat.get(desk.venue), state.watermark.get(desk.venue)
    lag = None if beat is None or watermark is None else beat - watermark
    return View(
        state, desk, opinion, params, instrument, float(venue.taker_fee), bid, ask, total, fall, limits, variance, lag,
        unknown_other,
    )  # fmt: skip


def believed_variance(desk: Desk, params: RiskParams) -> float | None:
    """Return the variance of one second's return, None with too few returns or where the price never moved."""
    if desk.returns.count < params.volatility.min_returns:
        return None
    variance = desk.returns.per_second
    return variance if variance is not None and 0 < variance < math.inf else None


def _others(state: RiskState, desk: Desk, config: FleetConfig, total: float) -> tuple[list[Holding], str | None] | No:
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
        fraction = units * other.ask * worth / total
        if not math.isfinite(fraction):
            return No(Refusal.NOT_FINITE, input=f"{other.instrument}.exposure")
        variance = believed_variance(other, config.risk_harmonizer)
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
    return _tradable_position(view)


def _tradable_position(view: View) -> Decimal:
    held, rules = position(view.state, view.desk), view.instrument
    size = to_decimal(float(held), rules.lot_size)
    return size if _is_tradable(abs(size), view) else ZERO


def _is_tradable(size: Decimal, view: View) -> bool:
    return size >= view.instrument.min_quantity and float(size) * view.bid >= float(view.instrument.min_notional)


def _when_flat(view: View) -> Yes | No:
    standing = view.desk.standing
    if standing is not None and is_expiring(view.state, view.desk, view.params) and _tradable_position(view) != 0:
        return _close(view, "unfinished")
    return _enter(view)


def _when_held(view: View, held: Decimal) -> Yes | No:
    fraction = abs(float(held)) * view.ask / view.equity
    sign = 1 if held > 0 else -1
    freshness = view.params.freshness
    if view.lag_ns is not None and view.lag_ns > freshness.flatten_after_ms * NS_PER_MS:
        return _close(view, "stale_signal")
    broken = first_broken(view.limits, fraction)
    if broken is not None:
        return _shrink(view, held, broken)
    stale = _stale_signal(view)
    if stale is not None:
        return stale
    if not view.opinion.edge_bps * sign > view.params.position_sizing.exit_edge_bps:
        turned = _enter(view) if view.opinion.edge_bps * sign < 0 else None
        reason = view.opinion.reason
        return turned if isinstance(turned, Yes) else _close(view, "edge" if reason is None else reason.value.lower())
    if view.variance is None:
        return _not_warm(view)
    return _resize(view, held, fraction, sign)


def _resize(view: View, held: Decimal, fraction: float, sign: int) -> Yes | No:
    variance = _horizon_variance(view)
    edge = abs(view.opinion.edge_bps)
    barred = _barred(view)
    if barred is None and not edge > _cost_bps(view):
        barred = No(Refusal.EDGE_BELOW_COST)
    if barred is None:
        barred = _too_soon(view)
    gross, net = _kelly(view, edge, variance), _kelly(view, edge - _cost_bps(view), variance)
    room = tightest(view.limits).room()
    sizing = view.params.position_sizing
    wanted = resized(
        fraction,
        0.0 if barred is not None else min(net, room),
        min(gross, room),
        step=_step(view),
        band=sizing.no_trade_band,
    )
    if wanted is not None:
        binding = "kelly" if gross < room else tightest(view.limits).name
        sized = _sized(view, wanted, sign)
        if sized == 0:
            return _close(view, binding)
        if sized != held:
            return _yes(view, sized, binding, "normal")
    if barred is not None and barred.reason in (Refusal.REDUCING, Refusal.DRAWDOWN):
        return barred
    return _yes(view, held, "standing", "low", standing=True)


def _enter(view: View) -> Yes | No:
    """Return a target for someone who holds nothing, or the first thing that speaks against one."""
    against = view.opinion
    if against.reason is not None:
        return No(against.reason, against.limit, against.observed, against.detail, against.input)
    stale = _stale_signal(view)
    if stale is not None:
        return stale
    cost, edge = _cost_bps(view), abs(against.edge_bps)
    if not edge > cost:
        return No(Refusal.EDGE_BELOW_COST, limit=cost, observed=edge, detail="bps")
    sign = 1 if against.edge_bps > 0 else -1
    if sign < 0 and not view.instrument.shortable:
        return No(Refusal.NOT_SHORTABLE, limit=0.0, observed=against.edge_bps, detail="edge in bps; the target is 0")
    barred = _barred(view)
    if barred is not None:
        return barred
    if view.variance is None:
        return _not_warm(view)
    soon = _too_soon(view)
    if soon is not None:
        return soon
    full = tightest(view.limits)
    if not full.room() > 0:
        return No(full.refusal, limit=full.aim, observed=full.others, detail=full.name)
    kelly = _kelly(view, edge - cost, _horizon_variance(view))
    wanted = min(kelly, full.room())
    sized = _sized(view, step_down(wanted, _step(view)), sign)
    if sized == 0:
        smallest = max(float(view.instrument.min_notional), float(view.instrument.min_quantity) * view.bid)
        return No(Refusal.BELOW_MINIMUM, limit=smallest, observed=wanted * view.equity, detail=view.desk.quote)
    return _yes(view, sized, "kelly" if kelly < full.room() else full.name, "normal")


def _barred(view: View) -> No | None:
    """Return why no position may be enlarged at present, whatever the edge."""
    state, bounds = view.state, view.params.risk_limits
    if state.trading != "ACTIVE":
        return No(Refusal.REDUCING, detail=state.trading_reason)
    if not view.drawdown < bounds.max_drawdown:
        return No(Refusal.DRAWDOWN, limit=bounds.max_drawdown, observed=view.drawdown)
    unknown = unknown_quantity(state, view.desk.instrument)
    if unknown > 0:
        return No(Refusal.UNRESOLVED_ORDER, limit=0.0, observed=unknown, detail="base units of UNKNOWN orders")
    if view.unknown_other is not None:
        return No(Refusal.NOT_WARM, detail=f"{view.unknown_other} is held and its variance is not known")
    return None


def _stale_signal(view: View) -> No | None:
    allowed = view.params.freshness.signal_stale_after_ms
    if view.lag_ns is None:
        return No(Refusal.STALE_SIGNAL, limit=float(allowed), detail="no watermark has come yet")
    if not view.lag_ns <= allowed * NS_PER_MS:
        return No(Refusal.STALE_SIGNAL, limit=float(allowed), observed=view.lag_ns / NS_PER_MS, detail="ms")
    return None


def _too_soon(view: View) -> No | None:
    changed, dwell = view.desk.changed_at, view.params.position_sizing.min_dwell_ms
    if changed is None:
        return None
    since = (view.state.time - changed) / NS_PER_MS
    return None if since >= dwell else No(Refusal.DWELL, limit=float(dwell), observed=since, detail="ms")


def _not_warm(view: View) -> No:
    returns, needed = view.desk.returns, view.params.volatility.min_returns
    if returns.count < needed:
        return No(Refusal.NOT_WARM, limit=float(needed), observed=float(returns.count), detail="returns")
    return No(Refusal.NOT_WARM, limit=0.0, observed=returns.per_second, detail="variance of a second's return")


def _shrink(view: View, held: Decimal, broken: Limit) -> Yes | No:
    """Return the largest step inside every limit, toward zero."""
    if view.variance is None:
        return _not_warm(view)
    now = abs(float(held)) * view.ask / view.equity
    wanted = min(now, tightest(view.limits).room())
    if wanted == 0:
        return _close(view, broken.name)
    sized = _sized(view, step_down(wanted, _step(view)), 1 if held > 0 else -1)
    return _yes(view, sized, broken.name, "high") if sized != 0 else _close(view, broken.name)


def _close(view: View, binding: str) -> Yes:
    return _yes(view, ZERO, binding, "high")


def _sized(view: View, fraction: float, sign: int) -> Decimal:
    """Return the signed quantity, in whole lots toward zero; zero where the venue would not take it."""
    size = to_decimal(fraction * view.equity / view.ask, view.instrument.lot_size)
    return sign * size if size != 0 and _is_tradable(size, view) else ZERO


def _step(view: View) -> float:
    return view.params.position_sizing.size_step_fraction * static_cap(view.instrument.asset_class, view.params)


def _cost_bps(view: View) -> float:
    return trading_cost_bps(view.bid, view.ask, view.fee, view.params.position_sizing.cost_sides)


def _horizon_variance(view: View) -> float:
    return (view.variance or math.nan) * view.opinion.horizon_ms / 1_000


def _kelly(view: View, edge_bps: float, variance: float) -> float:
    """Return the Kelly share of an edge in bps, zero for one that is not positive."""
    return kelly_fraction(max(edge_bps, 0.0) / BPS, variance, share=view.params.position_sizing.kelly_fraction)


def is_expiring(state: RiskState, desk: Desk, params: RiskParams) -> bool:
    """Return whether two thirds of the standing target's life are over, or there is none."""
    left = params.verdicts.target_ttl_ms * NS_PER_MS // 3
    return desk.standing is None or desk.standing.expires_at - state.time <= left


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
    fraction = abs(float(quantity)) * view.ask / view.equity
    head_room = {limit.name: limit.head_room(fraction) for limit in view.limits}
    most = view.params.risk_limits.max_drawdown
    head_room["drawdown"] = (most - view.drawdown) / most
    variance = None if view.variance is None or view.opinion.reason is not None else _horizon_variance(view)
    var = next(limit.used(fraction) for limit in view.limits if limit.name == "var")
    kelly = 0.0
    if variance is not None:
        size = _kelly(view, abs(view.opinion.edge_bps) - _cost_bps(view), variance)
        kelly = size if view.opinion.edge_bps > 0 else 0.0 - size  # 0.0 - 0.0 is 0.0, where -0.0 is another text
    mid = (view.bid + view.ask) / 2
    return Numbers(kelly, variance, var, view.equity, mid, head_room)
