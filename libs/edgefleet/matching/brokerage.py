"""A stock broker over the simulated exchange: hours, orders of the day, market orders that go on. Pure; no wire.

The exchange knows orders that trade now. The broker keeps those that wait for their hours, sends each to the exchange
when it may trade, takes it back when it no longer may, and ends what its time in force ends. A market order that finds
too little goes on with every quote that follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from edgefleet.clock import NS_PER_MS
from edgefleet.errors import Broken
from edgefleet.units import ZERO

from .broker_account import BrokerAccount
from .broker_orders import (
    BrokerOrder,
    BrokerRequest,
    BrokerStatus,
    OrderKind,
    Tif,
    TradeUpdate,
    changed,
    check_amount,
    check_limit_price,
    check_request,
    unprocessable,
)
from .engine import Side, TimeInForce
from .exchange import Execution, ExecutionType, Fees, OrderRequest, OrderType
from .filters import VenueReject
from .hours import EXTENDED, Hours, Moment, Phase
from .recorded import RecordedMarket
from .stocks import CENT, SHARE_STEP, StockEvent
from .wire import BookTicker, DepthDiff, DepthSnapshot

NO_FUNDS = -2010  # of the exchange: the account cannot pay
_ENGINE_TIF = {
    Tif.DAY: TimeInForce.GTC,
    Tif.GTC: TimeInForce.GTC,
    Tif.IOC: TimeInForce.IOC,
    Tif.FOK: TimeInForce.FOK,
}


class Brokerage:
    """One cash account at a stock broker, its orders sent when they may trade.

    Parameters
    ----------
    symbols, balances, fees, top_only
        Of its `BrokerAccount`. Alpaca takes no fees.
    hours
        When the market trades.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        balances: Mapping[str, Decimal],
        hours: Hours,
        fees: Fees | None = None,
        *,
        top_only: bool = False,
    ) -> None:
        self.account = BrokerAccount(symbols, balances, fees, top_only=top_only)
        self.hours = hours
        self.now_ns = 0
        self._exchange = self.account.exchange
        self._moment = Moment(Phase.CLOSED, 0, 0, 0)
        self._quoted: dict[str, Moment] = {}  # the phase of each symbol's last quote

    def moment(self) -> Moment:
        """Return the phase of the market's time."""
        return self._moment

    # --- the market's side

    def start(self, ts_ns: int) -> None:
        """Set the market's time before its first event, so that orders can be sent before anything has happened."""
        self.now_ns = max(self.now_ns, ts_ns)
        self._moment = self.hours.at(self.now_ns)
        self._exchange.market_time_ms = max(self._exchange.market_time_ms, self.now_ns // NS_PER_MS)

    def on_event(self, event: StockEvent) -> list[TradeUpdate]:
        """Return what an event of the market brings to the account's orders."""
        updates = self.on_time(event.ts_ns)
        symbol, frame = event.symbol, event.frame
        if symbol not in self._exchange.rules:
            return updates
        if event.trade is not None and event.trade.sets_last:
            self.account.see_price(symbol, event.trade.price)
        if frame is None:
            return updates
        updates += self._booked(self._exchange.on_frame(frame, symbol=symbol))
        if isinstance(frame, BookTicker | DepthDiff | DepthSnapshot):
            if self._quoted.get(symbol) != self._moment:
                self._quoted[symbol] = self._moment
                updates += self._release(symbol)
            updates += self._work(symbol)
        return updates

    def on_time(self, ts_ns: int) -> list[TradeUpdate]:
        """Return what the passing of time brings: orders that end, and that are taken back where a phase ends."""
        if ts_ns <= self.now_ns:
            return []
        self.now_ns = ts_ns
        self._exchange.market_time_ms = max(self._exchange.market_time_ms, ts_ns // NS_PER_MS)
        if ts_ns < self._moment.until_ns:
            return []
        before, self._moment = self._moment, self.hours.at(ts_ns)
        if before.phase is Phase.REGULAR:
            self.account.close_day()
        updates: list[TradeUpdate] = []
        for order in self.account.open_orders():
            if order.expires_ns is not None and order.expires_ns <= ts_ns:
                updates.append(self._end(order, BrokerStatus.EXPIRED, "expired"))
            elif not self._may_trade(order):
                self._withdraw(order)
        return updates

    # --- the client's side

    def place(self, request: BrokerRequest) -> tuple[BrokerOrder, list[TradeUpdate]]:
        """Return the order as it was taken and what happened with it since, or raise `BrokerReject`."""
        check_request(request)
        self.account.check_symbol(request.symbol)
        names = self.account.new_names(request.client_order_id)
        self.account.check_wash(request)
        self.account.check_funds(request, released=ZERO)
        return self._accept(request, names)

    def replace(
        self,
        number: int,
        *,
        quantity: Decimal | None = None,
        limit_price: Decimal | None = None,
        tif: Tif | None = None,
        client_order_id: str | None = None,
    ) -> tuple[BrokerOrder, list[TradeUpdate]]:
        """Return the order that replaces `number` and what happened. `quantity` is the whole quantity wanted: what the
        old order has filled is taken off it. Raises `BrokerReject` and leaves the old order as it is."""
        account = self.account
        old = account.still_open(number)
        check_amount("qty", quantity, SHARE_STEP)
        if old.quantity is None:
            raise unprocessable("notional orders cannot be replaced")
        if limit_price is not None:
            if old.kind is not OrderKind.LIMIT:
                raise unprocessable("market orders require no stop or limit price")
            check_limit_price(limit_price)
        wanted = (old.quantity if quantity is None else quantity) - old.filled
        if not wanted > 0:
            raise unprocessable("qty must be greater than filled qty")
        request = BrokerRequest(
            symbol=old.symbol,
            side=old.side,
            kind=old.kind,
            tif=tif or old.tif,
            quantity=wanted,
            limit_price=limit_price or old.limit_price,
            extended_hours=old.extended_hours,
            client_order_id=client_order_id,
        )
        check_request(request)
        names = account.new_names(client_order_id)
        account.check_wash(request)
        account.check_funds(request, released=account.committed(old))
        self._withdraw(old)
        gone = self._change(old, status=BrokerStatus.REPLACED, replaced_ns=self.now_ns, replaced_by=names[0])
        order, updates = self._accept(request, names, replaces=number)
        return order, [self._update("replaced", gone), *updates]

    def cancel(self, number: int) -> list[TradeUpdate]:
        """Return the cancellation of an open order, or raise `BrokerReject`."""
        return [self._end(self.account.still_open(number), BrokerStatus.CANCELED, "canceled")]

    # --- an order's way

    def _accept(
        self, request: BrokerRequest, names: tuple[int, str], replaces: int | None = None
    ) -> tuple[BrokerOrder, list[TradeUpdate]]:
        expires = None
        if request.tif is Tif.DAY:
            expires = self.hours.day_end(self.now_ns, extended=request.extended_hours)
        order = self.account.store(
            BrokerOrder(
                number=names[0],
                client_order_id=names[1],
                symbol=request.symbol,
                side=request.side,
                kind=request.kind,
                tif=request.tif,
                quantity=request.quantity,
                notional=request.notional,
                limit_price=request.limit_price,
                extended_hours=request.extended_hours,
                status=BrokerStatus.ACCEPTED,
                created_ns=self.now_ns,
                updated_ns=self.now_ns,
                expires_ns=expires,
                replaces=replaces,
            )
        )
        if not (self._may_trade(order) and self._quoted.get(order.symbol) == self._moment):
            return order, [self._update("accepted", order)]
        taken = changed(order, status=BrokerStatus.PENDING_NEW)
        return taken, [self._update("pending_new", taken), *self._send(order)]

    def _may_trade(self, order: BrokerOrder) -> bool:
        phase = self._moment.phase
        return phase is Phase.REGULAR or (order.extended_hours and phase in EXTENDED)

    def _release(self, symbol: str) -> list[TradeUpdate]:
        """Send the orders of `symbol` that waited for this phase."""
        updates: list[TradeUpdate] = []
        for order in self.account.open_orders():
            waits = self.account.engine_id(order.number) is None and not _is_worked(order)
            if order.symbol == symbol and waits and self._may_trade(order):
                updates += self._send(order)
        return updates

    def _work(self, symbol: str) -> list[TradeUpdate]:
        """Let the market orders of `symbol` that found too little go on."""
        updates: list[TradeUpdate] = []
        for order in self.account.open_orders():
            if order.symbol == symbol and _is_worked(order) and self._may_trade(order):
                updates += self._take(order)
        return updates

    def _send(self, order: BrokerOrder) -> list[TradeUpdate]:
        """Let an order trade from now on."""
        updates: list[TradeUpdate] = []
        if order.status is BrokerStatus.ACCEPTED:
            order = self._change(order, status=BrokerStatus.NEW)
            updates.append(self._update("new", order))
        if order.kind is OrderKind.MARKET:
            return updates + self._take(order)
        request = OrderRequest(
            symbol=order.symbol,
            side=order.side,
            type=OrderType.LIMIT,
            quantity=order.left,
            price=order.limit_price,
            time_in_force=_ENGINE_TIF[order.tif],
        )
        return updates + self._execute(order, request)

    def _take(self, order: BrokerOrder) -> list[TradeUpdate]:
        """Let a market order take what is there."""
        market = self._exchange.markets[order.symbol]
        if order.quantity is not None:
            wanted, completes = order.quantity - order.filled, False
            there = sum((size for _, size in market.plan(order.side, None, wanted)), ZERO)
        else:
            wanted, completes = _affordable(market, order.side, (order.notional or ZERO) - order.cost)
            there = wanted
        if not there or (order.tif is Tif.FOK and there < wanted):
            return self._unless_it_waits(order)
        request = OrderRequest(symbol=order.symbol, side=order.side, type=OrderType.MARKET, quantity=wanted)
        return self._execute(order, request, completes=completes)

    def _execute(self, order: BrokerOrder, request: OrderRequest, *, completes: bool = False) -> list[TradeUpdate]:
        """Place `order` at the exchange and return what happened; `completes`: what trades now is all of it."""
        try:
            placed, executions = self._exchange.place(request)
        except VenueReject as reject:
            return [self._fail(order, reject)]
        self.account.tie(order.number, placed.order_id)
        updates = self._booked(executions, completes=completes)
        if not placed.is_open:
            self.account.untie(order.number)
        return updates + self._unless_it_waits(self.account.order(order.number))

    def _unless_it_waits(self, order: BrokerOrder) -> list[TradeUpdate]:
        """Cancel what an order's time in force does not let wait."""
        if not (order.is_open and order.tif in (Tif.IOC, Tif.FOK)):
            return []
        return [self._end(order, BrokerStatus.CANCELED, "canceled")]

    def _booked(self, executions: Sequence[Execution], *, completes: bool = False) -> list[TradeUpdate]:
        """Return what executions at the exchange were of the account's orders."""
        fills = [e for e in executions if e.type is ExecutionType.TRADE]
        return [self.account.book(e, self.now_ns, last=completes and e is fills[-1]) for e in fills]

    def _withdraw(self, order: BrokerOrder) -> None:
        """Take an order back from the exchange, if it rests there."""
        engine_id = self.account.engine_id(order.number)
        if engine_id is not None:
            self._exchange.cancel(order.symbol, order_id=engine_id)
            self.account.untie(order.number)

    def _end(self, order: BrokerOrder, status: BrokerStatus, event: str) -> TradeUpdate:
        self._withdraw(order)
        when = "expired_ns" if status is BrokerStatus.EXPIRED else "canceled_ns"
        return self._update(event, self._change(order, status=status, **{when: self.now_ns}))

    def _fail(self, order: BrokerOrder, reject: VenueReject) -> TradeUpdate:
        """The exchange would not have the order: the price moved beyond what the account has."""
        if reject.code != NO_FUNDS:
            raise Broken(f"the exchange refused order {order.number}, which the broker had taken: {reject}")
        status, event = (BrokerStatus.CANCELED, "canceled") if order.filled else (BrokerStatus.REJECTED, "rejected")
        return self._update(event, self._change(order, status=status, failed_ns=self.now_ns))

    def _change(self, order: BrokerOrder, **fields: Any) -> BrokerOrder:
        return self.account.store(changed(order, updated_ns=self.now_ns, **fields))

    def _update(self, event: str, order: BrokerOrder) -> TradeUpdate:
        return TradeUpdate(event=event, order=order, ts_ns=self.now_ns)


def _is_worked(order: BrokerOrder) -> bool:
    """Return whether it is a market order that has been sent and goes on."""
    return order.kind is OrderKind.MARKET and order.status is not BrokerStatus.ACCEPTED


def _affordable(market: RecordedMarket, side: Side, budget: Decimal) -> tuple[Decimal, bool]:
    """Return the shares that `budget` USD trade for now, and whether that is all: no cent, or no share, is left."""
    shares = ZERO
    for price, size in market.available(side.opposite):
        part = budget / price
        part -= part % SHARE_STEP
        if part < size:
            return shares + part, True
        shares += size
        budget -= size * price
    return shares, budget < CENT
