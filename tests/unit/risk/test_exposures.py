"""What an account has come to, beside the plain definition: every corner that its positions may be in."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.risk.world import BTC, ETH, SECOND, World, config

from edgefleet.messages import OrderState
from edgefleet.risk.exposures import Exposures, correlations_of
from edgefleet.risk.limits import VarLimit, limits_for
from edgefleet.risk.plan import RiskPlan
from edgefleet.risk.state import Standing, range_of
from edgefleet.risk.var import SECONDS_PER_DAY, Z_95

SPACED = {"volatility": {"correlation_interval_s": 1.0, "min_returns": 10}}


def together(rho: float, *, beats: int = 60) -> World:
    """Return a world of two instruments whose one-second returns correlate by `rho`, exactly."""
    world = World(config(SPACED), ready=False)
    world.trading("ACTIVE")
    world.account({"USDT": "100000"})
    for n in range(beats):
        first, second = (1, 1) if n % 2 == 0 else (-1, -1)
        other = 1 if (n // 2) % 2 == 0 else -1
        moves = {BTC: 1e-3 * first, ETH: 1e-3 * (rho * second + math.sqrt(1 - rho * rho) * other)}
        world.prices = {name: price * math.exp(moves[name]) for name, price in world.prices.items()}
        world.beat()
    return world


def exposures_of(world: World) -> Exposures:
    plan = RiskPlan(world.config)
    known = correlations_of(world.state.joint["sim"], plan.params.volatility.min_returns)
    return Exposures(world.state, plan, "sim", "USDT", known)


def covariance(world: World) -> np.ndarray:
    """Return the daily covariance of both returns, from the state's own estimates."""
    table = world.state.joint["sim"].correlations(1)
    assert table is not None
    assert world.state.joint["sim"].names == [BTC, ETH]
    variances = [world.state.desks[name].returns.per_second for name in (BTC, ETH)]
    deviations = np.sqrt(np.array(variances, dtype=float) * SECONDS_PER_DAY)
    found: np.ndarray = table * np.outer(deviations, deviations)
    return found


def corners(world: World) -> list[np.ndarray]:
    """Return every corner of where the two positions may come to, in quote units."""
    ends = []
    for name in (BTC, ETH):
        desk = world.state.desks[name]
        units = range_of(world.state, desk)
        assert desk.ask is not None
        ends.append((units.low * desk.ask, units.high * desk.ask))
    return [np.array(corner) for corner in itertools.product(*ends)]


@pytest.mark.parametrize("rho", [-0.9, 0.0, 0.6, 0.95])
def test_value_at_risk_of_what_is_held_is_that_of_the_covariance(rho: float) -> None:
    world = together(rho)
    world.fill("0.1")
    world.fill("-3", ETH)
    exposures = exposures_of(world)
    equity = exposures.equity()
    assert equity is not None

    (held,) = {tuple(corner) for corner in corners(world)}

    plain = Z_95 * math.sqrt(np.array(held) @ covariance(world) @ np.array(held)) / equity
    assert exposures.var(equity) == pytest.approx(plain, rel=1e-9)
    known = world.state.joint["sim"].correlations(1)
    assert known is not None
    assert known[0, 1] == pytest.approx(rho, abs=0.1)


positions = st.floats(-2.0, 2.0).map(lambda one: Decimal(repr(round(one, 3))))


@given(
    st.sampled_from([-0.9, 0.0, 0.6, 0.95]),
    st.tuples(positions, positions),
    st.lists(
        st.tuples(st.sampled_from([BTC, ETH]), positions, st.sampled_from([OrderState.ACCEPTED, OrderState.UNKNOWN])),
        max_size=4,
    ),
    st.tuples(st.none() | positions, st.none() | positions),
    st.floats(-0.5, 0.5),
)
@settings(max_examples=60, deadline=None)
def test_no_corner_of_what_may_come_has_more_risk_than_is_told(
    rho: float, held: tuple[Decimal, Decimal], orders: list[tuple[str, Decimal, OrderState]], targets: Any, own: float
) -> None:
    world = together(rho, beats=20)
    for name, units in zip((BTC, ETH), held, strict=True):
        if units:
            world.fill(units, name)
    for number, (name, units, state) in enumerate(orders):
        if units:
            world.order(units, state, name, order_id=f"o{number}")
    for name, target in zip((BTC, ETH), targets, strict=True):
        if target is not None:
            world.state.desks[name].standing = Standing(quantity=target, expires_at=world.now + SECOND)
    exposures = exposures_of(world)
    equity = 100_000.0
    table = covariance(world)

    worst = max(Z_95 * math.sqrt(max(corner @ table @ corner, 0.0)) / equity for corner in corners(world))

    assert exposures.var(equity) >= worst * (1 - 1e-9)
    # And with BTC at a size of its own, wherever ETH may be.
    desk = world.state.desks[BTC]
    deviation = math.sqrt(table[0, 0])
    terms = RiskPlan(world.config).terms(BTC)
    limits = limits_for(terms.caps[0], deviation, exposures.beside(desk, equity), 0.0, None)  # type: ignore[union-attr]
    var = next(one for one in limits if one.name == "var")
    assert isinstance(var, VarLimit)
    at_own = [np.array([own * equity, corner[1]]) for corner in corners(world)]
    assert var.used(own) >= max(Z_95 * math.sqrt(max(c @ table @ c, 0.0)) / equity for c in at_own) * (1 - 1e-6) - 1e-12


def test_what_is_not_known_adds_up() -> None:
    world = World(config())  # one minute of beats: no joint returns that count
    world.fill("0.1")
    world.fill("3", ETH)
    exposures = Exposures(world.state, RiskPlan(world.config), "sim", "USDT", None)
    equity = exposures.equity()
    assert equity is not None

    deviations = [
        math.sqrt((world.state.desks[name].returns.per_second or math.nan) * SECONDS_PER_DAY) for name in (BTC, ETH)
    ]
    asks = [float(world.touch(name)[1]) for name in (BTC, ETH)]
    plain = Z_95 * (0.1 * asks[0] * deviations[0] + 3 * asks[1] * deviations[1]) / equity

    assert exposures.var(equity) == pytest.approx(plain, rel=1e-12)


def test_instruments_that_move_together_share_the_cluster_and_others_do_not() -> None:
    for rho, shared in ((0.95, True), (0.2, False)):
        world = together(rho)
        world.fill("3", ETH)
        exposures = exposures_of(world)
        equity = exposures.equity()
        assert equity is not None

        beside = exposures.beside(world.state.desks[BTC], equity)

        exposure = 3 * float(world.touch(ETH)[1]) / equity
        assert beside.gross == pytest.approx(exposure)
        assert beside.in_cluster == pytest.approx(exposure if shared else 0.0)


def test_a_touch_alone_leaves_what_a_new_portfolio_would_hold() -> None:
    world = together(0.6)
    world.fill("0.1")
    world.fill("3", ETH)
    kept = exposures_of(world)
    kept.var(1.0)
    desk = world.state.desks[ETH]
    desk.bid, desk.ask = 2_900.0, 2_901.0

    assert kept.remark(desk)

    fresh = exposures_of(world)
    assert kept.equity() == fresh.equity()
    assert kept.var(100_000.0) == fresh.var(100_000.0)
    for name in (BTC, ETH):
        assert kept.beside(world.state.desks[name], 100_000.0) == fresh.beside(world.state.desks[name], 100_000.0)
