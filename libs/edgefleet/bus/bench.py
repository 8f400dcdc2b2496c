"""What a hop costs: entry in, step, atomic commit out; beside the same hop in bare redis-py on the same server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from redis.asyncio import Redis

from edgefleet.bus.interface import FIRST
from edgefleet.bus.link import pool_of
from edgefleet.bus.loop import run_stage
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.clock import NS_PER_S, SYSTEM
from edgefleet.messages import Alert, encode, tag_of
from edgefleet.params.schema import FleetConfig
from edgefleet.stage import Input, Output

_IN, _OUT, _STATE = "bench.in", "bench.out", "bench.state"


class HopCost(NamedTuple):
    """How long entries took from their XADD to the reader behind the hop, in microseconds, and how many a second."""

    p50_us: float
    p99_us: float
    per_second: float


class _NoState(msgspec.Struct):
    pass


class _Forward:
    """The smallest stage: what comes in goes out."""

    service = "bench"
    inputs = (_IN,)
    state_type = _NoState
    schema = 1

    def initial(self) -> _NoState:
        return _NoState()

    def step(self, state: _NoState, entry: Input, config: FleetConfig) -> Sequence[Output]:
        return [Output(_OUT, entry.message)]


class _OneConfig:
    def __init__(self) -> None:
        self.current = FleetConfig()
        self.changed = asyncio.Event()

    def swap(self) -> FleetConfig:
        return self.current

    async def by_hash(self, config_hash: str) -> FleetConfig:
        return self.current


async def bus_hop(url: str, *, entries: int, rate: float) -> HopCost:
    """Return the cost of a stage's hop. The keys `bench*`, `state:bench` and `journal.bench` are overwritten."""
    async with await RedisBus.connect(url) as bus:

        async def hop(stop: asyncio.Event) -> None:
            await run_stage(bus, _Forward(), _OneConfig(), clock=SYSTEM, stop=stop)

        return await _measured(url, hop, entries, rate)


async def bare_hop(url: str, *, entries: int, rate: float) -> HopCost:
    """Return the cost of XREAD, one MULTI of XADD and HSET, with redis-py as it comes; batched as the bus batches."""

    async def hop(stop: asyncio.Event) -> None:
        async with Redis.from_pool(pool_of(url)) as client:
            position: Any = FIRST
            while not stop.is_set():
                found: Any = await client.xread({_IN: position}, count=256, block=200)
                if not found:
                    continue
                async with client.pipeline(transaction=True) as pipe:
                    for entry_id, fields in found[0][1]:
                        pipe.xadd(_OUT, fields)
                        position = entry_id
                    pipe.hset(_STATE, "pos", position)
                    await pipe.execute()

    return await _measured(url, hop, entries, rate)


async def _measured(url: str, hop: Callable[[asyncio.Event], Awaitable[None]], entries: int, rate: float) -> HopCost:
    """Publish `entries` at `rate` a second (0: all at once), read them behind the hop, and time each."""
    async with Redis.from_pool(pool_of(url)) as writer, Redis.from_pool(pool_of(url)) as reader:
        await writer.delete(_IN, _OUT, _STATE, "state:bench", "snapshot:bench", "journal.bench", f"readers:{_IN}")
        stop = asyncio.Event()
        running = asyncio.ensure_future(hop(stop))
        took: list[int] = []
        reading = asyncio.create_task(_read_out(reader, entries, took))
        started = SYSTEM.monotonic_ns()
        await _publish(writer, entries, rate)
        await reading
        elapsed = SYSTEM.monotonic_ns() - started
        stop.set()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    took.sort()
    return HopCost(took[len(took) // 2] / 1e3, took[int(len(took) * 0.99)] / 1e3, entries * NS_PER_S / elapsed)


async def _publish(writer: Redis, entries: int, rate: float) -> None:
    began = SYSTEM.monotonic_ns()
    size = 1 if rate else 200
    for i in range(0, entries, size):
        if rate:
            await asyncio.sleep(max(0.0, (began - SYSTEM.monotonic_ns()) / NS_PER_S + i / rate))
        async with writer.pipeline(transaction=False) as pipe:
            for _ in range(min(size, entries - i)):
                now = SYSTEM.monotonic_ns()
                alert = Alert(name="bench", severity="info", service="bench", text="x", ts_event=now, ts_init=now)
                pipe.xadd(_IN, {"type": tag_of(alert), "data": encode(alert)})
            await pipe.execute()


async def _read_out(reader: Redis, entries: int, took: list[int]) -> None:
    position: Any = FIRST
    decoder = msgspec.json.Decoder(Alert)
    while len(took) < entries:
        found: Any = await reader.xread({_OUT: position}, count=256, block=1_000)
        now = SYSTEM.monotonic_ns()
        for entry_id, fields in found[0][1] if found else ():
            took.append(now - decoder.decode(fields[b"data"]).ts_event)
            position = entry_id
