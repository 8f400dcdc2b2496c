"""Indicators of bars beside TA-Lib and a published table."""

from __future__ import annotations

import numpy as np
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet.features import offline_bars
from edgefleet.features.indicators import Indicators
from edgefleet.features.offline_bars import Numbers
from edgefleet.features.spec import FeatureSpec

SECOND = 1_000_000_000
ULPS = 4e-15  # TA-Lib multiplies where we divide, in the last bits


def walk(seed: int, bars: int = 400) -> tuple[list[float], list[float], list[float]]:
    """Return highs, lows and closes of a market in cents."""
    rng = np.random.RandomState(seed)
    closes = 6_000_000 + np.cumsum(rng.randint(-900, 901, bars))
    highs = np.maximum(closes, np.roll(closes, 1)) + rng.randint(0, 300, bars)
    lows = np.minimum(closes, np.roll(closes, 1)) - rng.randint(0, 300, bars)
    return (highs / 100).tolist(), (lows / 100).tolist(), (closes / 100).tolist()


def agree(ours: Numbers, theirs: np.ndarray[tuple[int], np.dtype[np.float64]], *, scale: float | None = None) -> None:
    """Compare where they speak, which must be the same bars; `scale` is of what the numbers are differences of."""
    spoken = np.array([number is not None for number in ours])
    assert spoken.tolist() == (~np.isnan(theirs)).tolist()
    found = np.array([number for number in ours if number is not None])
    assert found == pytest.approx(theirs[spoken], rel=ULPS, abs=(scale or 0.0) * ULPS)


@pytest.mark.parametrize("seed", range(5))
def test_ema_rsi_and_atr_are_those_of_ta_lib(seed: int) -> None:
    highs, lows, closes = walk(seed)
    high, low, close = map(np.array, (highs, lows, closes))

    for span in (2, 5, 21):
        agree(offline_bars.ema(closes, span, "sma"), talib.EMA(close, span))
    for span in (2, 5, 14):
        agree(offline_bars.rsi(closes, span), talib.RSI(close, span), scale=100.0)
        agree(offline_bars.atr(highs, lows, closes, span), talib.ATR(high, low, close, span))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spans", [(12, 26, 9), (3, 10, 16), (5, 6, 2)])
def test_macd_is_that_of_ta_lib(seed: int, spans: tuple[int, int, int]) -> None:
    """TA-Lib is silent until all three lines are there; our line begins with the slow mean."""
    closes = walk(seed)[2]

    line, signal, histogram = offline_bars.macd(closes, *spans, "sma")
    theirs = talib.MACD(np.array(closes), *spans)

    warm = spans[1] + spans[2] - 2
    assert line[spans[1] - 2] is None
    assert line[spans[1] - 1] is not None
    for ours, expected in zip((line[warm:], signal, histogram), (theirs[0][warm:], *theirs[1:]), strict=True):
        agree(ours, expected, scale=60_000.0)  # a difference of means has the means' rounding


@pytest.mark.parametrize("seed", range(3))
def test_band_is_that_of_ta_lib(seed: int) -> None:
    closes = walk(seed)[2]
    means, deviations = offline_bars.band(closes, 20)
    upper, middle, _ = talib.BBANDS(np.array(closes), 20, 1.0, 1.0)

    agree(means, middle)
    theirs = upper - middle
    assert [d for d in deviations if d is not None] == pytest.approx(theirs[19:], rel=1e-6)  # it subtracts squares


def test_rsi_is_the_published_one() -> None:
    closes = [37.875, 39.5, 38.75, 39.8125, 40.0, 39.875, 40.1875, 41.25, 41.125, 41.625]

    found = offline_bars.rsi(closes, 5)

    assert found[:5] == [None] * 5
    assert found[5:] == pytest.approx([76.6667, 78.8679, 84.9158, 81.4863, 84.5968], abs=5e-5)


def test_a_market_that_stands_still_has_no_rsi() -> None:
    assert offline_bars.rsi([5.0] * 30, 14) == [None] * 30


prices = st.integers(1, 10_000).map(lambda cents: cents / 100)


@given(
    bars=st.lists(st.tuples(prices, prices, prices).map(sorted), max_size=60), seed=st.sampled_from(["sma", "first"])
)
@settings(max_examples=100)
def test_bar_by_bar_is_the_whole_column(bars: list[list[float]], seed: str) -> None:
    spec = FeatureSpec(ema_bars=(3,), ema_seed=seed, rsi_bars=3, macd_bars=(2, 5, 3), atr_bars=4, bollinger_bars=4)  # type: ignore[arg-type]
    indicators = Indicators.of(spec)
    streamed: list[tuple[float | None, ...]] = []
    for number, (low, close, high) in enumerate(bars, start=1):
        indicators.update(high, low, close, number * SECOND)
        macd, band = indicators.macd, indicators.band or (None, None)
        now = (indicators.emas[0].value, indicators.rsi.value, macd.line, macd.signal.value)
        streamed.append((*now, indicators.atr.ranges.value, *band))

    lows, closes, highs = ([bar[column] for bar in bars] for column in range(3))
    lines = offline_bars.macd(closes, 2, 5, 3, spec.ema_seed)
    whole = zip(
        offline_bars.ema(closes, 3, spec.ema_seed),
        offline_bars.rsi(closes, 3),
        *lines[:2],
        offline_bars.atr(highs, lows, closes, 4),
        *offline_bars.band(closes, 4),
        strict=True,
    )
    assert streamed == list(whole)
