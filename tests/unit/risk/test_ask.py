"""A state made of written numbers: what the stage's own functions say of it, and what is refused by name."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.risk.world import BTC, ETH, World, config

from edgefleet.errors import Misuse
from edgefleet.messages import Approved
from edgefleet.params.schema import FleetConfig
from edgefleet.risk.ask import Asked, heard_from, state_from
from edgefleet.risk.decide import Yes
from edgefleet.risk.explain import explain
from edgefleet.risk.var import Z_95, day_deviation

EDGE: dict[str, Any] = {
    "instrument": BTC,
    "model": "m",
    "edge_bps": 20.0,
    "confidence": 1.0,
    "horizon_ms": 10_000,
    "age_ms": 0,
    "weight": 1.0,
}
SPAN = r"must be positive, from 1e-30 to 1e\+30"
ASKED: dict[str, Any] = {
    "equity": 100_000,
    "peak": 100_000,
    "prices": {BTC: {"bid": 59_999.99, "ask": 60_000.01}, ETH: {"bid": 2_999.99, "ask": 3_000.01}},
    "positions": {BTC: 0, ETH: 3},
    "day_deviations": {BTC: 0.03, ETH: 0.04},
    "correlations": {BTC: {ETH: 0.8}},
    "edges": [EDGE],
}


def asked(**changes: Any) -> Asked:
    """Return what is asked with some fields changed; None leaves one out."""
    body = {name: value for name, value in {**ASKED, **changes}.items() if value is not None}
    return msgspec.json.decode(json.dumps(body), type=Asked)


def test_the_state_is_the_account_and_the_market_that_were_written_down() -> None:
    state = state_from(asked(), config())

    found = explain(state, BTC, config())

    assert isinstance(found.verdict, Yes)
    assert found.group("account")["equity"].value == pytest.approx(100_000, rel=1e-12)
    assert found.group("account")["position"].value == 0
    assert found.group("variance")["day's deviation"].value == pytest.approx(0.03)
    assert found.group("portfolio")[f"correlation {ETH}"].value == pytest.approx(0.8)
    held = 3 * 3_000.01 / 100_000
    own = float(found.verdict.quantity) * 60_000.01 / 100_000
    square = (own * 0.03) ** 2 + (held * 0.04) ** 2 + 2 * 0.8 * own * 0.03 * held * 0.04
    assert found.group("var")["used"].value == pytest.approx(Z_95 * math.sqrt(square))


def test_the_same_market_in_the_fleet_has_the_same_target() -> None:
    """A stage that has lived through it, and a file with its numbers, come to the same verdict."""
    world = World(config({"volatility": {"correlation_interval_s": 1.0}}))
    said = world.hold(15.0, ETH)
    (lived,) = world.edge(15.0, BTC)
    assert isinstance(lived, Approved)
    numbers, units = {}, {BTC: "0", ETH: str(said.quantity)}
    for name in (BTC, ETH):
        variance = world.state.desks[name].returns.per_second
        assert variance is not None
        numbers[name] = day_deviation(variance)
    prices = {name: dict(zip(("bid", "ask"), map(str, world.touch(name)), strict=True)) for name in (BTC, ETH)}
    rho = 1.0 - 1e-9  # of prices that move as one; 1 itself is no covariance of two
    body = asked(
        equity=str(lived.equity),
        peak=str(max(world.state.peaks["sim|USDT"], float(lived.equity))),
        prices=prices,
        positions=units,
        day_deviations=numbers,
        correlations={BTC: {ETH: rho}},
        edges=[{**EDGE, "edge_bps": 15.0}],
    )

    found = explain(state_from(body, world.config), BTC, world.config)

    assert isinstance(found.verdict, Yes)
    assert found.verdict.binding == lived.binding
    assert float(found.verdict.quantity) == pytest.approx(float(lived.quantity), abs=2e-5)
    for name, room in lived.head_room.items():
        assert found.head_room[name] == pytest.approx(room, rel=1e-3, abs=1e-3)


def test_annual_volatilities_are_those_of_the_calendar() -> None:
    yearly = {name: deviation * math.sqrt(365) for name, deviation in ASKED["day_deviations"].items()}

    found = explain(state_from(asked(day_deviations=None, annual_volatilities=yearly), config()), BTC, config())

    assert found.group("variance")["day's deviation"].value == pytest.approx(0.03)


def test_edges_alone_are_enough_for_a_blend() -> None:
    edges = [EDGE, {**EDGE, "model": "n", "edge_bps": 10.0}]

    found = explain(heard_from(msgspec.json.decode(json.dumps({"edges": edges}), type=Asked), config()), BTC, config())

    assert found.group("blend")["raw edge"].value == pytest.approx(15.0)
    assert found.group("blend")["edge"].value == pytest.approx(13.5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"edges": []}, "edges is empty"),
        ({"equity": None}, "equity is missing"),
        ({"peak": None}, "peak is missing"),
        ({"prices": None}, "prices is missing"),
        ({"positions": None}, "positions is missing"),
        ({"day_deviations": None}, "day_deviations and annual_volatilities are missing"),
        ({"annual_volatilities": {BTC: 0.5, ETH: 0.5}}, "are both there"),
        ({"correlations": None}, "correlations is missing"),
        ({"correlations": {}}, f"correlations has no number for {BTC} and {ETH}"),
        ({"positions": {BTC: 0}}, f"positions has no number for {ETH}"),
        ({"positions": {BTC: 0, ETH: 0, "SOL/USDT@sim": 1}}, "positions names SOL/USDT@sim"),
        ({"day_deviations": {BTC: 0.03}}, f"day_deviations has no number for {ETH}"),
        (
            {"day_deviations": {BTC: -0.03, ETH: 0.04}},
            f"day_deviations {BTC} {SPAN}, was -0.03",
        ),
        (
            {"day_deviations": {BTC: 0.0, ETH: 0.04}},
            f"day_deviations {BTC} {SPAN}, was 0.0",
        ),
        ({"day_deviations": {BTC: 1e-200, ETH: 0.04}}, "was 1e-200"),
        ({"equity": 0}, rf"equity {SPAN}, was 0"),
        ({"equity": -5}, rf"equity {SPAN}, was -5"),
        ({"equity": "1e400"}, rf"equity {SPAN}, was 1E\+400"),
        ({"positions": {BTC: "-1e400", ETH: 0}}, f"positions {BTC}, by size, must be positive"),
        ({"peak": 99_999}, "peak 99999 is below equity 100000"),
        ({"prices": {**ASKED["prices"], BTC: {"bid": 2, "ask": 1}}}, "bid 2 is above ask 1"),
        ({"prices": {**ASKED["prices"], BTC: {"bid": 0, "ask": 1}}}, f"prices {BTC} bid must be positive"),
        ({"correlations": {BTC: {ETH: 1.5}}}, r"must be in \[-1, 1\], was 1.5"),
        ({"correlations": {BTC: {ETH: 1.0}}}, "not positive definite: pivot 1 is 0.0 of 1.0"),
        ({"correlations": {BTC: {ETH: 0.8}, ETH: {BTC: 0.7}}}, "is both 0.8 and 0.7"),
        ({"correlations": {BTC: {BTC: 1.0}}}, "with itself is 1.0"),
        ({"correlations": {BTC: {"SOL/USDT@sim": 0.1}}}, "correlations names SOL/USDT@sim"),
        ({"prices": {BTC: ASKED["prices"][BTC], "BTC-USDT@sim": ASKED["prices"][BTC]}}, f"two numbers for {BTC}"),
        ({"prices": {BTC: ASKED["prices"][BTC], "SOL/USDT@sim": ASKED["prices"][BTC]}}, "positions"),
        ({"prices": {ETH: ASKED["prices"][ETH]}, "positions": {ETH: 1}}, f"prices has no number for {BTC}"),
        ({"edges": [{**EDGE, "instrument": "BTC/USDT"}]}, "names no venue"),
        ({"edges": [{**EDGE, "confidence": 1.5}]}, r"edges\[0\].confidence must be in \[0, 1\], was 1.5"),
        (
            {"edges": [{**EDGE, "horizon_ms": 0}]},
            rf"edges\[0\].horizon_ms {SPAN}, was 0",
        ),
        ({"edges": [{**EDGE, "age_ms": -1}]}, r"edges\[0\].age_ms must be 0 or more, was -1"),
        ({"edges": [{**EDGE, "weight": 0}]}, rf"edges\[0\].weight {SPAN}, was 0.0"),
        (
            {"edges": [{**EDGE, "edge_bps": 1e200}]},
            rf"edges\[0\].edge_bps, by size, {SPAN}, was 1e\+200",
        ),
    ],
)
def test_what_is_missing_or_impossible_is_refused_by_its_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        state_from(asked(**changes), config())


def test_an_instrument_without_a_configuration_is_refused() -> None:
    sol = "SOL/USDT@sim"
    body = asked(
        prices={sol: {"bid": 1, "ask": 2}},
        positions={sol: 0},
        day_deviations={sol: 0.1},
        edges=[{**EDGE, "instrument": sol}],
    )

    with pytest.raises(ValueError, match=r"SOL/USDT@sim is not configured: unknown instrument"):
        state_from(body, config())


def test_what_is_no_symbol_is_refused() -> None:
    with pytest.raises(Misuse):
        state_from(asked(edges=[{**EDGE, "instrument": "??@sim"}]), config())


def test_a_market_that_closes_needs_a_time_and_is_closed_at_night() -> None:
    settings: FleetConfig = config(asset_class="us_stocks")
    with pytest.raises(ValueError, match="time is missing"):
        state_from(asked(), settings)

    at_night = explain(state_from(asked(time="2024-08-09T03:00:00Z"), settings), BTC, settings)
    at_noon = explain(state_from(asked(time="2024-08-09T16:00:00Z"), settings), BTC, settings)

    assert getattr(at_night.verdict, "reason", None) == "MARKET_CLOSED"
    assert isinstance(at_noon.verdict, Yes)


def test_a_regime_that_scales_must_be_told() -> None:
    settings = config({"position_sizing": {"regime_scale": {"calm": 0.5}}})
    with pytest.raises(ValueError, match="regime is missing"):
        state_from(asked(), settings)

    found = explain(state_from(asked(regime="calm"), settings), BTC, settings)

    assert found.group("size")["left of regime"].value == 0.5


@given(
    st.floats(0.001, 0.5),
    st.floats(0.001, 0.5),
    st.floats(-0.999, 0.999),
    st.floats(-2, 2),
    st.floats(11, 500),
)
@settings(max_examples=100, deadline=None)
def test_value_at_risk_is_that_of_the_two_together(
    own: float, other: float, rho: float, units: float, bps: float
) -> None:
    """The definition: z sqrt(w' C w) of the target and what is held, in fractions of equity at the ask."""
    body = asked(
        positions={BTC: 0, ETH: round(units, 4)},
        day_deviations={BTC: own, ETH: other},
        correlations={BTC: {ETH: rho}},
        edges=[{**EDGE, "edge_bps": bps}],
    )
    chosen = config({"position_sizing": {"cost_sides": 1}}, shortable=True)

    found = explain(state_from(body, chosen), BTC, chosen)

    quantity = float(found.verdict.quantity) if isinstance(found.verdict, Yes) else 0.0
    first, second = quantity * 60_000.01 / 1e5 * own, round(units, 4) * 3_000.01 / 1e5 * other
    square = first * first + second * second + 2 * rho * first * second
    used = found.group("var")["used"].value
    assert isinstance(used, float)
    assert used == pytest.approx(Z_95 * math.sqrt(max(square, 0.0)), rel=1e-6, abs=1e-9)
    if isinstance(found.verdict, Yes) and quantity:
        assert used <= 0.015 * (1 + 1e-9)


EXTREME = [0, -1, 1, 1e-320, 1e-30, 1e-9, 1e9, 1e30, 1e100, 1e300, -1e300, 2**63]


def leaves(body: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all numbers."""
    items = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    below = [found for key, value in items for found in leaves(value, (*path, key))]
    return [path] if isinstance(body, int | float) else below


@given(st.lists(st.tuples(st.sampled_from(leaves(ASKED)), st.sampled_from(EXTREME)), min_size=1, max_size=3))
@settings(max_examples=500, deadline=None)
def test_whatever_the_numbers_there_is_an_answer_of_finite_numbers_or_a_refusal(
    changed: list[tuple[tuple[Any, ...], float]],
) -> None:
    body = json.loads(json.dumps(ASKED))
    for path, value in changed:
        inner = body
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
    try:
        state = state_from(msgspec.json.decode(json.dumps(body), type=Asked), config())
    except (ValueError, msgspec.ValidationError):
        return

    found = explain(state, BTC, config())

    for group in (*found.groups, *found.limits):
        for number in group.numbers:
            assert not isinstance(number.value, float) or math.isfinite(number.value), number
