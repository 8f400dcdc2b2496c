"""FAULTS.md row 26: under real limits nothing leaves before Retry-After, cancels have room, and nobody is banned."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.executor_world import World, world_of
from tests.integration.venue_server import eventually

from edgefleet.clock import NS_PER_MS
from edgefleet.messages import Fill, GatewayOutcome

pytestmark = [
    pytest.mark.faults,
    pytest.mark.integration,
    # Limits are an address's, so the test must ask from another than the executor: Linux has all of 127/8.
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux answers on 127.0.0.2 without being told to"),
]

EXECUTOR, TEST = "127.0.0.1", "127.0.0.2"
WEIGHT = 650  # a start with five symbols asks for about 330


@pytest.fixture
def world(redis_url: str, tmp_path: Path) -> Iterator[World]:
    with world_of(redis_url, tmp_path) as made:
        made.venue = dataclasses.replace(made.venue, source=TEST)
        yield made


def limit(world: World, **limits: int) -> None:
    httpx.post(f"{world.venue.sim}/limits", json=limits).raise_for_status()


def counters(world: World) -> dict[str, Any]:
    """Return what the executor's address has asked of the venue."""
    found: dict[str, Any] = httpx.get(f"{world.venue.sim}/limits").json()["addresses"][EXECUTOR]
    return found


def outcomes(world: World, *wanted: str) -> list[GatewayOutcome]:
    return [said for said in world.all(GatewayOutcome, "venue.events") if said.outcome in wanted]


def over_the_limits(world: World) -> list[GatewayOutcome]:
    """Return the orders that were not sent because the limits left no room."""
    return [said for said in outcomes(world, "DENIED") if "rate limits" in said.reason]


def trade_until(world: World, condition: Callable[[], object], instrument: str, **changes: object) -> None:
    """Send target after target, as risk does, each of them an order, until `condition`."""
    numbers = count()

    def again() -> object:
        world.approve(str(Decimal("0.1") * (1 + next(numbers) % 2)), instrument=instrument, **changes)
        return condition()

    eventually(again, "what was traded for")


def assert_never_too_much(world: World) -> None:
    """Nothing was refused, nothing came too early, nobody was banned."""
    told = counters(world)
    assert (told["refused"], told["banned"], told["early"]) == (0, 0, 0)
    assert httpx.get(f"{world.venue.sim}/limits").json()["orders_refused"] == 0


def test_orders_stop_short_of_the_limit_and_a_cancel_still_has_room(world: World) -> None:
    limit(world, weight_1m=WEIGHT)
    process = world.started()
    world.tell_prices_at(Decimal("0.9"))
    world.approve("0.02", algorithm="post_only")
    eventually(lambda: world.venue.signed("GET", "openOrders", symbol="BTCUSDT").json(), "a resting order")

    trade_until(world, lambda: over_the_limits(world), "ETH/USDT@sim")
    world.halt("a person")
    eventually(lambda: not world.venue.signed("GET", "openOrders", symbol="BTCUSDT").json(), "the cancel")

    assert world.stop(process) == 0
    assert_never_too_much(world)
    assert counters(world)["heaviest_1m"] <= WEIGHT


@pytest.mark.parametrize("status", [429, 418])
def test_nothing_leaves_before_retry_after_and_trading_goes_on_by_itself(world: World, status: int) -> None:
    process = world.started()
    world.faults(rest_limited=1, rest_limited_status=status, rest_path="order", retry_after_s=4)

    world.approve("0.02")
    denied = eventually(lambda: outcomes(world, "DENIED"), "the denial")[0]
    trade_until(world, lambda: world.all(Fill, "fills"), "ETH/USDT@sim")

    first = min(said.sent_at for said in outcomes(world, "SENT") if said.sent_at is not None)
    told = counters(world)
    assert first - denied.sent_at >= 4_000 * NS_PER_MS
    assert told["early"] == 0
    assert (told["refused"], told["banned"]) == ((1, 0) if status == 429 else (0, 1))
    assert world.stop(process) == 0


def test_too_many_orders_are_not_even_tried(world: World) -> None:
    limit(world, orders_10s=5)
    process = world.started()
    world.tell_prices_at(Decimal("0.9"))  # what rests unfilled is what the venue counts

    trade_until(world, lambda: over_the_limits(world), "ETH/USDT@sim", algorithm="post_only")

    assert world.venue_orders("ETH/USDT")
    assert_never_too_much(world)
    assert world.stop(process) == 0
