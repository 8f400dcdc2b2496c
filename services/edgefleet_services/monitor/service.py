"""The monitor's process: the watcher beside an HTTP server. Owns no state that a restart would lose."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn

from edgefleet.errors import Misuse
from edgefleet_services.bootstrap import ServiceContext, service_context
from edgefleet_services.monitor.api import create_app
from edgefleet_services.monitor.markets import MarketWatch
from edgefleet_services.monitor.stress import StressWatch
from edgefleet_services.monitor.watch import Watcher
from edgefleet_services.options import ServiceOptions

ALIVE_WITHIN_MS = 10_000
DATE_EVERY_S = 1.0


async def serve(options: ServiceOptions) -> None:
    """Watch and answer until told to stop."""
    listening = _listen(options.host, options.port)
    with listening:
        async with service_context("monitor", options, telemetry=False) as context:
            await _run(context, options, listening)


async def _run(context: ServiceContext, options: ServiceOptions, listening: socket.socket) -> None:
    watcher = Watcher(
        context.bus,
        context.metrics,
        context.clock,
        context.log,
        venue_urls=[venue.url for venue in options.traded if venue.url is not None],
    )
    stress = StressWatch(context.metrics, context.log, lambda: context.configs.current)

    def on_turn() -> None:
        context.health.beat("watcher", within_ms=ALIVE_WITHIN_MS)
        stress.take(watcher.statements)

    watcher.on_turn = on_turn
    venues = context.configs.current.venues.venues
    fees = {name: venue.taker_fee for name, venue in venues.items()}
    markets = MarketWatch(context.metrics, context.log, fees)
    watcher.on_message = markets.take
    app = create_app(
        watcher,
        markets,
        stress,
        context.bus,
        health=context.health,
        metrics=context.metrics,
        clock=context.clock,
        stop=context.stop,
    )
    server = Server(
        # No WebSocket is served, and the implementation found by itself would be loaded.
        uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=2, lifespan="off", ws="none")
    )
    watching = asyncio.create_task(watcher.run(context.stop))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    await asyncio.wait({watching, serving, asyncio.create_task(context.stop.wait())}, return_when="FIRST_COMPLETED")
    context.stop.set()
    server.end()
    await asyncio.gather(watching, serving)


class Server(uvicorn.Server):
    """A server that leaves the process's signals to the service around it, and is told when to end."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ended = asyncio.Event()

    def end(self) -> None:
        """Let it finish what it answers and take no more."""
        self.should_exit = True
        self._ended.set()

    async def main_loop(self) -> None:
        """Renew the date of its answers each second; uvicorn's own loop looks ten times as often whether to end."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), DATE_EVERY_S)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise Misuse(f"port {port} on {host} cannot be opened: {error.strerror}; choose another with --port") from error
    return listening
