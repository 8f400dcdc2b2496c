"""Ingestion as a process: the feeds of one or several venues into `market` and `beats`, one commit at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from prometheus_client import Counter as Counted

from edgefleet.bus.loop import Configs
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.bus.source import RolledBack, Source
from edgefleet.clock import NS_PER_S, Clock
from edgefleet.errors import FleetError, Misuse
from edgefleet.instruments import Instrument, split_id
from edgefleet.messages import Alert, Beat, Message
from edgefleet.params.schema import FleetConfig
from edgefleet.stage import Output
from edgefleet.telemetry.health import Health
from edgefleet.telemetry.logs import Logger
from edgefleet.telemetry.metrics import Metrics
from edgefleet.venues.connection import stream_base
from edgefleet.venues.dialect import FeedOptions, dialect
from edgefleet.venues.feed import FeedCounts
from edgefleet_services.bootstrap import service_context
from edgefleet_services.ingestion.follower import FeedPlan, Follower
from edgefleet_services.ingestion.pressure import Pressure
from edgefleet_services.options import ServiceOptions, feed_keys, simulated_keys

NAME = "ingestion"
AGAIN_S = 30.0  # a venue beside the traded one that could not be followed is tried again after so long
# Of `FeedCounts`, what tells of trouble; each is an `event` of edgefleet_feed_events_total.
TROUBLES = ("book_gaps", "book_crossed", "checksums_bad", "trade_gaps", "quarantined", "duplicates", "undecodable")


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


class Ingestion:
    """Every venue's feed, from connect to commit: of those that the fleet trades at, and of those beside them."""

    def __init__(self, context: Surroundings, plans: Sequence[FeedPlan]) -> None:
        self.context = context
        self.clock, self.log, self.health, self.stop = context.clock, context.log, context.health, context.stop
        self.source = Source(context.bus, NAME, NAME, NAME)
        self.pressure = Pressure(context.bus, self.config.fleet.max_lag_entries)
        self.followers = [Follower(plan, self) for plan in plans]
        context.health.ask("bus", self._bus_answers)
        self._committing = asyncio.Lock()
        self._fields: dict[str, str] = {}
        self._saved: Mapping[str, str] = {}  # what an earlier life of this session left
        self._counted: dict[type[Message], Counted] = {}
        self._seen = {follower.plan.venue: FeedCounts() for follower in self.followers}
        self._plays_tape = asyncio.Event()

    @property
    def config(self) -> FleetConfig:
        """Return the configuration in force."""
        return self.context.configs.current

    @property
    def pressed(self) -> Awaitable[None] | None:
        """Return what to wait for where a later stage is too far behind, None where none is."""
        return None if self.pressure.is_open else self.pressure.until_open()

    def config_waits(self) -> bool:
        """Take a waiting configuration; return whether one waited."""
        if not self.context.configs.changed.is_set():
            return False
        self.pressure.limit = self.context.configs.swap().fleet.max_lag_entries
        return True

    async def config_change(self) -> None:
        """Return when a configuration waits."""
        await self.context.configs.changed.wait()

    @property
    def traded(self) -> list[Follower]:
        """Return those of the venues that the fleet trades at."""
        return [follower for follower in self.followers if follower.plan.traded]

    async def run(self) -> None:
        """Follow the venues until told to stop, or until the tapes of the traded ones have ended.

        Raises
        ------
        Misuse
            If a traded venue does not list what is configured.
        Fenced
            If another process ingests for this fleet.
        """
        await self.source.claim()
        saved = self.source.fields
        again = saved.get("session") == self.context.options.session and any(
            _marks(one) in saved for one in self.traded
        )
        self._saved = saved if again else {}
        ended = {name: value for name, value in self._saved.items() if name == "ended" or name.startswith("ended.")}
        self._fields = {"ended": "0", **ended, "session": self.context.options.session}
        works = [self._follow_beside(one) if not one.plan.traded else self._follow(one) for one in self.followers]
        following = [asyncio.create_task(work) for work in works]
        watching = asyncio.create_task(self._watch_pressure())
        try:
            await asyncio.gather(*following)
        finally:
            for task in (watching, *following):
                task.cancel()
            await asyncio.gather(watching, *following, return_exceptions=True)
            for follower in self.followers:
                await follower.close()

    async def _watch_pressure(self) -> None:
        """Watch how far later stages are behind, where a tape plays: a live market waits for nobody."""
        await self._plays_tape.wait()
        await self.pressure.watch()

    async def _follow(self, follower: Follower) -> None:
        if self._fields.get(_ended(follower)) == "1":
            follower.report_end()
            await self.stop.wait()
            return
        await follower.prepare()
        if follower.tape:
            self._plays_tape.set()
        if _marks(follower) in self._saved:
            follower.feed.resume(self._saved[_marks(follower)])
            await self.say(follower, follower.feed.on_disconnect("ingestion was started again", self.clock.wall_ns()))
        elif not follower.tape:
            await follower.backfill()
        await follower.follow()

    async def _follow_beside(self, follower: Follower) -> None:
        """Follow a venue that is not traded at. Whatever is wrong with it, those that are traded at go on."""
        while not self.stop.is_set():
            try:
                await self._follow(follower)
            except Misuse as error:  # stays as it is, however often it is tried
                self.log.error("feed_given_up", venue=follower.plan.venue, reason=str(error))
                self.health.report(f"feed.{follower.plan.venue}", False, str(error))
                return
            except FleetError as error:
                self.log.error("feed_failed", venue=follower.plan.venue, reason=str(error))
                self.health.report(f"feed.{follower.plan.venue}", False, str(error))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.stop.wait(), AGAIN_S)

    def _bus_answers(self) -> tuple[bool, str]:
        failure = self.source.failure
        return failure is None, failure or "commits are answered"

    async def learn(self, venue: str, listed: list[Instrument]) -> None:
        """Write down what is known of a venue's instruments; under the bare symbol too, of the first that trades it."""
        first = {symbol: one.plan.venue for one in reversed(self.traded) for symbol in one.plan.symbols}
        for instrument in listed:
            known: dict[Any, Any] = {key: str(value) for key, value in msgspec.structs.asdict(instrument).items()}
            names = [f"instrument:info:{instrument.id}"]
            if venue == first.get(instrument.symbol):
                names.append(f"instrument:info:{instrument.symbol}")
            for name in names:
                await self.context.bus.redis.hset(name, mapping=known)

    def clock_offset(self, venue: str, offset_ns: int) -> None:
        """Show how far a venue's clock is ahead of ours."""
        self.context.metrics.clock_offset.labels(venue).set(offset_ns / NS_PER_S)

    async def say(self, follower: Follower, outputs: list[Output], *, ended: bool = False) -> None:
        """Commit what a follower has to say, with what its feed noticed beside it."""
        now = self.clock.wall_ns()
        for notice in follower.feed.take_notices():
            self.log.warning("feed_notice", venue=follower.plan.venue, text=notice)
            alert = Alert(name="feed", severity="warning", service=NAME, text=notice, ts_event=now, ts_init=now)
            outputs.append(Output("alerts", alert))
        if not outputs and not ended:
            return
        async with self._committing:
            self._fields[_marks(follower)] = follower.feed.marks
            if ended:
                self._fields[_ended(follower)] = "1"
                if all(self._fields.get(_ended(one)) == "1" for one in self.traded):
                    self._fields["ended"] = "1"
            try:
                await self.source.commit(outputs, config=self.config.hash, fields=self._fields)
            except RolledBack as error:
                await self._rolled_back(str(error))
                return
        self._measure(follower, outputs)

    async def _rolled_back(self, reason: str) -> None:
        """Redis holds less than it had: take the name over again, and let every feed begin anew."""
        self.log.error("rolled_back", reason=reason)
        await self.source.claim()
        for follower in self.followers:
            follower.broken_off = reason

    def _measure(self, follower: Follower, outputs: list[Output]) -> None:
        for kind, count in Counter([type(output.message) for output in outputs]).items():
            counted = self._counted.get(kind)
            if counted is None:
                tag = str(kind.__struct_config__.tag)
                counted = self._counted[kind] = self.context.metrics.messages.labels(NAME, tag)
            counted.inc(count)
            if kind is Beat:
                for output in outputs:
                    if isinstance(output.message, Beat) and output.stream == "beats":
                        self._measure_beat(follower, output.message)

    def _measure_beat(self, follower: Follower, beat: Beat) -> None:
        for touch in beat.touches:
            if touch.age_ms is not None:
                symbol, venue = split_id(touch.instrument)
                self.context.metrics.data_age.labels(venue, symbol).set(touch.age_ms / 1_000)
        seen, counts = self._seen[beat.venue], follower.feed.counts
        for event in TROUBLES:
            more = getattr(counts, event) - getattr(seen, event)
            if more > 0:
                self.context.metrics.feed_events.labels(beat.venue, event).inc(more)
        for fault, count in counts.faults.items():
            more = count - seen.faults.get(fault, 0)
            if more > 0:
                self.context.metrics.feed_events.labels(beat.venue, fault).inc(more)
        self._seen[beat.venue] = msgspec.structs.replace(counts, faults=dict(counts.faults))


def _marks(follower: Follower) -> str:
    """Return the name under which a follower's marks are saved."""
    return f"marks.{follower.plan.venue}"


def _ended(follower: Follower) -> str:
    """Return the name under which it is saved that a follower's tape has ended."""
    return f"ended.{follower.plan.venue}"


def feed_plans(options: ServiceOptions, config: FleetConfig) -> list[FeedPlan]:
    """Return the venues to follow: those that are traded at, then those that `fleet.feeds` names beside them.

    Raises
    ------
    Misuse
        If one is not in conf/venues.
    """
    traded = {one.name: one for one in options.traded}
    wanted = {one.name: one.symbols for one in options.traded}
    others = {name: symbols for name, symbols in config.fleet.feeds.items() if name not in wanted}
    plans = []
    for name, symbols in {**wanted, **others}.items():
        params = config.venues.venues.get(name)
        if params is None:
            known = ", ".join(sorted(config.venues.venues))
            raise Misuse(f"venue {name!r} is not in conf/venues; known are {known}")
        address = traded[name].url if name in traded else None
        simulated = name in traded and (name == "sim" or address is not None)
        key, secret = simulated_keys() if simulated else feed_keys(name)
        plans.append(
            FeedPlan(
                venue=name,
                dialect=dialect(params.dialect),
                symbols=tuple(symbols),
                rest_url=address or params.data_rest_url or params.rest_url,
                stream_url=(params.data_stream_url or params.stream_url) if address is None else stream_base(address),
                traded=name in traded,
                simulated=simulated,
                options=FeedOptions(key=key, secret=secret, options=params.options),
            )
        )
    return plans


async def serve(options: ServiceOptions) -> None:
    """Ingest until told to stop."""
    async with service_context(NAME, options, staged=True) as context:
        await Ingestion(context, feed_plans(options, context.configs.current)).run()
