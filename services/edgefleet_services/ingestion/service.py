"""Ingestion as a process: one venue connection into `market` and `beats`. The frames' meaning is the library's feed."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Protocol

import msgspec
from prometheus_client import Counter as Counted

from edgefleet.bus.loop import Configs
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.bus.source import RolledBack, Source
from edgefleet.clock import NS_PER_MS, Clock
from edgefleet.errors import FleetError, Misuse, Poison, Transient
from edgefleet.instruments import Instrument, instrument_id, split_id
from edgefleet.messages import Alert, Beat, Message
from edgefleet.params.schema import FleetConfig
from edgefleet.params.schema.venues import VenueParams
from edgefleet.stage import Output
from edgefleet.telemetry.health import Health
from edgefleet.telemetry.logs import Logger
from edgefleet.telemetry.metrics import Metrics
from edgefleet.venues.binance.feed import BinanceFeed, stream_names, wire_symbol
from edgefleet.venues.binance.klines import INTERVALS, bars_from_klines
from edgefleet.venues.binance.listing import differences
from edgefleet.venues.binance.stream import Frames, MarketRest, open_frames, stream_base
from edgefleet_services.bootstrap import service_context
from edgefleet_services.ingestion.pace import Pace
from edgefleet_services.ingestion.pressure import Pressure
from edgefleet_services.options import ServiceOptions

NAME = "ingestion"
FRAMES_PER_COMMIT = 256
BACKFILL_BARS = 120
SILENCE_S = 30.0  # a live connection that says nothing for this long is made anew
_IDLE_S = 0.25
_SWAP_S = 0.02  # a waiting configuration is taken within a turn; until then it need not be told again
_LATE_NS = 200 * NS_PER_MS  # how long after a second's end the frames of that second may still come
_FIRST_DELAY_S, _MAX_DELAY_S = 0.2, 15.0


class Surroundings(Protocol):
    """What of a service's context ingestion uses."""

    @property
    def options(self) -> ServiceOptions: ...
    @property
    def bus(self) -> RedisBus: ...
    @property
    def configs(self) -> Configs: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def log(self) -> Logger: ...
    @property
    def metrics(self) -> Metrics: ...
    @property
    def health(self) -> Health: ...
    @property
    def stop(self) -> asyncio.Event: ...


class _SimStatus(msgspec.Struct):
    market: str


class Ingestion:
    """One venue's feed, from connect to commit."""

    def __init__(self, context: Surroundings, venue: VenueParams, rest: MarketRest, *, simulated: bool) -> None:
        self.context = context
        self.symbols = context.options.symbols
        self.rest = rest
        self.simulated = simulated
        self.tape = False
        self.stream_url = (
            venue.stream_url if context.options.venue_url is None else stream_base(context.options.venue_url)
        )
        config = context.configs.current
        self.feed = BinanceFeed(context.options.venue, self.symbols, touch_interval_ms=config.fleet.touch_interval_ms)
        self.source = Source(context.bus, NAME, NAME, NAME)
        self.pace = Pace(context.clock.monotonic_ns())
        self.pressure = Pressure(context.bus, config.fleet.max_lag_entries)
        context.health.ask("bus", self._bus_answers)
        self._snapshots: dict[str, asyncio.Task[bytes]] = {}
        self._snapshot_tries: dict[str, int] = {}
        self._counted: dict[type[Message], Counted] = {}
        self._random = random.Random(context.clock.monotonic_ns())

    async def run(self) -> None:
        """Follow the venue until told to stop, or until its tape has ended.

        Raises
        ------
        Misuse
            If the venue does not list what is configured.
        Fenced
            If another process ingests for this fleet.
        """
        await self.source.claim()
        fields = self.source.fields
        again = fields.get("session") == self.context.options.session and "marks" in fields
        if again and fields.get("ended") == "1":
            self.context.health.report("feed", True, "the tape has ended")
            await self.context.stop.wait()
            return
        await self._prepare()
        if again:
            self.feed.resume(fields["marks"])
            await self._say(self.feed.on_disconnect("ingestion was started again", self.context.clock.wall_ns()))
        elif not self.tape:
            await self._backfill()
        watch = asyncio.create_task(self.pressure.watch()) if self.tape else None
        try:
            await self._follow()
        finally:
            if watch is not None:
                watch.cancel()
            self._drop_snapshots()

    def _bus_answers(self) -> tuple[bool, str]:
        failure = self.source.failure
        return failure is None, failure or "commits are answered"

    async def _prepare(self) -> None:
        """Learn what market it is and check that the venue lists what is configured."""
        if self.simulated:
            raw = await self._patiently(self.rest.sim_status)
            self.tape = self.feed.waits_for_books = msgspec.json.decode(raw, type=_SimStatus).market == "tape"
        venue, instruments = self.context.options.venue, self.context.configs.current.instruments
        known: list[Instrument] = []
        for symbol in self.symbols:
            instrument = instruments.get(instrument_id(symbol, venue))
            if instrument is None:
                raise Misuse(f"symbol {symbol} is not in conf/instruments.yml; add its tick, lot and minimum there")
            known.append(instrument)
        found = differences(await self._patiently(self.rest.exchange_info), known)
        if found:
            raise Misuse(f"venue {venue} and conf/instruments.yml differ: {'; '.join(found)}; correct the file")
        for instrument in known:
            await self.context.bus.redis.hset(
                f"instrument:info:{instrument.symbol}",
                mapping={key: str(value) for key, value in msgspec.structs.asdict(instrument).items()},
            )

    async def _backfill(self) -> None:
        """Send closed bars of the past, so that models and variance are warm when the first frame comes."""
        width = self.context.configs.current.features.bar_ms
        interval = INTERVALS.get(width)
        if interval is None:
            self.context.log.warning("no_history", bar_ms=width, reason="the venue has no candles of this width")
            return
        for symbol in self.symbols:
            name, now = wire_symbol(symbol), self.context.clock.wall_ns()
            try:
                raw = await self.rest.klines(name, interval, count=BACKFILL_BARS)
                bars = bars_from_klines(
                    raw,
                    instrument_id(symbol, self.context.options.venue),
                    width,
                    until_ms=now // NS_PER_MS,
                    trace=f"{self.context.options.venue}:{name}:",
                    ts_init=now,
                )
            except (Poison, FleetError) as error:
                self.context.log.warning("no_history", symbol=symbol, reason=str(error))
                continue
            await self._say([Output(stream, bar) for stream in ("market", "beats") for bar in bars])
            self.context.log.info("history", symbol=symbol, bars=len(bars))

    async def _follow(self) -> None:
        """Connect, read, and connect again after what ends a connection."""
        tries = 0
        while not self.context.stop.is_set():
            try:
                frames_before = self.feed.counts.frames
                ended = await self._connection()
                if ended:
                    await self.context.stop.wait()
                    return
                tries = 0 if self.feed.counts.frames > frames_before else tries + 1
            except RolledBack as error:
                self.context.log.error("rolled_back", reason=str(error))
                await self.source.claim()
                await self._lost(str(error))
                tries = 0
            except Transient as error:
                tries += 1
                self.context.log.warning("feed_unreachable", reason=str(error), tries=tries)
                self.context.health.report("feed", False, str(error))
            if not self.context.stop.is_set():
                await self._pause(tries)

    async def _connection(self) -> bool:
        """Follow one connection; return whether the tape ended with it."""
        opening = open_frames(
            self.stream_url, stream_names(self.symbols), self.context.clock, stamped=self.simulated, waits=self.tape
        )
        async with opening as frames:
            self.context.health.report("feed", True, "connected")
            self.context.log.info("feed_connected", tape=self.tape, symbols=",".join(self.symbols))
            waking = asyncio.create_task(self._wake_for_configs(frames))
            try:
                while not self.context.stop.is_set():
                    if not await self._turn(frames):
                        break
            finally:
                waking.cancel()
        self._drop_snapshots()
        if frames.ended:
            outputs = self.feed.on_end(self.context.clock.wall_ns())
            await self._say(outputs, ended=True)
            self.context.log.info("tape_ended", **msgspec.structs.asdict(self.feed.counts))
            self.context.health.report("feed", True, "the tape has ended")
            return True
        if not self.context.stop.is_set():
            await self._lost(frames.closed or f"nothing was heard for {SILENCE_S:g} s")
        return False

    async def _wake_for_configs(self, frames: Frames) -> None:
        """End a wait for frames when a new configuration is there: a quiet market must not delay it."""
        while True:
            await self.context.configs.changed.wait()
            frames.wake()
            await asyncio.sleep(_SWAP_S)

    async def _turn(self, frames: Frames) -> bool:
        """Take what is there, commit it, or wait for more; return whether the connection goes on."""
        if not self.pressure.is_open:
            await self._unless_stopped(self.pressure.until_open())
        if self.context.configs.changed.is_set():
            self._reconfigure(self.context.configs.swap())
        self._ask_for_snapshots(frames)
        if frames.is_held:
            await asyncio.sleep(self.pace.rest_s(self.context.clock.monotonic_ns()))
            frames.read_on()
        outputs = self._answered_snapshots()
        taken = [] if self.feed.lost else frames.take(FRAMES_PER_COMMIT)
        self.pace.took(len(taken), self.context.clock.monotonic_ns())
        for frame in taken:
            outputs += self.feed.on_frame(frame.stamp_ns, frame.body, frame.ts_init)
        await frames.acknowledge()
        if not self.tape:
            outputs += self.feed.on_silence(self.context.clock.wall_ns() - _LATE_NS)
        if outputs:
            if self.pace.is_busy:
                frames.hold()
            await self._say(outputs)
            return True
        if self.feed.lost or (frames.ended and self.feed.held):
            # A tape waits for a lost book; and where all of it came before the first book did, what is held waits.
            if self._snapshots:
                await asyncio.wait(self._snapshots.values(), timeout=_IDLE_S)
            return not self.context.stop.is_set()
        if len(frames):
            return True
        if frames.closed is not None or (not self.tape and frames.silent_for_s() > SILENCE_S):
            return False
        await frames.wait(_IDLE_S)
        return True

    async def _say(self, outputs: list[Output], *, ended: bool = False) -> None:
        """Commit outputs, with what the feed has to tell beside them."""
        now = self.context.clock.wall_ns()
        for notice in self.feed.take_notices():
            self.context.log.warning("feed_notice", text=notice)
            alert = Alert(name="feed", severity="warning", service=NAME, text=notice, ts_event=now, ts_init=now)
            outputs.append(Output("alerts", alert))
        if not outputs and not ended:
            return
        fields = {"session": self.context.options.session, "marks": self.feed.marks, "ended": "1" if ended else "0"}
        await self.source.commit(outputs, config=self.context.configs.current.hash, fields=fields)
        self._measure(outputs)

    async def _lost(self, reason: str) -> None:
        self.context.log.warning("feed_disconnected", reason=reason)
        self.context.health.report("feed", False, reason)
        await self._say(self.feed.on_disconnect(reason, self.context.clock.wall_ns()))

    def _measure(self, outputs: list[Output]) -> None:
        for kind, count in Counter([type(output.message) for output in outputs]).items():
            counted = self._counted.get(kind)
            if counted is None:
                tag = str(kind.__struct_config__.tag)
                counted = self._counted[kind] = self.context.metrics.messages.labels(NAME, tag)
            counted.inc(count)
            if kind is Beat:
                for output in outputs:
                    if isinstance(output.message, Beat) and output.stream == "beats":
                        self._measure_ages(output.message)

    def _measure_ages(self, beat: Beat) -> None:
        for touch in beat.touches:
            if touch.age_ms is not None:
                symbol, venue = split_id(touch.instrument)
                self.context.metrics.data_age.labels(venue, symbol).set(touch.age_ms / 1_000)

    def _reconfigure(self, config: FleetConfig) -> None:
        self.feed.set_touch_interval(config.fleet.touch_interval_ms)
        self.pressure.limit = config.fleet.max_lag_entries

    def _ask_for_snapshots(self, frames: Frames) -> None:
        for instrument in self.feed.awaiting:
            if instrument not in self._snapshots:
                tries = self._snapshot_tries.get(instrument, 0)
                self._snapshot_tries[instrument] = tries + 1
                task = asyncio.create_task(self._snapshot(instrument, tries))
                task.add_done_callback(lambda _: frames.wake())
                self._snapshots[instrument] = task

    async def _snapshot(self, instrument: str, tries: int) -> bytes:
        """Return a REST book. Asking again waits longer each time: each answer costs weight at the venue."""
        if tries:
            await asyncio.sleep(self._delay(tries))
        return await self.rest.depth(wire_symbol(split_id(instrument)[0]), as_of=self.feed.lost.get(instrument))

    def _answered_snapshots(self) -> list[Output]:
        outputs: list[Output] = []
        for instrument, task in list(self._snapshots.items()):
            if not task.done():
                continue
            del self._snapshots[instrument]
            try:
                outputs += self.feed.on_snapshot(instrument, task.result(), self.context.clock.wall_ns())
            except FleetError as error:
                self.context.log.warning("snapshot_failed", instrument=instrument, reason=str(error))
                continue
            if self.tape or instrument not in self.feed.awaiting:  # a tape waits for us
                self._snapshot_tries[instrument] = 0
        return outputs

    def _drop_snapshots(self) -> None:
        for task in self._snapshots.values():
            task.cancel()
        self._snapshots = {}
        self._snapshot_tries = {}

    async def _patiently(self, ask: Callable[[], Coroutine[None, None, bytes]]) -> bytes:
        """Return the answer, asking again while the venue is out of reach."""
        tries = 0
        while True:
            try:
                return await ask()
            except Transient as error:
                tries += 1
                self.context.log.warning("venue_unreachable", reason=str(error), tries=tries)
                self.context.health.report("feed", False, str(error))
                if self.context.stop.is_set() or tries > 20:
                    raise
                await self._pause(tries)

    async def _pause(self, tries: int) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.context.stop.wait(), self._delay(tries))

    def _delay(self, tries: int) -> float:
        """Return a back-off with full jitter, so that a fleet's feeds do not come back in step."""
        return self._random.uniform(0.05, min(_MAX_DELAY_S, _FIRST_DELAY_S * 2.0 ** min(tries, 10)))

    async def _unless_stopped(self, work: Coroutine[None, None, None]) -> None:
        tasks = [asyncio.create_task(work), asyncio.create_task(self.context.stop.wait())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


async def serve(options: ServiceOptions) -> None:
    """Ingest until told to stop."""
    async with service_context(NAME, options, staged=True) as context:
        venue = context.configs.current.venues.venues.get(options.venue)
        if venue is None:
            known = ", ".join(sorted(context.configs.current.venues.venues))
            raise Misuse(f"venue {options.venue!r} is not in conf/venues; known are {known}")
        rest = MarketRest(options.venue_url or venue.rest_url)
        try:
            simulated = options.venue == "sim" or options.venue_url is not None
            await Ingestion(context, venue, rest, simulated=simulated).run()
        finally:
            await rest.close()
