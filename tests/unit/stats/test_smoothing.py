"""Exponential means against published figures; whole indicators meet TA-Lib beside the features."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.stats.smoothing import Ema, Wilder


def test_mean_seeded_by_the_first_term_is_the_published_one() -> None:
    """A chart of eight closes with its 5-bar mean, seeded by the first close."""
    mean = Ema(5, seed="first")

    found = [mean.update(x) for x in (25, 24.875, 24.781, 24.594, 24.5, 24.625, 25.219, 27.25)]

    assert found == pytest.approx([25, 24.958, 24.899, 24.797, 24.698, 24.674, 24.856, 25.654], abs=5e-4)


def test_mean_seeded_by_a_mean_has_no_value_before_it() -> None:
    mean = Ema(3)

    assert [mean.update(x) for x in (1.0, 2.0, 6.0, 5.0)] == [None, None, 3.0, 4.0]


def test_skipped_terms_leave_no_trace() -> None:
    mean, plain = Ema(2, skip=2), Ema(2)

    found = [mean.update(x) for x in (9.0, 9.0, 1.0, 2.0, 4.0)]

    assert found == [None, None, *(plain.update(x) for x in (1.0, 2.0, 4.0))]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.integers(1, 10))
def test_mean_matches_its_definition(terms: list[float], span: int) -> None:
    """Weights alpha (1 - alpha)^k, the first term keeps the rest."""
    mean, alpha = Ema(span, seed="first"), 2 / (span + 1)
    for term in terms:
        mean.update(term)

    weights = [alpha * (1 - alpha) ** k for k in range(len(terms) - 1)] + [(1 - alpha) ** (len(terms) - 1)]
    told = sum(w * x for w, x in zip(weights, reversed(terms), strict=True))
    assert mean.value == pytest.approx(told, rel=1e-9, abs=1e-6)


@given(st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=50))
def test_wilders_mean_is_an_exponential_one_of_another_span(terms: list[float]) -> None:
    """Wilder's n is alpha 1/n; the usual span of that alpha is 2n - 1."""
    wilder, usual = Wilder(3), Ema(5, seed="first")
    for term in (sum(terms[:3]) / 3, *terms[3:]):
        usual.update(term)
    for term in terms:
        wilder.update(term)

    assert wilder.value == pytest.approx(usual.value, rel=1e-9, abs=1e-6)


def test_a_mean_that_passes_through_zero_keeps_its_memory() -> None:
    mean = Ema(3, seed="first")
    for term in (1.0, -1.0, 10.0):
        mean.update(term)

    assert mean.value == 5.0
