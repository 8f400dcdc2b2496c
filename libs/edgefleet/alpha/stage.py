"""The alpha layer: market in, every live model's edge out. Knows nothing of sockets, streams or clocks."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar, Union, cast

import msgspec

from edgefleet.alpha.model import AlphaModel
from edgefleet.alpha.registry import all_models
from edgefleet.book import BarBuilder
from edgefleet.clock import NS_PER_MS
from edgefleet.features import FeatureEngine, Features, FeatureSpec, FeatureState, Top, TopReader
from edgefleet.messages.market import Bar, Beat, BookDelta, BookSnapshot, Quote, Trade, VenueStatus
from edgefleet.messages.signals import ModelEdge, Signals, Watermark
from edgefleet.params.schema import FleetConfig, Params
from edgefleet.stage import Input, Output

SIGNALS = "signals"


S = TypeVar("S", bound=msgspec.Struct)


class _Running(NamedTuple):
    """A model under one configuration."""

    id: str
    version: str
    model: AlphaModel[Any, Any]
    parameters: Params
    horizon_ms: int


class _Plan(NamedTuple):
    """What of a configuration this stage needs, worked out once per configuration."""

    config: FleetConfig
    hash: str
    warm: tuple[_Running, ...]  # take bars
    live: tuple[_Running, ...]  # and speak
    reading: tuple[_Running, ...]  # and are given features
    specs: dict[str, FeatureSpec]  # of the features that are read, by instrument, as far as they were asked for
    interval_ns: int
    bar_ms: int


class InstrumentState(msgspec.Struct):
    """What alpha remembers of one instrument."""

    features: Features
    bars: BarBuilder
    models: dict[str, Any]  # model state by model id
    time: int = 0  # ns since the epoch: the largest stamp of this instrument
    signalled: int | None = None  # `time` of the last Signals
    read: FeatureState | None = None  # of the features that models read; None: none does


class AlphaState(msgspec.Struct):
    """What alpha remembers."""

    time: int = 0  # ns since the epoch: the largest stamp of any input
    instruments: dict[str, InstrumentState] = {}


class AlphaStage:
    """Signals of every instrument, and each `Beat` passed on in order as a `Watermark`.

    A `Signals` follows a market event when `features.min_interval_ms` of that instrument's own time passed since its
    last one. A shadow model is kept warm and stands in no `Signals`.
    """

    service = "alpha"
    inputs = ("market",)
    schema = 1

    def __init__(self, models: Sequence[AlphaModel[Any, Any]] | None = None) -> None:
        self.models = {model.id: model for model in (all_models().values() if models is None else models)}
        self._instrument_type = _instrument_type([model.state_type for model in self.models.values()])
        self.state_type = _state_type(self._instrument_type)
        self._plan: _Plan | None = None
        self._engines: dict[str, FeatureEngine] = {}  # over the states' own `read`, by instrument
        self._tops: dict[str, TopReader] = {}  # by instrument

    def initial(self) -> AlphaState:
        return self.state_type()

    def step(self, state: AlphaState, entry: Input, config: FleetConfig) -> Sequence[Output]:
        plan = self._plan
        if plan is None or plan.config is not config:
            plan = self._plan = self._compile(config)
        message = entry.message
        if type(message) is Quote:
            known = self._told(state, message, plan)
            known.features.on_quote(message)
        elif type(message) is Trade:
            known = self._told(state, message, plan)
            self._on_trade(known, message, plan)
        elif type(message) is BookDelta or type(message) is BookSnapshot:
            known = self._told(state, message, plan)
        else:
            return self._on_other(state, entry, plan)
        stamp = message.ts_event
        if stamp > state.time:
            state.time = stamp
        if stamp > known.time:
            known.time = stamp
        if known.signalled is not None and known.time - known.signalled < plan.interval_ns:
            return ()
        return self._signals(state, known, message, entry, plan)

    def _on_other(self, state: AlphaState, entry: Input, plan: _Plan) -> Sequence[Output]:
        """Take what no Signals follows from: beats, statuses, history."""
        message = entry.message
        if isinstance(message, Beat):
            state.time = max(state.time, message.ts_event)
            return (Output(SIGNALS, _watermark(message, entry)),)
        if isinstance(message, VenueStatus):
            state.time = max(state.time, message.ts_event)
            self._on_status(state, message, plan)
        elif isinstance(message, Bar) and message.backfill:
            self._on_backfill(self._told(state, message, plan), message, plan)
        return ()

    def _signals(
        self,
        state: AlphaState,
        known: InstrumentState,
        message: Quote | Trade | BookDelta | BookSnapshot,
        entry: Input,
        plan: _Plan,
    ) -> Sequence[Output]:
        reader = self._tops.get(message.instrument)
        if reader is None:
            reader = self._tops[message.instrument] = TopReader()
        top = reader.read(known.features)
        if top is None:
            return ()
        edges = []
        states = known.models
        if plan.reading:
            values = self._engine(known, message.instrument, plan).values()
            for model_id, _, model, parameters, _ in plan.reading:
                model.on_features(states[model_id], values, parameters)
        for model_id, version, model, parameters, horizon_ms in plan.live:
            edge = model.edge(states[model_id], top, parameters)
            if edge is not None:
                edges.append(
                    ModelEdge(
                        model=model_id,
                        version=version,
                        edge_bps=edge.edge_bps,
                        confidence=edge.confidence,
                        horizon_ms=horizon_ms,
                    )
                )
        if not edges:
            return ()
        known.signalled = known.time
        signals = Signals(
            instrument=message.instrument,
            edges=tuple(edges),
            mid=top.mid,
            features=_digest(top, edges),
            watermark=state.time,
            ts_event=message.ts_event,
            ts_init=message.ts_init,
            trace_id=message.trace_id,
            cause=entry.cause,
            config=plan.hash,
        )
        return (Output(SIGNALS, signals),)

    def _on_trade(self, known: InstrumentState, trade: Trade, plan: _Plan) -> None:
        known.features.on_trade(trade)
        bar = known.bars.add(trade)
        if bar is not None:
            self._on_bar(known, bar, plan)

    def _on_backfill(self, known: InstrumentState, bar: Bar, plan: _Plan) -> None:
        """Warm models up. Bars of another width, and bars that came after live trading began, say nothing."""
        if bar.interval_ms == plan.bar_ms and known.bars.bar is None:
            self._on_bar(known, bar, plan)

    @staticmethod
    def _on_bar(known: InstrumentState, bar: Bar, plan: _Plan) -> None:
        for model_id, _, model, parameters, _ in plan.warm:
            model.on_bar(known.models[model_id], bar, parameters)

    def _on_status(self, state: AlphaState, status: VenueStatus, plan: _Plan) -> None:
        for instrument, known in state.instruments.items():
            if plan.reading:
                self._engine(known, instrument, plan).on_message(status)
            if status.status == "disconnected" and instrument.rpartition("@")[2] == status.venue:
                known.features.lose_top()

    def _told(
        self, state: AlphaState, message: Quote | Trade | BookDelta | BookSnapshot | Bar, plan: _Plan
    ) -> InstrumentState:
        """Return what is known of a message's instrument, the features that models read having taken the message."""
        known = self._of(state, message.instrument, plan)
        if plan.reading:
            self._engine(known, message.instrument, plan).on_message(message)
        return known

    def _engine(self, known: InstrumentState, instrument: str, plan: _Plan) -> FeatureEngine:
        """Return the engine over `known.read`, which begins anew where the configuration asks for other features."""
        spec = plan.specs.get(instrument)
        if spec is None:
            spec = plan.specs[instrument] = _spec(plan, instrument)
        engine = self._engines.get(instrument)
        if engine is None or engine.state is not known.read or engine.spec is not spec:
            engine = self._engines[instrument] = FeatureEngine(instrument, spec, known.read)
            known.read = engine.state
        return engine

    def _of(self, state: AlphaState, instrument: str, plan: _Plan) -> InstrumentState:
        known = state.instruments.get(instrument)
        if known is None:
            known = state.instruments[instrument] = self._instrument_type(
                features=Features(), bars=BarBuilder(plan.bar_ms), models=self._initial_models()
            )
        elif known.bars.interval_ms != plan.bar_ms:  # closes of another width mean something else
            known.bars = BarBuilder(plan.bar_ms)
            known.models = self._initial_models()
        elif len(known.models) < len(self.models):  # a snapshot from before a model was added
            known.models = self._initial_models() | known.models
        return known

    def _initial_models(self) -> dict[str, Any]:
        return {model_id: model.initial() for model_id, model in self.models.items()}

    def _compile(self, config: FleetConfig) -> _Plan:
        warm, live, reading = [], [], []
        for model_id in sorted(config.models.models):
            registration = config.models.models[model_id]
            model = self.models.get(model_id)
            if model is None or registration.state == "retired":
                continue
            parameters = model.parse(registration.parameters)
            running = _Running(model.id, model.version, model, parameters, model.horizon_ms(parameters))
            warm.append(running)
            if registration.state == "live":
                live.append(running)
            if model.reads:
                reading.append(running)
        interval_ns = config.features.min_interval_ms * NS_PER_MS
        plans = tuple(warm), tuple(live), tuple(reading)
        return _Plan(config, config.hash, *plans, {}, interval_ns, config.features.bar_ms)


def _spec(plan: _Plan, instrument: str) -> FeatureSpec:
    """Return the features of an instrument that some model reads."""
    rules = plan.config.instruments.get(instrument)
    whole = FeatureSpec.of(plan.config.features, "crypto" if rules is None else rules.asset_class)
    read = {family for running in plan.reading for family in running.model.reads}
    return msgspec.structs.replace(whole, families=tuple(family for family in whole.families if family in read))


def _watermark(beat: Beat, entry: Input) -> Watermark:
    return Watermark(
        venue=beat.venue, ts_event=beat.ts_event, ts_init=beat.ts_init, trace_id=beat.trace_id, cause=entry.cause
    )


def _digest(top: Top, edges: Sequence[ModelEdge]) -> str:
    """Return the name of exactly what the models saw and said: 16 hex digits over the doubles' bits."""
    values = [top.bid, top.bid_size, top.ask, top.ask_size]
    for edge in edges:
        values += (edge.edge_bps, edge.confidence)
    return _name_of(_doubles(len(values))(*values))


@lru_cache(maxsize=256)  # most events leave the top as it was, and what is said of it
def _name_of(seen_and_said: bytes) -> str:
    return blake2b(seen_and_said, digest_size=8).hexdigest()


@cache
def _doubles(count: int) -> Callable[..., bytes]:
    """Return what packs so many doubles, little-endian."""
    return struct.Struct(f"<{count}d").pack


def _instrument_type(model_states: Sequence[type[msgspec.Struct]]) -> type[InstrumentState]:
    """Return `InstrumentState` with the models' states as a tagged union, so that a snapshot comes back typed."""
    union: Any = Union[tuple(model_states)] if model_states else Any  # noqa: UP007 - made from a sequence
    return _derived(InstrumentState, [("models", dict[str, union])])


def _state_type(instrument: Any) -> type[AlphaState]:
    return _derived(AlphaState, [("instruments", dict[str, instrument], msgspec.field(default_factory=dict))])


def _derived(base: type[S], fields: list[Any]) -> type[S]:
    made: Any = msgspec.defstruct(base.__name__, fields, bases=(base,), kw_only=True)
    return cast(type[S], made)
