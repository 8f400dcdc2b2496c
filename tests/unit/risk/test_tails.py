"""Generalised Pareto tails against the Danish fire losses, scipy, and what must hold of any fit."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edgefleet.risk.tails import Floats, ParetoTail, fit_tail, mean_excesses, propose_thresholds


def drawn(shape: float, count: int, seed: int = 5) -> Floats:
    return np.asarray(stats.genpareto.rvs(shape, size=count, random_state=np.random.RandomState(seed)))


def danish(recorded: Path) -> Floats:
    return np.loadtxt(recorded / "evt" / "danish.csv", skiprows=1)


def log_likelihood(losses: Floats, threshold: float, xi: float, beta: float) -> float:
    return float(stats.genpareto.logpdf(losses[losses > threshold] - threshold, xi, scale=beta).sum())


@pytest.mark.data
@pytest.mark.parametrize(
    ("threshold", "exceed", "xi", "beta", "var", "es"),
    [(20.0, 36, "0.68415", "9.63513", "25.847", "69.019"), (5.0, 254, "0.63154", "3.80913", "27.513", "76.440")],
)
def test_danish_fire_losses(
    recorded: Path, threshold: float, exceed: int, xi: str, beta: str, var: str, es: str
) -> None:
    found = fit_tail(danish(recorded), threshold)

    assert (found.n_exceed, found.n) == (exceed, 2167)
    assert (f"{found.xi:.5f}", f"{found.beta:.5f}") == (xi, beta)
    assert (f"{found.var(0.99):.3f}", f"{found.es(0.99):.3f}") == (var, es)


@pytest.mark.data
@pytest.mark.parametrize("threshold", [1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 40.0])
def test_errors_are_the_curvature_of_the_likelihood(recorded: Path, threshold: float) -> None:
    losses = danish(recorded)
    found = fit_tail(losses, threshold)
    at, step = np.array([found.xi, found.beta]), 1e-4 * np.array([1.0, found.beta])

    def cost(x: float, y: float) -> float:
        return -log_likelihood(losses, threshold, *(at + np.array([x, y]) * step))

    curvature = np.array(
        [
            [cost(1, 0) - 2 * cost(0, 0) + cost(-1, 0), (cost(1, 1) - cost(1, -1) - cost(-1, 1) + cost(-1, -1)) / 4],
            [0.0, cost(0, 1) - 2 * cost(0, 0) + cost(0, -1)],
        ]
    )
    curvature[1, 0] = curvature[0, 1]
    errors = np.sqrt(np.diag(np.linalg.inv(curvature / np.outer(step, step))))

    assert (found.se_xi, found.se_beta) == pytest.approx(errors, rel=1e-4)


@pytest.mark.parametrize("shape", [-0.4, -0.2, 0.0, 0.1, 0.4, 0.9, 1.4])
@pytest.mark.parametrize("count", [10, 40, 400])
def test_no_fit_of_scipys_is_likelier(shape: float, count: int) -> None:
    losses = drawn(shape, count)
    xi, _, beta = stats.genpareto.fit(losses, floc=0)
    if xi <= -1:  # where the likelihood grows without bound, and what an optimizer finds is where it stopped
        with pytest.raises(ValueError, match="has no maximum with xi > -1"):
            fit_tail(losses, 0.0)
        return

    found = fit_tail(losses, 0.0)

    assert log_likelihood(losses, 0.0, found.xi, found.beta) >= log_likelihood(losses, 0.0, xi, beta) - 1e-9


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.25, 0.7])
def test_the_shape_is_found_again(shape: float) -> None:
    found = fit_tail(drawn(shape, 4000), 0.0)

    assert found.se_xi is not None
    assert found.xi == pytest.approx(shape, abs=4 * found.se_xi)
    assert found.se_xi == pytest.approx((1 + shape) / math.sqrt(4000), rel=0.15)  # its limit for large samples


@settings(max_examples=25)
@given(st.sampled_from([0.1, 0.3, 0.8]), st.integers(0, 50), st.floats(1e-6, 1e6), st.integers(40, 80))
def test_a_change_of_unit_changes_nothing_but_the_unit(shape: float, seed: int, unit: float, count: int) -> None:
    losses = drawn(shape, count, seed)

    found, scaled = fit_tail(losses, 0.0), fit_tail(unit * losses, 0.0)

    assert scaled.xi == pytest.approx(found.xi, rel=1e-7, abs=1e-9)
    assert scaled.beta == pytest.approx(unit * found.beta, rel=1e-7)
    if found.se_xi is None:  # below a shape of -1/2 there are no standard errors, in no unit
        assert scaled.se_xi is None
    else:
        assert scaled.se_xi == pytest.approx(found.se_xi, rel=1e-5)
    if found.es(0.99) is not None:
        assert scaled.es(0.99) == pytest.approx(unit * found.es(0.99), rel=1e-6)  # type: ignore[operator]


@settings(max_examples=25)
@given(st.sampled_from([0.1, 0.3, 0.8]), st.integers(0, 50), st.floats(-1e3, 1e3))
def test_moving_losses_and_threshold_together_moves_the_answers(shape: float, seed: int, by: float) -> None:
    losses = drawn(shape, 50, seed)

    found, moved = fit_tail(losses, 0.0), fit_tail(losses + by, by)

    assert moved.xi == pytest.approx(found.xi, abs=1e-6)
    assert moved.var(0.99) == pytest.approx(by + found.var(0.99), abs=1e-5)  # type: ignore[operator]


@given(st.integers(-45, 95), st.floats(0.001, 100.0), st.floats(0.9, 0.9999))
def test_quantiles_and_shortfalls_are_those_of_the_distribution(hundredths: int, beta: float, level: float) -> None:
    xi = hundredths / 100
    tail = ParetoTail(threshold=3.0, xi=xi, beta=beta, se_xi=None, se_beta=None, n_exceed=100, n=1000)
    beyond = stats.genpareto(xi, loc=3.0, scale=beta)

    var, es = tail.var(level), tail.es(level)

    assert var is not None
    assert es is not None
    assert var == pytest.approx(beyond.isf(10 * (1 - level)), rel=1e-9)
    assert es >= var
    # Beyond a higher threshold the excess is generalised Pareto again, with the scale beta + xi (var - u).
    assert es == pytest.approx(var + (beta + xi * (var - 3.0)) / (1 - xi), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("xi", [1e-12, 1e-9, 1e-6, -1e-9])
def test_a_shape_near_zero_is_the_exponential(xi: float) -> None:
    near, exponential = (ParetoTail(1.0, shape, 2.0, None, None, 50, 1000) for shape in (xi, 0.0))

    assert near.var(0.999) == pytest.approx(exponential.var(0.999), rel=1e-4)
    assert exponential.var(0.999) == pytest.approx(1 + 2 * math.log(50))
    assert exponential.es(0.999) == pytest.approx(3 + 2 * math.log(50))


def test_below_the_threshold_the_tail_tells_nothing() -> None:
    tail = fit_tail(drawn(0.2, 1000), 3.0)

    assert tail.var(1 - 2 * tail.n_exceed / tail.n) is None
    assert tail.es(1 - 2 * tail.n_exceed / tail.n) is None


def test_a_tail_without_a_mean_has_no_shortfall() -> None:
    tail = fit_tail(drawn(1.6, 500), 0.0)

    assert tail.xi > 1
    assert tail.var(0.99) is not None
    assert tail.es(0.99) is None


@pytest.mark.parametrize(
    ("losses", "threshold", "told"),
    [
        (np.arange(20.0), 12.0, "only 7 of 20 losses exceed 12.0; 10 are the least"),
        (np.arange(20.0), 100.0, "only 0 of 20"),
        (np.array([1.0] * 5 + [3.0] * 15), 2.0, "all 15 losses beyond 2.0 are equal"),
        (np.array([1.0, math.nan]), 0.0, "a loss must be finite, was nan"),
        (np.arange(20.0), math.nan, "threshold must be finite, was nan"),
        (np.array([]), 0.0, "one loss at least"),
        (np.linspace(1.0, 2.0, 50) ** 0.1, 1.0, "has no maximum with xi > -1"),
    ],
)
def test_what_has_no_tail_is_refused(losses: Floats, threshold: float, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        fit_tail(losses, threshold)


def test_thresholds_are_proposed_with_their_mean_excess() -> None:
    losses = drawn(0.3, 2000)

    found = propose_thresholds(losses)

    assert [c.n_exceed for c in found] == [400, 300, 200, 150, 100, 50]
    for candidate in found:
        assert candidate.tail is not None
        assert candidate.mean_excess == pytest.approx(
            float((losses[losses > candidate.threshold]).mean()) - candidate.threshold
        )


@given(st.integers(-45, 95), st.floats(0.001, 100.0), st.floats(0.0, 50.0))
def test_probabilities_beyond_are_those_of_the_distribution(hundredths: int, beta: float, over: float) -> None:
    xi = hundredths / 100
    tail = ParetoTail(threshold=3.0, xi=xi, beta=beta, se_xi=None, se_beta=None, n_exceed=100, n=1000)

    found = tail.beyond(3.0 + over)

    assert found == pytest.approx(0.1 * stats.genpareto(xi, loc=3.0, scale=beta).sf(3.0 + over), rel=1e-6, abs=1e-12)
    assert tail.beyond(2.9) is None


@given(st.integers(-45, 95), st.floats(0.001, 100.0), st.floats(0.91, 0.9999))
def test_the_loss_of_a_level_is_exceeded_with_the_rest_of_it(hundredths: int, beta: float, level: float) -> None:
    tail = ParetoTail(3.0, hundredths / 100, beta, None, None, 100, 1000)

    assert tail.beyond(tail.var(level) or 0.0) == pytest.approx(1 - level, rel=1e-6)


@given(st.lists(st.integers(0, 60).map(float), min_size=12, max_size=60))
def test_mean_excesses_are_means_of_excesses(numbers: list[float]) -> None:
    losses = np.array(numbers)
    expected = {u: losses[losses > u] - u for u in sorted(set(numbers))}
    kept = {u: float(excess.mean()) for u, excess in expected.items() if len(excess) >= 10}
    if not kept:
        with pytest.raises(ValueError, match="has 10 larger ones, the least"):
            mean_excesses(losses)
        return

    thresholds, means = mean_excesses(losses)

    assert thresholds.tolist() == list(kept)
    assert means == pytest.approx(list(kept.values()))


def test_a_loss_that_is_not_finite_has_no_probability() -> None:
    with pytest.raises(ValueError, match="loss must be finite, was nan"):
        fit_tail(drawn(0.2, 100), 0.1).beyond(math.nan)
