"""One session of the whole fleet in local processes, from the first check to the report.

Knows the order of things: checks, Redis, session, services, the end of the tape, the books, the report.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import httpx

from edgefleet.bus.embedded import EmbeddedServer
from edgefleet.bus.interface import FIRST
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.clock import NS_PER_S, SYSTEM
from edgefleet.errors import Broken, FleetError, Misuse, OutOfReach, Transient
from edgefleet.messages import SESSION_START
from edgefleet.venues.binance.rest import BinanceVenue
from edgefleet.venues.interface import AccountReport, TradeReport, Venue
from edgefleet_services.markets import FleetVenue
from edgefleet_services.opening import open_session, owned
from edgefleet_services.options import simulated_keys
from edgefleet_services.supervisor import FleetOptions, MergedLog, Supervisor

SETTLED_LOOKS = 3  # so many looks in a row must find nothing left to do
LOOK_EVERY_S = 0.25
REDIS_PATIENCE_S = 30.0  # a Redis that is away for longer ends the session


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How long a session lasts, and how it tells its progress."""

    duration_s: float | None = None
    until_end: bool = False
    progress: Callable[[str], None] = lambda text: None


class Books(NamedTuple):
    """A venue's own word on an account and its trades."""

    account: AccountReport
    trades: tuple[TradeReport, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """What is known when a session has ended and its Redis still answers."""

    options: FleetOptions
    started_ns: int
    ended_ns: int
    restarts: dict[str, int]
    books: dict[str, Books]  # by venue: of those that are simulated and answered
    lags: dict[tuple[str, str], int]
    interrupted: bool
    first_fill_s: float | None


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that stop a fleet in order; a hang-up is none of them under nohup."""
    hung_up = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    return (signal.SIGINT, signal.SIGTERM, *hung_up)


@contextmanager
def data_directory(path: Path) -> Iterator[Path]:
    """Hold a data directory for one fleet.

    Raises
    ------
    Misuse
        If it cannot be written, or another fleet has it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock: IO[str] = (path / ".fleet.lock").open("a+")
    except OSError as error:
        raise Misuse(
            f"data directory {path} cannot be written ({error.strerror}); name another with --data-dir"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "another process"
            raise Misuse(
                f"data directory {path} is in use by {owner}; stop that fleet or name another --data-dir"
            ) from None
        lock.seek(0)
        lock.truncate()
        lock.write(f"edgefleet up, pid {os.getpid()}")
        lock.flush()
        yield path


@asynccontextmanager
async def redis_server(url: str | None, data_dir: Path, say: Callable[[str], None]) -> AsyncIterator[str]:
    """Give the address of a Redis: the one named, else an embedded one that lives as long as this block.

    An embedded one that dies is started again on its data and its port.
    """
    if url is not None:
        yield url
        return
    embedded = _Embedded(await _started(data_dir / "redis"), say)
    say(f"Redis      embedded ({embedded.server.kind}), redis-cli -p {embedded.server.port}")
    keeping = asyncio.create_task(embedded.keep())
    try:
        yield embedded.server.url
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping
        await asyncio.to_thread(embedded.server.stop)


async def _started(data_dir: Path, port: int | None = None) -> EmbeddedServer:
    """Return a server that answers; one whose start was interrupted is not left behind."""
    starting = asyncio.create_task(asyncio.to_thread(EmbeddedServer.start, data_dir, port))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with contextlib.suppress(FleetError):
            await asyncio.to_thread((await starting).stop)
        raise


class _Embedded:
    """The embedded server there is now."""

    def __init__(self, server: EmbeddedServer, say: Callable[[str], None]) -> None:
        self.server = server
        self._say = say

    async def keep(self) -> None:
        """Start the server again whenever it has ended; give up where it cannot be."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self.server.is_running():
                continue
            self._say("Redis      ended by itself; nothing is sent without it; it is started again on its data")
            dead = self.server
            dead.stop()
            try:
                self.server = await _started(dead.data_dir, dead.port)
            except FleetError as error:
                self._say(f"Redis      cannot be started again: {error}")
                return
            self._say(f"Redis      answers again, redis-cli -p {self.server.port}")


class FleetRun:
    """One session: `run` starts everything, waits for its end and stops everything but Redis."""

    def __init__(self, options: FleetOptions, run: RunOptions, log: MergedLog) -> None:
        self.options = options
        self.run_options = run
        self.log = log
        self.supervisor = Supervisor(options, log)
        self.interrupted = asyncio.Event()
        self._fills_before = FIRST
        self._first_fill_s: float | None = None
        self._lags: dict[tuple[str, str], int] = {}

    async def run(self, bus: RedisBus) -> Finished:
        """Return what is known at the end of the session.

        Raises
        ------
        OutOfReach
            If another fleet owns this Redis.
        FleetError
            If a service cannot be started.
        """
        started_ns = SYSTEM.wall_ns()
        options = self.options
        self._fills_before = await bus.last_id("fills")
        async with owned(bus, options.session):
            await open_session(
                bus,
                session=options.session,
                mode=options.mode,
                account=options.account,
                instruments=options.instruments,
                by=SESSION_START,
                now=started_ns,
            )
            loop = asyncio.get_running_loop()
            for signum in stop_signals():
                loop.add_signal_handler(signum, self.interrupted.set)
            books = {}
            try:
                await self._unless_interrupted(self.supervisor.start())
                if not self.interrupted.is_set():
                    self.run_options.progress(f"all services are healthy after {_since(started_ns):.1f} s")
                    await self._until_over(bus, started_ns)
            finally:
                self.run_options.progress("stopping the services in order")
                with contextlib.suppress(Transient):
                    self._lags = await bus.lags()
                await self.supervisor.stop(("ingestion", "alpha", "router", "risk", "executor"))
                books = await venue_books(self.options)
                await self.supervisor.stop()
        return Finished(
            options=self.options,
            started_ns=started_ns,
            ended_ns=SYSTEM.wall_ns(),
            restarts=self.supervisor.restarts,
            books=books,
            lags=self._lags,
            interrupted=self.interrupted.is_set(),
            first_fill_s=self._first_fill_s,
        )

    async def _unless_interrupted(self, starting: Any) -> None:
        task = asyncio.ensure_future(starting)
        interrupted = asyncio.create_task(self.interrupted.wait())
        await asyncio.wait({task, interrupted}, return_when=asyncio.FIRST_COMPLETED)
        interrupted.cancel()
        if not task.done():
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _until_over(self, bus: RedisBus, started_ns: int) -> None:
        deadline = self.run_options.duration_s
        settled, told, answered_ns = 0, -1, SYSTEM.monotonic_ns()
        while not self.interrupted.is_set():
            if self.supervisor.failed.is_set():
                raise Broken(self.supervisor.failure)
            if deadline is not None and _since(started_ns) >= deadline:
                return
            try:
                await self._tell_first_fill(bus, started_ns)
                if self.run_options.until_end:
                    told = await self._tell_tape(told)
                    settled = settled + 1 if await self._is_drained(bus) else 0
                    if settled >= SETTLED_LOOKS:
                        return
                answered_ns = SYSTEM.monotonic_ns()
            except Transient as error:
                if SYSTEM.monotonic_ns() - answered_ns > REDIS_PATIENCE_S * NS_PER_S:
                    raise OutOfReach(f"{error}; away for {REDIS_PATIENCE_S:.0f} s, the session ends") from error
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.interrupted.wait(), LOOK_EVERY_S)

    async def _tell_first_fill(self, bus: RedisBus, started_ns: int) -> None:
        if self._first_fill_s is not None:
            return
        recent = await bus.span("fills", f"({self._fills_before}", "+", count=100)
        if any(entry.type == "fill.v1" for entry in recent):
            self._first_fill_s = _since(started_ns)
            self.run_options.progress(f"first fill {self._first_fill_s:.1f} s after the start")

    async def _tell_tape(self, told: int) -> int:
        """Tell how far the tapes are, once a tenth of what all of them hold."""
        found = [await _venue_get(f"{venue.url}/sim/status") for venue in self.options.venues if venue.plays_tape]
        states = [status for status in found if status is not None]
        total = sum(status.get("lines_total") or 0 for status in states)
        served = sum(status.get("lines_served") or 0 for status in states)
        tenth = served * 10 // total if total else told
        if tenth != told and total:
            self.run_options.progress(f"tape {tenth * 10:3d} %  {served} of {total} lines")
        return tenth

    async def _is_drained(self, bus: RedisBus) -> bool:
        record = await bus.load("ingestion", ())
        if record.fields.get("ended") != "1":
            return False
        return all(lag == 0 for lag in (await bus.lags()).values())


async def _venue_get(url: str) -> dict[str, Any] | None:
    try:
        async with httpx.AsyncClient(timeout=5.0) as client:
            answer = await client.get(url)
    except httpx.HTTPError:
        return None
    body = answer.json()
    return body if isinstance(body, dict) else None


async def venue_books(options: FleetOptions) -> dict[str, Books]:
    """Return, by venue, its own word on the account and its trades; of those alone that are simulated and answer."""
    books = {}
    for one in options.venues:
        found = None if one.url is None else await _books(one, one.url)
        if found is not None:
            books[one.name] = found
    return books


async def _books(of: FleetVenue, url: str) -> Books | None:
    venue = _adapter(of, url)
    try:
        account = await venue.account()
        # Whatever comes after an id that no trade has: all there are.
        trades = [await venue.trades_since(instrument, "-1") for instrument in of.instruments]
    except (OutOfReach, Transient):
        return None
    finally:
        await venue.close()
    return Books(account, tuple(trade for found in trades for trade in found))


def _adapter(of: FleetVenue, url: str) -> Venue:
    key, secret = simulated_keys()
    stream_url = url.replace("http", "ws", 1)
    if of.dialect == "alpaca":
        from edgefleet.venues.alpaca.rest import AlpacaVenue

        return AlpacaVenue(
            name=of.name,
            rest_url=url,
            stream_url=stream_url,
            key=key,
            secret=secret,
            symbols=of.symbols,
            timeout_ms=5_000,
        )
    return BinanceVenue(
        name=of.name,
        rest_url=url,
        stream_url=stream_url,
        key=key,
        secret=secret,
        symbols=of.symbols,
        recv_window_ms=5_000,
        timeout_ms=5_000,
    )


def _since(started_ns: int) -> float:
    return (SYSTEM.wall_ns() - started_ns) / NS_PER_S
