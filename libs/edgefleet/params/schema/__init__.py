"""Typed configuration: every component, validated whole, known by its hash. Reads no file and no Redis."""

from edgefleet.params.schema.backtest import BacktestParams
from edgefleet.params.schema.base import Params
from edgefleet.params.schema.execution import ExecutionParams
from edgefleet.params.schema.features import FeaturesParams
from edgefleet.params.schema.fleet import FleetParams
from edgefleet.params.schema.instruments import InstrumentParams, InstrumentsParams
from edgefleet.params.schema.models import ModelParams, ModelsParams
from edgefleet.params.schema.risk import RiskParams
from edgefleet.params.schema.root import COMPONENTS, FleetConfig, canonical_component
from edgefleet.params.schema.router import RouterParams
from edgefleet.params.schema.stress import ScenarioParams, ShocksParams, StressParams
from edgefleet.params.schema.venues import VenueParams, VenuesParams

__all__ = [
    "COMPONENTS",
    "BacktestParams",
    "ExecutionParams",
    "FeaturesParams",
    "FleetConfig",
    "FleetParams",
    "InstrumentParams",
    "InstrumentsParams",
    "ModelParams",
    "ModelsParams",
    "Params",
    "RiskParams",
    "RouterParams",
    "ScenarioParams",
    "ShocksParams",
    "StressParams",
    "VenueParams",
    "VenuesParams",
    "canonical_component",
]
