"""What is told before each period, against the plain definition: call the method on what was known then."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from edgefleet.risk.coverage import FIRST_TOLD, WAYS, coverage_of, judge
from edgefleet.risk.garch import fit_garch
from edgefleet.risk.rolling import METHODS_REFITTED, Floats, Rolled, roll, roll_refitted, tell_next
from edgefleet.risk.shortfall import METHODS, empirical, garch, student


def clustered(count: int, seed: int = 7) -> Floats:
    """Return a GARCH(1,1) with Student-t errors of five degrees."""
    generator, variance, found = np.random.default_rng(seed), 1e-4, []
    for noise in generator.standard_t(5, size=count) * math.sqrt(3 / 5):
        found.append(noise * math.sqrt(variance))
        variance = 2e-6 + 0.08 * found[-1] ** 2 + 0.9 * variance
    return np.array(found)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "garch"])
def test_each_period_is_told_from_the_window_before_it(method: str) -> None:
    returns = clustered(130)

    found = roll(returns, method, window=100, level=0.95, start=110)

    assert found.returns.tolist() == returns[110:].tolist()
    for place, var, es in zip(range(110, 130), found.var, found.es, strict=True):
        assert (var, es) == METHODS[method](returns[place - 100 : place], level=0.95)  # type: ignore[index]


@pytest.mark.parametrize("method", ["normal", "ewma", "ewma-t", "historical", "age-weighted", "filtered"])
def test_what_comes_later_changes_nothing_told_before(method: str) -> None:
    returns = clustered(140)
    other = np.concatenate((returns[:120], -9 * returns[120:]))

    whole, changed = roll(returns, method, window=50), roll(other, method, window=50)

    assert whole.var[:71].tolist() == changed.var[:71].tolist()
    assert whole.var[72:].tolist() != changed.var[72:].tolist()


@pytest.mark.parametrize("model", ["garch", "garch-filtered", "gjr-t"])
def test_what_comes_later_changes_nothing_a_garch_told_before(model: str) -> None:
    returns = clustered(420)
    other = np.concatenate((returns[:410], -9 * returns[410:]))

    whole, changed = (roll_refitted(r, model, start=390, refit_every=15) for r in (returns, other))  # type: ignore[arg-type]

    assert whole.var[:21].tolist() == changed.var[:21].tolist()
    assert whole.var[21:].tolist() != changed.var[21:].tolist()


def test_a_garch_refitted_every_period_is_the_garch_of_the_returns_before() -> None:
    returns = clustered(303)

    found = roll_refitted(returns, "garch", start=300, longest=200, refit_every=1)

    for place, var, es in zip(range(300, 303), found.var, found.es, strict=True):
        assert (var, es) == pytest.approx(garch(returns[place - 200 : place]), rel=1e-9)


def test_between_refits_the_variance_goes_on_by_the_parameters() -> None:
    returns = clustered(304)
    fitted = fit_garch(returns[:300])
    variance, z = fitted.next_variance, stats.norm.ppf(0.95)

    found = roll_refitted(returns, "garch", start=300, refit_every=10)

    for r, var in zip(returns[300:].tolist(), found.var, strict=True):
        assert var == pytest.approx(z * math.sqrt(variance) - fitted.mu, rel=1e-9)
        variance = fitted.omega + fitted.alpha * (r - fitted.mu) ** 2 + fitted.beta * variance


def test_a_refit_that_finds_nothing_is_counted_and_the_parameters_stay() -> None:
    still = np.concatenate((clustered(300), np.zeros(150)))  # the window of the second refit does not vary

    found = roll_refitted(still, "garch", start=300, longest=100, refit_every=120)

    assert found.kept == 1
    assert found.var.tolist() == roll_refitted(still, "garch", start=300, longest=100, refit_every=1000).var.tolist()
    with pytest.raises(ValueError, match=r"period 101: all 100 returns are 0\.0"):
        roll_refitted(np.concatenate((np.zeros(100), clustered(50))), "garch", start=100)


def test_filtered_by_a_garch_is_the_quantile_of_its_errors() -> None:
    returns = clustered(302)
    fitted = fit_garch(returns[:300])
    variances = fitted.variances(returns[:301])
    errors = (returns[:301] - fitted.mu) / np.sqrt(variances[:-1])

    found = roll_refitted(returns, "garch-filtered", start=300, refit_every=10)

    deviation = math.sqrt(variances[-1])
    assert (found.var[1], found.es[1]) == pytest.approx(
        [loss - fitted.mu for loss in empirical(-errors * deviation, 0.95)], rel=1e-9
    )


def test_gjr_t_foresees_what_arch_foresees() -> None:
    from arch import arch_model  # here, for it takes seconds to load

    returns = clustered(802)
    theirs = arch_model(100 * returns[:800], o=1, dist="t", rescale=False).fit(disp="off")
    variance = float(theirs.forecast(horizon=1).variance.to_numpy()[-1, 0]) / 1e4
    expected = student(math.sqrt(variance), 0.95, float(theirs.params["nu"]))

    found = roll_refitted(returns, "gjr-t", start=800)

    assert found.var[0] == pytest.approx(expected.var - theirs.params["mu"] / 100, rel=2e-3)


@pytest.mark.parametrize(("degrees", "level"), [(2.5, 0.95), (5.0, 0.99), (30.0, 0.9), (1e6, 0.95)])
def test_students_risk_is_that_of_scipys_distribution(degrees: float, level: float) -> None:
    unit = stats.t(degrees, scale=math.sqrt((degrees - 2) / degrees))

    found = student(1.0, level, degrees)

    assert found.var == pytest.approx(unit.ppf(level), rel=1e-7)
    assert found.es == pytest.approx(unit.expect(lambda x: x, lb=unit.ppf(level)) / (1 - level), rel=1e-4)


@pytest.mark.parametrize(
    ("count", "options", "told"),
    [
        (50, {"window": 50}, "has 50 returns, 52 are the least of which two are told"),
        (50, {"window": 1}, "a window must have 2 returns at least and 1 at most, the first told, had 1"),
        (50, {"window": 30, "start": 20}, "at least and 20 at most, the first told, had 30"),
        (50, {"window": 30, "level": math.nan}, r"level must be in \(0.5, 1\).*was nan"),
    ],
)
def test_windows_that_cannot_be_are_refused(count: int, options: dict[str, int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        roll(clustered(count), "normal", **options)


def test_what_a_method_refuses_is_told_with_its_period() -> None:
    still = np.concatenate((clustered(30), np.zeros(30)))

    with pytest.raises(ValueError, match=r"period 51: all 20 returns are 0\.0: the variance is 0"):
        roll(still, "normal", window=20)
    with pytest.raises(ValueError, match="a return must be finite, was nan"):
        roll(np.array([0.01, math.nan] * 40), "normal", window=20)
    with pytest.raises(ValueError, match=r"method must be one of normal, .*, was 'best'"):
        roll(clustered(60), "best", window=20)
    with pytest.raises(ValueError, match="model must be one of garch, garch-filtered, gjr-t, was 'best'"):
        roll_refitted(clustered(600), "best")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a refit needs 100 returns at least and a period, were 50 and 63"):
        roll_refitted(clustered(600), "garch", longest=50)


def test_verdicts_of_a_series_are_those_of_each_way_alone() -> None:
    returns = clustered(FIRST_TOLD + 300)
    ways = [way for way in WAYS if way.name in ("normal 252", "filtered .94", "ewma-t .94")]

    found = coverage_of(returns, ways=ways)

    assert list(found) == [way.name for way in ways]
    for way in ways:
        assert found[way.name] == judge(way.roll(returns, level=0.95, start=FIRST_TOLD), 0.05)
        assert found[way.name].periods == 300


def test_a_way_that_refuses_a_day_is_not_judged_and_has_not_passed() -> None:
    returns = clustered(FIRST_TOLD + 50)
    returns[FIRST_TOLD // 2] = -0.9  # so skewed that Cornish and Fisher's expansion is no distribution

    found = coverage_of(returns, ways=[way for way in WAYS if way.name == "cornish-fisher"])["cornish-fisher"]

    assert found.refused is not None
    assert found.refused.startswith("period 501: skewness")
    assert not found.passes


def test_exceptions_are_losses_beyond_and_judged_by_both_tests() -> None:
    returns = np.array([0.01, -0.03, -0.02, 0.0, -0.05])
    told = Rolled(returns, np.full(5, 0.02), np.full(5, 0.03))

    found = judge(told, 0.05)

    assert told.exceptions.tolist() == [False, True, False, False, True]
    assert (found.exceptions, found.periods) == (2, 5)
    assert found.coverage is not None
    assert not found.passes  # two of five at 5 %


def test_a_promise_that_follows_the_volatility_passes_and_one_that_is_right_on_average_does_not() -> None:
    deviations = np.repeat([0.01, 0.04] * 20, 100)
    returns = deviations * np.random.default_rng(3).normal(size=4000)
    follows = stats.norm.ppf(0.95) * deviations
    average = np.full(4000, np.quantile(-returns, 0.95))

    found, blind = (judge(Rolled(returns, var, 1.3 * var), 0.05) for var in (follows, average))

    assert found.passes
    assert blind.exceptions == 200
    assert blind.independence is not None
    assert blind.independence.p < 0.01
    assert not blind.passes


def test_too_short_a_series_is_refused() -> None:
    with pytest.raises(ValueError, match="has 501 returns, 502 are the least of which two are told"):
        coverage_of(clustered(501))
    with pytest.raises(ValueError, match="needs 500 returns before it, the longest window, had 252"):
        coverage_of(clustered(600), start=252)
    with pytest.raises(ValueError, match="needs 100 returns before the first period it tells, had 50"):
        roll_refitted(clustered(600), "garch", start=50)
    with pytest.raises(ValueError, match="a return must be finite, was nan"):
        coverage_of(np.append(clustered(600), math.nan))


@pytest.mark.parametrize("method", sorted({*METHODS, *METHODS_REFITTED}))
def test_the_period_that_comes_next_is_told_as_any_other(method: str) -> None:
    returns = clustered(420)
    later = np.concatenate([returns, [0.01, -0.01]])  # says nothing of what is told before it

    found = tell_next(returns, method, window=250)

    if method in METHODS_REFITTED:
        rolled = roll_refitted(later, method, start=len(returns))
    else:
        rolled = roll(later, method, window=250, start=len(returns))
    assert (found.var, found.es) == (rolled.var[0], rolled.es[0])


def test_too_few_returns_tell_nothing_of_the_next_period() -> None:
    with pytest.raises(ValueError, match="a window must have 2 returns at least and 99 at most, had 100"):
        tell_next(np.linspace(-0.01, 0.02, 99), "historical", window=100)
    with pytest.raises(ValueError, match="method must be one of"):
        tell_next(np.linspace(-0.01, 0.02, 99), "guess", window=50)
