"""What holds of a stock account whatever is sent and whatever the market does: money, shares, reservations, hours."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.unit.matching.stock_days import STOCK, D, Stock, at, buy, sell

from edgefleet.clock import NS_PER_S
from edgefleet.matching.broker_account import BrokerState
from edgefleet.matching.broker_orders import BrokerReject, BrokerStatus, TradeUpdate
from edgefleet.matching.engine import Side
from edgefleet.matching.exchange import Fees
from edgefleet.matching.hours import EXTENDED, Phase
from edgefleet.units import ZERO

CASH, SHARES = "5000", "20"
FEES = Fees(D("0.0003"), D("0.0005"))

cents = st.integers(9_900, 10_100).map(lambda n: Decimal(n) / 100)
sizes = st.sampled_from(["1", "7", "40", "100", "0.5", "0.123456789", "3.25"])
tifs = st.sampled_from(["day", "gtc", "ioc", "fok"])


class StockAccount(RuleBasedStateMachine):
    """Orders, replacements and cancels at random, over the hours of two days and the night between."""

    def __init__(self) -> None:
        super().__init__()
        self.stock = Stock(at("09:29", 27), CASH, SHARES, fees=FEES)
        self.now = at("09:29", 27)
        self.updates: list[TradeUpdate] = []

    # --- what happens

    @rule(seconds=st.sampled_from([1, 60, 1_800, 21_600]))
    def time_passes(self, seconds: int) -> None:
        # Not beyond the last day that has a session.
        self.now = min(self.now + seconds * NS_PER_S, at("16:30"))
        self.updates += self.stock.broker.on_time(self.now)

    @rule(bid=cents, spread=st.integers(1, 30), bid_size=st.integers(0, 30), ask_size=st.integers(0, 30))
    def quote(self, bid: Decimal, spread: int, bid_size: int, ask_size: int) -> None:
        ask = bid + Decimal(spread) / 100
        self.updates += self.stock.quote(self.now, str(bid), str(ask), str(bid_size), str(ask_size))

    @rule(price=cents, size=st.integers(1, 200))
    def trade(self, price: Decimal, size: int) -> None:
        self.updates += self.stock.trade(self.now, str(price), str(size))

    @rule(
        side=st.sampled_from([buy, sell]),
        size=sizes,
        limit=st.none() | cents.map(str),
        tif=tifs,
        extended=st.booleans(),
    )
    def order(self, side: Any, size: str, limit: str | None, tif: str, extended: bool) -> None:
        self._try(side(size, limit, tif, extended_hours=extended))

    @rule(side=st.sampled_from([buy, sell]), notional=st.integers(1, 4_000))
    def notional_order(self, side: Any, notional: int) -> None:
        self._try(side(notional=Decimal(notional)))

    @precondition(lambda self: any(order.is_open for order in self.stock.broker.account.orders()))
    @rule(data=st.data(), size=st.none() | sizes.map(D), limit=st.none() | cents, tif=st.none())
    def replace(self, data: st.DataObject, size: Decimal | None, limit: Decimal | None, tif: None) -> None:
        order = data.draw(st.sampled_from([o for o in self.stock.broker.account.orders() if o.is_open]))
        try:
            _, updates = self.stock.broker.replace(order.number, quantity=size, limit_price=limit, tif=tif)
        except BrokerReject:
            return
        self.updates += updates

    @precondition(lambda self: any(order.is_open for order in self.stock.broker.account.orders()))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        order = data.draw(st.sampled_from([o for o in self.stock.broker.account.orders() if o.is_open]))
        self.updates += self.stock.broker.cancel(order.number)

    @rule()
    def restart(self) -> None:
        """A saved and loaded account of the same market is the same account."""
        saved = msgspec.json.encode(self.stock.broker.account.dump())
        again = Stock(self.now, CASH, SHARES, fees=FEES)
        again.broker.account.load(msgspec.json.decode(saved, type=BrokerState))
        assert msgspec.json.encode(again.broker.account.dump()) == saved

    def _try(self, request: Any) -> None:
        try:
            _, updates = self.stock.broker.place(request)
        except BrokerReject:
            return
        self.updates += updates

    # --- what holds

    @invariant()
    def account_is_its_start_and_its_trades(self) -> None:
        cash, shares = D(CASH), D(SHARES)
        for trade in self.stock.broker.account.exchange.trades(STOCK, limit=10**9):
            sign = 1 if trade.side is Side.BUY else -1
            cash -= sign * trade.quote_quantity + trade.commission
            shares += sign * trade.quantity
            assert trade.commission_asset == "USD"
        assert self.stock.broker.account.cash() == cash
        assert self.stock.broker.account.position(STOCK) == shares >= 0

    @invariant()
    def updates_tell_every_trade_once_and_in_order(self) -> None:
        told = [(u.trade_id, u.price, u.quantity) for u in self.updates if u.trade_id is not None]
        trades = self.stock.broker.account.exchange.trades(STOCK, limit=10**9)
        assert told == [(t.trade_id, t.price, t.quantity) for t in trades]
        assert [u.trade_id for u in self.stock.broker.account.fills()] == [t.trade_id for t in trades]

    @invariant()
    def orders_are_the_sum_of_their_fills(self) -> None:
        for order in self.stock.broker.account.orders():
            fills = [u for u in self.updates if u.trade_id is not None and u.order.number == order.number]
            assert order.filled == sum((u.quantity or ZERO for u in fills), ZERO)
            assert order.cost == sum(((u.price or ZERO) * (u.quantity or ZERO) for u in fills), ZERO)
            if order.quantity is not None:
                assert order.filled <= order.quantity
                assert (order.status is BrokerStatus.FILLED) == (order.filled == order.quantity)
            elif order.notional is not None:
                assert order.cost <= order.notional
            if order.limit_price is not None and order.filled:
                better = order.cost <= order.limit_price * order.filled
                assert better if order.side is Side.BUY else order.cost >= order.limit_price * order.filled

    @invariant()
    def what_is_locked_is_what_rests(self) -> None:
        exchange = self.stock.broker.account.exchange
        resting = exchange.open_orders()
        bids = sum((o.left * o.price * (1 + FEES.maker) for o in resting if o.side is Side.BUY), ZERO)
        asks = sum((o.left for o in resting if o.side is Side.SELL), ZERO)
        account = exchange.account()
        assert (account["USD"].locked, account[STOCK].locked) == (bids, asks)
        assert account["USD"].free >= 0
        assert account[STOCK].free >= 0

    @invariant()
    def only_what_may_trade_now_rests_at_the_exchange(self) -> None:
        phase = self.stock.broker.moment().phase
        if phase is Phase.REGULAR:
            return
        resting = {self.stock.broker.account.order(n) for n in self.stock.broker.account.dump().resting.values()}
        assert phase in EXTENDED or not resting
        assert all(order.extended_hours for order in resting)

    @invariant()
    def nothing_trades_outside_the_hours(self) -> None:
        for update in self.updates:
            if update.trade_id is not None:
                phase = self.stock.broker.hours.at(update.ts_ns).phase
                assert phase is Phase.REGULAR or (update.order.extended_hours and phase in EXTENDED)


TestStockAccount = StockAccount.TestCase
TestStockAccount.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
