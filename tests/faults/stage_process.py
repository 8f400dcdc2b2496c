"""A process to be killed: the counting stage on a real bus. Knows nothing of who kills it."""

from __future__ import annotations

import asyncio
import signal

from edgefleet.bus.loop import run_stage
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.clock import SYSTEM
from edgefleet.params.schema import FleetConfig
from edgefleet.testing import CountingStage, FixedConfigs

CONFIG = FleetConfig.model_validate({"fleet": {"snapshot_every_ms": 40, "snapshot_every_inputs": 200}})


def serve_counting_stage(url: str) -> None:
    """Run the stage until SIGTERM."""
    asyncio.run(_serve(url))


async def _serve(url: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with await RedisBus.connect(url) as bus:
        await run_stage(bus, CountingStage(), FixedConfigs(CONFIG), clock=SYSTEM, stop=stop, batch=16, block_ms=100)
