"""Value at risk and expected shortfall: definitions, closed forms and what must hold of every method."""

from __future__ import annotations

import math
from contextlib import suppress
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import integrate, stats

from edgefleet.risk.horizons import days_of, periods_in
from edgefleet.risk.shortfall import (
    METHODS,
    Floats,
    Method,
    age_weighted,
    cornish_fisher,
    ewma,
    ewma_t,
    filtered,
    garch,
    historical,
    monte_carlo,
    normal,
)

QUICK: list[Method] = ["normal", "ewma", "ewma-t", "historical", "age-weighted", "filtered", "monte-carlo"]
SERIES = arrays(np.float64, st.integers(2, 60), elements=st.integers(-500, 500).map(lambda n: n / 1e4))


def heavy(count: int = 1500, seed: int = 4) -> Floats:
    return 0.01 * np.asarray(stats.t.rvs(5, size=count, random_state=np.random.RandomState(seed)))


def test_normal_is_mean_and_deviation() -> None:
    returns = heavy(252)
    mean, deviation = returns.mean(), returns.std(ddof=1)

    found = normal(returns, level=0.95)

    assert found.var == pytest.approx(-(mean - 1.6448536269514722 * deviation), rel=1e-12)
    assert found.es == pytest.approx(
        -stats.norm.expect(lambda r: r, loc=mean, scale=deviation, ub=-found.var) / 0.05, rel=1e-6
    )


@given(SERIES, st.sampled_from([0.9, 0.95, 0.975, 0.99]))
def test_historical_is_numpys_quantile_and_the_mean_beyond(returns: Floats, level: float) -> None:
    if not np.ptp(returns):
        return
    losses = -returns

    found = historical(returns, level=level)

    assert found.var == pytest.approx(np.quantile(losses, level), abs=1e-12)
    assert found.es == pytest.approx(losses[losses >= found.var - 1e-12].mean(), abs=1e-12)


def test_ewma_weighs_by_age() -> None:
    returns = np.array([0.02, -0.01, 0.03])
    variance = (0.81 * 0.0004 + 0.9 * 0.0001 + 0.0009) / (0.81 + 0.9 + 1)

    assert ewma(returns, level=0.99, decay=0.9).var == pytest.approx(2.3263478740408408 * math.sqrt(variance))


def test_ewma_t_has_the_variance_of_ewma_and_the_quantile_of_students_t() -> None:
    returns = heavy(252)
    deviation = ewma(returns, level=0.95).var / stats.norm.ppf(0.95)

    found = ewma_t(returns, level=0.99)

    assert found.var == pytest.approx(deviation * stats.t.ppf(0.99, 5) * math.sqrt(3 / 5), rel=1e-9)
    assert ewma_t(returns, degrees=1e7) == pytest.approx(ewma(returns), rel=1e-5)


@given(SERIES, st.floats(0.8, 0.999), st.sampled_from([0.9, 0.95, 0.975, 0.99]))
def test_age_weighted_is_the_greatest_loss_beyond_which_enough_weight_lies(
    returns: Floats, decay: float, level: float
) -> None:
    if not np.ptp(returns):
        return
    weights = [decay**age for age in range(len(returns))][::-1]
    pairs = sorted(zip(-returns, weights, strict=True), reverse=True)
    total, var = 0.0, math.nan
    for loss, weight in pairs:
        total += weight / sum(weights)
        if total >= (1 - level) * (1 - 1e-9):
            var = loss
            break
    beyond = [(loss, weight) for loss, weight in pairs if loss >= var]

    found = age_weighted(returns, level=level, decay=decay)

    assert found.var == var
    assert found.es == pytest.approx(sum(a * w for a, w in beyond) / sum(w for _, w in beyond), rel=1e-9, abs=1e-12)


def test_five_of_a_hundred_equal_weights_are_five_percent() -> None:
    returns = -np.arange(100.0)

    found = age_weighted(returns, level=0.95, decay=1 - 1e-13)

    assert found.var == 95.0
    assert found.es == pytest.approx(97.0)


def test_weighted_quantiles_are_those_of_statsmodels() -> None:
    from statsmodels.stats.weightstats import DescrStatsW  # here, for it takes seconds to load

    returns, decay = heavy(251), 0.97
    weights = decay ** np.arange(250, -1, -1.0)
    theirs = DescrStatsW(-returns, weights=weights).quantile(0.95, return_pandas=False)

    assert age_weighted(returns, level=0.95, decay=decay).var == pytest.approx(float(theirs[0]), rel=1e-12)


def test_filtered_is_its_definition() -> None:
    returns, decay = heavy(400), 0.9
    deviations = [math.sqrt(np.mean(returns**2))]
    for r in returns:
        deviations.append(math.sqrt(decay * deviations[-1] ** 2 + (1 - decay) * r * r))
    today = [r / before * deviations[-1] for r, before in zip(returns, deviations, strict=False)]

    assert filtered(returns, decay=decay) == pytest.approx(historical(np.array(today)), rel=1e-9)


def test_filtered_follows_a_volatility_that_rose() -> None:
    calm_then_wild = np.concatenate((heavy(500), 4 * heavy(100, seed=5)))

    assert filtered(calm_then_wild).var > 2 * historical(calm_then_wild).var


def test_without_skewness_and_kurtosis_cornish_fisher_is_normal() -> None:
    # Nine points whose third moment is zero, and whose fourth is that of the normal distribution.
    a = math.sqrt(3)
    returns = 0.01 * np.array([-a, a, *[0.0] * 4])

    assert cornish_fisher(returns) == pytest.approx(normal(returns), rel=1e-12)


def test_cornish_fishers_shortfall_is_the_mean_of_its_quantiles() -> None:
    returns = heavy(2000) + 0.00002 * heavy(2000) ** 2
    whole, _ = integrate.quad(lambda level: cornish_fisher(returns, level=level).var, 0.95, 1 - 1e-9, limit=200)

    assert cornish_fisher(returns, level=0.95).es == pytest.approx(whole / 0.05, rel=1e-3)


def test_what_cornish_fisher_cannot_describe_is_refused() -> None:
    crash = np.array([0.001, -0.001] * 30 + [-0.5])

    with pytest.raises(ValueError, match="beyond what the Cornish-Fisher expansion can describe"):
        cornish_fisher(crash)


@given(st.integers(0, 200), st.sampled_from([0.9, 0.95, 0.99]), st.sampled_from([0.2, 1.0, 5.0]))
def test_shortfall_is_never_below_value_at_risk(seed: int, level: float, periods: float) -> None:
    returns = heavy(60, seed)

    for method in QUICK:
        options = {"paths": 1000} if method == "monte-carlo" else {}
        found = METHODS[method](returns, level=level, periods=periods, **options)
        assert found.es >= found.var


@given(st.integers(0, 200), st.sampled_from([0.9, 0.95, 0.99]), st.floats(0.0, 0.3))
def test_cornish_fisher_has_a_shortfall_above_its_value_at_risk_or_none(seed: int, level: float, bend: float) -> None:
    returns = heavy(60, seed)
    told = None
    with suppress(ValueError):
        told = cornish_fisher(returns - bend * returns**2 / 0.01, level=level)

    assert told is None or told.es >= told.var


@settings(max_examples=30)
@given(st.integers(0, 200), st.floats(0.01, 10.0))
def test_losses_scale_with_the_returns(seed: int, unit: float) -> None:
    returns = heavy(60, seed)

    for name in QUICK[:-1]:
        method = METHODS[name]
        assert method(unit * returns) == pytest.approx([unit * loss for loss in method(returns)], rel=1e-9)


def test_monte_carlo_is_the_same_for_the_same_seed_and_near_the_normal() -> None:
    returns = heavy()

    found = monte_carlo(returns, seed=3)

    assert found == monte_carlo(returns, seed=3)
    assert found != monte_carlo(returns, seed=4)
    assert found == pytest.approx(normal(returns), rel=0.02)


def test_monte_carlo_compounds() -> None:
    always_half = np.array([-0.5, -0.5 + 1e-9])

    assert monte_carlo(always_half, periods=3.0, draws="bootstrap").var == pytest.approx(1 - 0.5**3)


def test_a_bootstrap_is_near_the_historical() -> None:
    assert monte_carlo(heavy(), draws="bootstrap") == pytest.approx(historical(heavy()), rel=0.03)


def test_garch_is_normal_with_the_variance_it_foresees() -> None:
    from edgefleet.risk.garch import fit_garch

    returns = heavy(600)
    fitted, z = fit_garch(returns), NormalDist().inv_cdf(0.99)

    found = garch(returns, level=0.99, periods=3.0)

    assert found.var == pytest.approx(z * math.sqrt(fitted.variance_over(3.0)) - 3 * fitted.mu)
    assert found.es > found.var


@pytest.mark.parametrize("method", QUICK[:-1])
def test_four_periods_deviate_twice_as_much(method: Method) -> None:
    returns = heavy(300)
    returns -= returns.mean()

    one, four = METHODS[method](returns), METHODS[method](returns, periods=4.0)

    assert four == pytest.approx((2 * one.var, 2 * one.es))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("returns", "options", "told"),
    [
        ([0.01], {}, "has 1 return, 2 are the least"),
        ([], {}, "has 0 returns"),
        ([0.0] * 200, {}, "all 200 returns are 0.0: the variance is 0"),
        ([math.nan] * 200, {}, "finite"),
        ([0.01, -0.01] * 100, {"level": 0.05}, r"level must be in \(0.5, 1\), 0.95 for 95 %, was 0.05"),
        ([0.01, -0.01] * 100, {"level": 1.0}, "was 1.0"),
        ([0.01, -0.01] * 100, {"level": math.nan}, "was nan"),
        ([0.01, -0.01] * 100, {"periods": 0.0}, "positive and finite number of periods, was 0.0"),
    ],
)
def test_what_has_no_risk_to_tell_is_refused(
    method: Method, returns: list[float], options: dict[str, float], told: str
) -> None:
    with pytest.raises(ValueError, match=told if method != "garch" or len(returns) > 2 else "100 are the least"):
        METHODS[method](np.array(returns), **options)


def test_other_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match="draws must be one of normal, bootstrap, was 'dice'"):
        monte_carlo(heavy(), draws="dice")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"the horizon has 1\.5 periods"):
        monte_carlo(heavy(), draws="bootstrap", periods=1.5)
    with pytest.raises(ValueError, match="paths must be 100 at least, were 5"):
        monte_carlo(heavy(), paths=5)
    with pytest.raises(ValueError, match="decay must be in"):
        filtered(heavy(), decay=1.0)
    with pytest.raises(ValueError, match="degrees of freedom must be above 2 and finite, were 2"):
        ewma_t(heavy(), degrees=2.0)


def test_horizons_are_counted_by_the_calendar() -> None:
    assert [days_of(h, "XNYS") for h in ("1h", "1d", "1w", "1m")] == [1 / 6.5, 1.0, 5.0, 21.0]
    assert [days_of(h, "24/7") for h in ("1h", "1d", "1w", "1m")] == [1 / 24, 1.0, 7.0, 365 / 12]
    assert periods_in("1w", "1h", "24/7") == pytest.approx(168.0)


def test_unknown_horizons_and_calendars_are_refused() -> None:
    with pytest.raises(ValueError, match="horizon must be one of 1h, 1d, 1w, 1m, was '1y'"):
        days_of("1y", "XNYS")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="calendar must be one of XNYS, 24/7, was 'XLON'"):
        days_of("1d", "XLON")  # type: ignore[arg-type]
