"""The way to wanted weights: what moves, what waits, and what must hold of any way."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.risk.rebalance import Rebalanced, rebalance

NAMES = st.sampled_from("ABCDEFGH")
WEIGHTS = st.dictionaries(NAMES, st.floats(-2, 2).map(lambda weight: round(weight, 4)))
SETTINGS = st.fixed_dictionaries(
    {
        "band": st.floats(0, 0.9),
        "turnover_cap": st.floats(0, 4),
        "min_move": st.floats(0, 0.3),
        "regime_scale": st.floats(0, 1),
        "cost_bps": st.none() | st.dictionaries(NAMES, st.floats(0, 500)),
        "variance": st.none() | st.dictionaries(NAMES, st.floats(0, 0.5)),
    }
)
FREE: dict[str, Any] = {"band": 0.0, "turnover_cap": math.inf, "min_move": 0.0}


def moves(now: dict[str, float], found: Rebalanced) -> dict[str, float]:
    return {name: weight - now.get(name, 0.0) for name, weight in found.targets.items() if weight != now.get(name, 0.0)}


@given(WEIGHTS, WEIGHTS, SETTINGS)
def test_moves_never_exceed_the_cap(now: dict[str, float], wanted: dict[str, float], settings: dict[str, Any]) -> None:
    found = rebalance(now, wanted, **settings)

    assert found.turnover <= settings["turnover_cap"] * (1 + 1e-12) + 1e-300  # a cap of the smallest floats is none
    assert found.turnover == pytest.approx(math.fsum(map(abs, moves(now, found).values())), abs=1e-12)


@given(WEIGHTS, WEIGHTS, SETTINGS)
def test_calling_again_never_trades_more(now: dict[str, float], wanted: dict[str, float], settings: Any) -> None:
    first = rebalance(now, wanted, **settings)

    second = rebalance(first.targets, wanted, **settings)

    assert second.turnover <= first.turnover + 1e-12
    if first.turnover < settings["turnover_cap"] * (1 - 1e-12) and "turnover_cap" not in first.held_back.values():
        assert (second.targets, second.turnover) == (first.targets, 0.0)


@given(WEIGHTS, WEIGHTS, SETTINGS)
def test_no_weight_overshoots_and_no_regime_turns_one_around(
    now: dict[str, float], wanted: dict[str, float], settings: dict[str, Any]
) -> None:
    found = rebalance(now, wanted, **settings)

    for name, weight in found.targets.items():
        here, full = now.get(name, 0.0), wanted.get(name, 0.0)
        goal = settings["regime_scale"] * full
        assert min(here, goal) - 1e-12 <= weight <= max(here, goal) + 1e-12
        if here * full >= 0:
            assert weight * full >= 0


@given(WEIGHTS, WEIGHTS, SETTINGS)
def test_who_moves_is_no_smaller_than_the_least_unless_it_closes(
    now: dict[str, float], wanted: dict[str, float], settings: dict[str, Any]
) -> None:
    found = rebalance(now, wanted, **settings)

    for name, move in moves(now, found).items():
        closes = settings["regime_scale"] * wanted.get(name, 0.0) == 0
        assert closes or abs(move) >= settings["min_move"] - 1e-12


@given(WEIGHTS, WEIGHTS, SETTINGS)
def test_each_name_is_as_wanted_or_moves_or_is_held_back(
    now: dict[str, float], wanted: dict[str, float], settings: dict[str, Any]
) -> None:
    found = rebalance(now, wanted, **settings)

    assert list(found.targets) == list(dict.fromkeys([*now, *wanted]))
    moved = moves(now, found)
    for name in found.targets:
        settled = now.get(name, 0.0) == settings["regime_scale"] * wanted.get(name, 0.0)
        # A move so small beside the weight that their sum is the weight again is neither.
        assert settled or (name in moved) != (name in found.held_back) or found.turnover < 1e-12
        assert not (name in moved and name in found.held_back)


@given(WEIGHTS, WEIGHTS, SETTINGS)
def test_a_mirrored_portfolio_moves_mirrored(
    now: dict[str, float], wanted: dict[str, float], settings: dict[str, Any]
) -> None:
    found = rebalance(now, wanted, **settings)

    mirrored = rebalance({n: -w for n, w in now.items()}, {n: -w for n, w in wanted.items()}, **settings)

    assert mirrored.targets == {name: -weight for name, weight in found.targets.items()}


@given(WEIGHTS, WEIGHTS)
def test_without_band_cap_and_least_move_all_is_as_wanted(now: dict[str, float], wanted: dict[str, float]) -> None:
    found = rebalance(now, wanted, **FREE)

    assert found.targets == {name: wanted.get(name, 0.0) for name in dict.fromkeys([*now, *wanted])}
    assert found.held_back == {}


def test_inside_the_band_nothing_moves_and_outside_it_goes_to_the_target() -> None:
    found = rebalance({"A": 0.21, "B": 0.23, "C": 0.178}, {"A": 0.2, "B": 0.2, "C": 0.2}, **FREE | {"band": 0.1})

    assert found.targets == {"A": 0.21, "B": 0.2, "C": 0.2}
    assert found.held_back == {"A": "band"}


def test_who_left_is_closed_and_who_is_new_starts_from_nothing() -> None:
    found = rebalance({"OLD": -0.3}, {"NEW": 0.2}, **FREE | {"band": 0.5})

    assert found.targets == {"OLD": 0.0, "NEW": 0.2}
    assert found.turnover == pytest.approx(0.5)


def test_one_factor_shortens_all_moves() -> None:
    found = rebalance({"A": 0.4, "B": 0.0}, {"A": 0.0, "B": 0.2}, **FREE | {"turnover_cap": 0.3})

    assert found.targets == pytest.approx({"A": 0.2, "B": 0.1})


def test_many_small_moves_do_not_starve_each_other() -> None:
    """Fifty moves of 2 % under a cap of 10 %: one factor would make each 0.2 %, below the least, and none ever move."""
    wanted = {f"N{i:02}": 0.02 for i in range(50)}
    settings: dict[str, Any] = {"band": 0.1, "turnover_cap": 0.10, "min_move": 0.01}
    held: dict[str, float] = {}

    for call in range(1, 11):
        held = rebalance(held, wanted, **settings).targets
        assert math.fsum(held.values()) == pytest.approx(0.1 * call)

    assert held == pytest.approx(wanted)


def test_the_smallest_wait_where_the_cap_holds_too_few() -> None:
    found = rebalance({}, {"A": 0.05, "B": 0.09, "C": 0.07}, band=0, turnover_cap=0.1, min_move=0.05)

    assert found.targets == pytest.approx({"A": 0.0, "B": 0.05, "C": 0.05})
    assert found.held_back == {"A": "turnover_cap"}


def test_a_move_that_costs_more_than_it_brings_is_held_back() -> None:
    """0.1 * 10 bps = 1 bp; it ends a loss of 2/2 * 0.02 * 0.1^2 = 2 bp, at a variance of 0.02, and 0.5 bp at 0.005."""
    wanted = {"A": 0.1, "B": 0.1}

    found = rebalance(
        {},
        wanted,
        **FREE,
        cost_bps={"A": 10.0, "B": 10.0},
        variance={"A": 0.02, "B": 0.005},
        risk_aversion=2.0,
    )

    assert found.targets == {"A": 0.1, "B": 0.0}
    assert found.held_back == {"B": "cost"}
    assert found.cost == pytest.approx(1e-4)
    assert found.unchecked == ()


@pytest.mark.parametrize(("cost_bps", "variance"), [(None, {"A": 1e-9}), ({"A": 100.0}, None)])
def test_a_cost_that_cannot_be_weighed_is_told(cost_bps: Any, variance: Any) -> None:
    found = rebalance({}, {"A": 0.1}, **FREE, cost_bps=cost_bps, variance=variance)

    assert found.targets == {"A": 0.1}
    assert found.unchecked == ("A",)
    assert found.cost == (None if cost_bps is None else pytest.approx(1e-3))


def test_closing_is_refused_neither_for_cost_nor_for_size() -> None:
    found = rebalance(
        {"A": 0.001}, {}, band=0.5, turnover_cap=1, min_move=0.01, cost_bps={"A": 500.0}, variance={"A": 1e-9}
    )

    assert found.targets == {"A": 0.0}
    assert found.held_back == {}


def test_a_regime_that_allows_nothing_closes_all() -> None:
    found = rebalance({"A": 0.1, "B": -0.2}, {"A": 0.2, "B": -0.2}, **FREE, regime_scale=0.0)

    assert found.targets == {"A": 0.0, "B": 0.0}


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"now": {"A": NAN}}, "the weight of A now must be finite, was nan"),
        ({"wanted": {"B": -INF}}, "the weight of B wanted must be finite, was -inf"),
        ({"cost_bps": {"C": NAN}}, "cost_bps of C must be 0 or more and finite, was nan"),
        ({"cost_bps": {"C": -1.0}}, "cost_bps of C must be 0 or more and finite, was -1.0"),
        ({"variance": {"D": NAN}}, "variance of D must be 0 or more and finite, was nan"),
        ({"band": NAN}, r"band must be in \[0, 1\), was nan"),
        ({"band": 1.0}, r"band must be in \[0, 1\), was 1.0"),
        ({"turnover_cap": NAN}, "turnover_cap must be 0 or more, was nan"),
        ({"min_move": NAN}, "min_move must be 0 or more and finite, was nan"),
        ({"risk_aversion": NAN}, "risk_aversion must be positive and finite, was nan"),
        ({"regime_scale": NAN}, r"regime_scale must be in \[0, 1\], was nan"),
        ({"regime_scale": -0.1}, r"regime_scale must be in \[0, 1\], was -0.1"),
    ],
)
def test_what_is_no_number_of_its_kind_is_refused(wrong: dict[str, Any], told: str) -> None:
    asked: dict[str, Any] = {"now": {}, "wanted": {}} | FREE | wrong

    with pytest.raises(ValueError, match=told):
        rebalance(**asked)
