"""Steps, the no-trade band, VaR and limits as functions."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.risk.sizing import resized, step_down
from edgefleet.risk.var import Z_95, normal_var

fractions = st.floats(1e-6, 10.0)
steps = st.floats(1e-4, 1.0)


@given(fractions, steps)
def test_a_step_never_exceeds_what_is_wanted_and_is_never_nothing(wanted: float, step: float) -> None:
    taken = step_down(wanted, step)

    assert 0 < taken <= wanted
    assert taken > wanted / 2 - step * 1e-8


@given(fractions, steps)
def test_a_step_is_a_step_of_itself(wanted: float, step: float) -> None:
    taken = step_down(wanted, step)

    assert step_down(taken, step) == taken


def test_the_cap_is_a_whole_number_of_steps() -> None:
    assert step_down(0.18, 0.25 * 0.18) == pytest.approx(0.18)


@pytest.mark.parametrize(
    ("wanted", "step"), [(math.nan, 0.1), (-0.1, 0.1), (math.inf, 0.1), (0.1, 0.0), (0.1, math.nan)]
)
def test_nonsense_is_not_stepped(wanted: float, step: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        step_down(wanted, step)


@given(fractions, fractions, steps, st.floats(0.0, 0.5))
def test_a_resized_share_is_not_resized_again(now: float, wanted: float, step: float, band: float) -> None:
    first = resized(now, wanted, wanted, step=step, band=band)

    settled = now if first is None else first
    assert settled == 0 or resized(settled, wanted, wanted, step=step, band=band) is None


@given(fractions, st.floats(0.0, 20.0), st.floats(0.0, 20.0), steps, st.floats(0.0, 0.5))
def test_a_share_grows_by_the_step_below_what_it_may_grow_to(
    now: float, grow_to: float, shrink_to: float, step: float, band: float
) -> None:
    grown = step_down(grow_to, step)
    shrunk = None if now * (1 - band) <= shrink_to else step_down(shrink_to, step)

    assert resized(now, grow_to, shrink_to, step=step, band=band) == (grown if grown > now * (1 + band) else shrunk)


def test_inside_the_band_nothing_changes() -> None:
    assert resized(0.18, 0.185, 0.19, step=0.045, band=0.1) is None
    assert resized(0.18, 0.0, 0.17, step=0.045, band=0.1) is None
    assert resized(0.18, 0.0, 0.15, step=0.045, band=0.1) == pytest.approx(0.135)
    assert resized(0.135, 0.18, 0.18, step=0.045, band=0.1) == pytest.approx(0.18)


def test_var_is_the_quantile_of_a_normal_loss() -> None:
    assert pytest.approx(1.6448536269514722, abs=1e-15) == Z_95
    assert normal_var(-0.2, 0.0004) == normal_var(0.2, 0.0004) == pytest.approx(0.2 * 0.02 * Z_95)


@pytest.mark.parametrize(("fraction", "variance"), [(math.nan, 0.1), (0.1, math.nan), (0.1, -1.0), (math.inf, 0.1)])
def test_var_of_nonsense_is_refused(fraction: float, variance: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        normal_var(fraction, variance)
