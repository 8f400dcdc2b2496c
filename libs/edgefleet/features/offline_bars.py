"""Bars from columns of trades, and their indicators over whole columns. Needs numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from edgefleet.clock import NS_PER_MS
from edgefleet.features.cards import Feature
from edgefleet.features.columns import Bools, Floats, Ints, MarketColumns
from edgefleet.features.spec import FeatureSpec
from edgefleet.stats.smoothing import EmaSeed

Numbers = list[float | None]  # one per bar; None before there is one


@dataclass(frozen=True)
class BarColumns:
    """Closed bars in order."""

    spec: FeatureSpec
    places: Ints  # of the messages that closed them
    high: Floats
    low: Floats
    close: Floats

    def of(self, name: str, feature: Feature) -> tuple[Floats, Bools]:
        """Return an indicator at each bar, and where there is one."""
        found = self._numbers(name, feature)
        valid = np.array([number is not None for number in found], np.bool_)
        return np.array([0.0 if number is None else number for number in found], np.float64), valid

    def _numbers(self, name: str, feature: Feature) -> Numbers:
        closes, spec = self.close.tolist(), self.spec
        if name == "ema":
            return ema(closes, feature.size, spec.ema_seed)
        if name == "rsi":
            return rsi(closes, spec.rsi_bars)
        if name == "atr":
            return atr(self.high.tolist(), self.low.tolist(), closes, spec.atr_bars)
        if name == "macd":
            lines = macd(closes, *spec.macd_bars, spec.ema_seed)
            return lines[1 if "signal" in feature.name else 2 if "histogram" in feature.name else 0]
        return band(closes, spec.bollinger_bars)[0 if name == "band_mean" else 1]


def bar_columns(columns: MarketColumns, spec: FeatureSpec) -> BarColumns:
    """Return the bars that trades close and those that came as messages, each where it ends later than the last."""
    width = spec.bar_ms * NS_PER_MS
    table, trade_places = columns.tables["trades"], columns.places["trades"]
    starts = table["ts_event"] - table["ts_event"] % width
    starts = np.maximum.accumulate(starts)  # a late print falls into the open bar
    firsts = np.flatnonzero(np.concatenate(([True], starts[1:] > starts[:-1]))) if len(starts) else np.empty(0, int)
    given = columns.tables["bars"]
    if len(firsts) < 2:  # the open bar is no bar yet
        firsts, closing = firsts[:0], firsts[:0]
    else:
        firsts, closing = firsts[:-1], firsts[1:]
    until = closing[-1] if len(closing) else 0
    made = (
        [np.maximum.reduceat(table["price"][:until], firsts), np.minimum.reduceat(table["price"][:until], firsts)]
        if len(firsts)
        else [np.empty(0), np.empty(0)]
    )
    made.append(table["price"][closing - 1])
    places = np.concatenate((trade_places[closing], columns.places["bars"]))
    ends = np.concatenate((starts[firsts] + width, given["ts_event"]))
    by_place = np.argsort(places, kind="stable")
    places, ends = places[by_place], ends[by_place]
    newest = np.maximum.accumulate(np.concatenate(([0], ends)))[:-1]
    kept = ends > newest
    high, low, close = (
        np.concatenate((numbers, given[name]))[by_place][kept]
        for numbers, name in zip(made, ("high", "low", "close"), strict=True)
    )
    return BarColumns(spec, places[kept], high, low, close)


def ema(terms: Sequence[float], span: int, seed: EmaSeed, skip: int = 0) -> Numbers:
    """Return the exponential mean at each term, as `edgefleet.stats.smoothing.Ema` has it."""
    first = skip if seed == "first" else skip + span - 1
    found: Numbers = [None] * len(terms)
    if first >= len(terms):
        return found
    value = terms[first] if seed == "first" else _mean(terms[skip : first + 1])
    found[first] = value
    alpha = 2.0 / (span + 1)
    for place in range(first + 1, len(terms)):
        value = (terms[place] - value) * alpha + value
        found[place] = value
    return found


def wilder(terms: Sequence[float], span: int) -> Numbers:
    """Return Wilder's mean at each term, as `edgefleet.stats.smoothing.Wilder` has it."""
    found: Numbers = [None] * len(terms)
    if span > len(terms):
        return found
    value = _mean(terms[:span])
    found[span - 1] = value
    for place in range(span, len(terms)):
        value = (value * (span - 1) + terms[place]) / span
        found[place] = value
    return found


def rsi(closes: Sequence[float], span: int) -> Numbers:
    """Return the relative strength index at each close; None too where no close moved."""
    changes = [b - a for a, b in pairwise(closes)]
    gains = wilder([change if change > 0 else 0.0 for change in changes], span)
    losses = wilder([-change if change < 0 else 0.0 for change in changes], span)
    found: Numbers = [None] * len(closes)
    for place, (gain, loss) in enumerate(zip(gains, losses, strict=True), start=1):
        if gain is not None and loss is not None and gain + loss > 0:
            found[place] = 100.0 * (gain / (gain + loss))
    return found


def macd(closes: Sequence[float], fast: int, slow: int, signal: int, seed: EmaSeed) -> tuple[Numbers, Numbers, Numbers]:
    """Return line, signal and histogram at each close."""
    fasts = ema(closes, fast, seed, slow - fast if seed == "sma" else 0)
    slows = ema(closes, slow, seed)
    line: Numbers = [None if a is None or b is None else a - b for a, b in zip(fasts, slows, strict=True)]
    known = [number for number in line if number is not None]
    empty: Numbers = [None] * (len(line) - len(known))
    signals = empty + ema(known, signal, seed)
    histogram: Numbers = [None if a is None or b is None else a - b for a, b in zip(line, signals, strict=True)]
    return line, signals, histogram


def atr(highs: Sequence[float], lows: Sequence[float], closes: Sequence[float], span: int) -> Numbers:
    """Return the average true range at each bar."""
    ranges = [
        max(high - low, abs(before - high), abs(before - low))
        for high, low, before in zip(highs[1:], lows[1:], closes, strict=False)
    ]
    return [None, *wilder(ranges, span)][: len(closes)]


def band(closes: Sequence[float], bars: int) -> tuple[Numbers, Numbers]:
    """Return mean and standard deviation (ddof 0) of the newest closes at each."""
    means: Numbers = [None] * len(closes)
    deviations: Numbers = [None] * len(closes)
    for place in range(bars - 1, len(closes)):
        window = closes[place - bars + 1 : place + 1]
        mean = math.fsum(window) / bars
        means[place] = mean
        deviations[place] = math.sqrt(math.fsum((close - mean) * (close - mean) for close in window) / bars)
    return means, deviations


def _mean(terms: Sequence[float]) -> float:
    """Return the mean of terms added one after the other, as a streaming seed adds them."""
    total = 0.0
    for term in terms:
        total += term
    return total / len(terms)
