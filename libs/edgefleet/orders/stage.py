"""The order step: targets, trading state, beats and a venue's words in; orders, fills and refusals out. Does no I/O."""

from __future__ import annotations

from collections.abc import Sequence

from edgefleet.messages import (
    Account,
    Approved,
    Beat,
    Command,
    GatewayOutcome,
    Reconciled,
    Session,
    Touch,
    TradingState,
    VenueOrder,
    VenueTrade,
)
from edgefleet.orders.decide import consider_lane, flatten, take_beat, take_target, take_touch, take_trading_state
from edgefleet.orders.facts import take_account, take_outcome, take_reconciled, take_venue_order, take_venue_trade
from edgefleet.orders.state import OrdersState
from edgefleet.orders.turn import Turn
from edgefleet.params.schema import FleetConfig
from edgefleet.stage import Input, Output

__all__ = ["OrderStage", "OrdersState"]


class OrderStage:
    """The executor's pure half. What it emits as PENDING_NEW or PENDING_CANCEL the gateway carries out."""

    service = "executor"
    inputs = ("control", "venue.events", "beats", "targets")
    state_type = OrdersState
    schema = 3

    def initial(self) -> OrdersState:
        """Return the shut state: HALTED, every gate shut, nothing held."""
        return OrdersState()

    def step(self, state: OrdersState, entry: Input, config: FleetConfig) -> Sequence[Output]:
        """Take one entry and return what follows from it, in order."""
        turn = Turn(state, entry, config)
        message = entry.message
        match message:
            case Touch():
                take_touch(turn, message)
            case Beat():
                take_beat(turn, message)
            case Approved():
                take_target(turn, message)
            case VenueOrder():
                consider_lane(turn, take_venue_order(turn, message))
            case VenueTrade():
                consider_lane(turn, take_venue_trade(turn, message))
            case GatewayOutcome():
                consider_lane(turn, take_outcome(turn, message))
            case Account():
                for lane in take_account(turn, message):
                    consider_lane(turn, lane)
            case Reconciled():
                for lane in take_reconciled(turn, message):
                    consider_lane(turn, lane)
            case TradingState():
                take_trading_state(turn, message)
            case Session():
                state.beats.clear()  # it may be at another time than the last one
            case Command():
                if message.verb == "flatten":
                    flatten(turn)
            case _:
                pass  # the streams carry messages for others too
        return turn.outputs
