"""Steps, the no-trade band, VaR and limits as functions."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.messages import Refusal
from edgefleet.params.schema import RiskParams
from edgefleet.risk.limits import Holding, Limit, first_broken, limits_for, tightest
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


def test_others_use_up_what_is_shared() -> None:
    other = Holding(0.2, "crypto", "l1", 0.02)
    stock = Holding(0.3, "us_stocks", "none", 0.01)

    limits = {one.name: one for one in limits_for("crypto", "l1", 0.03, [other, stock], RiskParams())}

    assert limits["position"].others == limits["single"].others == 0
    assert limits["class"].others == limits["leverage"].others == limits["sector"].others == 0.2
    assert limits["var"].used(0.1) == pytest.approx(Z_95 * (0.2 * 0.02 + 0.3 * 0.01 + 0.1 * 0.03))


def test_a_limit_refuses_nan() -> None:
    limit = Limit("class", Refusal.POSITION_LIMIT, 0.6, 0.5, 0.1)

    assert limit.allows(0.5)
    assert not limit.allows(0.51)
    assert not limit.allows(math.nan)
    assert not msgspec.structs.replace(limit, others=math.nan).allows(0.0)
    assert msgspec.structs.replace(limit, others=math.nan).room() == 0


@given(st.lists(st.tuples(st.floats(0, 0.5), st.floats(0.001, 0.1)), max_size=4), st.floats(0.001, 0.2))
def test_the_room_keeps_to_every_limit(held: list[tuple[float, float]], deviation: float) -> None:
    others = [Holding(fraction, "crypto", "none", risk) for fraction, risk in held]
    limits = limits_for("crypto", "none", deviation, others, RiskParams())

    room = tightest(limits).room()

    if room > 0:
        assert first_broken(limits, room) is None
        assert Z_95 * (sum(f * d for f, d in held) + room * deviation) <= 0.015 * (1 + 1e-9)


def test_a_class_without_a_cap_has_no_room() -> None:
    params = RiskParams.model_validate({"position_sizing": {"max_position_pct": {"crypto": 0.2}}})

    assert tightest(limits_for("us_stocks", "none", 0.01, [], params)).room() == 0
