"""What one configuration says to risk, worked out once per configuration. Knows parameters; nothing of state."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from edgefleet.book.sessions import Calendar, calendar_for
from edgefleet.clock import NS_PER_MS, NS_PER_S
from edgefleet.instruments import Instrument
from edgefleet.messages import Refusal
from edgefleet.params.schema import FleetConfig
from edgefleet.risk.blend import Blender
from edgefleet.risk.limits import Caps, caps_of, fleet_caps_of
from edgefleet.risk.verdict import No


class Terms(msgspec.Struct, frozen=True, gc=False):
    """What is configured of one instrument."""

    rules: Instrument
    sector: str
    fee: float  # fraction of notional, taker
    lot: Decimal  # base units
    min_quantity: Decimal  # base units
    min_notional: float  # quote units
    step: float  # of equity: one size step
    caps: tuple[Caps, Caps]  # all, and those that can bind
    daily_volume: float | None = None  # base units

    def takes(self, size: Decimal, bid: float) -> bool:
        """Return whether the venue would take an order of `size` (base units, positive)."""
        return size >= self.min_quantity and float(size) * bid >= self.min_notional


class RiskPlan:
    """One configuration, ready to ask. Terms, once made, are kept: the configuration never changes under them."""

    __slots__ = (
        "_terms",
        "account",
        "blend",
        "config",
        "flatten_after_ns",
        "fleet_caps",
        "hash",
        "night_ns",
        "params",
        "renew_ns",
        "signal_stale_ms",
        "signal_stale_ns",
        "ttl_ns",
    )

    def __init__(self, config: FleetConfig) -> None:
        params = config.risk_harmonizer
        self.config = config
        self.hash = config.hash
        self.account = config.fleet.account
        self.params = params
        self.blend = Blender(params.edge_blending)
        self.fleet_caps = fleet_caps_of(params)
        self.flatten_after_ns = params.freshness.flatten_after_ms * NS_PER_MS
        self.signal_stale_ms = params.freshness.signal_stale_after_ms
        self.signal_stale_ns = self.signal_stale_ms * NS_PER_MS
        self.ttl_ns = params.verdicts.target_ttl_ms * NS_PER_MS
        self.night_ns = params.volatility.nightly_floor_days * 86_400 * NS_PER_S
        self.renew_ns = self.ttl_ns // 3  # of its life left: a target is renewed when two thirds are over
        self._terms: dict[str, Terms | No] = {}

    def terms(self, instrument: str) -> Terms | No:
        """Return what is configured of `SYMBOL@venue`, a refusal where it is not."""
        try:
            return self._terms[instrument]
        except KeyError:
            found = self._terms[instrument] = self._find(instrument)
            return found

    def calendar(self, instrument: str) -> Calendar:
        """Return the hours of an instrument; of a class whose hours are not known it is as if it never closed."""
        terms = self.terms(instrument)
        known = not isinstance(terms, No) and terms.rules.asset_class == "us_stocks"
        return calendar_for("us_stocks" if known else "crypto")

    def _find(self, instrument: str) -> Terms | No:
        _, _, venue_name = instrument.rpartition("@")
        rules = self.config.instruments.get(instrument)
        venue = self.config.venues.venues.get(venue_name)
        if rules is None or venue is None:
            return No(Refusal.UNKNOWN_INSTRUMENT, detail="instrument" if rules is None else f"venue {venue_name}")
        volume = self.config.instruments.symbols[rules.symbol].daily_volume
        sector = self.config.instruments.symbols[rules.symbol].sector
        caps = caps_of(rules.asset_class, sector, self.params)
        return Terms(
            rules=rules,
            sector=sector,
            caps=(caps, caps.tightest()),
            fee=float(venue.taker_fee),
            lot=rules.lot_size,
            min_quantity=rules.min_quantity,
            min_notional=float(rules.min_notional),
            step=self.params.position_sizing.size_step_fraction * caps.aimed(),
            daily_volume=None if volume is None else float(volume),
        )
