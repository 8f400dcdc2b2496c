"""What is measured, behind one interface: the whole fleet, and the floor. Knows how to start, feed and read them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import httpx
import msgspec
from redis.asyncio import Redis

from edgefleet.bus.embedded import EmbeddedServer
from edgefleet.bus.interface import FIRST, Entry
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.clock import NS_PER_MS, NS_PER_S, SYSTEM
from edgefleet.errors import Broken
from edgefleet.messages import SESSION_START, Approved, GatewayOutcome, OrderEvent, OrderState, Refused, decode
from edgefleet.params.files import load_fleet
from edgefleet_services.bench import floor
from edgefleet_services.bench.outside import FeedStatus, RunRequest
from edgefleet_services.markets import FleetVenue
from edgefleet_services.opening import open_session, owned
from edgefleet_services.supervisor import FleetOptions, MergedLog, Supervisor, free_port_block

SYMBOL = "BTC/USDT"
LEAN = ("ingestion", "alpha", "router", "risk", "executor", "monitor", "params")
_FIRST_PORT = 18_001
_WARM_RATE, _WARM_S, _WARM_ORDERS = 200.0, 60.0, 5
_SETTLE_S = 5.0
_LOOK_S = 0.02
_PAGE = 5_000


class Block(NamedTuple):
    """What came of one run of the feed."""

    latencies_ms: tuple[float, ...]  # frame received to order sent, of every order
    flips: int  # orders that the feed asked for


class Rig(Protocol):
    """A way from frames to orders."""

    outside: Outside

    async def lag(self) -> int:
        """Return how many events that are due have not come through yet."""
        ...

    async def latencies(self) -> tuple[float, ...]:
        """Return milliseconds from frame to order of the orders since the last call."""
        ...


@dataclass(frozen=True, slots=True)
class Outside:
    """The venue of one rig, as the one who feeds it sees it."""

    url: str
    client: httpx.AsyncClient
    process: asyncio.subprocess.Process

    async def status(self) -> FeedStatus:
        """Return how far the feed is."""
        answer = await self.client.get(f"{self.url}/bench/status")
        return msgspec.json.decode(answer.content, type=FeedStatus)

    async def run(self, count: int, rate: float) -> None:
        """Begin to send `count` frames at `rate` a second."""
        await self.client.post(f"{self.url}/bench/run", content=msgspec.json.encode(RunRequest(count, rate)))

    async def until_idle(self, sure_s: float = 0.0) -> FeedStatus:
        """Return the feed's state once its run is over, asking only after the `sure_s` that it takes at least."""
        await asyncio.sleep(sure_s)
        while (status := await self.status()).busy:  # noqa: ASYNC110 - another process feeds
            await asyncio.sleep(_LOOK_S)
        return status


@asynccontextmanager
async def outside_venue(folder: Path, tape: tuple[Path, ...]) -> AsyncIterator[Outside]:
    """Give a venue of one's own, in its own process."""
    folder.mkdir(parents=True)
    port_file = folder / "port"
    arguments = [part for path in tape for part in ("--tape", str(path))]
    process = await _spawn("outside", "--port-file", str(port_file), *arguments, log=folder / "venue.log")
    try:
        while not port_file.exists():
            if process.returncode is not None:
                raise Broken(f"the benchmark's venue ended with code {process.returncode}; see {folder}/venue.log")
            await asyncio.sleep(_LOOK_S)
        async with httpx.AsyncClient(timeout=30.0) as client:
            yield Outside(f"http://127.0.0.1:{port_file.read_text()}", client, process)
    finally:
        await _end(process)


async def block(rig: Rig, count: int, rate: float) -> Block:
    """Feed `count` events at `rate` and return what came of them, once all has come through."""
    await rig.latencies()
    before = (await rig.outside.status()).flips
    await rig.outside.run(count, rate)
    after = await rig.outside.until_idle(count / rate)
    deadline = SYSTEM.monotonic_ns() + int(_SETTLE_S * NS_PER_S)
    while await rig.lag() > 0 and SYSTEM.monotonic_ns() < deadline:  # noqa: ASYNC110 - other processes work it off
        await asyncio.sleep(_LOOK_S)
    await asyncio.sleep(0.2)  # the last order's own way, behind the last event
    return Block(await rig.latencies(), after.flips - before)


async def warm(rig: Rig) -> None:
    """Feed until orders come.

    Raises
    ------
    Broken
        If none come.
    """
    deadline = SYSTEM.monotonic_ns() + int(_WARM_S * NS_PER_S)
    orders = 0
    while orders < _WARM_ORDERS:
        if SYSTEM.monotonic_ns() > deadline:
            raise Broken(f"no order came in {_WARM_S:g} s of the benchmark's warm-up: {await _why_not(rig)}")
        orders += len((await block(rig, int(_WARM_RATE * 4), _WARM_RATE)).latencies_ms)


async def _why_not(rig: Rig) -> str:
    if not isinstance(rig, FleetRig):
        return "the floor's processes say nothing"
    entries = await rig.bus.newest("refusals", 3)
    told = [decode(entry.type, entry.data) for entry in entries]
    return "; ".join(f"{one.by} {one.reason} {one.detail}" for one in told if isinstance(one, Refused)) or "no refusal"


# --- the fleet


class FleetRig:
    """The whole fleet, as `edgefleet up` starts it, on a venue from outside."""

    def __init__(self, outside: Outside, bus: RedisBus, supervisor: Supervisor, server: EmbeddedServer) -> None:
        self.outside = outside
        self.bus = bus
        self.supervisor = supervisor
        self.server = server
        self._read = {"targets": FIRST, "orders": FIRST, "venue.events": FIRST}
        self._came: dict[str, int] = {}  # by target: when its frame was received, wall ns
        self._aimed: dict[str, str] = {}  # by order: its target
        self._before = 0  # market messages before the run

    async def lag(self) -> int:
        status = await self.outside.status()
        came = (await self.bus.depth("market")).added - self._before
        lags = await self.bus.lags()
        inside = max((lag for (service, _), lag in lags.items() if service != "monitor"), default=0)
        return inside + (max(0, status.due - came) if status.busy else 0)

    async def latencies(self) -> tuple[float, ...]:
        for entry in await self._new("targets"):
            message = decode(entry.type, entry.data)
            if isinstance(message, Approved):
                self._came[message.target_id] = message.ts_init
        for entry in await self._new("orders"):
            message = decode(entry.type, entry.data)
            if isinstance(message, OrderEvent) and message.state is OrderState.PENDING_NEW:
                self._aimed[message.order_id] = message.target_id
        found = []
        for entry in await self._new("venue.events"):
            message = decode(entry.type, entry.data)
            if isinstance(message, GatewayOutcome) and message.command == "new" and message.sent_at is not None:
                found.append((message.sent_at - self._came[self._aimed[message.order_id]]) / NS_PER_MS)
        self._before = (await self.bus.depth("market")).added
        return tuple(found)

    async def _new(self, stream: str) -> list[Entry]:
        found: list[Entry] = []
        while True:
            page = await self.bus.span(stream, f"({self._read[stream]}", "+", count=_PAGE)
            found += page
            if page:
                self._read[stream] = page[-1].id
            if len(page) < _PAGE:
                return found

    def resident_mb(self) -> dict[str, float]:
        """Return each service's resident memory."""
        return {name: resident_mb(pid) for name in (*LEAN, "ledger") if (pid := self.supervisor.pid(name)) is not None}


@asynccontextmanager
async def fleet_rig(folder: Path, conf: Path, tape: tuple[Path, ...]) -> AsyncIterator[FleetRig]:
    """Give a running fleet."""
    folder.mkdir(parents=True)
    config = load_fleet(conf)
    async with AsyncExitStack() as stack:
        outside = await stack.enter_async_context(outside_venue(folder / "venue", tape))
        server = await asyncio.to_thread(EmbeddedServer.start, folder / "redis", 0)
        stack.push_async_callback(asyncio.to_thread, server.stop)
        bus = await RedisBus.connect(server.url)
        stack.push_async_callback(bus.close)
        options = FleetOptions(
            mode="demo",
            venues=(FleetVenue(name="sim", symbols=(SYMBOL,), url=outside.url),),
            conf_dir=conf,
            data_dir=folder,
            redis_url=server.url,
            port=free_port_block(_FIRST_PORT),
            session="bench",
            account=config.fleet.account,
        )
        log = MergedLog(folder / "fleet.jsonl", console_level="critical", console=_say)
        stack.callback(log.close)
        await stack.enter_async_context(owned(bus, "bench"))
        await open_session(
            bus,
            session="bench",
            mode="demo",
            account=config.fleet.account,
            instruments=options.instruments,
            by=SESSION_START,
            now=SYSTEM.wall_ns(),
        )
        supervisor = Supervisor(options, log)
        stack.push_async_callback(supervisor.stop)
        await supervisor.start()
        yield FleetRig(outside, bus, supervisor, server)


# --- the floor


class FloorRig:
    """Bare redis-py hops, as many as the fleet's."""

    def __init__(self, outside: Outside, redis: Redis) -> None:
        self.outside = outside
        self._redis = redis
        self._read: Any = FIRST
        self._before = 0

    async def lag(self) -> int:
        status = await self.outside.status()
        came, done = await self._count("source"), await self._count("risk")
        return max(0, status.due - (done - self._before)) if status.busy else came - done

    async def _count(self, role: str) -> int:
        return int(await self._redis.hget(floor.STATE.format(role), "n") or 0)

    async def latencies(self) -> tuple[float, ...]:
        found = []
        entries: Any = await self._redis.xrange(floor.SENT, f"({self._read}" if self._read != FIRST else "-", "+")
        for entry_id, fields in entries:
            self._read = entry_id.decode()
            found.append((int(fields[b"sent"]) - int(fields[b"t"])) / NS_PER_MS)
        self._before = await self._count("risk")
        return tuple(found)


@asynccontextmanager
async def floor_rig(folder: Path, tape: tuple[Path, ...]) -> AsyncIterator[FloorRig]:
    """Give the floor, running: on a Redis of its own that is configured as the fleet's."""
    folder.mkdir(parents=True)
    async with AsyncExitStack() as stack:
        outside = await stack.enter_async_context(outside_venue(folder / "venue", tape))
        server = await asyncio.to_thread(EmbeddedServer.start, folder / "redis", 0)
        stack.push_async_callback(asyncio.to_thread, server.stop)
        for role in floor.ROLES:
            arguments = ("--redis-url", server.url, "--venue", outside.url, "--journal", str(folder / "intents"))
            process = await _spawn("floor", role, *arguments, log=folder / f"{role}.log")
            stack.push_async_callback(_end, process)
        client = Redis.from_url(server.url)
        stack.push_async_callback(client.aclose)
        yield FloorRig(outside, client)


# --- processes


async def _spawn(module: str, *arguments: str, log: Path) -> asyncio.subprocess.Process:
    with log.open("wb") as told:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"edgefleet_services.bench.{module}",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            env={**os.environ, "EDGEFLEET_PARENT": str(os.getpid())},
            start_new_session=True,
        )


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 5.0)
        except TimeoutError:
            process.kill()
            await process.wait()


def resident_mb(pid: int) -> float:
    """Return a process's resident memory in MB (10^6 bytes), shared pages included; 0 where it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
