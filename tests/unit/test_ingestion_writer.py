"""A source says each thing once, in order, whatever happens to the answers."""

from __future__ import annotations

import pytest

from edgefleet.bus.interface import CommitRequest, CommitResult
from edgefleet.errors import Fenced, Transient
from edgefleet.messages import decode
from edgefleet.stage import Output
from edgefleet.testing import MemoryBus, build
from edgefleet_services.ingestion.pressure import Pressure
from edgefleet_services.ingestion.writer import RolledBack, SourceWriter


class DeafBus(MemoryBus):
    """Does what it is told, and loses the first replies."""

    lost_replies = 2

    async def commit(self, request: CommitRequest) -> CommitResult:
        result = await super().commit(request)
        if self.lost_replies:
            self.lost_replies -= 1
            raise Transient("the reply was lost")
        return result


class WatchedBus(MemoryBus):
    """Remembers what it was asked to commit."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[CommitRequest] = []

    async def commit(self, request: CommitRequest) -> CommitResult:
        self.requests.append(request)
        return await super().commit(request)


def trades(count: int, first: int = 0) -> list[Output]:
    return [Output("market", build.trade(trade_id=str(first + number))) for number in range(count)]


async def said(bus: MemoryBus) -> list[str]:
    entries = await bus.span("market", "-", "+")
    return [decode(entry.type, entry.data).trade_id for entry in entries]  # type: ignore[union-attr]  # all are trades


async def test_large_batches_are_cut_and_keep_their_order() -> None:
    bus = MemoryBus()
    writer = SourceWriter(bus, "ingestion")
    await writer.claim()

    writer.add(trades(1_000))
    await writer.flush("config", {"marks": "end"})

    assert await said(bus) == [str(number) for number in range(1_000)]
    assert (await bus.load("ingestion", ["source:ingestion"])).fields["marks"] == "end"


async def test_commit_whose_reply_was_lost_is_not_written_twice() -> None:
    bus = DeafBus()
    writer = SourceWriter(bus, "ingestion")
    await writer.claim()

    writer.add(trades(3))
    await writer.flush("config", {})
    writer.add(trades(2, first=3))
    await writer.flush("config", {})

    assert await said(bus) == ["0", "1", "2", "3", "4"]


async def test_writer_that_was_replaced_stops() -> None:
    bus = MemoryBus()
    old, new = SourceWriter(bus, "ingestion"), SourceWriter(bus, "ingestion")
    await old.claim()
    await new.claim()

    old.add(trades(1))
    with pytest.raises(Fenced):
        await old.flush("config", {})

    assert await said(bus) == []


async def test_server_that_lost_commits_is_noticed() -> None:
    bus = MemoryBus()
    writer = SourceWriter(bus, "ingestion")
    await writer.claim()
    writer.add(trades(1))
    await writer.flush("config", {})
    point = bus.save_point()
    writer.add(trades(1, first=1))
    await writer.flush("config", {})
    bus.roll_back(point)

    writer.add(trades(1, first=2))
    with pytest.raises(RolledBack):
        await writer.flush("config", {})

    await writer.claim()
    writer.add(trades(1, first=3))
    await writer.flush("config", {})
    assert await said(bus) == ["0", "3"]


async def test_fields_go_with_the_last_part_of_what_they_describe() -> None:
    bus = WatchedBus()
    writer = SourceWriter(bus, "ingestion")
    await writer.claim()

    writer.add(trades(300))
    await writer.flush("config", {"marks": "300"})

    assert [request.fields for request in bus.requests] == [{}, {"marks": "300"}]


class Lagging(MemoryBus):
    lag = 0

    async def lags(self) -> dict[tuple[str, str], int]:
        if self.lag < 0:
            raise Transient("no answer")
        return {("alpha", "market"): self.lag, ("monitor", "market"): 10**6}


@pytest.mark.parametrize(("lag", "is_open"), [(0, True), (100, True), (101, False), (-1, False)])
async def test_tape_waits_while_a_stage_is_behind(lag: int, is_open: bool) -> None:
    bus = Lagging()
    bus.lag = lag
    pressure = Pressure(bus, 100)

    await pressure.look()

    assert pressure.is_open == is_open


async def test_tape_goes_on_when_the_stage_has_caught_up() -> None:
    bus = Lagging()
    bus.lag = 101
    pressure = Pressure(bus, 100)
    await pressure.look()

    bus.lag = 50
    await pressure.look()

    await pressure.until_open()
