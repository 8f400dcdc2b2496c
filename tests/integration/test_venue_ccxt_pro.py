"""The simulated venue seen by ccxt.pro, unmodified: streams, the account's events, and its book against ours."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import ccxt
import pytest

from edgefleet.matching.recorded import Ladder, RecordedBook
from edgefleet.matching.wire import DepthDiff, DepthSnapshot, decode
from edgefleet.venues.tape import read_tape
from edgefleet_services.options import DEMO_KEY, DEMO_SECRET
from edgefleet_services.venue.service import VenueOptions

from .venue_server import RunningVenue, running

pytestmark = pytest.mark.integration

SYMBOL = "BTC/USDT"
PATIENCE_S = 20.0
BEST = 100  # levels compared at every update; the whole book at every 50th
UNSTAMPED = {"timestamp": True, "datetime": True}  # ccxt's own list of exceptions says the same of the real venue


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
    nonces: list[int] = []
    async with client_of(venue) as client:
        for _ in range(20):
            book = await client.watch_order_book(SYMBOL)
            # The first is REST's, which carries no stamp at Binance either.
            check(client, {} if nonces else UNSTAMPED, "watchOrderBook", book, SYMBOL)
            nonces.append(book["nonce"])

    assert nonces == sorted(set(nonces))


async def test_trades_pass_the_validator(venue: RunningVenue) -> None:
    check = structure("trade")
    seen: list[int] = []
    async with client_of(venue) as client:
        while len(seen) < 10:
            for trade in await client.watch_trades(SYMBOL):
                check(client, {}, "watchTrades", trade, SYMBOL, client.milliseconds(), True)
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

    structure("ticker")(client, UNSTAMPED, "watchBidsAsks", told[SYMBOL], SYMBOL)
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
        structure("order_book")(client, UNSTAMPED, "watchOrderBook", book, SYMBOL)


async def test_orders_trades_and_balance_are_told_as_they_happen(venue: RunningVenue) -> None:
    async with client_of(venue) as client:
        await client.load_markets()
        kinds = ("orders", "myTrades", "spot:balance")
        watches = (client.watch_orders, client.watch_my_trades, client.watch_balance)
        watched = [asyncio.create_task(watch()) for watch in watches]
        socket = client.client(client.urls["api"]["ws"]["ws-api"]["spot"])
        while not set(kinds) <= socket.futures.keys():  # noqa: ASYNC110 - what is waited for is ccxt's own
            await asyncio.sleep(0.01)
        placed = await client.create_order(SYMBOL, "market", "buy", 0.01)
        orders, trades, balance = await asyncio.gather(*watched)

    structure("order")(client, {}, "watchOrders", orders[-1], SYMBOL, client.milliseconds())
    structure("trade")(client, {}, "watchMyTrades", trades[-1], SYMBOL, client.milliseconds(), False)
    structure("balance")(client, {}, "watchBalance", balance)
    assert {order["id"] for order in orders} == {placed["id"]} == {trade["order"] for trade in trades}
    assert sum(trade["amount"] for trade in trades) <= 0.01


@pytest.mark.data
class TestBookOfTheRecordedMarket:
    """The two recorded files of BTCUSDT, as fast as ccxt reads."""

    @pytest.fixture
    def files(self, recorded: Path) -> tuple[Path, ...]:
        return tuple(recorded / "binance_spot" / f"btcusdt_2024080{day}.gz" for day in (8, 9))

    async def test_ccxts_book_equals_ours_at_every_update(self, files: tuple[Path, ...]) -> None:
        ours = our_books(files)
        compared: dict[int, bool] = {}
        awaited = 0
        with running(VenueOptions(market="tape", tape=files, speed="max", port=0)) as venue:
            # Of its own accord ccxt forgets what lies beyond 1,000 levels, and misses it when the price comes there.
            async with client_of(venue, watchOrderBookLimit=5_000) as client:
                apply = client.handle_order_book_message

                def applied(socket: Any, message: dict[str, Any], book: Any) -> Any:
                    """Compare right after ccxt applied a delta: whoever awaits is not woken for each."""
                    answer = apply(socket, message, book)
                    compared[book["nonce"]] = same(book, ours.get(book["nonce"]))
                    return answer

                client.handle_order_book_message = applied
                with pytest.raises(ccxt.NetworkError, match="closing code 1000"):  # noqa: PT012 - the tape's end
                    while True:
                        book = await client.watch_order_book(SYMBOL)
                        assert same(book, ours.get(book["nonce"]))
                        awaited += 1

        assert len(ours) == 6_493
        assert compared == dict.fromkeys(ours, True)
        assert awaited > 100

    async def test_ccxt_gets_every_print(self, files: tuple[Path, ...]) -> None:
        prints: dict[str, str] = {}
        with running(VenueOptions(market="tape", tape=files, speed="max", port=0)) as venue:
            # ccxt keeps 1,000 of its own accord, and more than that come between two looks at them.
            async with client_of(venue, tradesLimit=100_000) as client:
                with pytest.raises(ccxt.NetworkError, match="closing code 1000"):  # noqa: PT012 - the tape's end
                    while True:
                        new = await client.watch_trades(SYMBOL)
                        prints.update((trade["id"], trade["info"]["q"]) for trade in new)
                # What came after the last look and before the end woke nobody.
                prints.update((trade["id"], trade["info"]["q"]) for trade in client.trades[SYMBOL])

        assert len(prints) == 19_904
        assert sum(map(Decimal, prints.values())) == Decimal("437.91552")


Sides = tuple[list[list[float]], list[list[float]]]


def our_books(files: tuple[Path, ...]) -> dict[int, Sides]:
    """Return our book of a tape after each update: its best levels, and all of them now and then."""
    book = RecordedBook()
    books: dict[int, Sides] = {}
    for line in read_tape(files):
        frame = decode(line.body)
        if isinstance(frame, DepthSnapshot):
            book.snapshot(frame)
        elif not isinstance(frame, DepthDiff) or not book.diff(frame):
            continue
        depth = None if len(books) % 50 == 0 else BEST
        books[book.last_update_id] = (floats(book.bids, depth), floats(book.asks, depth))
    return books


def floats(side: Ladder, depth: int | None) -> list[list[float]]:
    return [[float(price), float(size)] for price, size in islice(side.levels(), depth)]


def same(theirs: Any, ours: Sides | None) -> bool:
    """Whether ccxt's book is ours, as far as ours was kept."""
    if ours is None:
        return False
    bids, asks = ours
    depths = [None if len(side) > BEST else BEST for side in ours]
    return bool(theirs["bids"][: depths[0]] == bids and theirs["asks"][: depths[1]] == asks)
