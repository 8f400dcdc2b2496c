"""The real executor process between a real Redis and the real simulated venue; a test plays risk and ingestion."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeVar

import httpx
import msgspec
import redis
from tests.integration.venue_server import RunningVenue, eventually, running

from edgefleet.bus.redis_bus import RedisBus
from edgefleet.clock import NS_PER_S, SYSTEM
from edgefleet.instruments import instrument_id
from edgefleet.messages import (
    Beat,
    Command,
    GatewayOutcome,
    Message,
    Reconciled,
    Refused,
    TouchAge,
    decode,
    encode,
    tag_of,
)
from edgefleet.params.store import ParamStore
from edgefleet.params.writer import ParamWriter
from edgefleet.testing import build
from edgefleet_services.venue.service import VenueOptions

CONF = Path(__file__).parents[2] / "conf"
M = TypeVar("M")
SYMBOLS = ("BTC/USDT", "ETH/USDT", "BNB/USDT", "SOL/USDT", "XRP/USDT")

MORE_INSTRUMENTS = "".join(
    f"""
  {symbol}:
    tick_size: {tick}
    lot_size: {lot}
    min_quantity: {lot}
    min_notional: 5
"""
    for symbol, tick, lot in (
        ("BNB/USDT", "0.01", "0.001"),
        ("SOL/USDT", "0.01", "0.001"),
        ("XRP/USDT", "0.0001", "0.1"),
    )
)


class World:
    """Everything around one or more executors."""

    def __init__(self, redis_url: str, venue: RunningVenue, root: Path) -> None:
        self.redis_url = redis_url
        self.venue = venue
        self.data_dir = root / "data"
        self.conf = Path(shutil.copytree(CONF, root / "conf"))
        with (self.conf / "instruments.yml").open("a") as instruments:
            instruments.write(MORE_INSTRUMENTS)
        self.client = redis.Redis.from_url(redis_url)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.logs: list[Path] = []
        self._root = root
        self._beating = threading.Event()
        self._quit = threading.Event()
        self._beats = threading.Thread(target=self._beat, daemon=True)
        self._targets = 0
        self._share = Decimal(1)

    def prepare(self) -> None:
        """Put the configuration in force, open trading, and let beats come."""
        self.configure()
        self._beating.set()
        self._beats.start()

    def configure(self) -> None:
        """Put the configuration in force and open trading as a session's start does."""

        async def write() -> None:
            async with await RedisBus.connect(self.redis_url) as bus:
                await ParamWriter(ParamStore(bus.redis), environ={}).start(self.conf)

        asyncio.run(write())
        self._latch("ACTIVE", "edgefleet up")

    def halt(self, by: str) -> None:
        """Halt trading as the command does."""
        self._latch("HALTED", by)

    def resume(self, by: str) -> None:
        """Resume trading as the command does."""
        self._latch("ACTIVE", by)

    def _latch(self, state: str, by: str) -> None:
        async def write() -> None:
            async with await RedisBus.connect(self.redis_url) as bus:
                await bus.latch(state, reason="test", by=by, person=True, ts=SYSTEM.wall_ns())

        asyncio.run(write())

    def command(self, verb: Literal["halt", "reduce"]) -> None:
        """Ask as risk does when a breaker opens."""
        now = SYSTEM.wall_ns()
        self.add("control", Command(verb=verb, reason="a test", by="risk", ts_event=now, ts_init=now))

    def refused_or_denied(self) -> int:
        """Return how many targets were refused and orders denied for a halt."""
        refused = [message for message in self.all(Refused, "refusals") if message.reason == "HALTED"]
        denied = [message for message in self.all(GatewayOutcome, "venue.events") if message.outcome == "DENIED"]
        return len(refused) + len(denied)

    def executor(
        self, *, script: Path | None = None, data_dir: Path | None = None, venue_port: int | None = None
    ) -> subprocess.Popen[bytes]:
        """Start an executor process; `script` runs in place of the command."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        program = (
            [sys.executable, str(script)]
            if script is not None
            else [sys.executable, "-m", "edgefleet_services.cli.main"]
        )
        options = {
            "--redis-url": self.redis_url,
            "--conf": str(self.conf),
            "--port": str(port),
            "--symbols": ",".join(SYMBOLS),
            "--data-dir": str(data_dir or self.data_dir),
            "--venue-url": f"http://127.0.0.1:{venue_port or self.venue.port}",
        }
        command = [*program, "service", "executor", *(part for option in options.items() for part in option)]
        log = self._root / f"executor{len(self.processes)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out)
        self.processes.append(process)
        self.logs.append(log)
        return process

    def started(self, **options: Any) -> subprocess.Popen[bytes]:
        """Start an executor and wait until its gate is open."""
        process = self.executor(**options)
        self.wait_for_gate()
        return process

    def wait_for_gate(self) -> None:
        """Wait until the newest executor's gate is open, by its own word: a flushed Redis is told old words again."""
        process = self.processes[-1]
        eventually(lambda: process.poll() is not None or self._has_opened(), "an open start gate")
        assert process.poll() is None, self.log()

    def _has_opened(self) -> bool:
        told = (
            msgspec.json.decode(line) for line in self.log().splitlines() if line.startswith("{") and line[-1] == "}"
        )
        return any(line["event"] == "reconciled" and line["ready"] for line in told)

    def gates(self) -> list[bool]:
        """Return what each reconcile came to."""
        return [message.ready for message in self.all(Reconciled, "venue.events")]

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """End a process as a power cut would."""
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self, process: subprocess.Popen[bytes]) -> int:
        """Stop a process in order; return its exit code."""
        process.send_signal(signal.SIGTERM)
        return process.wait(20)

    def log(self) -> str:
        """Return what the last executor wrote."""
        return self.logs[-1].read_text()

    def approve(self, quantity: str, **changes: Any) -> str:
        """Send a target as risk would; return its id."""
        self._targets += 1
        now = SYSTEM.wall_ns()
        stamps = {"ts_event": now, "ts_init": now, "expires_at": now + 60 * NS_PER_S}
        target = build.approved(target_id=f"t{self._targets}", quantity=Decimal(quantity), **{**stamps, **changes})
        self.add("targets", target)
        return target.target_id

    def add(self, stream: str, message: Message) -> None:
        """Add one entry to a stream."""
        self.client.xadd(stream, {"type": tag_of(message), "data": encode(message)})

    def messages(self, stream: str) -> list[Message]:
        """Return everything in a stream."""
        entries: Any = self.client.xrange(stream)
        return [decode(fields[b"type"].decode(), fields[b"data"]) for _, fields in entries]

    def all(self, kind: type[M], stream: str) -> list[M]:
        """Return the messages of one kind."""
        return [message for message in self.messages(stream) if isinstance(message, kind)]

    def states(self) -> dict[str, list[str]]:
        """Return every order's states, in order."""
        found: dict[str, list[str]] = {}
        for message in self.messages("orders"):
            found.setdefault(message.order_id, []).append(str(message.state))  # type: ignore[union-attr]
        return found

    def venue_orders(self, symbol: str = "BTC/USDT") -> list[dict[str, Any]]:
        """Return every order the venue ever accepted for a symbol."""
        name = symbol.replace("/", "")
        found: list[dict[str, Any]] = self.venue.signed("GET", "allOrders", symbol=name).json()
        return found

    def venue_trades(self, symbol: str = "BTC/USDT") -> list[tuple[str, str]]:
        """Return the account's trades at the venue: instrument and trade id."""
        told = self.venue.signed("GET", "myTrades", symbol=symbol.replace("/", "")).json()
        return [(instrument_id(symbol, "sim"), str(trade["id"])) for trade in told]

    def venue_position(self) -> Decimal:
        """Return the BTC at the venue."""
        account = self.venue.signed("GET", "account").json()
        return sum(
            (Decimal(b["free"]) + Decimal(b["locked"]) for b in account["balances"] if b["asset"] == "BTC"), Decimal(0)
        )

    def faults(self, **plan: object) -> None:
        """Switch faults of the venue on."""
        httpx.post(f"{self.venue.sim}/faults", json=plan).raise_for_status()

    def beats(self, *, on: bool) -> None:
        """Let beats come, or not."""
        (self._beating.set if on else self._beating.clear)()

    def tell_prices_at(self, share: Decimal) -> None:
        """Let beats tell this share of the venue's prices: a bid from far below the market rests wherever it moves."""
        self._share = share
        told = len(self.messages("beats"))
        eventually(lambda: len(self.messages("beats")) > told + 1, "a beat that was made after this")

    def _beat(self) -> None:
        while not self._quit.wait(0.2):
            if self._beating.is_set():
                now, share = SYSTEM.wall_ns(), self._share
                touches = tuple(
                    TouchAge(
                        instrument=instrument_id(told["symbol"], "sim"),
                        bid=Decimal(told["bidPrice"]) * share,
                        ask=Decimal(told["askPrice"]) * share,
                        age_ms=1,
                    )
                    for told in self.venue.get("ticker/bookTicker")
                )
                self.add("beats", Beat(venue="sim", touches=touches, ts_event=now, ts_init=now, trace_id="beat"))

    def close(self) -> None:
        """End everything."""
        self._quit.set()
        self._beats.join()
        for process in self.processes:
            if process.poll() is None:
                self.kill(process)
        for log in self.logs:  # shown by pytest where the test failed
            sys.stdout.write(f"--- {log.name}\n{log.read_text()}")
        self.client.close()


@contextmanager
def world_of(redis_url: str, root: Path) -> Iterator[World]:
    """Give a world with a fresh venue, trading open and beats coming."""
    with running(VenueOptions(symbols=SYMBOLS, port=0, warm_up_s=10)) as venue:  # nobody here asks for candles
        world = World(redis_url, venue, root)
        try:
            world.prepare()
            yield world
        finally:
            world.close()
