"""`conf/stress.yml`: markets as they once fell, for asking what the portfolio would lose. Decides no order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import Field, model_validator

from edgefleet.instruments import AssetClass
from edgefleet.params.schema.base import Params

_HIGHEST = 10.0  # a rise is what a short position fears


class ShocksParams(Params):
    """What prices do, as fractions of price. The most specific that fits a position counts: this order."""

    instrument: dict[str, float] = Field(
        default_factory=dict, description="by glob over BTC/USDT@sim, BTC/USDT or BTCUSDT; of several the longest"
    )
    base: dict[str, float] = Field(default_factory=dict, description="by what is held: BTC of BTC/USDT, AAPL")
    sector: dict[str, float] = Field(default_factory=dict, description="by the sector that instruments.yml names")
    asset_class: dict[AssetClass, float] = Field(default_factory=dict, description="by asset class")

    @model_validator(mode="after")
    def _says_something_possible(self) -> Self:
        if "none" in self.sector:
            raise ValueError("sector.none: none says that an instrument has no sector; name one")
        for by, shocks in (("instrument", self.instrument), ("base", self.base), ("sector", self.sector)):
            _check(by, shocks)
        _check("asset_class", self.asset_class)
        if not (self.instrument or self.base or self.sector or self.asset_class):
            raise ValueError("names nothing; give at least one shock")
        return self


def _check(by: str, shocks: Mapping[str, float] | Mapping[AssetClass, float]) -> None:
    for name, shock in shocks.items():
        if not -1 <= shock <= _HIGHEST:  # a price that lost all of itself falls no further
            raise ValueError(f"{by}.{name} must be in [-1, {_HIGHEST:g}], was {shock!r}")


class ScenarioParams(Params):
    """One way for markets to fall."""

    name: str = Field(min_length=1, max_length=60, description="how commands, the page and the metric call it")
    description: str = Field("", description="for people")
    source: str = Field(min_length=1, description="where the figures are from: index or asset, dates, closes")
    shocks: ShocksParams
    volatility_multiplier: float | None = Field(
        None, gt=0, le=100, description="what daily deviations are multiplied by; null: value at risk is not judged"
    )
    cost_bps: float | None = Field(
        None, ge=0, le=10_000, description="spread and fees on top, of the value after the shock; null: not counted"
    )


class StressParams(Params):
    """Scenarios for `edgefleet risk stress` and the page. None of them changes a decision."""

    scenarios: tuple[ScenarioParams, ...] = ()

    @model_validator(mode="after")
    def _names_are_told_apart(self) -> Self:
        places: dict[str, int] = {}
        for place, scenario in enumerate(self.scenarios):
            if places.setdefault(scenario.name, place) != place:
                raise ValueError(f"scenarios {places[scenario.name] + 1} and {place + 1} are both {scenario.name!r}")
        return self
