"""Routing rules made ready to ask: which rule an edge of some horizon falls under. Knows nothing of edges' values."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple

import msgspec

from edgefleet.clock import NS_PER_MS
from edgefleet.instruments import split_id
from edgefleet.params.schema import FleetConfig
from edgefleet.params.schema.horizon import Horizon, parse_horizon
from edgefleet.params.schema.router import ModelThresholds, RouterRule

DEFAULT_RULE = "default"


class Route(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """A rule's name and the models that it listens to."""

    rule: str
    models: tuple[str, ...]


class _Rule(NamedTuple):
    route: Route
    asset_class: str
    instrument: str
    regime: str | None
    horizon: Horizon


class Routes:
    """The rules of one configuration. A route, once found, is kept: the rules never change under it."""

    __slots__ = (
        "_default",
        "_found",
        "_instruments",
        "_rules",
        "config",
        "dwell_ns",
        "freshness",
        "hash",
        "thresholds",
    )

    def __init__(self, config: FleetConfig) -> None:
        params = config.model_router
        self.config = config
        self.hash = config.hash
        self.dwell_ns = params.dwell_ms * NS_PER_MS
        self.freshness = params.freshness
        self.thresholds: dict[str, ModelThresholds] = params.model_thresholds
        self._instruments = config.instruments
        self._rules = tuple(_made(name, rule) for name, rule in params.ordered)
        self._default = None if params.default_model is None else Route(DEFAULT_RULE, (params.default_model,))
        self._found: dict[tuple[str, int, str | None], Route | None] = {}

    def route(self, instrument: str, horizon_ms: int, regime: str | None = None) -> Route | None:
        """Return the first rule's route that fits, the default's where none does, None where there is no default."""
        key = (instrument, horizon_ms, regime)
        try:
            return self._found[key]
        except KeyError:
            found = self._found[key] = self._find(instrument, horizon_ms, regime)
            return found

    def _find(self, instrument: str, horizon_ms: int, regime: str | None) -> Route | None:
        known = self._instruments.get(instrument)
        asset_class = "" if known is None else known.asset_class
        for rule in self._rules:
            if (
                rule.horizon.holds(horizon_ms)
                and fnmatchcase(asset_class, rule.asset_class)
                and (rule.regime is None or rule.regime == regime)
                and any(fnmatchcase(spelling, rule.instrument) for spelling in _spellings(instrument))
            ):
                return rule.route
        return self._default


def _made(name: str, rule: RouterRule) -> _Rule:
    return _Rule(
        Route(name, rule.chosen), rule.asset_class, rule.instrument, rule.regime, parse_horizon(rule.horizon_ms)
    )


def _spellings(instrument: str) -> tuple[str, ...]:
    symbol, _ = split_id(instrument)
    return instrument, symbol, symbol.replace("/", "-"), symbol.replace("/", "")
