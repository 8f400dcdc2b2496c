"""Two gateways read one stream of commands: each carries out its own venue's, and what nobody has is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import structlog
from tests.unit.gateway.rig import Rig, written

from edgefleet.bus.interface import Permit
from edgefleet.bus.memory import MemoryBus
from edgefleet.gateway.gateway import Gateway
from edgefleet.gateway.hold import FeedHold
from edgefleet.gateway.lease import AccountLease
from edgefleet.messages import GatewayOutcome, OrderEvent, OrderState, decode
from edgefleet.params.schema import ExecutionParams
from edgefleet.testing import build
from edgefleet.testing.clock import FakeClock
from edgefleet.testing.venue import FakeVenue

OKX, KRAKEN = "BTC/USDT@okx", "BTC/USDT@kraken"


class BesideOkx(Rig):
    """The rig with its gateway told that orders at `okx` are another's, of the same process."""

    def make(self) -> Gateway:
        return beside(
            self.bus, self.venue, self.clock, self.feeds, self.folder, is_anothers=lambda venue: venue == "okx"
        )


def beside(
    bus: MemoryBus,
    venue: FakeVenue,
    clock: FakeClock,
    feeds: FeedHold,
    folder: Path,
    *,
    is_anothers: Callable[[str], bool],
) -> Gateway:
    return Gateway(
        bus=bus,
        venue=venue,
        account="main",
        instruments=(f"BTC/USDT@{venue.name}",),
        lease=AccountLease(bus, f"main@{venue.name}", "token", ttl_ms=3_000, clock=clock),
        feeds=feeds,
        is_anothers=is_anothers,
        journal_path=folder / f"{venue.name}.jsonl",
        halt_file=folder / "HALT",
        params=ExecutionParams,
        config_hash=lambda: "0" * 64,
        clock=clock,
        log=structlog.get_logger(),
    )


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[BesideOkx]:
    made = BesideOkx(tmp_path)
    await made.open()
    yield made
    await made.gateway.close()


async def read_behind(rig: Rig, *events: OrderEvent) -> None:
    """Put commands on the stream that nobody hands over, and wait until the gateway has read past them."""
    for event in events:
        await rig.bus.append("orders", event)
    rig.clock.advance(ms=300)
    rig.gateway.gates.beat()
    end = await rig.bus.last_id("orders")
    await rig.until(lambda: rig.gateway._position == end)


async def told_of(bus: MemoryBus, venue: str) -> list[tuple[str, str]]:
    """Return what became of the orders at a venue."""
    said = [decode(entry.type, entry.data) for entry in await bus.span("venue.events", "-", "+")]
    return [
        (one.order_id, one.outcome)
        for one in said
        if isinstance(one, GatewayOutcome) and one.instrument.endswith(f"@{venue}")
    ]


async def test_an_order_of_another_gateway_s_venue_is_passed_by(rig: BesideOkx) -> None:
    theirs, ours = build.order_event(order_id="ef1", instrument=OKX), build.order_event(order_id="ef2")

    await read_behind(rig, theirs, ours)
    await rig.until_told("SENT")

    assert [order.order_id for order in rig.venue.placed] == ["ef2"]
    assert await told_of(rig.bus, "okx") == []
    assert "ef1" not in rig.gateway.memory.orders


async def test_a_cancel_of_another_gateway_s_venue_is_not_asked_of_ours(rig: BesideOkx) -> None:
    cancel = build.order_event(order_id="ef1", instrument=OKX, state=OrderState.PENDING_CANCEL)
    ours = build.order_event(order_id="ef2", state=OrderState.PENDING_CANCEL)

    await read_behind(rig, cancel, ours)
    await rig.until(lambda: rig.venue.cancels)

    assert rig.venue.cancels == ["ef2"]


async def test_a_young_order_of_another_gateway_s_venue_holds_up_nobody(rig: BesideOkx) -> None:
    await rig.bus.append("orders", build.order_event(instrument=OKX))

    end = await rig.bus.last_id("orders")
    await rig.until(lambda: rig.gateway._position == end)  # though no time has passed

    assert rig.venue.placed == []


async def test_an_order_of_a_venue_that_nobody_has_is_denied(rig: BesideOkx) -> None:
    await read_behind(rig, build.order_event(order_id="ef1", instrument=KRAKEN))
    await rig.until_told("DENIED")

    assert await told_of(rig.bus, "kraken") == [("ef1", "DENIED")]
    assert rig.venue.placed == []


async def test_a_fact_of_another_gateway_s_venue_is_no_command(rig: BesideOkx) -> None:
    states = (OrderState.ACCEPTED, OrderState.FILLED, OrderState.UNKNOWN)

    await read_behind(rig, *(build.order_event(order_id=f"ef{state}", instrument=OKX, state=state) for state in states))

    assert (rig.venue.placed, rig.venue.cancels, await rig.outcomes()) == ([], [], [])


@pytest.fixture
async def okx(rig: BesideOkx) -> AsyncIterator[tuple[Gateway, FakeVenue]]:
    """The other gateway of the process, at its own venue on the same bus."""
    venue = FakeVenue(rig.clock)
    venue.name = "okx"
    gateway = beside(rig.bus, venue, rig.clock, rig.feeds, rig.folder, is_anothers=lambda venue: venue != "okx")
    await gateway.start()
    await rig.until(lambda: gateway.gates.ready)
    yield gateway, venue
    await gateway.close()


async def test_two_gateways_carry_out_each_command_once_between_them(
    rig: BesideOkx, okx: tuple[Gateway, FakeVenue]
) -> None:
    gateway, venue = okx
    gateway.gates.beat()

    await read_behind(rig, build.order_event(order_id="ef1", instrument=OKX), build.order_event(order_id="ef2"))
    await rig.until(lambda: rig.venue.placed and venue.placed)
    await rig.until(lambda: gateway._position == rig.gateway._position)
    await rig.gateway._publisher.flushed()
    await gateway._publisher.flushed()

    assert [order.order_id for order in rig.venue.placed] == ["ef2"]
    assert [order.order_id for order in venue.placed] == ["ef1"]
    assert await told_of(rig.bus, "okx") == [("ef1", "SENT")]
    assert await told_of(rig.bus, "sim") == [("ef2", "SENT")]


async def test_an_order_of_a_venue_that_nobody_has_is_denied_once(
    rig: BesideOkx, okx: tuple[Gateway, FakeVenue]
) -> None:
    gateway, venue = okx
    gateway.gates.beat()

    await read_behind(rig, build.order_event(order_id="ef1", instrument=KRAKEN))
    await rig.until(lambda: gateway._position == rig.gateway._position)
    await rig.until_told("DENIED")
    await gateway._publisher.flushed()

    assert await told_of(rig.bus, "kraken") == [("ef1", "DENIED")]
    assert (rig.venue.placed, venue.placed) == ([], [])


async def test_each_gateway_is_permitted_by_the_lease_of_its_own_account(
    rig: BesideOkx, okx: tuple[Gateway, FakeVenue]
) -> None:
    gateway, venue = okx
    gateway.gates.beat()

    rig.bus.expire("lease:account:main@okx")
    await read_behind(rig, build.order_event(order_id="ef1", instrument=OKX), build.order_event(order_id="ef2"))
    await rig.until(lambda: rig.venue.placed)
    await rig.until_told("DENIED")

    assert [order.order_id for order in rig.venue.placed] == ["ef2"]
    assert await told_of(rig.bus, "okx") == [("ef1", "DENIED")]
    assert venue.placed == []


async def test_each_gateway_has_an_identity_and_a_journal_of_its_own(
    rig: BesideOkx, okx: tuple[Gateway, FakeVenue]
) -> None:
    gateway, _ = okx

    permits = [one.prepare([written(build.order_event())]) for one in (rig.gateway, gateway)]

    assert permits == [Permit("main@sim", "token"), Permit("main@okx", "token")]
    assert {path.name for path in rig.folder.glob("*.jsonl")} == {"sim.jsonl", "okx.jsonl"}
    assert {name for name in rig.bus._data.states if "gateway" in name} == {
        "executor.gateway.sim",
        "executor.gateway.okx",
    }
