"""The whole configuration, one immutable object known by its hash."""

from __future__ import annotations

from functools import cached_property

from pydantic import Field

from edgefleet.errors import Misuse
from edgefleet.ids import body_hash
from edgefleet.params.schema.base import Params
from edgefleet.params.schema.execution import ExecutionParams
from edgefleet.params.schema.features import FeaturesParams
from edgefleet.params.schema.fleet import FleetParams
from edgefleet.params.schema.instruments import InstrumentsParams
from edgefleet.params.schema.models import ModelsParams
from edgefleet.params.schema.risk import RiskParams
from edgefleet.params.schema.router import RouterParams
from edgefleet.params.schema.stress import StressParams
from edgefleet.params.schema.venues import VenuesParams

COMPONENTS: dict[str, type[Params]] = {
    "risk_harmonizer": RiskParams,
    "model_router": RouterParams,
    "models": ModelsParams,
    "features": FeaturesParams,
    "venues": VenuesParams,
    "instruments": InstrumentsParams,
    "execution": ExecutionParams,
    "stress": StressParams,
    "fleet": FleetParams,
}


def canonical_component(name: str) -> str:
    """Return the component's one name; both spellings of the harmonizer are known.

    Raises
    ------
    Misuse
        If no component has that name.
    """
    known = {"risk_harmoniser": "risk_harmonizer"}.get(name, name)
    if known not in COMPONENTS:
        raise Misuse(f"component {name!r} is unknown; the components are {', '.join(sorted(COMPONENTS))}")
    return known


class FleetConfig(Params):
    """All components and feature flags in force. Swapped whole, between two commits."""

    risk_harmonizer: RiskParams = Field(default_factory=lambda: RiskParams())
    model_router: RouterParams = Field(default_factory=lambda: RouterParams())
    models: ModelsParams = Field(default_factory=lambda: ModelsParams())
    features: FeaturesParams = Field(default_factory=lambda: FeaturesParams())
    venues: VenuesParams = Field(default_factory=lambda: VenuesParams())
    instruments: InstrumentsParams = Field(default_factory=lambda: InstrumentsParams())
    execution: ExecutionParams = Field(default_factory=lambda: ExecutionParams())
    stress: StressParams = Field(default_factory=lambda: StressParams())
    fleet: FleetParams = Field(default_factory=lambda: FleetParams())
    flags: dict[str, bool] = Field(default_factory=dict)

    @cached_property
    def hash(self) -> str:
        """Return the sha256 of the canonical JSON of everything here."""
        return body_hash(self.model_dump(mode="json"))
