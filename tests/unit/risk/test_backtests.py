"""Back-tests against published figures, scipy's distributions and the definitions of their likelihoods."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edgefleet.risk.backtests import (
    Transitions,
    acerbi_szekely,
    binomial_beyond,
    christoffersen,
    conditional_coverage,
    kupiec,
    rate_of,
    traffic_light,
    transitions_of,
)

COUNTS = st.integers(0, 400)
RATES = st.floats(0.001, 0.5)


def likelihood(count: int, rate: float) -> float:
    return float(stats.binom.logpmf(count, count, rate)) if count else 0.0  # count * log(rate), and 0 of none


def test_kupiecs_golden_figures() -> None:
    assert kupiec(57, 1043, 0.05) == pytest.approx((0.46147, 0.49694), abs=5e-6)
    assert kupiec(17, 1043, 0.01) == pytest.approx((3.5118, 0.060933), abs=5e-5)


# GOLDEN: Kupiec 1995, table 3, of 255 days.
@pytest.mark.parametrize(("rate", "least", "most"), [(0.01, None, 7), (0.025, 2, 12), (0.05, 6, 21)])
def test_kupiecs_table_of_counts_that_are_not_rejected(rate: float, least: int | None, most: int) -> None:
    kept = [count for count in range(256) if kupiec(count, 255, rate).p > 0.05]

    assert kept == list(range(1 if least is None else least + 1, most))


@given(st.integers(1, 1000), st.data(), RATES)
def test_kupiec_is_its_likelihoods(observations: int, data: st.DataObject, rate: float) -> None:
    exceptions = data.draw(st.integers(0, observations))
    observed = exceptions / observations

    found = kupiec(exceptions, observations, rate)

    promised = likelihood(exceptions, rate) + likelihood(observations - exceptions, 1 - rate)
    best = likelihood(exceptions, observed or 1.0) + likelihood(observations - exceptions, 1 - observed or 1.0)
    assert found.ratio == pytest.approx(2 * (best - promised), rel=1e-9, abs=1e-9)
    assert found.p == pytest.approx(stats.chi2.sf(found.ratio, 1), rel=1e-12)


@pytest.mark.parametrize(
    ("exceptions", "zone"), [(0, "green"), (4, "green"), (5, "yellow"), (9, "yellow"), (10, "red")]
)
def test_basels_zones_of_250_days(exceptions: int, zone: str) -> None:
    assert traffic_light(exceptions, 250, 0.01) == zone


def test_so_few_periods_have_no_zone() -> None:
    assert traffic_light(0, 4, 0.01) is None
    assert traffic_light(0, 6, 0.01) == "green"


@given(st.integers(1, 3000), st.data(), RATES)
def test_the_binomials_tail_is_scipys(trials: int, data: st.DataObject, rate: float) -> None:
    count = data.draw(st.integers(0, trials))

    assert binomial_beyond(count, trials, rate) == pytest.approx(stats.binom.sf(count, trials, rate), abs=1e-11)


@given(st.integers(10, 2000), RATES)
def test_more_exceptions_are_never_better(observations: int, rate: float) -> None:
    order = ["green", "yellow", "red"]

    zones = [traffic_light(count, observations, rate) for count in range(observations + 1)]

    if None not in zones:
        assert zones == sorted(zones, key=lambda zone: order.index(str(zone)))


@given(COUNTS, COUNTS, COUNTS, COUNTS, RATES)
def test_conditional_coverage_is_the_sum_of_the_others(n00: int, n01: int, n10: int, n11: int, rate: float) -> None:
    counts = Transitions(n00, n01, n10, n11)
    if not sum(counts):
        return
    apart, both = christoffersen(counts), conditional_coverage(counts, rate)

    assert (apart is None) == (both is None) == (n00 + n01 == 0 or n10 + n11 == 0)
    if apart is not None and both is not None:
        assert both.ratio == pytest.approx(apart.ratio + kupiec(n01 + n11, sum(counts), rate).ratio)
        assert both.p == pytest.approx(stats.chi2.sf(both.ratio, 2), rel=1e-12)
        assert 0 <= apart.p <= 1
        assert 0 <= both.p <= 1


@given(st.integers(1, 400), COUNTS, st.integers(1, 400), COUNTS)
def test_independence_is_its_likelihoods(n00: int, n01: int, n10: int, n11: int) -> None:
    found = christoffersen(Transitions(n00, n01, n10, n11))

    a, b = n01 / (n00 + n01), n11 / (n10 + n11)
    p = (n01 + n11) / (n00 + n01 + n10 + n11)
    free = likelihood(n00, 1 - a) + likelihood(n01, a) + likelihood(n10, 1 - b) + likelihood(n11, b)
    bound = likelihood(n00 + n10, 1 - p) + likelihood(n01 + n11, p)
    assert found is not None
    assert found.ratio == pytest.approx(max(0.0, 2 * (free - bound)), rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("counts", [(300, 20, 18, 6), (900, 40, 41, 2), (50, 30, 20, 25)])
def test_independence_is_the_likelihood_ratio_of_a_logit_on_the_period_before(counts: tuple[int, ...]) -> None:
    """An independent way to the same number: statsmodels maximises what Christoffersen's counts solve."""
    from statsmodels.api import Logit, add_constant  # here, for it takes seconds to load

    before = np.repeat([0.0, 0.0, 1.0, 1.0], counts)
    after = np.repeat([0.0, 1.0, 0.0, 1.0], counts)
    theirs = Logit(after, add_constant(before)).fit(disp=False, tol=1e-12)

    found = christoffersen(Transitions(*counts))

    assert found is not None
    assert (found.ratio, found.p) == pytest.approx((theirs.llr, theirs.llr_pvalue), rel=1e-6, abs=1e-6)


def test_exceptions_that_cluster_are_found() -> None:
    clustered, scattered = Transitions(940, 10, 10, 40), Transitions(905, 45, 45, 5)

    assert christoffersen(clustered)[1] < 1e-6  # type: ignore[index]
    assert christoffersen(scattered)[1] > 0.05  # type: ignore[index]


@given(st.lists(st.booleans(), min_size=2, max_size=60))
def test_transitions_count_every_pair_once(flags: list[bool]) -> None:
    found = transitions_of(flags)

    assert sum(found) == len(flags) - 1
    assert found.n11 == sum(a and b for a, b in itertools.pairwise(flags))
    assert found.n01 + found.n11 == sum(flags[1:])


def test_shortfall_told_right_has_a_z2_about_zero() -> None:
    generator, rate = np.random.default_rng(11), 0.025
    var = stats.norm.ppf(1 - rate)
    es = stats.norm.pdf(var) / rate
    returns = generator.normal(size=200_000)
    alike = np.ones_like(returns)

    told_right = acerbi_szekely(returns, var * alike, es * alike, rate)
    told_low = acerbi_szekely(1.5 * returns, var * alike, es * alike, rate)

    assert told_right == pytest.approx(0.0, abs=0.05)
    assert told_low < -0.7


def test_z2_is_its_definition() -> None:
    returns = np.array([0.01, -0.03, -0.01, -0.05])
    var, es = np.full(4, 0.02), np.full(4, 0.025)

    assert acerbi_szekely(returns, var, es, 0.05) == pytest.approx(1 - (0.03 + 0.05) / 0.025 / (4 * 0.05))


@pytest.mark.parametrize(("level", "rate"), [(0.99, 0.01), (0.01, 0.01), (0.95, 0.05), (0.5, 0.5), (0.975, 0.025)])
def test_a_level_above_one_half_is_one_minus_the_rate(level: float, rate: float) -> None:
    assert rate_of(level) == rate


@pytest.mark.parametrize(
    ("exceptions", "observations", "rate", "told"),
    [
        (1, 0, 0.05, "observations must be positive, were 0"),
        (6, 5, 0.05, "exceptions must be in 0..5, the observations, were 6"),
        (-1, 5, 0.05, "were -1"),
        (1, 5, 0.0, "rate of exceptions must be in"),
        (1, 5, math.nan, "was nan"),
    ],
)
def test_counts_that_cannot_be_are_refused(exceptions: int, observations: int, rate: float, told: str) -> None:
    for test in (kupiec, traffic_light):
        with pytest.raises(ValueError, match=told):
            test(exceptions, observations, rate)


@pytest.mark.parametrize("counts", [(0, 0, 0, 0), (-1, 2, 3, 4)])
def test_transitions_that_cannot_be_are_refused(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="counts of transitions"):
        christoffersen(Transitions(*counts))


@pytest.mark.parametrize(
    ("returns", "var", "es", "told"),
    [
        ([0.1, 0.2], [0.1], [0.1], "as long as each other, were 2, 1, 1"),
        ([0.1], [0.2], [0.1], "not below its value at risk, were 0.1 and 0.2 in period 1"),
        ([0.1], [-0.2], [-0.1], "must be positive"),
        ([math.nan], [0.1], [0.2], "returns must be finite, has nan"),
    ],
)
def test_promises_that_cannot_be_are_refused(
    returns: list[float], var: list[float], es: list[float], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        acerbi_szekely(np.array(returns), np.array(var), np.array(es), 0.05)
