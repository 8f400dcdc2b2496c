"""What every service needs around its work: logs, Redis, configuration, health, a way to be told to stop.

The composition root: here alone the library's parts are put together. Knows nothing of what a service does.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from edgefleet.bus.loop import run_stage
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.clock import SYSTEM, Clock
from edgefleet.params.reader import ConfigReader
from edgefleet.stage import S, Stage
from edgefleet.telemetry.health import Health
from edgefleet.telemetry.http import serve_telemetry
from edgefleet.telemetry.logs import Logger, configure
from edgefleet.telemetry.metrics import Metrics
from edgefleet.telemetry.observe import StageMetrics
from edgefleet_services.options import ServiceOptions


@dataclass(frozen=True, slots=True)
class ServiceContext:
    """What a service is given. It ends when `stop` is set."""

    name: str
    options: ServiceOptions
    bus: RedisBus
    configs: ConfigReader
    clock: Clock
    log: Logger
    metrics: Metrics
    health: Health
    stop: asyncio.Event


@asynccontextmanager
async def service_context(
    name: str, options: ServiceOptions, *, telemetry: bool = True, staged: bool = False
) -> AsyncIterator[ServiceContext]:
    """Give a service its surroundings and take them down in order.

    `telemetry=False` is for services that answer `/health` and `/metrics` from a server of their own; `staged=True` for
    those whose stage loop swaps the configuration between two commits.

    Raises
    ------
    OutOfReach
        If Redis does not answer or no configuration appears.
    Misuse
        If the port is in use or Redis refuses us.
    """
    log = configure(name, level=options.log_level, session=options.session or None, instance=options.instance)
    metrics, health = Metrics(), Health(name)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        if telemetry:
            server = serve_telemetry(health, metrics.registry, host=options.host, port=options.port)
            stack.callback(server.close)
        bus = await RedisBus.connect(options.redis_url)
        stack.push_async_callback(bus.close)
        configs = ConfigReader(
            bus, service=name, instance=options.instance, metrics=metrics, log=log, automatic=not staged
        )
        await configs.start()
        stack.push_async_callback(configs.close)
        yield ServiceContext(name, options, bus, configs, SYSTEM, log, metrics, health, stop)


async def serve_stage(stage: Stage[S], options: ServiceOptions) -> None:
    """Run one stage as a service of its own until it is told to stop."""
    async with service_context(stage.service, options, staged=True) as context:
        observe = StageMetrics(stage.service, context.metrics, context.health, context.log)
        await run_stage(context.bus, stage, context.configs, clock=context.clock, stop=context.stop, observe=observe)
