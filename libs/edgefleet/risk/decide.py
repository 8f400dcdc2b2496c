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
from edgefleet.risk.ground import Ground, NoEquity
from edgefleet.risk.kelly import kelly_fraction
from edgefleet.risk.limits import Limit
from edgefleet.risk.plan import RiskPlan
from edgefleet.risk.sizing import resized, step_down
from edgefleet.risk.state import Desk, Opinion, RiskState, enlarged_lately, standing_quantity
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
        return numbers_of(self.view, self.quantity)


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


def decide(state: RiskState, desk: Desk, ground: Ground | NoEquity | No) -> Yes | No:
    """Return what is so for the instrument now, on the ground that `ground_of` gives for the state."""
    view = look(state, desk, ground)
    if isinstance(view, No):
        return view
    held = target_now(view)
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
    return View(ground, state, desk, opinion)


def target_now(view: View) -> Decimal:
    """Return the target that stands, else the position where it is large enough to trade, else zero."""
    standing = standing_quantity(view.state, view.desk)
    if standing is not None:
        return standing
    return view.ground.tradable()


def _when_flat(view: View) -> Yes | No:
    standing = view.desk.standing
    if standing is not None and is_expiring(view.state, view.desk, view.ground.plan) and view.ground.tradable():
        return _close(view, "unfinished")
    return _enter(view)


def _when_held(view: View, held: Decimal) -> Yes | No:
    ground, edge_bps = view.ground, view.opinion.edge_bps
    fraction = share_held(ground, held)
    sign = 1 if held > 0 else -1
    if ground.lag_ns is not None and ground.lag_ns > ground.plan.flatten_after_ns:
        return _close(view, "stale_signal")
    broken = ground.limits.first_broken(fraction)
    if broken is not None:
        return _shrink(view, held, fraction, broken)
    stale = _stale_signal(ground)
    if stale is not None:
        return stale
    if not edge_bps * sign > ground.plan.params.position_sizing.exit_edge_bps:
        turned = _enter(view) if edge_bps * sign < 0 else None
        reason = view.opinion.reason
        return turned if isinstance(turned, Yes) else _close(view, "edge" if reason is None else reason.value.lower())
    if ground.variance is None:
        return _not_warm(view)
    return _resize(view, held, abs(fraction), sign)


def _resize(view: View, held: Decimal, fraction: float, sign: int) -> Yes | No:
    ground = view.ground
    room, edge, cost = ground.limits.room(sign), abs(view.opinion.edge_bps), ground.cost_bps
    barred = _barred(view)
    if barred is None and not edge > cost:
        barred = No(Refusal.EDGE_BELOW_COST)
    if barred is None:
        barred = _too_soon(view)
    sizing = ground.plan.params.position_sizing
    pull = pull_of(view, sign)
    gross = _above(kelly_alone(edge, view), pull)
    net = _above(kelly_alone(edge - cost, view), pull) if barred is None else 0.0
    left = regime_factor(view)
    wanted = resized(
        fraction,
        ground.growth * left * (net if net < room else room),
        left * (gross if gross < room else room),
        step=ground.terms.step,
        band=sizing.no_trade_band,
    )
    if wanted is not None:
        binding = "kelly" if gross < room else ground.limits.tightest(sign)[0].name
        sized = _bounded(view, in_lots(ground, wanted, sign), barred)
        if sized == 0:
            return _close(view, binding)
        if sized != held:
            return _yes(view, sized, binding, "normal")
    if barred is not None and barred.reason in (Refusal.REDUCING, Refusal.DRAWDOWN, Refusal.BREAKER):
        return barred
    return Yes(view, held, "standing", "low", standing=True)


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
    ground, terms = view.ground, view.ground.terms
    room = ground.limits.room(sign)
    if not room > 0:
        full = ground.limits.tightest(sign)[0]
        return No(full.refusal, limit=full.aim, observed=full.used(0.0), detail=full.name)
    kelly = deserved(view, net_bps, sign)
    if not kelly > 0:
        alone = kelly_alone(net_bps, view)
        return No(Refusal.ALREADY_HELD, limit=alone, observed=alone - pull_of(view, sign), detail="share of equity")
    factor = growth_factor(view)
    if not factor > 0:
        return No(
            Refusal.POSITION_LIMIT, limit=0.0, observed=kelly, detail=f"regime {view.opinion.regime} leaves nothing"
        )
    wanted = factor * min(kelly, room)
    sized = in_lots(ground, step_down(wanted, terms.step), sign)
    if sized == 0:
        smallest = max(terms.min_notional, float(terms.min_quantity) * ground.bid)
        return No(Refusal.BELOW_MINIMUM, limit=smallest, observed=wanted * ground.equity, detail=view.desk.quote)
    return _yes(view, sized, "kelly" if kelly < room else ground.limits.tightest(sign)[0].name, "normal")


def _barred(view: View) -> No | None:
    """Return why no position may be enlarged at present, whatever the edge."""
    barred = view.ground.barred
    if barred is not None:
        return barred
    most = view.ground.plan.params.risk_limits.order_limits.max_changes_per_minute
    if len(view.state.enlarged.get(view.desk.venue, ())) < most:
        return None
    made = enlarged_lately(view.state, view.desk.venue)
    if not made < most:
        return No(Refusal.ORDER_LIMIT, limit=float(most), observed=float(made), detail="enlarged targets in a minute")
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
    dwell = view.ground.plan.params.position_sizing.min_dwell_ms
    since = dwelt_ms(view.state, view.desk)
    return (
        None if since is None or since >= dwell else No(Refusal.DWELL, limit=float(dwell), observed=since, detail="ms")
    )


def dwelt_ms(state: RiskState, desk: Desk) -> float | None:
    """Return how long the target has had its quantity, None before the first."""
    return None if desk.changed_at is None else (state.time - desk.changed_at) / NS_PER_MS


def _not_warm(view: View) -> No:
    returns, needed = view.desk.returns, view.ground.plan.params.volatility.min_returns
    if returns.count < needed:
        return No(Refusal.NOT_WARM, limit=float(needed), observed=float(returns.count), detail="returns")
    return No(Refusal.NOT_WARM, limit=0.0, observed=returns.per_second, detail="variance of a second's return")


def _shrink(view: View, held: Decimal, fraction: float, broken: Limit) -> Yes | No:
    """Return the largest step inside every limit, toward zero."""
    ground = view.ground
    if not broken.adds(fraction):
        # It hedges the others, and theirs is the excess: less of it would be more risk, and none exceeds a limit.
        return No(broken.refusal, limit=broken.cap, observed=broken.used(fraction), detail=f"{broken.name}; a hedge")
    if ground.variance is None:
        return _not_warm(view)
    sign = 1 if held > 0 else -1
    wanted = min(abs(fraction), ground.limits.room(sign))
    if wanted == 0:
        return _close(view, broken.name)
    sized = _bounded(view, in_lots(ground, step_down(wanted, ground.terms.step), sign), _barred(view))
    return _yes(view, sized, broken.name, "high") if sized != 0 else _close(view, broken.name)


def _bounded(view: View, sized: Decimal, barred: No | None) -> Decimal:
    """Return a smaller target as it may be told: while nothing may be enlarged, no larger than what is held.

    A target that was approved before may be far from filled, and less of it still more than the position.
    """
    if barred is None or sized == 0:
        return sized
    held = view.ground.tradable()
    return min(sized, max(held, ZERO)) if sized > 0 else max(sized, min(held, ZERO))


def _close(view: View, binding: str) -> Yes:
    return _yes(view, ZERO, binding, "high")


def share_held(ground: Ground, quantity: Decimal) -> float:
    """Return what `quantity` base units come to at the ask, as a signed share of equity."""
    return float(quantity) * ground.ask / ground.equity


def in_lots(ground: Ground, fraction: float, sign: int) -> Decimal:
    """Return a share of equity as signed base units, in whole lots toward zero; zero where the venue takes no less."""
    size = to_decimal(fraction * ground.equity / ground.ask, ground.terms.lot)
    return sign * size if size != 0 and ground.terms.takes(size, ground.bid) else ZERO


def horizon_variance(view: View) -> float:
    """Return the variance of the return over the opinion's horizon, NaN where it is not known."""
    return (view.ground.variance or math.nan) * view.opinion.horizon_ms / 1_000


def regime_factor(view: View) -> float:
    """Return what the market's regime leaves of a size."""
    regimes = view.ground.plan.params.position_sizing.regime_scale
    return regimes.get(view.opinion.regime, 1.0) if regimes else 1.0


def growth_factor(view: View) -> float:
    """Return what the breakers and the regime leave of a size that may be entered or grown to."""
    return view.ground.growth * regime_factor(view)


def kelly_alone(edge_bps: float, view: View) -> float:
    """Return the Kelly share of an edge in bps as if nothing else were held, zero for one that is not positive."""
    share = view.ground.share
    if not share > 0:
        return 0.0
    edge = 0.0 if edge_bps <= 0 else edge_bps / BPS  # NaN stays what it is, and is refused
    return kelly_fraction(edge, horizon_variance(view), share=share)


def pull_of(view: View, sign: int) -> float:
    """Return how much of the Kelly share the other positions carry already; negative where they offset it.

    With everything else as it is, log-growth peaks at ``(share * m_i - sum_j C_ij x_j) / C_ii``: where all instruments
    are there, ``C x = share * M``, the Kelly bet on several assets.
    """
    beside, deviation = view.ground.beside, view.ground.deviation
    if deviation is None or (beside.pull == 0 and beside.pull_linear == 0):
        return 0.0
    return (sign * beside.pull + beside.pull_linear) / deviation


def deserved(view: View, edge_bps: float, sign: int) -> float:
    """Return the size that an edge in bps deserves beside what else is held, at least 0."""
    return _above(kelly_alone(edge_bps, view), pull_of(view, sign))


def _above(size: float, pull: float) -> float:
    left = size - pull
    return left if left > 0 else 0.0


def is_expiring(state: RiskState, desk: Desk, plan: RiskPlan) -> bool:
    """Return whether two thirds of the standing target's life are over, or there is none."""
    return desk.standing is None or desk.standing.expires_at - state.time <= plan.renew_ns


def _yes(
    view: View,
    quantity: Decimal,
    binding: str,
    urgency: Literal["low", "normal", "high"],
) -> Yes:
    return Yes(view, quantity, binding, urgency)


def numbers_of(view: View, quantity: Decimal) -> Numbers:
    """Return the numbers beside a target of `quantity` base units, signed."""
    ground, opinion = view.ground, view.opinion
    params = ground.plan.params
    fraction = share_held(ground, quantity)
    each = ground.limits.each
    head_room = {limit.name: limit.head_room(fraction) for limit in each}
    most = params.risk_limits.max_drawdown
    head_room["drawdown"] = (most - ground.drawdown) / most
    if ground.over is not None:
        whole = ground.plan.fleet_caps.max_drawdown
        head_room["fleet_drawdown"] = (whole - ground.over.drawdown) / whole
    variance = None if ground.variance is None or opinion.reason is not None else horizon_variance(view)
    var = next(limit.used(fraction) for limit in each if limit.name == "var")
    kelly = 0.0
    if variance is not None:
        size = kelly_alone(abs(opinion.edge_bps) - ground.cost_bps, view)
        kelly = size if opinion.edge_bps > 0 else 0.0 - size  # 0.0 - 0.0 is 0.0, where -0.0 is another text
    mid = (ground.bid + ground.ask) / 2
    return Numbers(kelly, variance, var, ground.equity, mid, head_room)
