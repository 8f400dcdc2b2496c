"""Allocation against published weights, PyPortfolioOpt's, skfolio, and what must hold of any."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from edgefleet.risk.allocation import (
    Convention,
    Floats,
    equal_risk,
    gap_clusters,
    hierarchical_equal_risk,
    hierarchical_risk_parity,
    inverse_variance,
    minimum_variance,
    parity,
)
from edgefleet.stats.covariance import correlation, returns_of, sample_covariance

CONVENTIONS: list[Convention] = ["A", "B", "C", "D"]
# GOLDEN: A is the table of Lopez de Prado 2016, p. 68; B to D are those of PyPortfolioOpt, skfolio and Riskfolio-Lib.
PUBLISHED = {
    "A": "7.00 7.59 10.84 19.03 9.72 10.19 6.62 9.10 7.12 12.79",
    "B": "13.0857 5.2995 10.4393 13.0914 10.8442 9.8157 12.5184 10.1480 9.8001 4.9577",
    "C": "6.204 8.346 12.219 16.403 9.340 12.601 5.867 8.740 12.472 7.808",
    "D": "6.231 7.282 12.368 14.439 10.917 12.583 6.059 10.560 12.518 7.043",
}


def papers_returns() -> Floats:
    generator = np.random.RandomState(12345)
    x = generator.normal(0, 1, (10000, 5))
    return np.hstack([x, x[:, [2, 0, 4, 1, 1]] + generator.normal(0, 0.25, (10000, 5))])


def drawn(assets: int, rows: int = 300, seed: int = 3) -> Floats:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(rows, assets)) @ generator.normal(size=(assets, assets)) * 0.01


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_published_weights_of_the_papers_example(convention: Convention) -> None:
    published = PUBLISHED[convention].split()
    places = len(published[0].partition(".")[2])

    found = hierarchical_risk_parity(papers_returns(), convention=convention)

    assert [f"{100 * weight:.{places}f}" for weight in found.weights] == published


def test_inverse_variance_of_the_papers_example() -> None:
    found = inverse_variance(sample_covariance(papers_returns()))

    expected = "10.3622 10.2762 10.3613 10.2474 10.3088 9.7424 9.7989 9.6470 9.6424 9.6134".split()
    assert [f"{100 * weight:.4f}" for weight in found] == expected


@pytest.mark.data
def test_twenty_stocks_have_pyportfolioopts_weights(recorded: Path) -> None:
    with gzip.open(recorded / "prices" / "stock_prices.csv.gz", "rt") as file:
        names, *lines = list(csv.reader(file))
    with (recorded / "prices" / "weights_hrp.csv").open() as file:
        theirs = {name: float(weight) for name, weight in list(csv.reader(file))[1:]}
    prices = np.array([[float(cell or "nan") for cell in line[1:]] for line in lines])

    found = hierarchical_risk_parity(returns_of(prices), convention="B")

    assert found.weights == pytest.approx([theirs[name] for name in names[1:]], abs=1e-12, rel=0)


@pytest.mark.parametrize("assets", [2, 3, 7, 20, 33])
@pytest.mark.parametrize(("convention", "measure"), [("C", "VARIANCE"), ("D", "STANDARD_DEVIATION")])
def test_weights_with_ordered_leaves_are_skfolios(assets: int, convention: Convention, measure: str) -> None:
    from skfolio import RiskMeasure  # here, for it takes seconds to load
    from skfolio.cluster import HierarchicalClustering, LinkageMethod
    from skfolio.distance import PearsonDistance
    from skfolio.optimization import HierarchicalRiskParity
    from skfolio.seriation import HierarchicalSeriation

    returns = drawn(assets)
    tree = HierarchicalClustering(linkage_method=LinkageMethod.SINGLE)
    theirs = HierarchicalRiskParity(
        risk_measure=RiskMeasure[measure],
        distance_estimator=PearsonDistance(),
        seriation_estimator=HierarchicalSeriation(hierarchical_clustering_estimator=tree),
    ).fit(returns)

    found = hierarchical_risk_parity(returns, convention=convention)

    assert found.weights == pytest.approx(theirs.weights_, abs=1e-12)


@given(st.integers(1, 12), st.integers(0, 1000), st.sampled_from(CONVENTIONS))
def test_weights_are_positive_and_sum_to_one(assets: int, seed: int, convention: Convention) -> None:
    found = hierarchical_risk_parity(drawn(assets, 30, seed), convention=convention)

    assert (found.weights > 0).all()
    assert found.weights.sum() == pytest.approx(1.0, abs=1e-12)
    assert sorted(found.order) == list(range(assets))


@given(st.sampled_from([2, 4, 8]), st.integers(0, 1000), st.sampled_from(["C", "D"]))
def test_ordered_leaves_do_not_care_how_columns_are_arranged(assets: int, seed: int, convention: Convention) -> None:
    """Of a power of two, whose halves are the same from either end: the best order is one up to its direction."""
    returns = drawn(assets, 40, seed)
    places = np.random.default_rng(seed).permutation(assets)

    moved = hierarchical_risk_parity(returns[:, places], convention=convention)

    assert moved.weights == pytest.approx(hierarchical_risk_parity(returns, convention=convention).weights[places])


@given(st.integers(1, 8), st.integers(0, 1000))
def test_variance_weights_do_not_care_how_columns_are_arranged(assets: int, seed: int) -> None:
    covariance = sample_covariance(drawn(assets, 40, seed))
    places = np.random.default_rng(seed).permutation(assets)
    moved = covariance[np.ix_(places, places)]

    for method in (inverse_variance, minimum_variance):
        assert method(moved) == pytest.approx(method(covariance)[places], abs=1e-9)


@given(st.integers(1, 8), st.integers(0, 1000), st.sampled_from(CONVENTIONS), st.floats(1e-4, 1e4))
def test_the_unit_of_returns_does_not_matter(assets: int, seed: int, convention: Convention, unit: float) -> None:
    returns = drawn(assets, 30, seed)

    assert hierarchical_risk_parity(unit * returns, convention=convention).weights == pytest.approx(
        hierarchical_risk_parity(returns, convention=convention).weights, rel=1e-9
    )


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_single_asset_gets_everything(convention: Convention) -> None:
    found = hierarchical_risk_parity(drawn(1), convention=convention)

    assert (found.weights.tolist(), found.order) == ([1.0], (0,))


@pytest.mark.parametrize("convention", ["A", "B", "C"])
def test_two_assets_are_weighted_by_inverse_variance(convention: Convention) -> None:
    returns = drawn(2)

    found = hierarchical_risk_parity(returns, convention=convention)

    assert found.weights == pytest.approx(inverse_variance(sample_covariance(returns)), abs=1e-15)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_copies_of_one_asset_share_alike(convention: Convention) -> None:
    returns = np.repeat(drawn(1), 4, axis=1)

    found = hierarchical_risk_parity(returns, convention=convention)

    assert found.weights == pytest.approx([0.25] * 4, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_no_portfolio_without_shorts_varies_less(seed: int) -> None:
    covariance = sample_covariance(drawn(6, 100, seed))
    start = np.full(6, 1 / 6)
    searched = minimize(
        lambda w: 1e4 * w @ covariance @ w,
        start,
        method="SLSQP",
        bounds=[(0, 1)] * 6,
        constraints=[{"type": "eq", "fun": lambda w: w.sum() - 1}],
        options={"ftol": 1e-14, "maxiter": 500},
    ).x

    found = minimum_variance(covariance)

    assert (found >= 0).all()
    assert found.sum() == pytest.approx(1.0, abs=1e-12)
    assert found @ covariance @ found <= searched @ covariance @ searched * (1 + 1e-9)


def test_with_shorts_marginal_variances_are_equal() -> None:
    covariance = sample_covariance(drawn(5))

    found = minimum_variance(covariance, long_only=False)

    assert np.ptp(covariance @ found) < 1e-12
    assert found.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("covariance", "told"),
    [
        ([[0.01, 0.0], [0.0, -0.01]], "variance 2 must be positive, was -0.01"),
        ([[0.01, 0.0], [0.0, float("nan")]], "finite, has nan"),
        ([[0.01, 0.0]], "square, was shape"),
        ([[0.01, 0.001], [0.002, 0.01]], "not symmetric at 1,2: 0.001, 0.002"),
    ],
)
def test_what_is_no_covariance_is_refused(covariance: list[list[float]], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        inverse_variance(np.array(covariance))


def test_a_singular_covariance_has_no_portfolio_of_least_variance() -> None:
    with pytest.raises(ValueError, match="not positive definite: its eigenvalues are"):
        minimum_variance(np.array([[0.01, 0.01], [0.01, 0.01]]))


def test_a_cluster_of_negative_variance_is_refused() -> None:
    impossible = np.full((6, 6), -0.9) + 1.9 * np.eye(6)

    with pytest.raises(ValueError, match="variance of a cluster of 3 assets must be positive, was -0"):
        parity(impossible, impossible)


def test_unknown_convention_is_refused() -> None:
    with pytest.raises(ValueError, match="convention must be one of A, B, C, D, was 'E'"):
        hierarchical_risk_parity(drawn(3), convention="E")  # type: ignore[arg-type]


def test_correlations_are_those_of_the_same_returns() -> None:
    returns = drawn(4)

    found = parity(sample_covariance(returns), correlation(returns), convention="A")

    assert found.weights == pytest.approx(hierarchical_risk_parity(returns, convention="A").weights, abs=0)


@pytest.mark.parametrize("assets", [2, 3, 7, 20, 33])
@pytest.mark.parametrize("clusters", [None, 1, 2, 5])
def test_equal_risk_has_skfolios_weights(assets: int, clusters: int | None) -> None:
    from skfolio import RiskMeasure  # here, for it takes seconds to load
    from skfolio.cluster import HierarchicalClustering
    from skfolio.distance import PearsonDistance
    from skfolio.optimization import HierarchicalEqualRiskContribution

    returns, asked = drawn(assets), None if clusters is None else min(clusters, assets)
    theirs = HierarchicalEqualRiskContribution(
        risk_measure=RiskMeasure.VARIANCE,
        distance_estimator=PearsonDistance(),
        hierarchical_clustering_estimator=HierarchicalClustering(max_clusters=asked),
    ).fit(returns)

    found = hierarchical_equal_risk(returns, clusters=asked)

    assert found.weights == pytest.approx(theirs.weights_, abs=1e-12)
    if clusters is None:
        distance = np.sqrt((1 - correlation(returns)) / 2)
        assert gap_clusters(distance) == theirs.hierarchical_clustering_estimator_.n_clusters_


@given(st.integers(1, 12), st.integers(0, 1000), st.integers(1, 12))
def test_equal_risk_is_positive_and_sums_to_one(assets: int, seed: int, clusters: int) -> None:
    found = hierarchical_equal_risk(drawn(assets, 30, seed), clusters=min(clusters, assets))

    assert (found.weights > 0).all()
    assert found.weights.sum() == pytest.approx(1.0, abs=1e-12)
    assert sorted(found.order) == list(range(assets))


@given(st.integers(1, 10), st.integers(0, 1000))
def test_equal_risk_does_not_care_how_columns_are_arranged(assets: int, seed: int) -> None:
    returns = drawn(assets, 40, seed)
    places = np.random.default_rng(seed).permutation(assets)

    moved = hierarchical_equal_risk(returns[:, places])

    assert moved.weights == pytest.approx(hierarchical_equal_risk(returns).weights[places])


@given(st.integers(1, 12), st.integers(0, 1000))
def test_a_single_cluster_is_weighted_by_inverse_variance(assets: int, seed: int) -> None:
    returns = drawn(assets, 30, seed)

    found = hierarchical_equal_risk(returns, clusters=1)

    assert found.weights == pytest.approx(inverse_variance(sample_covariance(returns)), abs=1e-12)


def test_three_blocks_of_assets_are_three_clusters() -> None:
    """Blocks of 2, 3 and 4 with a correlation of 0.95 inside and 0.05 across are told apart without being counted."""
    block = np.repeat([0, 1, 2], [2, 3, 4])
    correlations = np.where(block[:, None] == block[None, :], 0.95, 0.05)
    np.fill_diagonal(correlations, 1.0)

    found = equal_risk(1e-4 * correlations, correlations)

    assert gap_clusters(np.sqrt((1 - correlations) / 2)) == 3
    assert found.weights == pytest.approx(equal_risk(1e-4 * correlations, correlations, clusters=3).weights, abs=0)


def test_two_clusters_share_in_the_inverse_proportion_of_their_variances() -> None:
    """Variances 1, 1 and 4, 4 without correlation: clusters vary 1/2 and 2, so that they get 4/5 and 1/5."""
    correlations = np.eye(4)
    correlations[0, 1] = correlations[1, 0] = correlations[2, 3] = correlations[3, 2] = 1e-9

    found = equal_risk(np.diag([1.0, 1.0, 4.0, 4.0]), correlations, clusters=2)

    assert found.weights == pytest.approx([0.4, 0.4, 0.1, 0.1])


@pytest.mark.parametrize("clusters", [0, 5, -1])
def test_a_number_of_clusters_that_the_assets_do_not_have_is_refused(clusters: int) -> None:
    with pytest.raises(ValueError, match=f"clusters must be between 1 and the 4 assets, were {clusters}"):
        hierarchical_equal_risk(drawn(4), clusters=clusters)


@pytest.mark.parametrize("assets", [2, 7, 20])
def test_inverse_and_minimum_variance_are_skfolios(assets: int) -> None:
    from skfolio.optimization import InverseVolatility, MeanRisk  # here, for it takes seconds to load

    returns = drawn(assets)
    covariance = sample_covariance(returns)
    volatility = InverseVolatility().fit(returns).weights_

    assert inverse_variance(covariance) == pytest.approx(volatility**2 / (volatility**2).sum(), abs=1e-12)
    ours, theirs = minimum_variance(covariance), MeanRisk().fit(returns).weights_
    assert ours @ covariance @ ours <= theirs @ covariance @ theirs * (1 + 1e-9)
    assert ours == pytest.approx(theirs, abs=2e-3)
