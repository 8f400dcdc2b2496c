"""The bus inside one process, for tests and for loops that need no server. The same promises, one contract kit."""

from __future__ import annotations

import asyncio
import copy
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from edgefleet.bus.interface import (
    FIRST,
    NEVER_SET,
    Answer,
    Clearance,
    CommitRequest,
    CommitResult,
    Depth,
    EncodedOutput,
    Entry,
    Latch,
    Permit,
    Record,
    check_request,
    id_key,
    outputs_crc,
    record_from_state,
    service_of,
)
from edgefleet.clock import NS_PER_MS, SYSTEM, Clock
from edgefleet.errors import OutOfReach
from edgefleet.messages import FEEDS, Journal, Message, OutputSpan, TradingState, encode, tag_of

_RANK = {"ACTIVE": 0, "REDUCING": 1, "HALTED": 2}
_END = (2**63, 2**63)


@dataclass
class _Stream:
    entries: list[Entry] = field(default_factory=list)
    keys: list[tuple[int, int]] = field(default_factory=list)
    added: int = 0
    last: tuple[int, int] = (0, 0)

    def after(self, position: str, count: int) -> list[Entry]:
        start = bisect_right(self.keys, id_key(position))
        return self.entries[start : start + count]

    def add(self, ms: int, tag: str, data: bytes) -> str:
        self.last = (ms, 0) if ms > self.last[0] else (self.last[0], self.last[1] + 1)
        entry_id = f"{self.last[0]}-{self.last[1]}"
        self.entries.append(Entry(entry_id, tag, data))
        self.keys.append(self.last)
        self.added += 1
        return entry_id

    def drop_oldest(self, count: int) -> int:
        del self.entries[:count], self.keys[:count]
        return count


@dataclass
class _Data:
    """All there is: copied whole where a server's past is wanted back."""

    streams: dict[str, _Stream] = field(default_factory=dict)
    states: dict[str, dict[str, str]] = field(default_factory=dict)
    snapshots: dict[str, bytes] = field(default_factory=dict)
    readers: dict[str, set[str]] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)  # `mode`, leases: without expiry
    latch: Latch | None = None
    incarnation: int = 1


class MemoryBus:
    """Streams, commits and the trading latch in this process.

    Leases do not expire by themselves: `expire` ends one. `save_point` and `roll_back` bring back an older server.
    """

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._data = _Data()
        self._arrived = asyncio.Event()

    # --- stages

    async def claim(self, service: str, identity: str, inputs: Sequence[str], *, snapshots: bool = True) -> Record:
        state = self._data.states.setdefault(identity, {})
        state["epoch"] = str(int(state.get("epoch", 0)) + 1)
        state["stateless"] = "0" if snapshots else "1"
        for stream in (f"journal.{service}", *inputs):
            if not stream.startswith("source:"):
                self._data.readers.setdefault(stream, set()).add(identity)
        for stream in inputs:
            if not stream.startswith("source:"):
                state.setdefault(f"read:{stream}", "0")
        return await self.load(identity, inputs)

    async def load(self, identity: str, inputs: Sequence[str]) -> Record:
        state = self._data.states.get(identity, {})
        return record_from_state(
            identity, inputs, state, self._data.snapshots.get(identity), f"memory-{self._data.incarnation}"
        )

    async def read(self, positions: Mapping[str, str], *, count: int, block_ms: int) -> dict[str, list[Entry]]:
        found = self._after(positions, count)
        if found or block_ms <= 0:
            await asyncio.sleep(0)  # a read always gives others their turn, as a server's would
            return found
        try:
            async with asyncio.timeout(block_ms / 1000):
                while not found:
                    await self._arrived.wait()
                    found = self._after(positions, count)
        except TimeoutError:
            return {}
        return found

    def _after(self, positions: Mapping[str, str], count: int) -> dict[str, list[Entry]]:
        streams = self._data.streams
        found = {name: streams[name].after(at, count) for name, at in positions.items() if name in streams}
        return {name: entries for name, entries in found.items() if entries}

    async def commit(self, request: CommitRequest) -> CommitResult:
        return self._commit(request, permitted=True)

    async def commit_in_turn(self, requests: Sequence[CommitRequest]) -> list[CommitResult]:
        return [await self.commit(request) for request in requests]

    async def intend(self, request: CommitRequest, *, account: str, lease: str, reducing: bool) -> CommitResult:
        return self._commit(request, permitted=self._clearance(Permit(account, lease)).covers(reducing=reducing))

    def _clearance(self, permit: Permit) -> Clearance:
        mode = self._data.keys.get("mode")
        if (
            permit.lease == ""
            or mode == "halt"
            or self._data.keys.get(f"lease:account:{permit.account}") != permit.lease
        ):
            return Clearance.NONE
        state = self._data.latch.state if self._data.latch else "HALTED"
        if state == "ACTIVE":
            return Clearance.REDUCING if mode == "reduce" else Clearance.ALL
        return Clearance.REDUCING if state == "REDUCING" else Clearance.NONE

    def _commit(self, request: CommitRequest, *, permitted: bool) -> CommitResult:
        check_request(request)
        state = self._data.states.setdefault(request.identity, {})
        n = int(state.get("n", 0))
        answer = self._judge(request, state, permitted)
        if answer is not Answer.OK:
            return CommitResult(answer, n)
        ids, spans = self._write(request.outputs)
        read = int(state.get(f"read:{request.input}", 0)) + request.skipped + request.count
        state[f"read:{request.input}"] = str(read)
        if request.count:
            n += 1
            journal = Journal(
                n=n,
                identity=request.identity,
                input=request.input,
                first=request.first,
                last=request.last,
                count=request.count,
                config=request.config,
                epoch=request.epoch,
                crc=outputs_crc(request.outputs),
                outputs=tuple(spans),
            )
            state["n"] = str(n)
            state[f"pos:{request.input}"] = request.last
            if request.turn:
                state["turn"] = request.turn
            state["jid"] = self._add(f"journal.{service_of(request.identity)}", tag_of(journal), encode(journal))
        state.update({f"f:{name}": value for name, value in request.fields.items()})
        if request.snapshot is not None:
            self._save_snapshot(request.identity, state, request.snapshot)
        cleared = None if request.permit is None else self._clearance(request.permit)
        return CommitResult(Answer.OK, n, ids, cleared)

    def _judge(self, request: CommitRequest, state: Mapping[str, str], permitted: bool) -> Answer:
        owner = int(state.get("epoch", 0))
        position = id_key(state.get(f"pos:{request.input}", FIRST))
        if owner > request.epoch:
            return Answer.FENCED
        if not permitted:
            return Answer.HALTED
        if request.count and position >= id_key(request.last):
            return Answer.DUP
        moved = position != id_key(request.expected) or request.after not in (None, int(state.get("n", 0)))
        moved = moved or request.behind not in ("", state.get("turn"))
        if owner < request.epoch or moved:
            return Answer.CONFLICT
        if request.targets_cap and any(output.stream == "targets" for output in request.outputs):
            seen = int(self._data.states.get("executor", {}).get("read:targets", 0))
            if self._stream("targets").added - seen >= request.targets_cap:
                return Answer.BUSY
        return Answer.OK

    def _write(self, outputs: Sequence[EncodedOutput]) -> tuple[tuple[str, ...], list[OutputSpan]]:
        ids: list[str] = []
        spans: dict[str, OutputSpan] = {}
        for output in outputs:
            stream = output.stream
            entry_id = self._add(stream, output.type, output.data)
            ids.append(entry_id)
            span = spans.get(stream) or OutputSpan(stream=stream, first=entry_id, last=entry_id, count=0)
            spans[stream] = msgspec.structs.replace(span, last=entry_id, count=span.count + 1)
        return tuple(ids), list(spans.values())

    def _save_snapshot(self, identity: str, state: dict[str, str], snapshot: bytes) -> None:
        self._data.snapshots[identity] = snapshot
        state["snap_n"] = state.get("n", "0")
        state[f"snappos:journal.{service_of(identity)}"] = state.get("jid", FIRST)
        state.update({f"snap{name}": value for name, value in state.items() if name.startswith("pos:")})

    # --- streams

    def _stream(self, name: str) -> _Stream:
        return self._data.streams.setdefault(name, _Stream())

    def _add(self, stream: str, tag: str, data: bytes) -> str:
        entry_id = self._stream(stream).add(self._clock.wall_ns() // NS_PER_MS, tag, data)
        arrived, self._arrived = self._arrived, asyncio.Event()
        arrived.set()
        return entry_id

    async def span(self, stream: str, first: str, last: str, *, count: int | None = None) -> list[Entry]:
        held = self._data.streams.get(stream, _Stream())
        exclusive = first.startswith("(")
        low = (0, 0) if first == "-" else id_key(first.removeprefix("("))
        high = _END if last == "+" else id_key(last)
        found = [
            entry
            for key, entry in zip(held.keys, held.entries, strict=True)
            if low <= key <= high and not (exclusive and key == low)
        ]
        return found[:count]

    async def newest(self, stream: str, count: int) -> list[Entry]:
        """Return the newest entries of a stream, newest first."""
        return self._data.streams.get(stream, _Stream()).entries[::-1][:count]

    async def append(self, stream: str, message: Message) -> str:
        return self._add(stream, tag_of(message), encode(message))

    async def last_id(self, stream: str) -> str:
        return (await self.depth(stream)).last

    async def depth(self, stream: str) -> Depth:
        held = self._data.streams.get(stream, _Stream())
        return Depth(held.added, len(held.entries), f"{held.last[0]}-{held.last[1]}")

    async def trim(self, stream: str, *, retain: int) -> int:
        held = self._data.streams.get(stream, _Stream())
        excess = len(held.entries) - retain
        if excess <= 0 or stream not in self._data.marks:
            return 0
        passed = [
            self._data.marks[stream],
            *(self._passed(name, stream) for name in self._data.readers.get(stream, ())),
        ]
        bound = min(map(id_key, passed))
        return held.drop_oldest(min(excess, sum(key < bound for key in held.keys)))

    def _passed(self, identity: str, stream: str) -> str:
        state = self._data.states.get(identity, {})
        if state.get("stateless") == "1":
            return state.get("jid", FIRST) if stream.startswith("journal.") else state.get(f"pos:{stream}", FIRST)
        return state.get(f"snappos:{stream}", FIRST)

    async def archived(self, marks: Mapping[str, str]) -> None:
        """Save how far the archive has each stream on disk."""
        self._data.marks.update(marks)

    async def lags(self) -> dict[tuple[str, str], int]:
        lags: dict[tuple[str, str], int] = {}
        for stream, readers in self._data.readers.items():
            for identity in readers:
                read = self._data.states[identity].get(f"read:{stream}")
                if read is not None:
                    key = (service_of(identity), stream)
                    added = (await self.depth(stream)).added
                    lags[key] = max(lags.get(key, 0), added - int(read))
        return lags

    # --- trading state and leases

    async def latch(self, state: str, *, reason: str, by: str, person: bool, ts: int) -> Latch:
        now = self._data.latch
        loosens = _RANK[state] < _RANK[now.state if now else "HALTED"]
        held = now is not None and now.state == "REDUCING" and now.by == FEEDS
        lets_go = held and by == FEEDS and state == "ACTIVE"
        takes_over = held and by != FEEDS and state == "REDUCING"
        if (now and now.state == state and not takes_over) or (loosens and not person and not lets_go):
            return now or NEVER_SET
        kind: Any = state
        self._data.latch = Latch(state, reason, by)
        await self.append("control", TradingState(state=kind, reason=reason, by=by, ts_event=ts, ts_init=ts))
        return self._data.latch

    async def trading_state(self) -> Latch | None:
        return self._data.latch

    async def acquire(self, key: str, token: str, ttl_ms: int) -> bool:
        return self._data.keys.setdefault(key, token) == token

    async def extend(self, key: str, token: str, ttl_ms: int) -> bool:
        return self._data.keys.get(key) == token

    async def release(self, key: str, token: str) -> bool:
        held = self._data.keys.get(key) == token
        if held:
            del self._data.keys[key]
        return held

    async def claim_fleet(self, token: str, ttl_ms: int = 10_000) -> None:
        """Make this bus ours.

        Raises
        ------
        OutOfReach
            If another fleet owns it.
        """
        if not await self.acquire("fleet:owner", token, ttl_ms):
            raise OutOfReach(f"this bus belongs to another fleet ({self._data.keys['fleet:owner']})")

    async def release_fleet(self, token: str) -> None:
        """Give this bus back."""
        await self.release("fleet:owner", token)

    # --- what only tests do

    def set_key(self, key: str, value: str) -> None:
        """Set a plain key, as `redis-cli SET mode halt` would."""
        self._data.keys[key] = value

    def expire(self, key: str) -> None:
        """End a lease as its time would."""
        self._data.keys.pop(key, None)

    def lose_oldest(self, stream: str, count: int) -> None:
        """Remove entries that nobody asked to remove."""
        self._stream(stream).drop_oldest(count)

    def damage_snapshot(self, identity: str) -> None:
        """Change one byte of a snapshot."""
        data = self._data.snapshots[identity]
        self._data.snapshots[identity] = data[:-1] + bytes([data[-1] ^ 1])

    def save_point(self) -> object:
        """Return everything as it is now."""
        return copy.deepcopy(self._data)

    def roll_back(self, saved: object) -> None:
        """Be the server that was saved."""
        assert isinstance(saved, _Data)
        self._data = copy.deepcopy(saved)

    def flush(self) -> None:
        """Be an empty server in a new life."""
        self._data = _Data(incarnation=self._data.incarnation + 1)
