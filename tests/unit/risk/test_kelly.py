"""Kelly against closed forms: E. O. Thorp, "The Kelly Criterion ...", 2006, and the definition of growth."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.risk.kelly import coin_fraction, coin_growth, growth_rate, kelly_fraction, kelly_fractions


def test_thorps_stock_market_example() -> None:
    mean, deviation, rate = 0.11, 0.15, 0.06
    edge, variance = mean - rate, deviation**2

    full = kelly_fraction(edge, variance, share=1.0)

    assert full == pytest.approx(2.2222, abs=5e-5)
    assert growth_rate(full, edge, variance, rate=rate) == pytest.approx(0.115556, abs=5e-7)
    assert growth_rate(1.0, edge, variance, rate=rate) == pytest.approx(0.09875, abs=1e-12)
    assert growth_rate(full / 2, edge, variance, rate=rate) == pytest.approx(0.101667, abs=5e-7)


@pytest.mark.parametrize(("win", "fraction", "growth"), [(0.53, 0.06, 0.00180108), (0.6, 0.2, 0.0201355)])
def test_even_odds_coins(win: float, fraction: float, growth: float) -> None:
    assert coin_fraction(win) == pytest.approx(fraction, abs=1e-12)
    assert coin_growth(fraction, win) == pytest.approx(growth, abs=5e-9 if growth < 0.01 else 5e-8)


def test_thorps_three_assets() -> None:
    covariance = [[0.1109, 0.0200, 0.0183], [0.0200, 0.0372, 0.0269], [0.0183, 0.0269, 0.0420]]

    found = kelly_fractions(covariance, [0.1396, 0.0294, -0.0073])

    assert found == pytest.approx((1.29308, 1.17017, -1.48669), abs=5e-6)


@given(st.floats(-0.1, 0.1), st.floats(1e-8, 1.0), st.floats(-10, 10))
def test_no_other_fraction_grows_faster(edge: float, variance: float, other: float) -> None:
    best = kelly_fraction(edge, variance, share=1.0)

    assert growth_rate(best, edge, variance) >= growth_rate(other, edge, variance) - 1e-12


@given(st.floats(-0.1, 0.1), st.floats(1e-8, 1.0), st.floats(0.01, 1.0))
def test_mirrored_edges_bet_mirrored(edge: float, variance: float, share: float) -> None:
    assert kelly_fraction(-edge, variance, share=share) == -kelly_fraction(edge, variance, share=share)


@pytest.mark.parametrize(
    ("edge", "variance", "share"),
    [
        (0.01, 0.0, 0.5),
        (0.01, -1.0, 0.5),
        (0.01, math.nan, 0.5),
        (0.01, math.inf, 0.5),
        (math.nan, 0.01, 0.5),
        (math.inf, 0.01, 0.5),
        (0.01, 0.01, 0.0),
        (0.01, 0.01, 1.01),
        (0.01, 0.01, math.nan),
    ],
)
def test_what_cannot_be_bet_on_is_refused(edge: float, variance: float, share: float) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        kelly_fraction(edge, variance, share=share)


@pytest.mark.parametrize(
    ("covariance", "reason"),
    [
        ([[1.0, 1.0], [1.0, 1.0]], "not positive definite"),
        ([[1.0, 2.0], [2.0, 1.0]], "not positive definite"),
        ([[1.0, math.nan], [math.nan, 1.0]], "symmetric"),
        ([[1.0, 0.5], [0.4, 1.0]], "not symmetric"),
        ([[1.0]], "2 x 2"),
    ],
)
def test_a_covariance_that_is_none_is_refused(covariance: list[list[float]], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        kelly_fractions(covariance, [0.1, 0.1])
