"""Limits as functions of a signed share of equity: what is used, what is left, and that no shorter way tells more."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.messages import Refusal
from edgefleet.params.schema import RiskParams
from edgefleet.risk.limits import (
    Beside,
    Caps,
    ChangeLimit,
    Limit,
    Limits,
    NetLimit,
    VarLimit,
    caps_of,
    least_room,
    limits_for,
)
from edgefleet.risk.var import ES_TAIL, Z_95

DEFAULT = caps_of("crypto", "l1", RiskParams())
shares = st.floats(0.0, 1.0)
signs = st.sampled_from([1, -1])


@st.composite
def besides(draw: st.DrawFn) -> Beside:
    """Return what others may have come to, with a covariance that their variance allows."""
    low, high = sorted((draw(st.floats(-1, 1)), draw(st.floats(-1, 1))))
    deviation = draw(st.floats(0, 0.05))
    return Beside(
        gross=draw(shares),
        in_class=draw(shares),
        in_sector=draw(shares),
        in_cluster=draw(shares),
        low=low,
        high=high,
        variance=deviation**2,
        covariance=deviation * draw(st.floats(-1, 1)),
        linear=draw(st.floats(0, 0.02)),
    )


def named(beside: Beside, deviation: float = 0.03, held: float = 0.0, budget: float | None = None) -> dict[str, Limit]:
    return {one.name: one for one in limits_for(DEFAULT, deviation, beside, held, budget)}


def test_others_use_up_what_is_shared() -> None:
    beside = Beside(
        gross=0.5, in_class=0.2, in_sector=0.1, in_cluster=0.3, low=-0.1, high=0.4, variance=1e-4, linear=0.01
    )

    limits = named(beside, budget=0.1)

    assert list(limits) == [
        "position", "single", "order_size", "leverage", "class", "sector", "cluster", "venue", "gross", "net", "budget",
        "var", "var_week", "var_month", "es",
    ]  # fmt: skip
    assert limits["position"].used(0.0) == limits["single"].used(0.0) == limits["budget"].used(0.0) == 0
    assert limits["class"].used(0.0) == limits["leverage"].used(0.0) == 0.2
    assert (limits["sector"].used(0.0), limits["cluster"].used(0.0), limits["gross"].used(0.0)) == (0.1, 0.3, 0.5)
    assert limits["net"].used(-0.2) == pytest.approx(0.3)
    assert limits["net"].used(0.2) == pytest.approx(0.6)
    deviation = math.sqrt(1e-4 + (0.1 * 0.03) ** 2) + 0.01
    assert limits["var"].used(0.1) == pytest.approx(Z_95 * deviation)
    assert limits["var_week"].used(0.1) == pytest.approx(Z_95 * math.sqrt(7) * deviation)
    assert limits["es"].used(0.1) == pytest.approx(ES_TAIL * deviation)


def test_the_tail_of_a_normal_loss_is_the_textbooks() -> None:
    assert pytest.approx(2.3378, abs=5e-5) == ES_TAIL  # Basel Committee, d457, 2019: 97.5 % beside 99 % VaR's 2.3263


def test_a_stock_trades_five_days_a_week_and_twenty_one_a_month() -> None:
    limits = {
        one.name: one for one in limits_for(caps_of("us_stocks", "none", RiskParams()), 0.01, Beside(), 0.0, None)
    }

    assert limits["var_week"].used(1.0) == pytest.approx(math.sqrt(5) * limits["var"].used(1.0))
    assert limits["var_month"].used(1.0) == pytest.approx(math.sqrt(21) * limits["var"].used(1.0))


@pytest.mark.parametrize(
    "limit",
    [
        Limit("class", Refusal.POSITION_LIMIT, 0.6, 0.5, 0.1),
        NetLimit("net", Refusal.POSITION_LIMIT, 0.6, 0.5, 0.0, 0.1, 0.1),
        ChangeLimit("order_size", Refusal.ORDER_LIMIT, 0.6, 0.5, 0.0, 0.1),
        VarLimit("var", Refusal.VAR_LIMIT, 0.6, 0.5, 0.0, 1.0, 0.1, 0.01, 0.001, 0.1),
    ],
    ids=lambda one: one.name,
)
def test_a_limit_refuses_nan(limit: Limit) -> None:
    assert limit.used(0.1) <= limit.cap
    assert not limit.used(math.nan) <= limit.cap
    for field in limit.__struct_fields__:
        if isinstance(getattr(limit, field), float) and field not in ("others", "cap", "scale"):
            broken = msgspec.structs.replace(limit, **{field: math.nan})
            assert broken.room(1) == broken.room(-1) == 0 or field == "held"


@given(besides(), st.floats(0.0005, 0.2), signs, st.floats(-0.3, 0.3), st.none() | shares)
def test_the_room_keeps_to_every_aim_and_so_does_all_below_it(
    beside: Beside, deviation: float, sign: int, held: float, budget: float | None
) -> None:
    limits = limits_for(DEFAULT, deviation, beside, held, budget)

    _, room = least_room(limits, sign)

    for share in (1.0, 0.5, 0.1) if room > 0 else ():
        for limit in limits:
            assert limit.used(sign * room * share) <= limit.aim * (1 + 1e-9) + 1e-12, limit.name


@st.composite
def broken_besides(draw: st.DrawFn) -> Beside:
    """Return what others may have come to, with numbers in it that are none or have no end."""
    wrong = st.sampled_from(["gross", "in_class", "in_sector", "in_cluster", "low", "high", "variance", "linear"])
    numbers = st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 2.0])
    return msgspec.structs.replace(draw(besides()), **draw(st.dictionaries(wrong, numbers, max_size=2)))


@given(
    besides() | broken_besides(),
    st.none() | st.just(0.0) | st.floats(0.0005, 0.2),
    signs,
    st.floats(-0.3, 0.3) | st.just(math.nan),
    st.none() | shares,
    st.sampled_from([DEFAULT, caps_of("us_stocks", "none", RiskParams())]),
)
def test_the_numbers_of_limits_that_nobody_made_are_those_of_the_limits(
    beside: Beside, deviation: float | None, sign: int, held: float, budget: float | None, caps: Caps
) -> None:
    limits = Limits((caps, caps.tightest()), deviation, beside, held, budget)
    plain = limits_for(caps.tightest(), deviation or 0.0, beside, held, budget)

    room = limits.room(sign)

    assert room == least_room(plain, sign)[1]
    for fraction in (0.0, sign * room, 2 * sign * room + 0.01, 1.5, -held, sign * DEFAULT.order.cap, math.nan):
        broken = [one for one in plain if not one.used(fraction) <= one.cap]
        assert limits.hold(fraction) == (not broken), broken
        assert limits.first_broken(fraction) == (broken[0] if broken else None) or math.isnan(fraction)


@given(besides(), st.floats(0.0005, 0.2), signs, st.floats(-0.3, 0.3), st.none() | shares)
def test_those_that_can_bind_tell_what_all_do(
    beside: Beside, deviation: float, sign: int, held: float, budget: float | None
) -> None:
    limits = Limits((DEFAULT, DEFAULT.tightest()), deviation, beside, held, budget)

    binding, room = limits.tightest(sign)

    all_of_them, least = least_room(limits.each, sign)
    assert room == pytest.approx(least, rel=1e-12, abs=1e-15)
    assert binding.name == all_of_them.name or all_of_them.room(sign) == pytest.approx(room, rel=1e-12)
    for fraction in (0.0, room, 2 * room + 0.01, -held):
        broken = [one.name for one in limits.each if not one.used(fraction) <= one.cap * (1 + 1e-12)]
        found = limits.first_broken(fraction)
        assert (found is None) == (not broken) or min(
            abs(one.used(fraction) / one.cap - 1) for one in limits.each
        ) < 1e-9


@given(besides(), st.floats(0.0005, 0.2), signs)
def test_the_room_under_value_at_risk_is_where_it_meets_its_aim(beside: Beside, deviation: float, sign: int) -> None:
    limit = named(beside, deviation)["var"]

    room = limit.room(sign)

    if room > 0:
        assert limit.used(sign * room) == pytest.approx(limit.aim, rel=1e-6)
    else:
        assert limit.used(0.0) >= limit.aim * (1 - 1e-6)


def test_a_hedge_has_more_room_and_is_no_excess() -> None:
    beside = Beside(variance=0.008**2, covariance=-0.008)  # an opposite position moves exactly with this instrument
    limit = named(beside, 0.04)["var"]
    assert isinstance(limit, VarLimit)

    assert limit.room(1) > limit.room(-1)
    assert limit.used(0.2) == pytest.approx(0.0, abs=1e-9)
    assert not limit.adds(0.1)
    assert limit.adds(0.3)
    assert limit.adds(-0.1)


def test_an_added_limit_never_leaves_more_room() -> None:
    base = RiskParams()
    tighter = RiskParams.model_validate({"risk_limits": {"exposure_limits": {"gross": 0.1, "net": 0.1, "venue": 4.0}}})

    for sign in (1, -1):
        loose = Limits((caps_of("crypto", "none", base),) * 2, 0.03, Beside(), 0.0, None).tightest(sign)[1]
        tight = Limits((caps_of("crypto", "none", tighter),) * 2, 0.03, Beside(), 0.0, None).tightest(sign)[1]
        assert tight < loose


def test_a_class_without_a_cap_has_no_room() -> None:
    params = RiskParams.model_validate({"position_sizing": {"max_position_pct": {"crypto": 0.2}}})

    assert least_room(limits_for(caps_of("us_stocks", "none", params), 0.01, Beside(), 0.0, None), 1)[1] == 0


def test_closing_is_no_change_that_a_limit_counts() -> None:
    limit = ChangeLimit("order_size", Refusal.ORDER_LIMIT, 0.05, 0.045, 0.0, 0.2)

    assert limit.used(0.0) == limit.used(0.1) == 0
    assert limit.used(0.23) == pytest.approx(0.03)
    assert limit.used(-0.04) == pytest.approx(0.04)
    assert limit.room(1) == pytest.approx(0.245)
    assert limit.room(-1) == pytest.approx(0.045)
