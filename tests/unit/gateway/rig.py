"""A gateway in the test's hand: on a bus in memory, at a fake venue, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from edgefleet.bus.memory import MemoryBus
from edgefleet.gateway.gateway import Gateway, Written
from edgefleet.gateway.hold import FeedHold
from edgefleet.gateway.lease import AccountLease
from edgefleet.messages import GatewayOutcome, Message, OrderEvent, decode, encode
from edgefleet.params.schema import ExecutionParams
from edgefleet.testing import build
from edgefleet.testing.clock import FakeClock
from edgefleet.testing.venue import FakeVenue


def written(event: OrderEvent) -> Written:
    """Return an order event as a commit wrote it."""
    return Written(encode(event), event)


class Rig:
    """A gateway whose pauses pass in no time, on a bus in memory, at a venue in the test's hand."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.bus = MemoryBus(self.clock)
        self.venue = FakeVenue(self.clock)
        self.folder = folder
        self.passing = False  # time stands still until an order is at the venue
        self.feeds = FeedHold(self.bus, ExecutionParams, self.clock, structlog.get_logger())
        self.gateway = self.make()

    def make(self) -> Gateway:
        """Return a gateway on this rig's bus, venue and journal."""
        lease = AccountLease(self.bus, "main@sim", "token", ttl_ms=3_000, clock=self.clock)
        return Gateway(
            bus=self.bus,
            venue=self.venue,
            account="main",
            instruments=(build.INSTRUMENT,),
            lease=lease,
            feeds=self.feeds,
            journal_path=self.folder / "intents.jsonl",
            halt_file=self.folder / "HALT",
            params=ExecutionParams,
            config_hash=lambda: "0" * 64,
            clock=self.clock,
            log=structlog.get_logger(),
            pause=self.pause,
        )

    async def pause(self, seconds: float) -> None:
        while not self.passing:  # noqa: ASYNC110 - the test says when
            await asyncio.sleep(0.001)
        self.clock.advance(s=seconds)
        await asyncio.sleep(0)

    async def open(self) -> None:
        """Start the gateway and wait for its gate."""
        await self.bus.latch("ACTIVE", reason="test", by="edgefleet up", person=True, ts=self.clock.wall_ns())
        await self.gateway.start()
        await self.until(lambda: self.gateway.gates.ready)

    def hold(self) -> asyncio.Task[None]:
        """Watch the feeds until the test's loop ends."""
        self._holding = asyncio.create_task(self.feeds.run())
        return self._holding

    async def send(self, event: OrderEvent) -> None:
        """Hand one command over with everything fresh."""
        await self.until(lambda: self.gateway.gates.ready)
        self.gateway.gates.beat()
        self.gateway.offer([written(event)])
        await self.until(lambda: self.venue.placed)
        self.passing = True

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - virtual time passes only while others run
                await asyncio.sleep(0)

    async def told(self) -> list[Message]:
        return [decode(entry.type, entry.data) for entry in await self.bus.span("venue.events", "-", "+")]

    async def outcomes(self) -> list[str]:
        return [message.outcome for message in await self.told() if isinstance(message, GatewayOutcome)]

    async def until_told(self, outcome: str) -> None:
        async with asyncio.timeout(10):
            while outcome not in await self.outcomes():  # noqa: ASYNC110 - the bus tells no event
                await asyncio.sleep(0)
