"""What is made of the market, message by message: feature rows, bars, the best over venues. Does no I/O."""

from __future__ import annotations

from base64 import b64decode, b64encode

import msgspec

from edgefleet.book.bar_kinds import BarKinds, BarPlan, InstrumentBars
from edgefleet.book.tops import ConsolidatedBest, Tops
from edgefleet.errors import Poison
from edgefleet.features import FeatureEngine, FeatureSpec
from edgefleet.features.cards import definitions
from edgefleet.features.state import FeatureState
from edgefleet.instruments import AssetClass, split_id
from edgefleet.messages import Beat, BookDelta, BookSnapshot, Message, Quote, Trade, VenueStatus
from edgefleet.messages.market import Bar
from edgefleet.params.schema import FleetConfig
from edgefleet.store.features.sets import FeatureRow
from edgefleet.store.market.kinds import SCALE
from edgefleet.units import EXACT


def definitions_of(config: FleetConfig) -> dict[str, str]:
    """Return how each streaming feature is made."""
    return definitions(FeatureSpec.of(config.features, "crypto"))


class FeatureKeeper:
    """Every instrument's features, a row at each beat of its venue.

    `memory` is a text that says all it knows: a keeper made with it goes on where that one was. One that another
    release wrote and this one cannot read is as none, and `forgot` says so.
    """

    def __init__(self, config: FleetConfig, memory: str = "") -> None:
        self._config = config
        self._engines: dict[str, FeatureEngine] = {}
        self.refused = 0  # messages with a number that cannot be
        states: dict[str, FeatureState] = {}
        self.forgot = False
        try:
            states = msgspec.msgpack.decode(b64decode(memory), type=dict[str, FeatureState]) if memory else {}
        except (msgspec.MsgspecError, ValueError):
            self.forgot = True
        for instrument, state in states.items():
            self._engine(instrument, state)

    @property
    def memory(self) -> str:
        """Return what another keeper needs to go on from here."""
        states = {instrument: engine.state for instrument, engine in self._engines.items()}
        return b64encode(msgspec.msgpack.encode(states)).decode()

    def take(self, message: Message) -> list[FeatureRow]:
        """Take a message and return the rows that a beat makes: as of the beat, and known from then on."""
        if isinstance(message, Beat):
            rows = [self._row(touch.instrument, message.ts_event) for touch in message.touches]
            return [row for row in rows if row is not None]
        instrument = getattr(message, "instrument", None)
        engines = list(self._engines.values()) if instrument is None else [self._engine(instrument)]
        for engine in engines:
            try:
                engine.on_message(message)
            except Poison:
                self.refused += 1
        return []

    def _row(self, instrument: str, ts: int) -> FeatureRow | None:
        engine = self._engines.get(instrument)
        if engine is None:
            return None
        at = max(ts, engine.state.time)  # a venue's clock may be ahead of ours, which stamps the beat
        return FeatureRow(instrument, at, at, dict(engine.values(at)))

    def _engine(self, instrument: str, state: FeatureState | None = None) -> FeatureEngine:
        engine = self._engines.get(instrument)
        if engine is None:
            spec = FeatureSpec.of(self._config.features, _class_of(self._config, instrument))
            engine = self._engines[instrument] = FeatureEngine(instrument, spec, state)
        return engine


class BarKeeper:
    """Every instrument's bars of every kind that the configuration asks for. Its `memory` is as a `FeatureKeeper`'s."""

    def __init__(self, config: FleetConfig, memory: str = "") -> None:
        self._config = config
        open_bars: dict[str, InstrumentBars] = {}
        self.forgot = False
        try:
            open_bars = msgspec.json.decode(memory, type=dict[str, InstrumentBars]) if memory else {}
        except msgspec.MsgspecError:
            self.forgot = True
        self._kinds = BarKinds(open_bars)
        for instrument in self._kinds.memory:
            self._kinds.plan(instrument, self._plan(instrument))

    @property
    def memory(self) -> str:
        """Return what another keeper needs to go on from here."""
        return msgspec.json.encode(self._kinds.memory).decode()

    @property
    def left_out(self) -> dict[str, int]:
        """Return how many prints ever fell into no bar of time, by reason."""
        return self._kinds.left_out()

    @property
    def newest(self) -> dict[str, dict[str, Bar]]:
        """Return every instrument's newest finished bars, by kind."""
        return {instrument: bars.newest for instrument, bars in self._kinds.memory.items() if bars.newest}

    def take(self, message: Message) -> list[Bar]:
        """Take a message and return the bars that it closed."""
        if not isinstance(message, Beat | Trade):
            return []
        if isinstance(message, Trade) and not self._kinds.is_planned(message.instrument):
            self._kinds.plan(message.instrument, self._plan(message.instrument))
        return [_kept(bar) for bar in self._kinds.take(message)]

    def _plan(self, instrument: str) -> BarPlan:
        keep, symbol = self._config.features.keep, split_id(instrument)[0]
        asked = {"volume": keep.volume_bars.get(symbol), "dollar": keep.dollar_bars.get(symbol)}
        return BarPlan(
            asset_class=_class_of(self._config, instrument),
            widths=keep.bars,
            grace_ms=keep.grace_ms,
            auction_ms=keep.auction_ms,
            sizes={kind: size for kind, size in asked.items() if size is not None},
        )


class BestKeeper:
    """Every symbol's best over its venues, at each beat of one of them. It has no history to go on from."""

    def __init__(self, config: FleetConfig) -> None:
        self._tops = Tops(config.features.keep.best_stale_ms)

    def take(self, message: Message) -> list[ConsolidatedBest]:
        """Take a message and return the bests that a beat tells."""
        if isinstance(message, Beat | Quote | BookSnapshot | BookDelta | VenueStatus):
            return self._tops.take(message)
        return []


def _kept(bar: Bar) -> Bar:
    """Return the bar as a column holds it: nothing is rounded, so a turnover of more digits is not known."""
    if bar.turnover is None:
        return bar
    exponent = bar.turnover.normalize(EXACT).as_tuple().exponent
    return bar if isinstance(exponent, int) and -exponent <= SCALE else msgspec.structs.replace(bar, turnover=None)


def made_alike(one: FleetConfig, other: FleetConfig) -> bool:
    """Return whether two configurations make the same rows and the same bars."""
    if one is other:
        return True
    untested = one.features.model_copy(update={"backtest": other.features.backtest})
    return (untested, one.instruments) == (other.features, other.instruments)


def _class_of(config: FleetConfig, instrument: str) -> AssetClass:
    rules = config.instruments.get(instrument)
    return "crypto" if rules is None else rules.asset_class
