"""A stock broker's cash account: its orders, holdings and reservations, and what it is refused. Knows no hours.

Everything settles at once: what a sale brought buys at once, nothing is lent, nothing is sold short.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

import msgspec

from edgefleet.errors import Broken, Misuse
from edgefleet.units import ZERO, decimal_text

from .broker_orders import (
    BrokerOrder,
    BrokerRequest,
    BrokerStatus,
    TradeUpdate,
    bad_request,
    changed,
    check_cost,
    forbidden,
    unprocessable,
)
from .engine import Side, crosses
from .exchange import ExchangeState, Execution, Fees, SimExchange
from .recorded import RecordedMarket
from .stocks import stock_rules

CASH = "USD"


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


class BrokerAccount:
    """One cash account and the simulated exchange its orders trade at.

    Parameters
    ----------
    symbols
        The stocks that trade here, as Alpaca writes them.
    balances
        What the account starts with: USD, and shares by symbol (their cost is taken as 0, for nobody told it).
    fees
        Commission as a fraction of the amount, in USD.
    top_only
        Whether the market shows its top of book alone.
    """

    def __init__(
        self, symbols: Sequence[str], balances: Mapping[str, Decimal], fees: Fees | None, *, top_only: bool
    ) -> None:
        strange = sorted(set(balances) - {CASH, *symbols})
        if strange:
            raise Misuse(f"a stock account holds USD and {', '.join(symbols)}, not {', '.join(strange)}")
        charged = fees or Fees(ZERO, ZERO)
        rules = [stock_rules(symbol) for symbol in symbols]
        self.exchange = SimExchange(rules, balances, Fees(charged.maker, charged.taker, in_quote=True))
        self.exchange.markets = {symbol: RecordedMarket(top_only=top_only) for symbol in symbols}
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

    # --- orders

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

    def open_orders(self) -> Iterator[BrokerOrder]:
        """Yield the open orders, oldest first; each as it stands when it is reached."""
        for number in list(self._open):
            if number in self._open:
                yield self._orders[number]

    def fills(self) -> list[TradeUpdate]:
        """Return every execution of the account, oldest first."""
        return list(self._fills)

    def still_open(self, number: int) -> BrokerOrder:
        """Return an order that may still trade, or raise `BrokerReject` with what it is instead."""
        order = self._orders[number]
        if not order.is_open:
            raise unprocessable(f'order is already in "{order.status.value}" state')
        return order

    def new_names(self, client_order_id: str | None) -> tuple[int, str]:
        """Return the number and the client id of the next order, or raise `BrokerReject` where the id was used."""
        number = len(self._orders) + 1
        client_id = client_order_id or f"edgefleet-{number}"
        if client_id in self._by_client_id:
            raise bad_request("client_order_id must be unique")
        return number, client_id

    def store(self, order: BrokerOrder) -> BrokerOrder:
        """Keep an order as it stands now, and return it."""
        if order.number not in self._orders:
            self._by_id[order.id] = order.number
        self._orders[order.number] = order
        self._by_client_id[order.client_order_id] = order.number
        if order.is_open:
            self._open[order.number] = None
        else:
            self._open.pop(order.number, None)
        return order

    # --- what of them rests at the exchange

    def engine_id(self, number: int) -> int | None:
        """Return which order of the exchange a broker's order is, None where it does not rest there."""
        return self._engine_ids.get(number)

    def tie(self, number: int, engine_id: int) -> None:
        """Remember which order of the exchange a broker's order is."""
        self._resting[engine_id], self._engine_ids[number] = number, engine_id

    def untie(self, number: int) -> None:
        """Forget it: the order rests at the exchange no longer."""
        engine_id = self._engine_ids.pop(number, None)
        if engine_id is not None:
            del self._resting[engine_id]

    def book(self, execution: Execution, now_ns: int, *, last: bool) -> TradeUpdate:
        """Book one execution at the exchange; `last`: nothing of the order is wanted after it."""
        trade = execution.trade
        if trade is None:
            raise Broken(f"execution {execution.sequence} is a trade without its trade")
        order = self._orders[self._resting[trade.order_id]]
        filled = order.filled + trade.quantity
        complete = last or filled == order.quantity
        order = self.store(
            changed(
                order,
                filled=filled,
                cost=order.cost + trade.quote_quantity,
                status=BrokerStatus.FILLED if complete else BrokerStatus.PARTIALLY_FILLED,
                filled_ns=now_ns if complete else None,
                updated_ns=now_ns,
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
            self.untie(order.number)
        update = TradeUpdate(
            event="fill" if complete else "partial_fill",
            order=order,
            ts_ns=now_ns,
            price=trade.price,
            quantity=trade.quantity,
            position=held,
            trade_id=trade.trade_id,
        )
        self._fills.append(update)
        return update

    # --- holdings

    def cash(self) -> Decimal:
        """Return the account's USD, reserved or not."""
        return self.exchange.account()[CASH].total

    def position(self, symbol: str) -> Decimal:
        """Return the shares held of `symbol`."""
        return self.exchange.account()[symbol].total

    def available(self, symbol: str) -> Decimal:
        """Return the shares of `symbol` that no open sale has reserved."""
        waiting = (self.committed(order) for order in self._waiting(Side.SELL) if order.symbol == symbol)
        return self.exchange.account()[symbol].free - sum(waiting, ZERO)

    def buying_power(self) -> Decimal:
        """Return the USD that no open order has reserved."""
        return self.exchange.account()[CASH].free - sum(
            (self.committed(order) for order in self._waiting(Side.BUY)), ZERO
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

    def see_price(self, symbol: str, price: Decimal) -> None:
        """Note a last price."""
        self._last[symbol] = price

    def close_day(self) -> None:
        """Note what the account and the stocks are worth at a regular close."""
        self.last_equity = self.equity()
        self.closes = dict(self._last)

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
            self.store(order)
        self._resting = dict(state.resting)
        self._engine_ids = {number: engine_id for engine_id, number in self._resting.items()}
        self._cost.update(state.cost)
        self._held = {symbol: self.position(symbol) for symbol in self.exchange.rules}
        self._fills = list(state.fills)
        self.last_equity = state.last_equity
        self.closes = dict(state.closes)

    # --- what is refused

    def check_symbol(self, symbol: str) -> None:
        """Raise `BrokerReject` unless `symbol` trades here."""
        if symbol not in self.exchange.rules:
            raise unprocessable(f'asset "{symbol}" not found')

    def check_wash(self, request: BrokerRequest) -> None:
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

    def check_funds(self, request: BrokerRequest, *, released: Decimal) -> None:
        """Raise `BrokerReject` unless the account can pay, or has the shares; `released` is what an order that it
        replaces gives back."""
        price = self._far_side(request.symbol, request.side) if request.limit_price is None else request.limit_price
        if request.side is Side.BUY:
            cost = self._needed(request.symbol, request.quantity, request.notional, request.limit_price)
            if price is not None:
                check_cost(cost, request)
            power = self.buying_power() + released
            if not cost <= power:
                raise forbidden(
                    "insufficient buying power", buying_power=decimal_text(power), cost_basis=decimal_text(cost)
                )
            return
        shares = self._shares(request.quantity, request.notional, price)
        if price is not None:
            check_cost(shares * price, request)
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

    # --- reservations

    def committed(self, order: BrokerOrder) -> Decimal:
        """Return what an open order may still need: USD of a purchase, shares of a sale."""
        notional = None if order.notional is None else order.notional - order.cost
        if order.side is Side.BUY:
            return self._needed(order.symbol, order.left, notional, order.limit_price)
        return self._shares(order.left, notional, self._far_side(order.symbol, Side.SELL))

    def _waiting(self, side: Side) -> list[BrokerOrder]:
        """Return the open orders of `side` that do not rest at the exchange, which has reserved nothing for them."""
        orders = (self._orders[number] for number in self._open if number not in self._engine_ids)
        return [order for order in orders if order.side is side]

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
