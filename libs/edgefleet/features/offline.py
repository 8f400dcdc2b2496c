"""The features of one instrument over columns: the numbers that `FeatureEngine` gives, all at once. Needs numpy.

A row is read as of a place in the order of messages and a time: after each message, or at times of one's own choosing
(a training set), each with all that came up to then and nothing that came later.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgefleet.features.cards import Feature, features
from edgefleet.features.columns import Bools, Floats, Ints, MarketColumns
from edgefleet.features.offline_rows import Rows, at, best
from edgefleet.features.spec import GRID_NS, FeatureSpec
from edgefleet.stats.exact_columns import ExactSums
from edgefleet.units import BPS

Column = tuple[Floats, Bools]  # the numbers, and where there is one; 0.0 where there is none


@dataclass(frozen=True, slots=True, eq=False)
class FeatureTable:
    """Features by name, a row per moment. Nothing in it is NaN: where a feature is absent, `valid` says so."""

    times: Ints  # ns
    values: Mapping[str, Floats]
    valid: Mapping[str, Bools]

    def row(self, number: int) -> dict[str, float]:
        """Return what is known at a row, as `FeatureEngine.values` does."""
        return {name: float(column[number]) for name, column in self.values.items() if self.valid[name][number]}


def compute(columns: MarketColumns, spec: FeatureSpec, times: Ints | None = None) -> FeatureTable:
    """Return all features of `spec`: as of each of `times` (ns, ascending), or after each message where there are none.

    Raises
    ------
    ValueError
        If `times` go back, or `depth` has fewer levels than a feature needs.
    """
    if times is None:
        seen, moments = np.arange(len(columns.now)), columns.now
    else:
        moments = np.asarray(times, np.int64)
        if (moments[1:] < moments[:-1]).any():
            raise ValueError("times to read features at must not go back")
        seen = np.searchsorted(columns.now, moments, side="right") - 1
    rows = Rows(columns, spec, seen, moments)
    values, valid = {}, {}
    for feature in features(spec):
        numbers, known = _OF[feature.family](rows, feature)
        known = known & rows.heard
        values[feature.name], valid[feature.name] = np.where(known, numbers, 0.0), known
    return FeatureTable(moments, values, valid)


def _mid(rows: Rows, feature: Feature) -> Column:
    tops = rows.tops
    return at(tops.mid, tops.last), tops.is_now


def _spread_bps(rows: Rows, feature: Feature) -> Column:
    tops = rows.tops
    return at((tops.ask - tops.bid) / tops.mid * BPS, tops.last), tops.is_now


def _microprice(rows: Rows, feature: Feature) -> Column:
    tops = rows.tops
    numbers, sized = _ratio(tops.bid * tops.ask_size + tops.ask * tops.bid_size, tops.bid_size + tops.ask_size)
    return at(numbers, tops.last), tops.is_now & at(sized, tops.last)


def _top_imbalance(rows: Rows, feature: Feature) -> Column:
    tops = rows.tops
    numbers, sized = _ratio(tops.bid_size - tops.ask_size, tops.bid_size + tops.ask_size)
    return at(numbers, tops.last), tops.is_now & at(sized, tops.last)


def _depth_imbalance(rows: Rows, feature: Feature) -> Column:
    table, places = rows.columns.tables["depth"], rows.columns.places["depth"]
    if not len(places):
        return np.zeros(len(rows.at)), np.zeros(len(rows.at), np.bool_)
    known_levels = table["bid_size"].shape[1]
    if known_levels < feature.size:
        raise ValueError(f"{feature.name} needs depth of {feature.size} levels, the columns have {known_levels}")
    bid, ask = np.zeros(len(places)), np.zeros(len(places))
    for level in range(feature.size):  # one after the other, as the engine adds
        bid += table["bid_size"][:, level]
        ask += table["ask_size"][:, level]
    best_bid, _, best_ask, _ = best(rows.columns, "depth")
    numbers, sized = _ratio(bid - ask, bid + ask)
    newest = rows.newest(places)
    last = np.maximum(newest, 0)
    fresh = rows.at - rows.columns.now[places][last] <= rows.spec.max_gap_ns
    known = (newest >= 0) & fresh & (rows.book_history[rows.seen] == rows.book_history[places][last])
    return numbers[last], known & (sized & (best_bid > 0) & (best_bid < best_ask))[last]


def _return(rows: Rows, feature: Feature) -> Column:
    tops = rows.tops
    second = rows.at // GRID_NS - feature.size
    before = np.maximum(np.searchsorted(tops.second, second, side="right") - 1, 0)
    known = tops.is_now & (second >= at(tops.second[tops.first], tops.last))
    return _ratio(at(tops.mid, tops.last), at(tops.mid, before))[0] - 1, known


def _volatility(rows: Rows, feature: Feature) -> Column:
    tops, grid, count = rows.tops, rows.grid, feature.size
    full = rows.second - 1 - at(tops.second[tops.first], tops.last)  # returns since the history began
    known = tops.known & (full >= count)
    end = np.where(known, at(grid.offset, tops.last) + full, count)
    if not known.any():
        return np.zeros(len(rows.at)), known
    total, squares = grid.sums.between(end - count, end), grid.squares.between(end - count, end)
    variance = (squares - total * total / count) / (count - 1)
    return np.sqrt(np.maximum(variance, 0.0)) * math.sqrt(rows.spec.year_s), known


def _ofi(rows: Rows, feature: Feature) -> Column:
    tops = rows.tops
    known = tops.known & (rows.second - feature.size >= at(tops.second[tops.first], tops.last))
    return _window(rows.flow, tops.second, tops.last, rows.second - feature.size, known), known


def _volume(rows: Rows, feature: Feature) -> Column:
    return _traded(rows, feature, rows.trades.volume)


def _vwap(rows: Rows, feature: Feature) -> Column:
    return _per_volume(rows, feature, rows.trades.notional)


def _trade_imbalance(rows: Rows, feature: Feature) -> Column:
    return _per_volume(rows, feature, rows.trades.signed)


def _traded(rows: Rows, feature: Feature, sums: ExactSums) -> Column:
    trades, begin = rows.trades, rows.second - feature.size
    known = trades.known & (begin >= at(trades.second[trades.first], trades.last))
    return _window(sums, trades.second, trades.last, begin, known), known


def _per_volume(rows: Rows, feature: Feature, sums: ExactSums) -> Column:
    volume, known = _traded(rows, feature, rows.trades.volume)
    numbers, traded = _ratio(_traded(rows, feature, sums)[0], volume)
    return numbers, known & traded


def _window(sums: ExactSums, seconds: Ints, last: Ints, begin: Ints, known: Bools) -> Floats:
    """Return the sums over what came after second `begin`, up to the `last`; 0 where it is not known."""
    end = np.where(known, last + 1, 0)
    return sums.between(np.minimum(np.searchsorted(seconds, begin, side="right"), end), end)


def _of_bars(name: str) -> Callable[[Rows, Feature], Column]:
    def column(rows: Rows, feature: Feature) -> Column:
        bars = rows.bars
        newest = rows.newest(bars.places)
        last = np.maximum(newest, 0)
        numbers, valid = bars.of(name, feature)
        return at(numbers, last), (newest >= 0) & at(valid, last)

    return column


def _bollinger_z(rows: Rows, feature: Feature) -> Column:
    mean, known = _of_bars("band_mean")(rows, feature)
    deviation, _ = _of_bars("band_deviation")(rows, feature)
    mid, is_now = _mid(rows, feature)
    numbers, moved = _ratio(mid - mean, deviation)
    return numbers, known & is_now & moved


def _ratio(above: Floats, below: Floats) -> Column:
    """Return ``above / below`` and where it is one; 0 where nothing positive is below."""
    positive = below > 0
    return np.divide(above, below, out=np.zeros(len(below)), where=positive), positive


_OF: Mapping[str, Callable[[Rows, Feature], Column]] = {
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
    "ema": _of_bars("ema"),
    "rsi": _of_bars("rsi"),
    "macd": _of_bars("macd"),
    "atr": _of_bars("atr"),
    "bollinger_z": _bollinger_z,
}
