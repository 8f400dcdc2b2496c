"""One step's working place: the state, the entry, the configuration, and the outputs made so far."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal

from edgefleet.errors import Broken
from edgefleet.execution.placement import signed
from edgefleet.instruments import Instrument
from edgefleet.messages import (
    Alert,
    Approved,
    Beat,
    Fill,
    Message,
    OrderEvent,
    OrderState,
    Refusal,
    Refused,
    Touch,
    VenueOrder,
    VenueTrade,
)
from edgefleet.orders.machine import Order, may_follow
from edgefleet.orders.state import Lane, OrdersState
from edgefleet.params.schema import FleetConfig
from edgefleet.stage import Input, Output

# Operators and reconciles are stamped with a wall clock, which on a tape is years ahead of the market's.
_MARKET_STAMPED: Final = (Approved, Beat, Touch, VenueOrder, VenueTrade)


class Turn:
    """What one `step` works with. Lives for one entry."""

    def __init__(self, state: OrdersState, entry: Input, config: FleetConfig) -> None:
        self.state = state
        self.entry = entry
        self.config = config
        self.params = config.execution
        self.outputs: list[Output] = []
        self.ts_init: int = getattr(entry.message, "ts_init", 0)
        if isinstance(entry.message, _MARKET_STAMPED):
            state.time = max(state.time, entry.message.ts_event)

    def instrument(self, name: str) -> Instrument | None:
        """Return the instrument's rules, None where it is not configured."""
        return self.config.instruments.get(name)

    def move(self, order: Order, after: OrderState, reason: str = "") -> None:
        """Put `order` into `after` and say so on `orders`.

        Raises
        ------
        Broken
            If that state may not follow the order's own: the callers have asked before.
        """
        if not may_follow(order.state, after):
            raise Broken(f"order {order.order_id} cannot go from {order.state} to {after}")
        order.state = after
        self.announce(order, reason)

    def announce(self, order: Order, reason: str = "") -> None:
        """Say on `orders` what `order` now is."""
        self.outputs.append(
            Output(
                "orders",
                OrderEvent(
                    order_id=order.order_id,
                    venue_order_id=order.venue_order_id,
                    account=order.account,
                    instrument=order.instrument,
                    target_id=order.target_id,
                    leg=order.leg,
                    attempt=order.attempt,
                    state=order.state,
                    side=order.side,
                    kind=order.kind,
                    quantity=order.quantity,
                    price=order.price,
                    filled=order.filled,
                    reduce_only=order.reduce_only,
                    reason=reason,
                    ts_event=self.state.time,
                    ts_init=self.ts_init,
                    trace_id=order.trace_id,
                    cause=self.entry.cause,
                    config=self.config.hash,
                ),
            )
        )

    def fill(self, order: Order, trade: VenueTrade) -> None:
        """Book a venue's trade: the fill on `fills`, the assets in the holdings."""
        venue = trade.instrument.rpartition("@")[2]
        base, _, rest = trade.instrument.rpartition("@")[0].partition("/")
        change = signed(trade.side, trade.quantity)
        self.state.add_holding(trade.account, venue, base, change)
        self.state.add_holding(trade.account, venue, rest.partition(":")[0], -change * trade.price)
        self.state.add_holding(trade.account, venue, trade.fee_asset, -trade.fee)
        self.outputs.append(
            Output(
                "fills",
                Fill(
                    order_id=order.order_id,
                    venue_order_id=trade.venue_order_id,
                    trade_id=trade.trade_id,
                    target_id=order.target_id,
                    account=trade.account,
                    instrument=trade.instrument,
                    side=trade.side,
                    quantity=trade.quantity,
                    price=trade.price,
                    fee=trade.fee,
                    fee_asset=trade.fee_asset,
                    liquidity=trade.liquidity,
                    ts_event=trade.ts_event,
                    ts_init=trade.ts_init,
                    trace_id=trade.trace_id,
                    cause=self.entry.cause,
                    config=self.config.hash,
                ),
            )
        )

    def refuse(
        self,
        lane: Lane,
        target_id: str,
        reason: Refusal,
        limit: float | None = None,
        observed: float | None = None,
        detail: str = "",
        trace_id: str = "",
    ) -> None:
        """Say on `refusals` that a target is not acted on, with the number that decided."""
        self.outputs.append(
            Output(
                "refusals",
                Refused(
                    by="executor",
                    target_id=target_id,
                    account=lane.account,
                    instrument=lane.instrument,
                    reason=reason,
                    limit=limit,
                    observed=observed,
                    detail=detail,
                    ts_event=self.state.time,
                    ts_init=self.ts_init,
                    trace_id=trace_id,
                    cause=self.entry.cause,
                    config=self.config.hash,
                ),
            )
        )

    def alert(self, name: str, text: str, severity: Literal["info", "warning", "critical"] = "critical") -> None:
        """Tell a person."""
        self.outputs.append(
            Output(
                "alerts",
                Alert(
                    name=name,
                    severity=severity,
                    service="executor",
                    text=text,
                    ts_event=self.state.time,
                    ts_init=self.ts_init,
                ),
            )
        )

    def forward(self, stream: str, message: Message) -> None:
        """Pass a message on as it is."""
        self.outputs.append(Output(stream, message))

    def position(self, lane: Lane) -> Decimal:
        """Return the lane's position in base units."""
        return self.state.position(lane.account, lane.instrument)
