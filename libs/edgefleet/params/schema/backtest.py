"""`conf/features.yml`, key `backtest`: how value at risk is held against the kept bars, each night."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from edgefleet.params.schema.base import Params
from edgefleet.params.schema.keep import Width

# `edgefleet.risk` has them all, and a test holds this list to it: parameters are below the arithmetic.
TestedMethod = Literal[
    "normal",
    "ewma",
    "ewma-t",
    "historical",
    "age-weighted",
    "filtered",
    "cornish-fisher",
    "monte-carlo",
    "garch",
    "garch-filtered",
    "gjr-t",
]


class BacktestParams(Params):
    """The nightly back-test of every traded symbol, by the service `features`."""

    run: Literal["auto", "always", "never"] = Field(
        "auto",
        description="auto: in paper and live, not in a demo nor on a tape; always: there too, by the market's time",
    )
    at: str = Field(
        "00:10",
        pattern=r"^([01]\d|2[0-3]):[0-5]\d$",
        description="when, in UTC; missed while the service was down: at its start",
    )
    methods: tuple[TestedMethod, ...] = Field(
        ("historical", "filtered", "ewma", "cornish-fisher", "garch"),
        min_length=1,
        description="ways of telling value at risk; as in `edgefleet risk backtest`",
    )
    interval: Width = Field("1h", description="bars whose returns are judged; one of keep.bars")
    level: float = Field(0.95, gt=0.5, lt=1, description="probability that a loss stays below the value at risk")
    window: int = Field(
        252, ge=100, le=10_000, description="returns that each period is told from; a garch takes up to 1,000, refitted"
    )
    periods: int = Field(250, ge=20, le=10_000, description="the newest, which are judged; fewer give no verdict")
    keep_days: int = Field(400, ge=1, description="nights older than that are removed")
    time_limit_s: int = Field(1_800, gt=0, description="for all symbols of a night; what is not judged then is told")

    @field_validator("methods")
    @classmethod
    def _each_once(cls, values: tuple[TestedMethod, ...]) -> tuple[TestedMethod, ...]:
        if len(set(values)) < len(values):
            raise ValueError("names a method twice")
        return values
