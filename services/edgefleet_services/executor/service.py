"""The executor's process: the order step and the gateway, side by side. No arithmetic and no decision of its own."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Sequence

import msgspec
from prometheus_client import Counter

from edgefleet.bus.interface import Clearance, EncodedOutput, Entry, Permit, Record
from edgefleet.bus.loop import run_stage
from edgefleet.clock import NS_PER_S
from edgefleet.errors import Misuse
from edgefleet.gateway.gateway import Gateway, Written
from edgefleet.gateway.lease import AccountLease
from edgefleet.instruments import canonical_symbol, instrument_id
from edgefleet.messages import OrderEvent, OrderState
from edgefleet.orders.stage import OrderStage
from edgefleet.params.schema import FleetConfig, VenueParams
from edgefleet.telemetry.health import Health
from edgefleet.telemetry.logs import Logger
from edgefleet.telemetry.metrics import Metrics
from edgefleet.telemetry.observe import StageMetrics
from edgefleet.venues.alpaca.rest import AlpacaVenue
from edgefleet.venues.binance.rest import BinanceVenue
from edgefleet_services.bootstrap import ServiceContext, service_context
from edgefleet_services.options import ServiceOptions, venue_keys

JOURNAL_NAME = "executor/intents.jsonl"
HALT_NAME = "HALT"
DRAIN_S = 3.0
_SWITCH_S = 0.0001  # the thread that syncs intents would wait 5 ms for the interpreter, which the loop seldom lets go
_ORDERS = msgspec.json.Decoder(OrderEvent)


async def serve(options: ServiceOptions) -> None:
    """Trade one account until told to stop, then cancel what is open and tell what is left.

    Raises
    ------
    OutOfReach
        If Redis or the venue does not answer, or another executor has the account.
    Misuse
        If the venue is not configured or its keys are missing.
    """
    sys.setswitchinterval(_SWITCH_S)
    async with service_context("executor", options, staged=True) as context:
        await _Executor(context).run()


class _Observer(StageMetrics):
    """Hands the stage's commands to the gateway as soon as their commit is answered."""

    def __init__(self, gateway: Gateway, metrics: Metrics, health: Health, log: Logger) -> None:
        super().__init__("executor", metrics, health, log)
        self._gateway = gateway
        self._orders = metrics.orders
        self._told: dict[bytes, Written] = {}  # of batches whose commit is under way
        self._counts: dict[tuple[str, OrderState], Counter] = {}  # by venue and state: a look-up of labels costs more

    def restored(self, record: Record, reran: int) -> None:
        self._told.clear()
        super().restored(record, reran)

    def about_to_commit(self, outputs: Sequence[EncodedOutput]) -> Permit | None:
        written = [_written(one) for one in outputs if one.stream == "orders"]
        self._told.update((one.data, one) for one in written)
        return self._gateway.prepare(written) if written else None

    def committed(
        self,
        stream: str,
        entries: Sequence[Entry],
        outputs: Sequence[EncodedOutput],
        step_ns: int,
        clearance: Clearance | None = None,
    ) -> None:
        written = [self._read(one) for one in outputs if one.stream == "orders"]
        if written:
            self._gateway.offer(written, clearance)
            for _, event in written:
                self._count(event)
        super().committed(stream, entries, outputs, step_ns)

    def _read(self, output: EncodedOutput) -> Written:
        known = self._told.pop(output.data, None)
        return _written(output) if known is None else known

    def _count(self, event: OrderEvent) -> None:
        key = event.instrument.rpartition("@")[2], event.state
        counter = self._counts.get(key)
        if counter is None:
            counter = self._counts[key] = self._orders.labels(venue=key[0], state=event.state.value)
        counter.inc()


def _written(output: EncodedOutput) -> Written:
    return Written(output.data, _ORDERS.decode(output.data))


class _Executor:
    def __init__(self, context: ServiceContext) -> None:
        options = context.options
        config = context.configs.current
        self._context = context
        self._venue = make_venue(options, config)
        self._lease = AccountLease(
            context.bus,
            config.fleet.account,
            f"{options.session or 'executor'}:{os.getpid()}:{secrets.token_hex(4)}",
            ttl_ms=config.fleet.take_over_ms,
            clock=context.clock,
        )
        self.gateway = Gateway(
            bus=context.bus,
            venue=self._venue,
            account=config.fleet.account,
            instruments=[instrument_id(symbol, options.venue) for symbol in options.symbols],
            lease=self._lease,
            journal_path=options.data_dir / JOURNAL_NAME,
            halt_file=options.data_dir / HALT_NAME,
            params=lambda: context.configs.current.execution,
            config_hash=lambda: context.configs.current.hash,
            clock=context.clock,
            log=context.log,
            on_sent=self._sent,
        )
        context.health.ask("gate", self._gate)

    async def run(self) -> None:
        """Run the stage and the gateway until told to stop, or until one of them ends."""
        context, gateway = self._context, self.gateway
        await self._venue.warm()
        await gateway.start()
        context.health.ask("disk", gateway.disk)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, gateway.halt, "SIGUSR1")
        observe = _Observer(gateway, context.metrics, context.health, context.log)
        stop_stage = asyncio.Event()
        stage = asyncio.create_task(
            run_stage(context.bus, OrderStage(), context.configs, clock=context.clock, stop=stop_stage, observe=observe)
        )
        trading = asyncio.create_task(gateway.run(context.stop))
        try:
            await asyncio.wait({stage, trading}, return_when=asyncio.FIRST_COMPLETED)
            if trading.done() and trading.exception() is None:
                await self._drain(stage)
        finally:
            stop_stage.set()
            if not trading.done():
                trading.cancel()
            await asyncio.gather(stage, trading, return_exceptions=True)
        for task in (stage, trading):
            if not task.cancelled():
                task.result()

    async def _drain(self, stage: asyncio.Task[None]) -> None:
        """Let the stage take in what the gateway said last."""
        bus = self._context.bus
        try:
            async with asyncio.timeout(DRAIN_S):
                while (await bus.lags()).get(("executor", "venue.events"), 0) > 0:
                    await asyncio.wait({stage}, timeout=0.02)
                    if stage.done():
                        return
        except TimeoutError:
            self._context.log.warning("events_not_drained", limit_s=DRAIN_S)

    def _sent(self, event: OrderEvent, sent_at: int) -> None:
        self._context.metrics.tick_to_order.observe(max(sent_at - event.ts_init, 0) / NS_PER_S)

    def _gate(self) -> tuple[bool, str]:
        """Say whether the start gate is open. A halt is somebody's will and no illness: a halted fleet starts."""
        gates = self.gateway.gates
        return gates.ready, f"HALTED: {gates.halted}" if gates.halted else gates.not_ready_reason or "open"


def make_venue(options: ServiceOptions, config: FleetConfig) -> BinanceVenue | AlpacaVenue:
    """Return the adapter of the venue that `options` names; a window it has is shorter than half the lease."""
    params = config.venues.venues.get(options.venue)
    if params is None:
        raise Misuse(f"venue {options.venue!r} is not in {options.conf_dir}/venues; add it there")
    rest_url, stream_url = _addresses(options, params)
    # An address of its own means the simulated venue, be it under a real one's name, as in paper trading.
    is_simulated = options.venue == "sim" or options.venue_url is not None
    key, secret = venue_keys(simulated=is_simulated)
    symbols = tuple(canonical_symbol(symbol) for symbol in options.symbols)
    if params.dialect == "alpaca":
        return AlpacaVenue(
            name=options.venue,
            rest_url=rest_url,
            stream_url=stream_url,
            key=key,
            secret=secret,
            symbols=symbols,
            timeout_ms=config.execution.request_timeout_ms,
        )
    return BinanceVenue(
        name=options.venue,
        rest_url=rest_url,
        stream_url=stream_url,
        key=key,
        secret=secret,
        symbols=symbols,
        recv_window_ms=min(params.recv_window_ms, max(config.fleet.take_over_ms // 2 - 1, 1)),
        timeout_ms=config.execution.request_timeout_ms,
    )


def _addresses(options: ServiceOptions, params: VenueParams) -> tuple[str, str]:
    if options.venue_url is None:
        return params.rest_url, params.stream_url
    return options.venue_url, options.venue_url.replace("http", "ws", 1)
