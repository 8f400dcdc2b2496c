"""Which features of one instrument, over which windows, in which calendar. Computes none of them."""

from __future__ import annotations

from typing import Literal

import msgspec

from edgefleet.clock import NS_PER_S
from edgefleet.instruments import AssetClass
from edgefleet.params.schema.features import FEATURE_FAMILIES, FeaturesParams
from edgefleet.stats.smoothing import EmaSeed

GRID_NS = NS_PER_S  # windows of time consist of whole seconds of event time

# Seconds of trading in a year, what a variance is multiplied up to. Conventions, not counts of one year's sessions.
TRADING_YEAR_S: dict[AssetClass, float] = {
    "crypto": 365 * 24 * 3_600.0,
    "us_stocks": 252 * 6.5 * 3_600,
    "a_shares": 242 * 4 * 3_600.0,
    "forex": 260 * 24 * 3_600.0,
    "commodities": 252 * 23 * 3_600.0,
}


class FeatureSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the features of one instrument. Both forms take it; the meaning of each is in `cards`."""

    year_s: float = TRADING_YEAR_S["crypto"]  # seconds of trading in a year
    families: tuple[str, ...] = FEATURE_FAMILIES
    top_from: Literal["auto", "quotes", "book"] = "auto"
    max_gap_s: int = 300
    depth_levels: tuple[int, ...] = (5, 10, 20)
    return_seconds: tuple[int, ...] = (60, 300, 900)
    volatility_seconds: tuple[int, ...] = (300, 900, 3_600)
    ofi_seconds: tuple[int, ...] = (10, 60)
    trade_seconds: tuple[int, ...] = (60, 300)
    bar_ms: int = 60_000
    ema_bars: tuple[int, ...] = (9, 21)
    ema_seed: EmaSeed = "sma"
    rsi_bars: int = 14
    macd_bars: tuple[int, int, int] = (12, 26, 9)  # fast, slow, signal
    atr_bars: int = 14
    bollinger_bars: int = 20

    def __post_init__(self) -> None:
        sizes = (*self.depth_levels, *self.return_seconds, *self.ofi_seconds, *self.trade_seconds, *self.ema_bars)
        if min((*sizes, self.max_gap_s, self.bar_ms, self.rsi_bars, *self.macd_bars, self.atr_bars)) < 1:
            raise ValueError("levels, seconds and bars of features are counted from 1")
        if min((*self.volatility_seconds, self.bollinger_bars)) < 2:
            raise ValueError("a deviation needs two terms or more")
        if not self.macd_bars[0] < self.macd_bars[1]:
            raise ValueError(f"macd's fast span must be below its slow one, were {self.macd_bars[:2]}")
        if not self.year_s > 0:
            raise ValueError(f"a trading year has seconds, was {self.year_s!r}")

    @classmethod
    def of(cls, params: FeaturesParams, asset_class: AssetClass) -> FeatureSpec:
        """Return what a configuration asks for an instrument of `asset_class`."""
        return cls(
            year_s=TRADING_YEAR_S[asset_class],
            families=tuple(family for family in FEATURE_FAMILIES if family in params.online),
            top_from=params.top_from,
            max_gap_s=params.max_gap_s,
            depth_levels=params.depth_levels,
            return_seconds=tuple(60 * minutes for minutes in params.return_minutes),
            volatility_seconds=tuple(60 * minutes for minutes in params.volatility_minutes),
            ofi_seconds=params.ofi_seconds,
            trade_seconds=params.trade_seconds,
            bar_ms=params.indicator_bar_ms,
            ema_bars=params.ema_bars,
            ema_seed=params.ema_seed,
            rsi_bars=params.rsi_bars,
            macd_bars=(params.macd_fast_bars, params.macd_slow_bars, params.macd_signal_bars),
            atr_bars=params.atr_bars,
            bollinger_bars=params.bollinger_bars,
        )

    @property
    def max_gap_ns(self) -> int:
        """Return the silence, in ns, after which what was known is not known any more."""
        return self.max_gap_s * NS_PER_S
