"""A command reaches the gateway by two ways, in process and by the stream; it is carried out once."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.gateway.rig import Rig, written

from edgefleet.bus.interface import Clearance
from edgefleet.testing import build


async def swept(rig: Rig) -> None:
    """Wait until the stream is read to its end."""
    end = await rig.bus.last_id("orders")
    await rig.until(lambda: rig.gateway._position == end)
    await rig.gateway._publisher.flushed()


async def test_a_command_read_from_the_stream_first_is_not_carried_out_again_when_it_is_handed_over(rig: Rig) -> None:
    await rig.open()
    event = build.order_event()
    await rig.bus.append("orders", event)
    rig.clock.advance(ms=300)
    rig.gateway.gates.beat()
    await rig.until(lambda: rig.venue.placed)

    rig.gateway.offer([written(event)], Clearance.ALL)
    await swept(rig)

    assert len(rig.venue.placed) == 1
    assert await rig.outcomes() == ["SENT"]


async def test_a_young_command_waits_to_be_handed_over(rig: Rig) -> None:
    await rig.open()
    rig.gateway.gates.beat()
    event = build.order_event()
    await rig.bus.append("orders", event)
    first = rig.gateway.sweeps
    await rig.until(lambda: rig.gateway.sweeps > first + 1)
    before = list(rig.venue.placed)

    rig.gateway.offer([written(event)], Clearance.ALL)
    await rig.until(lambda: rig.venue.placed)
    await swept(rig)

    assert before == []
    assert await rig.outcomes() == ["SENT"]


async def test_a_command_that_is_never_handed_over_does_not_hold_up_those_that_are(rig: Rig) -> None:
    await rig.open()
    lost, after = build.order_event(order_id="ef1"), build.order_event(order_id="ef2")
    await rig.bus.append("orders", lost)
    rig.clock.advance(ms=300)
    rig.gateway.gates.beat()
    await rig.until(lambda: len(rig.venue.placed) == 1)

    await rig.bus.append("orders", after)
    rig.gateway.offer([written(after)], Clearance.ALL)
    rig.clock.advance(ms=300)
    rig.gateway.gates.beat()
    await rig.until(lambda: len(rig.venue.placed) == 2)
    await swept(rig)

    assert await rig.outcomes() == ["SENT", "SENT"]


async def test_an_order_that_was_denied_is_not_sent_when_its_step_is_repeated(rig: Rig) -> None:
    await rig.open()
    rig.clock.advance(s=3.5)  # no beat came meanwhile
    event = build.order_event()
    rig.gateway.offer([written(event)], Clearance.ALL)
    await rig.until_told("DENIED")

    rig.gateway.gates.beat()
    rig.gateway.prepare([written(event)])
    rig.gateway.offer([written(event)], Clearance.ALL)
    await rig.gateway._publisher.flushed()

    assert await rig.outcomes() == ["DENIED"]
    assert rig.venue.placed == []


async def test_an_order_that_was_handed_over_is_known_before_anything_is_waited_for(rig: Rig) -> None:
    await rig.open()
    event = build.order_event()

    rig.gateway.offer([written(event)], Clearance.ALL)
    await asyncio.sleep(0)

    assert event.order_id in rig.gateway.memory.orders  # a cancel that comes now finds it


async def test_an_order_meets_a_beat_that_came_after_the_last_look(rig: Rig) -> None:
    await rig.open()
    event = build.order_event()
    await rig.bus.append("beats", build.beat())

    rig.gateway.offer([written(event)], Clearance.ALL)
    await rig.until(lambda: rig.venue.placed)

    assert [order.order_id for order in rig.venue.placed] == [event.order_id]


async def test_a_clearance_grows_old_while_beats_are_looked_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.open()

    async def slow() -> None:
        rig.clock.advance(ms=1_200)
        rig.gateway.gates.beat()
        rig.bus.set_key("mode", "halt")

    monkeypatch.setattr(rig.feeds, "look", slow)
    rig.gateway.offer([written(build.order_event())], Clearance.ALL)
    await rig.until_told("DENIED")

    assert rig.venue.placed == []


async def test_a_halt_file_that_cannot_be_told_of_halts(rig: Rig) -> None:
    await rig.open()

    (rig.folder / "HALT").symlink_to(rig.folder / "HALT")
    await rig.until(lambda: rig.gateway.gates.halted)

    assert "cannot be told" in rig.gateway.gates.halted
