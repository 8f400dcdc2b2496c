"""A stock broker over the simulated exchange: hours, orders of the day, replacing, buying power. Pure; no wire.

The exchange knows orders that trade now. The broker keeps those that wait for their hours, sends each to the exchange
when it may trade, takes it back when it no longer may, and ends what its time in force ends. A market order that finds
too little goes on with every quote that follows. The account is a cash account that settles at once: what a sale
brought buys at once, nothing is lent, nothing is sold short.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from edgefleet.clock import NS_PER_MS
from edgefleet.errors import Broken, Misuse
from edgefleet.units import ZERO, decimal_text

from .broker_orders import (
    BrokerOrder,
    BrokerRequest,
    BrokerStatus,
    OrderKind,
    Tif,
    TradeUpdate,
    bad_request,
    changed,
    check_amount,
    check_cost,
    check_limit_price,
    check_request,
    forbidden,
    unprocessable,
)
from .engine import Side, TimeInForce, crosses
from .exchange import ExchangeState, Execution, ExecutionType, Fees, OrderRequest, OrderType, SimExchange
from .filters import VenueReject
from .hours import EXTENDED, Hours, Moment, Phase
from .recorded import RecordedMarket
from .stocks import CENT, SHARE_STEP, StockEvent, stock_rules
from .wire import BookTicker, DepthDiff, DepthSnapshot

CASH = "USD"
NO_FUNDS = -2010  # of the exchange: the account cannot pay
_ENGINE_TIF = {
    Tif.DAY: TimeInForce.GTC,
    Tif.GTC: TimeInForce.GTC,
    Tif.IOC: TimeInForce.IOC,
    Tif.FOK: TimeInForce.FOK,
}


class BrokerState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything of the account that outlives a restart."""

    schema: int = 1
    exchange: ExchangeState
    orders: list[BrokerOrder]
    resting: dict[int, int]  # the broker's order by the exchange's
    cost: dict[str, Decimal]
    fills: list[TradeUpdate]
    last_equity: Decimal
    closes: dict[str, Decimal]


class Brokerage:
    """One cash account at a stock broker.

    Parameters
    ----------
    symbols
        The stocks that trade here, as Alpaca writes them.
    balances
        What the account starts with: USD, and shares by symbol (their cost is taken as 0, for nobody told it).
    hours
        When the market trades.
    fees
        Commission as a fraction of the amount, in USD. Alpaca takes none.
    top_only
        Whether the market shows its top of book alone.
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
        strange = sorted(set(balances) - {CASH, *symbols})
        if strange:
            raise Misuse(f"a stock account holds USD and {', '.join(symbols)}, not {', '.join(strange)}")
        charged = fees or Fees(ZERO, ZERO)
        self.exchange = SimExchange(
            [stock_rules(symbol) for symbol in symbols],
            balances,
            Fees(charged.maker, charged.taker, in_quote=True),
        )
        self.exchange.markets = {symbol: RecordedMarket(top_only=top_only) for symbol in symbols}
        self.hours = hours
        self.now_ns = 0
        self.last_equity = balances.get(CASH, ZERO)  # at the last regular close, or the start
        self.closes: dict[str, Decimal] = {}  # last prices at the last regular close
        self._last: dict[str, Decimal] = {}
        self._cost = dict.fromkeys(symbols, ZERO)
        self._held = {symbol: balances.get(symbol, ZERO) for symbol in symbols}
        self._orders: dict[int, BrokerOrder] = {}
        self._open: dict[int, None] = {}
        self._fills: list[TradeUpdate] = []
        self._by_client_id: dict[str, int] = {}
        self._by_id: dict[str, int] = {}
        self._resting: dict[int, int] = {}  # the broker's order by the exchange's
        self._engine_ids: dict[int, int] = {}  # and the other way round
        self._moment = Moment(Phase.CLOSED, 0, 0, 0)
        self._quoted: dict[str, Moment] = {}  # the phase of each symbol's last quote

    # --- the market's side

    def start(self, ts_ns: int) -> None:
        """Set the market's time before its first event, so that orders can be sent before anything has happened."""
        self.now_ns = max(self.now_ns, ts_ns)
        self._moment = self.hours.at(self.now_ns)
        self.exchange.market_time_ms = self.now_ns // NS_PER_MS

    def on_event(self, event: StockEvent) -> list[TradeUpdate]:
        """Return what an event of the market brings to the account's orders."""
        updates = self.on_time(event.ts_ns)
        symbol, frame = event.symbol, event.frame
        if symbol not in self.exchange.rules:
            return updates
        if event.trade is not None and event.trade.sets_last:
            self._last[symbol] = event.trade.price
        if frame is None:
            return updates
        updates += self._booked(self.exchange.on_frame(frame, symbol=symbol))
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
        self.exchange.market_time_ms = max(self.exchange.market_time_ms, ts_ns // NS_PER_MS)
        if ts_ns < self._moment.until_ns:
            return []
        before, self._moment = self._moment, self.hours.at(ts_ns)
        if before.phase is Phase.REGULAR:
            self.last_equity = self.equity()
            self.closes = dict(self._last)
        updates: list[TradeUpdate] = []
        for number in list(self._open):
            order = self._orders[number]
            if order.expires_ns is not None and order.expires_ns <= ts_ns:
                updates.append(self._end(order, BrokerStatus.EXPIRED, "expired"))
            elif not self._may_trade(order):
                self._withdraw(order)
        return updates

    # --- the client's side

    def place(self, request: BrokerRequest) -> tuple[BrokerOrder, list[TradeUpdate]]:
        """Return the order as it was taken and what happened with it since, or raise `BrokerReject`."""
        check_request(request)
        self._check_symbol(request.symbol)
        client_id = request.client_order_id or f"edgefleet-{len(self._orders) + 1}"
        if client_id in self._by_client_id:
            raise bad_request("client_order_id must be unique")
        self._check_wash(request)
        self._check_funds(request, released=ZERO)
        return self._accept(request, client_id)

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
        old = self._open_order(number)
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
        client_id = client_order_id or f"edgefleet-{len(self._orders) + 1}"
        if client_id in self._by_client_id:
            raise bad_request("client_order_id must be unique")
        self._check_wash(request)
        self._check_funds(request, released=self._committed(old))
        self._withdraw(old)
        successor = len(self._orders) + 1
        gone = self._store(
            changed(old, status=BrokerStatus.REPLACED, replaced_ns=self.now_ns, replaced_by=successor, **self._stamp())
        )
        order, updates = self._accept(request, client_id, replaces=number)
        return order, [self._update("replaced", gone), *updates]

    def cancel(self, number: int) -> list[TradeUpdate]:
        """Return the cancellation of an open order, or raise `BrokerReject`."""
        return [self._end(self._open_order(number), BrokerStatus.CANCELED, "canceled")]

    def order(self, number: int) -> BrokerOrder:
        """Return an order, open or not, or raise `KeyError`."""
        return self._orders[number]

    def by_id(self, order_id: str) -> BrokerOrder | None:
        """Return the order of this id on the wire, None where there is none."""
        number = self._by_id.get(order_id)
        return None if number is None else self._orders[number]

    def by_client_id(self, client_order_id: str) -> BrokerOrder | None:
        """Return the order of this client id, None where there is none."""
        number = self._by_client_id.get(client_order_id)
        return None if number is None else self._orders[number]

    def orders(self) -> list[BrokerOrder]:
        """Return every order, oldest first."""
        return list(self._orders.values())

    def fills(self) -> list[TradeUpdate]:
        """Return every execution of the account, oldest first."""
        return list(self._fills)

    # --- the account

    def cash(self) -> Decimal:
        """Return the account's USD, reserved or not."""
        return self.exchange.account()[CASH].total

    def position(self, symbol: str) -> Decimal:
        """Return the shares held of `symbol`."""
        return self.exchange.account()[symbol].total

    def available(self, symbol: str) -> Decimal:
        """Return the shares of `symbol` that no open sale has reserved."""
        waiting = (self._committed(order) for order in self._waiting(Side.SELL) if order.symbol == symbol)
        return self.exchange.account()[symbol].free - sum(waiting, ZERO)

    def buying_power(self) -> Decimal:
        """Return the USD that no open order has reserved."""
        return self.exchange.account()[CASH].free - sum(
            (self._committed(order) for order in self._waiting(Side.BUY)), ZERO
        )

    def price(self, symbol: str) -> Decimal | None:
        """Return the last price, or else the middle of the quotes, None where there is neither."""
        if symbol in self._last:
            return self._last[symbol]
        market = self.exchange.markets[symbol]
        bid, ask = market.top(Side.BUY), market.top(Side.SELL)
        return (bid[0] + ask[0]) / 2 if bid is not None and ask is not None else None

    def cost(self, symbol: str) -> Decimal:
        """Return what the shares held cost, at the average price they were bought at."""
        return self._cost[symbol]

    def equity(self) -> Decimal:
        """Return cash and positions at the last prices; a position without any price counts as what it cost."""
        return self.cash() + self.market_value()

    def market_value(self) -> Decimal:
        """Return the positions at the last prices."""
        held = ((symbol, self.position(symbol), self.price(symbol)) for symbol in self.exchange.rules)
        return sum((self.cost(s) if price is None else shares * price for s, shares, price in held if shares), ZERO)

    def moment(self) -> Moment:
        """Return the phase of the market's time."""
        return self._moment

    def dump(self) -> BrokerState:
        """Return the account, to be loaded into a fresh one of the same symbols."""
        return BrokerState(
            exchange=self.exchange.dump(),
            orders=self.orders(),
            resting=dict(self._resting),
            cost=dict(self._cost),
            fills=list(self._fills),
            last_equity=self.last_equity,
            closes=dict(self.closes),
        )

    def load(self, state: BrokerState) -> None:
        """Take over a dumped account. Raises `Misuse` where it holds orders of a symbol that does not trade here."""
        self.exchange.load(state.exchange)
        for order in state.orders:
            self._store(order)
        self._resting = dict(state.resting)
        self._engine_ids = {number: engine_id for engine_id, number in self._resting.items()}
        self._cost.update(state.cost)
        self._held = {symbol: self.position(symbol) for symbol in self.exchange.rules}
        self._fills = list(state.fills)
        self.last_equity = state.last_equity
        self.closes = dict(state.closes)

    # --- what is refused

    def _check_symbol(self, symbol: str) -> None:
        if symbol not in self.exchange.rules:
            raise unprocessable(f'asset "{symbol}" not found')

    def _open_order(self, number: int) -> BrokerOrder:
        order = self._orders[number]
        if not order.is_open:
            raise unprocessable(f'order is already in "{order.status.value}" state')
        return order

    def _check_wash(self, request: BrokerRequest) -> None:
        """Raise where the order could trade with another of this account."""
        for number in self._open:
            other = self._orders[number]
            if other.symbol != request.symbol or other.side is request.side:
                continue
            if other.limit_price is None:
                reason = "opposite side market/stop order exists"
            elif crosses(request.side, request.limit_price, other.limit_price):
                reason = "opposite side limit order exists"
            else:
                continue
            message = "potential wash trade detected. use complex orders"
            raise forbidden(message, existing_order_id=other.id, reject_reason=reason)

    def _check_funds(self, request: BrokerRequest, *, released: Decimal) -> None:
        price = self._far_side(request.symbol, request.side) if request.limit_price is None else request.limit_price
        if request.side is Side.BUY:
            cost = self._needed(request.symbol, request.quantity, request.notional, request.limit_price)
            check_cost(cost, request)
            power = self.buying_power() + released
            if not cost <= power:
                raise forbidden(
                    "insufficient buying power", buying_power=decimal_text(power), cost_basis=decimal_text(cost)
                )
            return
        shares = self._shares(request.quantity, request.notional, price)
        check_cost(shares * (price or ZERO), request)
        held, free = self.position(request.symbol), self.available(request.symbol) + released
        if not held:
            raise forbidden("account is not allowed to short")
        if not shares <= free:
            asked, there = decimal_text(shares), decimal_text(free)
            raise forbidden(
                f"insufficient qty available for order (requested: {asked}, available: {there})",
                available=there,
                existing_qty=decimal_text(held),
                held_for_orders=decimal_text(held - free),
                symbol=request.symbol,
            )

    def _needed(
        self, symbol: str, quantity: Decimal | None, notional: Decimal | None, limit_price: Decimal | None
    ) -> Decimal:
        """Return the USD that a purchase must find free: with its commission, and at the ask where it has no limit."""
        fees = 1 + max(self.exchange.fees.maker, self.exchange.fees.taker)
        if notional is not None:
            return notional * fees
        price = limit_price or self._far_side(symbol, Side.BUY) or ZERO
        return (quantity or ZERO) * price * fees

    def _shares(self, quantity: Decimal | None, notional: Decimal | None, price: Decimal | None) -> Decimal:
        if quantity is not None:
            return quantity
        if price is None:
            raise forbidden("no price is known yet to size a notional order by")
        return (notional or ZERO) / price

    def _far_side(self, symbol: str, side: Side) -> Decimal | None:
        """Return what a market order would trade at: the quote it meets, or else the last price."""
        level = self.exchange.markets[symbol].top(side.opposite)
        return level[0] if level is not None else self.price(symbol)

    # --- inside

    def _stamp(self) -> dict[str, int]:
        return {"updated_ns": self.now_ns}

    def _store(self, order: BrokerOrder) -> BrokerOrder:
        if order.number not in self._orders:
            self._by_id[order.id] = order.number
        self._orders[order.number] = order
        self._by_client_id[order.client_order_id] = order.number
        if order.is_open:
            self._open[order.number] = None
        else:
            self._open.pop(order.number, None)
        return order

    def _update(self, event: str, order: BrokerOrder) -> TradeUpdate:
        return TradeUpdate(event=event, order=order, ts_ns=self.now_ns)

    def _may_trade(self, order: BrokerOrder) -> bool:
        phase = self._moment.phase
        return phase is Phase.REGULAR or (order.extended_hours and phase in EXTENDED)

    def _accept(
        self, request: BrokerRequest, client_id: str, replaces: int | None = None
    ) -> tuple[BrokerOrder, list[TradeUpdate]]:
        expires = None
        if request.tif is Tif.DAY:
            expires = self.hours.day_end(self.now_ns, extended=request.extended_hours)
        order = self._store(
            BrokerOrder(
                number=len(self._orders) + 1,
                client_order_id=client_id,
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

    def _release(self, symbol: str) -> list[TradeUpdate]:
        """Send the orders of `symbol` that waited for this phase."""
        updates: list[TradeUpdate] = []
        for number in list(self._open):
            order = self._orders[number]
            waits = number not in self._engine_ids and not self._is_worked(order)
            if order.symbol == symbol and waits and self._may_trade(order):
                updates += self._send(order)
        return updates

    def _send(self, order: BrokerOrder) -> list[TradeUpdate]:
        """Let an order trade from now on."""
        updates: list[TradeUpdate] = []
        if order.status is BrokerStatus.ACCEPTED:
            order = self._store(changed(order, status=BrokerStatus.NEW, **self._stamp()))
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

    def _work(self, symbol: str) -> list[TradeUpdate]:
        """Let the market orders of `symbol` that found too little go on."""
        updates: list[TradeUpdate] = []
        for number in list(self._open):
            order = self._orders[number]
            if order.symbol == symbol and self._is_worked(order) and self._may_trade(order):
                updates += self._take(order)
        return updates

    def _is_worked(self, order: BrokerOrder) -> bool:
        return order.kind is OrderKind.MARKET and order.status is not BrokerStatus.ACCEPTED

    def _take(self, order: BrokerOrder) -> list[TradeUpdate]:
        """Let a market order take what is there."""
        market = self.exchange.markets[order.symbol]
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
            placed, executions = self.exchange.place(request)
        except VenueReject as reject:
            return [self._fail(order, reject)]
        self._resting[placed.order_id], self._engine_ids[order.number] = order.number, placed.order_id
        updates = self._booked(executions, completes=completes)
        if not placed.is_open:
            self._untie(order.number)
        return updates + self._unless_it_waits(self._orders[order.number])

    def _unless_it_waits(self, order: BrokerOrder) -> list[TradeUpdate]:
        """Cancel what an order's time in force does not let wait."""
        if not (order.is_open and order.tif in (Tif.IOC, Tif.FOK)):
            return []
        return [self._end(order, BrokerStatus.CANCELED, "canceled")]

    def _booked(self, executions: Sequence[Execution], *, completes: bool = False) -> list[TradeUpdate]:
        """Return what executions at the exchange were of the account's orders."""
        fills = [e for e in executions if e.type is ExecutionType.TRADE]
        return [self._fill(e, last=completes and e is fills[-1]) for e in fills]

    def _fill(self, execution: Execution, *, last: bool) -> TradeUpdate:
        trade = execution.trade
        if trade is None:
            raise Broken(f"execution {execution.sequence} is a trade without its trade")
        order = self._orders[self._resting[trade.order_id]]
        filled = order.filled + trade.quantity
        complete = last or filled == order.quantity
        order = self._store(
            changed(
                order,
                filled=filled,
                cost=order.cost + trade.quote_quantity,
                status=BrokerStatus.FILLED if complete else BrokerStatus.PARTIALLY_FILLED,
                filled_ns=self.now_ns,
                **self._stamp(),
            )
        )
        before = self._held[order.symbol]
        held = before + trade.quantity if order.side is Side.BUY else before - trade.quantity
        self._held[order.symbol] = held
        if order.side is Side.BUY:
            self._cost[order.symbol] += trade.quote_quantity
        else:
            self._cost[order.symbol] *= held / before
        if not execution.order.is_open:
            self._untie(order.number)
        update = TradeUpdate(
            event="fill" if complete else "partial_fill",
            order=order,
            ts_ns=self.now_ns,
            price=trade.price,
            quantity=trade.quantity,
            position=held,
            trade_id=trade.trade_id,
        )
        self._fills.append(update)
        return update

    def _untie(self, number: int) -> None:
        """Forget which order of the exchange a broker's order is: it rests there no longer."""
        engine_id = self._engine_ids.pop(number, None)
        if engine_id is not None:
            del self._resting[engine_id]

    def _withdraw(self, order: BrokerOrder) -> None:
        """Take an order back from the exchange, if it rests there."""
        engine_id = self._engine_ids.get(order.number)
        if engine_id is not None:
            self.exchange.cancel(order.symbol, order_id=engine_id)
            self._untie(order.number)

    def _end(self, order: BrokerOrder, status: BrokerStatus, event: str) -> TradeUpdate:
        self._withdraw(order)
        when = "expired_ns" if status is BrokerStatus.EXPIRED else "canceled_ns"
        return self._update(event, self._store(changed(order, status=status, **{when: self.now_ns}, **self._stamp())))

    def _fail(self, order: BrokerOrder, reject: VenueReject) -> TradeUpdate:
        """The exchange would not have the order: the price moved beyond what the account has."""
        if reject.code != NO_FUNDS:
            raise Broken(f"the exchange refused order {order.number}, which the broker had taken: {reject}")
        status, event = (BrokerStatus.CANCELED, "canceled") if order.filled else (BrokerStatus.REJECTED, "rejected")
        return self._update(event, self._store(changed(order, status=status, failed_ns=self.now_ns, **self._stamp())))

    def _waiting(self, side: Side) -> list[BrokerOrder]:
        """Return the open orders of `side` that do not rest at the exchange, which has reserved nothing for them."""
        orders = (self._orders[number] for number in self._open if number not in self._engine_ids)
        return [order for order in orders if order.side is side]

    def _committed(self, order: BrokerOrder) -> Decimal:
        """Return what an open order may still need: USD of a purchase, shares of a sale."""
        notional = None if order.notional is None else order.notional - order.cost
        if order.side is Side.BUY:
            return self._needed(order.symbol, order.left, notional, order.limit_price)
        return self._shares(order.left, notional, self._far_side(order.symbol, Side.SELL))


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
