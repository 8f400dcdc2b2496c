"""FAULTS.md rows 17 and 19: a disk that takes its time bounds the rate of orders; a Redis that pauses stops them."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import httpx
import pytest
import redis
from tests.integration.executor_world import World, world_of
from tests.integration.venue_server import eventually

from edgefleet.clock import NS_PER_S, SYSTEM
from edgefleet.messages import Fill

pytestmark = [pytest.mark.faults, pytest.mark.integration]

SYNC_S = 2.0
PAUSE_S = 10.0


@pytest.fixture
def world(redis_url: str, tmp_path: Path) -> Iterator[World]:
    with world_of(redis_url, tmp_path) as made:
        yield made


@contextmanager
def trading(world: World) -> Iterator[None]:
    """Send target after target from a thread of its own, as risk does, each of them an order."""
    quit_, numbers = threading.Event(), count()

    def send() -> None:
        while not quit_.wait(0.05):
            world.approve(("0.02", "0.04")[next(numbers) % 2])

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        quit_.set()
        thread.join()


def disk_check(process: subprocess.Popen[bytes]) -> tuple[bool, str]:
    """Return what an executor's health says of its disk."""
    arguments = [str(argument) for argument in process.args]  # type: ignore[union-attr]
    port = arguments[arguments.index("--port") + 1]
    checks = httpx.get(f"http://127.0.0.1:{port}/health").json()["checks"]
    return next((check["ok"], check["detail"]) for check in checks if check["name"] == "disk")


def test_slow_disk_bounds_the_rate_of_orders_and_health_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "SLOW_SYNC_S", str(SYNC_S))
    process = world.started(script=Path(__file__).with_name("executor_with_a_slow_disk.py"))

    began = SYSTEM.monotonic_ns()
    with trading(world):
        eventually(lambda: len(world.venue_orders()) >= 3, "three orders")
        ok, detail = disk_check(process)
        orders, passed_s = len(world.venue_orders()), (SYSTEM.monotonic_ns() - began) / NS_PER_S

    assert orders <= passed_s / SYNC_S + 1  # one instrument has one order on its way, and each waits for the disk
    assert not ok
    assert "a sync takes 2" in detail
    world.kill(process)


def test_redis_that_pauses_stops_orders_and_leaves_one_owner(world: World) -> None:
    impatient, world.client = world.client, redis.Redis.from_url(world.redis_url, socket_timeout=2 * PAUSE_S)
    impatient.close()
    first = world.started()
    with trading(world):
        eventually(lambda: world.all(Fill, "fills"), "a fill")
        world.client.client_pause(int(PAUSE_S * 1_000))
        paused = SYSTEM.monotonic_ns()
        second = world.executor(data_dir=world.data_dir.with_name("other"))

        def passed(seconds: float) -> bool:
            return SYSTEM.monotonic_ns() - paused > seconds * NS_PER_S

        eventually(lambda: passed(1.6), "half a lease")  # an order may leave until the hold on the account is so old
        held = len(world.venue_orders())
        eventually(lambda: passed(PAUSE_S - 0.5), "the end of the pause")
        assert len(world.venue_orders()) == held
        eventually(lambda: len(world.venue_orders()) > held, "an order after the pause")
        eventually(lambda: first.poll() is not None or second.poll() is not None, "the end of one of them")

    ended, alive = (first, second) if first.poll() is not None else (second, first)
    assert ended.poll() != 0
    assert alive.poll() is None
    assert world.stop(alive) == 0
    names = [order["clientOrderId"] for order in world.venue_orders()]
    assert len(names) == len(set(names))
    assert sorted((fill.instrument, fill.trade_id) for fill in world.all(Fill, "fills")) == sorted(world.venue_trades())
