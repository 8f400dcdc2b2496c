"""The simulated venue as a process: options, wiring, start and stop. No arithmetic, no wire format."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import msgspec
import structlog
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from edgefleet.clock import NS_PER_MS, NS_PER_S, SYSTEM, Clock
from edgefleet.errors import Broken, FleetError, Misuse, OutOfReach
from edgefleet.matching.exchange import ExchangeState, Fees, SimExchange
from edgefleet.matching.filters import rules_for
from edgefleet.matching.synthetic import SyntheticMarket
from edgefleet.venues.tape import TapeSummary, check_tape, read_tape
from edgefleet_services.options import simulated_keys

from .feeds import Shifted, open_synthetic, run_relay, run_synthetic, run_tape, speed_factor
from .limits import Limits
from .market import Progress, VenueMarket, snapshot_symbol
from .rest import RestApi
from .security import Keys
from .sockets import SocketApi
from .wsapi import WebSocketApi

log = structlog.get_logger()
Value = TypeVar("Value")

SAVE_EVERY_S = 0.5
START_CASH = Decimal(100_000)
CLOSE_PATIENCE_S = 300.0  # for a peer's answer to a close frame
# Small, so that a tape at full speed is never far ahead of what its consumers have read.
SEND_BUFFER_BYTES = 65_536


@dataclass(frozen=True, kw_only=True)
class VenueOptions:
    """What the simulated venue is asked to be.

    `balances` is what the account starts with; `tape` its recorded files in order; `speed` a number or `max`;
    `upstream_ws` and `upstream_rest` the venue a relay forwards (for Binance `wss://stream.binance.com:9443` and
    `https://api.binance.com/api/v3`). `state_file` keeps the account over restarts.
    """

    dialect: Literal["binance", "alpaca"] = "binance"
    market: Literal["tape", "synthetic", "relay"] = "synthetic"
    symbols: tuple[str, ...] = ("BTC/USDT",)
    tape: tuple[Path, ...] = ()
    speed: str = "1"
    seed: int = 1
    warm_up_s: int = 120  # of synthetic market before the start, for those who ask for candles at once
    host: str = "127.0.0.1"
    port: int = 9180
    balances: Mapping[str, Decimal] | None = None  # None: 100,000 of what the dialect's venue is paid in
    maker_fee: Decimal | None = None  # None: what the dialect's venue takes
    taker_fee: Decimal | None = None
    start_ns: int | None = None  # stamp at which a tape's time begins; where a stocks' synthetic market begins
    shift_ns: int | None = None  # a synthetic market's time less the clock's; None: its own to choose
    state_file: Path | None = None
    upstream_ws: str = ""
    upstream_rest: str = ""
    limits: Limits = field(default_factory=Limits)
    key: str = field(default_factory=lambda: simulated_keys()[0])
    secret: str = field(default_factory=lambda: simulated_keys()[1], repr=False)


class _Protocol(HttpToolsProtocol):
    """HTTP that lets a handler reach its connection, which the fault of a lost answer needs."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["edgefleet.transport"] = self.transport  # type: ignore[typeddict-unknown-key]


class ServedMarket(Protocol):
    """A market that may break down."""

    async def until_broken(self) -> None:
        """Raise the `Broken` that stops the venue; return never."""
        ...


class ServedVenue(Protocol):
    """What `serve` asks of a venue, whatever it speaks."""

    @property
    def app(self) -> Starlette:
        """Return what answers requests."""
        ...

    @property
    def market(self) -> ServedMarket:
        """Return the market, which may break down."""
        ...

    async def open(self) -> None:
        """Let pass what lies before the first request."""
        ...

    async def run_market(self) -> None:
        """Serve the market to its end."""
        ...

    async def keep_saved(self) -> None:
        """Write the account to the state file whenever it changed."""
        ...

    def save(self) -> None:
        """Write the account to the state file, if it is to be kept."""
        ...


class _SocketProtocol(WebSocketsSansIOProtocol):
    """The same for a WebSocket, which the fault of a cut connection needs."""

    def handle_connect(self, event: Request) -> None:
        # A consumer of a tape reads its end in its own time: a connection closed on it sooner loses what is in buffers.
        self.close_timeout = CLOSE_PATIENCE_S
        super().handle_connect(event)
        if hasattr(self, "scope"):  # it has none where the handshake failed
            self.scope["edgefleet.transport"] = self.transport  # type: ignore[typeddict-unknown-key]


class Venue:
    """A Binance venue that is ready to be served: everything is checked and opened here, or an error is raised.

    Raises
    ------
    Misuse
        For an unknown symbol, an unreadable tape or state file, a bad speed, a tape without one of the symbols.
    """

    def __init__(self, options: VenueOptions, clock: Clock = SYSTEM) -> None:
        self.options = options
        self.clock = clock
        self._time = Shifted(clock, options.shift_ns or 0)  # a synthetic market's
        speed_factor(options.speed)
        self._summary: TapeSummary | None = check_tape(options.tape) if options.market == "tape" else None
        if options.start_ns is not None and options.market != "tape":
            raise Misuse("where a market begins is said of a tape, or of stocks; a synthetic one has --shift-ns")
        rules = [rules_for(symbol) for symbol in options.symbols]
        fees = Fees()
        fees = Fees(_given(options.maker_fee, fees.maker), _given(options.taker_fee, fees.taker))
        self.exchange = SimExchange(rules, _given(options.balances, {"USDT": START_CASH}), fees)
        progress = Progress(market=options.market, speed=options.speed if options.market == "tape" else "1")
        self.market = VenueMarket(self.exchange, progress)
        self._synthetic: SyntheticMarket | None = None
        if self._summary is not None:
            self._open_tape(self._summary)
        elif options.market == "synthetic":
            start_ns = self._time.wall_ns() - options.warm_up_s * NS_PER_S
            self._synthetic = SyntheticMarket(rules, seed=options.seed, start_ns=start_ns)
        elif not options.upstream_ws or not options.upstream_rest:
            raise Misuse("a relay needs an upstream: its WebSocket and its REST address")
        if options.state_file is not None and options.state_file.exists():
            self.exchange.load(read_state(options.state_file, ExchangeState))
        self._file = StateFile(options.state_file)
        keys = Keys(options.key, options.secret)
        self.rest = RestApi(self.market, clock, keys, options.limits)
        api = WebSocketApi(self.market.hub, keys, self.rest.now_ms)
        self.app = Starlette(routes=[*self.rest.routes(), *SocketApi(self.market, api).routes()])

    def _open_tape(self, summary: TapeSummary) -> None:
        absent = [symbol for symbol in self.exchange.rules if symbol not in summary.symbols]
        if absent:
            raise Misuse(f"the tape holds {', '.join(summary.symbols)}, not {', '.join(absent)}")
        self.market.progress.lines_total = summary.lines
        self.exchange.market_time_ms = summary.first_event_ms or summary.first_ns // NS_PER_MS
        for line in read_tape(self.options.tape):
            if b'"lastUpdateId"' in line.body[:40]:
                symbol = line.book_of or snapshot_symbol(summary.symbols)
                if symbol in self.exchange.rules:
                    self.market.recorded_snapshots.setdefault(symbol, line)
                if self.market.recorded_snapshots.keys() == self.exchange.rules.keys():
                    return

    async def open(self) -> None:
        """Let pass what lies before the first request: a synthetic market's past."""
        if self._synthetic is not None:
            await open_synthetic(self.market, self._synthetic, self._time)

    async def run_market(self) -> None:
        """Serve the market to its end; a failure is told in the status and closes the consumers."""
        options = self.options
        try:
            if options.market == "tape":
                await run_tape(self.market, options.tape, self.clock, options.start_ns)
            elif self._synthetic is not None:
                await run_synthetic(self.market, self._synthetic, self._time)
            else:
                await run_relay(self.market, options.upstream_ws, options.upstream_rest, self.clock)
        except Broken:
            raise
        except FleetError as error:
            self.market.fail(str(error))
            log.error("market_stopped", market=options.market, error=str(error))
        else:
            log.info("tape_ended", lines=self.market.progress.lines_served)

    async def keep_saved(self) -> None:
        """Write the account to the state file whenever it changed, beside the loop: a disk may take its time."""
        while True:
            await asyncio.sleep(SAVE_EVERY_S)
            if self.market.changed:
                self.market.changed = False
                await asyncio.to_thread(self._file.write, msgspec.json.encode(self.exchange.dump()))

    def save(self) -> None:
        """Write the account to the state file, if it is to be kept."""
        self._file.write(msgspec.json.encode(self.exchange.dump()))


class StateFile:
    """Where an account is kept over restarts; without a path it is kept nowhere."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._writing = threading.Lock()

    def write(self, data: bytes) -> None:
        """Write the state file whole or not at all."""
        path = self._path
        if path is None:
            return
        draft = path.with_name(path.name + ".draft")
        with self._writing:
            with draft.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)


def read_state(path: Path, kind: type[Value]) -> Value:
    """Return the saved account, or raise `Misuse` where the file holds none of this kind."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise Misuse(f"{path}: not a saved account of the simulated venue: {error}") from error


def _given(value: Value | None, default: Value) -> Value:
    return default if value is None else value


def venue_of(options: VenueOptions, clock: Clock) -> ServedVenue:
    """Return the venue that speaks the dialect `options` name."""
    if options.dialect == "binance":
        return Venue(options, clock)
    # Here and not above: it is built of this module's parts, and a venue of the other dialect does not load it.
    from .alpaca.venue import AlpacaVenue

    return AlpacaVenue(options, clock)


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket, or raise `OutOfReach` where the port is taken."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        reason = f"the simulated venue cannot listen on {host}:{port}: {error.strerror}; choose another --port"
        raise OutOfReach(reason) from error
    return bound


async def serve(
    options: VenueOptions,
    *,
    clock: Clock = SYSTEM,
    stop: asyncio.Event | None = None,
    ready: Callable[[int], Any] | None = None,
    make: Callable[[VenueOptions, Clock], ServedVenue] = venue_of,
) -> None:
    """Serve the venue until `stop` is set, or, where none is given, until SIGINT or SIGTERM.

    `ready` is called with the port once requests are answered; `make` builds another kind of venue. A tape that has
    ended leaves the venue answering.

    Raises
    ------
    Misuse
        As `Venue`.
    OutOfReach
        If the port is taken.
    Broken
        If the account's arithmetic turned out false: the venue has stopped.
    """
    venue = make(options, clock)
    bound = listen(options.host, options.port)
    await venue.open()
    server = uvicorn.Server(
        uvicorn.Config(
            venue.app,
            http=_Protocol,
            ws=_SocketProtocol,
            ws_per_message_deflate=False,
            # A consumer that holds a tape back answers a ping late, and must not be cut off for it.
            ws_ping_interval=None if options.market == "tape" else 20.0,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=2,
        )
    )
    stopping = stop or asyncio.Event()
    loop = asyncio.get_running_loop()
    if stop is None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopping.set)
    await _startup(server, bound)
    http = asyncio.create_task(server.main_loop())
    tasks = [http, asyncio.create_task(venue.run_market()), asyncio.create_task(venue.market.until_broken())]
    if options.state_file is not None:
        tasks.append(asyncio.create_task(venue.keep_saved()))
    try:
        port = bound.getsockname()[1]
        log.info("venue_ready", host=options.host, port=port, market=options.market, symbols=list(options.symbols))
        if ready is not None:
            ready(port)
        await _until_stopped(stopping, tasks)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await server.shutdown(sockets=[bound])
        venue.save()
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _until_stopped(stopping: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
    """Return when the venue is to stop, or when one of `tasks` broke; a market that came to its end is neither."""
    waiter = asyncio.create_task(stopping.wait())
    pending: set[asyncio.Task[Any]] = {waiter, *tasks}
    while not waiter.done():
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        if any(task.exception() is not None for task in done):
            break
    waiter.cancel()


async def _startup(server: uvicorn.Server, bound: socket.socket) -> None:
    """Begin to listen. uvicorn's own `serve` is not used: its signal handlers would end the process behind our back."""
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets=[bound])
