"""Replies that never arrive: what was asked may have been done, and must not be done twice (fault rows 4 to 7)."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from tests.faults.link_proxy import LinkProxy

from edgefleet.bus.embedded import EmbeddedServer
from edgefleet.bus.interface import FIRST
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.bus.source import Source
from edgefleet.stage import Output
from edgefleet.testing import CountingStage
from edgefleet.testing.bus_contract import (
    StopAfter,
    expected_texts,
    publish,
    start,
    texts,
    trades,
    wait_until,
    wait_until_drained,
)

pytestmark = [pytest.mark.faults, pytest.mark.integration]


@pytest.mark.parametrize("command", [b"FCALL", b"XREAD"])
async def test_a_stage_whose_replies_are_lost_repeats_and_loses_nothing(redis_url: str, command: bytes) -> None:
    chance = random.Random(7)
    proxy = LinkProxy(redis_url, lambda request: command in request[:40] and chance.random() < 0.2)
    async with proxy.running(), await RedisBus.connect(redis_url) as direct, await RedisBus.connect(proxy.url) as bus:
        await publish(direct, trades(300))
        observe = StopAfter(10**9)
        task = start(bus, CountingStage(), observe, batch=10)
        await wait_until_drained(direct)
        observe.stop.set()
        await task

        assert proxy.lost > 3
        assert await texts(direct) == expected_texts(CountingStage(), await direct.span("market", "-", "+"))


async def test_a_source_whose_replies_are_lost_writes_each_message_once(redis_url: str) -> None:
    chance = random.Random(11)
    proxy = LinkProxy(redis_url, lambda request: b"fleet_commit" in request[:80] and chance.random() < 0.3)
    async with proxy.running(), await RedisBus.connect(proxy.url) as bus, await RedisBus.connect(redis_url) as direct:
        source = Source(bus, "ingestion", "ingestion", "feed")
        await source.claim()
        for trade in trades(60):
            await source.commit([Output("market", trade)], config="c")

        entries = await direct.span("market", "-", "+")

        assert proxy.lost > 3
        assert len(entries) == len({entry.data for entry in entries}) == 60


async def test_a_call_that_was_cancelled_does_not_answer_the_next(redis_url: str) -> None:
    async with await RedisBus.connect(redis_url) as bus:
        await publish(bus, trades(3))
        for _ in range(20):
            waiting = asyncio.create_task(bus.read({"absent": FIRST}, count=1, block_ms=500))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait({waiting})

            assert (await bus.depth("market")).length == 3
            assert len((await bus.read({"market": FIRST}, count=2, block_ms=0))["market"]) == 2


async def test_a_server_killed_again_and_again_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    server = EmbeddedServer.start(tmp_path, 0)
    acknowledged = 0
    stopped = asyncio.Event()
    try:
        async with await RedisBus.connect(server.url) as bus:
            source = Source(bus, "ingestion", "ingestion", "feed")
            await source.claim()

            async def publish_on() -> None:
                nonlocal acknowledged
                while not stopped.is_set():
                    await source.commit([Output("market", trades(1, first=acknowledged + 1)[0])], config="c")
                    acknowledged += 1
                    await asyncio.sleep(0)

            publishing = asyncio.create_task(publish_on())
            observe = StopAfter(10**9)
            running = start(bus, CountingStage(), observe, batch=50)
            for _ in range(6):
                at = sum(observe.batches)
                await wait_until(lambda at=at: sum(observe.batches) > at + 50)  # type: ignore[misc]
                server.kill()
                server = EmbeddedServer.start(tmp_path, server.port)
            stopped.set()
            await publishing
            await wait_until_drained(bus)
            observe.stop.set()
            await running

            entries = await bus.span("market", "-", "+")
            assert len(entries) == len({entry.data for entry in entries}) == acknowledged
            assert await texts(bus) == expected_texts(CountingStage(), entries)
            assert "rolled_back" not in observe.told
    finally:
        server.stop()
