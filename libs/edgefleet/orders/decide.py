"""What to do about a target now: wait, cancel, place, or refuse. Knows no venue; what a venue said is in `facts`."""

from __future__ import annotations

import hashlib
from typing import Final

from edgefleet.book.sessions import closed_now
from edgefleet.execution.placement import NoOrder, Placement, Top, left_behind, plan, signed
from edgefleet.ids import client_order_id
from edgefleet.instruments import Instrument, home_of, split_id
from edgefleet.messages import FEEDS, Approved, Beat, OrderState, Refusal, Touch, TradingState
from edgefleet.orders.machine import Order
from edgefleet.orders.state import Goal, Lane, LastTouch
from edgefleet.orders.turn import Turn
from edgefleet.units import ZERO

NEVER: Final = 2**63 - 1
_NS_PER_MS: Final = 1_000_000


def take_target(turn: Turn, target: Approved) -> None:
    """Make `target` the lane's goal; the one before it ends, told where it was never acted on."""
    lane = turn.state.lane(target.account, target.instrument)
    if lane.goal is not None and lane.goal.by_operator:
        turn.refuse(lane, target.target_id, Refusal.REDUCING, detail="a flatten is under way", trace_id=target.trace_id)
        return
    end_goal(turn, lane, Refusal.SUPERSEDED, detail=f"by {target.target_id}")
    _aim(
        lane,
        Goal(
            target_id=target.target_id,
            quantity=target.quantity,
            expires_at=target.expires_at,
            algorithm=target.algorithm,
            trace_id=target.trace_id,
        ),
    )
    consider_lane(turn, lane)


def take_trading_state(turn: Turn, said: TradingState) -> None:
    """Obey the latch: HALTED cancels what is open, and ACTIVE that a person sets clears halted instruments."""
    turn.state.trading, turn.state.trading_reason = said.state, said.reason
    for lane in turn.state.lanes.values():
        if said.state == "HALTED":
            end_goal(turn, lane, Refusal.HALTED, detail=said.reason)
            cancel_open(turn, lane, f"HALTED: {said.reason}")
        else:
            if said.state == "ACTIVE" and said.by != FEEDS:
                lane.halted, lane.rejects = "", 0
            elif said.state == "REDUCING":
                cancel_open(turn, lane, f"REDUCING: {said.reason}", keep_reducing=True)
            consider_lane(turn, lane)


def take_touch(turn: Turn, touch: Touch) -> None:
    """Remember the best prices, and look again at what waits for them."""
    known = turn.state.touches.get(touch.instrument)
    turn.state.touches[touch.instrument] = LastTouch(touch.bid, touch.ask, 0, known is not None and known.quarantined)
    for lane in turn.state.lanes.values():
        if lane.instrument == touch.instrument:
            consider_lane(turn, lane)


def take_beat(turn: Turn, beat: Beat) -> None:
    """Remember how old each feed is; look again at every goal, for goals and resting orders grow old by the beat."""
    if turn.state.is_traded(beat.venue):  # one that is only followed may be at another time
        turn.state.beats[beat.venue] = max(beat.ts_event, turn.state.beats.get(beat.venue, 0))
    for touch in beat.touches:
        turn.state.touches[touch.instrument] = LastTouch(touch.bid, touch.ask, touch.age_ms, touch.quarantined)
    for lane in turn.state.lanes.values():
        consider_lane(turn, lane)


def flatten(turn: Turn) -> None:
    """Aim every position at zero, at market, on an operator's word. What an account counts in is cash and stays."""
    for instrument in turn.state.touches:
        _, venue = split_id(instrument)
        for key in turn.state.baseline:
            account, _, at = key.partition("|")
            if at == venue and turn.state.position(account, instrument) != 0:
                turn.state.lane(account, instrument)
    for lane in turn.state.lanes.values():
        if _is_cash(turn, lane.instrument):
            continue
        name = hashlib.sha256(f"{lane.account}|{lane.instrument}|{turn.entry.cause}".encode()).hexdigest()[:20]
        end_goal(turn, lane, Refusal.SUPERSEDED, detail="by a flatten")
        _aim(
            lane,
            Goal(
                target_id=f"f{name}",
                quantity=ZERO,
                expires_at=NEVER,
                algorithm="market",
                trace_id=turn.entry.cause,
                by_operator=True,
            ),
        )
        consider_lane(turn, lane)


def _is_cash(turn: Turn, instrument: str) -> bool:
    """Return whether what an instrument trades is cash: it is a rate, or what its account counts in."""
    symbol, venue = split_id(instrument)
    rates = {name for name in (instrument, *turn.state.touches) if turn.config.instruments.is_rate(name)}
    traded = [symbol for symbol, at in map(split_id, turn.state.touches.keys() - rates) if at == venue]
    quotes = {symbol.partition("/")[2].partition(":")[0] for symbol in traded}
    home = home_of(quotes, turn.config.risk_harmonizer.fleet_limits.quote)
    return instrument in rates or symbol.partition("/")[0] == home


def consider_lane(turn: Turn, lane: Lane | None) -> None:
    """Do the one next thing that brings the lane's position to its goal, if anything may be done now."""
    if lane is None or lane.goal is None:
        return
    goal = lane.goal
    if not goal.expires_at > turn.state.time:
        end_goal(turn, lane, Refusal.EXPIRED, limit=float(goal.expires_at), observed=float(turn.state.time))
        cancel_open(turn, lane, "the target expired")
        return
    if turn.state.trading == "HALTED" or lane.halted:
        end_goal(turn, lane, Refusal.HALTED, detail=lane.halted or turn.state.trading_reason)
        return
    instrument = turn.instrument(lane.instrument)
    if instrument is None:
        end_goal(turn, lane, Refusal.UNKNOWN_INSTRUMENT)
        return
    ready = _may_place(turn, lane, goal, instrument)
    if ready is not None and not _served_by_open_order(turn, lane, goal, instrument, ready):
        _place(turn, lane, goal, instrument, ready)


def end_goal(
    turn: Turn,
    lane: Lane,
    reason: Refusal,
    *,
    limit: float | None = None,
    observed: float | None = None,
    detail: str = "",
) -> None:
    """Let the lane's goal go; say so where it was never acted on."""
    goal = lane.goal
    lane.goal = None
    if goal is not None and not lane.acted:
        turn.refuse(lane, goal.target_id, reason, limit, observed, detail, goal.trace_id)


def cancel_open(turn: Turn, lane: Lane, reason: str, *, keep_reducing: bool = False) -> None:
    """Ask for the cancel of every open order of the lane; of one the venue may not have yet, as soon as it has."""
    for order in turn.state.lane_orders(lane):
        if keep_reducing and order.reduce_only:
            continue
        if order.state in (OrderState.PENDING_NEW, OrderState.UNKNOWN):
            order.cancel_wanted = True
        elif order.state in (OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED):
            turn.move(order, OrderState.PENDING_CANCEL, reason)


def _aim(lane: Lane, goal: Goal) -> None:
    lane.goal, lane.acted, lane.leg, lane.attempt = goal, False, 0, 0


def _wait(
    turn: Turn,
    lane: Lane,
    goal: Goal,
    reason: Refusal,
    limit: float | None = None,
    observed: float | None = None,
    detail: str = "",
) -> None:
    """Keep the goal, and tell why nothing is done about it when the reason is a new one."""
    if not lane.acted and lane.refusal is not reason:
        lane.refusal = reason
        turn.refuse(lane, goal.target_id, reason, limit, observed, detail, goal.trace_id)


def _may_place(turn: Turn, lane: Lane, goal: Goal, instrument: Instrument) -> Top | None:
    """Return the touch to act at, or None where something must be waited for."""
    shut = turn.state.shut(lane)
    if shut:
        _wait(turn, lane, goal, Refusal.NOT_READY, detail=shut)
        return None
    orders = turn.state.lane_orders(lane)
    if any(order.state is OrderState.PENDING_NEW for order in orders):
        return None  # a few milliseconds: the venue's answer is on its way
    for order in orders:
        if order.state is OrderState.UNKNOWN or (not order.is_open and not order.is_settled):
            _wait(turn, lane, goal, Refusal.UNRESOLVED_ORDER, detail=f"{order.order_id} is {order.state}")
            return None
    closed = closed_now(instrument.asset_class, turn.state.time)
    if closed is not None:
        _wait(turn, lane, goal, Refusal.MARKET_CLOSED, detail=closed)
        return None
    touch = turn.state.touches.get(lane.instrument)
    top = touch.top if touch is not None else None
    age_ms = turn.state.age_ms(lane.instrument)
    if touch is None or top is None or age_ms is None:
        _wait(turn, lane, goal, Refusal.NO_TOUCH)
        return None
    if not age_ms <= turn.params.stale_after_ms:
        _wait(turn, lane, goal, Refusal.STALE_DATA, float(turn.params.stale_after_ms), float(age_ms), "ms")
        return None
    if touch.quarantined:
        _wait(turn, lane, goal, Refusal.QUARANTINED, detail="its market data is not believed at present")
        return None
    return top


def _served_by_open_order(turn: Turn, lane: Lane, goal: Goal, instrument: Instrument, top: Top) -> bool:
    """Return whether an open order is at work or must end first; orders that are in the way are cancelled."""
    orders = [order for order in turn.state.lane_orders(lane) if order.is_open]
    if not orders:
        return False
    if len(orders) == 1 and _still_right(turn, orders[0], goal, instrument, top):
        lane.acted = True
    elif any(order.kind != "market" for order in orders):
        cancel_open(turn, lane, "in the way of a newer target or touch")
    return True


def _still_right(turn: Turn, order: Order, goal: Goal, instrument: Instrument, top: Top) -> bool:
    if order.state is OrderState.PENDING_CANCEL or order.kind != goal.algorithm or order.price is None:
        return False
    ends_at = turn.state.position(order.account, order.instrument) + signed(order.side, order.remaining)
    if turn.state.trading == "REDUCING" and not order.reduce_only:
        return False
    return (
        abs(goal.quantity - ends_at) < instrument.lot_size
        and turn.state.time - order.since < turn.params.resting_ms * _NS_PER_MS
        and not left_behind(order.side, order.price, top, instrument.tick_size, turn.params.reprice_ticks)
    )


def _place(turn: Turn, lane: Lane, goal: Goal, instrument: Instrument, top: Top) -> None:
    reducing = turn.state.trading == "REDUCING"
    planned = plan(goal.quantity, turn.position(lane), goal.algorithm, top, instrument, turn.params, reducing=reducing)
    if isinstance(planned, NoOrder):
        _nothing_to_place(turn, lane, goal, planned)
    elif lane.leg < turn.params.max_legs:
        _make_order(turn, lane, goal, planned)


def _nothing_to_place(turn: Turn, lane: Lane, goal: Goal, why: NoOrder) -> None:
    if why.reason is None:
        lane.acted, lane.refusal = True, None
    elif not lane.acted:
        _wait(turn, lane, goal, why.reason, why.limit, why.observed, why.detail)
        lane.acted = True  # it was decided on: that a newer target replaces it is no news
    if goal.by_operator:
        lane.goal = None


def _make_order(turn: Turn, lane: Lane, goal: Goal, planned: Placement) -> None:
    _, venue = split_id(lane.instrument)
    order = Order(
        order_id=client_order_id(lane.account, venue, goal.target_id, lane.leg, lane.attempt),
        account=lane.account,
        instrument=lane.instrument,
        target_id=goal.target_id,
        leg=lane.leg,
        attempt=lane.attempt,
        side=planned.side,
        kind=planned.kind,
        quantity=planned.quantity,
        price=planned.price,
        reduce_only=planned.reduce_only,
        state=OrderState.PENDING_NEW,
        since=turn.state.time,
        ts_init=turn.ts_init,
        trace_id=goal.trace_id,
        trades={},
    )
    turn.state.orders[order.order_id] = order
    lane.acted, lane.refusal = True, None
    lane.leg += 1
    turn.announce(order)
