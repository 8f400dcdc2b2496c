"""A stock account on a recorded day of New York: nothing is filled that was not printed or quoted, in hours alone."""

from __future__ import annotations

import random
from datetime import date
from decimal import Decimal
from itertools import islice
from pathlib import Path

import msgspec
import pytest

from edgefleet.clock import NS_PER_S
from edgefleet.matching.broker_orders import BrokerReject, BrokerRequest, OrderKind, Tif, TradeUpdate
from edgefleet.matching.brokerage import Brokerage
from edgefleet.matching.engine import Side
from edgefleet.matching.hours import EXTENDED, Hours, Phase
from edgefleet.matching.stocks import StockEvent
from edgefleet.units import ZERO
from edgefleet.venues.taq import read_taq

from .stock_days import STOCK, D, Day, Days

pytestmark = pytest.mark.data

CASH, SHARES = D(60_000), D(300)
EVENTS = 40_000  # into the morning of the first day
_OPEN = 1_514_903_400 * NS_PER_S  # January 2, 2018, 09:30 in New York
_DAY = 86_400 * NS_PER_S
HOURS = Days(*(Day(date(2018, 1, 2 + n), _OPEN + n * _DAY, _OPEN + n * _DAY + 23_400 * NS_PER_S) for n in range(3)))


@pytest.fixture(scope="module")
def events(recorded: Path) -> list[StockEvent]:
    folder = recorded / "stocks_taq"
    return list(islice(read_taq([folder / "trades.csv.gz", folder / "quotes.csv.gz"]), EVENTS))


def traded(events: list[StockEvent], seed: int) -> tuple[Brokerage, list[tuple[StockEvent, list[TradeUpdate]]]]:
    """Return an account that traded at random, and what each event brought to orders that were there before it."""
    chance = random.Random(seed)
    broker = Brokerage([STOCK], {"USD": CASH, STOCK: SHARES}, Hours(HOURS), top_only=True)
    broker.start(events[0].ts_ns)
    told = []
    for number, event in enumerate(events):
        told.append((event, broker.on_event(event)))
        if number % 40 == 0:
            _act(broker, chance)
    return broker, told


def _act(broker: Brokerage, chance: random.Random) -> None:
    account = broker.account
    still = list(account.open_orders())
    if len(still) > 12:
        broker.cancel(chance.choice(still).number)
    market = account.exchange.markets[STOCK]
    side = chance.choice(list(Side))
    best = market.top(side)
    price = None if best is None or chance.random() < 0.2 else best[0] + Decimal(chance.randint(-6, 3)) / 100
    try:
        broker.place(
            BrokerRequest(
                symbol=STOCK,
                side=side,
                kind=OrderKind.MARKET if price is None else OrderKind.LIMIT,
                tif=chance.choice(list(Tif)),
                quantity=Decimal(chance.choice([1, 5, 40, 130])),
                limit_price=price,
            )
        )
    except BrokerReject:
        return  # beyond the account's means, or against an order of its own


def filled(updates: list[TradeUpdate], side: Side) -> Decimal:
    return sum((u.quantity or ZERO for u in updates if u.order.side is side), ZERO)


def test_events_fill_no_more_than_they_show(events: list[StockEvent]) -> None:
    _, told = traded(events, seed=11)

    fills = 0
    for event, updates in told:
        fills += sum(update.trade_id is not None for update in updates)
        bought, sold = filled(updates, Side.BUY), filled(updates, Side.SELL)
        if event.quote is not None:
            assert bought <= event.quote.ask_size
            assert sold <= event.quote.bid_size
        elif event.trade is not None:
            assert bought + sold <= (event.trade.size if event.frame is not None else 0)
    assert fills > 100, "the test is about fills"


def test_account_is_its_start_and_its_trades_and_traded_in_its_hours(events: list[StockEvent]) -> None:
    broker, _ = traded(events, seed=12)

    cash, shares = CASH, SHARES
    for fill in broker.account.fills():
        assert fill.price is not None
        assert fill.quantity is not None
        sign = 1 if fill.order.side is Side.BUY else -1
        cash -= sign * fill.price * fill.quantity
        shares += sign * fill.quantity
        phase = broker.hours.at(fill.ts_ns).phase
        assert phase is Phase.REGULAR or (fill.order.extended_hours and phase in EXTENDED)
        if fill.order.limit_price is not None:
            assert sign * fill.price <= sign * fill.order.limit_price
    assert (broker.account.cash(), broker.account.position(STOCK)) == (cash, shares)


def test_same_requests_on_the_same_market_give_the_same_account(events: list[StockEvent]) -> None:
    first, _ = traded(events[:15_000], seed=13)
    second, _ = traded(events[:15_000], seed=13)

    assert msgspec.json.encode(first.account.dump()) == msgspec.json.encode(second.account.dump())
