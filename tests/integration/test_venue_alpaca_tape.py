"""Two recorded days of a New York stock served as Alpaca: nothing lost, nothing out of hours, bars as the rows say."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.exceptions import ConnectionClosedOK
from websockets.sync.client import connect

from edgefleet_services.options import DEMO_KEY, DEMO_SECRET
from edgefleet_services.venue.service import VenueOptions

from .alpaca_client import LimitOrderRequest, MarketOrderRequest, OrderSide, OrderStatus, StockBarsRequest, TimeFrame
from .alpaca_venue import Clients, alpaca, at

pytestmark = [pytest.mark.integration, pytest.mark.data]

KEYS = {"APCA-API-KEY-ID": DEMO_KEY, "APCA-API-SECRET-KEY": DEMO_SECRET}


@dataclass
class Heard:
    """What a client that listened to all of it was told."""

    trades: list[dict[str, Any]] = field(default_factory=list)
    quotes: list[dict[str, Any]] = field(default_factory=list)
    bars: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Session:
    """The tape from its first event to its last, with orders that were sent before it began."""

    venue: Clients
    heard: Heard
    orders: dict[str, Any]


@pytest.fixture(scope="module")
def files(recorded: Path) -> tuple[Path, Path]:
    folder = recorded / "stocks_taq"
    return folder / "trades.csv.gz", folder / "quotes.csv.gz"


@pytest.fixture(scope="module")
def session(files: tuple[Path, Path]) -> Iterator[Session]:
    taped = VenueOptions(dialect="alpaca", market="tape", symbols=("XXX",), tape=files, speed="max", port=0)
    with alpaca(taped) as venue:
        orders = {
            "at the open": MarketOrderRequest(symbol="XXX", qty=10, side=OrderSide.BUY, time_in_force="day"),
            "never": LimitOrderRequest(symbol="XXX", qty=1, side="buy", time_in_force="day", limit_price=150),
            "second day": LimitOrderRequest(symbol="XXX", qty=1, side="buy", time_in_force="gtc", limit_price=155.9),
            "early": LimitOrderRequest(
                symbol="XXX", qty=1, side="buy", time_in_force="day", limit_price=158.9, extended_hours=True
            ),
        }
        sent = {name: venue.trading.submit_order(order) for name, order in orders.items()}
        assert {order.status for order in sent.values()} == {OrderStatus.ACCEPTED}
        heard = listen(venue)
        yield Session(venue, heard, {name: venue.trading.get_order_by_id(order.id) for name, order in sent.items()})


def listen(venue: Clients) -> Heard:
    heard, kinds = Heard(), {"t": "trades", "q": "quotes", "b": "bars"}
    headers = KEYS | {"Content-Type": "application/msgpack"}
    decode = msgspec.msgpack.Decoder(list[dict[str, Any]], ext_hook=lambda code, data: bytes(data)).decode
    with connect(f"{venue.venue.ws}/v2/sip", additional_headers=headers) as socket:
        socket.send(msgspec.msgpack.encode({"action": "subscribe", **{name: ["XXX"] for name in kinds.values()}}))
        with pytest.raises(ConnectionClosedOK, match="tape ended"):  # noqa: PT012 - frames come until the venue closes
            while True:
                for message in decode(socket.recv(timeout=60, decode=False)):
                    if message["T"] in kinds:
                        getattr(heard, kinds[message["T"]]).append(message)
    return heard


def rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt") as stream:
        return list(csv.DictReader(stream))


def test_every_print_is_told_in_its_order(session: Session, files: tuple[Path, Path]) -> None:
    recorded = [row for row in rows(files[0]) if int(row["CORR"]) < 7]

    told = [(trade["x"], trade["p"], trade["s"]) for trade in session.heard.trades]

    assert told == [(row["EX"], float(row["PRICE"]), int(row["SIZE"])) for row in recorded]
    assert session.venue.venue.status()["finished"]


def test_best_quotes_are_never_locked_or_crossed(session: Session) -> None:
    both = [quote for quote in session.heard.quotes if quote["bp"] and quote["ap"]]

    assert len(both) > 40_000
    assert all(quote["bp"] < quote["ap"] for quote in both)


def test_order_that_waited_meets_the_first_quote_after_the_open(session: Session) -> None:
    order = session.orders["at the open"]
    opened = at("2018-01-02 09:30")
    first = next(quote for quote in session.heard.quotes if quote["t"].timestamp() * 1e9 >= opened)

    assert order.status is OrderStatus.FILLED
    assert order.filled_at.timestamp() * 1e9 >= opened
    assert float(order.filled_avg_price) == first["ap"]


def test_order_of_the_day_expires_at_the_first_close_and_one_until_cancelled_lives_on(session: Session) -> None:
    never = session.orders["never"]
    assert never.status is OrderStatus.EXPIRED
    assert never.expires_at.timestamp() * 1e9 == at("2018-01-02 16:00")

    lows = [trade["p"] for trade in session.heard.trades if trade["p"] < 155.9]
    second = session.orders["second day"]
    assert (second.status is OrderStatus.FILLED) == bool(lows)
    if second.status is OrderStatus.FILLED:
        assert second.filled_avg_price == "155.9"


def test_extended_hours_order_trades_before_the_open(session: Session) -> None:
    order = session.orders["early"]

    assert order.status is OrderStatus.FILLED
    assert order.filled_at.timestamp() * 1e9 < at("2018-01-02 09:30")


def test_daily_bars_are_what_the_conditions_of_the_rows_say(session: Session, files: tuple[Path, Path]) -> None:
    request = StockBarsRequest(symbol_or_symbols="XXX", timeframe=TimeFrame.Day, start="2018-01-01T00:00:00Z")
    bars = session.venue.data.get_stock_bars(request)["XXX"]

    # Midnight in New York is 05:00 UTC; what came before it belongs to the day before.
    for bar, day, next_day in zip(bars, ("2018-01-02", "2018-01-03"), ("2018-01-03", "2018-01-04"), strict=True):
        prints = [r for r in rows(files[0]) if f"{day} 05" <= r["DT"] < f"{next_day} 05" and int(r["CORR"]) < 7]
        last = [r for r in prints if not set(r["COND"]) & set("BCHIMNQRTUVW7GPZ4")]
        ends = [float(r["PRICE"]) for r in last]
        highs = [float(r["PRICE"]) for r in prints if not set(r["COND"]) & set("BCHIMNQRTUVW7")]
        assert (bar.open, bar.high, bar.low, bar.close) == (ends[0], max(highs), min(highs), ends[-1])
        assert bar.volume == sum(int(r["SIZE"]) for r in prints if not set(r["COND"]) & set("MQ9"))


def test_minutes_were_told_as_they_closed(session: Session) -> None:
    request = StockBarsRequest(symbol_or_symbols="XXX", timeframe=TimeFrame.Minute, start="2018-01-01T00:00:00Z")
    asked = session.venue.data.get_stock_bars(request)["XXX"]

    told = [(bar["t"].timestamp(), bar["o"], bar["c"], bar["v"]) for bar in session.heard.bars]

    assert told == [(bar.timestamp.timestamp(), bar.open, bar.close, bar.volume) for bar in asked][: len(told)]
    assert len(told) > 2 * 380


def test_account_is_its_start_and_its_fills(session: Session) -> None:
    fills = session.venue.trading.get("/account/activities/FILL", {"direction": "asc"})
    spent = sum(Decimal(fill["price"]) * Decimal(fill["qty"]) for fill in fills)

    account = session.venue.trading.get_account()

    assert Decimal(account.cash) == 100_000 - spent
    assert Decimal(session.venue.trading.get_open_position("XXX").qty) == sum(Decimal(fill["qty"]) for fill in fills)
