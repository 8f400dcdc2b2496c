"""Covariances against scikit-learn, pandas and their definitions."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.covariance import LedoitWolf

from edgefleet.stats.covariance import (
    Floats,
    check_returns,
    correlation,
    ewma_covariance,
    ledoit_wolf,
    returns_of,
    sample_covariance,
)


def drawn(rows: int, assets: int, seed: int = 7) -> Floats:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(rows, assets)) @ generator.normal(size=(assets, assets)) * 0.01


def ragged(rows: int, assets: int, seed: int = 7) -> Floats:
    found = drawn(rows, assets, seed)
    for place in range(assets):
        found[: 5 * place, place] = np.nan
    found[np.random.default_rng(seed).random(found.shape) < 0.05] = np.nan
    return found


def test_ledoit_and_wolfs_golden_figures() -> None:
    returns = np.random.RandomState(0).multivariate_normal([0, 0], [[0.4, 0.2], [0.2, 0.8]], 50)

    found = ledoit_wolf(returns)

    assert found.covariance == pytest.approx(np.array([[0.44067332, 0.16161585], [0.16161585, 0.80226294]]), abs=5e-9)
    assert found.shrinkage == pytest.approx(0.23025406, abs=5e-9)


@pytest.mark.parametrize(("rows", "assets"), [(2, 2), (3, 8), (50, 2), (40, 60), (400, 12), (30, 1)])
def test_shrinkage_is_that_of_scikit_learn(rows: int, assets: int) -> None:
    returns = drawn(rows, assets)
    theirs = LedoitWolf().fit(returns)

    found = ledoit_wolf(returns)

    assert found.shrinkage == pytest.approx(theirs.shrinkage_, rel=1e-9, abs=1e-12)
    assert found.covariance == pytest.approx(theirs.covariance_, rel=1e-9, abs=1e-18)


def test_shrinkage_counts_whole_rows_only() -> None:
    returns = ragged(60, 4)
    whole = returns[~np.isnan(returns).any(axis=1)]

    found = ledoit_wolf(returns)

    assert found.observations == len(whole) < 60
    assert found.shrinkage == ledoit_wolf(whole).shrinkage


def test_missing_values_are_left_out_pair_by_pair_as_pandas_does() -> None:
    returns = ragged(80, 5)
    frame = pd.DataFrame(returns)

    assert sample_covariance(returns) == pytest.approx(frame.cov().to_numpy(), rel=1e-11)
    assert correlation(returns) == pytest.approx(frame.corr().to_numpy(), abs=1e-12)


def test_whole_returns_have_numpys_covariance() -> None:
    returns = drawn(40, 6)

    assert sample_covariance(returns) == pytest.approx(np.cov(returns.T), rel=1e-11)
    assert correlation(returns) == pytest.approx(np.corrcoef(returns.T), abs=1e-12)


def test_ewma_is_its_definition() -> None:
    returns, decay = ragged(30, 3), 0.9

    found = ewma_covariance(returns, decay=decay)

    for i in range(3):
        for j in range(3):
            terms = [
                (decay ** (len(returns) - 1 - row), x[i] * x[j])
                for row, x in enumerate(returns)
                if not (math.isnan(x[i]) or math.isnan(x[j]))
            ]
            expected = math.fsum(w * xy for w, xy in terms) / math.fsum(w for w, _ in terms)
            assert found[i, j] == pytest.approx(expected, rel=1e-12)


@given(arrays(np.float64, (12, 3), elements=st.floats(-0.2, 0.2)), st.floats(0.1, 100.0))
def test_covariances_scale_with_the_square_of_the_unit(returns: Floats, unit: float) -> None:
    try:
        check_returns(returns)
    except ValueError:
        return
    if np.ptp(returns, axis=0).min() < 1e-3:
        return

    assert sample_covariance(unit * returns) == pytest.approx(unit**2 * sample_covariance(returns), rel=1e-6, abs=1e-12)
    assert ledoit_wolf(unit * returns).shrinkage == pytest.approx(ledoit_wolf(returns).shrinkage, abs=1e-6)
    assert 0 <= ledoit_wolf(returns).shrinkage <= 1
    assert np.linalg.eigvalsh(ewma_covariance(returns)).min() >= -1e-12


def test_no_price_is_carried_over_a_gap() -> None:
    prices = np.array([[100.0, 10.0], [101.0, np.nan], [np.nan, np.nan], [99.0, 12.0], [98.0, 12.6]])

    found = returns_of(prices)

    assert found == pytest.approx(np.array([[0.01, np.nan], [98 / 99 - 1, 0.05]]), nan_ok=True)


@pytest.mark.parametrize(
    ("returns", "told"),
    [
        (np.array([[0.01]]), "1 return, 2 are the least"),
        (np.array([[0.01, 0.0], [0.02, 0.0], [0.03, 0.0]]), "column 2: all 3 returns are 0.0, variance 0"),
        (np.array([[0.01, np.inf], [0.02, 0.0]]), "column 2: a return must be finite, was inf"),
        (
            np.array([[0.01, np.nan], [0.02, np.nan], [np.nan, 1], [np.nan, 2]]),
            "column 1 and column 2: 0 rows in common",
        ),
        (np.zeros((3, 0)), "one asset at least"),
        (np.zeros(3), "rows by assets"),
    ],
)
def test_what_has_no_covariance_is_refused(returns: Floats, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        sample_covariance(returns)


@pytest.mark.parametrize("decay", [0.0, 1.0, -1.0, math.nan])
def test_a_decay_that_is_none_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="decay must be in"):
        ewma_covariance(drawn(5, 2), decay=decay)


@pytest.mark.parametrize("price", [0.0, -1.0, math.inf])
def test_a_price_that_is_none_is_refused(price: float) -> None:
    with pytest.raises(ValueError, match="price must be positive and finite"):
        returns_of(np.array([[1.0], [price], [1.0]]))
