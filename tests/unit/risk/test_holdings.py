"""What risk's state holds, as a portfolio that stress can be put on."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from tests.unit.risk.world import BTC, World

from edgefleet.risk.holdings import Held, portfolios_of
from edgefleet.risk.plan import RiskPlan
from edgefleet.risk.state import desk_of, equity
from edgefleet.risk.var import day_deviation


def held(world: World) -> Held:
    (only,) = portfolios_of(world.state, RiskPlan(world.config))
    return only


def test_a_position_has_the_price_that_closes_it_and_the_deviation_that_risk_believes() -> None:
    world = World()
    world.fill("0.5")

    found = held(world)

    assert found.portfolio is not None
    (position,) = found.portfolio.positions
    bid, _ = world.touch(BTC)
    assert (position.instrument, position.quantity, position.price) == (BTC, Decimal("0.5"), float(bid))
    assert (position.asset_class, position.sector) == ("crypto", "none")
    variance = desk_of(world.state, BTC).returns.per_second
    assert variance is not None
    assert position.day_deviation == day_deviation(variance)
    assert found.portfolio.equity == equity(world.state, "sim", "USDT")
    assert found.portfolio.peak == world.state.peaks["sim|USDT"]


def test_a_short_position_is_closed_at_the_ask() -> None:
    world = World()
    world.fill("-0.5")

    found = held(world)

    assert found.portfolio is not None
    assert [one.price for one in found.portfolio.positions] == [float(world.touch(BTC)[1])]


def test_an_asset_without_an_instrument_is_a_position_without_a_price() -> None:
    world = World()
    world.account({"USDT": "100000", "DOGE": "7"})

    found = held(world)

    assert found.portfolio is not None
    (position,) = found.portfolio.positions
    assert (position.instrument, position.quantity, position.price) == ("DOGE/USDT@sim", Decimal(7), None)


def test_before_the_account_is_known_there_is_no_portfolio_but_a_reason() -> None:
    world = World(ready=False)
    world.beat()

    assert held(world) == Held("sim", "USDT", None, "no balances of main at sim yet")


def test_without_a_price_there_is_no_portfolio_but_a_reason() -> None:
    world = World()
    world.fill("0.5")
    world.beat(touch={"bid": None, "ask": None})

    assert held(world) == Held("sim", "USDT", None, "an asset of the account has no price")


@pytest.mark.parametrize(("cash", "told"), [("-1", "equity is -1.0"), ("0", "equity is 0.0")])
def test_without_equity_there_is_no_portfolio_but_a_reason(cash: str, told: str) -> None:
    world = World(cash=cash)

    assert held(world).why.startswith(told)


def test_a_price_that_moved_little_has_no_deviation() -> None:
    world = World(ready=False)
    world.trading("ACTIVE")
    world.account({"USDT": "100000"})
    world.beat()
    world.fill("0.5")

    found = held(world)

    assert found.portfolio is not None
    assert [one.day_deviation for one in found.portfolio.positions] == [None]
    assert math.isfinite(float(found.portfolio.equity))
