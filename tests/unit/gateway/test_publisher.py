"""What a venue said reaches the bus once and in order, and a bus that forgot it is given it back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgefleet.bus.interface import CommitRequest, CommitResult
from edgefleet.clock import SYSTEM
from edgefleet.errors import Fenced, Transient
from edgefleet.gateway.intents import IntentJournal
from edgefleet.gateway.publisher import Batch, Publisher
from edgefleet.messages import VenueTrade
from edgefleet.testing import MemoryBus, build
from edgefleet.testing.bus_contract import of_type

PATIENCE_S = 10.0


class TroubledBus(MemoryBus):
    """Loses replies, and keeps some commits waiting at its door."""

    def __init__(self) -> None:
        super().__init__()
        self.lose = 0
        self.door = asyncio.Event()
        self.door.set()
        self.at_the_door = asyncio.Event()

    async def commit(self, request: CommitRequest) -> CommitResult:
        self.at_the_door.set()
        await self.door.wait()
        result = await super().commit(request)
        if self.lose:
            self.lose -= 1
            raise Transient("no reply")
        return result


@asynccontextmanager
async def publishing(bus: MemoryBus, path: Path, batches: list[Batch] | None = None) -> AsyncIterator[Publisher]:
    """Give a publisher that runs until the block ends."""
    journal = IntentJournal.open(path).journal
    publisher = Publisher(bus, "sim", journal, SYSTEM, lambda: "c")
    await publisher.claim(batches or [])
    running = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await journal.close()


async def say(publisher: Publisher, *names: str) -> None:
    """Tell a trade of each name and wait until it is committed."""
    for name in names:
        publisher.tell(build.venue_trade(trade_id=name))
    async with asyncio.timeout(PATIENCE_S):
        await publisher.flushed()


async def said(bus: MemoryBus) -> list[str]:
    return [trade.trade_id for trade in await of_type(bus, "venue.events", VenueTrade)]


async def test_what_is_told_is_committed_once_and_in_order(tmp_path: Path) -> None:
    bus = TroubledBus()
    troubles: list[str] = []
    async with publishing(bus, tmp_path / "intents") as publisher:
        publisher.on_trouble = troubles.append
        bus.lose = 2
        await say(publisher, *map(str, range(300)))

    assert await said(bus) == [str(n) for n in range(300)]
    assert troubles == ["no reply", "no reply"]


async def test_a_server_that_lost_events_is_given_them_back_before_what_is_new(tmp_path: Path) -> None:
    bus = TroubledBus()
    async with publishing(bus, tmp_path / "intents") as publisher:
        await say(publisher, "kept")
        saved = bus.save_point()
        await say(publisher, "lost")
        await say(publisher, "lost too")
        bus.roll_back(saved)
        await say(publisher, "new")

        assert await said(bus) == ["kept", "lost", "lost too", "new"]
        assert not publisher.lost_facts


async def test_a_server_that_is_behind_is_given_back_what_the_ring_has_without_being_told_anything(
    tmp_path: Path,
) -> None:
    bus = TroubledBus()
    async with publishing(bus, tmp_path / "intents") as publisher:
        saved = bus.save_point()
        await say(publisher, "lost")
        bus.roll_back(saved)

        await publisher.stand()

        assert await said(bus) == ["lost"]


async def test_more_lost_than_the_ring_holds_is_told_and_new_facts_go_on(tmp_path: Path) -> None:
    bus = TroubledBus()
    saved = bus.save_point()
    async with publishing(bus, tmp_path / "first") as publisher:
        await say(publisher, "before")
    async with publishing(bus, tmp_path / "second") as publisher:
        await say(publisher, "in the ring")
        bus.roll_back(saved)
        await say(publisher, "new")

        assert publisher.lost_facts
        assert await said(bus) == ["new"]


async def test_a_batch_whose_reply_is_waited_for_is_not_committed_again_by_who_stands(tmp_path: Path) -> None:
    bus = TroubledBus()
    async with publishing(bus, tmp_path / "intents") as publisher:
        bus.lose = 1
        bus.door.clear()
        publisher.tell(build.venue_trade(trade_id="once"))
        await bus.at_the_door.wait()
        standing = asyncio.create_task(publisher.stand())
        await asyncio.sleep(0)
        bus.door.set()
        await standing
        async with asyncio.timeout(PATIENCE_S):
            await publisher.flushed()

    assert await said(bus) == ["once"]


async def test_a_replaced_gateway_stops(tmp_path: Path) -> None:
    bus = TroubledBus()
    async with publishing(bus, tmp_path / "old") as old, publishing(bus, tmp_path / "new"):
        with pytest.raises(Fenced):
            await old.stand()
        old.tell(build.venue_trade(trade_id="late"))
        with pytest.raises(Fenced):
            await old.run()

    assert await said(bus) == []
