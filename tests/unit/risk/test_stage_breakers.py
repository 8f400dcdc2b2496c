"""Breakers in the stage: what opens them, what they ask for, who ends it. The machine itself is tested beside this."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from tests.unit.risk.world import BTC, World, config

from edgefleet.messages import (
    SESSION_START,
    Approved,
    BreakerMoved,
    Command,
    OrderState,
    Refusal,
    Refused,
)
from edgefleet.risk.stage import RiskState
from edgefleet.testing import build

LOOSE = {
    "position_sizing": {"max_position_pct": {"crypto": 0.9}, "min_dwell_ms": 0, "drawdown_aware": False},
    "risk_limits": {
        "max_drawdown": 0.10,
        "var_targets": {"daily_95pct": 0.8, "weekly_95pct": 0.8, "monthly_95pct": 0.8},
        "var_hard_limit": 0.9,
        "expected_shortfall": {"target": 0.9, "hard_limit": 0.9},
        "concentration_limits": {"single": 0.9, "class": 0.9, "sector": 0.9, "geography": 0.9},
        "max_correlation_exposure": 2.0,
        "order_limits": {"max_order_pct": 2.0, "price_collar_pct": 0.9},
        "vol_multiplier_limit": 1000,
    },
}
OFF = {"enabled": False}


def settings(action: str, **breakers: Any) -> Any:
    """Return a configuration in which only the drawdown breaker can open, with `action`."""
    only = {"var": OFF, "daily_loss": OFF, "consecutive_losses": OFF, "drawdown": {"action": action}}
    return config({**LOOSE, "breakers": {**only, **breakers}})


def moves(world: World, name: str = "drawdown") -> list[BreakerMoved]:
    return [one for one in world.control if isinstance(one, BreakerMoved) and one.breaker == name]


def asked(world: World) -> list[str]:
    return [one.verb for one in world.control if isinstance(one, Command)]


def fall(world: World, until: float, *, step: float = 0.998, alpha_alive: bool = True) -> None:
    """Let BTC fall by 0.2 % a second until it has lost `until` of itself."""
    low = world.prices[BTC] * (1 - until)
    while world.prices[BTC] > low:
        world.prices[BTC] *= step
        world.beat(alpha_alive=alpha_alive)


def test_a_drawdown_with_open_losses_asks_for_a_halt_at_its_limit_and_one_tick() -> None:
    world = World(settings("halt"))
    held = world.hold()
    share = float(held.quantity) * world.prices[BTC] / 100_000
    assert share > 0.7

    fall(world, 0.16)

    (opened,) = moves(world)
    assert (opened.before, opened.after, opened.limit, opened.action) == ("CLOSED", "OPEN", 0.10, "halt")
    assert opened.observed is not None
    assert 0.10 < opened.observed <= 0.10 + 0.002  # one tick of the fall, at nine tenths of equity
    assert asked(world) == ["halt"]
    after = [one for one in world.said if isinstance(one, Refused)]
    assert after[-1].reason in (Refusal.DRAWDOWN, Refusal.BREAKER)


def test_it_opens_while_alpha_is_dead() -> None:
    world = World(settings("halt"))
    world.hold()

    fall(world, 0.15, alpha_alive=False)

    assert [one.after for one in moves(world)] == ["OPEN"]
    assert asked(world) == ["halt"]


def test_it_flattens_if_told_so_and_halts_when_flat() -> None:
    world = World(settings("flatten"))
    world.hold()
    fall(world, 0.16)
    assert asked(world) == ["reduce", "flatten"]
    commands = [one for one in world.control if isinstance(one, Command)]
    world.trading("REDUCING", by="risk")
    for command in commands:
        world.feed("control", command)

    world.order("-1.3", OrderState.ACCEPTED, order_id="f1")
    world.beat()
    assert asked(world) == ["reduce", "flatten"]
    world.fill(-Decimal(str(world.state.holdings["sim"]["BTC"])), order_id="f1")
    world.order("-1.3", OrderState.FILLED, order_id="f1")
    world.beat()

    assert asked(world) == ["reduce", "flatten", "halt"]
    world.beat()
    assert asked(world) == ["reduce", "flatten", "halt"]


def test_only_a_person_ends_what_halts() -> None:
    world = World(settings("halt"))
    world.hold()
    fall(world, 0.16)
    world.trading("HALTED", by="executor")
    world.prices[BTC] /= 0.5  # all of it is back, and more
    for _ in range(400):
        world.beat(5)
    assert [one.after for one in moves(world)] == ["OPEN"]

    world.trading("ACTIVE", by=SESSION_START)
    world.beat()
    assert [one.after for one in moves(world)] == ["OPEN"]
    assert world.state.watch.holds_back

    world.trading("HALTED", by="executor")
    world.trading("ACTIVE", by="a person")
    assert [one.after for one in moves(world)] == ["OPEN", "HALF_OPEN"]
    for _ in range(61):
        world.beat(5)
    assert [one.after for one in moves(world)] == ["OPEN", "HALF_OPEN", "CLOSED"]


def test_a_person_who_resumes_ends_what_only_holds_back_though_the_latch_was_active() -> None:
    world = World(settings("reduce"))
    world.hold()
    fall(world, 0.16)
    assert [one.after for one in moves(world)] == ["OPEN"]
    said = Command(verb="resume", reason="I looked", by="a person", ts_event=world.now, ts_init=world.now)

    world.feed("control", said)

    assert [one.after for one in moves(world)] == ["OPEN", "HALF_OPEN"]
    assert moves(world)[1].reason == "reset by a person: I looked"
    world.beat()
    assert [one.after for one in moves(world)] == ["OPEN", "HALF_OPEN"]  # drawdown is measured from here


def test_an_open_breaker_lets_nothing_grow_and_half_open_half_of_it() -> None:
    judged = {"action": "reduce", "min_orders": 5, "orders": 5}
    world = World(settings("none", reject_rate=judged))
    for number in range(5):
        world.order("0.1", OrderState.PENDING_NEW, order_id=f"r{number}")
        world.order("0.1", OrderState.REJECTED, order_id=f"r{number}")
    world.beat()

    (refused,) = world.edge(12.0, horizon_ms=600_000)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.detail) == (Refusal.BREAKER, "reject_rate")
    assert (refused.limit, refused.observed) == (0.25, 1.0)
    for _ in range(130):
        world.beat(5)  # the answers are forgotten, the cool-down is over

    assert [one.after for one in moves(world, "reject_rate")] == ["OPEN", "HALF_OPEN"]
    half = next(one for one in world.said if isinstance(one, Approved))
    assert half.variance is not None
    share = float(half.quantity) * float(world.touch(BTC)[1]) / float(half.equity)
    assert 0 < share <= 0.5 * min(half.kelly_fraction, 0.9 * 0.9)


JUDGED = {"action": "reduce", "min_orders": 5, "orders": 5}


def reject(world: World, times: int = 5) -> None:
    for number in range(times):
        world.order("0.1", OrderState.PENDING_NEW, order_id=f"r{number}")
        world.order("0.1", OrderState.REJECTED, order_id=f"r{number}")


def test_what_only_holds_back_sells_nothing() -> None:
    world = World(settings("none", reject_rate=JUDGED))
    held = world.hold()
    world.said.clear()

    reject(world)
    world.beat()
    world.beat(40)

    assert [one.after for one in moves(world, "reject_rate")] == ["OPEN"]
    assert not [one for one in world.said if isinstance(one, Approved) and one.quantity < held.quantity]


def test_what_holds_back_lets_no_lowered_target_grow_the_position() -> None:
    world = World(settings("none", reject_rate=JUDGED))
    (said,) = world.edge(20.0)
    assert isinstance(said, Approved)
    world.fill(said.quantity / 10)  # the rest is under way
    reject(world)
    world.beat()
    world.config = settings("none", reject_rate=JUDGED).model_copy(
        update={"risk_harmonizer": config({"position_sizing": {"max_position_pct": {"crypto": 0.3}}}).risk_harmonizer}
    )
    world.said.clear()

    for _ in range(3):
        world.beat()

    grown = [one for one in world.said if isinstance(one, Approved) and one.quantity > said.quantity / 10]
    assert grown == []


def test_half_open_halves_what_a_cap_allows_too() -> None:
    world = World(settings("none", reject_rate=JUDGED))
    whole = World(settings("none")).edge(60.0)[0]
    assert isinstance(whole, Approved)
    reject(world)
    world.beat()
    world.edge(60.0)
    for _ in range(130):
        world.beat(5)

    half = next(one for one in world.said if isinstance(one, Approved))
    assert float(half.quantity) <= 0.51 * float(whole.quantity)


def test_a_start_with_a_position_whose_feed_has_not_spoken_opens_nothing() -> None:
    world = World(settings("none"), ready=False)
    world.trading("ACTIVE")
    world.account({"USDT": "100000", "BTC": "0.3"})

    world.beat(age_ms=None, touch={"bid": None, "ask": None})
    world.beat()

    assert moves(world, "staleness") == []


def test_money_that_leaves_is_no_drawdown_and_no_cure_of_one() -> None:
    world = World(settings("reduce", daily_loss={"action": "reduce"}))
    world.hold()
    fall(world, 0.03)
    before = world.state.watch.breakers["drawdown|sim|USDT"].observed
    held = world.state.holdings["sim"]

    world.account({"USDT": str(held["USDT"] + 40_000), "BTC": str(held["BTC"])})
    world.beat()

    after = world.state.watch.breakers["drawdown|sim|USDT"].observed
    assert before is not None
    assert after == pytest.approx(before, rel=1e-3)


@pytest.mark.parametrize(("quantity", "price"), [("0", "60000"), ("1", "0")])
def test_a_fill_of_nothing_stops_no_stage(quantity: str, price: str) -> None:
    world = World(settings("none"))
    fill = build.fill(instrument=BTC, quantity=Decimal(quantity), price=Decimal(price), ts_event=world.now)

    world.feed("fills", fill)

    assert world.beat() is not None


def test_equity_that_is_no_number_opens() -> None:
    world = World(settings("reduce"))
    world.hold()
    world.state.peaks["sim|USDT"] = float("nan")
    world.beat()

    assert [one.after for one in moves(world)] == ["OPEN"]
    assert moves(world)[0].observed is None


def test_a_restart_anywhere_in_the_fall_changes_no_move() -> None:
    plain, restarted = World(settings("halt")), World(settings("halt"))
    for world in (plain, restarted):
        world.hold()
    for _ in range(90):
        for world in (plain, restarted):
            world.prices[BTC] *= 0.998
            world.beat()
        restarted.state = msgspec.msgpack.decode(msgspec.msgpack.encode(restarted.state), type=RiskState)

    assert moves(plain)
    assert moves(restarted) == moves(plain)
    assert restarted.state == plain.state


def test_value_at_risk_beyond_its_breaker_opens() -> None:
    world = World(config())
    world.hold()

    world.warm(120, bps=60.0)  # volatility jumps, and nothing is filled that would reduce

    opened = moves(world, "var")
    assert opened[0].after == "OPEN"
    assert opened[0].limit == 0.025
    assert opened[0].observed is not None
    assert opened[0].observed > 0.025
    assert opened[0].unit == "fraction of equity, 95 %, one day"
