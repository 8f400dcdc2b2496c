"""An intent goes to disk while its order's commit is under way; nothing leaves before that commit was answered."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest
from tests.unit.gateway.rig import Rig, written

from edgefleet.bus.interface import Clearance, Permit
from edgefleet.errors import OutOfReach
from edgefleet.gateway.intents import IntentJournal, verify
from edgefleet.testing import build
from edgefleet.testing.venue import FakeVenue


def intents(folder: Path) -> int:
    """Return how many intents are on disk."""
    lines, _, _ = verify((folder / "intents.jsonl").read_bytes(), "journal")
    return sum(line.kind == "intent" for line in lines)


async def test_the_intent_is_on_disk_before_the_commit_and_nothing_leaves_until_it_is_answered(rig: Rig) -> None:
    await rig.open()
    rig.gateway.gates.beat()
    event = build.order_event()

    permit = rig.gateway.prepare([written(event)])
    await rig.until(lambda: intents(rig.folder) == 1)
    sent_before = list(rig.venue.placed)
    rig.gateway.offer([written(event)], Clearance.ALL)
    await rig.until(lambda: rig.venue.placed)

    assert permit == Permit("main@sim", "token")
    assert sent_before == []
    assert intents(rig.folder) == 1


async def test_a_step_that_is_repeated_writes_its_intent_once(rig: Rig) -> None:
    await rig.open()
    rig.gateway.gates.beat()
    event = build.order_event()

    rig.gateway.prepare([written(event)])
    rig.gateway.prepare([written(event)])  # the first commit was answered CONFLICT
    rig.gateway.offer([written(event)], Clearance.ALL)
    await rig.until(lambda: rig.venue.placed)

    assert (intents(rig.folder), len(rig.venue.placed)) == (1, 1)


@pytest.mark.parametrize(
    ("clearance", "reduce_only", "leaves"),
    [
        (Clearance.ALL, False, True),
        (Clearance.REDUCING, False, False),
        (Clearance.REDUCING, True, True),
        (Clearance.NONE, True, False),
    ],
)
async def test_what_the_commit_was_told_decides(
    rig: Rig, clearance: Clearance, reduce_only: bool, leaves: bool
) -> None:
    await rig.open()
    rig.gateway.gates.beat()
    event = build.order_event(reduce_only=reduce_only)

    rig.gateway.prepare([written(event)])
    rig.gateway.offer([written(event)], clearance)
    await rig.until_told("SENT" if leaves else "DENIED")

    assert len(rig.venue.placed) == leaves


async def test_a_latch_that_falls_after_the_commit_still_forbids(rig: Rig) -> None:
    await rig.open()
    rig.gateway.gates.beat()
    event = build.order_event()

    rig.gateway.prepare([written(event)])
    rig.gateway.offer([written(event)], Clearance.ALL)
    rig.gateway.halt("test")
    await rig.until_told("DENIED")

    assert rig.venue.placed == []


async def test_an_intent_whose_commit_never_came_is_asked_for_and_never_sent(rig: Rig) -> None:
    await rig.open()
    event = build.order_event()
    rig.gateway.prepare([written(event)])
    await rig.until(lambda: intents(rig.folder) == 1)
    await rig.gateway.close()  # as a kill would

    rig.venue = FakeVenue(rig.clock)
    rig.gateway = rig.make()
    await rig.open()
    rig.gateway.gates.beat()
    rig.gateway.prepare([written(event)])  # the step is repeated and names the same order
    rig.gateway.offer([written(event)], Clearance.ALL)
    rig.passing = True
    await rig.until_told("RESOLVED_ABSENT")

    assert rig.venue.placed == []
    assert rig.venue.queries >= 5
    assert intents(rig.folder) == 1


async def test_an_order_that_was_given_up_while_the_disk_was_waited_for_is_not_sent(rig: Rig) -> None:
    await rig.open()
    rig.gateway.gates.beat()
    event = build.order_event()
    disk: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    rig.gateway._prepared[event.order_id] = disk

    rig.gateway.offer([written(event)], Clearance.ALL)
    await rig.until(lambda: event.order_id in rig.gateway.memory.orders)
    rig.gateway.memory.orders[event.order_id].standing = "absent"
    disk.set_result(None)
    await rig.until_told("DENIED")

    assert rig.venue.placed == []


async def test_a_clearance_that_grew_old_while_the_disk_was_waited_for_is_asked_again(rig: Rig) -> None:
    await rig.open()
    rig.gateway.gates.beat()
    event = build.order_event()
    disk: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    rig.gateway._prepared[event.order_id] = disk

    rig.gateway.offer([written(event)], Clearance.ALL)
    await rig.until(lambda: event.order_id in rig.gateway.memory.orders)
    await rig.bus.latch("HALTED", reason="test", by="a person", person=True, ts=rig.clock.wall_ns())
    rig.clock.advance(ms=501)
    rig.gateway.gates.beat()
    disk.set_result(None)
    await rig.until_told("DENIED")

    assert rig.venue.placed == []


async def test_a_closed_journal_writes_nowhere(tmp_path: Path) -> None:
    journal, _, _ = IntentJournal.open(tmp_path / "journal")
    await journal.append("intent", b"1", at=1)
    await journal.close()
    other = tmp_path / "other"

    with other.open("wb"), pytest.raises(OutOfReach, match="closed"):  # it may well have the journal's descriptor
        await journal.append("intent", b"2", at=2)

    assert other.read_bytes() == b""


async def test_a_failing_fsync_denies_its_order_and_keeps_the_lines_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, _, _ = IntentJournal.open(tmp_path / "journal")
    await journal.append("events", b"1", at=1, durable=False)

    def fails(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fails)  # no disk here fails when asked
        with pytest.raises(OutOfReach, match="Input/output error"):
            await journal.append("intent", b"2", at=2)
    failed = journal.failure
    await journal.append("events", b"3", at=3, durable=False)
    await journal.close()

    assert failed
    assert journal.failure == ""
    assert [bytes(line.body) for line in verify((tmp_path / "journal").read_bytes(), "it")[0]] == [b"1", b"2", b"3"]
