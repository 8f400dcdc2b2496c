"""One venue's connection, from connect to commit. What frames mean is the venue's feed; who commits is told to it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Protocol

import msgspec

from edgefleet.clock import NS_PER_MS, NS_PER_S, Clock
from edgefleet.errors import FleetError, Misuse, OutOfReach, Poison, Transient
from edgefleet.instruments import Instrument, instrument_id, split_id
from edgefleet.params.schema import FleetConfig
from edgefleet.stage import Output
from edgefleet.telemetry.health import Health
from edgefleet.telemetry.logs import Logger
from edgefleet.venues.answers import RefusedForGood
from edgefleet.venues.binance.dialect import AS_OF_HEADER
from edgefleet.venues.connection import Frame, Frames, open_frames
from edgefleet.venues.dialect import Dialect, FeedOptions, Listed
from edgefleet.venues.feed import Feed
from edgefleet.venues.listing import differences
from edgefleet.venues.rest import PublicRest
from edgefleet_services.ingestion.pace import Pace

FRAMES_PER_COMMIT = 256
BACKFILL_BARS = 120
_IDLE_S = 0.25
_SWAP_S = 0.02  # a waiting configuration is taken within a turn; until then it need not be told again
_LATE_NS = 200 * NS_PER_MS  # how long after a second's end the frames of that second may still come
_FIRST_DELAY_S, _MAX_DELAY_S = 0.2, 15.0
_CLOCK_EVERY_S = 60.0
_MOST_TRIES = 20
_MOST_REFUSALS = 3  # of one REST book
_ANOTHER_TIME_MS = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedPlan:
    """One venue to follow: where it is, in which dialect, and what of it."""

    venue: str
    dialect: Dialect
    symbols: tuple[str, ...]
    rest_url: str
    stream_url: str
    traded: bool  # a venue that the fleet trades at: its listing must agree with conf/instruments.yml
    simulated: bool = False
    options: FeedOptions = field(default_factory=FeedOptions)


class Host(Protocol):
    """What a follower needs of ingestion."""

    clock: Clock
    log: Logger
    health: Health
    stop: asyncio.Event

    @property
    def config(self) -> FleetConfig:
        """Return the configuration in force."""
        ...

    @property
    def pressed(self) -> Awaitable[None] | None:
        """Return what to wait for where a later stage is too far behind (a tape), None where nothing is."""
        ...

    def config_waits(self) -> bool:
        """Take a waiting configuration; return whether one waited."""
        ...

    async def config_change(self) -> None:
        """Return when a configuration waits."""
        ...

    async def say(self, follower: Follower, outputs: list[Output], *, ended: bool = False) -> None:
        """Commit what a follower has to say."""
        ...

    async def learn(self, venue: str, listed: list[Instrument]) -> None:
        """Write down what is known of a venue's instruments."""
        ...

    def clock_offset(self, venue: str, offset_ns: int) -> None:
        """Take how far a venue's clock is ahead of ours."""
        ...


class Follower:
    """One venue's feed and the connection it lives on."""

    def __init__(self, plan: FeedPlan, host: Host) -> None:
        self.plan = plan
        self.host = host
        self.tape = False
        self.has_own_time = False  # the venue plays another time than the wall clock's: its frames alone tell it
        self._time_is_open = False  # whether that is not known yet
        self.is_busy = False
        # A source of another library's has no address here: nothing is asked of this one.
        root, headers = plan.dialect.rest_root(plan.rest_url), plan.dialect.headers(plan.options)
        self.rest = PublicRest(root, headers, plan.dialect.weights, host.clock, plan.venue)
        # A venue may keep its listing and its clock at another address; one that was moved keeps all at its own.
        elsewhere = plan.dialect.reference_url if plan.rest_url == plan.dialect.rest_url else None
        self.reference = PublicRest(elsewhere or root, headers, venue=plan.venue)
        self.feed: Feed = self._make_feed(waits_for_books=False)
        self.pace = Pace(host.clock.monotonic_ns())
        # Is given every frame as it came; a REST book with the address it came from; and, before the first of a
        # connection, the connection's address with no body.
        self.on_frame: Callable[[Frame, str], None] | None = None
        self._untold_address = ""
        self._heard_ns = 0  # stamp of the newest frame
        self._has_answered = False  # a connection was made
        self.broken_off = ""  # why the connection has to be made anew
        self._part = f"feed.{plan.venue}"  # of the health report
        self._snapshots: dict[str, asyncio.Task[bytes]] = {}
        self._snapshot_tries: dict[str, int] = {}
        self._asked_ns = 0
        self._pinged_ns = 0
        self._random = random.Random(host.clock.monotonic_ns())

    def _make_feed(self, *, waits_for_books: bool, contract_sizes: Mapping[str, Decimal] | None = None) -> Feed:
        options = msgspec.structs.replace(
            self.plan.options,
            touch_interval_ms=self.host.config.fleet.touch_interval_ms,
            waits_for_books=waits_for_books,
            contract_sizes=contract_sizes or {},
        )
        feed = self.plan.dialect.feed(self.plan.venue, self.plan.symbols, options)
        feed.set_quality(self.host.config.features.quality)
        return feed

    async def prepare(self) -> None:
        """Learn what market it is and check that the venue lists what is asked for and what is configured.

        Raises
        ------
        Misuse
            If the traded venue does not list what is configured, or another lists nothing of what is asked for.
        """
        plan = self.plan
        if plan.simulated:
            root = plan.rest_url.rstrip("/").removesuffix("/api/v3")
            raw = await self._patiently(lambda: self._get_outside(f"{root}/sim/status"))
            status = msgspec.json.decode(raw, type=_SimStatus)
            self.tape = status.market == "tape"
            now = self.host.clock.wall_ns() // NS_PER_MS
            told = status.market_time_ms
            is_known = self.tape or bool(told) or status.market != "relay"  # a relay learns it with its first frame
            self.has_own_time = is_known and (self.tape or (told is not None and abs(told - now) > _ANOTHER_TIME_MS))
            self._time_is_open = not is_known
            self.feed = self._make_feed(waits_for_books=self.tape)
        path, read = plan.dialect.listing_path, plan.dialect.listing
        if path is None or read is None:
            return
        known = self._configured()
        spelled = [plan.dialect.spell(symbol) for symbol in plan.symbols]
        raw = await self._patiently(lambda: self.reference.get(path(spelled)))
        listed = read(raw)
        if plan.dialect.limits is not None:
            with contextlib.suppress(msgspec.MsgspecError):  # a listing without limits leaves the usual ones
                self.rest.budget.limits = plan.dialect.limits(raw)
        kept = plan.symbols if plan.traded else self._listed(listed, f"{self.reference.root}{path(spelled)}")
        sizes = {one.symbol: one.contract_size for one in listed if one.contract_size and one.symbol in kept}
        if sizes or kept != plan.symbols:
            self.plan = plan = replace(plan, symbols=kept)
            known = [instrument for instrument in known if instrument.symbol in kept]
            self.feed = self._make_feed(waits_for_books=self.tape, contract_sizes=sizes)
        found = differences(listed, known)
        if found and plan.traded:
            raise Misuse(f"venue {plan.venue} and conf/instruments.yml differ: {'; '.join(found)}; correct the file")
        for text in found:
            self.host.log.warning("listing_differs", venue=plan.venue, text=text)
        await self.host.learn(plan.venue, known)

    def _listed(self, listed: Sequence[Listed], where: str) -> tuple[str, ...]:
        """Return the symbols that the venue lists, and say of each other that it is left out.

        Raises
        ------
        Misuse
            If none is left.
        """
        plan = self.plan
        there = {one.symbol for one in listed} | {one.name for one in listed}
        kept = tuple(one for one in plan.symbols if one in there or plan.dialect.spell(one) in there)
        absent = [symbol for symbol in plan.symbols if symbol not in kept]
        if not kept:
            raise Misuse(f"{', '.join(absent)} is not listed at {plan.venue}; what it lists: {where}")
        for symbol in absent:
            reason = f"{symbol} is not listed at {plan.venue} and is left out; what it lists: {where}"
            self.host.log.error("symbol_left_out", venue=plan.venue, symbol=symbol, reason=reason)
        return kept

    def _configured(self) -> list[Instrument]:
        instruments = self.host.config.instruments
        known: list[Instrument] = []
        for symbol in self.plan.symbols:
            instrument = instruments.get(instrument_id(symbol, self.plan.venue))
            if instrument is not None:
                known.append(instrument)
            elif self.plan.traded:
                raise Misuse(f"symbol {symbol} is not in conf/instruments.yml; add its tick, lot and minimum there")
        return known

    async def _get_outside(self, url: str) -> bytes:
        rest = PublicRest(url, venue=self.plan.venue)
        try:
            return await rest.get("")
        finally:
            await rest.close()

    async def backfill(self) -> None:
        """Send closed bars of the past, so that models and variance are warm when the first frame comes."""
        dialect, width, log = self.plan.dialect, self.host.config.features.bar_ms, self.host.log
        for symbol in self.plan.symbols:
            name, now = dialect.spell(symbol), self.host.clock.wall_ns()
            path = None if dialect.bars_path is None else dialect.bars_path(name, width, BACKFILL_BARS)
            if path is None or dialect.bars is None:
                reason = "the venue has no candles of this width"
                log.info("no_history", venue=self.plan.venue, symbol=symbol, bar_ms=width, reason=reason)
                continue
            try:
                raw = await self.rest.get(path)
                instrument = instrument_id(symbol, self.plan.venue)
                bars = dialect.bars(raw, instrument, width, now // NS_PER_MS, now)
            except (Poison, FleetError) as error:
                log.warning("no_history", venue=self.plan.venue, symbol=symbol, reason=str(error))
                continue
            await self.host.say(self, [Output(stream, bar) for stream in ("market", "beats") for bar in bars])
            log.info("history", venue=self.plan.venue, symbol=symbol, bars=len(bars))

    async def follow(self) -> None:
        """Connect, read, and connect again after what ends a connection, until told to stop or a tape ends."""
        tries = 0
        measuring = None if self.plan.dialect.time_path is None else asyncio.create_task(self._measure_clock())
        try:
            while not self.host.stop.is_set():
                try:
                    frames_before = self.feed.counts.frames
                    if await self._connection():
                        await self.host.stop.wait()
                        return
                    tries = 0 if self.feed.counts.frames > frames_before else tries + 1
                except Transient as error:
                    tries += 1
                    self.host.log.warning("feed_unreachable", venue=self.plan.venue, reason=str(error), tries=tries)
                    self._report(False, str(error))
                if not self.host.stop.is_set():
                    await self._pause(tries)
        finally:
            if measuring is not None:
                measuring.cancel()
            self._drop_snapshots()

    async def close(self) -> None:
        """Let go of every connection."""
        await self.rest.close()
        await self.reference.close()

    def report_end(self) -> None:
        """Report that the tape has ended."""
        self._report(True, "the tape has ended")

    async def lost(self, reason: str) -> None:
        """Say that the connection is gone, and begin every book anew."""
        self.host.log.warning("feed_disconnected", venue=self.plan.venue, reason=reason)
        self._report(False, reason)
        await self.host.say(self, self.feed.on_disconnect(reason, self.host.clock.wall_ns()))

    async def _connection(self) -> bool:
        """Follow one connection; return whether the tape ended with it."""
        plan = self.plan
        self.broken_off = ""
        async with self._opened() as frames:
            self._report(True, "connected")
            self.host.log.info("feed_connected", venue=plan.venue, tape=self.tape, symbols=",".join(plan.symbols))
            self.feed.on_connect(self.host.clock.wall_ns())
            self._untold_address = plan.dialect.address(plan.stream_url, plan.symbols)
            self._asked_ns = self._pinged_ns = self.host.clock.monotonic_ns()
            waking = asyncio.create_task(self._wake_for_configs(frames))
            try:
                while not self.host.stop.is_set() and not self.broken_off:
                    if not await self._turn(frames):
                        break
            finally:
                waking.cancel()
        self._drop_snapshots()
        if frames.ended:
            await self.host.say(self, self.feed.on_end(self.host.clock.wall_ns()), ended=True)
            counts = {key: value for key, value in msgspec.structs.asdict(self.feed.counts).items() if value}
            self.host.log.info("tape_ended", **counts)
            self.report_end()
            return True
        if not self.host.stop.is_set():
            silence = f"nothing was heard for {plan.dialect.silence_s:g} s"
            await self.lost(self.broken_off or frames.closed or silence)
        return False

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Frames]:
        async with contextlib.AsyncExitStack() as stack:
            try:
                frames = await stack.enter_async_context(self._open())
            except (Misuse, OutOfReach) as error:
                # An address that answered once may again: a certificate is renewed, a block lifted.
                if not self._has_answered:
                    raise
                raise Transient(str(error)) from error
            self._has_answered = True
            yield frames

    def _open(self) -> AbstractAsyncContextManager[Frames]:
        plan = self.plan
        if plan.dialect.open_source is not None:
            return plan.dialect.open_source(plan.symbols, plan.options, self.host.clock)
        url = plan.dialect.address(plan.stream_url, plan.symbols)
        return open_frames(url, self.host.clock, stamped=plan.simulated, waits=self.tape)

    async def _wake_for_configs(self, frames: Frames) -> None:
        """End a wait for frames when a new configuration is there: a quiet market must not delay it."""
        while True:
            await self.host.config_change()
            frames.wake()
            await asyncio.sleep(_SWAP_S)

    async def _turn(self, frames: Frames) -> bool:
        """Take what is there, commit it, or wait for more; return whether the connection goes on."""
        pressed = self.host.pressed
        if pressed is not None and self.tape:
            await self._unless_stopped(pressed)
        if self.host.config_waits():
            self.feed.set_touch_interval(self.host.config.fleet.touch_interval_ms)
            self.feed.set_quality(self.host.config.features.quality)
        self._ask_for_snapshots(frames)
        requests = self._requests()
        if requests:
            await frames.send(requests)
        if frames.is_held:
            await asyncio.sleep(self.pace.rest_s(self.host.clock.monotonic_ns()))
            frames.read_on()
            await asyncio.sleep(0)  # what was held is here after the loop's next look; a turn without it finds nothing
        outputs = self._answered_snapshots()
        taken = [] if self.feed.lost else frames.take(FRAMES_PER_COMMIT)
        self.pace.took(len(taken), self.host.clock.monotonic_ns(), full=len(taken) == FRAMES_PER_COMMIT)
        for frame in taken:
            self._show(frame)
            outputs += self.feed.on_frame(frame.stamp_ns, frame.body, frame.ts_init)
        await frames.acknowledge()
        if self._time_is_open and self._heard_ns:
            away_ms = abs(self._heard_ns - self.host.clock.wall_ns()) // NS_PER_MS
            self.has_own_time, self._time_is_open = away_ms > _ANOTHER_TIME_MS, False
        if not self.has_own_time and not self._time_is_open:
            outputs += self.feed.on_silence(self.host.clock.wall_ns() - _LATE_NS)
        if outputs:
            if self.pace.is_busy:
                frames.hold()
            await self.host.say(self, outputs)
            return True
        if self.feed.lost or (frames.ended and self.feed.held):
            # A tape waits for a lost book; and where all of it came before the first book did, what is held waits.
            if self._snapshots:
                await asyncio.wait(self._snapshots.values(), timeout=_IDLE_S)
            return not self.host.stop.is_set()
        if len(frames):
            return True
        if frames.closed is not None or (not self.tape and frames.silent_for_s() > self.plan.dialect.silence_s):
            return False
        await frames.wait(_IDLE_S)
        return True

    def _show(self, frame: Frame, url: str = "") -> None:
        """Let `on_frame` see what came."""
        if self.on_frame is None:
            return
        if not url:
            self._heard_ns = frame.stamp_ns
        if self._untold_address:
            self.on_frame(msgspec.structs.replace(frame, body=b""), self._untold_address)
            self._untold_address = ""
        self.on_frame(frame, url)

    def _requests(self) -> list[str]:
        """Return what is to be sent now: subscriptions, once more where nothing came of them, and pings."""
        dialect, now = self.plan.dialect, self.host.clock.monotonic_ns()
        if self.feed.unconfirmed and now - self._asked_ns > dialect.confirm_s * NS_PER_S:
            self._asked_ns = now
            silent = ", ".join(self.feed.unconfirmed)
            self.host.log.warning("feed_unconfirmed", venue=self.plan.venue, instruments=silent)
            self._report(False, f"connected, and no data of {silent} yet")
            self.feed.ask_again()
        elif not self.feed.unconfirmed and self._asked_ns:
            self._asked_ns = 0
            self._report(True, "data of every instrument came")
        requests = self.feed.take_requests()
        if dialect.ping is not None and now - self._pinged_ns > dialect.ping_every_s * NS_PER_S:
            self._pinged_ns = now
            requests.append(dialect.ping)
        return requests

    def _report(self, ok: bool, text: str) -> None:
        self.host.health.report(self._part, ok, text)

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
        as_of = self.feed.lost.get(instrument)
        headers = {} if as_of is None else {AS_OF_HEADER: str(as_of)}
        return await self.rest.get(self._book_path(instrument), headers)

    def _book_path(self, instrument: str) -> str:
        dialect = self.plan.dialect
        if dialect.book_path is None:
            raise OutOfReach(f"venue {self.plan.venue} has no REST book")
        return dialect.book_path(dialect.spell(split_id(instrument)[0]))

    def _answered_snapshots(self) -> list[Output]:
        """Return what follows from the REST books that came."""
        outputs: list[Output] = []
        for instrument, task in list(self._snapshots.items()):
            if not task.done():
                continue
            del self._snapshots[instrument]
            try:
                now, body = self.host.clock.wall_ns(), task.result()
                path = self._book_path(instrument)
                stamp = (self._heard_ns or now) if self.has_own_time else now
                self._show(Frame(stamp, body, now), f"{self.rest.root}{path}")
                outputs += self.feed.on_snapshot(instrument, body, now)
            except FleetError as error:
                self.host.log.warning("snapshot_failed", instrument=instrument, reason=str(error))
                if isinstance(error, RefusedForGood) and self._snapshot_tries.get(instrument, 0) >= _MOST_REFUSALS:
                    outputs += self.feed.give_up_book(instrument, str(error), self.host.clock.wall_ns())
                continue
            if self.tape or instrument not in self.feed.awaiting:  # a tape's venue counts no weight, and waits for us
                self._snapshot_tries[instrument] = 0
        return outputs

    def _drop_snapshots(self) -> None:
        for task in self._snapshots.values():
            task.cancel()
        self._snapshots = {}
        self._snapshot_tries = {}

    async def _measure_clock(self) -> None:
        """Tell how far the venue's clock is ahead of ours: its word against the middle of asking and answer."""
        dialect, clock = self.plan.dialect, self.host.clock
        assert dialect.time_path is not None
        assert dialect.time_ns is not None
        while True:
            asked, started = clock.wall_ns(), clock.monotonic_ns()
            try:
                said = dialect.time_ns(await self.reference.get(dialect.time_path))
                self.host.clock_offset(self.plan.venue, said - asked - (clock.monotonic_ns() - started) // 2)
            except FleetError as error:
                self.host.log.warning("clock_not_compared", venue=self.plan.venue, reason=str(error))
            await asyncio.sleep(_CLOCK_EVERY_S)

    async def _patiently(self, ask: Callable[[], Coroutine[None, None, bytes]]) -> bytes:
        """Return the answer, asking again while the venue is out of reach."""
        tries = 0
        while True:
            try:
                return await ask()
            except Transient as error:
                tries += 1
                self.host.log.warning("venue_unreachable", venue=self.plan.venue, reason=str(error), tries=tries)
                self._report(False, str(error))
                if self.host.stop.is_set() or tries > _MOST_TRIES:
                    raise
                await self._pause(tries)

    async def _pause(self, tries: int) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.host.stop.wait(), self._delay(tries))

    def _delay(self, tries: int) -> float:
        """Return a back-off with full jitter, so that a fleet's feeds do not come back in step."""
        return self._random.uniform(0.05, min(_MAX_DELAY_S, _FIRST_DELAY_S * 2.0 ** min(tries, 10)))

    async def _unless_stopped(self, work: Awaitable[None]) -> None:
        tasks = [asyncio.ensure_future(work), asyncio.ensure_future(self.host.stop.wait())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


class _SimStatus(msgspec.Struct):
    market: str
    market_time_ms: int | None = None
