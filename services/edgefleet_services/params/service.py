"""The params service: files, requests, flags and `mode` in; versions, refusals and the trading latch out.

Knows when to change the configuration; what a change is stands in `edgefleet.params.writer`.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Mapping
from pathlib import Path

from redis.exceptions import RedisError

from edgefleet.bus.redis_bus import RedisBus
from edgefleet.clock import SYSTEM, Clock
from edgefleet.errors import Misuse, Transient
from edgefleet.params.faults import InvalidConfig
from edgefleet.params.reader import end_tasks
from edgefleet.params.requests import RELOAD, ReloadAnswer, ReloadRequest, parse_request
from edgefleet.params.schema import FleetConfig, canonical_component
from edgefleet.params.store import APPLIED, CHANGED, ParamStore
from edgefleet.params.versions import FLAGS
from edgefleet.params.writer import Outcome, ParamWriter
from edgefleet.telemetry.health import Health
from edgefleet.telemetry.http import serve_telemetry
from edgefleet.telemetry.logs import Logger, configure
from edgefleet.telemetry.metrics import Metrics
from edgefleet_services.opening import is_supervised, open_first_session, owned
from edgefleet_services.options import ServiceOptions

POLL_S = 1.0
RETRY_S = 0.2
HEALTHY_WITHIN_MS = 5_000

MODES: dict[str, str | None] = {"auto": None, "paper": None, "reduce": "REDUCING", "halt": "HALTED"}
TIGHTNESS = {"ACTIVE": 0, "REDUCING": 1, "HALTED": 2}
UNREACHABLE = (Transient, RedisError, OSError)


async def serve(options: ServiceOptions) -> None:
    """Run the params service until it is told to stop.

    Raises
    ------
    InvalidConfig
        If `conf/` is wrong and Redis holds no configuration to go on with.
    OutOfReach
        If Redis does not answer at the start.
    """
    log = configure("params", level=options.log_level, session=options.session or None, instance=options.instance)
    metrics, health = Metrics(), Health("params")
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    with serve_telemetry(health, metrics.registry, host=options.host, port=options.port):
        async with await RedisBus.connect(options.redis_url) as bus:
            service = ParamsService(bus, options.conf_dir, log=log, metrics=metrics, health=health)
            async with contextlib.nullcontext() if is_supervised() else owned(bus, "params"):
                await service.start()
                if not is_supervised():
                    await open_first_session(bus, options, account=await service.account())
                await service.run(stop)


class ParamsService:
    """The single writer's loops over one Redis and one configuration directory."""

    def __init__(
        self,
        bus: RedisBus,
        conf_dir: Path,
        *,
        log: Logger,
        metrics: Metrics,
        health: Health,
        clock: Clock = SYSTEM,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._bus, self._conf_dir = bus, conf_dir
        self._log, self._metrics, self._health, self._clock = log, metrics, health, clock
        self._store = ParamStore(bus.redis)
        self._writer = ParamWriter(self._store, clock=clock, environ=environ)
        self._refused_flags: dict[str, str] = {}
        self._refused_mode: str | None = None
        self._unanswered: bytes | None = None

    async def start(self) -> None:
        """Put the files in force. Wrong files leave what Redis holds, and are told; without it they are an error."""
        try:
            outcome = await self._writer.start(self._conf_dir)
        except InvalidConfig as error:
            if await self._store.is_empty():
                raise
            await self._reject("configuration", str(self._conf_dir), error, body="", author="conf")
            return
        self._tell("params_started", outcome)

    async def account(self) -> str:
        """Return the account that the configuration in force names.

        Raises
        ------
        Misuse
            If nothing is in force: `start` comes first.
        """
        current = await self._store.current()
        if current is None:
            raise Misuse("no configuration is in force")
        return FleetConfig.model_validate_json(current.body).fleet.account

    async def run(self, stop: asyncio.Event) -> None:
        """Serve requests, confirmations, flags and `mode` until `stop` is set."""
        tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._poll())]
        stopped = asyncio.create_task(_wait(stop))
        try:
            done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_tasks([*tasks, stopped])
        for task in done:
            task.result()  # a loop ends by itself only with an error that nothing here can mend

    async def _listen(self) -> None:
        """Answer what comes on the channels; a lost connection is taken up again."""
        while True:
            try:
                async with self._bus.subscribe(RELOAD, APPLIED, CHANGED) as messages:
                    self._health.report("requests", True, f"listening on {RELOAD}")
                    await self._take_up()
                    async for channel, payload in messages:
                        if channel == RELOAD:
                            self._unanswered = payload
                            await self._take_up()
                        elif await self._store.waits():
                            await self._promote()
            except UNREACHABLE as error:
                self._health.report("requests", False, str(error))
                self._log.warning("requests_unreachable", error=str(error))
                await asyncio.sleep(RETRY_S)

    async def _take_up(self) -> None:
        """Do the request that came, or again the one that a lost connection cut off: twice gives no second version."""
        if self._unanswered is not None:
            await self.reload(self._unanswered)
            self._unanswered = None

    async def _poll(self) -> None:
        """Look each second at flags, `mode` and what waits; a Redis that was flushed gets the files again."""
        while True:
            try:
                if await self._store.is_empty():
                    await self.start()
                await self.follow_flags()
                await self.follow_mode()
                await self._promote()
                self._health.beat("poll", within_ms=HEALTHY_WITHIN_MS)
            except UNREACHABLE as error:
                self._log.warning("poll_unreachable", error=str(error))
            await asyncio.sleep(POLL_S)

    async def reload(self, payload: bytes) -> ReloadAnswer:
        """Do what a request asks and return the answer, which is also published."""
        request = ReloadRequest()
        try:
            request = parse_request(payload)
            outcome = await self._writer.reload(self._conf_dir, request)
        except Misuse as error:
            answer = await self._refused(request, payload, error)
        else:
            self._tell("params_reloaded", outcome, component=request.component or "all", author=request.author)
            versions = {version.component: version.version for version in outcome.history}
            answer = ReloadAnswer(id=request.id, ok=True, n=outcome.n, versions=versions, waiting=outcome.waiting)
        await self._store.answer(answer)
        return answer

    async def _refused(self, request: ReloadRequest, payload: bytes, error: Misuse) -> ReloadAnswer:
        source = request.config_path or request.component or RELOAD
        body = self._writer.text_of(self._conf_dir, request, payload)
        errors = await self._reject(request.component or "request", source, error, body=body, author=request.author)
        return ReloadAnswer(id=request.id, ok=False, errors=errors)

    async def follow_flags(self) -> None:
        """Make a version of what `feature:*` says; what is neither 1 nor 0 is refused once and changes nothing."""
        texts = await self._store.features()
        state = await self._store.read()
        in_force: dict[str, bool] = state.components[FLAGS].body if FLAGS in state.components else {}
        flags = dict(in_force) | {flag: text == "1" for flag, text in texts.items() if text in ("0", "1")}
        flags = {flag: on for flag, on in flags.items() if flag in texts}
        refused = {flag: text for flag, text in texts.items() if text not in ("0", "1")}
        for flag, text in refused.items():
            if self._refused_flags.get(flag) != text:
                error = Misuse(f"feature:{flag} must be 1 or 0, was {text!r}")
                await self._reject(FLAGS, f"feature:{flag}", error, body=text, author="feature keys")
        self._refused_flags = refused
        if flags != in_force:
            self._tell("flags_changed", await self._writer.flags(flags))

    async def follow_mode(self) -> None:
        """Tighten the trading latch where `mode` asks for it; nothing here ever loosens it."""
        mode = await self._store.mode()
        if mode is not None and mode not in MODES:
            if self._refused_mode != mode:
                error = Misuse(f"mode must be one of {', '.join(MODES)}, was {mode!r}")
                await self._reject("mode", "mode", error, body=mode, author="mode")
            self._refused_mode = mode
            return
        self._refused_mode = None
        demanded = None if mode is None else MODES[mode]
        if demanded is None:
            return
        latch = await self._bus.trading_state()
        if latch is not None and TIGHTNESS[latch.state] >= TIGHTNESS[demanded]:
            return
        now = self._clock.wall_ns()
        await self._bus.latch(demanded, reason=f"mode is {mode}", by="mode", person=False, ts=now)
        self._log.warning("mode_tightened", mode=mode, state=demanded)

    async def _promote(self) -> None:
        outcome = await self._writer.promote()
        if outcome is not None:
            self._tell("params_effective", outcome)

    async def _reject(self, component: str, source: str, error: Misuse, *, body: str, author: str) -> tuple[str, ...]:
        with contextlib.suppress(Misuse):
            component = canonical_component(component)
        rejected = await self._writer.reject(component, source, error, body=body, author=author)
        self._metrics.param_rejects.labels(component=component).inc()
        self._log.error("params_rejected", component=component, source=source, errors=rejected.errors, author=author)
        return rejected.errors

    def _tell(self, event: str, outcome: Outcome, **more: str) -> None:
        for version in outcome.history:
            gauge = self._metrics.param_version.labels(component=version.component, service="params")
            gauge.set(version.version)
        versions = {version.component: version.version for version in outcome.history}
        self._log.info(event, n=outcome.n, versions=versions, waiting=outcome.waiting, **more)


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()
