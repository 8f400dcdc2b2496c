"""A venue in a test's hand: it loses answers, forgets orders and remembers them, as it is told. Opens no socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Literal

from edgefleet.clock import Clock
from edgefleet.messages.orders import Balance
from edgefleet.venues.interface import (
    AccountReport,
    Answered,
    CancelResult,
    Connected,
    NewOrder,
    NotFound,
    OrderReport,
    PlaceResult,
    QueryResult,
    TradeReport,
    Unknown,
    UserEvent,
)


class FakeVenue:
    """An account at a venue that executes every order whole at 60,000, fee 0, unless it is told otherwise."""

    name = "sim"

    def __init__(self, clock: Clock) -> None:
        self.placed: list[NewOrder] = []  # each time an order came over the wire
        self.orders: dict[str, OrderReport] = {}
        self.trades: list[TradeReport] = []
        self.external: list[OrderReport] = []
        self.hidden: set[str] = set()  # client order ids that no answer shows
        self.answer: Literal["answer", "lose", "lose and hide", "refuse to take"] = "answer"
        self.offset_ns = 0
        self.queries = 0
        self.cancels: list[str] = []
        self._clock = clock
        self._events: asyncio.Queue[UserEvent] = asyncio.Queue()
        self._events.put_nowait(Connected())

    async def place(self, order: NewOrder) -> PlaceResult:
        self.placed.append(order)
        if self.answer == "refuse to take":
            return Unknown(reason="503 before it was taken")
        report, trade = self._execute(order)
        if self.answer == "lose and hide":
            self.hidden.add(order.order_id)
        if self.answer != "answer":
            return Unknown(reason="the answer was lost")
        return Answered(order=report, trades=(trade,))

    async def cancel(self, instrument: str, order_id: str) -> CancelResult:
        self.cancels.append(order_id)
        return NotFound(code="-2011", reason="Unknown order sent.")

    async def query(self, instrument: str, order_id: str) -> QueryResult:
        self.queries += 1
        if order_id in self.hidden or order_id not in self.orders:
            return NotFound(code="-2013", reason="Order does not exist.")
        return Answered(order=self.orders[order_id])

    async def open_orders(self) -> Sequence[OrderReport]:
        return self.external

    async def trades_since(self, instrument: str, trade_id: str | None) -> Sequence[TradeReport]:
        shown = {report.venue_order_id for name, report in self.orders.items() if name not in self.hidden}
        after = -1 if trade_id is None else int(trade_id)
        return [t for t in self.trades if int(t.trade_id) > after and t.venue_order_id in shown]

    async def account(self) -> AccountReport:
        held = sum((t.quantity if t.side == "buy" else -t.quantity for t in self.trades), Decimal(0))
        return AccountReport(balances={"BTC": Balance(free=held, locked=Decimal(0))}, ts_event=self._clock.wall_ns())

    async def server_time_offset_ns(self) -> int:
        return self.offset_ns

    def push(self, event: UserEvent) -> None:
        """Say something on the user stream."""
        self._events.put_nowait(event)

    async def user_events(self) -> AsyncIterator[UserEvent]:
        while True:
            yield await self._events.get()

    async def close(self) -> None:
        """Nothing is open."""

    def _execute(self, order: NewOrder) -> tuple[OrderReport, TradeReport]:
        number = str(len(self.trades) + 1)
        report = OrderReport(
            instrument=order.instrument,
            order_id=order.order_id,
            venue_order_id=number,
            status="FILLED",
            side=order.side,
            kind=order.kind,
            quantity=order.quantity,
            price=order.price,
            filled=order.quantity,
            ts_event=self._clock.wall_ns(),
        )
        trade = TradeReport(
            instrument=order.instrument,
            order_id="",
            venue_order_id=number,
            trade_id=number,
            side=order.side,
            quantity=order.quantity,
            price=Decimal(60_000),
            fee=Decimal(0),
            fee_asset="USDT",
            liquidity="taker",
            ts_event=self._clock.wall_ns(),
        )
        self.orders[order.order_id] = report
        self.trades.append(trade)
        return report, trade
