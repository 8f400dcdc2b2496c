"""The risk layer: ensembles, beats and what became of orders in, verdicts out. Knows no bus and no clock."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from decimal import Decimal

from edgefleet.messages import (
    FEEDS,
    Account,
    Approved,
    Bar,
    Beat,
    Command,
    Ensemble,
    Fill,
    OrderEvent,
    Refusal,
    Refused,
    Touch,
    TradingState,
    Watermark,
    WeightedEdge,
)
from edgefleet.params.schema import FleetConfig
from edgefleet.params.schema.risk import EdgeBlendingParams, RiskParams
from edgefleet.risk.blend import blend, first_unsound
from edgefleet.risk.decide import Yes, decide, is_expiring
from edgefleet.risk.ground import Ground, NoEquity, ground_of
from edgefleet.risk.plan import RiskPlan
from edgefleet.risk.state import (
    Desk,
    Heard,
    Opinion,
    RiskState,
    Standing,
    desk_of,
    mark_peaks,
    position,
    standing_quantity,
    take_account,
    take_fill,
    take_order,
)
from edgefleet.risk.verdict import No
from edgefleet.stage import Input, Output
from edgefleet.units import ZERO, to_decimal

__all__ = ["RiskStage", "RiskState"]

TARGETS = "targets"
REFUSALS = "refusals"

_APPROVED = "approved"
_CENT = Decimal("0.01")


class RiskStage:
    """Decides anew with every `Ensemble` and every `Beat`, and says so only when the verdict changes.

    A verdict changes with its reason, its side or its target. A standing target that is still wanted is renewed when
    two thirds of its life are over, so its numbers are never older than that, and it never lapses in silence.
    """

    service = "risk"
    inputs = ("control", "fills", "orders", "beats", "ensembles")
    state_type = RiskState
    schema = 3

    def __init__(self) -> None:
        self._plan: RiskPlan | None = None
        self._known: RiskState | None = None  # the state that the grounds are of
        self._grounds: dict[str, Ground | NoEquity | No] = {}
        self._opinions: dict[str, tuple[tuple[WeightedEdge, ...], Opinion]] = {}  # by instrument: edges, their blend

    def initial(self) -> RiskState:
        """Return the shut state: HALTED, no account, no price."""
        return RiskState()

    def step(self, state: RiskState, entry: Input, config: FleetConfig) -> Sequence[Output]:
        """Take one entry and return the verdicts that follow from it."""
        plan = self._plan
        if plan is None or plan.config is not config:
            plan = self._plan = RiskPlan(config)
            self._grounds.clear()
            self._opinions.clear()
        if self._known is not state:
            self._known = state
            self._grounds.clear()
        message = entry.message
        if type(message) is Ensemble:
            return self._take_ensemble(state, entry, message, plan)
        self._grounds.clear()
        match message:
            case Touch():
                state.time = max(state.time, message.ts_event)
                desk = desk_of(state, message.instrument)
                desk.bid, desk.ask, desk.age_ms = float(message.bid), float(message.ask), 0
            case Beat():
                return self._take_beat(state, entry, message, plan)
            case Bar(backfill=True):
                desk = desk_of(state, message.instrument)
                desk.returns.sample(float(message.close), message.ts_event, plan.params.volatility.half_life_s)
            case Watermark():
                state.time = max(state.time, message.ts_event)
                state.watermark[message.venue] = max(state.watermark.get(message.venue, 0), message.ts_event)
            case Fill():
                state.time = max(state.time, message.ts_event)
                if message.account == plan.account:
                    take_fill(state, message)
            case OrderEvent():
                if message.account == plan.account:
                    take_order(state, message)
            case Account():
                if message.account == plan.account:
                    take_account(state, message)
            case TradingState():
                _take_trading_state(state, message)
            case Command():
                if message.verb == "flatten":
                    _take_flatten(state, plan.ttl_ns)
            case _:
                pass  # the streams carry messages for others too
        return ()

    def _take_ensemble(self, state: RiskState, entry: Input, message: Ensemble, plan: RiskPlan) -> Sequence[Output]:
        if message.ts_event > state.time:
            state.time = message.ts_event
        desk = state.desks.get(message.instrument)
        if desk is None:
            desk = desk_of(state, message.instrument)
            self._grounds.clear()  # what the account holds of its base now counts
        edges = _hear(desk, message, plan.signal_stale_ns)
        desk.opinion_cause = entry.cause
        desk.opinion = self._opinion(message, edges, plan)
        return _tell(state, desk, entry, message, self._ground(state, desk, plan), plan)

    def _take_beat(self, state: RiskState, entry: Input, message: Beat, plan: RiskPlan) -> Sequence[Output]:
        state.time = max(state.time, message.ts_event)
        state.beat[message.venue] = max(state.beat.get(message.venue, 0), message.ts_event)
        touched = []
        for touch in message.touches:
            desk = desk_of(state, touch.instrument)
            desk.quarantined = touch.quarantined
            _mark(desk, touch.bid, touch.ask, touch.age_ms, message.ts_event, plan.params)
            touched.append(desk)
        mark_peaks(state)
        return [
            output
            for desk in touched
            for output in _tell(state, desk, entry, message, self._ground(state, desk, plan), plan)
        ]

    def _opinion(self, message: Ensemble, edges: tuple[WeightedEdge, ...], plan: RiskPlan) -> Opinion:
        """Return what the edges come to; models mostly repeat themselves."""
        known = self._opinions.get(message.instrument)
        if known is not None and known[0] == edges:
            return known[1]
        silent = "" if edges else "; ".join([f"{one.model} {one.reason}" for one in message.abstained])
        opinion = form_opinion(edges, plan.params.edge_blending, silent)
        if opinion.reason is None:  # the others quote an edge's numbers, where the sign of a zero would show
            self._opinions[message.instrument] = edges, opinion
        return opinion

    def _ground(self, state: RiskState, desk: Desk, plan: RiskPlan) -> Ground | NoEquity | No:
        """Return what decisions on the desk rest on. It follows from the state, so it is kept out of it."""
        ground = self._grounds.get(desk.instrument)
        if ground is None:
            ground = self._grounds[desk.instrument] = ground_of(state, desk, plan)
        return ground


def form_opinion(edges: Sequence[WeightedEdge], params: EdgeBlendingParams, silent: str = "") -> Opinion:
    """Return the blend of `edges` as an opinion, or the reason why there is none."""
    if not edges:
        return Opinion(reason=Refusal.NO_MODELS, detail=silent)
    unsound = first_unsound(edges)
    if unsound is not None:
        return Opinion(reason=Refusal.NOT_FINITE, input=unsound)
    blended = blend(edges, params)
    if blended is None:
        return Opinion(
            reason=Refusal.LOW_CONFIDENCE,
            limit=params.min_confidence_threshold,
            observed=max(edge.confidence for edge in edges),
        )
    return Opinion(edge_bps=blended.edge_bps, confidence=blended.confidence, horizon_ms=blended.horizon_ms)


def target_id(account: str, instrument: str, cause: str) -> str:
    """Return the name of the target that `cause` led to: the same decision has the same name after any crash."""
    return "t" + hashlib.sha256(f"{account}|{instrument}|{cause}".encode()).hexdigest()[:20]


def _hear(desk: Desk, message: Ensemble, keep_ns: int) -> tuple[WeightedEdge, ...]:
    """Take what a rule listens to; return that of all rules which were heard lately: a rule may be gone for good."""
    desk.heard[message.rule] = Heard(message.ts_event, message.chosen)
    if len(desk.heard) == 1:
        return message.chosen
    since = message.ts_event - keep_ns
    desk.heard = {rule: heard for rule, heard in desk.heard.items() if heard.ts >= since}
    return tuple(edge for heard in desk.heard.values() for edge in heard.edges)


def _mark(
    desk: Desk, bid: Decimal | None, ask: Decimal | None, age_ms: int | None, ts: int, params: RiskParams
) -> None:
    """Take a beat's touch. A feed that has gone quiet says nothing of volatility, so its returns wait for the next."""
    desk.bid = None if bid is None else float(bid)
    desk.ask = None if ask is None else float(ask)
    desk.age_ms = age_ms
    if desk.bid is None or desk.ask is None or age_ms is None:
        return
    if age_ms <= params.freshness.stale_after_ms:
        desk.returns.sample((desk.bid + desk.ask) / 2, ts, params.volatility.half_life_s)


def _take_trading_state(state: RiskState, message: TradingState) -> None:
    """Obey the latch. A person who sets ACTIVE again sets with it the peak that drawdown is measured from."""
    if message.state == "ACTIVE" and state.trading != "ACTIVE" and message.by != FEEDS:
        state.peaks.clear()
    if message.state == "HALTED":
        for desk in state.desks.values():
            desk.standing = None  # the executor lets its goals go as well
    state.trading, state.trading_reason = message.state, message.reason


def _take_flatten(state: RiskState, ttl_ns: int) -> None:
    """Take an operator's flatten, which the executor carries out by itself, for a target of zero that was just set."""
    expires_at = state.time + ttl_ns
    for desk in state.desks.values():
        if desk.standing is not None or position(state, desk) != 0:
            desk.standing = Standing(quantity=ZERO, expires_at=expires_at)
            desk.changed_at = state.time


def _tell(
    state: RiskState,
    desk: Desk,
    entry: Input,
    cause: Ensemble | Beat,
    ground: Ground | NoEquity | No,
    plan: RiskPlan,
) -> Sequence[Output]:
    """Decide, and return the verdict where it says something new."""
    verdict = decide(state, desk, ground)
    if isinstance(verdict, No):
        side = desk.opinion.edge_bps if desk.opinion is not None else 0.0
        told = verdict.reason + ("+" if side > 0 else "-" if side < 0 else "")
        if told == desk.told:
            return ()
        desk.told = told
        return (Output(REFUSALS, _refused(verdict, desk, entry, cause, plan)),)
    if verdict.standing and desk.told == _APPROVED and not is_expiring(state, desk, plan):
        return ()
    approved = _approved(verdict, state, desk, entry, cause, plan)
    if not verdict.standing and verdict.quantity != standing_quantity(state, desk):
        desk.changed_at = state.time
    desk.told = _APPROVED
    desk.standing = Standing(quantity=verdict.quantity, expires_at=approved.expires_at)
    return (Output(TARGETS, approved),)


def _refused(verdict: No, desk: Desk, entry: Input, cause: Ensemble | Beat, plan: RiskPlan) -> Refused:
    opinion = desk.opinion
    return Refused(
        by="risk",
        target_id=None,
        account=plan.account,
        instrument=desk.instrument,
        reason=verdict.reason,
        limit=verdict.limit,
        observed=verdict.observed,
        input=verdict.input,
        edge_bps=opinion.edge_bps if opinion is not None and opinion.reason is None else None,
        detail=verdict.detail,
        ts_event=cause.ts_event,
        ts_init=cause.ts_init,
        trace_id=cause.trace_id,
        cause=entry.cause,
        edge_cause=desk.opinion_cause,
        config=plan.hash,
    )


def _approved(
    verdict: Yes, state: RiskState, desk: Desk, entry: Input, cause: Ensemble | Beat, plan: RiskPlan
) -> Approved:
    params = plan.params.verdicts
    opinion = desk.opinion or Opinion()
    before = standing_quantity(state, desk)
    held = position(state, desk) if before is None else before
    grows = abs(verdict.quantity) > abs(held)
    numbers = verdict.numbers()
    return Approved(
        target_id=target_id(plan.account, desk.instrument, entry.cause),
        account=plan.account,
        instrument=desk.instrument,
        quantity=verdict.quantity,
        expires_at=state.time + plan.ttl_ns,
        urgency=verdict.urgency,
        algorithm=params.entry_algorithm if grows else params.exit_algorithm,
        price=to_decimal(numbers.mid, verdict.view.ground.terms.rules.tick_size / 2),
        edge_bps=opinion.edge_bps,
        confidence=opinion.confidence,
        kelly_fraction=numbers.kelly,
        variance=numbers.variance,
        var_fraction=numbers.var,
        equity=to_decimal(numbers.equity, _CENT),
        binding=verdict.binding,
        head_room=numbers.head_room,
        ts_event=cause.ts_event,
        ts_init=cause.ts_init,
        trace_id=cause.trace_id,
        cause=entry.cause,
        edge_cause=desk.opinion_cause,
        config=plan.hash,
    )
