"""FAULTS.md rows 11 and 12: a replica that lags becomes the master, or a second one: no order is sent twice."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from tests.faults.bad_link import BadLink
from tests.integration.executor_world import World, world_of
from tests.integration.venue_server import eventually

from edgefleet.bus.embedded import EmbeddedServer
from edgefleet.messages import Fill, Rollback

pytestmark = [pytest.mark.faults, pytest.mark.integration]


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer.start(tmp_path / "replica", 0) as server:
        yield server


@pytest.fixture
def world(redis_url: str, replica: EmbeddedServer, tmp_path: Path) -> Iterator[World]:  # it must outlive the world
    with world_of(redis_url, tmp_path) as made:
        yield made


def test_failover_to_a_lagging_replica_doubles_no_order_and_loses_no_fill(
    world: World, replica: EmbeddedServer
) -> None:
    master_port = urlsplit(world.redis_url).port or 6379
    follower = redis.Redis.from_url(replica.url)
    with BadLink(master_port).running() as to_redis, BadLink(master_port).running() as replication:
        follower.replicaof("127.0.0.1", replication.port)
        eventually(lambda: follower.info("replication")["master_link_status"] == "up", "the replica")
        world.redis_url = f"redis://127.0.0.1:{to_redis.port}/0"
        process = world.started()
        world.approve("0.02")
        eventually(lambda: world.all(Fill, "fills"), "the first fill")
        eventually(lambda: world.client.wait(1, 100), "its replication")
        replication.turn("blackhole")
        world.approve("0.05")
        eventually(lambda: len(world.all(Fill, "fills")) == len(world.venue_trades()) > 1, "the second fill")
        assert len(world.venue_orders()) == 2

        follower.replicaof("NO", "ONE")
        before, world.client = world.client, follower
        lost = {trade for _, trade in world.venue_trades()} - {fill.trade_id for fill in world.all(Fill, "fills")}
        assert lost  # the replica never saw it
        to_redis.lead_to(replica.port)

        # The target behind the second order is lost with it, so the position goes back to the first one's.
        eventually(lambda: lost <= {fill.trade_id for fill in world.all(Fill, "fills")}, "the fills, told again")
        # An order on the way back may meet the gate that the loss of Redis shut: it is denied, and made anew.
        eventually(lambda: {states[-1] for states in world.states().values()} <= {"FILLED", "DENIED"}, "their ends")
        eventually(lambda: Decimal("0.019") < world.venue_position() < Decimal("0.021"), "the first order's position")

        there = len(world.venue_orders())
        sizes = iter(range(1, 1_000))

        def traded_again() -> bool:
            world.approve(f"0.{next(sizes):03}")
            return len(world.venue_orders()) > there + 1

        eventually(traded_again, "an order after the failover")
        assert world.stop(process) == 0
        before.close()
        assert {said.input for said in world.all(Rollback, "alerts")} >= {"venue.events", "targets"}
    trades = world.venue_trades()
    assert sorted((fill.instrument, fill.trade_id) for fill in world.all(Fill, "fills")) == sorted(trades)
    names = [order["clientOrderId"] for order in world.venue_orders()]
    assert len(names) == len(set(names))


def test_of_two_masters_executors_the_one_that_sees_the_others_order_halts(
    world: World, replica: EmbeddedServer, tmp_path: Path
) -> None:
    master_port = urlsplit(world.redis_url).port or 6379
    follower = redis.Redis.from_url(replica.url)
    follower.replicaof("127.0.0.1", master_port)
    eventually(lambda: follower.info("replication")["master_link_status"] == "up", "the replica")
    first = world.started()
    world.approve("0.02")
    eventually(lambda: world.all(Fill, "fills"), "a fill")
    eventually(lambda: world.client.wait(1, 100), "its replication")

    follower.replicaof("NO", "ONE")
    other = World(replica.url, world.venue, tmp_path / "other")
    other._targets = 1_000  # its targets are other decisions than the first one's
    try:
        other.prepare()
        second = other.started()
        other.approve("0.05")
        eventually(lambda: len(world.venue_orders()) == 2, "an order of the second")
        eventually(lambda: world.client.hget("trading:state", "state") == b"HALTED", "the first one's halt")
        for n in range(5):
            world.approve(f"0.{n + 10}")
        other.approve("0.03")
        eventually(lambda: len(world.venue_orders()) == 3, "one more order of the second")
        assert follower.hget("trading:state", "state") == b"ACTIVE"
        assert world.stop(first) == 0
        assert other.stop(second) == 0
    finally:
        other.close()
    names = [order["clientOrderId"] for order in world.venue_orders()]
    assert len(names) == len(set(names)) == 3
