"""The simulated exchange on ten minutes of a real market: its books, its speed of repeating itself, its arithmetic."""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path

import pytest

from edgefleet.matching.engine import Side, TimeInForce
from edgefleet.matching.exchange import ExchangeState, Execution, OrderRequest, OrderType, SimExchange
from edgefleet.matching.filters import VenueReject, rules_for
from edgefleet.matching.wire import BookTicker, DepthDiff, Frame, Trade, decode
from edgefleet.venues.tape import read_tape

pytestmark = pytest.mark.data

SYMBOL = "BTCUSDT"
D = Decimal


@pytest.fixture(scope="module")
def frames(recorded: Path) -> list[Frame]:
    files = [recorded / "binance_spot" / f"btcusdt_2024080{day}.gz" for day in (8, 9)]
    return [frame for line in read_tape(files) if (frame := decode(line.body)) is not None]


def trade(frames: list[Frame], seed: int) -> tuple[SimExchange, list[tuple[Frame, list[Execution]]]]:
    """Send a random order or cancel every 200 frames, near the touch; return what each frame brought."""
    rng = random.Random(seed)
    exchange = SimExchange([rules_for(SYMBOL)], {"USDT": D(1_000_000), "BTC": D(10)})
    told = []
    for number, frame in enumerate(frames):
        executions = exchange.on_frame(frame)
        if executions:
            told.append((frame, executions))
        if number % 200 == 199:
            act(exchange, rng)
    return exchange, told


def act(exchange: SimExchange, rng: random.Random) -> None:
    side = rng.choice(list(Side))
    kind = rng.choice(list(OrderType))
    top = exchange.markets[SYMBOL].top(side)
    assert top is not None
    price = top[0] + D(rng.randint(-200, 200)) / 100
    request = OrderRequest(
        symbol=SYMBOL,
        side=side,
        type=kind,
        quantity=D(rng.randint(1, 20_000)) / 100_000 + D("0.001"),
        price=None if kind is OrderType.MARKET else price,
        time_in_force=rng.choice(list(TimeInForce)) if kind is OrderType.LIMIT else None,
    )
    orders = exchange.open_orders()
    try:
        exchange.place(request)
        if len(orders) > 10:
            exchange.cancel(SYMBOL, order_id=orders[0].order_id)
    except VenueReject:
        pass  # a refusal is an answer too: the books below must not show it


def test_account_is_what_its_trades_say(frames: list[Frame]) -> None:
    exchange, _ = trade(frames, seed=1)

    usdt, btc = D(1_000_000), D(10)
    for fill in exchange.trades(SYMBOL, from_id=0, limit=10**9):
        sign = 1 if fill.side is Side.BUY else -1
        btc += sign * fill.quantity - (fill.commission if fill.commission_asset == "BTC" else 0)
        usdt -= sign * fill.quantity * fill.price + (fill.commission if fill.commission_asset == "USDT" else 0)
    account = exchange.account()
    assert (account["USDT"].total, account["BTC"].total) == (usdt, btc)
    assert any(fill.is_maker for fill in exchange.trades(SYMBOL))


def test_no_print_fills_more_than_was_printed(frames: list[Frame]) -> None:
    _, told = trade(frames, seed=2)

    prints = [(frame, executions) for frame, executions in told if isinstance(frame, Trade)]
    assert prints
    for frame, executions in prints:
        assert sum(e.trade.quantity for e in executions if e.trade) <= frame.q
        # Only those whom the aggressor would have met at the print's price or before it.
        assert all((e.order.price >= frame.p) if frame.m else (e.order.price <= frame.p) for e in executions)
        assert {e.order.side for e in executions} == {Side.BUY if frame.m else Side.SELL}


def test_same_requests_on_the_same_market_give_the_same_account(frames: list[Frame]) -> None:
    def run() -> ExchangeState:
        return trade(frames[:20_000], seed=3)[0].dump()

    assert run() == run()


def test_book_is_the_recorded_one(frames: list[Frame]) -> None:
    exchange = SimExchange([rules_for(SYMBOL)], {})
    for frame in frames:
        exchange.on_frame(frame)

    book = exchange.markets[SYMBOL].book
    assert (book.applied, book.stale, book.gaps) == (6_493, 2, 0)
    assert (book.bids.best(), book.asks.best()) == (
        (D("61602.01"), D("1.67177")),
        (D("61602.02"), D("2.66795")),
    )
    assert exchange.market_time_ms == max(f.E for f in frames if isinstance(f, Trade | DepthDiff))
    assert sum(isinstance(frame, BookTicker) for frame in frames) == 73_174
