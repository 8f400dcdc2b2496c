"""The variance of returns against its definition."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.stats.returns import ReturnVariance

SECOND = 1_000_000_000


def variance_reference(prices: list[float], seconds: list[float], half_life: float) -> float:
    """The definition, read off the docstring: each return's r*r/d, weighted by what is left of its weight."""
    moves = [math.log(b / a) ** 2 / d for a, b, d in zip(prices, prices[1:], seconds, strict=False)]
    weights = []
    for place, d in enumerate(seconds[: len(moves)]):
        later = math.fsum(seconds[place + 1 : len(moves)])
        weights.append((1 - 0.5 ** (d / half_life)) * 0.5 ** (later / half_life))
    return math.fsum(w * m for w, m in zip(weights, moves, strict=True)) / math.fsum(weights)


@given(
    st.lists(st.tuples(st.floats(10, 1_000), st.integers(1, 20)), min_size=2, max_size=40),
    st.floats(1.0, 1_000.0),
)
def test_variance_matches_its_definition(samples: list[tuple[float, int]], half_life: float) -> None:
    found = ReturnVariance()
    now = 0

    for price, wait in samples:
        found.sample(price, now, half_life)
        now += wait * SECOND

    prices, waits = [price for price, _ in samples], [float(wait) for _, wait in samples]
    assert found.per_second == pytest.approx(variance_reference(prices, waits, half_life), rel=1e-9, abs=1e-18)
    assert found.count == len(samples) - 1


def test_the_first_return_counts_whole() -> None:
    found = ReturnVariance()

    found.sample(100.0, 0, 300.0)
    found.sample(101.0, SECOND, 300.0)

    assert found.per_second == pytest.approx(math.log(1.01) ** 2)


def test_nothing_is_known_before_the_first_return() -> None:
    found = ReturnVariance()
    assert found.per_second is None

    found.sample(100.0, 0, 300.0)

    assert found.per_second is None


@pytest.mark.parametrize("price", [math.nan, math.inf, 0.0, -1.0])
def test_a_price_that_is_none_is_passed_over(price: float) -> None:
    found = ReturnVariance()
    found.sample(100.0, 0, 300.0)

    found.sample(price, SECOND, 300.0)

    assert (found.count, found.price, found.ts) == (0, 100.0, 0)


def test_a_stamp_that_does_not_advance_is_passed_over() -> None:
    found = ReturnVariance()
    found.sample(100.0, SECOND, 300.0)

    found.sample(101.0, SECOND, 300.0)

    assert found.count == 0


def test_a_gap_spreads_its_return_over_its_length() -> None:
    gap, even = ReturnVariance(), ReturnVariance()
    for n in range(11):
        even.sample(100.0 * math.exp(n * 1e-3), n * SECOND, 300.0)
    gap.sample(100.0, 0, 300.0)
    gap.sample(100.0 * math.exp(10 * 1e-3), 10 * SECOND, 300.0)

    assert gap.per_second == pytest.approx(10 * (even.per_second or 0.0))  # one move of ten seconds, not ten of one
