"""What holds for every sequence of orders: the engine against its definition, the account against arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet.matching.engine import PriceTimeBook, Side, TimeInForce
from edgefleet.matching.exchange import Execution, OrderRequest, OrderType, SimExchange
from edgefleet.matching.filters import VenueReject, rules_for
from edgefleet.matching.recorded import Ladder
from edgefleet.matching.wire import BookTicker, DepthDiff, DepthSnapshot, Trade

D = Decimal
SYMBOL = "BTCUSDT"

prices = st.integers(95, 105).map(D)
sizes = st.integers(1, 20).map(lambda tenths: D(tenths) / 10)
sides = st.sampled_from(Side)


# --- the engine


@dataclass
class Naive:
    """A resting order of the definition: no index, no level, only a list in order of arrival."""

    order_id: str
    side: Side
    price: Decimal
    left: Decimal


def naive_place(
    book: list[Naive], order_id: str, side: Side, quantity: Decimal, limit: Decimal | None, tif: TimeInForce
) -> list[tuple[str, Decimal, Decimal]]:
    """The definition: of the other side's orders that `limit` allows, the best price, then the oldest, trades next."""
    sign = 1 if side is Side.BUY else -1
    makers = [o for o in book if o.side is not side and (limit is None or sign * o.price <= sign * limit)]
    makers.sort(key=lambda order: sign * order.price)
    if tif is TimeInForce.FOK and sum((maker.left for maker in makers), D(0)) < quantity:
        return []
    matches = []
    for maker in makers:
        part = min(quantity, maker.left)
        if part > 0:
            maker.left -= part
            quantity -= part
            matches.append((maker.order_id, maker.price, part))
    book[:] = [order for order in book if order.left > 0]
    if quantity > 0 and limit is not None and tif is TimeInForce.GTC:
        book.append(Naive(order_id, side, limit, quantity))
    return matches


orders = st.tuples(sides, sizes, st.none() | prices, st.sampled_from(TimeInForce))


@given(st.lists(st.one_of(orders, st.integers(0, 40)), max_size=60))
def test_engine_trades_as_price_time_priority_is_defined(steps: list[object]) -> None:
    book, naive = PriceTimeBook(), list[Naive]()

    for number, step in enumerate(steps):
        name = str(number)
        if isinstance(step, tuple):
            side, quantity, limit, tif = step
            outcome = book.place(name, side, quantity, limit, tif)
            expected = naive_place(naive, name, side, quantity, limit, tif)
            assert [(m.maker_id, m.price, m.quantity) for m in outcome.matches] == expected
            assert outcome.matched + outcome.rested + outcome.unfilled == quantity
        elif str(step) in book:
            book.cancel(str(step))
            naive = [order for order in naive if order.order_id != str(step)]

    resting = {order.order_id: order.left for order in naive}
    assert {i: left for side in Side for i, _, left in book.orders(side)} == resting
    bid, ask = book.best(Side.BUY), book.best(Side.SELL)
    assert bid is None or ask is None or bid < ask


# --- the account


@dataclass
class Flow:
    """Cash and inventory as the executions alone would have them."""

    usdt: Decimal
    btc: Decimal

    def book(self, executions: list[Execution]) -> None:
        for execution in executions:
            trade = execution.trade
            if trade is None:
                continue
            sign = 1 if trade.side is Side.BUY else -1
            self.btc += sign * trade.quantity - (trade.commission if trade.commission_asset == "BTC" else 0)
            self.usdt -= sign * trade.price * trade.quantity
            self.usdt -= trade.commission if trade.commission_asset == "USDT" else 0


@dataclass(frozen=True)
class Top:
    """A top of book that waits for its update number."""

    bid: int
    spread: int
    bid_size: Decimal
    ask_size: Decimal

    def ticker(self, update: int) -> BookTicker:
        return BookTicker(update, SYMBOL, D(self.bid), self.bid_size, D(self.bid + self.spread), self.ask_size)


requests = st.builds(
    lambda side, kind, quantity, price, tif: OrderRequest(
        symbol=SYMBOL,
        side=side,
        type=kind,
        quantity=quantity,
        price=None if kind is OrderType.MARKET else price,
        time_in_force=tif if kind is OrderType.LIMIT else None,
    ),
    sides,
    st.sampled_from(OrderType),
    sizes,
    prices,
    st.sampled_from(TimeInForce),
)
levels = st.lists(st.tuples(prices, st.integers(0, 20).map(lambda tenths: D(tenths) / 10)), max_size=3)
frames = st.one_of(
    st.builds(lambda p, q, m: Trade(SYMBOL, 1, 1, 1, p, q, m), prices, sizes, st.booleans()),
    st.builds(Top, st.integers(95, 104), st.integers(1, 3), sizes, sizes),
    st.tuples(levels, levels),
)


@settings(max_examples=200)
@given(st.lists(st.one_of(requests, frames, st.integers(1, 30)), max_size=50))
def test_cash_and_inventory_are_what_the_fills_say(steps: list[object]) -> None:
    exchange = SimExchange([rules_for("BTC/USDT")], {"USDT": D(1_000), "BTC": D(5)})
    exchange.on_frame(DepthSnapshot(1, ((D(99), D(2)), (D(98), D(3))), ((D(101), D(2)), (D(102), D(3)))))
    exchange.market_time_ms = 1
    flow = Flow(D(1_000), D(5))
    update = 1

    for step in steps:
        try:
            match step:
                case OrderRequest():
                    order, executions = exchange.place(step)
                    assert order.executed <= (step.quantity or 0)
                case Trade():
                    executions = exchange.on_frame(step)
                    assert sum(e.trade.quantity for e in executions if e.trade) <= step.q
                case int():
                    executions = [exchange.cancel(SYMBOL, order_id=step)]
                case (list() as bids, list() as asks):
                    update += 1
                    executions = exchange.on_frame(DepthDiff(SYMBOL, update, update, update, tuple(bids), tuple(asks)))
                case Top():
                    update += 1
                    executions = exchange.on_frame(step.ticker(update))
                case _:
                    raise AssertionError(f"no step: {step!r}")
        except VenueReject:
            continue
        flow.book(executions)

        account = exchange.account()
        assert (account["USDT"].total, account["BTC"].total) == (flow.usdt, flow.btc)
        assert all(held.free >= 0 and held.locked >= 0 for held in account.values())
        locked = sum((o.left * o.price for o in exchange.open_orders() if o.side is Side.BUY), D(0))
        assert account["USDT"].locked == locked
        assert all(0 <= order.executed <= order.quantity for order in exchange.orders(SYMBOL))


@given(st.lists(st.one_of(requests, frames), max_size=30))
def test_the_same_steps_give_the_same_account(steps: list[object]) -> None:
    def run() -> object:
        exchange = SimExchange([rules_for("BTC/USDT")], {"USDT": D(1_000), "BTC": D(5)})
        exchange.on_frame(DepthSnapshot(1, ((D(99), D(2)),), ((D(101), D(2)),)))
        exchange.market_time_ms = 1
        for step in steps:
            try:
                if isinstance(step, OrderRequest):
                    exchange.place(step)
                elif isinstance(step, Trade):
                    exchange.on_frame(step)
            except VenueReject:
                continue
        return exchange.dump()

    assert run() == run()


@given(sides, st.lists(st.tuples(prices, st.integers(0, 3).map(D)), max_size=40))
def test_ladder_is_a_sorted_table_of_sizes(side: Side, changes: list[tuple[Decimal, Decimal]]) -> None:
    ladder, table = Ladder(side), dict[Decimal, Decimal]()

    for price, size in changes:
        ladder.set(price, size)
        table[price] = size

    expected = sorted(((p, s) for p, s in table.items() if s), reverse=side is Side.BUY)
    assert list(ladder.levels()) == expected
    assert ladder.best() == (expected[0] if expected else None)
