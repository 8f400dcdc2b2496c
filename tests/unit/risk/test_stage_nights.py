"""A night's word on an instrument: its deviation is held up, and no more than that follows."""

from __future__ import annotations

import math

import msgspec
import pytest
from tests.unit.risk.world import BTC, ETH, World, config

from edgefleet.clock import NS_PER_S
from edgefleet.errors import Poison
from edgefleet.messages import Approved, NightlyVar
from edgefleet.risk.explain import explain
from edgefleet.risk.stage import RiskState
from edgefleet.risk.state import deviation_of
from edgefleet.risk.var import Z_95, day_deviation
from edgefleet.testing import build

DAY_NS = 86_400 * NS_PER_S


def night(world: World, deviation: float, instrument: str = BTC, *, ago_ns: int = 0) -> NightlyVar:
    said = build.nightly_var(instrument=instrument, deviation=deviation, ts_event=world.now - ago_ns, ts_init=world.now)
    world.feed("control", said)
    return said


def entered(world: World) -> Approved:
    (target,) = world.edge(60.0, BTC, horizon_ms=600_000)
    assert isinstance(target, Approved)
    return target


def now(world: World, instrument: str = BTC) -> float:
    variance = world.state.desks[instrument].returns.per_second
    assert variance is not None
    return day_deviation(variance)


def test_value_at_risk_is_that_of_the_night_where_it_says_more_and_the_target_is_no_larger() -> None:
    calm, warned = World(), World()
    night(warned, 0.4)

    usual, less = entered(calm), entered(warned)

    share = float(less.quantity) * float(warned.touch(BTC)[1]) / float(less.equity)
    assert now(warned) < 0.4
    assert less.quantity < usual.quantity
    assert less.binding.startswith("var")
    assert less.var_fraction == pytest.approx(Z_95 * 0.4 * share, rel=1e-9)
    assert less.variance == usual.variance  # Kelly's, which is of the market now


def test_a_night_that_says_less_than_the_market_does_changes_nothing() -> None:
    usual, told = World(), World()
    night(told, 1e-6)

    there, here = entered(told), entered(usual)
    assert (there.quantity, there.var_fraction, there.head_room) == (here.quantity, here.var_fraction, here.head_room)


def test_what_is_held_already_is_reduced_where_the_night_says_that_it_is_too_much() -> None:
    world = World()
    held = world.hold(60.0)
    night(world, 2.0)

    (said,) = world.beat()

    assert isinstance(said, Approved)
    assert 0 <= said.quantity < held.quantity
    assert said.binding == "var"


def test_a_night_holds_for_its_days_and_the_newest_one_counts() -> None:
    world = World()
    night(world, 0.4)
    night(world, 0.9, ago_ns=DAY_NS)
    world.beat()
    desk = world.state.desks[BTC]
    known = desk.floor

    world.beat(seconds=7 * 86_400 - 10)
    still = desk.floor
    world.beat(seconds=20)

    assert known is not None
    assert known.deviation == 0.4
    assert still == known
    assert desk.floor is None


def test_where_nights_shall_not_count_they_do_not() -> None:
    world = World(config({"volatility": {"nightly_floor_days": 0}}))
    night(world, 0.4)
    world.beat()

    assert world.state.desks[BTC].floor is None
    assert deviation_of(world.state.desks[BTC], 1e-8) == day_deviation(1e-8)


def test_it_is_the_instruments_own_and_survives_a_restart() -> None:
    world = World()
    night(world, 0.4, ETH)
    world.state = msgspec.msgpack.decode(msgspec.msgpack.encode(world.state), type=RiskState)

    assert world.state.desks[BTC].floor is None
    numbers = {n.name: n.value for g in explain(world.state, ETH, world.config).groups for n in g.numbers}
    assert numbers["night's deviation"] == 0.4
    assert numbers["day's deviation"] == 0.4


@pytest.mark.parametrize("deviation", [0.0, -0.1, math.nan, math.inf])
def test_a_number_that_is_no_deviation_is_refused(deviation: float) -> None:
    world = World()
    before = msgspec.msgpack.encode(world.state)

    with pytest.raises(Poison, match="must be positive and finite"):
        night(world, deviation)

    assert msgspec.msgpack.encode(world.state) == before
