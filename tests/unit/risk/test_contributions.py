"""Component value at risk: parts that are the whole, and derivatives that are derivatives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edgefleet.risk.contributions import Floats, component_var


def covariance(assets: int, seed: int) -> Floats:
    factors = np.random.default_rng(seed).normal(size=(assets, assets + 2)) * 0.01
    return factors @ factors.T


@given(st.integers(1, 10), st.integers(0, 1000), st.sampled_from([0.9, 0.95, 0.99]))
def test_components_are_the_whole(assets: int, seed: int, level: float) -> None:
    generator = np.random.default_rng(seed)
    weights, means, about = (
        generator.normal(size=assets),
        generator.normal(size=assets) * 0.001,
        covariance(assets, seed),
    )

    found = component_var(weights, about, level=level, means=means)

    assert found.var == math.fsum(found.component)
    assert found.es == math.fsum(found.component_es)
    spread, drift = math.sqrt(weights @ about @ weights), weights @ means
    assert found.var == pytest.approx(stats.norm.ppf(level) * spread - drift, rel=1e-9, abs=1e-12)
    assert found.es == pytest.approx(stats.norm.pdf(stats.norm.ppf(level)) / (1 - level) * spread - drift, rel=1e-9)


def test_marginal_is_the_derivative() -> None:
    weights, about = np.array([0.5, -0.2, 0.4]), covariance(3, 1)

    found = component_var(weights, about)

    for place in range(3):
        step = 1e-6 * np.eye(3)[place]
        rise = component_var(weights + step, about).var - component_var(weights - step, about).var
        assert found.marginal[place] == pytest.approx(rise / 2e-6, rel=1e-6)


def test_a_hedge_takes_risk_away() -> None:
    about = np.array([[0.04, 0.036], [0.036, 0.04]])

    found = component_var(np.array([1.0, -0.3]), about)

    assert found.component[1] < 0 < found.component[0]


@pytest.mark.parametrize(
    ("weights", "about", "told"),
    [
        ([0.0, 0.0], [[0.01, 0.0], [0.0, 0.01]], "variance of the portfolio must be positive, was 0.0"),
        ([1.0], [[-0.01]], "was -0.01"),
        ([1.0, 2.0], [[0.01]], "2 weights do not fit a covariance of"),
        ([math.nan], [[0.01]], "weights must be finite, has nan"),
        ([1.0], [[math.inf]], "covariance must be finite, has inf"),
    ],
)
def test_what_has_no_risk_is_refused(weights: list[float], about: list[list[float]], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        component_var(np.array(weights), np.array(about))
