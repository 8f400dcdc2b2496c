"""The executor's process: the order step, and a gateway for each venue. No arithmetic and no decision of its own."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from prometheus_client import Counter

from edgefleet.book.sessions import Calendar, calendar_for
from edgefleet.bus.interface import Clearance, EncodedOutput, Entry, Permit, Record
from edgefleet.bus.loop import run_stage
from edgefleet.clock import NS_PER_S
from edgefleet.errors import Misuse
from edgefleet.gateway.gateway import Gateway, Written
from edgefleet.gateway.hold import FeedHold
from edgefleet.gateway.lease import AccountLease
from edgefleet.instruments import canonical_symbol, split_id
from edgefleet.messages import OrderEvent, OrderState
from edgefleet.orders.stage import OrderStage
from edgefleet.params.schema import ExecutionParams, FleetConfig, VenueParams
from edgefleet.telemetry.health import Health
from edgefleet.telemetry.logs import Logger
from edgefleet.telemetry.metrics import Metrics
from edgefleet.telemetry.observe import StageMetrics
from edgefleet.venues.alpaca.rest import AlpacaVenue
from edgefleet.venues.binance.rest import BinanceVenue
from edgefleet_services.bootstrap import ServiceContext, service_context
from edgefleet_services.options import ServiceOptions, TradedVenue, simulated_keys, venue_keys

JOURNALS = "executor"  # a journal of intents for each venue
OLD_JOURNAL = "intents.jsonl"  # one for whichever venue there was
HALT_NAME = "HALT"
DRAIN_S = 3.0
_SWITCH_S = 0.0001  # the thread that syncs intents would wait 5 ms for the interpreter, which the loop seldom lets go
_ORDERS = msgspec.json.Decoder(OrderEvent)


async def serve(options: ServiceOptions) -> None:
    """Trade the fleet's account at each venue until told to stop, then cancel what is open and tell what is left.

    Raises
    ------
    OutOfReach
        If Redis or a venue does not answer, or another executor has an account.
    Misuse
        If a venue is not configured or its keys are missing.
    """
    sys.setswitchinterval(_SWITCH_S)
    async with service_context("executor", options, staged=True) as context:
        await _Executor(context).run()


class Gateways:
    """The gateway of each venue; a venue that has none is the first one's to refuse."""

    def __init__(self, gateways: Mapping[str, Gateway]) -> None:
        self._by_venue = gateways
        self._first = next(iter(gateways.values()))
        self.all = tuple(gateways.values())

    def prepare(self, commands: Sequence[Written]) -> Permit | None:
        """Begin to write the intents of new orders; return what their commit asks.

        A commit asks for one account. Where new orders are of several, each asks by itself when it is carried out.
        """
        permits = [permit for of, mine in self._shared(commands) if (permit := of.prepare(mine)) is not None]
        return permits[0] if len(permits) == 1 else None

    def offer(self, commands: Sequence[Written], clearance: Clearance | None) -> None:
        """Carry out commands whose commit was just answered with OK."""
        for gateway, mine in self._shared(commands):
            gateway.offer(mine, clearance)

    def _shared(self, commands: Sequence[Written]) -> Iterable[tuple[Gateway, Sequence[Written]]]:
        if len(self.all) == 1:
            return ((self._first, commands),)
        shares: dict[Gateway, list[Written]] = {}
        for command in commands:
            _, venue = split_id(command.event.instrument)
            shares.setdefault(self._by_venue.get(venue, self._first), []).append(command)
        return shares.items()


class _Observer(StageMetrics):
    """Hands the stage's commands to the gateways as soon as their commit is answered."""

    def __init__(self, gateways: Gateways, metrics: Metrics, health: Health, log: Logger) -> None:
        super().__init__("executor", metrics, health, log)
        self._gateways = gateways
        self._orders = metrics.orders
        self._told: dict[bytes, Written] = {}  # of batches whose commit is under way
        self._counts: dict[tuple[str, OrderState], Counter] = {}  # by venue and state: a look-up of labels costs more

    def restored(self, record: Record, reran: int) -> None:
        self._told.clear()
        super().restored(record, reran)

    def about_to_commit(self, outputs: Sequence[EncodedOutput]) -> Permit | None:
        written = [_written(one) for one in outputs if one.stream == "orders"]
        self._told.update((one.data, one) for one in written)
        return self._gateways.prepare(written) if written else None

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
            self._gateways.offer(written, clearance)
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
        self._context = context
        self._token = f"{context.options.session or 'executor'}:{os.getpid()}:{secrets.token_hex(4)}"
        self._feeds = FeedHold(context.bus, self._params, context.clock, context.log, self._calendar)
        options, config = context.options, context.configs.current
        self._venues = [make_venue(traded, options, config) for traded in options.traded]
        refuse_old_journal(options.data_dir / JOURNALS, self._venues[0].name)
        pairs = zip(options.traded, self._venues, strict=True)
        self.gateways = Gateways({venue.name: self._gateway(traded, venue) for traded, venue in pairs})
        context.health.ask("gate", self._gate)

    def _params(self) -> ExecutionParams:
        return self._context.configs.current.execution

    def _calendar(self, instrument: str) -> Calendar:
        rules = self._context.configs.current.instruments.get(instrument)
        return calendar_for("us_stocks" if rules is not None and rules.asset_class == "us_stocks" else "crypto")

    def _gateway(self, traded: TradedVenue, venue: BinanceVenue | AlpacaVenue) -> Gateway:
        context = self._context
        fleet, options = context.configs.current.fleet, context.options
        account = f"{fleet.account}@{venue.name}"
        return Gateway(
            bus=context.bus,
            venue=venue,
            account=fleet.account,
            instruments=traded.instruments,
            lease=AccountLease(context.bus, account, self._token, ttl_ms=fleet.take_over_ms, clock=context.clock),
            feeds=self._feeds,
            is_anothers=self._anothers(traded),
            journal_path=options.data_dir / JOURNALS / f"{venue.name}.jsonl",
            halt_file=options.data_dir / HALT_NAME,
            params=self._params,
            config_hash=lambda: context.configs.current.hash,
            clock=context.clock,
            log=context.log,
            on_sent=self._sent,
        )

    def _anothers(self, traded: TradedVenue) -> Callable[[str], bool]:
        """Return what says whether orders at a venue are another gateway's; where nobody has it, the first's."""
        first, *others = self._context.options.traded
        if traded is first:
            names = {other.name for other in others}
            return lambda venue: venue in names
        return lambda venue: venue != traded.name

    async def run(self) -> None:
        """Run the stage and the gateways until told to stop, or until one of them ends."""
        context, gateways = self._context, self.gateways.all
        for venue in self._venues:
            await venue.warm()
        await self._start()
        context.health.ask("disk", self._disk)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._halt, "SIGUSR1")
        observe = _Observer(self.gateways, context.metrics, context.health, context.log)
        stop_stage = asyncio.Event()
        stage = asyncio.create_task(
            run_stage(context.bus, OrderStage(), context.configs, clock=context.clock, stop=stop_stage, observe=observe)
        )
        watching = asyncio.create_task(self._feeds.run())
        trading = [asyncio.create_task(gateway.run(context.stop)) for gateway in gateways]
        try:
            ended, _ = await asyncio.wait({stage, watching, *trading}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.isdisjoint(trading):
                context.stop.set()  # one that fails takes the others with it, and they cancel what they have open
                await asyncio.wait(trading)
                if all(task.exception() is None for task in trading):
                    await self._drain(stage)
        finally:
            stop_stage.set()
            for task in (watching, *trading):
                task.cancel()
            await asyncio.gather(stage, watching, *trading, return_exceptions=True)
        for task in (stage, watching, *trading):
            if not task.cancelled():
                task.result()

    async def _start(self) -> None:
        """Start every gateway; where one cannot, those before it let go of what they took."""
        started: list[Gateway] = []
        try:
            for gateway in self.gateways.all:
                await gateway.start()
                started.append(gateway)
        except BaseException:
            for gateway in started:
                await gateway.close()
            raise

    async def _drain(self, stage: asyncio.Task[None]) -> None:
        """Let the stage take in what the gateways said last."""
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

    def _halt(self, reason: str) -> None:
        for gateway in self.gateways.all:
            gateway.halt(reason)

    def _gate(self) -> tuple[bool, str]:
        """Say whether the start gates are open. A halt is somebody's will and no illness: a halted fleet starts."""
        gates = {gateway.venue_name: gateway.gates for gateway in self.gateways.all}
        told = {
            venue: f"HALTED: {one.halted}" if one.halted else one.not_ready_reason or "open"
            for venue, one in gates.items()
        }
        ready = all(one.ready for one in gates.values())
        return ready, _each(told)

    def _disk(self) -> tuple[bool, str]:
        told = {gateway.venue_name: gateway.disk() for gateway in self.gateways.all}
        return all(good for good, _ in told.values()), _each({venue: text for venue, (_, text) in told.items()})


def _each(told: Mapping[str, str]) -> str:
    """Return what each venue's part says; where all say the same, or there is one, that alone."""
    said = {*told.values()}
    return said.pop() if len(said) == 1 else "; ".join(f"{venue}: {text}" for venue, text in told.items())


def refuse_old_journal(journals: Path, venue: str) -> None:
    """Refuse a journal of an earlier version, which had one for whichever venue there was.

    Raises
    ------
    Misuse
        If there is one: without it, what it tells of would be orders that nobody knows.
    """
    old = journals / OLD_JOURNAL
    if old.exists():
        raise Misuse(
            f"{old} is the journal of an earlier version; if its orders are of {venue}, rename it to {venue}.jsonl"
        )


def make_venue(traded: TradedVenue, options: ServiceOptions, config: FleetConfig) -> BinanceVenue | AlpacaVenue:
    """Return the adapter of a venue; a window it has is shorter than half the lease."""
    params = config.venues.venues.get(traded.name)
    if params is None:
        raise Misuse(f"venue {traded.name!r} is not in {options.conf_dir}/venues; add it there")
    rest_url, stream_url = _addresses(traded, params)
    # An address of its own means the simulated venue, be it under a real one's name, as in paper trading.
    is_simulated = traded.name == "sim" or traded.url is not None
    key, secret = simulated_keys() if is_simulated else venue_keys(traded.name, alone=len(options.traded) == 1)
    symbols = tuple(canonical_symbol(symbol) for symbol in traded.symbols)
    if params.dialect == "alpaca":
        return AlpacaVenue(
            name=traded.name,
            rest_url=rest_url,
            stream_url=stream_url,
            key=key,
            secret=secret,
            symbols=symbols,
            timeout_ms=config.execution.request_timeout_ms,
        )
    return BinanceVenue(
        name=traded.name,
        rest_url=rest_url,
        stream_url=stream_url,
        key=key,
        secret=secret,
        symbols=symbols,
        recv_window_ms=min(params.recv_window_ms, max(config.fleet.take_over_ms // 2 - 1, 1)),
        timeout_ms=config.execution.request_timeout_ms,
    )


def _addresses(traded: TradedVenue, params: VenueParams) -> tuple[str, str]:
    if traded.url is None:
        return params.rest_url, params.stream_url
    return traded.url, traded.url.replace("http", "ws", 1)
