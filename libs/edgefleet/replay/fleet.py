"""The fleet's own stages driven by a tape, in one process and in one order: the same run twice is the same run.

Knows no socket and no clock. Each line of the tape first moves the simulated exchange, then goes through the feed and,
breadth first, through every stage that reads what came out, before the next line is read. Orders reach the exchange
at once: what a network would have delayed is not simulated here, which is why targets, orders and fills of a live
session are compared by twin and not by digest.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

from edgefleet.alpha.stage import AlphaStage
from edgefleet.bus.interface import Entry
from edgefleet.clock import NS_PER_MS
from edgefleet.ensemble.stage import RouterStage
from edgefleet.ledger.stage import LedgerStage
from edgefleet.matching.engine import Side
from edgefleet.matching.exchange import (
    AccountTrade,
    Execution,
    ExecutionType,
    Fees,
    Order,
    OrderRequest,
    OrderType,
    SimExchange,
)
from edgefleet.matching.filters import VenueReject, rules_for
from edgefleet.messages import (
    Account,
    Balance,
    Command,
    GatewayOutcome,
    Message,
    OrderEvent,
    OrderState,
    Reconciled,
    TradingState,
    VenueOrder,
    VenueTrade,
    encode,
    tag_of,
)
from edgefleet.orders.stage import OrderStage
from edgefleet.params.schema import FleetConfig
from edgefleet.risk.stage import RiskStage
from edgefleet.stage import Input, Output, Stage

Sink = Callable[[str, Entry], None]
Latched = Literal["ACTIVE", "REDUCING", "HALTED"]

_LATCHES: dict[str, Latched] = {"reduce": "REDUCING", "halt": "HALTED"}  # what a command of risk asks for

_STATUS: dict[str, Literal["NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "REJECTED", "EXPIRED"]] = {
    "NEW": "NEW",
    "PARTIALLY_FILLED": "PARTIALLY_FILLED",
    "FILLED": "FILLED",
    "CANCELED": "CANCELED",
    "EXPIRED": "EXPIRED",
    "EXPIRED_IN_MATCH": "EXPIRED",
}
_SIDE = {"buy": Side.BUY, "sell": Side.SELL}
_KIND = {"market": OrderType.MARKET, "limit": OrderType.LIMIT, "post_only": OrderType.LIMIT_MAKER}


class InProcessFleet:
    """All stages of one fleet around one simulated exchange.

    Parameters
    ----------
    config
        The configuration, the same from the first line to the last.
    exchange
        The venue; its account is the fleet's.
    sink
        Is given every entry of every stream, in order.
    """

    def __init__(self, config: FleetConfig, venue: str, exchange: SimExchange, sink: Sink) -> None:
        self.config = config
        self.venue = venue
        self.exchange = exchange
        self._sink = sink
        self._account = config.fleet.account
        stages: Sequence[Stage[Any]] = (AlphaStage(), RouterStage(), RiskStage(), OrderStage(), LedgerStage())
        self._readers: dict[str, list[tuple[Stage[Any], Any]]] = {}
        for stage in stages:
            state = stage.initial()
            for stream in stage.inputs:
                self._readers.setdefault(stream, []).append((stage, state))
        self._queue: deque[Input] = deque()
        self._count = 0
        self._latched: Latched = "ACTIVE"
        self._now = 0
        self._listed = {f"{one.base}/{one.quote}@{venue}": name for name, one in exchange.rules.items()}

    def open(self, now: int) -> None:
        """Begin the session: the latch is ACTIVE, the account is known, the start gate is open."""
        self._now = now
        state = TradingState(state="ACTIVE", reason="session start", by="replay", ts_event=now, ts_init=now)
        self._append("control", state)
        self._append("venue.events", self.account("start"))
        gate = Reconciled(
            account=self._account, venue=self.venue, ready=True, ours=(), external=(), orphans=(), unresolved=(),
            ts_event=now, ts_init=now, trace_id="replay",
        )  # fmt: skip
        self._append("venue.events", gate)
        self._run()

    def on_market(self, outputs: Iterable[Output]) -> None:
        """Take what ingestion made of one frame and all that follows from it."""
        for output in outputs:
            self._now = max(self._now, getattr(output.message, "ts_event", 0))
            self._append(output.stream, output.message)
        self._run()

    def on_executions(self, executions: Iterable[Execution]) -> None:
        """Take what the market did to resting orders."""
        for execution in executions:
            self._report(execution, "stream")
        self._run()

    def close(self) -> None:
        """End the session: cancel what is open and write the last account down."""
        for order in self.exchange.open_orders():
            self._report(self.exchange.cancel(order.symbol, order_id=order.order_id), "stream")
        self._append("venue.events", self.account("stop"))
        self._run()

    def account(self, reason: Literal["start", "stop"]) -> Account:
        """Return what the exchange says the account holds."""
        balances = {asset: Balance(free=b.free, locked=b.locked) for asset, b in self.exchange.account().items()}
        return Account(
            account=self._account, venue=self.venue, balances=balances, reason=reason,
            ts_event=self._now, ts_init=self._now, trace_id=f"{self.venue}:account:{reason}",
        )  # fmt: skip

    def venue_trades(self) -> tuple[VenueTrade, ...]:
        """Return every trade of the account in the exchange's own books."""
        return tuple(
            self._venue_trade(trade)
            for symbol in self.exchange.rules
            for trade in self.exchange.trades(symbol, from_id=0, limit=sys.maxsize)
        )

    def _append(self, stream: str, message: Message) -> None:
        self._count += 1
        entry_id = f"{self._count}-0"
        self._sink(stream, Entry(entry_id, tag_of(message), encode(message)))
        self._queue.append(Input(stream, entry_id, message))

    def _run(self) -> None:
        while self._queue:
            entry = self._queue.popleft()
            for stage, state in self._readers.get(entry.stream, ()):
                for output in stage.step(state, entry, self.config):
                    self._append(output.stream, output.message)
            if entry.stream == "orders" and isinstance(entry.message, OrderEvent):
                self._carry_out(entry.message)
            elif entry.stream == "control" and isinstance(entry.message, Command):
                self._obey(entry.message)

    def _obey(self, command: Command) -> None:
        """Move the latch as the executor's gateway does when risk asks; in a replay nobody resumes."""
        state = _LATCHES.get(command.verb)
        if state is not None and state != self._latched and self._latched != "HALTED":
            self._latched = state
            ts = command.ts_event
            self._append(
                "control",
                TradingState(state=state, reason=command.reason, by=command.by, ts_event=ts, ts_init=command.ts_init),
            )

    def _carry_out(self, event: OrderEvent) -> None:
        if event.state is OrderState.PENDING_NEW:
            self._place(event)
        elif event.state is OrderState.PENDING_CANCEL:
            self._cancel(event)

    def _place(self, event: OrderEvent) -> None:
        symbol = self._listed[event.instrument]
        request = OrderRequest(
            symbol=symbol,
            side=_SIDE[event.side],
            type=_KIND[event.kind],
            quantity=event.quantity,
            price=event.price,
            client_order_id=event.order_id,
        )
        try:
            order, executions = self.exchange.place(request)
        except VenueReject as reject:
            self._outcome(event, "new", "REJECTED", str(reject.code), reject.message)
            return
        self._outcome(event, "new", "SENT")
        if not executions:
            self._append("venue.events", self._venue_order(order, "answer"))
        for execution in executions:
            self._report(execution, "answer")

    def _cancel(self, event: OrderEvent) -> None:
        symbol = self._listed[event.instrument]
        try:
            execution = self.exchange.cancel(symbol, client_order_id=event.order_id)
        except VenueReject as reject:
            self._outcome(event, "cancel", "NOT_FOUND", str(reject.code), reject.message)
            return
        self._report(execution, "answer")

    def _outcome(
        self,
        event: OrderEvent,
        command: Literal["new", "cancel"],
        outcome: Literal["SENT", "REJECTED", "NOT_FOUND"],
        code: str = "",
        reason: str = "",
    ) -> None:
        message = GatewayOutcome(
            account=event.account,
            instrument=event.instrument,
            order_id=event.order_id,
            command=command,
            outcome=outcome,
            code=code,
            reason=reason,
            ts_event=self._now,
            ts_init=event.ts_init,
            trace_id=event.trace_id,
        )
        self._append("venue.events", message)

    def _report(self, execution: Execution, source: Literal["stream", "answer"]) -> None:
        if execution.type is ExecutionType.TRADE and execution.trade is not None:
            self._append("venue.events", self._venue_trade(execution.trade))
        self._append("venue.events", self._venue_order(execution.order, source))

    def _venue_trade(self, trade: AccountTrade) -> VenueTrade:
        return VenueTrade(
            account=self._account,
            instrument=self._instrument(trade.symbol),
            order_id=trade.client_order_id,
            venue_order_id=str(trade.order_id),
            trade_id=str(trade.trade_id),
            side="buy" if trade.side is Side.BUY else "sell",
            quantity=trade.quantity,
            price=trade.price,
            fee=trade.commission,
            fee_asset=trade.commission_asset,
            liquidity="maker" if trade.is_maker else "taker",
            ts_event=trade.time * NS_PER_MS,
            ts_init=self._now,
            trace_id=f"{self.venue}:{trade.symbol}:trade:{trade.trade_id}",
        )

    def _venue_order(self, order: Order, source: Literal["stream", "answer"]) -> VenueOrder:
        kinds: dict[OrderType, Literal["market", "limit", "post_only"]] = {
            OrderType.MARKET: "market",
            OrderType.LIMIT: "limit",
            OrderType.LIMIT_MAKER: "post_only",
        }
        return VenueOrder(
            account=self._account,
            instrument=self._instrument(order.symbol),
            order_id=order.client_order_id,
            venue_order_id=str(order.order_id),
            status=_STATUS[order.status],
            side="buy" if order.side is Side.BUY else "sell",
            kind=kinds[order.type],
            quantity=order.quantity,
            price=order.price or None,
            filled=order.executed,
            source=source,
            ts_event=order.update_time * NS_PER_MS,
            ts_init=self._now,
            trace_id=f"{self.venue}:{order.symbol}:order:{order.order_id}",
        )

    def _instrument(self, symbol: str) -> str:
        rules = self.exchange.rules[symbol]
        return f"{rules.base}/{rules.quote}@{self.venue}"


def exchange_for(
    config: FleetConfig, venue: str, symbols: Sequence[str], balances: Mapping[str, Decimal]
) -> SimExchange:
    """Return a simulated exchange that lists `symbols` at the configured fees.

    Raises
    ------
    Misuse
        If the simulated venue does not know a symbol's trading rules.
    """
    params = config.venues.venues.get(venue)
    fees = Fees(maker=params.maker_fee, taker=params.taker_fee) if params is not None else Fees()
    return SimExchange([rules_for(symbol) for symbol in symbols], balances, fees)
