"""How many market events one core brings from a venue's bytes into Redis: feed, encoding, commit and the server's work.

The processor time of both processes is added up, so the figure is that of one core whatever the machine has.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from redis.asyncio import Redis

from edgefleet.bus.embedded import EmbeddedServer
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.bus.source import Source
from edgefleet.params.schema.quality import QualityParams
from edgefleet.stage import Output
from edgefleet.venues.binance.feed import BinanceFeed
from edgefleet.venues.tape import TapeLine

_FRAMES = 256  # between two commits, as ingestion has them when it is behind


class Published(NamedTuple):
    """What became of the frames, and what it took."""

    events: int
    ours_s: float  # processor time of feed, encoding and commit
    server_s: float

    @property
    def per_core_s(self) -> float:
        """Return events a second of one core that does all of it."""
        return self.events / (self.ours_s + self.server_s)


async def publish(lines: Sequence[TapeLine]) -> Published:
    """Take frames of BTC/USDT through a feed with its checks into the streams of a Redis server of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="edgefleet-bench-") as folder,
        EmbeddedServer.start(Path(folder), 0) as server,
    ):
        async with await RedisBus.connect(server.url) as bus:
            source = Source(bus, "ingestion", "ingestion:0", "sim")
            await source.claim()
            feed = BinanceFeed("sim", ["BTC/USDT"])
            feed.set_quality(QualityParams())
            served, started = await _server_s(bus.redis), time.process_time_ns()
            for outputs in _batches(feed, lines):
                await source.commit(outputs, config="bench")
            ours_s = (time.process_time_ns() - started) / 1e9
            served = await _server_s(bus.redis) - served
            events = int(await bus.redis.xlen("market"))
        return Published(events, ours_s, served)


def _batches(feed: BinanceFeed, lines: Sequence[TapeLine]) -> Iterator[list[Output]]:
    outputs: list[Output] = []
    for number, line in enumerate(lines, start=1):
        outputs += feed.on_line(line.stamp_ns, line.body, line.stamp_ns)
        if number % _FRAMES == 0:
            yield outputs
            outputs = []
    yield outputs


async def _server_s(redis: Redis) -> float:
    info = await redis.info("cpu")
    return float(info["used_cpu_sys"]) + float(info["used_cpu_user"])
