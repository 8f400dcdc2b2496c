"""ccxt.pro as a source of frames: its book of the simulated venue, through our feed, beside the venue's own frames."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from edgefleet.book import Book
from edgefleet.clock import SYSTEM
from edgefleet.errors import Misuse, Transient
from edgefleet.messages import BookDelta, BookSnapshot, Trade
from edgefleet.stage import Output
from edgefleet.venues.binance.dialect import DIALECT as BINANCE
from edgefleet.venues.binance.feed import BinanceFeed
from edgefleet.venues.ccxt.feed import CcxtFeed
from edgefleet.venues.ccxt.source import open_frames
from edgefleet.venues.connection import open_frames as open_socket
from edgefleet_services.venue.service import VenueOptions

from .venue_server import RunningVenue, running

pytestmark = pytest.mark.integration

SYMBOL = "BTC/USDT"
PATIENCE_S = 60.0
ENOUGH = 30  # books that both have shown at the same update
DEPTH = 20


@pytest.fixture(scope="module")
def venue() -> Iterator[RunningVenue]:
    with running(VenueOptions(market="synthetic", symbols=(SYMBOL,), port=0)) as venue:
        yield venue


def client_of(venue: RunningVenue) -> Any:
    """Return a ccxt.pro client that is told where this venue is."""
    import ccxt.pro  # 3 s and 120 MB: only where it is used

    settings = {"fetchCurrencies": False, "fetchMargins": False, "fetchMarkets": {"types": ["spot"]}}
    client = ccxt.pro.binance({"enableRateLimit": False, "options": settings})
    sockets = client.urls["api"]["ws"] | {"spot": f"{venue.ws}/ws"}
    client.urls["api"] = client.urls["api"] | {"public": venue.rest, "ws": sockets}
    return client


class Books:
    """The best levels of a book after each update, as messages rebuild it."""

    def __init__(self) -> None:
        self.book, self.shown = Book(), {}  # type: ignore[var-annotated]

    def take(self, outputs: list[Output]) -> None:
        for out in outputs:
            message = out.message
            if isinstance(message, BookSnapshot):
                self.book.load(message.bids, message.asks)
                self.shown[message.update_id] = self._best()
            elif isinstance(message, BookDelta):
                self.book.apply(message.bids, message.asks)
                self.shown[message.last_update_id] = self._best()

    def _best(self) -> Any:
        return self.book.bids.levels(DEPTH), self.book.asks.levels(DEPTH)


async def test_a_book_by_ccxt_is_the_venues_at_every_update_both_have_shown(venue: RunningVenue) -> None:
    theirs, ours = CcxtFeed("theirs", [SYMBOL]), BinanceFeed("ours", [SYMBOL])
    by_ccxt, by_us = Books(), Books()
    prints: list[Trade] = []

    async with (
        asyncio.timeout(PATIENCE_S),
        open_frames("binance", [SYMBOL], SYSTEM, depth=DEPTH, make=lambda: client_of(venue)) as watched,
        open_socket(BINANCE.address(venue.ws, [SYMBOL]), SYSTEM) as socket,
    ):
        theirs.on_connect(SYSTEM.wall_ns())
        while len(by_ccxt.shown.keys() & by_us.shown.keys()) < ENOUGH or len(prints) < 5:
            if ours.awaiting and ours.held > 2:
                body = await asyncio.to_thread(venue.depth, "BTCUSDT")
                by_us.take(ours.on_snapshot(f"{SYMBOL}@ours", body.content, SYSTEM.wall_ns()))
            await socket.wait(0.05)
            for frame in socket.take(100):
                by_us.take(ours.on_frame(frame.stamp_ns, frame.body, frame.ts_init))
            for frame in watched.take(100):
                outputs = theirs.on_frame(frame.stamp_ns, frame.body, frame.ts_init)
                by_ccxt.take(outputs)
                prints += [out.message for out in outputs if isinstance(out.message, Trade)]
            assert watched.closed is None

    both = by_ccxt.shown.keys() & by_us.shown.keys()
    assert len(both) >= ENOUGH
    assert all(by_ccxt.shown[update] == by_us.shown[update] for update in both)
    assert theirs.counts.undecodable == theirs.counts.book_crossed == 0
    assert theirs.listed[SYMBOL].tick_size == Decimal("0.01")
    assert theirs.unconfirmed == ()
    assert [int(trade.trade_id) for trade in prints] == sorted({int(trade.trade_id) for trade in prints})


async def test_a_symbol_that_is_not_listed_is_one_clear_line(venue: RunningVenue) -> None:
    with pytest.raises(Misuse, match="binance does not list NO/USDT"):
        async with open_frames("binance", ["NO/USDT"], SYSTEM, make=lambda: client_of(venue)):
            pass


async def test_an_exchange_out_of_reach_is_transient(venue: RunningVenue) -> None:
    def nowhere() -> Any:
        client = client_of(venue)
        client.urls["api"] = client.urls["api"] | {"public": "http://127.0.0.1:9/api/v3"}
        return client

    with pytest.raises(Transient, match="binance does not answer"):
        async with open_frames("binance", [SYMBOL], SYSTEM, make=nowhere):
            pass


async def test_an_exchange_that_ccxt_has_not_is_misuse() -> None:
    with pytest.raises(Misuse, match="has no exchange 'nosuch'"):
        async with open_frames("nosuch", [SYMBOL], SYSTEM):
            pass
