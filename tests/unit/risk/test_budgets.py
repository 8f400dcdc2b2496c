"""Budgets: equity shared out by what the market did, moved by the rebalancer's rules, and held as a limit."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from tests.unit.risk.world import BTC, ETH, World, config

from edgefleet.messages import Approved
from edgefleet.risk.stage import RiskState

SPACED = {"correlation_interval_s": 1.0, "min_returns": 20, "half_life_s": 60.0}


def world_of(allocation: dict[str, Any] | None = None, **position_sizing: Any) -> World:
    return World(
        config(
            {
                "volatility": SPACED,
                "allocation": {"refresh_s": 1.0, **(allocation or {})},
                "position_sizing": {"min_dwell_ms": 0, **position_sizing},
            }
        ),
        ready=False,
    )


def begin(world: World) -> World:
    world.trading("ACTIVE")
    world.account({"USDT": "100000"})
    return world


def walk(world: World, beats: int, btc: float, eth: float) -> None:
    """Let both move without correlation, by so much a second."""
    for n in range(beats):
        one, two = 1 if n % 2 == 0 else -1, 1 if (n // 2) % 2 == 0 else -1
        world.prices[BTC] *= math.exp(btc * one)
        world.prices[ETH] *= math.exp(eth * two)
        world.beat()


def test_two_that_move_apart_share_by_inverse_variance() -> None:
    world = begin(world_of())
    walk(world, 40, 1e-4, 2e-4)

    assert world.state.budgets[BTC] == pytest.approx(0.8, abs=0.03)
    assert sum(world.state.budgets.values()) == pytest.approx(1.0)


def test_before_both_are_known_there_is_no_budget() -> None:
    world = begin(world_of())
    walk(world, 15, 1e-4, 2e-4)

    assert world.state.budgets == {}


def test_none_switches_it_off_by_reload() -> None:
    world = begin(world_of())
    walk(world, 40, 1e-4, 2e-4)
    assert world.state.budgets

    world.config = world_of({"method": "none"}).config
    world.beat()

    assert world.state.budgets == {}


def test_a_budget_is_a_limit_with_its_head_room() -> None:
    world = begin(world_of({"gross": 0.1}))
    walk(world, 40, 1e-4, 2e-4)
    budget = world.state.budgets[ETH]
    assert budget < 0.03

    (said,) = world.edge(20.0, ETH)

    assert isinstance(said, Approved)
    assert said.binding == "budget"
    share = float(said.quantity) * float(world.touch(ETH)[1]) / float(said.equity)
    assert 0 < share <= 0.9 * budget
    assert said.head_room["budget"] == pytest.approx(1 - share / budget, abs=1e-6)


def test_budgets_follow_no_faster_than_the_turnover_cap() -> None:
    world = begin(world_of({"turnover_cap": 0.02}))
    walk(world, 40, 1e-4, 2e-4)
    for _ in range(30):
        before = dict(world.state.budgets)
        walk(world, 4, 3e-4, 1e-4)
        moved = sum(abs(world.state.budgets[name] - before[name]) for name in before)
        assert moved <= 4 * 0.02 + 1e-12  # four looks

    assert world.state.budgets[BTC] < 0.5


def test_inside_the_band_they_stay() -> None:
    world = begin(world_of({"band": 0.5}))
    walk(world, 40, 1e-4, 2e-4)
    first = dict(world.state.budgets)

    walk(world, 60, 1.1e-4, 2e-4)

    assert world.state.budgets == first


def test_two_that_cancel_each_other_leave_budgets_as_they_are() -> None:
    world = begin(world_of())
    for n in range(40):
        up = 1e-4 if n % 2 == 0 else -1e-4
        world.prices[BTC] *= math.exp(up)
        world.prices[ETH] *= math.exp(-up)
        world.beat()

    budgets = world.state.budgets
    assert not budgets or sum(budgets.values()) == pytest.approx(1.0)


def test_a_restart_between_two_looks_changes_nothing() -> None:
    plain, restarted = begin(world_of()), begin(world_of())
    for world in (plain, restarted):
        walk(world, 30, 1e-4, 2e-4)
    restarted.state = msgspec.msgpack.decode(msgspec.msgpack.encode(restarted.state), type=RiskState)
    for world in (plain, restarted):
        walk(world, 30, 3e-4, 1e-4)

    assert restarted.state == plain.state


def test_a_regime_shrinks_and_never_turns() -> None:
    sizes = {}
    for factor in (1.0, 0.5, 0.0):
        world = begin(world_of({"method": "none"}, regime_scale={"high_vol": factor}))
        walk(world, 40, 1e-3, 1e-3)
        world.said.clear()
        world.edge(12.0, horizon_ms=60_000, regime="high_vol")
        sizes[factor] = [float(one.quantity) for one in world.said if isinstance(one, Approved)]
        world.said.clear()

    assert 0 < sizes[0.5][0] <= sizes[1.0][0] / 2 * (1 + 1e-3)
    assert sizes[0.0] == []
