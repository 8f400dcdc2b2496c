"""What a state says of each family of features. Knows no message; a family that is not known adds nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from edgefleet.features.cards import Feature
from edgefleet.features.grid import second_of
from edgefleet.features.spec import GRID_NS
from edgefleet.features.state import FeatureState
from edgefleet.units import BPS

Values = dict[str, float]
Reader = Callable[[FeatureState, Sequence[Feature], int, Values], None]


def _mid(state: FeatureState, wanted: Sequence[Feature], now: int, found: Values) -> None:
    top = state.top.now
    if top is not None:
        found["mid"] = (top[0] + top[2]) / 2


def _spread_bps(state: FeatureState, wanted: Sequence[Feature], now: int, found: Values) -> None:
    top = state.top.now
    if top is not None:
        found["spread_bps"] = (top[2] - top[0]) / ((top[0] + top[2]) / 2) * BPS


def _microprice(state: FeatureState, wanted: Sequence[Feature], now: int, found: Values) -> None:
    top = state.top.now
    if top is not None and top[1] + top[3] > 0:
        bid, bid_size, ask, ask_size = top
        found["microprice"] = (bid * ask_size + ask * bid_size) / (bid_size + ask_size)


def _top_imbalance(state: FeatureState, wanted: Sequence[Feature], now: int, found: Values) -> None:
    top = state.top.now
    if top is not None and top[1] + top[3] > 0:
        found["top_imbalance"] = (top[1] - top[3]) / (top[1] + top[3])


def _depth_imbalance(state: FeatureState, wanted: Sequence[Feature], now: int, found: Values) -> None:
    ladder = state.ladder
    if ladder is None or now - state.book_ts > state.spec.max_gap_ns or ladder.top() is None:
        return
    bids, asks = ladder.depths(max(state.spec.depth_levels))
    for feature in wanted:
        bid, ask = bids[min(feature.size, len(bids)) - 1], asks[min(feature.size, len(asks)) - 1]
        found[feature.name] = (bid - ask) / (bid + ask)


def _return(state: FeatureState, wanted: Sequence[Feature], now: int, found: Values) -> None:
    grid = state.top.grid
    if state.top.now is None or grid.mid is None:
        return
    grid.settle(second_of(now) - 1)
    second = now // GRID_NS
    for feature in wanted:
        before = grid.lagged(second - feature.size)
        if before is not None:
            found[feature.name] = grid.mid / before - 1


def _volatility(state: FeatureState, wanted: Sequence[Feature], now: int, found: Values) -> None:
    grid = state.top.grid
    grid.settle(second_of(now) - 1)
    for place, feature in enumerate(wanted):
        deviation = grid.deviation(place)
        if deviation is not None:
            found[feature.name] = deviation * math.sqrt(state.spec.year_s)


def _ofi(state: FeatureState, wanted: Sequence[Feature], now: int, found: Values) -> None:
    tops, second = state.top, second_of(now)
    if tops.last is None:
        return
    if second != tops.flow.bucket:
        tops.flow.advance(second)
    for place, feature in enumerate(wanted):
        if second - feature.size >= tops.first:
            found[feature.name] = tops.flow.total(place)


def _volume(state: FeatureState, wanted: Sequence[Feature], now: int, found: Values) -> None:
    for place, feature in _warm_trades(state, wanted, now):
        found[feature.name] = state.trades.volume.total(place)


def _vwap(state: FeatureState, wanted: Sequence[Feature], now: int, found: Values) -> None:
    trades = state.trades
    for place, feature in _warm_trades(state, wanted, now):
        volume = trades.volume.total(place)
        if volume > 0:
            found[feature.name] = trades.notional.total(place) / volume


def _trade_imbalance(state: FeatureState, wanted: Sequence[Feature], now: int, found: Values) -> None:
    trades = state.trades
    for place, feature in _warm_trades(state, wanted, now):
        volume = trades.volume.total(place)
        if volume > 0:
            found[feature.name] = trades.signed.total(place) / volume


def _warm_trades(state: FeatureState, wanted: Sequence[Feature], now: int) -> list[tuple[int, Feature]]:
    """Return the features whose window is full, with its place; windows reach to `now` then."""
    trades, second = state.trades, second_of(now)
    first = trades.first
    if first is None:
        return []
    if second != trades.volume.bucket:
        for sums in (trades.volume, trades.notional, trades.signed):
            sums.advance(second)
    return [(place, feature) for place, feature in enumerate(wanted) if second - feature.size >= first]


def _ema(state: FeatureState, wanted: Sequence[Feature], now: int, found: Values) -> None:
    for place, feature in enumerate(wanted):
        value = state.indicators.emas[place].value
        if value is not None:
            found[feature.name] = value


def _rsi(state: FeatureState, wanted: Sequence[Feature], now: int, found: Values) -> None:
    value = state.indicators.rsi.value
    if value is not None:
        found[wanted[0].name] = value


def _macd(state: FeatureState, wanted: Sequence[Feature], now: int, found: Values) -> None:
    line, signal = state.indicators.macd.line, state.indicators.macd.signal.value
    if line is not None:
        found[wanted[0].name] = line
        if signal is not None:
            found[wanted[1].name] = signal
            found[wanted[2].name] = line - signal


def _atr(state: FeatureState, wanted: Sequence[Feature], now: int, found: Values) -> None:
    value = state.indicators.atr.ranges.value
    if value is not None:
        found[wanted[0].name] = value


def _bollinger_z(state: FeatureState, wanted: Sequence[Feature], now: int, found: Values) -> None:
    top, band = state.top.now, state.indicators.band
    if top is not None and band is not None and band[1] > 0:
        found[wanted[0].name] = ((top[0] + top[2]) / 2 - band[0]) / band[1]


READERS: Mapping[str, Reader] = {
    "mid": _mid,
    "spread_bps": _spread_bps,
    "microprice": _microprice,
    "top_imbalance": _top_imbalance,
    "depth_imbalance": _depth_imbalance,
    "return": _return,
    "volatility": _volatility,
    "ofi": _ofi,
    "volume": _volume,
    "vwap": _vwap,
    "trade_imbalance": _trade_imbalance,
    "ema": _ema,
    "rsi": _rsi,
    "macd": _macd,
    "atr": _atr,
    "bollinger_z": _bollinger_z,
}
