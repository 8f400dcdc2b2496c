"""An order step on a desk: entries in, outputs out, the state passed through msgpack after every step."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from edgefleet.messages import Fill, Message, OrderEvent, OrderState, Refused
from edgefleet.orders.stage import OrdersState, OrderStage
from edgefleet.params.schema import ExecutionParams, FleetConfig, InstrumentParams, InstrumentsParams
from edgefleet.stage import Input, Output
from edgefleet.testing import build

M = TypeVar("M")
BTC = InstrumentParams(
    tick_size=Decimal("0.01"),
    lot_size=Decimal("0.00001"),
    min_quantity=Decimal("0.00001"),
    min_notional=Decimal(5),
)


def config(**execution: Any) -> FleetConfig:
    """Return a configuration with BTC/USDT and `execution` over the defaults."""
    return FleetConfig(instruments=InstrumentsParams(symbols={"BTC/USDT": BTC}), execution=ExecutionParams(**execution))


class Desk:
    """The order step and everything it has said."""

    def __init__(self, fleet: FleetConfig | None = None) -> None:
        self.stage = OrderStage()
        self.state: OrdersState = self.stage.initial()
        self.config = fleet or config()
        self.said: list[Output] = []
        self._n = 0

    def feed(self, *messages: Message) -> list[Output]:
        """Step each message on its own stream; return what the last one led to."""
        out: list[Output] = []
        for message in messages:
            self._n += 1
            out = list(self.stage.step(self.state, Input(_stream(message), f"{self._n}-0", message), self.config))
            self.state = msgspec.msgpack.decode(msgspec.msgpack.encode(self.state), type=OrdersState)
            self.said += out
        return out

    def open(self) -> Desk:
        """Open the market: ACTIVE, balances known, gate open, a touch seen."""
        self.feed(build.trading_state(), build.account(), build.reconciled(), build.touch())
        return self

    def all(self, kind: type[M]) -> list[M]:
        """Return everything of one kind that was said so far."""
        return [output.message for output in self.said if isinstance(output.message, kind)]

    @property
    def orders(self) -> list[OrderEvent]:
        """Return the new orders asked for."""
        return [event for event in self.all(OrderEvent) if event.state is OrderState.PENDING_NEW]

    @property
    def position(self) -> Decimal:
        """Return the position in BTC."""
        return self.state.position("main", build.INSTRUMENT)

    def execute(
        self, order: OrderEvent, quantity: Decimal | None = None, *, trade_id: str = "1", **changes: Any
    ) -> None:
        """Let the venue execute some or all of an order, told as a trade and then as the order's new state."""
        part = order.quantity if quantity is None else quantity
        self.feed(
            build.venue_trade(order_id=order.order_id, side=order.side, quantity=part, trade_id=trade_id, **changes)
        )


def refusals(outputs: list[Output]) -> list[str]:
    """Return the reasons told."""
    return [str(output.message.reason) for output in outputs if isinstance(output.message, Refused)]


def states(outputs: list[Output]) -> list[str]:
    """Return the order states told."""
    return [str(output.message.state) for output in outputs if isinstance(output.message, OrderEvent)]


def fills(outputs: list[Output]) -> list[Fill]:
    """Return the fills told."""
    return [output.message for output in outputs if isinstance(output.message, Fill)]


def _stream(message: Message) -> str:
    kind = type(message).__name__
    return {
        "Touch": "beats",
        "Beat": "beats",
        "Approved": "targets",
        "TradingState": "control",
        "Command": "control",
    }.get(kind, "venue.events")
