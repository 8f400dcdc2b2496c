"""The router layer: every model's edge in, the ones that are listened to out. Knows nothing of streams or clocks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from edgefleet.clock import NS_PER_MS
from edgefleet.ensemble.routes import Route, Routes
from edgefleet.messages.signals import (
    Abstention,
    Ensemble,
    ModelEdge,
    ModelSwitched,
    Signals,
    Watermark,
    WeightedEdge,
)
from edgefleet.params.schema import FleetConfig
from edgefleet.stage import Input, Output

ENSEMBLES = "ensembles"
SWITCH_LOG = "model.switch.log"


class HeardEdge(msgspec.Struct, frozen=True, gc=False):
    """What a model last said of an instrument, and when in market time."""

    edge: ModelEdge
    ts: int  # ns since the epoch


class Selection(msgspec.Struct):
    """The models of one instrument and rule that are listened to, and since when."""

    models: tuple[str, ...] = ()
    since: int | None = None  # ns since the epoch of the last switch


class RoutedInstrument(msgspec.Struct):
    """What the router remembers of one instrument."""

    heard: dict[str, HeardEdge] = {}
    selections: dict[str, Selection] = {}  # by rule


class RouterState(msgspec.Struct):
    """What the router remembers."""

    time: int = 0  # ns since the epoch: the largest stamp of any input
    instruments: dict[str, RoutedInstrument] = {}


class RouterStage:
    """For each `Signals` one `Ensemble` per rule that any of the instrument's edges falls under, and the switches.

    An edge is listened to while it is fresh (no older than `freshness` of its horizon), its rule names its model and
    it keeps its model's thresholds. A model that stops being so is dropped at once; one that comes (again) joins when
    the rule's selection has stood for `dwell_ms`, so that a flickering model does not flicker the ensemble.
    """

    service = "router"
    inputs = ("signals",)
    state_type = RouterState
    schema = 1

    def __init__(self) -> None:
        self._routes: Routes | None = None

    def initial(self) -> RouterState:
        return RouterState()

    def step(self, state: RouterState, entry: Input, config: FleetConfig) -> Sequence[Output]:
        routes = self._routes
        if routes is None or routes.config is not config:
            routes = self._routes = Routes(config)
        message = entry.message
        if type(message) is Signals:
            if message.ts_event > state.time:
                state.time = message.ts_event
            if message.watermark > state.time:
                state.time = message.watermark
            known = state.instruments.get(message.instrument)
            if known is None:
                known = state.instruments[message.instrument] = RoutedInstrument()
            return self._select(state, known, message, entry, routes)
        if type(message) is Watermark:
            state.time = max(state.time, message.ts_event)
            return (Output(ENSEMBLES, msgspec.structs.replace(message, cause=entry.cause)),)
        return ()

    def _select(
        self, state: RouterState, known: RoutedInstrument, signals: Signals, entry: Input, routes: Routes
    ) -> list[Output]:
        now, instrument = signals.ts_event, signals.instrument
        for edge in signals.edges:
            known.heard[edge.model] = HeardEdge(edge, now)
        candidates: dict[Route, list[HeardEdge]] = {}
        nowhere: list[Abstention] = []
        for heard in known.heard.values():
            route = routes.route(instrument, heard.edge.horizon_ms)
            if route is None:
                nowhere.append(Abstention(model=heard.edge.model, reason="NO_RULE"))
            elif route in candidates:
                candidates[route].append(heard)
            else:
                candidates[route] = [heard]
        for rule in known.selections:  # a rule that nothing falls under any more lets go of its models
            for route in candidates:
                if route.rule == rule:
                    break
            else:
                candidates[Route(rule, ())] = []
        out: list[Output] = []
        for route, heard_edges in candidates.items():
            self._ensemble(state, known, route, heard_edges, nowhere, signals, entry, routes, out)
        return out

    def _ensemble(
        self,
        state: RouterState,
        known: RoutedInstrument,
        route: Route,
        heard_edges: Sequence[HeardEdge],
        nowhere: Sequence[Abstention],
        signals: Signals,
        entry: Input,
        routes: Routes,
        out: list[Output],
    ) -> None:
        now = signals.ts_event
        selection = known.selections.get(route.rule)
        if selection is None:
            selection = known.selections[route.rule] = Selection()
        settled = selection.since is None or now - selection.since >= routes.dwell_ns
        chosen: list[HeardEdge] = []
        models: list[str] = []
        edges_bps: list[float] = []
        abstained = list(nowhere)
        for heard in heard_edges:
            edge = heard.edge
            reason = _objection(edge, now - heard.ts, route, routes)
            if reason is None and not settled and edge.model not in selection.models:
                reason = "DWELL"
            if reason is None:
                chosen.append(heard)
                models.append(edge.model)
                edges_bps.append(edge.edge_bps)
            else:
                abstained.append(Abstention(model=edge.model, reason=reason))
        after = tuple(models)
        if after != selection.models:
            switched = _switched(route, selection, after, abstained, signals, entry, routes)
            out.append(Output(ENSEMBLES, switched))
            out.append(Output(SWITCH_LOG, switched))
            selection.models, selection.since = after, now
        if not route.models:
            del known.selections[route.rule]
        ensemble = Ensemble(
            instrument=signals.instrument,
            rule=route.rule,
            chosen=_weighted(chosen, now),
            abstained=tuple(abstained),
            regime=None,
            uncertainty_bps=dispersion(edges_bps),
            mid=signals.mid,
            watermark=state.time,
            ts_event=now,
            ts_init=signals.ts_init,
            trace_id=signals.trace_id,
            cause=entry.cause,
            config=routes.hash,
        )
        out.append(Output(ENSEMBLES, ensemble))


def dispersion(edges_bps: Sequence[float]) -> float | None:
    """Return the standard deviation (of the population, bps) of the edges, None with fewer than two.

    Examples
    --------
    >>> dispersion([1.0, 3.0]), dispersion([5.0])
    (1.0, None)
    """
    count = len(edges_bps)
    if count < 2:
        return None
    mean = math.fsum(edges_bps) / count
    return math.sqrt(math.fsum([(edge - mean) ** 2 for edge in edges_bps]) / count)


def _objection(edge: ModelEdge, age_ns: int, route: Route, routes: Routes) -> str | None:
    """Return why an edge is not listened to, None where nothing speaks against it."""
    if edge.model not in route.models:
        return "NOT_IN_RULE"
    if not age_ns <= edge.horizon_ms * NS_PER_MS * routes.freshness:
        return "STALE"
    limits = routes.thresholds.get(edge.model)
    if limits is not None and limits.min_confidence is not None and not edge.confidence >= limits.min_confidence:
        return "LOW_CONFIDENCE"
    return None


def _weighted(chosen: Sequence[HeardEdge], now: int) -> tuple[WeightedEdge, ...]:
    if not chosen:
        return ()
    weight = 1.0 / len(chosen)
    weighted = []
    for heard in chosen:
        edge, age_ns = heard.edge, now - heard.ts
        weighted.append(
            WeightedEdge(
                model=edge.model,
                version=edge.version,
                edge_bps=edge.edge_bps,
                confidence=edge.confidence,
                horizon_ms=edge.horizon_ms,
                weight=weight,
                age_ms=age_ns // NS_PER_MS if age_ns > 0 else 0,
            )
        )
    return tuple(weighted)


def _switched(
    route: Route,
    selection: Selection,
    after: tuple[str, ...],
    abstained: Sequence[Abstention],
    signals: Signals,
    entry: Input,
    routes: Routes,
) -> ModelSwitched:
    reasons = {abstention.model: abstention.reason for abstention in abstained}
    parts = [f"{model} joined" for model in after if model not in selection.models]
    parts += [f"{model} left: {reasons.get(model, 'NO_RULE')}" for model in selection.models if model not in after]
    return ModelSwitched(
        instrument=signals.instrument,
        rule=route.rule,
        before=selection.models,
        after=after,
        reason="; ".join(parts) or "order of models",
        ts_event=signals.ts_event,
        ts_init=signals.ts_init,
        trace_id=signals.trace_id,
        cause=entry.cause,
        config=routes.hash,
    )
