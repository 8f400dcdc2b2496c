"""`edgefleet data record`: a venue's live market to an archive and, raw, to a tape. The fleet's own feed, no fleet."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from edgefleet.clock import NS_PER_S, SYSTEM, Clock
from edgefleet.errors import Misuse
from edgefleet.instruments import Instrument, canonical_symbol
from edgefleet.params.files import load_fleet
from edgefleet.params.schema import FleetConfig
from edgefleet.params.schema.venues import VenueParams
from edgefleet.stage import Output
from edgefleet.store.market.archive import MarketArchive
from edgefleet.store.partitions import writer_name
from edgefleet.store.recorder import Recorder, RecorderCounts
from edgefleet.store.recorder_thread import RecorderThread
from edgefleet.telemetry.health import Health
from edgefleet.venues.connection import stream_base
from edgefleet.venues.dialect import FeedOptions, dialect
from edgefleet_services.ingestion.follower import FeedPlan, Follower
from edgefleet_services.options import feed_keys

_TURN_S = 0.5
_TELL_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordOptions:
    """What to record, and where to."""

    venue: str  # of conf/venues, else a dialect's name
    symbols: tuple[str, ...]
    out: Path
    conf_dir: Path
    venue_url: str | None = None  # replaces the configured address
    duration_s: float | None = None
    keep_frames: bool = True  # beside the archive, in `tapes/`


class _Host:
    """What a feed needs to live: no Redis, no fleet, and a recorder where ingestion has a stream."""

    def __init__(self, config: FleetConfig, recorder: RecorderThread) -> None:
        self.clock: Clock = SYSTEM
        self.log = structlog.get_logger()
        self.health = Health("recorder")
        self.stop = asyncio.Event()
        self.config = config
        self.recorder = recorder
        self._never = asyncio.Event()

    @property
    def pressed(self) -> Awaitable[None] | None:
        return None

    def config_waits(self) -> bool:
        return False

    async def config_change(self) -> None:
        await self._never.wait()

    async def say(self, follower: Follower, outputs: list[Output], *, ended: bool = False) -> None:
        for notice in follower.feed.take_notices():
            self.log.warning("feed_notice", text=notice)
        self.recorder.take(outputs)
        if ended:
            self.stop.set()

    async def learn(self, venue: str, listed: list[Instrument]) -> None:
        """A listing is looked at, and kept nowhere."""

    def clock_offset(self, venue: str, offset_ns: int) -> None:
        self.log.info("clock_offset", venue=venue, seconds=round(offset_ns / NS_PER_S, 4))


async def record(options: RecordOptions, say: Callable[[str], None]) -> int:
    """Record until the time is over, a tape has ended, or SIGINT or SIGTERM comes; return how many messages are kept.

    Raises
    ------
    Misuse
        If the venue or a symbol is unknown, or the directory cannot be written.
    OutOfReach
        If the venue refuses, or the disk takes no more.
    """
    plan, config = _plan(options)

    def make() -> Recorder:
        tapes = options.out / "tapes" if options.keep_frames else None
        return Recorder(MarketArchive(options.out), writer_name(f"record_{options.venue}"), SYSTEM, tape_dir=tapes)

    with RecorderThread(make) as recorder:
        counts = recorder.recorder.counts
        host = _Host(config, recorder)
        follower = Follower(plan, host)
        follower.on_frame = lambda frame, url: recorder.take_frame(frame.stamp_ns, frame.body, url=url)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, host.stop.set)
        turning = asyncio.create_task(_turn(counts, host, options.duration_s, say))
        following = asyncio.create_task(_follow(follower))
        try:
            done, _ = await asyncio.wait({turning, following}, return_when=asyncio.FIRST_COMPLETED)
            host.stop.set()
            for task in done:
                task.result()
            await following
        finally:
            for task in (turning, following):
                task.cancel()
            await asyncio.gather(turning, following, return_exceptions=True)
            await follower.close()
    say(f"recorded   {counts.messages} messages and {counts.frames} frames into {options.out}")
    for line in not_kept(counts):
        say(f"not kept   {line}")
    return counts.messages


def not_kept(counts: RecorderCounts) -> Iterator[str]:
    """Yield how much has no place in the archive or on the tape, with the reason of the last of it."""
    if counts.refused:
        yield f"{counts.refused} messages; the last: {counts.last_refused}"
    if counts.frames_refused:
        yield f"{counts.frames_refused} frames on the tape; the last: {counts.last_frame_refused}"


async def _follow(follower: Follower) -> None:
    await follower.prepare()
    await follower.follow()


async def _turn(counts: RecorderCounts, host: _Host, duration_s: float | None, say: Callable[[str], None]) -> None:
    started = told = SYSTEM.monotonic_ns()
    while not host.stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(host.stop.wait(), _TURN_S)
        now = SYSTEM.monotonic_ns()
        if now - told >= _TELL_S * NS_PER_S:
            told = now
            say(f"record     {counts.messages} messages, {counts.frames} frames")
        if duration_s is not None and now - started >= duration_s * NS_PER_S:
            return


def _plan(options: RecordOptions) -> tuple[FeedPlan, FleetConfig]:
    if not options.symbols:
        raise Misuse("name what to record: --symbols BTC/USDT,ETH/USDT")
    config = load_fleet(options.conf_dir) if options.conf_dir.is_dir() else FleetConfig()
    params = config.venues.venues.get(options.venue)
    if params is None:
        known = dialect(options.venue)
        params = VenueParams(dialect=options.venue, rest_url=known.rest_url, stream_url=known.stream_url)
    symbols = tuple(canonical_symbol(symbol) for symbol in options.symbols)
    key, secret = feed_keys(options.venue)
    plan = FeedPlan(
        venue=options.venue,
        dialect=dialect(params.dialect),
        symbols=symbols,
        rest_url=options.venue_url or params.data_rest_url or params.rest_url,
        stream_url=stream_base(options.venue_url or params.data_stream_url or params.stream_url),
        traded=False,
        simulated=options.venue == "sim",
        options=FeedOptions(key=key, secret=secret, options=params.options),
    )
    return plan, config
