"""The whole computation of one verdict, number by number: what `decide` says, and all that lies before it.

Works nothing out by itself: each number is what a function of the stage returns. Pure; changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal

import msgspec

from edgefleet.clock import NS_PER_MS, iso
from edgefleet.messages import WeightedEdge
from edgefleet.params.schema import FleetConfig
from edgefleet.params.schema.risk import EdgeBlendingParams, ShrinkageParams
from edgefleet.risk.agreement import Likeness
from edgefleet.risk.blend import Weighed, blend, first_unsound, hear, trading_cost_bps, weigh
from edgefleet.risk.breakers import UNITS
from edgefleet.risk.decide import (
    View,
    Yes,
    decide,
    deserved,
    dwelt_ms,
    growth_factor,
    horizon_variance,
    in_lots,
    kelly_alone,
    look,
    numbers_of,
    pull_of,
    regime_factor,
    share_held,
    target_now,
)
from edgefleet.risk.exposures import Exposures, correlations_of, joint_now
from edgefleet.risk.fleet import Fleet
from edgefleet.risk.ground import Ground, distance, ground_of, impact_bps, left_of_drawdown, times_the_usual
from edgefleet.risk.kept import Kept
from edgefleet.risk.plan import RiskPlan
from edgefleet.risk.sizing import step_down
from edgefleet.risk.state import (
    Desk,
    Opinion,
    RiskState,
    drawdown,
    edges_of,
    enlarged_lately,
    is_fleet,
    position,
    range_of,
    unknown_quantity,
)
from edgefleet.risk.state import value_of as worth_of
from edgefleet.risk.unrolled import Blend
from edgefleet.risk.verdict import No
from edgefleet.units import ZERO

SHARE = "of equity"


class Number(msgspec.Struct, frozen=True, gc=False):
    """One number on the way to a verdict."""

    name: str
    value: float | int | Decimal | str | None  # None where it is not known
    unit: str
    formula: str  # of what it is made; for an input, where it comes from


class Group(msgspec.Struct, frozen=True):
    """Numbers that belong together, in the order in which they are worked out."""

    title: str
    numbers: tuple[Number, ...]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything between the inputs and the verdict on one instrument."""

    instrument: str
    time: int  # ns, stage time
    models: tuple[Group, ...]  # one per edge, as heard
    groups: tuple[Group, ...]
    limits: tuple[Group, ...]  # in the order in which they are applied; none where no decision got so far
    verdict: Yes | No
    head_room: dict[str, float]  # per limit, with the verdict's target held; of a refusal, with what is held

    def group(self, title: str) -> dict[str, Number]:
        """Return the numbers of a group by name, none where there is no such group."""
        found = [one for one in (*self.groups, *self.limits, *self.models) if one.title == title]
        return {number.name: number for number in found[0].numbers} if found else {}


def explain(state: RiskState, instrument: str, config: FleetConfig) -> Explanation:
    """Return the verdict that the risk stage would come to now, with the numbers that lead to it.

    Where the decision ends early (halted, no account, no price), what needs a sound market and account is left out.

    Raises
    ------
    ValueError
        If the state has no such instrument.
    """
    desk = state.desks.get(instrument)
    if desk is None:
        raise ValueError(f"risk has seen no {instrument}, but {', '.join(sorted(state.desks)) or 'nothing'}")
    plan = RiskPlan(config)
    joint = joint_now(state, desk.venue)
    known = None if joint is None else correlations_of(joint, plan.params.volatility.min_returns)
    exposures = Exposures(state, plan, desk.venue, desk.quote, known)
    fleet = Kept().fleet(state, plan) if is_fleet(state) else None
    ground = ground_of(state, desk, plan, exposures, fleet=fleet)
    verdict, view = decide(state, desk, ground), look(state, desk, ground)
    blending = plan.params.edge_blending
    likeness = desk.agreement.likeness(blending.agreement_min_samples)
    groups = [
        Group("blend", tuple(_blended(desk, blending, likeness))),
        Group("account", tuple(_account(state, desk, plan, exposures))),
        *([] if fleet is None else [Group("fleet", tuple(_fleet(fleet, state, plan, ground)))]),
        Group("breakers", tuple(_breakers(state, desk, plan))),
        Group("gates", tuple(_gates(state, desk, plan, ground))),
    ]
    limits: tuple[Group, ...] = ()
    head_room: dict[str, float] = {}
    if isinstance(view, View):
        quantity = verdict.quantity if isinstance(verdict, Yes) else target_now(view)
        groups += [
            Group("cost", tuple(_cost(view))),
            Group("variance", tuple(_variance(view))),
            Group("portfolio", tuple(_portfolio(view, exposures))),
            Group("size", tuple(_size(view))),
        ]
        limits = tuple(_limits(view, quantity))
        head_room = numbers_of(view, quantity).head_room
    return Explanation(
        instrument=instrument,
        time=state.time,
        models=tuple(_models(desk, blending, likeness)),
        groups=tuple(groups),
        limits=limits,
        verdict=verdict,
        head_room=head_room,
    )


def _models(desk: Desk, params: EdgeBlendingParams, likeness: Likeness) -> Iterator[Group]:
    edges = edges_of(desk)
    is_sound = first_unsound(edges) is None
    weighed, among = weigh(edges if is_sound else (), params, likeness)
    left = list(zip(weighed, among.shares, strict=True))
    for rule, heard in desk.heard.items():
        for edge in heard.edges:
            own = hear([edge], params) if is_sound else []
            kept = next((one for one in left if own and one[0] == own[0]), None)
            if kept is not None:
                left.remove(kept)
            weight = own[0][3] if own else None
            alike = None if kept is None else 1 / kept[1]
            yield Group(edge.model, tuple(_model(edge, rule, weight, alike, _fate(own, kept, is_sound))))


def _model(
    edge: WeightedEdge,
    rule: str,
    weight: float | None,
    alike: float | None,
    fate: str,
) -> Iterator[Number]:
    yield Number("rule", rule, "", "routing rule that chose it")
    yield Number("edge", edge.edge_bps, "bps", "e, as the model says")
    yield Number("confidence", edge.confidence, "", "c, as the model says")
    yield Number("horizon", edge.horizon_ms, "ms", "h, as the model says")
    yield Number("age", edge.age_ms, "ms", "market time since the model spoke, at the ensemble")
    yield Number("router weight", edge.weight, "", "as the router says")
    yield Number("weight", weight, "", "w = router weight * exp(-lambda) * exp(-age / tau)")
    yield Number("look-alikes", alike, "models", "L = 1 + sum over the others that are kept of max(rho, 0)^2")
    yield Number("is", fate, "", "kept, or why not")


def _fate(own: list[Weighed], kept: tuple[Weighed, float] | None, is_sound: bool) -> str:
    if not is_sound:
        return "not sound"
    if not own:
        return "below min confidence"
    return "kept" if kept is not None else "outweighed"


def _blended(desk: Desk, params: EdgeBlendingParams, likeness: Likeness) -> Iterator[Number]:
    opinion, shrinkage, edges = desk.opinion or Opinion(), params.shrinkage, edges_of(desk)
    if desk.opinion is None:
        yield Number("reason", "no ensemble has come yet", "", "why nothing is expected")
        return
    if opinion.reason is not None:
        why = " ".join(filter(None, (opinion.reason.value, opinion.input, opinion.detail)))
        yield Number("reason", why, "", "why nothing is expected")
        return
    found = blend(edges, params, likeness) if first_unsound(edges) is None else None
    if found is None or not _says(opinion, found):
        # The opinion is of the last ensemble: a configuration that came since speaks with the next.
        yield Number("note", "formed under another configuration", "", "the numbers below are those decided on")
    else:
        yield Number("models", found.models, "", f"kept, at most {params.max_models_to_blend}")
        yield Number("raw edge", found.raw_bps, "bps", "sum(a e) / sum(a), a = w c / L")
        yield Number("prior", shrinkage.prior_edge_bps, "bps", "prior_edge_bps")
        strength = shrinkage.shrinkage_strength if shrinkage.enabled else 0.0
        yield Number("shrinkage strength", strength, "", f"s, {shrinkage.mode}")
    yield Number("effective models", opinion.effective_models, "models", "n = (sum a)^2 / (a' R a)")
    yield Number("confidence", opinion.confidence, "", "C = sum(a) / sum(w / L)")
    yield Number("edge", opinion.edge_bps, "bps", f"E = {_pulled(shrinkage)}")
    yield Number("posterior sd", opinion.posterior_sd_bps, "bps", "sqrt(mean squared edge / (s / (1 - s) + C n))")
    yield Number("horizon", opinion.horizon_ms, "ms", "H = sum(a h) / sum(a)")
    yield Number("regime", opinion.regime, "", "the market's, as the ensemble names it")


def _pulled(params: ShrinkageParams) -> str:
    if not params.enabled:
        return "raw edge; shrinkage is off"
    by = "s" if params.mode == "legacy" else "(s / (1 - s)) / (s / (1 - s) + C n)"
    return f"raw edge, toward the prior by {by}"


def _says(opinion: Opinion, found: Blend) -> bool:
    return (opinion.edge_bps, opinion.confidence, opinion.horizon_ms, opinion.posterior_sd_bps) == (
        found.edge_bps,
        found.confidence,
        found.horizon_ms,
        found.posterior_sd_bps,
    )


def _account(state: RiskState, desk: Desk, plan: RiskPlan, exposures: Exposures) -> Iterator[Number]:
    for asset, units in sorted(state.holdings.get(desk.venue, {}).items()):
        worth = worth_of(state, desk.venue, asset, desk.quote)
        yield Number(f"{asset} worth", worth, desk.quote, f"{units:f} {asset}, longs at the bid, shorts at the ask")
    equity, peak = exposures.equity(), state.peaks.get(f"{desk.venue}|{desk.quote}")
    equity = equity if desk.venue in state.holdings else None
    yield Number("equity", equity, desk.quote, "sum of these")
    yield Number("peak", peak, desk.quote, "highest equity seen")
    if equity is None or not math.isfinite(equity):
        return
    fall, most = drawdown(state, desk.venue, desk.quote, equity), plan.params.risk_limits.max_drawdown
    yield Number("drawdown", fall, "of the peak", "d = 1 - equity / peak")
    yield Number("largest drawdown", most, "of the peak", "D, max_drawdown")
    yield Number("left of drawdown", left_of_drawdown(fall, plan.params), "", "(D - d) / (D (1 - d)), 1 at the peak")
    yield Number("position", position(state, desk), desk.base, "held")


def _fleet(fleet: Fleet, state: RiskState, plan: RiskPlan, ground: object) -> Iterator[Number]:
    """Yield what all accounts are worth and have lost; those that cannot be valued are named."""
    for one in fleet.accounts:
        yield Number(f"account {one.venue}", one.worth, fleet.quote, "its equity at the worse rate")
    equity, trouble = fleet.equity(), fleet.trouble
    yield Number("equity", equity, fleet.quote, "sum of these" if trouble is None else trouble.detail)
    yield Number("peak", state.peaks.get(f"|{fleet.quote}"), fleet.quote, "highest equity of all accounts seen")
    over = ground.over if isinstance(ground, Ground) else None
    if equity is None or over is None:
        return
    yield Number("drawdown", over.drawdown, "of the peak", f"at most {plan.fleet_caps.max_drawdown:g}")
    yield Number("weight", over.weight, "", "equity of the instrument's account / equity of all")
    yield Number("value at risk now", fleet.var(equity), SHARE, "sum of the accounts': nothing hedges across venues")


def _breakers(state: RiskState, desk: Desk, plan: RiskPlan) -> Iterator[Number]:
    for one in state.watch.scoped(desk.venue, desk.quote):
        limit = "not observed yet" if one.limit is None else f"limit {one.limit:g}"
        action = "" if one.action == "none" else f", action {one.action}"
        name = " ".join(filter(None, (one.name, one.scope)))
        yield Number(name, one.observed, UNITS[one.name], f"{one.state}, {limit}{action}")
    left = state.watch.scale(desk.venue, desk.quote, plan.params.breakers)
    share = plan.params.breakers.recovery.half_open_share
    yield Number("left of breakers", left, "", f"0 where one is OPEN, {share:g} where one is HALF_OPEN")


def _gates(state: RiskState, desk: Desk, plan: RiskPlan, ground: object) -> Iterator[Number]:
    params = plan.params
    yield Number("trading", state.trading, "", state.trading_reason)
    yield Number("data age", desk.age_ms, "ms", f"of the feed, at most {params.freshness.stale_after_ms}")
    if not isinstance(ground, Ground):
        return
    lag = None if ground.lag_ns is None else ground.lag_ns / NS_PER_MS
    yield Number("signal lag", lag, "ms", f"newest beat - newest watermark, at most {plan.signal_stale_ms}")
    orders, away = params.risk_limits.order_limits, distance(desk, (ground.bid + ground.ask) / 2)
    yield Number("price distance", away, "", f"from its mean of the last minutes, at most {orders.price_collar_pct:g}")
    most = params.risk_limits.vol_multiplier_limit
    yield Number("volatility", times_the_usual(desk), "times the usual", f"at most {most:g}")
    recent = enlarged_lately(state, desk.venue)
    yield Number("enlarged targets", recent, "in a minute", f"below {orders.max_changes_per_minute}")
    dwell = params.position_sizing.min_dwell_ms
    yield Number("target unchanged for", dwelt_ms(state, desk), "ms", f"at least {dwell}; not known before the first")
    unknown = unknown_quantity(state, desk.instrument)
    yield Number("orders in doubt", unknown, desk.base, "UNKNOWN ones; any bars enlarging")
    if ground.barred is not None:
        yield Number("barred", ground.barred.reason.value, "", ground.barred.detail or "nothing may be enlarged")


def _cost(view: View) -> Iterator[Number]:
    ground, terms = view.ground, view.ground.terms
    params, bid, ask = ground.plan.params, ground.bid, ground.ask
    sides = params.position_sizing.cost_sides
    yield Number("bid", bid, view.desk.quote, "at the touch")
    yield Number("ask", ask, view.desk.quote, "at the touch")
    fee = trading_cost_bps(bid, bid, terms.fee, sides)
    yield Number("fee", fee, "bps", f"{sides} * taker fee")
    spread = trading_cost_bps(bid, ask, 0.0, sides)
    yield Number("half spread", spread, "bps", f"{sides} * (ask - bid) / 2 / mid")
    impact = impact_bps(terms, ground.deviation, ground.equity / ask, params)
    law = f"{params.position_sizing.impact_coefficient:g} * s * sqrt(one step / day's volume)"
    yield Number("impact", impact, "bps", law if terms.daily_volume is not None else "no daily_volume is configured")
    yield Number("cost", ground.cost_bps, "bps", "fee + half spread + impact")
    if view.opinion.reason is None:
        yield Number("net edge", abs(view.opinion.edge_bps) - ground.cost_bps, "bps", "|E| - cost")


def _variance(view: View) -> Iterator[Number]:
    ground, returns = view.ground, view.desk.returns
    if ground.variance is None:
        needed = ground.plan.params.volatility.min_returns
        yield Number("returns", returns.count, "", f"of the mid, at least {needed}, and one that is not 0")
    yield Number("variance of a second", ground.variance, "per s", "weighted mean of r^2 / d")
    is_known = ground.variance is not None and view.opinion.reason is None
    over = horizon_variance(view) if is_known else None
    yield Number("variance over the horizon", over, "", "variance of a second * H")
    floor, about = view.desk.floor, "s = sqrt(variance of a second * 86400)"
    if floor is not None:
        about += ", not below the night's"
        yield Number("night's deviation", floor.deviation, "", f"what {floor.method} told of a day in {iso(floor.at)}")
    yield Number("day's deviation", ground.deviation, "", about)


def _portfolio(view: View, exposures: Exposures) -> Iterator[Number]:
    ground, beside, own = view.ground, view.ground.beside, view.desk
    least = ground.plan.params.risk_limits.correlated_from
    for name, desk in sorted(view.state.desks.items()):
        if desk is own or desk.venue != own.venue or not range_of(view.state, desk).worst > 0:
            continue
        rho = exposures.correlation(own.instrument, name)
        yield Number(
            f"correlation {name}", None if math.isnan(rho) else rho, "", f"rho; one cluster from {least:g}, or unknown"
        )
    yield Number("variance of the others", beside.variance, "a day, equity^2", "c' C c, whose correlations are known")
    yield Number("covariance with them", beside.covariance, "a day", "of a unit of this instrument, per its deviation")
    yield Number("deviations that add up", beside.linear, "a day, equity", "sum of r_j s_j: open orders, unknown rho")
    yield Number(
        "value at risk now", exposures.var(ground.equity), SHARE, "z (sqrt(c' C c) + sum of r_j s_j), 95 %, a day"
    )


def _size(view: View) -> Iterator[Number]:
    ground, opinion, terms = view.ground, view.opinion, view.ground.terms
    sizing, held = ground.plan.params.position_sizing, target_now(view)
    yield Number("target now", held, view.desk.base, "the last approved one, else the position")
    yield Number("held", share_held(ground, held), SHARE, "target now * ask / equity")
    if opinion.reason is not None or ground.variance is None:
        return
    sign = 1 if opinion.edge_bps > 0 else -1
    edge = abs(opinion.edge_bps)
    net = edge - ground.cost_bps
    yield Number("kelly fraction", sizing.kelly_fraction, "", "of the full Kelly bet")
    yield Number("share", view.ground.share, "", "kelly fraction * left of drawdown")
    yield Number(
        "kelly alone", kelly_alone(net, view), SHARE, "share * net edge / variance over the horizon, at least 0"
    )
    yield Number("others pull", pull_of(view, sign), SHARE, "sign * sum of C_ij x_j / C_ii")
    entry, stay = deserved(view, net, sign), deserved(view, edge, sign)
    yield Number("deserved", entry, SHARE, "kelly alone - others pull, at least 0")
    yield Number("deserved to stay", stay, SHARE, "the same of the gross edge: what is held has paid its cost")
    tightest, room = ground.limits.tightest(sign)
    yield Number("room", room, SHARE, f"least of all limits: {tightest.name}")
    wanted = growth_factor(view) * min(entry, room)
    stepped = step_down(wanted, terms.step)
    yield Number("left of breakers", ground.growth, "", "of what may be entered or grown to")
    yield Number("left of regime", regime_factor(view), "", "regime_scale of the regime")
    yield Number("wanted", wanted, SHARE, "the smaller of deserved and room, times what is left")
    yield Number("step", terms.step, SHARE, "size_step_fraction of the aimed cap")
    yield Number("in steps", stepped, SHARE, "wanted, down to a multiple of the step, below it to its halves")
    yield Number("lot", terms.lot, view.desk.base, "of the venue")
    yield Number("in lots", in_lots(ground, stepped, sign), view.desk.base, "in steps * equity / ask, toward zero")
    if held != ZERO:
        yield Number("no-trade band", sizing.no_trade_band, "of held", "what is held stays inside it")


def _limits(view: View, quantity: Decimal) -> Iterator[Group]:
    ground = view.ground
    fraction = share_held(ground, quantity)
    sign = -1 if fraction < 0 or (fraction == 0 and view.opinion.edge_bps < 0) else 1
    for limit in ground.limits.each:
        yield Group(
            limit.name,
            (
                Number("others", limit.used(0.0), SHARE, "used with nothing held here"),
                Number("aim", limit.aim, SHARE, "what sizing keeps to"),
                Number("cap", limit.cap, SHARE, "what a verdict refuses above"),
                Number("room", limit.room(sign), SHARE, "largest size here that keeps to the aim, on the edge's side"),
                Number("used", limit.used(fraction), SHARE, "with the verdict's target held"),
                Number("head-room", limit.head_room(fraction), "of the cap", "(cap - used) / cap"),
            ),
        )
