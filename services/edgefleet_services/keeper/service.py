"""The keeper as a process: follows Docker's events, starts what is due, says so. No rule of its own."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from edgefleet.clock import NS_PER_S, SYSTEM, Clock
from edgefleet.errors import Transient
from edgefleet.telemetry.health import Health
from edgefleet.telemetry.http import serve_telemetry
from edgefleet.telemetry.logs import Logger, configure
from edgefleet.telemetry.metrics import Metrics
from edgefleet_services.options import ServiceOptions

from .decide import Keeper, why_left
from .engine import ANSWERS_WITHIN_S, Engine, Told

SOCKET = Path("/var/run/docker.sock")
TICK_S = 0.2
RECONNECT_AFTER_S = 1.0
STUCK_AFTER_MS = int(3_000 * ANSWERS_WITHIN_S)  # one container is two requests
# A keeper that was itself started again looks back this far for kills that it slept through.
LOOK_BACK_NS = 60 * NS_PER_S


class Watch:
    """One project under watch: a task that follows its events and one that starts what is due."""

    def __init__(self, engine: Engine, health: Health, log: Logger, *, hostname: str, clock: Clock = SYSTEM) -> None:
        self._engine = engine
        self._health = health
        self._log = log
        self._hostname = hostname
        self._clock = clock
        self._keeper = Keeper()
        self._names: dict[str, str] = {}
        self._last_error: str | None = None

    async def follow(self) -> None:
        """Follow the events for ever, over restarts of the engine.

        Raises
        ------
        Misuse
            If this process is no container of a Compose project.
        """
        since_ns: int | None = None
        self._health.report("engine", False, "not connected yet")
        while True:
            try:
                itself = await self._engine.itself(self._hostname)
                if since_ns is None:
                    since_ns = itself.started_ns - (LOOK_BACK_NS if itself.has_run_before else 0)
                async for told in self._engine.events(itself.project, since_ns):
                    if told is None:
                        self._last_error = None
                        self._health.report("engine", True, f"follows the events of project {itself.project}")
                        self._log.info("keeper_follows_events", project=itself.project)
                    else:
                        since_ns = told.time_ns + 1
                        self._take(told)
                raise Transient("the engine ended its events")
            except Transient as error:
                self._lost(str(error))
            await asyncio.sleep(RECONNECT_AFTER_S)

    def _lost(self, error: str) -> None:
        self._health.report("engine", False, error)
        if error != self._last_error:  # an engine that is away for an hour is one line, not thousands
            self._log.warning("engine_out_of_reach", error=error)
        self._last_error = error

    def _take(self, told: Told) -> None:
        event = told.event
        self._keeper.observe(event, self._clock.monotonic_ns())
        if event.action == "destroy":
            self._names.pop(event.container, None)
        else:
            self._names[event.container] = told.name

    async def heal(self) -> None:
        """Start what is due, for ever."""
        while True:
            self._health.beat("heals", within_ms=STUCK_AFTER_MS)
            for container in self._keeper.due(self._clock.monotonic_ns()):
                await self._heal(container)
                self._health.beat("heals", within_ms=STUCK_AFTER_MS)
            await asyncio.sleep(TICK_S)

    async def _heal(self, container: str) -> None:
        log = self._log.bind(container=self._names.get(container, container[:12]))
        try:
            facts = await self._engine.facts(container)
            reason = "it is gone" if facts is None else why_left(facts)
            if reason is None and not await self._engine.start(container):
                reason = "it runs, is gone or is being removed"
        except Transient as error:
            self._keeper.failed(container, self._clock.monotonic_ns())
            log.warning("killed_container_not_started", error=str(error))
            return
        if reason is None:
            log.warning("killed_container_started")
        else:
            log.info("killed_container_left", reason=reason)


async def serve(
    options: ServiceOptions,
    *,
    docker: Path = SOCKET,
    hostname: str | None = None,
    stop: asyncio.Event | None = None,
    clock: Clock = SYSTEM,
) -> None:
    """Run the keeper until `stop` is set or, where none is given, until SIGINT or SIGTERM.

    Without a socket at `docker` it starts nothing, says so and is well: that is how it is left out.

    Raises
    ------
    Misuse
        If this process is no container of a Compose project, or the port of its health is in use.
    """
    log = configure("keeper", level=options.log_level, instance=options.instance, clock=clock)
    health = Health("keeper")
    stopping = stop or asyncio.Event()
    if stop is None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    with serve_telemetry(health, Metrics().registry, host=options.host, port=options.port):
        if not docker.is_socket():
            health.report("engine", True, f"{docker} is no socket: killed containers stay down")
            log.warning("killed_containers_stay_down", reason=f"{docker} is no socket")
            await stopping.wait()
            return
        async with Engine(docker) as engine:
            watch = Watch(engine, health, log, hostname=hostname or socket.gethostname(), clock=clock)
            await _until_first((stopping.wait(), watch.follow(), watch.heal()))


async def _until_first(works: tuple[Coroutine[Any, Any, Any], ...]) -> None:
    """Run all until one ends, then end the others; raise what the one raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
