"""The simulated venue seen by ccxt.pro, unmodified: streams, the account's events, and its book against ours."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from edgefleet_services.options import DEMO_KEY, DEMO_SECRET
from edgefleet_services.venue.service import VenueOptions

from .venue_server import RunningVenue, running

pytestmark = pytest.mark.integration

SYMBOL = "BTC/USDT"
PATIENCE_S = 20.0


@asynccontextmanager
async def client_of(venue: RunningVenue, **options: Any) -> AsyncIterator[Any]:
    """Give a ccxt.pro client that is told where this venue is, and nothing else."""
    import ccxt.pro  # 3 s and 120 MB: only where it is used

    settings = {"fetchCurrencies": False, "fetchMargins": False, "fetchMarkets": {"types": ["spot"]}, **options}
    client = ccxt.pro.binance(
        {"apiKey": DEMO_KEY, "secret": DEMO_SECRET, "enableRateLimit": False, "options": settings}
    )
    sockets = client.urls["api"]["ws"] | {"spot": f"{venue.ws}/ws", "ws-api": {"spot": f"{venue.ws}/ws-api/v3"}}
    client.urls["api"] = client.urls["api"] | {"public": venue.rest, "private": venue.rest, "ws": sockets}
    try:
        async with asyncio.timeout(2 * PATIENCE_S):
            yield client
    finally:
        await client.close()


def structure(name: str) -> Any:
    """Return ccxt's own check of one structure."""
    return getattr(importlib.import_module(f"ccxt.test.exchange.base.test_{name}"), f"test_{name}")


@pytest.fixture(scope="module")
def venue() -> Iterator[RunningVenue]:
    balances = {"USDT": Decimal(100_000), "BTC": Decimal(2)}
    with running(VenueOptions(market="synthetic", symbols=(SYMBOL, "ETH/USDT"), port=0, balances=balances)) as venue:
        yield venue


async def test_order_book_passes_the_validator_and_goes_on(venue: RunningVenue) -> None:
    check = structure("order_book")
    nonces = []
    async with client_of(venue) as client:
        for _ in range(20):
            book = await client.watch_order_book(SYMBOL)
            check(client, {}, "watchOrderBook", book, SYMBOL)
            nonces.append(book["nonce"])

    assert nonces == sorted(set(nonces))


async def test_trades_pass_the_validator(venue: RunningVenue) -> None:
    check = structure("trade")
    seen: list[int] = []
    async with client_of(venue) as client:
        while len(seen) < 10:
            for trade in await client.watch_trades(SYMBOL):
                check(client, {}, "watchTrades", trade, SYMBOL, client.milliseconds())
                seen.append(int(trade["id"]))

    assert seen == list(range(seen[0], seen[0] + len(seen)))


@pytest.mark.parametrize("name", ["ticker", "miniTicker"])
async def test_ticker_passes_the_validator(venue: RunningVenue, name: str) -> None:
    async with client_of(venue) as client:
        for _ in range(2):
            ticker = await client.watch_ticker(SYMBOL, {"name": name})
            structure("ticker")(client, {}, "watchTicker", ticker, SYMBOL)
            rest = venue.get("ticker/24hr", symbol="BTCUSDT")

    assert (ticker["bid"] is not None) is (name == "ticker")
    assert float(rest["lowPrice"]) <= ticker["low"] <= ticker["last"] <= ticker["high"] <= float(rest["highPrice"])


async def test_tickers_of_the_whole_market_pass_the_validator(venue: RunningVenue) -> None:
    async with client_of(venue) as client:
        tickers = await client.watch_tickers()
        both = await client.watch_tickers([SYMBOL, "ETH/USDT"], {"name": "ticker"})

    assert set(tickers) <= {SYMBOL, "ETH/USDT"}
    for symbol, ticker in (tickers | both).items():
        structure("ticker")(client, {}, "watchTickers", ticker, symbol)


async def test_bids_and_asks_pass_the_validator(venue: RunningVenue) -> None:
    async with client_of(venue) as client:
        told = await client.watch_bids_asks([SYMBOL])

    # Binance's book ticker has no stamp, and ccxt's own list of exceptions for it says the same.
    structure("ticker")(client, {"timestamp": True, "datetime": True}, "watchBidsAsks", told[SYMBOL], SYMBOL)
    assert told[SYMBOL]["bid"] < told[SYMBOL]["ask"]


async def test_candles_pass_the_validator_and_are_those_of_rest(venue: RunningVenue) -> None:
    check = structure("ohlcv")
    async with client_of(venue) as client:
        for _ in range(5):
            candles = await client.watch_ohlcv(SYMBOL, "1m")
            for candle in candles:
                check(client, {}, "watchOHLCV", candle, SYMBOL, client.milliseconds())
        rest = {row[0]: row for row in await client.fetch_ohlcv(SYMBOL, "1m")}

    start, opened, high, low, _, volume = candles[-1]
    assert rest[start][1] == opened
    assert rest[start][2] >= high
    assert rest[start][3] <= low
    assert rest[start][5] >= volume


async def test_unwatched_streams_end_and_can_be_watched_again(venue: RunningVenue) -> None:
    async with client_of(venue) as client:
        await client.watch_order_book(SYMBOL)
        await client.un_watch_order_book(SYMBOL)
        assert SYMBOL not in client.orderbooks
        book = await client.watch_order_book(SYMBOL)
        structure("order_book")(client, {}, "watchOrderBook", book, SYMBOL)


async def test_orders_trades_and_balance_are_told_as_they_happen(venue: RunningVenue) -> None:
    async with client_of(venue) as client:
        await client.load_markets()
        watched = [
            asyncio.create_task(watch())
            for watch in (client.watch_orders, client.watch_my_trades, client.watch_balance)
        ]
        while not any(one.subscriptions.get("spot") for one in client.clients.values()):
            await asyncio.sleep(0)
        placed = await client.create_order(SYMBOL, "market", "buy", 0.01)
        orders, trades, balance = await asyncio.gather(*watched)

    structure("order")(client, {}, "watchOrders", orders[-1], SYMBOL, client.milliseconds())
    structure("trade")(client, {}, "watchMyTrades", trades[-1], SYMBOL, client.milliseconds())
    structure("balance")(client, {}, "watchBalance", balance)
    assert {order["id"] for order in orders} == {placed["id"]} == {trade["order"] for trade in trades}
    assert sum(trade["amount"] for trade in trades) <= 0.01
