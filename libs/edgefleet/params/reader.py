"""A service's view of the configuration: a whole valid object, at most five seconds old. Writes no parameter.

The hint on `param.changed` is only a wake-up: the reader also looks at start, after each (re)subscription and every
`poll_s`. What cannot be read or validated leaves the object in force, raises a counter and is logged once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from edgefleet.clock import SYSTEM, Clock
from edgefleet.errors import Broken, OutOfReach
from edgefleet.params.faults import InvalidConfig
from edgefleet.params.schema import FleetConfig
from edgefleet.params.store import CHANGED, ParamStore, checked_body
from edgefleet.params.versions import Applied, Current, validate
from edgefleet.telemetry.logs import Logger
from edgefleet.telemetry.metrics import Metrics

RETRY_S = 0.2
FIRST_LOOK_S = 0.02
CANCEL_AGAIN_S = 0.05


class Server(Protocol):
    """What the reader needs of a bus."""

    @property
    def redis(self) -> Redis:
        """Return a client without retries that does not decode responses."""
        ...


class ConfigReader:
    """The configuration in force in one instance of a service, and the newer one that waits to be swapped in.

    A stage's loop calls `swap` between two commits. A service without a stage passes `automatic=True`: what is newer is
    then in force at once.
    """

    def __init__(
        self,
        server: Server,
        *,
        service: str,
        instance: str,
        log: Logger,
        metrics: Metrics,
        clock: Clock = SYSTEM,
        poll_s: float = 5.0,
        automatic: bool = False,
    ) -> None:
        self._client = server.redis
        self._store = ParamStore(server.redis)
        self._service, self._instance = service, instance
        self._log, self._metrics, self._clock = log, metrics, clock
        self._poll_s, self._automatic = poll_s, automatic
        self._current: FleetConfig | None = None
        self._in_force: Current | None = None
        self._applied_ts = 0
        self._newest: Current | None = None
        self._refused: Current | None = None
        self._refusal: str | None = None
        self._waiting: tuple[FleetConfig, Current] | None = None
        self._told: Applied | None = None
        self._confirm_now = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.changed = asyncio.Event()

    @property
    def current(self) -> FleetConfig:
        """Return the configuration in force.

        Raises
        ------
        Broken
            If the reader was not started.
        """
        if self._current is None:
            raise Broken("the configuration was asked for before it was read")
        return self._current

    @property
    def pending(self) -> FleetConfig | None:
        """Return the newer configuration that waits for `swap`, None where there is none."""
        return None if self._waiting is None else self._waiting[0]

    @property
    def versions(self) -> dict[str, int]:
        """Return the version of each component in force."""
        return {} if self._in_force is None else dict(self._in_force.versions)

    async def start(self, *, deadline_s: float = 15.0) -> FleetConfig:
        """Return the first configuration, waiting for one to be there, and follow it from then on.

        Raises
        ------
        OutOfReach
            If Redis does not answer or holds no valid configuration for `deadline_s`.
        """
        last = "it holds none yet; is the params service running?"
        try:
            async with asyncio.timeout(deadline_s):
                while self._waiting is None:
                    try:
                        await self._look()
                    except (RedisError, OSError) as error:
                        last = f"Redis does not answer: {error}"
                    if self._waiting is None:
                        await asyncio.sleep(FIRST_LOOK_S)
        except TimeoutError:
            raise OutOfReach(f"no configuration from Redis within {deadline_s:g} s: {self._refusal or last}") from None
        config = self.swap()
        await self._confirm()
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._keep_lease())]
        return config

    def swap(self) -> FleetConfig:
        """Put the pending configuration in force and return it; without one, return the one in force."""
        if self._waiting is not None:
            self._current, self._in_force = self._waiting
            self._waiting = None
            self._applied_ts = self._clock.wall_ns()
            self._gauge()
            self._log.info("config_applied", config=self._in_force.hash, n=self._in_force.n)
        self.changed.clear()
        self._confirm_now.set()
        return self.current

    async def by_hash(self, config_hash: str) -> FleetConfig:
        """Return the configuration behind a hash, for a re-run.

        Raises
        ------
        Broken
            If Redis no longer has it, or it is not valid.
        """
        if self._current is not None and self._current.hash == config_hash:
            return self._current
        return await stored_config(self._store, config_hash)

    async def close(self) -> None:
        """Stop following and give the lease back."""
        await end_tasks(self._tasks)
        self._tasks = []
        with contextlib.suppress(RedisError, OSError):
            await self._store.retire(self._service, self._instance)

    async def __aenter__(self) -> ConfigReader:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _follow(self) -> None:
        """Look whenever a hint comes, after each subscription, and every `poll_s`."""
        while True:
            try:
                async with self._client.pubsub() as hints:
                    await hints.subscribe(CHANGED)
                    while True:
                        await self._look()
                        await hints.get_message(ignore_subscribe_messages=False, timeout=self._poll_s)
            except (RedisError, OSError) as error:
                self._log.warning("config_unreachable", error=str(error))
                await asyncio.sleep(RETRY_S)

    async def _look(self) -> None:
        try:
            found = await self._store.current()
            if found is None or found == self._newest or found == self._refused:
                return
            self._take(found)
        except (Broken, InvalidConfig) as error:
            self._refuse(str(error))

    def _take(self, found: Current) -> None:
        if self._in_force is not None and (found.hash, found.body) == (self._in_force.hash, self._in_force.body):
            self._newest = self._in_force = found  # only numbers moved: the object in force is already the right one
            self._waiting = None
            self.changed.clear()
            self._gauge()
            self._confirm_now.set()
            return
        self._refused = found  # until the next line has proved otherwise, this one is not looked at again
        config = _validated(found.body, found.hash)
        self._refused, self._newest, self._waiting = None, found, (config, found)
        if self._automatic and self._current is not None:
            self.swap()
        else:
            self.changed.set()

    def _refuse(self, reason: str) -> None:
        if self._refusal == reason:
            return
        self._refusal = reason
        self._metrics.param_rejects.labels(component="config").inc()
        self._log.error("config_refused", reason=reason, kept=None if self._current is None else self._current.hash)

    def _gauge(self) -> None:
        for component, version in self.versions.items():
            self._metrics.param_version.labels(component=component, service=self._service).set(version)

    async def _keep_lease(self) -> None:
        """Say what is in force at each swap, and again three times in the life of a lease."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._confirm_now.wait(), self._lease_ms / 3_000)
            self._confirm_now.clear()
            try:
                await self._confirm()
            except (RedisError, OSError):
                await asyncio.sleep(RETRY_S)
                self._confirm_now.set()

    @property
    def _lease_ms(self) -> int:
        return self.current.fleet.take_over_ms

    async def _confirm(self) -> None:
        in_force, newest = self._in_force, self._newest
        if in_force is None or newest is None:
            return
        applied = Applied(
            service=self._service,
            instance=self._instance,
            hash=in_force.hash,
            n=in_force.n,
            seen=newest.n,
            versions=in_force.versions,
            ts=self._applied_ts,
        )
        is_news = applied != self._told
        await self._store.confirm(applied, lease_ms=self._lease_ms, is_news=is_news)
        self._told = applied


async def stored_config(store: ParamStore, config_hash: str) -> FleetConfig:
    """Return the configuration behind a hash, without being a reader that params counts on.

    Raises
    ------
    Broken
        If Redis no longer has it, or it is not valid.
    """
    body = await store.body(config_hash)
    if body is None:
        raise Broken(f"configuration {config_hash} is not in Redis; what was decided under it cannot be run again")
    return _validated(body, config_hash)


async def end_tasks(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for their end.

    A client may swallow a cancellation that meets its own time-out, so it is repeated until the tasks have ended.
    """
    while running := {task for task in tasks if not task.done()}:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=CANCEL_AGAIN_S)


def _validated(body: str, config_hash: str) -> FleetConfig:
    config = validate(checked_body(body, config_hash))
    if config.hash != config_hash:
        raise Broken(f"configuration {config_hash[:12]} reads as {config.hash[:12]} here; this is another version's")
    return config
