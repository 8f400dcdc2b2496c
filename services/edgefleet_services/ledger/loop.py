"""The ledger's loop: read, book in the database, commit to the bus. No arithmetic, no SQL.

The database comes first: a batch is a fact once its transaction is through, and the bus commit behind it only moves
the gauge, the journal and what may be trimmed. A kill between the two is healed by the next start, which reads from
the older of both positions, books what the database lacks and commits what the bus lacks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import msgspec
from redis.exceptions import RedisError

from edgefleet.bus.interface import Answer, CommitRequest, Entry, Record, encode_outputs, id_key
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.clock import NS_PER_MS, Clock
from edgefleet.errors import Broken, Fenced, OutOfReach, Transient
from edgefleet.ledger.books import Statement
from edgefleet.ledger.stage import LedgerStage
from edgefleet.params.schema import FleetConfig
from edgefleet.stage import Output
from edgefleet.store.books import Bookkeeper, following
from edgefleet.telemetry.logs import Logger

BATCH = 256  # of unreadable entries a commit holds no more
BLOCK_MS = 500
LINGER_S = 0.5  # nothing waits for the ledger, so it lets batches grow: a transaction costs as much as fifty rows
SHOW_EVERY_NS = 250 * NS_PER_MS
RETRY_S = 0.5
TOGETHER = "ledger:together"  # all accounts of the session as one

T = TypeVar("T")


class Configs(Protocol):
    """The configuration, swapped between two commits."""

    @property
    def current(self) -> FleetConfig: ...
    @property
    def changed(self) -> asyncio.Event: ...
    def swap(self) -> FleetConfig: ...


class BooksLoop:
    """Keeps the books of one fleet until it is told to stop."""

    def __init__(self, bus: RedisBus, keeper: Bookkeeper, configs: Configs, clock: Clock, log: Logger) -> None:
        self._bus, self._keeper, self._configs, self._clock, self._log = bus, keeper, configs, clock, log
        self._stage = LedgerStage()
        # One thread: the database is asked by one caller at a time and the loop stays free meanwhile.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="books")
        self._record: Record | None = None
        self._booking = asyncio.Lock()  # held from the first row of a batch to the answer of its commit
        self._shown_at = 0
        self.on_pass: Callable[[], None] = lambda: None

    async def run(self, stop: asyncio.Event) -> None:
        """Book until `stop` is set, then until nothing is left to book.

        Raises
        ------
        Fenced
            If another ledger has taken over.
        Broken
            If an entry that carries a fact cannot be read; trading is halted before this is raised.
        """
        swapping = asyncio.create_task(self._swap())
        try:
            while True:
                stopping = stop.is_set()
                try:
                    most = await self.turn()
                except (Transient, OutOfReach) as error:
                    self._log.warning("ledger_waits", error=str(error))
                    self._record = None  # what was booked and what was committed must both be read again
                    if stopping:
                        return
                    await _pause(stop, RETRY_S)
                    continue
                self.on_pass()
                if stopping and not most:
                    return
                await _pause(stop, 0 if stopping or most >= BATCH else LINGER_S)
        except Broken as error:
            # Trading on books that cannot be kept is trading blind.
            await self._bus.latch(
                "HALTED", reason=f"ledger: {error}", by="ledger", person=False, ts=self._clock.wall_ns()
            )
            raise
        finally:
            swapping.cancel()
            await self._show(always=True)
            self._thread.shutdown()

    async def turn(self) -> int:
        """Read once, book and commit what came; return how many entries came of the stream that had most."""
        record = self._record or await self._take_over()
        starts = {
            stream: min(record.positions[stream], self._keeper.position(stream), key=id_key)
            for stream in self._stage.inputs
        }
        found = await self._bus.read(starts, count=BATCH, block_ms=BLOCK_MS)
        for stream in self._stage.inputs:
            entries = found.get(stream, [])
            if entries:
                async with self._booking:
                    outputs = await self._in_thread(self._keeper.book, stream, entries, self._configs.current)
                    await self._commit(record, stream, entries, outputs)
        await self._show(always=False)
        return max(map(len, found.values()), default=0)

    async def _swap(self) -> None:
        """Take a new configuration between two commits, also while there is nothing to book."""
        while True:
            await self._configs.changed.wait()
            async with self._booking:
                self._configs.swap()

    async def _take_over(self) -> Record:
        await self._in_thread(self._keeper.open)
        self._record = await self._bus.claim("ledger", "ledger", self._stage.inputs, snapshots=False)
        return self._record

    async def _commit(self, record: Record, stream: str, entries: list[Entry], outputs: list[Output]) -> None:
        behind = following(entries, record.positions[stream])
        if not behind:
            return
        result = await self._bus.commit(
            CommitRequest(
                identity="ledger",
                epoch=record.epoch,
                input=stream,
                expected=record.positions[stream],
                first=behind[0].id,
                last=behind[-1].id,
                count=len(behind),
                config=self._configs.current.hash,
                outputs=encode_outputs(outputs),
            )
        )
        if result.answer is Answer.FENCED:
            raise Fenced("another ledger has taken over")
        if result.answer is not Answer.OK:
            raise Transient(f"commit of {stream} up to {behind[-1].id} was answered {result.answer}")
        record.positions[stream] = behind[-1].id

    async def _show(self, *, always: bool) -> None:
        """Write the statements where the monitor reads them: a copy of the books, never a second truth."""
        now = self._clock.monotonic_ns()
        if not always and now - self._shown_at < SHOW_EVERY_NS:
            return
        self._shown_at = now
        lines = {books_key(line): msgspec.json.encode(line) for line in self._keeper.statements()}
        whole = self._keeper.together()
        if whole is not None:
            lines[TOGETHER] = msgspec.json.encode(whole)
        try:
            for key, body in lines.items():
                await self._bus.redis.set(key, body)
        except RedisError as error:
            self._log.warning("ledger_not_shown", error=str(error))

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)


def books_key(line: Statement) -> str:
    """Return the Redis key that holds the newest statement of an account as JSON."""
    return f"ledger:books:{line.account}@{line.venue}"


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    if seconds <= 0 or stop.is_set():
        await asyncio.sleep(0)
        return
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
