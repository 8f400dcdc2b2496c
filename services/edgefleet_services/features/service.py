"""The features' process: the market, its features and its bars to files and, as of now, to Redis.

Nothing waits for it: it commits to no stream, runs behind the way of an order, and reads from the ledger's files what
was trimmed while it was late or away.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from edgefleet.bus.interface import id_key
from edgefleet.clock import NS_PER_MS, NS_PER_S
from edgefleet.errors import FleetError, Transient
from edgefleet.params.schema import FleetConfig
from edgefleet_services.bootstrap import ServiceContext, service_context
from edgefleet_services.features.follower import Follower, News, Places
from edgefleet_services.features.keepers import made_alike
from edgefleet_services.features.nightly import Nightly
from edgefleet_services.features.nights import market_directory
from edgefleet_services.features.online import Online
from edgefleet_services.options import ServiceOptions

NAME = "features"
LINGER_S = 0.25  # nobody waits for a row, so entries may gather
RETRY_S = 1.0
REST_S = 1.0  # how long it looks away where it is told to keep nothing
PUBLISH_EVERY_NS = NS_PER_S  # while it catches up
DRAIN_S = 12.0  # at a stop, before the supervisor loses patience; what is left the next start takes
ALIVE_WITHIN_MS = 15_000
TIDY_EVERY_S = 3_600.0
TIDY_FILES = 60  # of a partition; a commit makes one each

T = TypeVar("T")


async def serve(options: ServiceOptions) -> None:
    """Keep the market until told to stop, then until nothing is left of it."""
    async with service_context(NAME, options) as context:
        tidying = asyncio.create_task(_tidy(context))
        try:
            await Keeping(context).run()
        finally:
            tidying.cancel()


class Keeping:
    """Followers one after the other, each for as long as it can go on."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        options = context.options
        self._places = Places(options.data_dir, options.redis_url, market_directory(options.data_dir))
        # One thread: a follower is asked by one caller at a time, and memory that others gave back is not held apart.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="follower")
        self._read_at = context.clock.monotonic_ns()  # when the stream answered last
        self._published_at = 0
        self._caught_up = False  # the last turn left nothing to take
        self._nightly = Nightly(context, self._places.out)

    @property
    def _config(self) -> FleetConfig:
        return self._context.configs.current

    async def run(self) -> None:
        """Keep the market until told to stop; a disk that takes no more is waited for, as is a Redis that is away."""
        try:
            await self._run()
        finally:
            await self._nightly.close()

    async def _run(self) -> None:
        stop = self._context.stop
        while not stop.is_set():
            if not self._config.fleet.keep_features:
                self._alive()
                await _pause(stop, REST_S)
                continue
            try:
                await self._keep(self._config)
            except (FleetError, OSError) as error:
                self._context.log.warning("features_wait", error=str(error))
                await _pause(stop, RETRY_S)

    async def _keep(self, config: FleetConfig) -> None:
        """Follow under one configuration, until another one asks for something else."""
        follower = await self._in_thread(Follower, self._places, config, self._context.clock)
        try:
            self._context.log.info("features_follow", set=follower.features.label, out=str(self._places.out))
            for what in follower.begun_anew:
                self._context.log.warning("features_begin_anew", what=what)
            online = Online(self._context.bus.redis, follower.features, follower.newest_bars)
            await self._follow(follower, online, config)
            await self._in_thread(follower.close)
        finally:
            follower.abandon()

    async def _follow(self, follower: Follower, online: Online, config: FleetConfig) -> None:
        deadline: int | None = None
        while True:
            stopping = self._context.stop.is_set()
            now = self._context.clock.monotonic_ns()
            if stopping and deadline is None:
                deadline = now + int(DRAIN_S * NS_PER_S)
            more = await self._turn(follower, online)
            if stopping and (not more or now > (deadline or 0)):
                return
            if not (self._config.fleet.keep_features and made_alike(self._config, config)):
                return
            await self._look_at_the_night(follower)
            await _pause(self._context.stop, 0 if more else LINGER_S)

    async def _look_at_the_night(self, follower: Follower) -> None:
        if self._caught_up:  # else Redis may be away
            await self._nightly.tell()
        night = self._nightly.due(follower.time, caught_up=self._caught_up)
        if night is not None and not self._context.stop.is_set():
            await self._in_thread(follower.settle)  # the day's last bars are on the disk before they are read there
            self._nightly.start(night)

    async def _turn(self, follower: Follower, online: Online) -> bool:
        """Take what is new, say it, and return whether there may be more; a Redis that is away has no more."""
        self._caught_up = False
        try:
            news = await self._in_thread(follower.turn)
            self._caught_up = not news.more
            self._measure(news)
            online.add(news)
            now = self._context.clock.monotonic_ns()
            if not news.more or now - self._published_at >= PUBLISH_EVERY_NS:
                await online.publish()
                self._published_at = now
            self._alive()
            return news.more
        except Transient as error:
            away = self._context.clock.monotonic_ns() - self._read_at
            self._context.metrics.features_lag.set(away / NS_PER_S)
            self._context.log.warning("features_wait", error=str(error))
            await _pause(self._context.stop, RETRY_S)
            return False

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _measure(self, news: News) -> None:
        metrics, clock = self._context.metrics, self._context.clock
        self._read_at = clock.monotonic_ns()
        late_ms = clock.wall_ns() // NS_PER_MS - id_key(news.last_id)[0] if news.more else 0
        metrics.features_lag.set(max(0, late_ms) / 1_000)
        for tag, count in news.tags.items():
            metrics.messages.labels(NAME, tag).inc(count)
        for what, count in news.kept.items():
            metrics.features_kept.labels(what).inc(count)
        for reason, count in news.refused.items():
            metrics.features_refused.labels(reason).inc(count)

    def _alive(self) -> None:
        self._context.health.beat("market", within_ms=ALIVE_WITHIN_MS)


async def _tidy(context: ServiceContext) -> None:
    """Merge the small files that commits leave, now and then; by a process that takes its memory away with it."""
    out = market_directory(context.options.data_dir)
    command = [sys.executable, "-m", "edgefleet_services.cli.main", "data", "compact", str(out)]
    while True:
        await asyncio.sleep(TIDY_EVERY_S)
        process = await asyncio.create_subprocess_exec(
            *command, "--least-files", str(TIDY_FILES), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            _, words = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode != 0:
            said = words.decode(errors="replace").strip()
            context.log.warning("features_untidy", code=process.returncode, error=said)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    if seconds <= 0 or stop.is_set():
        await asyncio.sleep(0)
        return
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
