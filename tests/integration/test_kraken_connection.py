"""Kraken's feed on a real connection: asked for, proven, lost by one wrong checksum, and asked for again alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.contract.venue_simulators import (
    START_NS,
    Market,
    View,
    kraken_v2_instruments,
    kraken_v2_prints,
    kraken_v2_snapshot,
    kraken_v2_update,
    rfc3339,
    texts_of,
)
from websockets.asyncio.server import ServerConnection, serve

from edgefleet.clock import NS_PER_S, SYSTEM
from edgefleet.venues.connection import open_frames
from edgefleet.venues.kraken.dialect import DIALECT
from edgefleet.venues.kraken.feed import KrakenFeed

pytestmark = pytest.mark.integration

SYMBOL, INSTRUMENT, DEPTH = "BTC/USD", "BTC/USD@kraken", 10


@dataclass
class Venue:
    """What Kraken answers; the first update after the first snapshot has a wrong checksum."""

    market: Market = field(default_factory=lambda: Market(SYMBOL, 1, 8, 452_840, seed=7))
    heard: list[dict[str, Any]] = field(default_factory=list)
    updates: int = 0

    async def serve(self, socket: ServerConnection) -> None:
        await socket.send('{"channel":"status","type":"update","data":[{"system":"online","version":"2.0.10"}]}')
        async for text in socket:
            request = json.loads(text)
            self.heard.append(request)
            channel = request["params"]["channel"]
            answer = {"method": request["method"], "success": True, "result": {"channel": channel, "symbol": SYMBOL}}
            await socket.send(json.dumps(answer))
            if channel == "instrument":
                await socket.send(kraken_v2_instruments([self.market]))
            elif channel == "trade":
                await socket.send(kraken_v2_prints(self.market, "snapshot", [("buy", 452_840, 1)], START_NS))
            elif channel == "book" and request["method"] == "subscribe":
                await self._send_book(socket)

    async def _send_book(self, socket: ServerConnection) -> None:
        now = START_NS + self.updates * NS_PER_S
        await socket.send(kraken_v2_snapshot(self.market, texts_of(self.market, DEPTH), rfc3339(now)))
        view = View(self.market, DEPTH)
        for step in range(1, 20):
            told = view.told(self.market.step()[0])
            if told:
                update = kraken_v2_update(self.market, told, DEPTH, now + step * 1_000_000)
                if not self.updates:
                    head, _, _ = update.partition('"checksum":')
                    update = f'{head}"checksum":1,"timestamp":"{rfc3339(now + 1_000_000)}"}}]}}'
                self.updates += 1
                await socket.send(update)


@asynccontextmanager
async def running(venue: Venue) -> AsyncIterator[str]:
    async with serve(venue.serve, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}"


async def test_a_lost_book_is_asked_for_on_the_same_connection_and_comes_back() -> None:
    venue, feed = Venue(), KrakenFeed("kraken", [SYMBOL])

    async with (
        asyncio.timeout(20),
        running(venue) as base,
        open_frames(DIALECT.address(base, [SYMBOL]), SYSTEM) as frames,
    ):
        feed.on_connect(SYSTEM.wall_ns())
        before = feed.unconfirmed
        while feed.counts.depth_applied < 5:
            await frames.send(feed.take_requests())
            await frames.wait(0.1)
            for frame in frames.take(100):
                feed.on_frame(frame.stamp_ns, frame.body, frame.ts_init)

    assert before == (INSTRUMENT,)
    assert not feed.unconfirmed
    assert (feed.counts.snapshots, feed.counts.checksums_bad, feed.counts.undecodable) == (2, 1, 0)
    assert [(one["method"], one["params"]["channel"]) for one in venue.heard] == [
        ("subscribe", "instrument"),
        ("subscribe", "book"),
        ("subscribe", "trade"),
        ("subscribe", "ticker"),
        ("unsubscribe", "book"),
        ("subscribe", "book"),
    ]
