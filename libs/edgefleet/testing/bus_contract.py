"""What every bus promises, as tests. A subclass supplies the fixture `world`; the promises are written once.

Needs pytest, pytest-asyncio (auto mode) and hypothesis, which the library itself does not.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgefleet.bus.interface import (
    FIRST,
    MAX_BATCH_ENTRIES,
    Answer,
    Bus,
    Clearance,
    CommitRequest,
    EncodedOutput,
    Entry,
    Permit,
    encode_outputs,
    id_key,
)
from edgefleet.bus.loop import Observer, run_batch, run_stage
from edgefleet.bus.rerun import journal_of, pack_snapshot, unpack_snapshot
from edgefleet.clock import SYSTEM, Clock
from edgefleet.errors import Broken, Fenced, Transient
from edgefleet.messages import FEEDS, Alert, DeadLetter, InputLost, Rollback, Trade, TradingState, decode
from edgefleet.params.schema import FleetConfig
from edgefleet.stage import Output
from edgefleet.testing import build
from edgefleet.testing.configs import FixedConfigs
from edgefleet.testing.stages import POISON, CountingStage

PATIENCE_S = 20.0


class World(Protocol):
    """A bus, and what can happen to the server behind it."""

    @property
    def bus(self) -> Bus:
        """Return the bus under test."""
        ...

    async def save(self) -> None:
        """Remember the server as it is."""
        ...

    async def roll_back(self) -> None:
        """Bring the remembered server back in the place of this one."""
        ...

    async def flush(self) -> None:
        """Empty the server."""
        ...

    async def forget(self) -> None:
        """Lose all that can be made again: Functions, gauge groups."""
        ...

    async def lose_oldest(self, stream: str, count: int) -> None:
        """Remove entries that a stage may still need."""
        ...

    async def set_key(self, key: str, value: str) -> None:
        """Set a plain key."""
        ...

    async def expire(self, key: str) -> None:
        """End a lease."""
        ...

    async def damage_snapshot(self, identity: str) -> None:
        """Change one byte of a snapshot."""
        ...

    async def archived(self, stream: str, mark: str) -> None:
        """Say that the archive has a stream up to an id."""
        ...


class StopAfter(Observer):
    """Sets `stop` once so many entries were committed or set aside, and keeps what it was told."""

    def __init__(self, entries: int) -> None:
        self.stop = asyncio.Event()
        self.left = entries
        self.told: list[str] = []
        self.batches: list[int] = []

    def committed(
        self,
        stream: str,
        entries: Sequence[Entry],
        outputs: Sequence[EncodedOutput],
        step_ns: int,
        clearance: Clearance | None = None,
    ) -> None:
        self.batches.append(len(entries))
        self._count(len(entries))

    def dead_lettered(self, stream: str, entry: Entry, error: str) -> None:
        self.told.append("dead_lettered")
        self._count(1)

    def refused(self, stream: str, answer: Answer) -> None:
        self.told.append(str(answer))

    def snapshot_rejected(self, reason: str) -> None:
        self.told.append("snapshot_rejected")

    def input_lost(self, stream: str, entries: int) -> None:
        self.told.append(f"input_lost {entries}")

    def rolled_back(self, stream: str, had: str, found: str) -> None:
        self.told.append("rolled_back")

    def flushed(self, had: str, found: str) -> None:
        self.told.append("flushed")

    def _count(self, entries: int) -> None:
        self.left -= entries
        if self.left <= 0:
            self.stop.set()


def trades(count: int, first: int = 1) -> list[Trade]:
    """Return prints with the ids `first`, `first` + 1, ..."""
    return [build.trade(trade_id=str(first + i)) for i in range(count)]


async def publish(bus: Bus, messages: Sequence[Any], stream: str = "market") -> list[str]:
    """Add messages to a stream and return their ids."""
    return [await bus.append(stream, message) for message in messages]


async def wait_until(holds: Callable[[], bool]) -> None:
    """Return once `holds()` is true; fail if it never is."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - what is waited for is the loop's doing, which sets no event
            await asyncio.sleep(0.002)


async def run(
    bus: Bus,
    stage: Any,
    entries: int,
    *,
    batch: int = MAX_BATCH_ENTRIES,
    configs: FixedConfigs | None = None,
    clock: Clock = SYSTEM,
) -> StopAfter:
    """Run a stage until it has taken so many entries."""
    observe = StopAfter(entries)
    async with asyncio.timeout(PATIENCE_S):
        await run_stage(
            bus,
            stage,
            configs or FixedConfigs(),
            clock=clock,
            stop=observe.stop,
            observe=observe,
            batch=batch,
            block_ms=200,
        )
    return observe


def start(
    bus: Bus,
    stage: Any,
    observe: StopAfter,
    *,
    batch: int = MAX_BATCH_ENTRIES,
    configs: FixedConfigs | None = None,
    block_ms: int = 50,
) -> asyncio.Task[None]:
    """Run a stage beside the test until its observer says stop."""
    configs = configs or FixedConfigs()
    return asyncio.create_task(
        run_stage(bus, stage, configs, clock=SYSTEM, stop=observe.stop, observe=observe, batch=batch, block_ms=block_ms)
    )


async def texts(bus: Bus, stream: str = "signals") -> list[str]:
    """Return what the counting stage said, in order."""
    messages = [decode(entry.type, entry.data) for entry in await bus.span(stream, "-", "+")]
    return [message.text for message in messages if isinstance(message, Alert)]


def expected_texts(stage: CountingStage, entries: Sequence[Entry], stream: str = "market") -> list[str]:
    """Return what an undisturbed stage says over `entries`."""
    state, told = stage.initial(), []
    for entry in entries:
        state, outputs = run_batch(stage, state, stream, [entry], FleetConfig())
        messages = [decode(output.type, output.data) for output in outputs if output.stream == "signals"]
        told += [message.text for message in messages if isinstance(message, Alert)]
    return told


async def of_type(bus: Bus, stream: str, kind: type[Any]) -> list[Any]:
    """Return a stream's messages of one type."""
    messages = [decode(entry.type, entry.data) for entry in await bus.span(stream, "-", "+")]
    return [message for message in messages if isinstance(message, kind)]


def commit_of(
    entries: Sequence[Entry],
    expected: str,
    *,
    epoch: int = 1,
    identity: str = "alpha",
    stream: str = "market",
    outputs: int = 1,
    to: str = "signals",
    **more: Any,
) -> CommitRequest:
    """Return a commit of `entries` that writes so many outputs."""
    written = encode_outputs([Output(to, build.trade(trade_id=f"{entries[0].id}/{i}")) for i in range(outputs)])
    return CommitRequest(
        identity=identity,
        epoch=epoch,
        input=stream,
        expected=expected,
        first=entries[0].id,
        last=entries[-1].id,
        count=len(entries),
        config="c",
        outputs=written,
        **more,
    )


def source_commit(n: int, outputs: Sequence[Output], *, count: int = 1, **more: Any) -> CommitRequest:
    """Return a source's commit number `n`."""
    return CommitRequest(
        identity="ingestion",
        epoch=1,
        input="source:feed",
        expected=f"{n - count}-0",
        first=f"{n - count + 1}-0",
        last=f"{n}-0",
        count=count,
        config="c",
        outputs=encode_outputs(outputs),
        **more,
    )


class BusContract:
    """Promises of a bus, then promises of the stage loop on it."""

    # --- reading and committing

    async def test_a_read_gives_what_was_added_after_the_position(self, world: World) -> None:
        ids = await publish(world.bus, trades(5))

        found = await world.bus.read({"market": ids[1], "absent": FIRST}, count=2, block_ms=0)

        assert [entry.id for entry in found["market"]] == ids[2:4]
        assert "absent" not in found
        assert decode(found["market"][0].type, found["market"][0].data) == trades(1, first=3)[0]

    async def test_a_read_that_finds_nothing_is_empty(self, world: World) -> None:
        assert await world.bus.read({"market": FIRST}, count=2, block_ms=10) == {}

    async def test_a_waiting_read_wakes_when_an_entry_arrives(self, world: World) -> None:
        waiting = asyncio.create_task(world.bus.read({"market": FIRST, "beats": FIRST}, count=10, block_ms=2_000))
        await asyncio.sleep(0)

        await publish(world.bus, [build.beat()], "beats")

        async with asyncio.timeout(PATIENCE_S):
            assert list(await waiting) == ["beats"]

    async def test_a_commit_moves_the_position_and_writes_the_outputs_and_the_journal(self, world: World) -> None:
        bus = world.bus
        await publish(bus, trades(5))
        await bus.claim("alpha", "alpha", ["market"])
        entries = (await bus.read({"market": FIRST}, count=10, block_ms=0))["market"]

        result = await bus.commit(commit_of(entries, FIRST, outputs=3, fields={"seen": "5"}))

        written = await bus.span("signals", "-", "+")
        record = await bus.load("alpha", ["market"])
        journal = journal_of((await bus.span("journal.alpha", "-", "+"))[0])
        assert result.answer is Answer.OK
        assert list(result.ids) == [entry.id for entry in written]
        assert (record.positions["market"], record.reads["market"], record.fields) == (entries[-1].id, 5, {"seen": "5"})
        assert (journal.n, journal.input, journal.count, journal.epoch) == (1, "market", 5, 1)
        assert (journal.first, journal.last) == (entries[0].id, entries[-1].id)
        assert [msgspec.structs.astuple(span) for span in journal.outputs] == [
            ("signals", written[0].id, written[-1].id, 3)
        ]

    async def test_interleaved_outputs_are_one_span_for_each_stream(self, world: World) -> None:
        bus = world.bus
        await bus.claim("ingestion", "ingestion", ["source:feed"])
        outputs = [
            Output("market", trade) if i % 2 else Output("beats", build.beat()) for i, trade in enumerate(trades(6))
        ]

        result = await bus.commit(source_commit(1, outputs))

        spans = journal_of((await bus.span("journal.ingestion", "-", "+"))[0]).outputs
        assert [(span.stream, span.count) for span in spans] == [("beats", 3), ("market", 3)]
        assert [span.first for span in spans] == list(result.ids[:2])
        assert [span.last for span in spans] == list(result.ids[-2:])

    async def test_outputs_of_one_commit_stand_side_by_side_among_others(self, world: World) -> None:
        bus = world.bus
        await bus.claim("ingestion", "ingestion", ["source:feed"])

        async def source() -> None:
            for n in range(1, 21):
                await bus.commit(source_commit(n, [Output("market", trade) for trade in trades(5)]))

        async def operator() -> None:
            for trade in trades(40):
                await bus.append("market", trade)

        await asyncio.gather(source(), operator())

        everything = [entry.id for entry in await bus.span("market", "-", "+")]
        for entry in await bus.span("journal.ingestion", "-", "+"):
            (span,) = journal_of(entry).outputs
            at = everything.index(span.first)
            assert everything[at + span.count - 1] == span.last
        assert len(everything) == len(set(everything)) == 140

    async def test_a_delayed_duplicate_that_overlaps_a_newer_commit_changes_nothing(self, world: World) -> None:
        bus = world.bus
        await publish(bus, trades(12))
        await bus.claim("alpha", "alpha", ["market"])
        entries = (await bus.read({"market": FIRST}, count=20, block_ms=0))["market"]
        at = [FIRST, *(entry.id for entry in entries)]
        await bus.commit(commit_of(entries[:5], FIRST))
        await bus.commit(commit_of(entries[5:8], at[5]))

        late = await bus.commit(commit_of(entries[:5], FIRST))
        overlapping = await bus.commit(commit_of(entries[3:7], at[3]))
        beyond = await bus.commit(commit_of(entries[3:10], at[3]))
        ahead = await bus.commit(commit_of(entries[9:11], at[9]))

        answers = [late.answer, overlapping.answer, beyond.answer, ahead.answer]
        assert answers == [Answer.DUP, Answer.DUP, Answer.CONFLICT, Answer.CONFLICT]
        assert (await bus.load("alpha", ["market"])).positions["market"] == at[8]
        assert (await bus.depth("signals")).added == (await bus.depth("journal.alpha")).added == 2

    async def test_after_a_lost_reply_a_read_of_another_size_repeats_nothing(self, world: World) -> None:
        bus = world.bus
        await publish(bus, trades(10))
        await bus.claim("alpha", "alpha", ["market"])
        entries = (await bus.read({"market": FIRST}, count=5, block_ms=0))["market"]
        await bus.commit(commit_of(entries, FIRST))  # and the caller never hears of it

        fewer = (await bus.read({"market": FIRST}, count=3, block_ms=0))["market"]
        more = (await bus.read({"market": FIRST}, count=8, block_ms=0))["market"]

        assert (await bus.commit(commit_of(fewer, FIRST))).answer is Answer.DUP
        assert (await bus.commit(commit_of(more, FIRST))).answer is Answer.CONFLICT
        assert (await bus.depth("signals")).added == 1

    async def test_a_fenced_owner_that_reads_takes_nothing_away(self, world: World) -> None:
        bus = world.bus
        await publish(bus, trades(4))
        old = await bus.claim("alpha", "alpha", ["market"])
        new = await bus.claim("alpha", "alpha", ["market"])

        stolen = (await bus.read({"market": FIRST}, count=10, block_ms=0))["market"]
        refused = await bus.commit(commit_of(stolen, FIRST, epoch=old.epoch))
        left = (await bus.read({"market": FIRST}, count=10, block_ms=0))["market"]
        accepted = await bus.commit(commit_of(left, FIRST, epoch=new.epoch))

        assert new.epoch == old.epoch + 1
        assert refused.answer is Answer.FENCED
        assert accepted.answer is Answer.OK
        assert left == stolen

    async def test_an_epoch_that_the_server_never_gave_writes_nothing(self, world: World) -> None:
        await publish(world.bus, trades(1))
        entries = (await world.bus.read({"market": FIRST}, count=10, block_ms=0))["market"]

        assert (await world.bus.commit(commit_of(entries, FIRST, epoch=7))).answer is Answer.CONFLICT

    async def test_two_inputs_with_interleaved_ids_have_positions_of_their_own(self, world: World) -> None:
        bus = world.bus
        await bus.claim("risk", "risk", ["beats", "ensembles"])
        for i in range(3):
            await publish(bus, [build.beat()], "beats")
            await publish(bus, trades(1, first=i), "ensembles")
        found = await bus.read({"beats": FIRST, "ensembles": FIRST}, count=10, block_ms=0)
        beats, ensembles = found["beats"], found["ensembles"]

        def commit(entries: Sequence[Entry], expected: str, stream: str) -> CommitRequest:
            return commit_of(entries, expected, identity="risk", stream=stream)

        later_first = await bus.commit(commit(ensembles, FIRST, "ensembles"))
        earlier_next = await bus.commit(commit(beats, FIRST, "beats"))

        assert (later_first.answer, earlier_next.answer) == (Answer.OK, Answer.OK)
        assert (later_first.n, earlier_next.n) == (1, 2)

    async def test_ids_are_compared_as_numbers(self, world: World) -> None:
        bus = world.bus
        await bus.claim("ingestion", "ingestion", ["source:feed"])

        for n in (9, 10, 100):
            before = {9: 0, 10: 9, 100: 10}[n]
            request = source_commit(n, [Output("market", build.trade())], count=n - before)
            assert (await bus.commit(request)).answer is Answer.OK

        assert (await bus.commit(source_commit(10, []))).answer is Answer.DUP

    async def test_a_batch_of_ten_thousand_is_refused_whole(self, world: World) -> None:
        bus = world.bus
        await bus.claim("ingestion", "ingestion", ["source:feed"])

        with pytest.raises(ValueError, match="at most 1024 entries"):
            await bus.commit(source_commit(10_000, [], count=10_000))
        with pytest.raises(ValueError, match="outputs"):
            await bus.commit(source_commit(1, [Output("market", trade) for trade in trades(10_000)]))
        with pytest.raises(ValueError, match="bytes"):
            await bus.commit(source_commit(1, [Output("market", build.trade(trace_id="x" * 600_000))]))
        with pytest.raises(ValueError, match="small fields"):
            await bus.commit(source_commit(1, [], fields={"f": "x" * 5_000}))

        assert (await bus.depth("market")).added == 0

    async def test_a_commit_that_consumes_nothing_saves_a_snapshot_and_no_journal(self, world: World) -> None:
        bus = world.bus
        await publish(bus, trades(3))
        await bus.claim("alpha", "alpha", ["market"])
        entries = (await bus.read({"market": FIRST}, count=10, block_ms=0))["market"]
        await bus.commit(commit_of(entries, FIRST))
        at = entries[-1].id
        usual: dict[str, Any] = {"identity": "alpha", "epoch": 1, "input": "market", "count": 0, "config": "c"}

        moved = CommitRequest(expected=FIRST, first=FIRST, last=FIRST, snapshot=b"wrong", **usual)
        still = CommitRequest(expected=at, first=at, last=at, snapshot=b"right", **usual)

        assert (await bus.commit(moved)).answer is Answer.CONFLICT
        assert (await bus.commit(still))[:3] == (Answer.OK, 1, ())
        record = await bus.load("alpha", ["market"])
        assert (record.snapshot, record.n) == (b"right", 1)
        assert record.journal == await bus.last_id("journal.alpha")
        assert (await bus.depth("journal.alpha")).added == 1

    async def test_the_numbers_in_a_journal_have_no_gap(self, world: World) -> None:
        bus = world.bus
        await bus.claim("ingestion", "ingestion", ["source:feed"])
        for n in range(1, 30):
            await bus.commit(source_commit(n, [Output("market", build.trade())]))
            await bus.commit(source_commit(n, [Output("market", build.trade())]))

        journal = [journal_of(entry) for entry in await bus.span("journal.ingestion", "-", "+")]

        assert [commit.n for commit in journal] == list(range(1, 30))

    async def test_of_two_commits_in_turn_the_second_needs_the_first(self, world: World) -> None:
        bus = world.bus
        await publish(bus, trades(4))
        await publish(bus, trades(2), "beats")
        await bus.claim("alpha", "alpha", ["market", "beats"])
        found = await bus.read({"market": FIRST, "beats": FIRST}, count=10, block_ms=0)
        market, beats = found["market"], found["beats"]

        def both(n: int) -> list[CommitRequest]:
            first = commit_of(beats, FIRST, stream="beats", outputs=0, after=n, turn=f"turn-{n}")
            return [first, commit_of(market, FIRST, outputs=1, after=n + 1, behind=f"turn-{n}")]

        stale = await bus.commit_in_turn(both(7))
        # A commit that was given up on comes late: the number now fits the second, and the state it was made from not.
        late = await bus.commit(commit_of(beats[:1], FIRST, stream="beats", outputs=0))
        overtaken = await bus.commit_in_turn(both(0))
        before = await bus.depth("signals")
        first = commit_of(beats[1:], beats[0].id, stream="beats", outputs=0, after=1, turn="t")
        right = await bus.commit_in_turn([first, commit_of(market, FIRST, outputs=1, after=2, behind="t")])

        assert [result.answer for result in stale] == [Answer.CONFLICT, Answer.CONFLICT]
        assert (late.answer, late.n) == (Answer.OK, 1)
        assert [result.answer for result in overtaken] == [Answer.CONFLICT, Answer.CONFLICT]
        assert before.added == 0
        assert [(result.answer, result.n) for result in right] == [(Answer.OK, 2), (Answer.OK, 3)]
        assert (await bus.depth("signals")).added == 1

    async def test_a_commit_that_another_input_overtook_is_refused(self, world: World) -> None:
        bus = world.bus
        await publish(bus, trades(2))
        await publish(bus, trades(2), "beats")
        await bus.claim("alpha", "alpha", ["market", "beats"])
        found = await bus.read({"market": FIRST, "beats": FIRST}, count=10, block_ms=0)

        given_up = commit_of(found["market"], FIRST, after=0)
        instead = await bus.commit(commit_of(found["beats"], FIRST, stream="beats", after=0))

        assert instead.answer is Answer.OK
        assert (await bus.commit(given_up)).answer is Answer.CONFLICT

    async def test_busy_is_answered_where_the_executor_is_behind(self, world: World) -> None:
        bus = world.bus
        await bus.claim("risk", "risk", ["ensembles"])
        await bus.claim("executor", "executor", ["targets"])
        await publish(bus, trades(4), "ensembles")
        entries = (await bus.read({"ensembles": FIRST}, count=10, block_ms=0))["ensembles"]

        def decide(i: int, to: str = "targets") -> CommitRequest:
            before = entries[i - 1].id if i else FIRST
            return commit_of([entries[i]], before, identity="risk", stream="ensembles", to=to, targets_cap=2)

        answers = [(await bus.commit(decide(i))).answer for i in range(3)]
        elsewhere = await bus.commit(decide(2, to="refusals"))
        targets = (await bus.read({"targets": FIRST}, count=10, block_ms=0))["targets"]
        await bus.commit(commit_of(targets, FIRST, identity="executor", stream="targets", to="orders"))
        after = await bus.commit(decide(3))

        assert answers == [Answer.OK, Answer.OK, Answer.BUSY]
        assert elsewhere.answer is Answer.OK
        assert after.answer is Answer.OK

    async def test_lag_is_what_was_added_and_not_yet_committed(self, world: World) -> None:
        bus = world.bus
        await bus.claim("alpha", "alpha", ["market"])
        await publish(bus, trades(5))
        entries = (await bus.read({"market": FIRST}, count=3, block_ms=0))["market"]
        before = await bus.lags()
        await bus.commit(commit_of(entries, FIRST))

        assert before == {("alpha", "market"): 5}
        assert await bus.lags() == {("alpha", "market"): 2}

    async def test_nothing_is_trimmed_that_a_snapshot_or_the_archive_still_needs(self, world: World) -> None:
        bus = world.bus
        ids = await publish(bus, trades(20))
        await bus.claim("alpha", "alpha", ["market"])
        await bus.claim("ledger", "ledger", ["market"])
        entries = (await bus.read({"market": FIRST}, count=20, block_ms=0))["market"]

        unarchived = await bus.trim("market", retain=0)
        await world.archived("market", ids[14])
        without_snapshots = await bus.trim("market", retain=0)
        await bus.commit(commit_of(entries[:10], FIRST, snapshot=b"s"))
        await bus.commit(commit_of(entries[:6], FIRST, identity="ledger", snapshot=b"s"))
        to_slowest = await bus.trim("market", retain=0)
        await bus.commit(commit_of(entries[6:], ids[5], identity="ledger", snapshot=b"s"))
        retained = await bus.trim("market", retain=14)
        rest = await bus.trim("market", retain=0)

        assert [unarchived, without_snapshots, to_slowest, retained, rest] == [0, 0, 5, 1, 3]
        assert (await bus.span("market", "-", "+"))[0].id == ids[9]

    # --- intents, latch, leases

    async def test_an_intent_needs_the_latch_the_mode_and_the_lease(self, world: World) -> None:
        bus = world.bus
        await bus.claim("executor", "executor.gateway", ["source:gateway"])
        numbers = itertools.count(1)
        sent = 0

        async def intend(lease: str = "a", *, reducing: bool = False) -> Answer:
            nonlocal sent
            request = msgspec.structs.replace(
                source_commit(sent + 1, [Output("venue.events", build.venue_trade(trade_id=str(next(numbers))))]),
                identity="executor.gateway",
            )
            answer = (await bus.intend(request, account="main", lease=lease, reducing=reducing)).answer
            sent += answer is Answer.OK
            return answer

        async def latch(state: str) -> None:
            await bus.latch(state, reason="test", by="a person", person=True, ts=1)

        assert await bus.acquire("lease:account:main", "a", 60_000)
        assert await intend() is Answer.HALTED  # nobody opened trading
        await latch("ACTIVE")
        assert await intend() is Answer.OK
        assert await intend("b") is Answer.HALTED
        assert await intend("") is Answer.HALTED
        await latch("REDUCING")
        assert await intend() is Answer.HALTED
        assert await intend(reducing=True) is Answer.OK
        await latch("HALTED")
        assert await intend(reducing=True) is Answer.HALTED
        await latch("ACTIVE")
        await world.set_key("mode", "reduce")
        assert await intend() is Answer.HALTED
        assert await intend(reducing=True) is Answer.OK
        await world.set_key("mode", "halt")
        assert await intend(reducing=True) is Answer.HALTED
        await world.set_key("mode", "auto")
        await world.expire("lease:account:main")
        assert await intend() is Answer.HALTED
        assert await bus.acquire("lease:account:main", "b", 60_000)
        assert await intend() is Answer.HALTED
        assert await intend("b") is Answer.OK
        assert (await bus.depth("venue.events")).added == sent == 4

    async def test_a_commit_stands_and_tells_what_may_leave(self, world: World) -> None:
        bus = world.bus
        await bus.claim("executor", "executor", ["source:steps"])
        counter = itertools.count(1)

        async def ask(lease: str | None = "a") -> Clearance | None:
            request = msgspec.structs.replace(
                source_commit(next(counter), [Output("orders", build.order_event())]),
                identity="executor",
                input="source:steps",
                permit=None if lease is None else Permit("main", lease),
            )
            result = await bus.commit(request)
            assert result.answer is Answer.OK
            return result.clearance

        async def latch(state: str) -> None:
            await bus.latch(state, reason="test", by="a person", person=True, ts=1)

        assert await bus.acquire("lease:account:main", "a", 60_000)
        told = [await ask(None), await ask()]
        for state in ("ACTIVE", "REDUCING", "HALTED", "ACTIVE"):
            await latch(state)
            told.append(await ask())
        for mode in ("reduce", "halt", "auto"):
            await world.set_key("mode", mode)
            told.append(await ask())
        told += [await ask("b"), await ask("")]

        nothing, reducing, everything = Clearance.NONE, Clearance.REDUCING, Clearance.ALL
        assert told[:2] == [None, nothing]  # not asked; nobody opened trading
        assert told[2:6] == [everything, reducing, nothing, everything]
        assert told[6:9] == [reducing, nothing, everything]
        assert told[9:] == [nothing, nothing]
        assert (await bus.depth("orders")).added == len(told)

    async def test_anyone_tightens_the_latch_and_only_a_person_loosens_it(self, world: World) -> None:
        bus = world.bus
        assert await bus.trading_state() is None

        async def latch(state: str, *, person: bool) -> str:
            return (await bus.latch(state, reason=f"to {state}", by="test", person=person, ts=5)).state

        assert await latch("ACTIVE", person=False) == "HALTED"
        assert await latch("ACTIVE", person=True) == "ACTIVE"
        assert await latch("REDUCING", person=False) == "REDUCING"
        assert await latch("HALTED", person=False) == "HALTED"
        assert await latch("HALTED", person=False) == "HALTED"
        assert await latch("ACTIVE", person=False) == "HALTED"
        assert await latch("REDUCING", person=True) == "REDUCING"
        told = await of_type(bus, "control", TradingState)
        assert [message.state for message in told] == ["ACTIVE", "REDUCING", "HALTED", "REDUCING"]
        now = await bus.trading_state()
        assert now is not None
        assert now.reason == "to REDUCING"

    async def test_feeds_let_go_of_their_own_hold_and_of_no_other(self, world: World) -> None:
        bus = world.bus

        async def latch(state: str, by: str, *, person: bool = False) -> tuple[str, str]:
            now = await bus.latch(state, reason="test", by=by, person=person, ts=5)
            return now.state, now.by

        await latch("ACTIVE", "anna", person=True)
        assert await latch("REDUCING", FEEDS) == ("REDUCING", FEEDS)
        assert await latch("ACTIVE", "risk") == ("REDUCING", FEEDS)
        assert await latch("ACTIVE", FEEDS) == ("ACTIVE", FEEDS)
        assert await latch("REDUCING", FEEDS) == ("REDUCING", FEEDS)
        assert await latch("REDUCING", "anna") == ("REDUCING", "anna")  # a person wants what feeds had only held
        assert await latch("ACTIVE", FEEDS) == ("REDUCING", "anna")
        assert await latch("REDUCING", FEEDS) == ("REDUCING", "anna")
        assert await latch("HALTED", "risk") == ("HALTED", "risk")
        assert await latch("ACTIVE", FEEDS) == ("HALTED", "risk")
        told = await of_type(bus, "control", TradingState)
        assert [(one.state, one.by) for one in told] == [
            ("ACTIVE", "anna"),
            ("REDUCING", FEEDS),
            ("ACTIVE", FEEDS),
            ("REDUCING", FEEDS),
            ("REDUCING", "anna"),
            ("HALTED", "risk"),
        ]

    async def test_a_reason_with_quotes_and_signs_survives_the_latch(self, world: World) -> None:
        reason = 'he said "stop" / \\ at 5 € \n\t'

        await world.bus.latch("HALTED", reason=reason, by="a/b", person=False, ts=1_750_000_000_123_456_789)

        (message,) = await of_type(world.bus, "control", TradingState)
        assert (message.reason, message.by, message.ts_event) == (reason, "a/b", 1_750_000_000_123_456_789)

    async def test_a_lease_has_one_holder(self, world: World) -> None:
        bus = world.bus

        assert not await bus.extend("lease:x", "a", 60_000)
        assert await bus.acquire("lease:x", "a", 60_000)
        assert await bus.acquire("lease:x", "a", 60_000)
        assert await bus.extend("lease:x", "a", 60_000)
        assert not await bus.acquire("lease:x", "b", 60_000)
        assert not await bus.extend("lease:x", "b", 60_000)
        assert not await bus.release("lease:x", "b")
        assert await bus.release("lease:x", "a")
        assert await bus.acquire("lease:x", "b", 60_000)

    # --- the loop

    async def test_a_stage_says_what_a_plain_run_over_the_same_entries_says(self, world: World) -> None:
        await publish(world.bus, trades(600))

        observed = await run(world.bus, CountingStage(), 600)

        entries = await world.bus.span("market", "-", "+")
        assert await texts(world.bus) == expected_texts(CountingStage(), entries)
        assert max(observed.batches) <= MAX_BATCH_ENTRIES
        assert (await world.bus.lags())[("alpha", "market")] == 0

    async def test_ten_thousand_entries_are_taken_in_batches(self, world: World) -> None:
        bus = world.bus
        await bus.claim("ingestion", "ingestion", ["source:feed"])
        for n in range(1, 41):
            await bus.commit(source_commit(n, [Output("market", trade) for trade in trades(250, first=250 * n)]))

        observed = await run(bus, CountingStage(outputs_per_entry=2), 10_000)

        assert len(await texts(bus)) == 20_000
        assert max(observed.batches) <= MAX_BATCH_ENTRIES

    async def test_any_batch_split_gives_the_same_outputs(self, world: World) -> None:
        await publish(world.bus, trades(60))
        entries = await world.bus.span("market", "-", "+")
        numbers = itertools.count()
        expected = expected_texts(CountingStage(), entries)

        async def split(sizes: list[int]) -> list[str]:
            number = next(numbers)
            left, said = len(entries), f"said{number}"
            for size in itertools.cycle(sizes):
                stage = CountingStage(f"split{number}", output=said)
                observed = await run(world.bus, stage, min(size * 3, left), batch=size)
                left -= sum(observed.batches)
                if left <= 0:
                    return await texts(world.bus, said)
            raise AssertionError("unreachable")

        loop = asyncio.get_running_loop()

        @settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(st.lists(st.integers(1, 40), min_size=1, max_size=5))
        def any_split(sizes: list[int]) -> None:
            assert asyncio.run_coroutine_threadsafe(split(sizes), loop).result(PATIENCE_S) == expected

        await asyncio.to_thread(any_split)

    async def test_a_stage_that_stops_and_starts_says_what_one_that_ran_on_says(self, world: World) -> None:
        bus = world.bus
        await publish(bus, trades(300))

        left = 300
        while left:
            observed = await run(bus, CountingStage(), min(left, 70), batch=11)
            left -= sum(observed.batches)

        assert await texts(bus) == expected_texts(CountingStage(), await bus.span("market", "-", "+"))

    async def test_a_stage_killed_without_a_snapshot_is_run_again_from_its_journal(self, world: World) -> None:
        bus = world.bus
        await publish(bus, trades(300))
        observe = StopAfter(100)
        configs = FixedConfigs(FleetConfig.model_validate({"fleet": {"snapshot_every_ms": 10**9}}))
        task = asyncio.create_task(
            run_stage(bus, CountingStage(), configs, clock=SYSTEM, stop=asyncio.Event(), observe=observe, batch=7)
        )
        await wait_until(observe.stop.is_set)
        task.cancel()
        await asyncio.wait({task})
        record = await bus.load("alpha", ["market"])
        assert record.snapshot is None

        await run(bus, CountingStage(), 300 - record.reads["market"], configs=configs)

        assert await texts(bus) == expected_texts(CountingStage(), await bus.span("market", "-", "+"))

    @pytest.mark.parametrize("harm", ["damaged", "older schema"])
    async def test_a_snapshot_of_no_use_is_reported_and_made_again_from_the_journal(
        self, world: World, harm: str
    ) -> None:
        bus = world.bus
        await publish(bus, trades(50))
        await run(bus, CountingStage(), 25, batch=25)
        if harm == "damaged":
            await world.damage_snapshot("alpha")

        observed = await run(bus, CountingStage(schema=2 if harm == "older schema" else 1), 25)

        assert "snapshot_rejected" in observed.told
        assert await texts(bus) == expected_texts(CountingStage(), await bus.span("market", "-", "+"))
        assert [alert.name for alert in await of_type(bus, "alerts", Alert)] == ["snapshot_rejected"]

    async def test_a_stage_starts_again_after_all_that_its_snapshot_covers_was_trimmed(self, world: World) -> None:
        bus = world.bus
        await publish(bus, trades(300))
        entries = await bus.span("market", "-", "+")
        await run(bus, CountingStage(), 200, batch=20)
        for stream in ("market", "journal.alpha"):
            await world.archived(stream, await bus.last_id(stream))
            while await bus.trim(stream, retain=0):
                pass
        trimmed = [await bus.depth(stream) for stream in ("market", "journal.alpha")]

        observed = await run(bus, CountingStage(), 100, batch=20)

        assert [depth.added - depth.length for depth in trimmed] == [199, 9]
        assert not [told for told in observed.told if told.startswith("input_lost")]
        assert await texts(bus) == expected_texts(CountingStage(), entries)

    async def test_a_snapshot_of_no_use_whose_journal_was_trimmed_is_broken(self, world: World) -> None:
        bus = world.bus
        await publish(bus, trades(60))
        await run(bus, CountingStage(), 60, batch=10)
        await world.archived("journal.alpha", await bus.last_id("journal.alpha"))
        assert await bus.trim("journal.alpha", retain=0)
        await world.damage_snapshot("alpha")

        with pytest.raises(Broken, match="its journal no longer begins at its first commit"):
            await run(bus, CountingStage(), 1)

    async def test_a_stage_that_no_longer_says_what_was_committed_is_broken(self, world: World) -> None:
        bus = world.bus
        await publish(bus, trades(20))
        await run(bus, CountingStage(), 10, batch=10)
        await world.damage_snapshot("alpha")

        with pytest.raises(Broken, match="other outputs than were committed"):
            await run(bus, CountingStage(outputs_per_entry=2), 10)

        latch = await bus.trading_state()
        assert latch is not None
        assert latch.state == "HALTED"

    async def test_a_snapshot_gives_back_the_state_and_the_positions(self, world: World) -> None:
        await publish(world.bus, trades(40))
        await run(world.bus, CountingStage(), 40)

        record = await world.bus.load("alpha", ["market"])

        assert record.snapshot is not None
        state, positions = unpack_snapshot(CountingStage(), record.snapshot)
        assert (state.seen, positions) == (40, record.positions)
        assert pack_snapshot(CountingStage(), state, positions) == record.snapshot

    async def test_a_poisonous_entry_is_set_aside_alone(self, world: World) -> None:
        bus = world.bus
        messages = trades(30)
        messages[11] = build.trade(trade_id=POISON)
        ids = await publish(bus, messages)

        observed = await run(bus, CountingStage(), 30)
        await publish(bus, trades(5, first=31))
        await world.damage_snapshot("alpha")  # so that the restart runs over the poisonous entry's commit again
        await run(bus, CountingStage(), 5)

        entries = await bus.span("market", "-", "+")
        (letter,) = await of_type(bus, "dead.alpha", DeadLetter)
        assert observed.told.count("dead_lettered") == 1
        assert (letter.id, letter.stream) == (ids[11], "market")
        assert "a poisonous trade" in letter.error
        assert await texts(bus) == expected_texts(CountingStage(), entries)
        assert len(await texts(bus)) == 34

    @pytest.mark.parametrize("batch", [1, 7, 256])
    async def test_entries_that_lead_to_nothing_share_commits_and_none_is_left_over(
        self, world: World, batch: int
    ) -> None:
        bus = world.bus
        stage = CountingStage(inputs=("beats", "market"), talks_every=10)

        async def more(first: int) -> StopAfter:
            observe = StopAfter(60)
            running = start(bus, stage, observe, batch=batch)
            for i in range(60):  # one after the other, on two inputs, so that silent entries wait for one another
                await publish(bus, trades(1, first=first + i), "beats" if i % 4 == 0 else "market")
            await running
            return observe

        await more(1)
        lags = await bus.lags()
        await world.damage_snapshot("alpha")
        again = await more(61)

        positions = {name: await bus.last_id(name) for name in ("beats", "market")}
        journal = [journal_of(entry) for entry in await bus.span("journal.alpha", "-", "+")]
        assert [text.split()[0] for text in await texts(bus)] == [str(n) for n in range(10, 121, 10)]
        assert lags == {("alpha", "beats"): 0, ("alpha", "market"): 0}
        assert "snapshot_rejected" in again.told  # all of it was run again and agreed
        assert (await bus.load("alpha", ["beats", "market"])).positions == positions
        assert sum(commit.count for commit in journal) == 120
        assert [commit.n for commit in journal] == list(range(1, len(journal) + 1))

    async def test_a_poisonous_entry_behind_silent_ones_of_another_input_is_set_aside_alone(self, world: World) -> None:
        bus = world.bus
        stage = CountingStage(inputs=("beats", "market"), talks_every=50)
        observe = StopAfter(40)
        running = start(bus, stage, observe)
        for i in range(40):
            name = POISON if i == 21 else str(i)
            await publish(bus, [build.trade(trade_id=name)], "beats" if i % 2 == 0 else "market")
        await running
        await world.damage_snapshot("alpha")
        await publish(bus, trades(11, first=100))
        await run(bus, stage, 11)

        assert len(await of_type(bus, "dead.alpha", DeadLetter)) == 1
        assert [text.split()[0] for text in await texts(bus)] == ["50"]

    async def test_a_step_that_says_more_than_a_commit_holds_is_cut_between_entries_or_set_aside(
        self, world: World
    ) -> None:
        bus = world.bus
        await publish(bus, trades(4))

        observed = await run(bus, CountingStage(outputs_per_entry=900), 4)
        await run(bus, CountingStage("router", output="ensembles", outputs_per_entry=1_100), 4)

        assert observed.batches == [1, 1, 1, 1]
        assert len(await texts(bus)) == 3_600
        assert len(await of_type(bus, "dead.router", DeadLetter)) == 4

    async def test_an_entry_that_does_not_decode_is_set_aside(self, world: World) -> None:
        bus = world.bus
        await bus.claim("ingestion", "ingestion", ["source:feed"])
        request = msgspec.structs.replace(
            source_commit(1, []),
            outputs=(EncodedOutput("market", "trade.v1", b"{half"), EncodedOutput("market", "?", b"")),
        )
        await bus.commit(request)
        await publish(bus, trades(3))

        await run(bus, CountingStage(), 5)

        assert len(await of_type(bus, "dead.alpha", DeadLetter)) == 2
        assert len(await texts(bus)) == 3

    @pytest.mark.parametrize("stream", ["targets", "orders", "fills", "venue.events", "control"])
    async def test_a_poisonous_entry_on_the_order_path_halts_and_stays(self, world: World, stream: str) -> None:
        bus = world.bus
        ids = await publish(bus, [*trades(2), build.trade(trade_id=POISON)], stream)

        with pytest.raises(Broken, match="poisonous"):
            await run(bus, CountingStage("executor", (stream,)), 3)

        latch = await bus.trading_state()
        assert latch is not None
        assert (latch.state, latch.by) == ("HALTED", "executor")
        assert (await bus.load("executor", [stream])).positions[stream] == ids[1]
        assert (await bus.depth("dead.executor")).added == 0

    async def test_while_targets_are_full_other_inputs_go_on(self, world: World) -> None:
        bus = world.bus
        config = FleetConfig.model_validate({"fleet": {"targets_cap": 10}})
        await publish(bus, trades(30), "ensembles")
        stage = CountingStage("risk", ("control", "ensembles"), "targets")
        observe = StopAfter(32)
        task = start(bus, stage, observe, batch=10, configs=FixedConfigs(config))
        await wait_until(lambda: observe.told.count("BUSY") >= 2)
        committed = sum(observe.batches)

        await bus.append("beats", build.beat())
        await run(bus, CountingStage("executor", ("targets",), "orders"), 10)
        await wait_until(lambda: sum(observe.batches) == 20)
        await run(bus, CountingStage("executor", ("targets",), "orders"), 10)
        await wait_until(lambda: sum(observe.batches) == 30)
        await run(bus, CountingStage("executor", ("targets",), "orders"), 10)
        await publish(bus, trades(2), "control")
        async with asyncio.timeout(PATIENCE_S):
            await task

        assert committed == 10
        assert len(await texts(bus, "targets")) == 32

    async def test_the_higher_input_is_served_while_the_lower_rests(self, world: World) -> None:
        bus = world.bus
        await publish(bus, trades(500), "market")
        await publish(bus, trades(2), "control")

        observed = await run(bus, CountingStage(inputs=("control", "market")), 502, batch=100)

        journal = [journal_of(entry).input for entry in await bus.span("journal.alpha", "-", "+")]
        assert journal == ["control", "market", "market", "market", "market", "market"]
        assert observed.batches == [2, 100, 100, 100, 100, 100]

    async def test_a_configuration_is_swapped_between_two_commits_and_remembered(self, world: World) -> None:
        bus = world.bus
        first = FleetConfig()
        second = FleetConfig.model_validate({"fleet": {"account": "other"}})
        configs = FixedConfigs(first)
        observe = StopAfter(20)
        task = start(bus, CountingStage(), observe, configs=configs, block_ms=2_000)
        await publish(bus, trades(10))
        await wait_until(lambda: observe.left == 10)
        configs.offer(second)
        await wait_until(lambda: configs.current is second)  # while the loop waits for entries
        await publish(bus, trades(10, first=11))
        async with asyncio.timeout(PATIENCE_S):
            await task
        await world.damage_snapshot("alpha")
        await publish(bus, trades(1))
        await run(bus, CountingStage(), 1, configs=configs)  # re-runs each entry under its own configuration

        journal = [journal_of(entry) for entry in await bus.span("journal.alpha", "-", "+")]
        assert {commit.config for commit in journal if commit.last <= journal[0].last} == {first.hash}
        assert journal[-1].config == second.hash

    async def test_the_loop_of_a_fenced_owner_ends(self, world: World) -> None:
        bus = world.bus
        observe = StopAfter(100)
        task = start(bus, CountingStage(), observe)
        await publish(bus, trades(5))
        await wait_until(lambda: observe.left == 95)

        await bus.claim("alpha", "alpha", ["market"])
        await publish(bus, trades(1, first=6))

        with pytest.raises(Fenced, match="newer owner"):
            async with asyncio.timeout(PATIENCE_S):
                await task
        assert len(await texts(bus)) == 5

    async def test_a_server_rolled_back_is_noticed_and_read_again(self, world: World) -> None:
        bus = world.bus
        await publish(bus, trades(20))
        observe = StopAfter(10**6)
        task = asyncio.create_task(
            run_stage(
                bus,
                CountingStage(),
                FixedConfigs(),
                clock=SYSTEM,
                stop=observe.stop,
                observe=observe,
                batch=5,
                block_ms=50,
            )
        )
        await wait_until(lambda: sum(observe.batches) == 20)
        await world.save()
        await publish(bus, trades(20, first=21))
        await wait_until(lambda: sum(observe.batches) == 40)

        await world.roll_back()
        await wait_until_answering(bus)
        await publish(bus, trades(5, first=61))
        await wait_until(lambda: "rolled_back" in observe.told and sum(observe.batches) == 45)
        observe.stop.set()
        async with asyncio.timeout(PATIENCE_S):
            await task

        entries = await bus.span("market", "-", "+")
        assert len(entries) == 25
        assert await texts(bus) == expected_texts(CountingStage(), entries)
        assert len(await of_type(bus, "alerts", Rollback)) == 1

    async def test_an_emptied_server_is_noticed_and_begun_anew(self, world: World) -> None:
        bus = world.bus
        observe = StopAfter(10**6)
        task = asyncio.create_task(
            run_stage(
                bus, CountingStage(), FixedConfigs(), clock=SYSTEM, stop=observe.stop, observe=observe, block_ms=50
            )
        )
        await publish(bus, trades(20))
        await wait_until(lambda: sum(observe.batches) == 20)

        await world.flush()
        await publish(bus, trades(5, first=21))
        await wait_until(lambda: "flushed" in observe.told)
        await wait_until(lambda: sum(observe.batches) >= 25)
        observe.stop.set()
        async with asyncio.timeout(PATIENCE_S):
            await task

        assert await texts(bus) == expected_texts(CountingStage(), await bus.span("market", "-", "+"))
        assert len(await texts(bus)) == 5

    async def test_entries_lost_to_a_stage_are_told_and_the_lag_still_ends_at_zero(self, world: World) -> None:
        bus = world.bus
        await publish(bus, trades(30))
        await run(bus, CountingStage(), 10, batch=10)
        await world.lose_oldest("market", 18)

        observed = await run(bus, CountingStage(), 12, batch=12)

        (lost,) = await of_type(bus, "alerts", InputLost)
        assert "input_lost 8" in observed.told
        assert (lost.service, lost.stream) == ("alpha", "market")
        assert id_key(lost.after) < id_key(lost.before)
        assert (await bus.lags())[("alpha", "market")] == 0

    async def test_functions_and_gauges_that_vanish_are_made_again(self, world: World) -> None:
        bus = world.bus
        observe = StopAfter(60)
        task = start(bus, CountingStage(), observe)
        for i in range(6):
            await publish(bus, trades(10, first=10 * i))
            await wait_until(lambda done=10 * i + 10: sum(observe.batches) == done)  # type: ignore[misc]
            await world.forget()
        async with asyncio.timeout(PATIENCE_S):
            await task

        assert await texts(bus) == expected_texts(CountingStage(), await bus.span("market", "-", "+"))


async def wait_until_drained(bus: Bus, service: str = "alpha", stream: str = "market") -> None:
    """Return once a service has committed everything on a stream."""
    await wait_until_answering(bus)
    async with asyncio.timeout(60):
        while (await bus.lags()).get((service, stream)) != 0:  # noqa: ASYNC110 - the bus tells nobody
            await asyncio.sleep(0.01)


async def wait_until_answering(bus: Bus) -> None:
    """Return once the server behind a bus answers again."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await bus.depth("market")
                return
            except Transient:
                await asyncio.sleep(0.01)
