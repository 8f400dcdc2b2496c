"""What the gateway does about an order whose answer was lost, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import structlog

from edgefleet.bus.memory import MemoryBus
from edgefleet.clock import NS_PER_S
from edgefleet.gateway.gateway import Gateway
from edgefleet.gateway.lease import AccountLease
from edgefleet.messages import GatewayOutcome, Message, OrderEvent, VenueTrade, decode, encode
from edgefleet.params.schema import ExecutionParams
from edgefleet.testing import build
from edgefleet.testing.clock import FakeClock
from edgefleet.testing.venue import FakeVenue


class Rig:
    """A gateway whose pauses pass in no time, on a bus in memory, at a venue in the test's hand."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.bus = MemoryBus(self.clock)
        self.venue = FakeVenue(self.clock)
        self.folder = folder
        self.passing = False  # time stands still until an order is at the venue
        self.gateway = self.make()

    def make(self) -> Gateway:
        """Return a gateway on this rig's bus, venue and journal."""
        lease = AccountLease(self.bus, "main", "token", ttl_ms=3_000, clock=self.clock)
        return Gateway(
            bus=self.bus,
            venue=self.venue,
            account="main",
            instruments=(build.INSTRUMENT,),
            lease=lease,
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

    async def send(self, event: OrderEvent) -> None:
        """Hand one command over with everything fresh."""
        await self.until(lambda: self.gateway.gates.ready)
        self.gateway.gates.beat()
        self.gateway.offer([encode(event)])
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


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    yield made
    await made.gateway.close()


async def until_told(rig: Rig, outcome: str) -> None:
    async with asyncio.timeout(10):
        while outcome not in await rig.outcomes():  # noqa: ASYNC110 - the bus tells no event
            await asyncio.sleep(0)


async def test_lost_answer_is_found_by_a_query_and_booked_once(rig: Rig) -> None:
    await rig.open()
    rig.venue.answer = "lose"

    await rig.send(build.order_event())
    await rig.until(lambda: rig.gateway.memory.orders["ef1"].is_settled)
    await rig.gateway._publisher.flushed()

    assert len(rig.venue.placed) == 1
    assert [t.trade_id for t in await rig.told() if isinstance(t, VenueTrade)] == ["1"]


async def test_order_nobody_finds_is_given_up_only_after_a_minute_and_five_misses(rig: Rig) -> None:
    await rig.open()
    rig.venue.answer = "refuse to take"
    began = rig.clock.monotonic_ns()

    await rig.send(build.order_event())
    await until_told(rig, "RESOLVED_ABSENT")

    assert await rig.outcomes() == ["UNKNOWN", "RESOLVED_ABSENT"]
    assert rig.venue.queries >= 5
    assert rig.clock.monotonic_ns() - began >= 60 * NS_PER_S
    assert len(rig.venue.placed) == 1


async def test_order_that_shows_up_filled_after_forty_minutes_is_booked_once(rig: Rig) -> None:
    await rig.open()
    rig.venue.answer = "lose and hide"
    began = rig.clock.monotonic_ns()
    await rig.send(build.order_event())
    await until_told(rig, "RESOLVED_ABSENT")

    await rig.until(lambda: rig.clock.monotonic_ns() - began >= 40 * 60 * NS_PER_S)
    rig.venue.hidden.clear()
    await rig.until(lambda: rig.gateway.memory.orders["ef1"].booked > 0)
    await rig.gateway._publisher.flushed()

    assert len(rig.venue.placed) == 1
    assert [t.trade_id for t in await rig.told() if isinstance(t, VenueTrade)] == ["1"]


async def test_command_read_again_after_a_restart_is_not_sent_again(rig: Rig) -> None:
    await rig.open()
    await rig.send(build.order_event())
    await rig.until(lambda: rig.venue.placed)
    await rig.gateway._publisher.flushed()
    await rig.gateway.close()
    rig.clock.advance(s=10)

    rig.venue = FakeVenue(rig.clock)
    rig.passing = False
    rig.gateway = rig.make()
    await rig.open()
    rig.gateway.gates.beat()
    rig.gateway.offer([encode(build.order_event())])
    for _ in range(100):
        await asyncio.sleep(0)

    assert rig.venue.placed == []


@pytest.mark.parametrize("what", ["file", "offset", "instrument", "beat"])
async def test_shut_gate_denies_and_nothing_reaches_the_venue(rig: Rig, what: str) -> None:
    event = build.order_event()
    await rig.open()
    rig.gateway.gates.beat()
    match what:
        case "file":
            rig.gateway.gates.halt_file.write_text("")
        case "offset":
            rig.venue.offset_ns = 300_000_000
            await rig.gateway.reconcile()
        case "instrument":
            event = build.order_event(instrument="ETH/USDT@sim")
        case "beat":
            rig.clock.advance(s=3.5)

    rig.gateway.offer([encode(event)])
    await until_told(rig, "DENIED")

    assert rig.venue.placed == []
