"""A stage killed at random moments leaves the streams of one that was never killed (fault matrix, row 1)."""

from __future__ import annotations

import asyncio
import multiprocessing
import random

import pytest
from tests.faults.stage_process import serve_counting_stage

from edgefleet.bus.interface import id_key
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.bus.rerun import journal_of
from edgefleet.bus.source import Source
from edgefleet.stage import Output
from edgefleet.testing import CountingStage
from edgefleet.testing.bus_contract import expected_texts, texts, trades, wait_until_drained

KILLS = 40


@pytest.mark.faults
@pytest.mark.integration
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_stage_killed_forty_times_under_load_repeats_and_loses_nothing(redis_url: str, seed: int) -> None:
    moments = random.Random(seed)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.faults.stage_process"])
    async with await RedisBus.connect(redis_url) as bus:
        loaded = asyncio.Event()
        load = asyncio.create_task(_load(bus, loaded))
        reached = []
        for _ in range(KILLS):
            process = processes.Process(target=serve_counting_stage, args=(redis_url,))
            epoch = (await bus.load("alpha", ())).epoch
            process.start()
            if moments.random() < 0.8:
                await wait_until_claimed(bus, epoch)
            # From before its first read until well into its work: the moment is what this test varies.
            await asyncio.sleep(moments.uniform(0, 0.15))
            process.kill()
            await asyncio.to_thread(process.join)
            reached.append(id_key((await bus.load("alpha", ["market"])).positions["market"]))
        loaded.set()
        await load
        epoch = (await bus.load("alpha", ())).epoch
        last = processes.Process(target=serve_counting_stage, args=(redis_url,))
        last.start()
        await wait_until_claimed(bus, epoch)
        await wait_until_drained(bus)
        last.terminate()
        await asyncio.to_thread(last.join)

        entries = await bus.span("market", "-", "+")
        journal = [journal_of(entry) for entry in await bus.span("journal.alpha", "-", "+")]

        assert last.exitcode == 0
        assert len(set(reached)) > KILLS // 4, "the kills did not fall into work"
        assert await texts(bus) == expected_texts(CountingStage(), entries)
        assert [commit.n for commit in journal] == list(range(1, len(journal) + 1))
        assert sum(commit.count for commit in journal) == len(entries)
        assert (await bus.depth("dead.alpha")).added == 0


async def wait_until_claimed(bus: RedisBus, after_epoch: int) -> None:
    async with asyncio.timeout(60):
        while (await bus.load("alpha", ())).epoch == after_epoch:  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.003)


async def _load(bus: RedisBus, until: asyncio.Event) -> None:
    """Publish some hundred trades a second until told to stop."""
    source = Source(bus, "ingestion", "ingestion", "feed")
    await source.claim()
    first = 1
    while not until.is_set():
        await source.commit([Output("market", trade) for trade in trades(5, first=first)], config="c")
        first += 5
        await asyncio.sleep(0.005)
