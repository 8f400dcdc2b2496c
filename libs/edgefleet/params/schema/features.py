"""`conf/features.yml`: how often and over what alpha computes."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from edgefleet.params.schema.backtest import BacktestParams
from edgefleet.params.schema.base import Params
from edgefleet.params.schema.keep import KeepParams
from edgefleet.params.schema.quality import QualityParams

# Every family of features there is; `edgefleet.features.cards` says what each one is.
FEATURE_FAMILIES = (
    "mid",
    "spread_bps",
    "microprice",
    "top_imbalance",
    "depth_imbalance",
    "return",
    "volatility",
    "ofi",
    "volume",
    "vwap",
    "trade_imbalance",
    "ema",
    "rsi",
    "macd",
    "atr",
    "bollinger_z",
)

Levels = Annotated[int, Field(ge=1, le=100)]
Minutes = Annotated[int, Field(ge=1, le=1_440)]
Seconds = Annotated[int, Field(ge=1, le=3_600)]
Bars = Annotated[int, Field(ge=1, le=1_000)]


class FeaturesParams(Params):
    """Streaming features and the conflation before the models."""

    min_interval_ms: int = Field(
        100, ge=0, description="event time between two Signals of an instrument; 0: every event"
    )
    quality: QualityParams = Field(
        default_factory=QualityParams, description="from when on market data is not believed"
    )
    keep: KeepParams = Field(default_factory=KeepParams, description="what is kept of the market beside features")
    backtest: BacktestParams = Field(
        default_factory=BacktestParams, description="value at risk against the kept bars, each night"
    )
    bar_ms: int = Field(1_000, gt=0, description="length of a bar in event time")
    online: tuple[str, ...] = Field(FEATURE_FAMILIES, description="families of features that are computed live")
    top_from: Literal["auto", "quotes", "book"] = Field(
        "auto",
        description="where the best bid and ask come from: quotes, the venue's own top of book; book, the best of its "
        "depth; auto, the book until a quote has come",
    )
    max_gap_s: int = Field(
        300, ge=1, le=86_400, description="silence after which a price is unknown and windows begin anew"
    )
    depth_levels: tuple[Levels, ...] = Field((5, 10, 20), max_length=8, description="levels of depth_imbalance")
    return_minutes: tuple[Minutes, ...] = Field((1, 5, 15), max_length=8, description="lags of return")
    volatility_minutes: tuple[Minutes, ...] = Field((5, 15, 60), max_length=8, description="windows of volatility")
    ofi_seconds: tuple[Seconds, ...] = Field((10, 60), max_length=8, description="windows of ofi")
    trade_seconds: tuple[Seconds, ...] = Field(
        (60, 300), max_length=8, description="windows of volume, vwap and trade_imbalance"
    )
    indicator_bar_ms: int = Field(
        60_000, ge=1_000, le=86_400_000, description="length of the bars of ema, rsi, macd, atr and bollinger_z"
    )
    ema_bars: tuple[Bars, ...] = Field((9, 21), max_length=8, description="spans of ema")
    ema_seed: Literal["sma", "first"] = Field(
        "sma", description="how ema and macd begin: with the mean of as many closes as the span, or with the first"
    )
    rsi_bars: int = Field(14, ge=2, le=1_000, description="span of rsi")
    macd_fast_bars: int = Field(12, ge=1, le=1_000, description="span of macd's fast mean")
    macd_slow_bars: int = Field(26, ge=2, le=1_000, description="span of macd's slow mean")
    macd_signal_bars: int = Field(9, ge=1, le=1_000, description="span of macd's signal line")
    atr_bars: int = Field(14, ge=1, le=1_000, description="span of atr")
    bollinger_bars: int = Field(20, ge=2, le=1_000, description="bars of bollinger_z's band")

    @field_validator("online")
    @classmethod
    def _families_are_known(cls, online: tuple[str, ...]) -> tuple[str, ...]:
        for family in online:
            if family not in FEATURE_FAMILIES:
                raise ValueError(f"no family of features is called {family!r}; there are {', '.join(FEATURE_FAMILIES)}")
        return online

    @field_validator(
        "online", "depth_levels", "return_minutes", "volatility_minutes", "ofi_seconds", "trade_seconds", "ema_bars"
    )
    @classmethod
    def _each_once(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        if len(set(values)) < len(values):
            raise ValueError("names something twice")
        return values

    @model_validator(mode="after")
    def _fast_is_faster(self) -> Self:
        if not self.macd_fast_bars < self.macd_slow_bars:
            raise ValueError(
                f"macd_fast_bars must be below macd_slow_bars, were {self.macd_fast_bars} and {self.macd_slow_bars}"
            )
        return self
