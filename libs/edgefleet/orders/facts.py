"""What a venue said and what became of our commands, taken into the state. Decides nothing about what to do next."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from edgefleet.messages import (
    Account,
    GatewayOutcome,
    OrderState,
    Reconciled,
    VenueOrder,
    VenueTrade,
)
from edgefleet.messages.verdicts import Refusal
from edgefleet.orders.decide import cancel_open, end_goal
from edgefleet.orders.machine import UNSENT, Order, after_venue_word, may_follow
from edgefleet.orders.state import Lane
from edgefleet.orders.turn import Turn
from edgefleet.units import ZERO, decimal_text

OUR_PREFIX: Final = "ef"  # of every client order id this fleet makes
WOULD_TAKE: Final = "WOULD_TAKE"  # GatewayOutcome.code: a post-only order would have traded at once


def take_venue_order(turn: Turn, said: VenueOrder) -> Lane | None:
    """Take a venue's word about an order; None where the order is not ours."""
    order = _find(turn, said.order_id)
    if order is None:
        if not said.order_id.startswith(OUR_PREFIX):
            return None
        order = _adopt(turn, said)
    if order.quantity == 0:
        order.quantity = said.quantity
    order.venue_order_id = order.venue_order_id or said.venue_order_id
    before, known = order.state, order.filled
    after = after_venue_word(order, said.status, said.filled)
    order.filled = max(known, said.filled)
    if before in UNSENT and after not in UNSENT:
        turn.alert("order_came_back", f"{order.order_id} was {before} and the venue now says {said.status}")
    lane = turn.state.lane(order.account, order.instrument)
    _arrive(turn, order, after, known)
    if order.state is OrderState.REJECTED and before is not OrderState.REJECTED:
        _count_reject(turn, lane, order, "REJECTED", "said on the user stream")
    elif order.state not in UNSENT:
        lane.rejects = 0
    return lane


def take_venue_trade(turn: Turn, trade: VenueTrade) -> Lane | None:
    """Book a venue's trade once; None where the order is not ours or the trade was booked before."""
    order = _find(turn, trade.order_id)
    if order is None:
        if not trade.order_id.startswith(OUR_PREFIX) or _is_retired(turn, trade):
            return None
        order = _adopt_by_trade(turn, trade)
    if trade.trade_id in order.trades:
        booked = order.trades[trade.trade_id]
        if booked != trade.fee:
            turn.alert("trade_told_differently", f"the fee of trade {trade.trade_id} was {booked}, is now {trade.fee}")
        return None
    order.trades[trade.trade_id] = trade.fee
    order.venue_order_id = order.venue_order_id or trade.venue_order_id
    order.booked += trade.quantity
    turn.fill(order, trade)
    known, order.filled = order.filled, max(order.filled, order.booked)
    lane = turn.state.lane(order.account, order.instrument)
    if order.quantity > 0:
        _arrive(turn, order, after_venue_word(order, "PARTIALLY_FILLED", order.filled), known)
        _halt_on_overfill(turn, lane, order)
    elif order.is_settled:
        turn.state.settle(order)
    return lane


def take_outcome(turn: Turn, outcome: GatewayOutcome) -> Lane | None:
    """Take what became of a command; None where it changes nothing."""
    order = turn.state.orders.get(outcome.order_id)
    if order is None:
        return None
    lane = turn.state.lane(order.account, order.instrument)
    if outcome.command == "cancel":
        return lane if _cancel_outcome(turn, order, outcome) else None
    after = _after_outcome(order, outcome)
    if after is None:
        return None
    turn.move(order, after, f"{outcome.code} {outcome.reason}".strip())
    if order.is_settled:
        turn.state.settle(order)
    if order.state in UNSENT:
        _count_reject(turn, lane, order, outcome.code, outcome.reason)
    return lane


def take_account(turn: Turn, account: Account) -> list[Lane]:
    """Take the venue's balances over and forward them on `fills`; a difference to our own books is told.

    The gateway commits an `Account` after exactly the trades that it includes, so it replaces what fills added up to.
    """
    known = f"{account.account}|{account.venue}"
    prefix = f"{known}|"
    told = {f"{prefix}{asset}": held.free + held.locked for asset, held in account.balances.items()}
    if known in turn.state.baseline:
        _tell_drift(turn, prefix, told)
    for key in [key for key in turn.state.holdings if key.startswith(prefix)]:
        del turn.state.holdings[key]
    turn.state.holdings.update(told)
    turn.state.baseline[known] = True
    turn.forward("fills", account)
    return list(turn.state.lanes.values())


def take_reconciled(turn: Turn, said: Reconciled) -> list[Lane]:
    """Open or shut the start gate of an account."""
    turn.state.gates[f"{said.account}|{said.venue}"] = "" if said.ready else said.reason or "no reason was told"
    for order_id in said.unresolved:
        order = turn.state.orders.get(order_id)
        if order is not None and order.state is OrderState.PENDING_NEW:
            turn.move(order, OrderState.UNKNOWN, "intended before a restart, outcome not known")
    return list(turn.state.lanes.values())


_NEW_OUTCOMES: Final = {
    "REJECTED": OrderState.REJECTED,
    "RESOLVED_ABSENT": OrderState.REJECTED,
    "DENIED": OrderState.DENIED,
    "UNKNOWN": OrderState.UNKNOWN,
}


def _after_outcome(order: Order, outcome: GatewayOutcome) -> OrderState | None:
    """Return the state a new order's outcome leads to, None where the venue's own word was faster."""
    if outcome.outcome == "NOT_FOUND":
        lost = order.is_open and order.state not in (OrderState.PENDING_NEW, OrderState.UNKNOWN)
        return OrderState.UNKNOWN if lost else None
    after = _NEW_OUTCOMES.get(outcome.outcome)
    if after is None or order.state not in (OrderState.PENDING_NEW, OrderState.UNKNOWN) or order.state is after:
        return None
    if after is OrderState.REJECTED and order.filled > 0:
        return OrderState.EXPIRED  # some of it was executed, and the rest is not there
    return after


def _find(turn: Turn, order_id: str) -> Order | None:
    return turn.state.orders.get(order_id) or turn.state.settled.get(order_id)


def _arrive(turn: Turn, order: Order, after: OrderState, known_filled: Decimal) -> None:
    """Put the order where a venue's word leads, then out of the way if it is settled, or into a wanted cancel."""
    if (after is not order.state or order.filled != known_filled) and may_follow(order.state, after):
        turn.move(order, after)
    if order.is_open:
        turn.state.settled.pop(order.order_id, None)
        turn.state.orders[order.order_id] = order
    if order.is_settled:
        turn.state.settle(order)
    elif order.cancel_wanted and order.state in (OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED):
        turn.move(order, OrderState.PENDING_CANCEL, "wanted before the venue's answer was known")
    elif not order.is_open:
        turn.state.settled.pop(order.order_id, None)
        turn.state.orders[order.order_id] = order


def _cancel_outcome(turn: Turn, order: Order, outcome: GatewayOutcome) -> bool:
    """Take a cancel's outcome; a lost or late one changes nothing, for the gateway asks again until it knows."""
    if order.state is not OrderState.PENDING_CANCEL:
        return False
    if outcome.outcome in ("REJECTED", "DENIED"):
        order.cancel_wanted = False
        turn.move(order, OrderState.PARTIALLY_FILLED if order.filled > 0 else OrderState.ACCEPTED, outcome.reason)
    elif outcome.outcome == "NOT_FOUND":
        turn.move(order, OrderState.UNKNOWN, "the venue does not find what it had accepted")
    return True


def _count_reject(turn: Turn, lane: Lane, order: Order, code: str, reason: str) -> None:
    """End the goal behind an order that did not come to be.

    It stays where a post-only order may be priced anew, and where only the start gate kept the order back.
    """
    if code == WOULD_TAKE and lane.attempt + 1 < turn.params.max_attempts:
        lane.leg, lane.attempt = order.leg, lane.attempt + 1
        return
    if lane.goal is not None and lane.goal.target_id == order.target_id:
        if order.state is OrderState.DENIED and turn.state.shut(lane):
            lane.acted = False  # the order met the shut gate: the goal waits for it to open, and says so
        else:
            if lane.goal.by_operator:
                said = f"{order.order_id} is {order.state}: {code} {reason}".rstrip()
                turn.alert("flatten_failed", f"{lane.instrument} is not flat, and nothing more is sent: {said}")
            lane.goal = None
    if order.state is OrderState.REJECTED:
        lane.rejects += 1
        if lane.rejects >= turn.params.max_rejects and not lane.halted:
            lane.halted = f"{lane.rejects} orders rejected in a row, the last with {code} {reason}".strip()
            turn.alert("instrument_halted", f"{lane.instrument}: {lane.halted}")


def _halt_on_overfill(turn: Turn, lane: Lane, order: Order) -> None:
    if not order.booked <= order.quantity and not lane.halted:
        lane.halted = (
            f"order {order.order_id} of {decimal_text(order.quantity)} has fills of {decimal_text(order.booked)}"
        )
        turn.alert("overfill", f"{lane.instrument}: {lane.halted}")
        end_goal(turn, lane, Refusal.HALTED, detail=lane.halted)
        cancel_open(turn, lane, "overfill")


def _tell_drift(turn: Turn, prefix: str, told: dict[str, Decimal]) -> None:
    ours = {key: value for key, value in turn.state.holdings.items() if key.startswith(prefix)}
    for key in sorted(ours.keys() | told.keys()):
        if ours.get(key, ZERO) != told.get(key, ZERO):
            text = f"{key.removeprefix(prefix)}: ours {ours.get(key, ZERO)}, the venue's {told.get(key, ZERO)}"
            turn.alert("account_drift", text, "warning")


def _is_retired(turn: Turn, trade: VenueTrade) -> bool:
    """Return whether the trade belongs to an order settled so long ago that its trade ids are no longer kept."""
    highest = turn.state.retired_trades.get(trade.instrument)
    return highest is not None and trade.trade_id.isdecimal() and int(trade.trade_id) <= highest


def _adopt(turn: Turn, said: VenueOrder) -> Order:
    """Return a record of an order with our name that our state does not know: Redis was flushed or rolled back."""
    order = Order(
        order_id=said.order_id,
        account=said.account,
        instrument=said.instrument,
        target_id="",
        leg=0,
        attempt=0,
        side=said.side,
        kind=said.kind,
        quantity=said.quantity,
        price=said.price,
        reduce_only=False,
        state=OrderState.UNKNOWN,
        since=turn.state.time,
        ts_init=said.ts_init,
        trace_id=said.trace_id,
        trades={},
    )
    turn.state.orders[order.order_id] = order
    turn.alert("order_adopted", f"{said.order_id} of {said.instrument} is ours by name and not in our state", "warning")
    return order


def _adopt_by_trade(turn: Turn, trade: VenueTrade) -> Order:
    order = Order(
        order_id=trade.order_id,
        account=trade.account,
        instrument=trade.instrument,
        target_id="",
        leg=0,
        attempt=0,
        side=trade.side,
        kind="market",
        quantity=ZERO,  # not known before the venue says
        price=None,
        reduce_only=False,
        state=OrderState.UNKNOWN,
        since=turn.state.time,
        ts_init=trade.ts_init,
        trace_id=trade.trace_id,
        trades={},
    )
    turn.state.orders[order.order_id] = order
    turn.alert("order_adopted", f"a trade of {trade.order_id} came, an order of our name that our state does not know")
    return order
