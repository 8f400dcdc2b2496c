"""A simulated exchange: one account, its orders and trades, and the recorded markets they meet. Pure and deterministic.

The venue service, replay and paper mode drive the same object: recorded lines go in through `on_line`, requests through
`place` and `cancel`, and both return what happened as `Execution`s. It reads no clock: its time is the largest stamp
that a frame carried. The same lines and requests in the same order give the same ids, fills and balances.
Errors are Binance's, by number and text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import ROUND_DOWN, Decimal
from enum import StrEnum

import msgspec

from edgefleet.errors import Broken, Misuse, Poison
from edgefleet.units import ZERO

from .engine import Side, TimeInForce
from .filters import (
    MarketRules,
    VenueReject,
    check_notional,
    check_order_count,
    check_percent_price,
    check_price,
    check_quantity,
    floor_quantity,
)
from .recorded import Passive, RecordedMarket
from .wire import BookTicker, DepthDiff, DepthSnapshot, Frame, Level, Trade, decode

FEE_STEP = Decimal("0.00000001")  # commissions are kept to eight decimals and rounded down


class OrderType(StrEnum):
    """The order types the simulated venue takes."""

    LIMIT = "LIMIT"
    LIMIT_MAKER = "LIMIT_MAKER"
    MARKET = "MARKET"


class OrderStatus(StrEnum):
    """Where an order stands, in Binance's words."""

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    EXPIRED_IN_MATCH = "EXPIRED_IN_MATCH"


OPEN_STATUSES = frozenset({OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED})


class ExecutionType(StrEnum):
    """What an execution report reports."""

    NEW = "NEW"
    TRADE = "TRADE"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"


class Fees(msgspec.Struct, frozen=True):
    """Commission rates, as a fraction of what is received and in that asset; or of the amount, always in quote."""

    maker: Decimal = Decimal("0.001")
    taker: Decimal = Decimal("0.001")
    in_quote: bool = False  # as a stock broker takes them


class OrderRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for. A market order names `quantity` or `quote_quantity`."""

    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal | None = None  # base units
    quote_quantity: Decimal | None = None  # quote units, market orders only
    price: Decimal | None = None
    time_in_force: TimeInForce | None = None
    client_order_id: str | None = None  # absent: the venue names it


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An order as it stood at `update_time`."""

    symbol: str
    order_id: int
    client_order_id: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    price: Decimal  # 0 for a market order
    quantity: Decimal
    quote_quantity: Decimal  # what was asked in quote units, 0 where the request named a quantity
    executed: Decimal
    cost: Decimal  # quote units paid or received for `executed`
    status: OrderStatus
    time: int  # ms, market time
    update_time: int  # ms, market time

    @property
    def left(self) -> Decimal:
        """Return the quantity that has not been executed."""
        return self.quantity - self.executed

    @property
    def is_open(self) -> bool:
        """Return whether it may still trade."""
        return self.status in OPEN_STATUSES


class AccountTrade(msgspec.Struct, frozen=True, kw_only=True):
    """One fill of one of the account's orders."""

    symbol: str
    trade_id: int
    order_id: int
    client_order_id: str
    side: Side
    price: Decimal
    quantity: Decimal
    quote_quantity: Decimal
    commission: Decimal
    commission_asset: str
    time: int  # ms, market time
    is_maker: bool


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to one order, with the order as it then stood."""

    sequence: int
    type: ExecutionType
    order: Order
    trade: AccountTrade | None
    time: int  # ms, market time
    cancel_id: str = ""  # the client id of the request that cancelled it


class Balance(msgspec.Struct, frozen=True):
    """What the account has of one asset."""

    free: Decimal
    locked: Decimal

    @property
    def total(self) -> Decimal:
        """Return free and locked together."""
        return self.free + self.locked


class ExchangeState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything of the account that outlives a restart. The market itself comes from its lines."""

    schema: int = 1
    initial: dict[str, Decimal]
    balances: dict[str, Balance]
    orders: list[Order]
    trades: list[AccountTrade]
    queues: dict[int, Decimal]  # quantity ahead of each open order
    sequence: int
    market_time_ms: int


class SimExchange:
    """One account on simulated markets of the symbols in `rules`.

    Parameters
    ----------
    rules
        The symbols that trade here.
    balances
        What the account starts with, by asset.
    fees
        Maker and taker commission.
    """

    def __init__(self, rules: Iterable[MarketRules], balances: Mapping[str, Decimal], fees: Fees | None = None) -> None:
        self.rules = {rule.symbol: rule for rule in rules}
        if not self.rules:
            raise Misuse("a simulated venue needs at least one symbol")
        negative = [asset for asset, amount in balances.items() if not amount >= 0]
        if negative:
            raise Misuse(f"a start balance cannot be negative: {', '.join(sorted(negative))}")
        self.fees = fees or Fees()
        assets = {asset for rule in self.rules.values() for asset in (rule.base, rule.quote)} | set(balances)
        self.initial = {asset: balances.get(asset, ZERO) for asset in sorted(assets)}
        self.markets = {symbol: RecordedMarket() for symbol in self.rules}
        self.market_time_ms = 0
        self._free = dict(self.initial)
        self._locked = dict.fromkeys(self.initial, ZERO)
        self._orders: dict[int, Order] = {}
        self._open: dict[str, dict[int, None]] = {symbol: {} for symbol in self.rules}
        self._by_client_id: dict[tuple[str, str], int] = {}
        self._trades: dict[str, list[AccountTrade]] = {symbol: [] for symbol in self.rules}
        self._trade_count = 0
        self._sequence = 0

    # --- the market's side

    def on_line(self, stamp_ns: int, body: bytes, *, symbol: str | None = None) -> list[Execution]:
        """Return what a recorded body brings to resting orders. `stamp_ns`, the recorder's clock, is not used:
        market time is the venue's. `symbol` is whose a bare REST snapshot is; without it the only symbol's.
        """
        frame = decode(body)
        return [] if frame is None else self.on_frame(frame, symbol=symbol)

    def on_frame(self, frame: Frame, *, symbol: str | None = None) -> list[Execution]:
        """Return what one decoded frame brings to resting orders. A symbol that does not trade here is ignored."""
        match frame:
            case BookTicker():
                market = self.markets.get(frame.s)
                return [] if market is None else self._passive(frame.s, market.on_ticker(frame))
            case Trade():
                self.market_time_ms = max(self.market_time_ms, frame.E, frame.T)
                market = self.markets.get(frame.s)
                return [] if market is None else self._passive(frame.s, market.on_trade(frame))
            case DepthDiff():
                self.market_time_ms = max(self.market_time_ms, frame.E)
                market = self.markets.get(frame.s)
                return [] if market is None else self._passive(frame.s, market.on_diff(frame))
            case DepthSnapshot():
                name = symbol or self._only_symbol()
                market = self.markets.get(name)
                return [] if market is None else self._passive(name, market.on_snapshot(frame))

    def _only_symbol(self) -> str:
        if len(self.rules) != 1:
            raise Poison("a REST depth snapshot names no symbol and several trade here")
        return next(iter(self.rules))

    def _passive(self, symbol: str, fills: list[Passive]) -> list[Execution]:
        return [self._execute(symbol, fill.order_id, None, fill.quantity, is_maker=True) for fill in fills]

    # --- the client's side

    def place(self, request: OrderRequest) -> tuple[Order, list[Execution]]:
        """Return the order as it stands after its first match, and all that happened, the account's other orders
        included.

        Raises
        ------
        VenueReject
            Where Binance would refuse; nothing has changed then.
        """
        rules = self._rules(request.symbol)
        _check_shape(request)
        if not self.market_time_ms:
            raise VenueReject(-1013, "Market is closed.")  # no stamped frame yet: an order would have no time
        market = self.markets[request.symbol]
        client_id = request.client_order_id or f"sim-{len(self._orders) + 1}"
        known = self._by_client_id.get((request.symbol, client_id))
        if known is not None and self._orders[known].is_open:
            raise VenueReject(-2010, "Duplicate order sent.")
        quantity, plan = self._plan(rules, market, request)
        self._check_funds(rules, request, quantity, plan)
        order = self._accept(request, client_id, quantity)
        executions = [self._report(ExecutionType.NEW, order)]
        tif = order.time_in_force
        if tif is TimeInForce.FOK and sum((size for _, size in plan), ZERO) < quantity:
            plan = []
        executions += self._expire_own(order, plan)
        market.take(order.side, plan)
        for price, size in plan:
            executions.append(self._execute(order.symbol, order.order_id, price, size, is_maker=False))
        order = self._orders[order.order_id]
        if order.left:
            if order.type is OrderType.MARKET or tif is not TimeInForce.GTC:
                executions.append(self._close(order, OrderStatus.EXPIRED, ExecutionType.EXPIRED))
            else:
                self._lock(order, order.left)
                market.rest(order.order_id, order.side, order.price, order.left)
        return self._orders[order.order_id], executions

    def cancel(
        self, symbol: str, *, order_id: int | None = None, client_order_id: str | None = None, cancel_id: str = ""
    ) -> Execution:
        """Return the cancellation of an open order, or raise `VenueReject` -2011 where none such is open."""
        self._rules(symbol)
        found = self._find(symbol, order_id, client_order_id)
        if found is None or not found.is_open:
            raise VenueReject(-2011, "Unknown order sent.")
        return self._withdraw(found, OrderStatus.CANCELED, ExecutionType.CANCELED, cancel_id)

    def cancel_all(self, symbol: str) -> list[Execution]:
        """Return the cancellations of all open orders of `symbol`; -2011 where there is none."""
        orders = self.open_orders(symbol)
        if not orders:
            raise VenueReject(-2011, "Unknown order sent.")
        return [self._withdraw(order, OrderStatus.CANCELED, ExecutionType.CANCELED) for order in orders]

    def order(self, symbol: str, *, order_id: int | None = None, client_order_id: str | None = None) -> Order:
        """Return an order, open or not, or raise `VenueReject` -2013."""
        self._rules(symbol)
        found = self._find(symbol, order_id, client_order_id)
        if found is None:
            raise VenueReject(-2013, "Order does not exist.")
        return found

    def open_orders(self, symbol: str | None = None) -> list[Order]:
        """Return the open orders of `symbol`, or of all symbols, oldest first."""
        if symbol is not None:
            self._rules(symbol)
        symbols = [symbol] if symbol is not None else list(self.rules)
        return sorted(
            (self._orders[order_id] for name in symbols for order_id in self._open[name]), key=lambda o: o.order_id
        )

    def orders(self, symbol: str) -> list[Order]:
        """Return all orders of `symbol`, oldest first."""
        self._rules(symbol)
        return [order for order in self._orders.values() if order.symbol == symbol]

    def trades(
        self, symbol: str, *, from_id: int | None = None, order_id: int | None = None, limit: int = 500
    ) -> list[AccountTrade]:
        """Return up to `limit` fills of `symbol`, oldest first: from `from_id` on, or else the newest."""
        self._rules(symbol)
        found = self._trades[symbol]
        if order_id is not None:
            found = [trade for trade in found if trade.order_id == order_id]
        if from_id is not None:
            return [trade for trade in found if trade.trade_id >= from_id][:limit]
        return found[-limit:]

    def account(self) -> dict[str, Balance]:
        """Return the balance of every asset."""
        return {asset: Balance(self._free[asset], self._locked[asset]) for asset in self.initial}

    def dump(self) -> ExchangeState:
        """Return the account, its orders and trades, to be loaded into a fresh exchange of the same symbols."""
        return ExchangeState(
            initial=dict(self.initial),
            balances=self.account(),
            orders=list(self._orders.values()),
            trades=sorted((t for trades in self._trades.values() for t in trades), key=lambda t: t.trade_id),
            queues={o.order_id: o.ahead for market in self.markets.values() for o in market.resting()},
            sequence=self._sequence,
            market_time_ms=self.market_time_ms,
        )

    def load(self, state: ExchangeState) -> None:
        """Take over a dumped account. Raises `Misuse` where it holds orders of a symbol that does not trade here."""
        strange = sorted({order.symbol for order in state.orders} - set(self.rules))
        if strange:
            raise Misuse(f"the saved account has orders of {', '.join(strange)}, which do not trade here")
        if self._orders:
            raise Broken("an account is loaded only into a fresh exchange")
        self.initial = dict(state.initial)
        self._free = {asset: balance.free for asset, balance in state.balances.items()}
        self._locked = {asset: balance.locked for asset, balance in state.balances.items()}
        for rule in self.rules.values():
            for asset in (rule.base, rule.quote):
                self.initial.setdefault(asset, ZERO)
                self._free.setdefault(asset, ZERO)
                self._locked.setdefault(asset, ZERO)
        for order in state.orders:
            self._orders[order.order_id] = order
            self._by_client_id[(order.symbol, order.client_order_id)] = order.order_id
            if order.is_open:
                self._open[order.symbol][order.order_id] = None
                ahead = state.queues.get(order.order_id, ZERO)
                self.markets[order.symbol].rest(order.order_id, order.side, order.price, order.left, ahead)
        for trade in state.trades:
            self._trades[trade.symbol].append(trade)
        self._trade_count = len(state.trades)
        self._sequence = state.sequence
        self.market_time_ms = max(self.market_time_ms, state.market_time_ms)

    # --- inside

    def _rules(self, symbol: str) -> MarketRules:
        try:
            return self.rules[symbol]
        except KeyError:
            raise VenueReject(-1121, "Invalid symbol.") from None

    def _find(self, symbol: str, order_id: int | None, client_order_id: str | None) -> Order | None:
        if order_id is None and client_order_id is None:
            raise VenueReject(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
        if order_id is None:
            order_id = self._by_client_id.get((symbol, client_order_id or ""))
        order = None if order_id is None else self._orders.get(order_id)
        return order if order is not None and order.symbol == symbol else None

    def _plan(self, rules: MarketRules, market: RecordedMarket, request: OrderRequest) -> tuple[Decimal, list[Level]]:
        """Return the order's quantity and what it takes at once, its filters having been passed."""
        if request.quote_quantity is not None:
            return self._plan_quote(rules, market, request, request.quote_quantity)
        quantity = _present(request.quantity)
        check_quantity(rules, quantity)
        if request.type is OrderType.MARKET:
            reference = self._reference(market)
            if reference is not None:
                check_notional(rules, quantity * reference)
            return quantity, market.plan(request.side, None, quantity)
        price = _present(request.price)
        check_price(rules, price)
        check_percent_price(rules, request.side, price, self._reference(market))
        check_notional(rules, price * quantity)
        plan = market.plan(request.side, price, quantity)
        own = any(_would_meet(request.side, price, order) for order in self._open_against(request))
        if request.type is OrderType.LIMIT_MAKER and (plan or own):
            raise VenueReject(-2010, "Order would immediately match and take.")
        if request.time_in_force in (None, TimeInForce.GTC):
            check_order_count(rules, len(self._open[rules.symbol]))
        return quantity, plan

    def _plan_quote(
        self, rules: MarketRules, market: RecordedMarket, request: OrderRequest, quote: Decimal
    ) -> tuple[Decimal, list[Level]]:
        check_notional(rules, quote)
        plan: list[Level] = []
        left = quote
        for price, size in market.available(request.side.opposite):
            part = min(size, floor_quantity(rules, left / price))
            if not part > 0:
                break
            plan.append((price, part))
            left -= part * price
        quantity = sum((size for _, size in plan), ZERO)
        if not plan:
            raise VenueReject(-2010, "Market is closed.")
        check_quantity(rules, floor_quantity(rules, quantity))
        return quantity, plan

    def _reference(self, market: RecordedMarket) -> Decimal | None:
        if market.last_trade is not None:
            return market.last_trade.p
        bid, ask = market.top(Side.BUY), market.top(Side.SELL)
        return (bid[0] + ask[0]) / 2 if bid is not None and ask is not None else None

    def _open_against(self, request: OrderRequest) -> list[Order]:
        orders = (self._orders[order_id] for order_id in self._open[request.symbol])
        return [order for order in orders if order.side is request.side.opposite]

    def _check_funds(self, rules: MarketRules, request: OrderRequest, quantity: Decimal, plan: list[Level]) -> None:
        if request.side is Side.SELL:
            asset, need = rules.base, quantity
        elif request.type is OrderType.MARKET:
            asset, need = rules.quote, sum((price * size for price, size in plan), ZERO)
        else:
            asset, need = rules.quote, quantity * _present(request.price)
        if self.fees.in_quote and asset == rules.quote:
            need *= 1 + max(self.fees.maker, self.fees.taker)
        if not need <= self._free[asset]:
            raise VenueReject(-2010, "Account has insufficient balance for requested action.")

    def _accept(self, request: OrderRequest, client_id: str, quantity: Decimal) -> Order:
        order = Order(
            symbol=request.symbol,
            order_id=len(self._orders) + 1,
            client_order_id=client_id,
            side=request.side,
            type=request.type,
            time_in_force=request.time_in_force or TimeInForce.GTC,
            price=request.price or ZERO,
            quantity=quantity,
            quote_quantity=request.quote_quantity or ZERO,
            executed=ZERO,
            cost=ZERO,
            status=OrderStatus.NEW,
            time=self.market_time_ms,
            update_time=self.market_time_ms,
        )
        self._orders[order.order_id] = order
        self._open[order.symbol][order.order_id] = None
        self._by_client_id[(order.symbol, client_id)] = order.order_id
        return order

    def _expire_own(self, taker: Order, plan: list[Level]) -> list[Execution]:
        """Return the expiry of own orders that `taker` would otherwise trade with (Binance's EXPIRE_MAKER)."""
        if taker.time_in_force is TimeInForce.FOK and not plan:
            return []
        if taker.type is not OrderType.MARKET:
            reach: Decimal | None = taker.price
        else:
            reach = plan[-1][0] if plan else None
        if reach is None:
            return []
        own = [self._orders[order_id] for order_id in self._open[taker.symbol] if order_id != taker.order_id]
        return [
            self._withdraw(order, OrderStatus.EXPIRED_IN_MATCH, ExecutionType.EXPIRED)
            for order in own
            if order.side is taker.side.opposite and _would_meet(taker.side, reach, order)
        ]

    def _execute(
        self, symbol: str, order_id: int, price: Decimal | None, quantity: Decimal, *, is_maker: bool
    ) -> Execution:
        """Book one fill: a maker's at its own price out of what was locked, a taker's out of what is free."""
        order = self._orders[order_id]
        rules = self.rules[symbol]
        at = order.price if price is None else price
        amount = at * quantity
        if not ZERO < quantity <= order.left:
            raise Broken(f"order {order_id} has {order.left} left and was filled {quantity}")
        rate = self.fees.maker if is_maker else self.fees.taker
        if order.side is Side.BUY:
            paid, cost, received, gain = rules.quote, amount, rules.base, quantity
        else:
            paid, cost, received, gain = rules.base, quantity, rules.quote, amount
        charged = rules.quote if self.fees.in_quote else received
        commission = ((amount if self.fees.in_quote else gain) * rate).quantize(FEE_STEP, ROUND_DOWN)
        if is_maker:
            _, reserved = self._reserved(order, quantity)
            self._locked[paid] -= reserved
            self._free[paid] += reserved
        self._free[paid] -= cost
        self._free[received] += gain
        self._free[charged] -= commission
        if self._locked[paid] < 0 or self._free[paid] < 0:
            raise Broken(f"{paid} balance fell to {min(self._locked[paid], self._free[paid])} on order {order_id}")
        executed = order.executed + quantity
        order = msgspec.structs.replace(
            order,
            executed=executed,
            cost=order.cost + amount,
            status=OrderStatus.FILLED if executed == order.quantity else OrderStatus.PARTIALLY_FILLED,
            update_time=self.market_time_ms,
        )
        self._orders[order_id] = order
        if not order.is_open:
            del self._open[symbol][order_id]
        self._trade_count += 1
        trade = AccountTrade(
            symbol=symbol,
            trade_id=self._trade_count,
            order_id=order_id,
            client_order_id=order.client_order_id,
            side=order.side,
            price=at,
            quantity=quantity,
            quote_quantity=amount,
            commission=commission,
            commission_asset=charged,
            time=self.market_time_ms,
            is_maker=is_maker,
        )
        self._trades[symbol].append(trade)
        return self._report(ExecutionType.TRADE, order, trade)

    def _lock(self, order: Order, quantity: Decimal) -> None:
        asset, amount = self._reserved(order, quantity)
        self._free[asset] -= amount
        self._locked[asset] += amount

    def _reserved(self, order: Order, quantity: Decimal) -> tuple[str, Decimal]:
        rules = self.rules[order.symbol]
        if order.side is Side.SELL:
            return rules.base, quantity
        amount = quantity * order.price
        return rules.quote, amount * (1 + self.fees.maker) if self.fees.in_quote else amount

    def _withdraw(self, order: Order, status: OrderStatus, execution: ExecutionType, cancel_id: str = "") -> Execution:
        asset, amount = self._reserved(order, order.left)
        self._locked[asset] -= amount
        self._free[asset] += amount
        self.markets[order.symbol].remove(order.order_id)
        return self._close(order, status, execution, cancel_id)

    def _close(self, order: Order, status: OrderStatus, execution: ExecutionType, cancel_id: str = "") -> Execution:
        order = msgspec.structs.replace(order, status=status, update_time=self.market_time_ms)
        self._orders[order.order_id] = order
        del self._open[order.symbol][order.order_id]
        return self._report(execution, order, cancel_id=cancel_id)

    def _report(
        self, kind: ExecutionType, order: Order, trade: AccountTrade | None = None, *, cancel_id: str = ""
    ) -> Execution:
        self._sequence += 1
        return Execution(
            sequence=self._sequence,
            type=kind,
            order=order,
            trade=trade,
            time=self.market_time_ms,
            cancel_id=cancel_id,
        )


def _would_meet(side: Side, limit: Decimal, own: Order) -> bool:
    return own.price <= limit if side is Side.BUY else own.price >= limit


def _present(value: Decimal | None) -> Decimal:
    if value is None:
        raise Broken("a request passed its shape check without a value it needs")
    return value


def _missing(name: str) -> VenueReject:
    return VenueReject(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def _unwanted(name: str) -> VenueReject:
    return VenueReject(-1106, f"Parameter '{name}' sent when not required.")


def _check_shape(request: OrderRequest) -> None:
    """Raise `VenueReject` where the parameters do not fit the order's type."""
    for name, value in (("quantity", request.quantity), ("quoteOrderQty", request.quote_quantity)):
        if value is not None and not value > 0:
            raise VenueReject(-1013, f"Invalid {name}.")
    if request.type is OrderType.MARKET:
        if request.price is not None:
            raise _unwanted("price")
        if request.time_in_force is not None:
            raise _unwanted("timeInForce")
        if (request.quantity is None) == (request.quote_quantity is None):
            raise _missing("quantity") if request.quantity is None else _unwanted("quoteOrderQty")
        return
    if request.quantity is None:
        raise _missing("quantity")
    if request.quote_quantity is not None:
        raise _unwanted("quoteOrderQty")
    if request.price is None:
        raise _missing("price")
    if request.type is OrderType.LIMIT and request.time_in_force is None:
        raise _missing("timeInForce")
    if request.type is OrderType.LIMIT_MAKER and request.time_in_force is not None:
        raise _unwanted("timeInForce")
