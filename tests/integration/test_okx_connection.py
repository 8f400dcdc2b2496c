"""OKX's feed on a real connection: asked for, confirmed by data, lost, asked for again, kept alive by its text."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from tests.unit.venues.okx_market import NAME, OkxMarket
from websockets.asyncio.server import ServerConnection, serve

from edgefleet.clock import SYSTEM
from edgefleet.venues.connection import open_frames
from edgefleet.venues.okx.dialect import DIALECT
from edgefleet.venues.okx.feed import OkxFeed

pytestmark = pytest.mark.integration

SYMBOL, INSTRUMENT = "BTC/USDT", "BTC/USDT@okx"


@dataclass
class Venue:
    """What OKX answers, with one update that never comes after the first snapshot."""

    market: OkxMarket = field(default_factory=lambda: OkxMarket(summed=False))
    heard: list[str] = field(default_factory=list)
    snapshots: int = 0

    async def serve(self, socket: ServerConnection) -> None:
        async for text in socket:
            assert isinstance(text, str)
            self.heard.append(text)
            if text == "ping":
                await socket.send("pong")
                continue
            request = json.loads(text)
            for arg in request["args"]:
                await socket.send(json.dumps({"event": request["op"], "arg": arg, "connId": "a4d3ae55"}))
            if request["op"] == "subscribe" and {"channel": "books", "instId": NAME} in request["args"]:
                await self._send_book(socket)

    async def _send_book(self, socket: ServerConnection) -> None:
        await socket.send(self.market.snapshot().decode())
        if not self.snapshots:
            self.market.update(("bids", "99", "4"))
        self.snapshots += 1
        await socket.send(self.market.update(("bids", "98", "7")).decode())


@asynccontextmanager
async def running(venue: Venue) -> AsyncIterator[str]:
    async with serve(venue.serve, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}"


async def test_a_lost_book_is_asked_for_on_the_same_connection_and_comes_back() -> None:
    venue, feed = Venue(), OkxFeed("okx", [SYMBOL])

    async with (
        asyncio.timeout(20),
        running(venue) as base,
        open_frames(DIALECT.address(base, [SYMBOL]), SYSTEM) as frames,
    ):
        feed.on_connect(SYSTEM.wall_ns())
        before = feed.unconfirmed
        assert DIALECT.ping is not None
        await frames.send([DIALECT.ping])
        while feed.counts.depth_applied == 0:
            await frames.send(feed.take_requests())
            await frames.wait(0.1)
            for frame in frames.take(100):
                feed.on_frame(frame.stamp_ns, frame.body, frame.ts_init)

    assert before == (INSTRUMENT,)
    assert feed.unconfirmed == ()
    assert (feed.counts.snapshots, feed.counts.book_gaps, feed.counts.undecodable) == (2, 1, 0)
    assert venue.heard[0] == "ping"
    assert [json.loads(text)["op"] for text in venue.heard[1:]] == ["subscribe", "unsubscribe", "subscribe"]
    assert feed._followed[NAME].book.bids.sizes == {99: 4, 98: 7}
