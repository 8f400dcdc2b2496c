"""What the features of one instrument remember. Computes nothing."""

from __future__ import annotations

import msgspec

from edgefleet.book import BarBuilder
from edgefleet.features.grid import MidGrid
from edgefleet.features.indicators import Indicators
from edgefleet.features.ladder import Ladder
from edgefleet.features.spec import FeatureSpec
from edgefleet.stats.exact import WindowSums

FloatTop = tuple[float, float, float, float]  # bid, its size, ask, its size


class TopState(msgspec.Struct):
    """The best prices of one unbroken history, and what their changes have come to. Changed in place."""

    grid: MidGrid
    flow: WindowSums  # of Cont, Kukanov and Stoikov's e
    now: FloatTop | None = None  # None: unknown or not usable
    last: FloatTop | None = None  # the last usable one; None: there was none
    first: int = 0  # the second of the first


class TradeState(msgspec.Struct):
    """What was traded in one unbroken history. Changed in place."""

    volume: WindowSums
    notional: WindowSums
    signed: WindowSums
    first: int | None = None  # the second of the first trade


class FeatureState(msgspec.Struct):
    """Everything, of one instrument. Survives msgpack unchanged."""

    spec: FeatureSpec
    top: TopState
    trades: TradeState
    bars: BarBuilder
    indicators: Indicators
    ladder: Ladder | None = None  # None: the book is unknown
    book_ts: int = 0  # ns, time of the last word on the book
    is_quoted: bool = False  # a quote has come since everything was last lost
    time: int = 0  # ns: the largest stamp seen, or read at
    heard: int | None = None  # ns, time of the last message; None: there was none


def initial(spec: FeatureSpec) -> FeatureState:
    """Return the state before any message."""
    return FeatureState(spec, no_top(spec), no_trades(spec), BarBuilder(spec.bar_ms), Indicators.of(spec))


def no_top(spec: FeatureSpec) -> TopState:
    """Return a history of tops that has not begun."""
    windows = spec.volatility_seconds if "volatility" in spec.families else ()
    lags = spec.return_seconds if "return" in spec.families else ()
    return TopState(MidGrid.of(windows, lags), WindowSums.of(spec.ofi_seconds))


def no_trades(spec: FeatureSpec) -> TradeState:
    """Return a history of trades that has not begun."""
    volume, notional, signed = (WindowSums.of(spec.trade_seconds) for _ in range(3))
    return TradeState(volume, notional, signed)
