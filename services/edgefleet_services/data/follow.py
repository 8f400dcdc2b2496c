"""`edgefleet data follow`: a running fleet's market to an archive, its features to a store and, as of now, to Redis.

Reads the stream plainly, beside the fleet: it holds nothing up and decides nothing. What it missed while it was away it
reads from the ledger's files; features begin anew then, warm-up included.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from edgefleet.bus.interface import FIRST, Entry, id_key
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.clock import NS_PER_S, SYSTEM
from edgefleet.errors import Poison
from edgefleet.features import FeatureEngine, FeatureSpec
from edgefleet.features.cards import definitions
from edgefleet.messages import Beat, Message, decode
from edgefleet.params.files import load_fleet
from edgefleet.params.schema import FleetConfig
from edgefleet.store.features.offline import FeatureStore, FeatureWriter
from edgefleet.store.features.online import OnlineFeatures
from edgefleet.store.features.sets import FeatureRow, FeatureSet
from edgefleet.store.history import History
from edgefleet.store.market.archive import MarketArchive
from edgefleet.store.recorder import Recorder

MARKET = "market"
SET_NAME = "streaming"
WRITER = "fleet"
_COUNT = 1_000
_LINGER_S = 0.25
_TELL_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowOptions:
    """Whose market to keep, and where."""

    data_dir: Path  # the fleet's
    redis_url: str
    out: Path
    conf_dir: Path
    version: int = 1  # of the feature set: other definitions need another
    duration_s: float | None = None


class Followed(NamedTuple):
    """What was kept by one run."""

    messages: int
    rows: int  # of features


class FeatureKeeper:
    """Every instrument's features, a row at each beat of its venue. Does no I/O."""

    def __init__(self, config: FleetConfig) -> None:
        self._config = config
        self._engines: dict[str, FeatureEngine] = {}
        self.refused = 0  # messages with a number that cannot be

    @property
    def definitions(self) -> dict[str, str]:
        """Return how each feature is made."""
        return definitions(FeatureSpec.of(self._config.features, "crypto"))

    def take(self, message: Message) -> list[FeatureRow]:
        """Take a message and return the rows that a beat makes: as of the beat, and known from then on."""
        if isinstance(message, Beat):
            return [
                FeatureRow(touch.instrument, message.ts_event, message.ts_event, dict(engine.values(message.ts_event)))
                for touch in message.touches
                if (engine := self._engines.get(touch.instrument)) is not None
            ]
        instrument = getattr(message, "instrument", None)
        engines = list(self._engines.values()) if instrument is None else [self._engine(instrument)]
        for engine in engines:
            try:
                engine.on_message(message)
            except Poison:
                self.refused += 1
        return []

    def _engine(self, instrument: str) -> FeatureEngine:
        engine = self._engines.get(instrument)
        if engine is None:
            rules = self._config.instruments.get(instrument)
            spec = FeatureSpec.of(self._config.features, "crypto" if rules is None else rules.asset_class)
            engine = self._engines[instrument] = FeatureEngine(instrument, spec)
        return engine


async def follow(options: FollowOptions, say: Callable[[str], None]) -> Followed:
    """Keep what the fleet's market says until the time is over or SIGINT or SIGTERM comes.

    Raises
    ------
    Misuse
        If the directory cannot be written, or the version of the set has other definitions.
    OutOfReach
        If Redis does not answer or the disk takes no more.
    """
    keeper = FeatureKeeper(load_fleet(options.conf_dir))
    features = FeatureSet(name=SET_NAME, version=options.version, definitions=keeper.definitions)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    bus = await RedisBus.connect(options.redis_url)
    try:
        with (
            History.open(options.data_dir, options.redis_url) as history,
            Recorder(MarketArchive(options.out), WRITER, SYSTEM) as recorder,
            FeatureStore(options.out / "features").writer(features, WRITER, SYSTEM) as writer,
        ):
            run = _Run(history, recorder, writer, keeper, OnlineFeatures(bus.redis), features)
            await run.until(stop, options.duration_s, say)
    finally:
        await bus.close()
    say(f"kept       {run.messages} messages and {run.rows} rows of {features.label} in {options.out}")
    return Followed(run.messages, run.rows)


class _Run:
    def __init__(
        self,
        history: History,
        recorder: Recorder,
        writer: FeatureWriter,
        keeper: FeatureKeeper,
        online: OnlineFeatures,
        features: FeatureSet,
    ) -> None:
        self._history, self._recorder, self._writer = history, recorder, writer
        self._keeper, self._online, self._features = keeper, online, features
        self._position = recorder.position or FIRST
        self._stored = id_key(writer.position or FIRST)  # rows up to here are in the store already
        self.messages = 0
        self.rows = 0

    async def until(self, stop: asyncio.Event, duration_s: float | None, say: Callable[[str], None]) -> None:
        started = told = SYSTEM.monotonic_ns()
        while not stop.is_set():
            entries = await asyncio.to_thread(self._history.following, MARKET, self._position, _COUNT)
            newest = await asyncio.to_thread(self._keep, entries)
            for row in newest.values():
                await self._online.write(self._features, row)
            now = SYSTEM.monotonic_ns()
            if now - told >= _TELL_S * NS_PER_S:
                told = now
                say(f"follow     {self.messages} messages, {self.rows} rows of features")
            if duration_s is not None and now - started >= duration_s * NS_PER_S:
                return
            if len(entries) < _COUNT:
                await asyncio.sleep(_LINGER_S)

    def _keep(self, entries: list[Entry]) -> dict[str, FeatureRow]:
        """Keep entries, and return each instrument's newest row."""
        newest: dict[str, FeatureRow] = {}
        for entry in entries:
            self._position = entry.id
            try:
                message = decode(entry.type, entry.data)
            except Poison:
                self._recorder.counts.refused += 1
                continue
            self._recorder.take([(MARKET, message)], entry.id)
            rows = self._keeper.take(message)
            if rows and id_key(entry.id) > self._stored:
                self._writer.take(rows, entry.id)
                newest |= {row.instrument: row for row in rows}
            self.messages += 1
            self.rows += len(rows)
        self._recorder.turn()
        self._writer.turn()
        return newest
