"""FAULTS.md row 18: a link to the venue or to Redis that is slow, silent or cut hangs nothing and doubles no order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.faults.bad_link import BadLink, Mode
from tests.integration.executor_world import World, world_of
from tests.integration.venue_server import eventually

from edgefleet.clock import NS_PER_S, SYSTEM
from edgefleet.messages import Fill, GatewayOutcome

pytestmark = [pytest.mark.faults, pytest.mark.integration]

REQUEST_TIMEOUT_S = 2.0  # conf/execution.yml


@pytest.fixture
def world(redis_url: str, tmp_path: Path) -> Iterator[World]:
    with world_of(redis_url, tmp_path) as made:
        yield made


@pytest.fixture
def to_venue(world: World) -> Iterator[BadLink]:
    """The executor's link to the venue; the test's own is good."""
    with BadLink(world.venue.port).running() as link:
        yield link


@pytest.fixture
def to_redis(world: World) -> Iterator[BadLink]:
    """The executor's link to Redis; the test's own is good."""
    with BadLink(urlsplit(world.redis_url).port or 6379).running() as link:
        world.redis_url = f"redis://127.0.0.1:{link.port}/0"
        yield link


def outcomes(world: World) -> list[str]:
    return [said.outcome for said in world.all(GatewayOutcome, "venue.events")]


@pytest.mark.parametrize("mode", ["blackhole", "replies lost", "reset"])
def test_bad_link_to_the_venue_leaves_an_order_in_doubt_in_time_and_never_two_at_the_venue(
    world: World, to_venue: BadLink, mode: Mode
) -> None:
    process = world.started(venue_port=to_venue.port)
    world.approve("0.02")
    eventually(lambda: world.all(Fill, "fills"), "a fill over the good link")
    to_venue.turn(mode)
    before = SYSTEM.monotonic_ns()

    world.approve("0.05")
    eventually(lambda: {"UNKNOWN", "DENIED"} & set(outcomes(world)), "the doubt")
    assert SYSTEM.monotonic_ns() - before < 2 * REQUEST_TIMEOUT_S * NS_PER_S
    to_venue.turn("good")

    there = len(world.venue_orders())
    assert there == (2 if mode == "replies lost" else 1)
    if mode == "replies lost":
        eventually(lambda: len(world.all(Fill, "fills")) >= 2, "the fill of the order whose answer was lost")
        world.approve("0.01")
        eventually(lambda: len(world.venue_orders()) == 3, "an order over the mended link")
    names = [order["clientOrderId"] for order in world.venue_orders()]
    assert len(names) == len(set(names))
    world.kill(process)


@pytest.mark.parametrize("mode", ["blackhole", "replies lost", "reset"])
def test_bad_link_to_redis_stops_orders_and_trading_goes_on_by_itself_when_it_is_good(
    world: World, to_redis: BadLink, mode: Mode
) -> None:
    process = world.started()
    world.approve("0.02")
    eventually(lambda: world.all(Fill, "fills"), "a fill over the good link")
    to_redis.turn(mode)
    turned = SYSTEM.monotonic_ns()

    for n in range(3):
        world.approve(f"0.0{n + 4}")
    eventually(lambda: SYSTEM.monotonic_ns() - turned > 4 * NS_PER_S, "longer than a lease")
    assert len(world.venue_orders()) == 1
    assert process.poll() is None, world.log()
    to_redis.turn("good")

    # What was decided before the beats had caught up is denied, so risk's next target is what trades.
    sizes = count(1)

    def traded_again() -> bool:
        world.approve(f"0.{next(sizes):02}")
        return len(world.venue_orders()) > 1

    eventually(traded_again, "an order over the mended link")
    eventually(lambda: len(world.all(Fill, "fills")) >= len(world.venue_trades()) > 1, "its fill")
    names = [order["clientOrderId"] for order in world.venue_orders()]
    assert len(names) == len(set(names))
    assert world.stop(process) == 0


@pytest.mark.parametrize("link", ["to_venue", "to_redis"])
def test_slow_link_makes_orders_slow_and_not_wrong(world: World, link: str, request: pytest.FixtureRequest) -> None:
    bad: BadLink = request.getfixturevalue(link)
    process = world.started(**({"venue_port": bad.port} if link == "to_venue" else {}))
    bad.delay_s = 0.2

    world.approve("0.02")
    eventually(lambda: world.all(Fill, "fills"), "a fill")
    world.approve("0.05")
    eventually(lambda: len(world.venue_orders()) == 2, "the second order")
    eventually(lambda: [states[-1] for states in world.states().values()] == ["FILLED", "FILLED"], "the orders' ends")

    assert "UNKNOWN" not in outcomes(world)
    bad.delay_s = 0.0
    assert world.stop(process) == 0
