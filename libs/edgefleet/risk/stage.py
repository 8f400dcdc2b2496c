"""The risk layer: ensembles, beats and what became of orders in, verdicts out. Knows no bus and no clock."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

from edgefleet.book.sessions import ALWAYS_OPEN
from edgefleet.clock import NS_PER_MS
from edgefleet.instruments import split_id
from edgefleet.messages import (
    FEEDS,
    SESSION_START,
    Account,
    Bar,
    Beat,
    Command,
    Ensemble,
    Fill,
    NightlyVar,
    OrderEvent,
    Session,
    Touch,
    TradingState,
    Watermark,
)
from edgefleet.params.schema import FleetConfig
from edgefleet.risk.breakers import Move
from edgefleet.risk.budgets import refresh_budgets
from edgefleet.risk.decide import decide, is_expiring
from edgefleet.risk.kept import Kept
from edgefleet.risk.marks import sample_together, take_mark
from edgefleet.risk.observers import Feed, Sample
from edgefleet.risk.opinions import Opinions
from edgefleet.risk.plan import RiskPlan
from edgefleet.risk.state import (
    Desk,
    RiskState,
    Standing,
    count_enlargement,
    desk_of,
    forget_old_night,
    is_fleet,
    leave_other_venues,
    mark_fleet_peak,
    mark_peaks,
    note_beat,
    note_cash,
    position,
    rate,
    silent_venues,
    standing_quantity,
    take_account,
    take_fill,
    take_night,
    take_order,
)
from edgefleet.risk.told import REFUSALS, TARGETS, approved, ask, moved_output, opened_or_moved, refused
from edgefleet.risk.verdict import No
from edgefleet.risk.watch import Money
from edgefleet.stage import Input, Output
from edgefleet.units import ZERO

__all__ = ["RiskStage", "RiskState"]


_APPROVED = "approved"


class RiskStage:
    """Decides anew with every `Ensemble` and every `Beat`, and says so only when the verdict changes.

    A verdict changes with its reason, its side or its target. A standing target that is still wanted is renewed when
    two thirds of its life are over, so its numbers are never older than that, and it never lapses in silence.
    """

    service = "risk"
    inputs = ("control", "fills", "orders", "beats", "ensembles")
    state_type = RiskState
    schema = 4

    def __init__(self) -> None:
        self._plan: RiskPlan | None = None
        self._known: RiskState | None = None  # the state that the grounds are of
        self._kept = Kept()
        self._opinions = Opinions()

    def initial(self) -> RiskState:
        """Return the shut state: HALTED, no account, no price."""
        return RiskState()

    def step(self, state: RiskState, entry: Input, config: FleetConfig) -> Sequence[Output]:
        """Take one entry and return the verdicts that follow from it."""
        plan = self._plan
        if plan is None or plan.config is not config:
            plan = self._plan = RiskPlan(config)
            self._known = None
            note_cash(state, plan.params.fleet_limits.quote, plan.config.instruments.is_rate)
        if self._known is not state:
            self._known = state
            self._kept.forget_all()
            self._opinions.forget()
        message = entry.message
        if type(message) is Ensemble:
            return self._take_ensemble(state, entry, message, plan)
        if type(message) is Touch:
            return self._take_touch(state, message, plan)
        self._kept.forget()
        match message:
            case Beat():
                return self._take_beat(state, entry, message, plan)
            case Bar(backfill=True):
                desk = _desk(state, message.instrument, plan)
                volatility = plan.params.volatility
                desk.returns.sample(float(message.close), message.ts_event, volatility.half_life_s)
                desk.usual.sample(float(message.close), message.ts_event, volatility.usual_half_life_s)
            case Watermark():
                state.time = max(state.time, message.ts_event)
                state.watermark[message.venue] = max(state.watermark.get(message.venue, 0), message.ts_event)
            case Fill():
                state.time = max(state.time, message.ts_event)
                if message.account == plan.account:
                    take_fill(state, message)
                    _watch_fill(state, message, plan)
            case OrderEvent():
                if message.account == plan.account:
                    take_order(state, message)
                    state.watch.take_order(message.instrument.rpartition("@")[2], message)
            case Account():
                if message.account == plan.account:
                    take_account(state, message)
            case NightlyVar():
                take_night(state, message)
            case Session():
                leave_other_venues(state, {split_id(instrument)[1] for instrument in message.traded})
            case TradingState():
                return _take_trading_state(state, message, entry, plan)
            case Command():
                if message.verb == "flatten":
                    _take_flatten(state, plan.ttl_ns)
                elif message.verb == "resume" and state.trading == "ACTIVE":
                    return _begin_anew(state, entry, message, plan)
            case _:
                pass  # the streams carry messages for others too
        return ()

    def _take_touch(self, state: RiskState, message: Touch, plan: RiskPlan) -> Sequence[Output]:
        if message.ts_event > state.time:
            state.time = message.ts_event
        is_new = message.instrument not in state.desks
        desk = _desk(state, message.instrument, plan)
        desk.bid, desk.ask, desk.age_ms = float(message.bid), float(message.ask), 0
        if is_new:
            self._kept.forget()
        else:
            self._kept.follow_touch(desk)
        return ()

    def _take_ensemble(self, state: RiskState, entry: Input, message: Ensemble, plan: RiskPlan) -> Sequence[Output]:
        if message.ts_event > state.time:
            state.time = message.ts_event
        desk = state.desks.get(message.instrument)
        if desk is None:
            desk = _desk(state, message.instrument, plan)
            self._kept.forget()  # what the account holds of its base now counts
        desk.opinion_cause = entry.cause
        desk.opinion = self._opinions.form(desk, message, state.time, plan.signal_stale_ns, plan.blend)
        return self._tell(state, desk, entry, message, plan)

    def _take_beat(self, state: RiskState, entry: Input, message: Beat, plan: RiskPlan) -> Sequence[Output]:
        state.time = max(state.time, message.ts_event)
        note_beat(state, message.venue, message.ts_event)
        touched = []
        for touch in message.touches:
            desk = _desk(state, touch.instrument, plan)
            desk.quarantined = touch.quarantined
            forget_old_night(desk, message.ts_event, plan.night_ns)
            take_mark(desk, touch.bid, touch.ask, touch.age_ms, message.ts_event, plan.params)
            touched.append(desk)
        traded = [desk for desk in touched if not desk.is_cash]
        sample_together(state, message.venue, traded, message.ts_event, plan.params)
        known = self._kept.correlations(state, message.venue, plan)
        refresh_budgets(state, message.venue, known, state.time, plan.params)
        mark_peaks(state)
        mark_fleet_peak(state, plan.params.fleet_limits.quote)
        outputs = self._observe(state, entry, message, touched, plan)
        for desk in touched:
            outputs += self._tell(state, desk, entry, message, plan)
        return outputs

    def _observe(
        self, state: RiskState, entry: Input, beat: Beat, touched: Sequence[Desk], plan: RiskPlan
    ) -> list[Output]:
        """Hold what the breakers watch against their limits, and return what moved and what is asked for."""
        watch, params, ts = state.watch, plan.params, state.time
        feeds = _feeds(state, touched, plan)
        moves = watch.observe_venue(beat.venue, feeds, ts, params.breakers)
        for venue, late_ns in silent_venues(state).items():
            silent = [desk for desk in state.desks.values() if desk.venue == venue]
            moves += watch.observe_silence(venue, _feeds(state, silent, plan, late_ns), ts, params.breakers)
        accounts = {(desk.venue, desk.quote): desk for desk in touched if not desk.is_cash}
        for (venue, quote), desk in accounts.items() if beat.venue in state.holdings else ():
            exposures = self._kept.exposures(state, desk, plan)
            equity, peak = exposures.equity(), state.peaks.get(f"{venue}|{quote}", 0.0)
            if equity is None or (equity == 0 and peak == 0):
                continue
            is_known = not exposures.unknown and not exposures.troubles and equity > 0
            var = Sample(exposures.var(equity)) if is_known else Sample(None, enough=False)
            most, calendar = params.risk_limits.max_drawdown, plan.calendar(desk.instrument)
            money = Money(equity, peak, most, var, calendar)
            moves += watch.observe_account(f"{venue}|{quote}", money, ts, params.breakers)
        if is_fleet(state) and beat.venue in state.holdings:
            moves += self._observe_fleet(state, plan)
        told = [one for move in moves for one in opened_or_moved(move, state, entry, beat, plan)]
        if watch.flattening and not told and _is_flat(state, plan):
            told.append(ask("halt", f"flat after: {watch.flattening}", beat))
            watch.flattening = ""
        return told

    def _observe_fleet(self, state: RiskState, plan: RiskPlan) -> list[Move]:
        """Hold what all accounts have lost and risk together against their limits, where all can be valued."""
        fleet = self._kept.fleet(state, plan)
        equity, key = fleet.equity(), f"|{fleet.quote}"
        peak = state.peaks.get(key, 0.0)
        if equity is None or (equity == 0 and peak == 0):
            return []
        var = Sample(fleet.var(equity)) if fleet.is_known() and equity > 0 else Sample(None, enough=False)
        money = Money(equity, peak, plan.fleet_caps.max_drawdown, var, ALWAYS_OPEN)
        return state.watch.observe_account(key, money, state.time, plan.params.breakers)

    def _tell(
        self, state: RiskState, desk: Desk, entry: Input, cause: Ensemble | Beat, plan: RiskPlan
    ) -> Sequence[Output]:
        """Decide, and return the verdict where it says something new."""
        verdict = decide(state, desk, self._kept.ground(state, desk, plan))
        if isinstance(verdict, No):
            side = desk.opinion.edge_bps if desk.opinion is not None else 0.0
            told = verdict.reason + ("+" if side > 0 else "-" if side < 0 else "")
            if told == desk.told:
                return ()
            desk.told = told
            return (Output(REFUSALS, refused(verdict, desk, entry, cause, plan)),)
        if verdict.standing and desk.told == _APPROVED and not is_expiring(state, desk, plan):
            return ()
        before = standing_quantity(state, desk)
        held = position(state, desk) if before is None else before
        grows = abs(verdict.quantity) > abs(held)
        said = approved(verdict, state, desk, entry, cause, plan, grows=grows)
        if not verdict.standing and verdict.quantity != before:
            desk.changed_at = state.time
            if grows or verdict.quantity * held < 0:  # a turn to the other side is one, whatever its size
                count_enlargement(state, desk.venue)
        desk.told = _APPROVED
        desk.standing = Standing(quantity=verdict.quantity, expires_at=said.expires_at)
        self._kept.follow(desk)
        return (Output(TARGETS, said),)


def _desk(state: RiskState, instrument: str, plan: RiskPlan) -> Desk:
    """Return the instrument's desk; with a new one an account may come to count in another asset."""
    found = state.desks.get(instrument)
    if found is None:
        found = desk_of(state, instrument)
        note_cash(state, plan.params.fleet_limits.quote, plan.config.instruments.is_rate)
    return found


def _feeds(state: RiskState, desks: Sequence[Desk], plan: RiskPlan, late_ns: int = 0) -> list[Feed]:
    """Return the feeds of a venue's instruments; `late_ns` is how long it has not beaten while another did."""
    return [
        Feed(
            None if desk.age_ms is None else max(desk.age_ms, 0) + late_ns // NS_PER_MS,
            _is_worth_closing(state, desk, plan),
            plan.calendar(desk.instrument),
        )
        for desk in desks
    ]


def _take_trading_state(state: RiskState, message: TradingState, entry: Input, plan: RiskPlan) -> Sequence[Output]:
    """Obey the latch. A person who sets ACTIVE again ends with it what is open, and drawdown is measured from here."""
    outputs: list[Output] = []
    if message.state == "ACTIVE" and state.trading != "ACTIVE" and message.by not in (FEEDS, SESSION_START):
        outputs = _begin_anew(state, entry, message, plan)
    if message.state == "HALTED":
        for desk in state.desks.values():
            desk.standing = None  # the executor lets its goals go as well
    state.trading, state.trading_reason = message.state, message.reason
    return outputs


def _begin_anew(state: RiskState, entry: Input, said: TradingState | Command, plan: RiskPlan) -> list[Output]:
    """Let what a person ends go on probation, and measure losses from here."""
    state.peaks.clear()
    moves = state.watch.reset(state.time, by=said.by, reason=said.reason)
    return [moved_output(move, entry, said.ts_init, said.by, plan) for move in moves]


def _watch_fill(state: RiskState, fill: Fill, plan: RiskPlan) -> None:
    """Let the breakers see a fill; one of an instrument that is not configured cannot be told from a rest."""
    terms = plan.terms(fill.instrument)
    if isinstance(terms, No) or not (fill.quantity > 0 and fill.price > 0):
        return
    desk = _desk(state, fill.instrument, plan)
    worth = rate(state, desk.venue, fill.fee_asset, desk.quote, high=True)
    fee_rate = Decimal(repr(worth)) if worth is not None and 0 < worth < math.inf else None
    state.watch.take_fill(fill, terms.lot, fee_rate, plan.params.breakers)


def _is_flat(state: RiskState, plan: RiskPlan) -> bool:
    """Return whether nothing is held that could be closed, and no order may change that."""
    if any(order.remaining for order in state.orders.values()):
        return False
    return not any(_is_worth_closing(state, desk, plan) for desk in state.desks.values())


def _is_worth_closing(state: RiskState, desk: Desk, plan: RiskPlan) -> bool:
    """Return whether so much is held that the venue would take an order for it; without a price, anything."""
    terms, units = plan.terms(desk.instrument), abs(position(state, desk))
    if isinstance(terms, No) or units == 0:
        return False
    return desk.bid is None or terms.takes(units, desk.bid)


def _take_flatten(state: RiskState, ttl_ns: int) -> None:
    """Take an operator's flatten, which the executor carries out by itself, for a target of zero that was just set."""
    expires_at = state.time + ttl_ns
    for desk in state.desks.values():
        if desk.standing is not None or position(state, desk) != 0:
            desk.standing = Standing(quantity=ZERO, expires_at=expires_at)
            desk.changed_at = state.time
