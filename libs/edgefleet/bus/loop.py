"""The loop around a stage: read, step, commit. Knows buses, snapshots, configuration; not what a step means."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from edgefleet.bus.interface import (
    FIRST,
    MAX_BATCH_BYTES,
    MAX_BATCH_ENTRIES,
    MAX_BATCH_OUTPUTS,
    Answer,
    Bus,
    Clearance,
    CommitRequest,
    EncodedOutput,
    Entry,
    Permit,
    Record,
    id_key,
)
from edgefleet.bus.rerun import dead_letter, decode_state, encode_state, is_fatal, pack_snapshot, step_entry
from edgefleet.bus.restore import state_of
from edgefleet.clock import NS_PER_MS, NS_PER_S, Clock
from edgefleet.errors import Broken, Fenced, FleetError, Poison, Transient
from edgefleet.messages import Alert, InputLost, Message, Rollback
from edgefleet.params.schema import FleetConfig
from edgefleet.stage import Stage

PARK_NS = 75 * NS_PER_MS  # how long an input rests after BUSY
BACK_OFF_S = (0.05, 0.1, 0.2, 0.5, 1.0)
DEPTH_EVERY_NS = NS_PER_S
LINGER_NS = 10 * NS_PER_MS  # how long entries that led to nothing wait for more of them before they are committed
SHOW_EVERY_NS = 100 * NS_PER_MS  # how often a busy stage shows its lag to tools that ask for consumer groups
SOFT_OUTPUTS = MAX_BATCH_OUTPUTS // 4  # a batch is cut after the entry that passes this: one entry may add many
SOFT_BYTES = MAX_BATCH_BYTES // 4


class Configs(Protocol):
    """The configuration in force and the one that waits."""

    changed: asyncio.Event

    @property
    def current(self) -> FleetConfig:
        """Return the configuration in force."""
        ...

    def swap(self) -> FleetConfig:
        """Make the waiting configuration current and return it."""
        ...

    async def by_hash(self, config_hash: str) -> FleetConfig:
        """Return the configuration behind a hash."""
        ...


class Observer:
    """What the loop tells about itself. The default is told and does nothing; telemetry overrides what it draws."""

    def restored(self, record: Record, reran: int) -> None:
        """The stage stands where its record does, after re-running `reran` entries."""

    def about_to_commit(self, outputs: Sequence[EncodedOutput]) -> Permit | None:
        """A batch was stepped and its commit is next. Return a permit to have asked in it what may leave."""
        return None

    def committed(
        self,
        stream: str,
        entries: Sequence[Entry],
        outputs: Sequence[EncodedOutput],
        step_ns: int,
        clearance: Clearance | None = None,
    ) -> None:
        """A batch was committed; its steps took `step_ns` together. `clearance` answers the permit that was asked."""

    def refused(self, stream: str, answer: Answer) -> None:
        """A commit was answered with anything but OK."""

    def dead_lettered(self, stream: str, entry: Entry, error: str) -> None:
        """An entry was set aside."""

    def snapshot_saved(self, size: int) -> None:
        """A snapshot of `size` bytes was committed."""

    def snapshot_rejected(self, reason: str) -> None:
        """The stored snapshot is of no use."""

    def input_lost(self, stream: str, entries: int) -> None:
        """So many entries are gone that the stage never read."""

    def rolled_back(self, stream: str, had: str, found: str) -> None:
        """The server knows less than it once acknowledged."""

    def flushed(self, had: str, found: str) -> None:
        """The server's data is not the data of before."""

    def unreachable(self, error: str) -> None:
        """The bus did not answer; the loop tries again."""

    def configured(self, config_hash: str) -> None:
        """Another configuration is in force from the next commit on."""


@dataclass(slots=True)
class _Batch:
    """Entries of one input that were stepped and not yet committed, and what they led to."""

    stream: str
    config: FleetConfig
    since: int  # monotonic ns of its first step
    taken: list[Entry] = field(default_factory=list)
    outputs: list[EncodedOutput] = field(default_factory=list)
    size: int = 0  # bytes of the outputs
    step_ns: int = 0

    def add(self, made: Sequence[EncodedOutput]) -> bool:
        """Add what an entry led to; return whether more may follow. Raises `Poison` where a commit cannot hold it."""
        outputs, size = self.outputs, self.size
        for output in made:
            size += len(output.data)
            outputs.append(output)
        self.size = size
        if len(outputs) < SOFT_OUTPUTS and size < SOFT_BYTES:
            return True
        _refuse_too_large(len(outputs), size)
        return False


@dataclass(slots=True)
class _Memory:
    """What the loop holds between two commits. All of it can be thrown away and loaded again."""

    state: Any
    record: Record
    positions: dict[str, str]  # committed
    reads: dict[str, int]  # committed, per input
    ahead: dict[str, deque[Entry]]  # read, not yet stepped
    read_to: dict[str, str]  # the id after which to read on
    n: int  # of the last commit
    skipped: dict[str, int] = field(default_factory=dict)  # lost entries, to be told with the next commit
    open: _Batch | None = None  # led to nothing so far, so its commit can wait for more
    unshown: set[str] = field(default_factory=set)  # inputs whose lag is shown as it was
    since_snapshot: int = 0
    snapshot_ns: int = 0


class StageLoop:
    """One stage on one bus. `run_stage` is the way in."""

    def __init__(
        self,
        bus: Bus,
        stage: Stage[Any],
        configs: Configs,
        *,
        clock: Clock,
        stop: asyncio.Event,
        observe: Observer | None = None,
        identity: str | None = None,
        batch: int = MAX_BATCH_ENTRIES,
        block_ms: int = 1_000,
    ) -> None:
        if not 1 <= batch <= MAX_BATCH_ENTRIES:
            raise ValueError(f"a batch has 1 to {MAX_BATCH_ENTRIES} entries, was {batch}")
        self._bus = bus
        self._stage = stage
        self._configs = configs
        self._clock = clock
        self._stop = stop
        self._observe = observe or Observer()
        self._identity = identity or stage.service
        self._batch = batch
        self._block_ms = block_ms
        self._epoch = 0
        self._last_known: Record | None = None  # to notice a server that lost what it had acknowledged
        self._parked: dict[str, int] = {}  # input: monotonic ns until which it rests
        self._before_busy: bytes | None = None  # the state before the batch, kept while `targets` is at its cap
        self._singly = 0  # entries still to be committed one at a time, to find the poisonous one
        self._read: asyncio.Task[dict[str, list[Entry]]] | None = None
        self._read_blocks = False
        self._stopped: asyncio.Task[Any] | None = None
        self._changed: asyncio.Task[Any] | None = None
        self._depth_ns = 0
        self._turns = 0
        self._shown: dict[str, int] = {}  # input: monotonic ns of the last commit that showed its lag

    async def run(self) -> None:
        """Work until `stop` is set, then save a snapshot.

        Raises
        ------
        Fenced
            If a newer owner has the identity.
        Broken
            If an invariant is false; trading is HALTED by then.
        """
        failures = 0
        memory: _Memory | None = None
        claim = True
        try:
            while not self._stop.is_set():
                try:
                    if memory is None:
                        memory = await self._restore(claim=claim)
                        claim = False
                    if await self._turn(memory):
                        failures = 0
                    else:
                        memory = None
                except Transient as error:
                    memory = None
                    self._observe.unreachable(str(error))
                    await self._rest(BACK_OFF_S[min(failures, len(BACK_OFF_S) - 1)])
                    failures += 1
                if memory is None:
                    await self._drop_read()
            if memory is not None:
                await self._last_snapshot(memory)
        except Broken as error:
            await self._halt(error)
            raise
        finally:
            await self._drop_read()
            for task in (self._stopped, self._changed):
                await _cancelled(task)

    # --- one turn

    async def _turn(self, memory: _Memory) -> bool:
        """Do the next thing; return False where memory must be thrown away."""
        if self._configs.changed.is_set():
            if not await self._close(memory):
                return False
            self._observe.configured(self._configs.swap().hash)
        unshown = self._unshown(memory)
        if unshown is not None:
            return await self._show_lag(memory, unshown)
        stream = self._next_input(memory)
        if stream is not None:
            return await self._work(memory, stream)
        if self._read is None:
            self._start_read(memory)
        await self._wait_for_read(memory)
        if self._read is None or not self._read.done():
            return await self._close(memory)
        arrived = self._take_read(memory)
        if self._depth_due(arrived):
            await self._check_depths(memory)
        if not arrived and self._snapshot_due(memory):
            return await self._close(memory) and await self._save_snapshot(memory)
        return True

    def _next_input(self, memory: _Memory) -> str | None:
        """Return the highest input that has something waiting and is not parked."""
        if self._parked:
            now = self._clock.monotonic_ns()
            self._parked = {stream: until for stream, until in self._parked.items() if until > now}
        for stream in self._stage.inputs:
            if memory.ahead[stream] and stream not in self._parked:
                return stream
        return None

    async def _work(self, memory: _Memory, stream: str) -> bool:
        """Step what waits of one input and commit it, reading on meanwhile.

        Entries that led to nothing are committed with the next ones: nobody waits for their position.
        """
        waiting = memory.ahead[stream]
        started = self._clock.monotonic_ns()
        if self._before_busy is not None:
            self._before_busy = encode_state(memory.state)
        before, memory.open = memory.open, None
        if before is not None and before.stream == stream:
            batch, before = before, None
        else:
            batch = _Batch(stream, self._configs.current, started)
        limit = 1 if self._singly else self._batch
        stage, state, config, taken = self._stage, memory.state, batch.config, batch.taken
        try:
            while waiting and len(taken) < limit:
                entry = waiting.popleft()
                taken.append(entry)
                made = step_entry(stage, state, stream, entry, config)
                if made and not batch.add(made):
                    break
        except Exception as error:  # noqa: BLE001 - the loop is the last place that can keep the service alive
            return await self._failed(batch, before, error)
        now = self._clock.monotonic_ns()
        batch.step_ns += now - started
        if before is None and self._may_wait(memory, batch, now):
            memory.open = batch
            return True
        if self._read is None:
            self._start_read(memory)  # overlaps with the commit
        if not await self._conclude(memory, *(() if before is None else (before,)), batch):
            return False
        if self._read is not None and (self._read.done() or not self._read_blocks):
            await asyncio.wait({self._read})
            self._take_read(memory)
        return True

    def _may_wait(self, memory: _Memory, batch: _Batch, now: int) -> bool:
        """Return whether a batch led to nothing and is young and small enough to take more in."""
        if batch.outputs or self._singly or self._before_busy is not None:
            return False
        young = now - batch.since < LINGER_NS and len(batch.taken) < self._batch
        return young and not self._snapshot_due(memory, len(batch.taken))

    async def _close(self, memory: _Memory) -> bool:
        """Commit the batch that waits for more, if there is one."""
        batch, memory.open = memory.open, None
        return batch is None or await self._conclude(memory, batch)

    async def _conclude(self, memory: _Memory, *batches: _Batch) -> bool:
        """Commit batches in one go and tell of them; return False where memory must be thrown away."""
        requests: list[CommitRequest] = []
        for batch in batches:
            requests.append(self._request(memory, batch, requests, is_last=batch is batches[-1]))
        for batch, request, result in zip(batches, requests, await self._bus.commit_in_turn(requests), strict=True):
            if result.answer is not Answer.OK:
                return await self._refused(memory, batch.stream, batch.taken, result.answer)
            self._committed(memory, request)
            if self._before_busy is not None and any(output.stream == "targets" for output in batch.outputs):
                self._before_busy = None
            self._singly = max(0, self._singly - len(batch.taken))
            self._observe.committed(batch.stream, batch.taken, batch.outputs, batch.step_ns, result.clearance)
            if result.clearance is not None:
                await asyncio.sleep(0)  # what was cleared goes before the next thing begins
        return True

    def _request(
        self, memory: _Memory, batch: _Batch, before: Sequence[CommitRequest], *, is_last: bool
    ) -> CommitRequest:
        """Return the commit of a batch behind others of one go, with the snapshot of all where one is due."""
        stream, taken = batch.stream, batch.taken
        permit = self._observe.about_to_commit(batch.outputs)
        snapshot = None
        # An order does not wait for a snapshot.
        if is_last and permit is None and self._snapshot_due(memory, len(taken) + sum(one.count for one in before)):
            ends = {one.input: one.last for one in before} | {stream: taken[-1].id}
            snapshot = pack_snapshot(self._stage, memory.state, memory.positions | ends)
        return CommitRequest(
            identity=self._identity,
            epoch=self._epoch,
            input=stream,
            expected=memory.positions[stream],
            first=taken[0].id,
            last=taken[-1].id,
            count=len(taken),
            config=batch.config.hash,
            outputs=tuple(batch.outputs),
            snapshot=snapshot,
            skipped=memory.skipped.get(stream, 0),
            targets_cap=batch.config.fleet.targets_cap,
            permit=permit,
            after=memory.n + len(before),
            turn="" if is_last else self._next_turn(),
            behind=before[-1].turn if before else "",
            wants_ids=False,
            shows_lag=self._is_show_due(stream),
        )

    def _next_turn(self) -> str:
        self._turns += 1
        return f"{self._epoch}-{self._turns}"

    def _committed(self, memory: _Memory, request: CommitRequest) -> None:
        """Remember a commit that was answered with OK."""
        stream = request.input
        memory.n += 1
        self._note_shown(memory, stream, shown=request.shows_lag)
        memory.positions[stream] = request.last
        memory.reads[stream] += request.count
        memory.skipped.pop(stream, None)
        self._saved(memory, request.snapshot, request.count)

    async def _refused(self, memory: _Memory, stream: str, taken: Sequence[Entry], answer: Answer) -> bool:
        self._observe.refused(stream, answer)
        if answer is Answer.FENCED:
            raise Fenced(f"{self._identity} has a newer owner than epoch {self._epoch}; this one stops")
        if answer is Answer.BUSY:
            self._parked[stream] = self._clock.monotonic_ns() + PARK_NS
            if self._before_busy is not None:
                # The same state as the record's, without the way through the journal: nothing was committed since.
                memory.state = decode_state(self._stage, self._before_busy)
                memory.ahead[stream].extendleft(reversed(taken))
                return True
            self._before_busy = b""
        return False

    async def _failed(self, batch: _Batch, before: _Batch | None, error: Exception) -> bool:
        """Isolate the entry that failed: first alone, then, if it fails alone, set aside."""
        stream, entry = batch.stream, batch.taken[-1]
        if isinstance(error, Transient | Broken | Fenced):
            raise error
        together = len(batch.taken) + (0 if before is None else len(before.taken))
        if together > 1:
            self._singly = together
            return False
        if is_fatal(error, stream):
            raise Broken(f"{self._stage.service} cannot process {stream}/{entry.id} ({entry.type}): {error}") from error
        await self._drop_read()
        memory = await self._restore(claim=False)
        letter = _Batch(stream, self._configs.current, self._clock.monotonic_ns(), [entry])
        letter.outputs += dead_letter(self._stage.service, stream, entry, error)
        request = self._request(memory, letter, (), is_last=True)
        result = await self._bus.commit(request)
        if result.answer is Answer.OK:
            self._singly = max(0, self._singly - 1)
            self._observe.dead_lettered(stream, entry, str(error))
        else:
            await self._refused(memory, stream, [entry], result.answer)
        return False

    # --- reading

    def _start_read(self, memory: _Memory) -> None:
        block_ms = self._block_ms
        if any(memory.ahead[stream] and stream not in self._parked for stream in memory.ahead):
            block_ms = 0
        elif self._parked:
            block_ms = min(block_ms, PARK_NS // NS_PER_MS)
        wanted = {name: memory.read_to[name] for name in self._stage.inputs if len(memory.ahead[name]) < self._batch}
        self._read_blocks = block_ms > 0
        if wanted:
            self._read = asyncio.create_task(self._bus.read(wanted, count=self._batch, block_ms=block_ms))

    async def _wait_for_read(self, memory: _Memory) -> None:
        """Wait for entries, a stop or a configuration; the read goes on under the latter two."""
        if self._read is None or self._read.done():
            if self._read is None:
                await self._rest(PARK_NS / NS_PER_S)
            return
        if self._stopped is None:
            self._stopped = asyncio.create_task(self._stop.wait())
        if self._changed is None or self._changed.done():
            self._changed = asyncio.create_task(self._configs.changed.wait())
        patience = PARK_NS if self._parked else SHOW_EVERY_NS if memory.unshown else None
        if memory.open is not None:
            patience = LINGER_NS
        timeout = None if patience is None else patience / NS_PER_S
        pending = {self._read, self._stopped, self._changed}
        await asyncio.wait(pending, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)

    def _take_read(self, memory: _Memory) -> int:
        """Put what was read behind what waits; return the size of the longest part."""
        assert self._read is not None
        read, self._read = self._read, None
        found = read.result()
        for stream, entries in found.items():
            memory.ahead[stream].extend(entries)
            memory.read_to[stream] = entries[-1].id
        return max(map(len, found.values()), default=0)

    async def _drop_read(self) -> None:
        await _cancelled(self._read)
        self._read = None

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    # --- what was lost

    def _depth_due(self, arrived: int) -> bool:
        """Return whether to look for losses now: when behind, when idle, else seldom, for entries wait meanwhile."""
        patience = DEPTH_EVERY_NS if arrived == 0 else 10 * DEPTH_EVERY_NS
        return arrived >= self._batch or self._clock.monotonic_ns() - self._depth_ns >= patience

    async def _check_depths(self, memory: _Memory) -> None:
        """Tell of entries that are gone before the stage read them.

        Entries added minus entries still there are those removed: more of them than this stage has read are lost to it.
        At the stream's end everything added must have been read.
        """
        self._depth_ns = self._clock.monotonic_ns()
        for stream in self._stage.inputs:
            depth = await self._bus.depth(stream)
            known = memory.reads[stream] + memory.skipped.get(stream, 0) + len(memory.ahead[stream])
            if memory.open is not None and memory.open.stream == stream:
                known += len(memory.open.taken)
            at_end = depth.last == memory.read_to[stream]
            lost = depth.added - known if at_end else depth.added - depth.length - known
            if lost > 0:
                await self._tell_loss(memory, stream, lost)

    async def _tell_loss(self, memory: _Memory, stream: str, lost: int) -> None:
        memory.skipped[stream] = memory.skipped.get(stream, 0) + lost
        oldest = await self._bus.span(stream, "-", "+", count=1)
        after, before = memory.positions[stream], oldest[0].id if oldest else memory.positions[stream]
        now = self._clock.wall_ns()
        self._observe.input_lost(stream, lost)
        await self._tell(
            InputLost(service=self._stage.service, stream=stream, after=after, before=before, ts_event=now, ts_init=now)
        )

    async def _tell(self, message: Message) -> None:
        await self._bus.append("alerts", message)

    async def _alert(self, name: str, text: str) -> None:
        now = self._clock.wall_ns()
        service = self._stage.service
        await self._tell(Alert(name=name, severity="critical", service=service, text=text, ts_event=now, ts_init=now))

    async def _compare_with_last_known(self, record: Record) -> None:
        """Notice a server that came back with less than it had acknowledged, or with nothing."""
        known, self._last_known = self._last_known, record
        if known is None:
            return
        if known.incarnation != record.incarnation:
            self._observe.flushed(known.incarnation, record.incarnation)
            lives = f"{known.incarnation} became {record.incarnation}"
            await self._alert("flush", f"Redis came back without its data: {lives}")
        now = self._clock.wall_ns()
        for stream, had in known.positions.items():
            found = record.positions[stream]
            if id_key(found) < id_key(had):
                self._observe.rolled_back(stream, had, found)
                await self._tell(
                    Rollback(service=self._stage.service, input=stream, had=had, found=found, ts_event=now, ts_init=now)
                )

    # --- the lag that others see

    def _is_show_due(self, stream: str) -> bool:
        return self._clock.monotonic_ns() - self._shown.get(stream, 0) >= SHOW_EVERY_NS

    def _unshown(self, memory: _Memory) -> str | None:
        """Return an input that moved and whose group has stood still for long enough."""
        return next((stream for stream in memory.unshown if self._is_show_due(stream)), None)

    def _note_shown(self, memory: _Memory, stream: str, *, shown: bool) -> None:
        if shown:
            memory.unshown.discard(stream)
            self._shown[stream] = self._clock.monotonic_ns()
        else:
            memory.unshown.add(stream)

    async def _show_lag(self, memory: _Memory, stream: str) -> bool:
        result = await self._bus.commit(self._standing(memory, stream))
        if result.answer is not Answer.OK:
            return await self._refused(memory, stream, (), result.answer)
        self._note_shown(memory, stream, shown=True)
        return True

    # --- snapshots and restarts

    def _snapshot_due(self, memory: _Memory, more: int = 0) -> bool:
        fleet = self._configs.current.fleet
        entries = memory.since_snapshot + more
        if entries == 0:
            return False
        overdue = self._clock.monotonic_ns() - memory.snapshot_ns >= fleet.snapshot_every_ms * NS_PER_MS
        return overdue or entries >= fleet.snapshot_every_inputs

    def _saved(self, memory: _Memory, snapshot: bytes | None, entries: int) -> None:
        memory.since_snapshot += entries
        self._last_known = _known(memory)
        if snapshot is not None:
            memory.since_snapshot = 0
            memory.snapshot_ns = self._clock.monotonic_ns()
            self._observe.snapshot_saved(len(snapshot))

    async def _save_snapshot(self, memory: _Memory) -> bool:
        """Commit a snapshot by itself, where nothing is there to commit it with."""
        stream = self._stage.inputs[0]
        snapshot = pack_snapshot(self._stage, memory.state, memory.positions)
        result = await self._bus.commit(self._standing(memory, stream, snapshot))
        if result.answer is not Answer.OK:
            return await self._refused(memory, stream, (), result.answer)
        self._saved(memory, snapshot, 0)
        return True

    def _standing(self, memory: _Memory, stream: str, snapshot: bytes | None = None) -> CommitRequest:
        """Return a commit that consumes nothing."""
        at = memory.positions[stream]
        return CommitRequest(
            identity=self._identity,
            epoch=self._epoch,
            input=stream,
            expected=at,
            first=at,
            last=at,
            count=0,
            config=self._configs.current.hash,
            snapshot=snapshot,
            after=memory.n,
        )

    async def _last_snapshot(self, memory: _Memory) -> None:
        await self._drop_read()
        if memory.since_snapshot or memory.open is not None:
            try:
                if not await self._close(memory):
                    return
                await self._save_snapshot(memory)
                for stream in tuple(memory.unshown):
                    await self._show_lag(memory, stream)
            except Transient as error:  # the journal has it all; only the next start takes longer
                self._observe.unreachable(str(error))

    async def _restore(self, *, claim: bool) -> _Memory:
        """Return the stage as its record says: its snapshot, and the journal since."""
        stage, identity = self._stage, self._identity
        if claim:
            record = await self._bus.claim(stage.service, identity, stage.inputs)
        else:
            record = await self._bus.load(identity, stage.inputs)
            if record.epoch > self._epoch:
                raise Fenced(f"{identity} has epoch {record.epoch}, this one has {self._epoch}; it stops")
            if record.epoch < self._epoch:  # the server lost our claim
                record = await self._bus.claim(stage.service, identity, stage.inputs)
        self._epoch = record.epoch
        await self._compare_with_last_known(record)
        state, reran = await state_of(record, stage, self._bus, self._configs.by_hash, self._rejected)
        self._depth_ns = 0
        self._observe.restored(record, reran)
        return _Memory(
            state=state,
            record=record,
            positions=dict(record.positions),
            reads=dict(record.reads),
            ahead={stream: deque() for stream in stage.inputs},
            read_to=dict(record.positions),
            n=record.n,
            unshown={stream for stream, at in record.positions.items() if at != FIRST},
            since_snapshot=reran,
            snapshot_ns=self._clock.monotonic_ns(),
        )

    async def _rejected(self, why: str) -> None:
        self._observe.snapshot_rejected(why)
        await self._alert("snapshot_rejected", why)

    async def _halt(self, error: FleetError) -> None:
        """Stop trading, as far as the bus lets us."""
        with contextlib.suppress(Transient):
            reason, now = str(error)[:500], self._clock.wall_ns()
            await self._bus.latch("HALTED", reason=reason, by=self._stage.service, person=False, ts=now)


async def run_stage(
    bus: Bus,
    stage: Stage[Any],
    configs: Configs,
    *,
    clock: Clock,
    stop: asyncio.Event,
    observe: Observer | None = None,
    identity: str | None = None,
    batch: int = MAX_BATCH_ENTRIES,
    block_ms: int = 1_000,
) -> None:
    """Run `stage` on `bus` until `stop` is set: claim, restore, then read, step and commit; a snapshot at the end.

    Raises
    ------
    Fenced
        If a newer owner took the identity over.
    Broken
        If the record cannot be re-run, or an entry of the order path cannot be processed. Trading is HALTED by then.
    Misuse
        If the server refuses this user.
    """
    loop = StageLoop(
        bus, stage, configs, clock=clock, stop=stop, observe=observe, identity=identity, batch=batch, block_ms=block_ms
    )
    await loop.run()


def run_batch(
    stage: Stage[Any], state: Any, stream: str, batch: Sequence[Entry], config: FleetConfig
) -> tuple[Any, list[EncodedOutput]]:
    """Return the state after a committed batch and what it led to, a poisonous entry included.

    The loop commits a poisonous entry alone, so only a batch of one can be one.

    Raises
    ------
    Broken
        If an entry fails that did not fail when it was committed.
    """
    if len(batch) == 1:
        before = encode_state(state)
        try:
            made = step_entry(stage, state, stream, batch[0], config)
            _refuse_too_large(len(made), sum(len(output.data) for output in made))
            return state, list(made)
        except Exception as error:  # a step's failure is a fact of the record
            if is_fatal(error, stream):
                raise Broken(f"{stream}/{batch[0].id} fails in {stage.service}: {error}") from error
            return decode_state(stage, before), list(dead_letter(stage.service, stream, batch[0], error))
    outputs: list[EncodedOutput] = []
    for entry in batch:
        try:
            outputs += step_entry(stage, state, stream, entry, config)
        except Exception as error:  # named with its entry
            raise Broken(f"{stream}/{entry.id} failed in the re-run of {stage.service} alone: {error}") from error
    return state, outputs


def _refuse_too_large(outputs: int, size: int) -> None:
    """Raise where one commit cannot hold what a batch leads to; an entry that is too much alone is poisonous."""
    if outputs > MAX_BATCH_OUTPUTS or size > MAX_BATCH_BYTES:
        raise Poison(
            f"{outputs} outputs of {size} bytes are more than a commit holds ({MAX_BATCH_OUTPUTS}, {MAX_BATCH_BYTES})"
        )


def _known(memory: _Memory) -> Record:
    return msgspec.structs.replace(memory.record, positions=dict(memory.positions))


async def _cancelled(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task and wait for its end."""
    if task is not None:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()
