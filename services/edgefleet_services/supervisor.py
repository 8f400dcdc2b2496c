"""The whole fleet as local processes: started in order, watched, restarted, stopped in order.

Knows processes, ports and health; nothing of trading. What a session came to is told by `edgefleet.replay.report`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec

from edgefleet.clock import NS_PER_S, SYSTEM, Clock, iso
from edgefleet.errors import Broken, Misuse, OutOfReach
from edgefleet_services.markets import FleetVenue
from edgefleet_services.options import SERVICES, Mode, service_port

START_DEADLINE_S = 60.0
BESIDE_DEADLINE_S = 5.0  # so long a start, the fleet trading already, waits for who is not needed
STOP_DEADLINE_S = 20.0
MAX_BACK_OFF_S = 10.0
MAX_PORT = 65_535
MAX_ERRORS_IN_A_ROW = 8  # a service that ends by itself so often cannot be helped by one more start
HEALTHY_AFTER_S = 30.0  # a service that ran this long starts its back-off anew

# The executor asks the venue for its account; ingestion starts the tape, so it comes when all others are ready.
_WAVES = (("params", "venue", "ledger", "risk", "router", "alpha", "monitor"), ("executor",), ("ingestion",))
# Nothing waits for these: the fleet trades without them, however they end.
_BESIDE = frozenset({"features"})
# Writers before those who write down: the ledger archives what all the others said on their way out.
_STOP_ORDER = ("ingestion", "alpha", "router", "risk", "executor", "features", "monitor", "params", "ledger", "venue")

# On the console: the line's own columns, and what is the same on every line of a session.
_SAID_ELSEWHERE = frozenset({"ts", "level", "service", "event", "session", "instance"})
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOptions:
    """What `edgefleet up` was asked for, resolved."""

    mode: Mode
    venues: tuple[FleetVenue, ...]
    conf_dir: Path
    data_dir: Path
    redis_url: str
    port: int
    session: str
    account: str
    quote: str = "USDT"  # what several accounts are worth together is told in it
    log_level: str = "info"
    keeps_features: bool = False  # whether the service `features` is one of it

    @property
    def instruments(self) -> tuple[str, ...]:
        """Return everything that is traded, as SYMBOL@venue."""
        return tuple(instrument for venue in self.venues for instrument in venue.instruments)

    @property
    def simulations(self) -> dict[str, FleetVenue]:
        """Return, by the name of its process, each venue that is one of this fleet's."""
        ours = [venue for venue in self.venues if venue.arguments is not None]
        return {"venue" if len(ours) == 1 else f"venue.{venue.name}": venue for venue in ours}

    def port_of(self, service: str) -> int:
        """Return the port of one service of this fleet."""
        name, _, _ = service.partition(".")
        number = [*self.simulations].index(service) if service in self.simulations else 0
        return service_port(name, self.port, number)

    @property
    def plays_tape(self) -> bool:
        """Return whether a simulated venue plays a recording."""
        return any(venue.plays_tape for venue in self.venues)


class MergedLog:
    """Every service's events in one JSON-lines file, and those that matter on the console."""

    def __init__(self, path: Path, *, console_level: str, console: Callable[[str], None]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._threshold = _LEVELS[console_level]
        self._console = console
        self.path = path

    def take(self, service: str, line: bytes) -> None:
        """Write one line that a service said. A line that is not an event becomes one, at level error."""
        event = _event_of(service, line)
        self._file.write(msgspec.json.encode(event) + b"\n")
        if _LEVELS.get(str(event.get("level")), 40) >= self._threshold:
            self._console(_for_people(event))

    def say(self, event: str, *, level: str = "info", **fields: object) -> None:
        """Write an event of the supervisor's own."""
        body = {"ts": iso(SYSTEM.wall_ns()), "level": level, "service": "supervisor", "event": event, **fields}
        self.take("supervisor", msgspec.json.encode(body))

    def close(self) -> None:
        self._file.close()


def _event_of(service: str, line: bytes) -> dict[str, Any]:
    try:
        event = msgspec.json.decode(line)
    except msgspec.DecodeError:
        event = None
    if isinstance(event, dict) and "event" in event:
        event.setdefault("service", service)
        event.setdefault("level", "info")
        return event
    text = line.decode(errors="replace")
    return {"ts": iso(SYSTEM.wall_ns()), "level": "error", "service": service, "event": "stderr", "text": text}


def _for_people(event: dict[str, Any]) -> str:
    clock = str(event.get("ts", ""))[11:23]
    rest = {key: value for key, value in event.items() if key not in _SAID_ELSEWHERE}
    detail = " ".join(f"{key}={value}" for key, value in rest.items() if value not in (None, ""))
    return f"{clock} {event['level']:<8} {event['service']:<10} {event['event']} {detail}".rstrip()


@dataclass(slots=True)
class Child:
    """One service's process and how often it had to be started again."""

    name: str
    process: asyncio.subprocess.Process | None = None
    restarts: int = 0
    failures_in_a_row: int = 0
    errors_in_a_row: int = 0  # failures that were its own, not a signal's
    started_ns: int = 0
    last_words: str = ""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class Supervisor:
    """Starts, watches and stops the services of one fleet."""

    def __init__(self, options: FleetOptions, log: MergedLog, clock: Clock = SYSTEM) -> None:
        self.options = options
        self.log = log
        self.clock = clock
        self.failed = asyncio.Event()  # a service cannot be started again by trying
        self.failure = ""
        self.failure_code = 1
        self._ending: set[str] = set()
        self._children: dict[str, Child] = {}

    @property
    def restarts(self) -> dict[str, int]:
        """Return how often each service was started again."""
        return {name: child.restarts for name, child in self._children.items()}

    def pid(self, name: str) -> int | None:
        """Return a service's process id, None where it is not running."""
        child = self._children.get(name)
        return child.process.pid if child and child.process and child.process.returncode is None else None

    async def start(self) -> None:
        """Start every service; return when all are healthy.

        Raises
        ------
        Misuse, OutOfReach, Broken
            If one ends or does not become healthy in time: with its own last words.
        """
        for wave in _WAVES:
            wanted = [name for one in wave for name in self._processes(one)]
            for name in wanted:
                await self._spawn(name)
            await self._until_healthy(wanted)
        if self.options.keeps_features:
            await self._start_beside("features")

    async def _start_beside(self, name: str) -> None:
        """Start a service that nothing needs: one that does not come up is told and is no failure of the fleet's."""
        await self._spawn(name)
        deadline = self.clock.monotonic_ns() + int(BESIDE_DEADLINE_S * NS_PER_S)
        while await self.health(name) is None:
            if self.clock.monotonic_ns() > deadline:
                self.log.say("service_late", level="warning", name=name, after_s=BESIDE_DEADLINE_S)
                return
            await asyncio.sleep(0.05)

    async def stop(self, names: Iterable[str] = _STOP_ORDER) -> None:
        """Stop services in the order given; one that does not go in time is killed, and that is said."""
        processes = [name for one in names for name in self._processes(one)]
        wanted = [child for name in processes if (child := self._children.get(name)) is not None]
        self._ending.update(child.name for child in wanted)
        for child in wanted:
            await self._end(child)

    def _processes(self, service: str) -> list[str]:
        """Return the processes of a service: one, but of `venue` one for each that is simulated."""
        return [*self.options.simulations] if service == "venue" else [service]

    async def health(self, name: str) -> dict[str, Any] | None:
        """Return a service's own word on its health, None where it does not answer."""
        try:
            async with httpx.AsyncClient(timeout=2.0) as client:
                answer = await client.get(f"http://127.0.0.1:{self.options.port_of(name)}/health")
        except httpx.HTTPError:
            return None
        body = answer.json()
        return body if isinstance(body, dict) and answer.status_code == 200 else None

    def command(self, name: str) -> list[str]:
        """Return what a service is started by."""
        options = self.options
        simulation = options.simulations.get(name)
        venues = options.venues if simulation is None else (simulation,)
        instruments = [instrument for venue in venues for instrument in venue.instruments]
        command = [sys.executable, "-m", "edgefleet_services.cli.main", "service", name.partition(".")[0]]
        command += ["--redis-url", options.redis_url, "--conf", str(options.conf_dir)]
        command += ["--data-dir", str(options.data_dir), "--port", str(options.port_of(name)), "--mode", options.mode]
        command += ["--venue", ",".join(venue.name for venue in venues), "--symbols", ",".join(instruments)]
        command += ["--session", options.session, "--log-level", options.log_level]
        if any(venue.url for venue in venues):
            command += ["--venue-url", ",".join(venue.url or "" for venue in venues)]
        if simulation is not None:
            command += simulation.arguments or ()
        if name == "features" and options.plays_tape:
            command += ["--market", "tape"]
        return command

    async def _spawn(self, name: str) -> None:
        child = self._children.setdefault(name, Child(name))
        process = await asyncio.create_subprocess_exec(
            *self.command(name),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "EDGEFLEET_PARENT": str(os.getpid())},
            limit=1 << 20,
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which then stops them in order
        )
        child.process = process
        child.started_ns = self.clock.monotonic_ns()
        child.tasks = [
            asyncio.create_task(self._listen(child, process)),
            asyncio.create_task(self._watch(child, process)),
        ]
        self.log.say("service_started", level="debug", name=name, pid=process.pid)

    async def _listen(self, child: Child, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        async for line in _lines(process.stderr):
            child.last_words = line.decode(errors="replace")
            self.log.take(child.name, line)

    async def _watch(self, child: Child, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        if child.name in self._ending:
            return
        await child.tasks[0]
        if code in (2, 3) and child.restarts == 0 and not child.failures_in_a_row:
            self._give_up(child, code)
            return
        ran_s = (self.clock.monotonic_ns() - child.started_ns) / NS_PER_S
        if ran_s > HEALTHY_AFTER_S:
            child.failures_in_a_row = child.errors_in_a_row = 0
        child.failures_in_a_row += 1
        child.errors_in_a_row = child.errors_in_a_row + 1 if code > 0 else 0
        if child.errors_in_a_row >= MAX_ERRORS_IN_A_ROW:
            self._give_up(child, code)
            return
        delay = min(MAX_BACK_OFF_S, 0.1 * 2 ** (child.failures_in_a_row - 1))
        child.restarts += 1
        self.log.say(
            "service_restarted", level="warning", name=child.name, code=code, delay_s=delay, count=child.restarts
        )
        await asyncio.sleep(delay)
        if child.name not in self._ending:
            await self._spawn(child.name)

    def _give_up(self, child: Child, code: int) -> None:
        if child.name in _BESIDE:
            reason = _last_reason(child.last_words) or f"it ended with code {code}"
            self.log.say("service_given_up", level="error", name=child.name, reason=reason)
            return
        self.failure = _last_reason(child.last_words) or f"{child.name} ended with code {code}"
        self.failure_code = code
        self.failed.set()

    async def _until_healthy(self, names: list[str]) -> None:
        waiting = set(names)
        deadline = self.clock.monotonic_ns() + int(START_DEADLINE_S * NS_PER_S)
        while waiting:
            if self.failed.is_set():
                raise {2: Misuse, 3: OutOfReach}.get(self.failure_code, Broken)(self.failure)
            for name in sorted(waiting):
                if await self.health(name) is not None:
                    waiting.discard(name)
            if self.clock.monotonic_ns() > deadline:
                late = sorted(waiting)
                words = "; ".join(f"{name}: {self._children[name].last_words[:200] or 'said nothing'}" for name in late)
                raise Broken(f"not healthy after {START_DEADLINE_S:.0f} s: {words}; see {self.log.path}")
            if waiting:
                await asyncio.sleep(0.05)

    async def _end(self, child: Child) -> None:
        process = child.process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), STOP_DEADLINE_S)
            except TimeoutError:
                self.log.say("service_killed", level="error", name=child.name, after_s=STOP_DEADLINE_S)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        for task in child.tasks:
            if task is not asyncio.current_task():
                with contextlib.suppress(asyncio.CancelledError):
                    await task


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        try:
            line = await stream.readline()
        except ValueError:  # longer than the limit: the reader has dropped it, the next one is whole again
            continue
        if not line:
            return
        if line.strip():
            yield line.rstrip(b"\n")


def _last_reason(words: str) -> str:
    try:
        event = msgspec.json.decode(words.encode())
    except msgspec.DecodeError:
        return words.removeprefix("edgefleet: ")
    return str(event.get("error") or event.get("reason") or event.get("event")) if isinstance(event, dict) else words


def free_port_block(first: int = 8001, *, step: int = 10, tries: int = 50, venues: int = 1) -> int:
    """Return the first monitor port from `first` on whose whole block of ports is free.

    Raises
    ------
    OutOfReach
        If no block is free.
    """
    for port in range(first, first + step * tries, step):
        if all(port_is_free(of_it) for of_it, _ in _block(port, SERVICES, venues)):
            return port
    raise OutOfReach(f"no free block of ports from {first} on; stop another fleet or name one with --port")


def require_ports(port: int, names: tuple[str, ...] = SERVICES, *, venues: int = 1) -> None:
    """Refuse a monitor port whose block is not free.

    Raises
    ------
    Misuse
        Naming the first port in use.
    """
    block = _block(port, names, venues)
    if not 0 < port <= max(of_it for of_it, _ in block) <= MAX_PORT:
        raise Misuse(f"--port {port} leaves no room: the services' ports follow it and none is above {MAX_PORT}")
    for of_it, name in block:
        if not port_is_free(of_it):
            taken = f"port {of_it} ({name}) is in use"
            raise Misuse(f"{taken}; stop what listens there, or move the fleet with --port")


def _block(port: int, names: Iterable[str], venues: int) -> list[tuple[int, str]]:
    """Return each port of a fleet with its service; the venues' follow each other."""
    counts = {name: venues if name == "venue" else 1 for name in names}
    return [(service_port(name, port, number), name) for name, count in counts.items() for number in range(count)]


def port_is_free(port: int) -> bool:
    """Return whether a server could listen on a loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
