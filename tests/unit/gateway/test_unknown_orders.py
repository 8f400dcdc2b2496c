"""What the gateway does about an order whose answer was lost, in virtual time."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from tests.unit.gateway.rig import Rig, written

from edgefleet.clock import NS_PER_S
from edgefleet.messages import Alert, VenueTrade, decode
from edgefleet.testing import build
from edgefleet.testing.venue import FakeVenue
from edgefleet.venues.interface import OrderReport, OrderUpdate


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
    await rig.until_told("RESOLVED_ABSENT")

    assert await rig.outcomes() == ["UNKNOWN", "RESOLVED_ABSENT"]
    assert rig.venue.queries >= 5
    assert rig.clock.monotonic_ns() - began >= 60 * NS_PER_S
    assert len(rig.venue.placed) == 1


async def test_order_that_shows_up_filled_after_forty_minutes_is_booked_once(rig: Rig) -> None:
    await rig.open()
    rig.venue.answer = "lose and hide"
    began = rig.clock.monotonic_ns()
    await rig.send(build.order_event())
    await rig.until_told("RESOLVED_ABSENT")

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
    rig.gateway.offer([written(build.order_event())])
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

    rig.gateway.offer([written(event)])
    await rig.until_told("DENIED")

    assert rig.venue.placed == []


def strangers(rig: Rig, order_id: str = "efstranger") -> OrderUpdate:
    """Return a filled order with our name."""
    told = OrderReport(
        instrument=build.INSTRUMENT,
        order_id=order_id,
        venue_order_id="77",
        status="FILLED",
        side="buy",
        kind="market",
        quantity=Decimal("0.1"),
        price=None,
        filled=Decimal("0.1"),
        ts_event=rig.clock.wall_ns(),
    )
    return OrderUpdate(order=told, trade=None)


async def alarms(rig: Rig) -> list[str]:
    await rig.gateway._publisher.flushed()
    found = [decode(entry.type, entry.data) for entry in await rig.bus.span("alerts", "-", "+")]
    return [one.name for one in found if isinstance(one, Alert)]


async def test_an_order_of_nobodys_that_is_seen_while_the_lease_is_old_halts_once_the_lease_is_young(rig: Rig) -> None:
    await rig.open()

    rig.clock.advance(s=2)  # more than half of the lease, less than all of it
    for _ in range(20):
        rig.venue.push(strangers(rig))
    await rig.until(lambda: not rig.gateway.gates.ready)
    judged_at_once = rig.gateway.gates.halted
    await rig.until(lambda: rig.gateway.gates.halted)  # its keeper renews the lease twice a second

    assert judged_at_once == ""
    assert "efstranger" in rig.gateway.gates.halted
    await rig.until(lambda: rig.gateway.gates.ready)  # so that a person who resumes does
    assert (await alarms(rig)).count("orphan_order") == 1


async def test_an_order_that_is_known_by_the_time_it_is_judged_is_ours(rig: Rig) -> None:
    await rig.open()

    rig.clock.advance(s=2)
    rig.venue.push(strangers(rig, "ef1"))
    await rig.until(lambda: not rig.gateway.gates.ready)
    rig.gateway.memory.intend(build.order_event())
    rig.venue.orders["ef1"] = strangers(rig, "ef1").order
    await rig.until(lambda: rig.gateway.gates.ready)

    assert rig.gateway.gates.halted == ""
    assert "orphan_order" not in await alarms(rig)
