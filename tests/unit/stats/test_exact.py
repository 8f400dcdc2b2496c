"""Exact sums against `math.fsum`, in both forms."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet.stats import exact_columns
from edgefleet.stats.exact import WindowSums, grow
from edgefleet.stats.exact_columns import ExactSums

any_size = st.floats(-1e200, 1e200).filter(lambda x: x == 0 or abs(x) > 1e-200)
near = st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-12)
terms = st.lists(any_size, max_size=60) | st.lists(near, max_size=200)


@given(terms)
def test_a_sum_is_rounded_once(values: list[float]) -> None:
    partials: list[float] = []

    for value in values:
        grow(partials, value)

    assert math.fsum(partials) == math.fsum(values)


@given(terms, st.integers(0, 60))
def test_taking_away_is_as_never_having_added(values: list[float], place: int) -> None:
    partials: list[float] = []
    for value in values:
        grow(partials, value)
    for value in values[:place]:
        grow(partials, -value)

    assert math.fsum(partials) == math.fsum(values[place:])
    assert len(partials) <= 40


@given(terms, st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), min_size=1, max_size=20))
@settings(max_examples=300)
def test_sums_over_ranges_are_those_of_fsum(values: list[float], pairs: list[tuple[int, int]]) -> None:
    ranges = [sorted((min(a, len(values)), min(b, len(values)))) for a, b in pairs]
    starts, ends = (np.array(column, np.int64) for column in zip(*ranges, strict=True))

    found = ExactSums(np.array(values, np.float64)).between(starts, ends)

    assert found.tolist() == [math.fsum(values[start:end]) for start, end in ranges]


def test_a_long_column_is_summed_without_keeping_its_totals(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.RandomState(3)
    values = rng.normal(size=5_000) * 10.0 ** rng.randint(-8, 8, 5_000)
    starts = np.sort(rng.randint(0, 5_000, 50))
    ends = np.minimum(starts + rng.randint(0, 900, 50), 5_000)
    usual = ExactSums(values).between(starts, ends)

    monkeypatch.setattr(exact_columns, "_CELLS_KEPT", 0)

    assert ExactSums(values).between(starts, ends).tolist() == usual.tolist()
    assert usual.tolist() == [math.fsum(values[start:end]) for start, end in zip(starts, ends, strict=True)]


def test_a_tie_is_rounded_to_even_and_a_speck_breaks_it() -> None:
    half = 2.0**-53
    cases = [[1.0, half], [1.0 + 2 * half, half], [1.0, half, 2.0**-200], [1.0, half, -(2.0**-200)], [-1.0, -half]]

    for case in cases:
        whole = np.array([0]), np.array([len(case)])
        assert ExactSums(np.array(case)).between(*whole).tolist() == [math.fsum(case)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_not_summed(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        ExactSums(np.array([1.0, value]))


@given(st.lists(st.tuples(st.integers(0, 3), near), max_size=120), st.integers(0, 30))
def test_rolling_sums_are_those_of_what_is_inside(steps: list[tuple[int, float]], wait: int) -> None:
    sums = WindowSums.of((1, 5, 20))
    bucket, told = 0, []
    for step, value in steps:
        bucket += step
        sums.add(bucket, value)
        told.append((bucket, value))
    sums.advance(bucket + wait)

    for place, width in enumerate(sums.windows):
        inside = [value for at, value in told if at > bucket + wait - width]
        assert sums.total(place) == math.fsum(inside)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(sums), type=WindowSums) == sums


def test_rolling_for_long_neither_drifts_nor_grows() -> None:
    sums = WindowSums.of((10,))

    for bucket in range(20_000):
        sums.add(bucket, 0.1 + 1e9 * (bucket % 7 == 0))

    assert sums.total(0) == math.fsum(0.1 + 1e9 * (bucket % 7 == 0) for bucket in range(19_990, 20_000))
    assert len(sums.buckets) < 200
