"""Reads the fleet's streams plainly, from their tails, and keeps the view, the metrics and the outward keys fresh.

Never a consumer group, never a commit: a monitor may miss entries and must never hold one up. Of `ensembles`, which has
an entry for each market event, only the newest are looked at. Money comes from the ledger's statements alone
(`ledger:books:*`), which are the books' database as of its last transaction.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import msgspec
from redis.exceptions import RedisError

from edgefleet.bus.interface import FIRST, Entry, Latch, id_key
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.clock import NS_PER_MS, NS_PER_S, Clock, iso
from edgefleet.errors import OutOfReach, Poison, Transient
from edgefleet.instruments import split_id
from edgefleet.ledger.books import Statement
from edgefleet.ledger.exact import shown_ratio, subtract
from edgefleet.ledger.together import Together
from edgefleet.messages import BreakerMoved, Message, ModelSwitched, OrderEvent, Refused, decode
from edgefleet.params.requests import RELOAD
from edgefleet.params.store import ParamStore
from edgefleet.params.versions import Applied
from edgefleet.telemetry.logs import Logger
from edgefleet.telemetry.metrics import BREAKER_STATE_VALUES, TRADING_STATE_VALUES, Metrics
from edgefleet.units import decimal_text
from edgefleet_services.monitor.outward import ALL, KEPT_POINTS, Outward, equity_key
from edgefleet_services.monitor.view import FleetView, Shown, alpha_delay_ms, plain, staleness

STREAMS = ("control", "beats", "targets", "refusals", "orders", "fills", "model.switch.log", "alerts")
SAMPLED = "ensembles"
SAMPLE = 200  # entries of it that are looked at in a turn: all of a quiet stream's, the newest of a busy one's
LOOK_BACK = 200  # entries of each stream that a fresh monitor starts from
BLOCK_MS = 500
READ_COUNT = 1_000
LINGER_S = 0.25  # half of what a page waits for: each turn costs more than the entries that it finds
SURVEY_EVERY_NS = NS_PER_S
RETRY_S = 0.5
VENUE_WITHIN_S = 0.25
_BOOKS = "ledger:books:"
_TOGETHER = "ledger:together"


class _Ensemble(msgspec.Struct):
    """Of an `Ensemble`, what it is about."""

    instrument: str
    rule: str


_ABOUT = msgspec.json.Decoder(_Ensemble)


class Watcher:
    """The newest state of the fleet, as far as its streams tell."""

    def __init__(
        self, bus: RedisBus, metrics: Metrics, clock: Clock, log: Logger, *, venue_urls: Sequence[str] = ()
    ) -> None:
        self._bus, self._metrics, self._clock, self._log = bus, metrics, clock, log
        self._params = ParamStore(bus.redis)
        self._redis: Any = bus.redis  # redis-py types its replies as everything they could be
        self._outward = Outward(bus.redis, self._label)
        self._venue_urls = tuple(venue_urls)  # of the simulated venues; a real one is no process of ours
        self._positions: dict[str, str] = {}
        self._sampled = FIRST
        self._surveyed_at: int | None = None
        self._books: list[bytes] = []  # the keys of the statements
        self._switched: Counter[str] = Counter()
        self._limits: set[str] = set()  # whose head-room the metric tells
        self.view = FleetView()
        self.statements: dict[str, Statement] = {}
        self.together: Together | None = None  # all of them as one
        self.latch: Latch | None = None
        self.mode: str | None = None
        self.lags: dict[tuple[str, str], int] = {}
        self.instances: tuple[Applied, ...] = ()
        self.listening: dict[str, int] = {}  # by service that reads no configuration: instances that listen
        self.commits: dict[str, int] = {}  # by service: wall ms of its newest journal entry
        self.dead_letters: dict[str, int] = {}  # by service
        self.switches: int | None = None
        self.reached = False
        self.on_turn: Callable[[], None] = lambda: None
        self.on_message: Callable[[Message], None] = lambda message: None

    def _label(self, instrument: str) -> str:
        return self.view.label(instrument)

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until told to stop; a Redis that is away is waited for, and the view says so."""
        while not stop.is_set():
            try:
                more = await self.turn()
                self.reached = True
                self.on_turn()
            except (Transient, OutOfReach, RedisError) as error:
                self.reached = False
                self._log.warning("monitor_waits", error=str(error))
                more = False
                await asyncio.sleep(RETRY_S)
            if not more:
                await asyncio.sleep(LINGER_S)

    async def turn(self) -> bool:
        """Take what is new in the streams, survey the machinery when it is due, and write the outward keys.

        Return whether there may be more to take.
        """
        if not self._positions:
            await self._start()
        found = await self._bus.read(self._positions, count=READ_COUNT, block_ms=BLOCK_MS)
        messages: list[Message] = []
        for stream in STREAMS:
            for entry in found.get(stream, []):
                self._positions[stream] = entry.id
                messages += self._take(stream, entry)
        messages += await self._sample()
        now = self._clock.monotonic_ns()
        if self._surveyed_at is None or now - self._surveyed_at >= SURVEY_EVERY_NS:
            await self._survey()
            self._surveyed_at = now
        await self._read_books()
        await self._write(messages)
        return any(len(entries) >= READ_COUNT for entries in found.values())

    async def _start(self) -> None:
        """Begin from the tails, the session first, so that nothing of an earlier session is taken for this one's."""
        positions = {}
        for stream in STREAMS:
            # `control` is short and says where everything else begins, so it is read whole.
            whole = stream == "control"
            entries = await self._bus.span(stream, "-", "+") if whole else await self._newest(stream, LOOK_BACK)
            begun = id_key(self._begun(stream))
            for entry in entries:
                if whole or id_key(entry.id) > begun:
                    self._take(stream, entry)
            positions[stream] = entries[-1].id if entries else FIRST
        self._positions = positions

    def _begun(self, stream: str) -> str:
        """Return the id after which a stream is this session's."""
        return FIRST if self.view.session is None else self.view.session.first_ids.get(stream, FIRST)

    async def _newest(self, stream: str, count: int) -> list[Entry]:
        return list(reversed(await self._bus.newest(stream, count)))

    async def _sample(self) -> list[Message]:
        """Take of `ensembles` what is newest of each kind, among the newest entries where more than those came."""
        after = max(self._sampled, self._begun(SAMPLED), key=id_key)
        entries = (await self._bus.read({SAMPLED: after}, count=SAMPLE, block_ms=0)).get(SAMPLED, [])
        if len(entries) == SAMPLE:
            entries = await self._newest(SAMPLED, SAMPLE)
        if entries:
            self._sampled = entries[-1].id
        # Switches come on the log as well, which is read whole.
        found = [entry for entry in newest_of_each(entries) if entry.type != "model_switched.v1"]
        return [message for entry in found for message in self._take(SAMPLED, entry)]

    def _take(self, stream: str, entry: Entry) -> list[Message]:
        try:
            message = decode(entry.type, entry.data)
        except Poison as error:
            self._log.warning("monitor_cannot_read", stream=stream, id=entry.id, error=str(error))
            return []
        self.view.take(message)
        self.on_message(message)
        match message:
            case Refused():
                self._metrics.refusals.labels(message.reason.value).inc()
            case OrderEvent():
                self._metrics.orders.labels(split_id(message.instrument)[1], message.state.value).inc()
            case BreakerMoved():
                self._metrics.breaker_moves.labels(message.breaker, message.after).inc()
                self._metrics.breaker_state.labels(message.breaker, message.scope).set(
                    BREAKER_STATE_VALUES[message.after]
                )
            case ModelSwitched():
                self._metrics.model_switch_total.labels(self.view.label(message.instrument)).inc()
            case _:
                pass
        return [message]

    async def _survey(self) -> None:
        self.latch = await self._bus.trading_state()
        mode = await self._redis.get("mode")
        self.mode = None if mode is None else mode.decode()
        self.lags = await self._bus.lags()
        self.listening = {"params": (await self._redis.pubsub_numsub(RELOAD))[0][1]}
        if self._venue_urls:
            self.listening["venue"] = sum(await asyncio.gather(*map(_answers, self._venue_urls)))
        self.instances = tuple(await self._params.applied())
        services = sorted({service for service, _ in self.lags})
        for service in services:
            newest = await self._bus.newest(f"journal.{service}", 1)
            if newest:
                self.commits[service] = id_key(newest[0].id)[0]
            self.dead_letters[service] = (await self._bus.depth(f"dead.{service}")).added
        self.switches = (await self._bus.depth("model.switch.log")).added
        self._books = sorted([key async for key in self._redis.scan_iter(match=f"{_BOOKS}*", count=1_000)])
        self._set_machinery()

    def _set_machinery(self) -> None:
        for (service, stream), lag in self.lags.items():
            self._metrics.stream_lag.labels(service, stream).set(lag)
        for (venue, symbol), seconds in staleness(self.view).items():
            self._metrics.data_age.labels(venue, symbol).set(seconds)
        if self.latch is not None:
            self._metrics.trading_state.set(TRADING_STATE_VALUES[self.latch.state])

    async def _read_books(self) -> None:
        whole, *values = await self._redis.mget([_TOGETHER, *self._books])
        found = [msgspec.json.decode(value, type=Statement) for value in values if value is not None]
        session = None if self.view.session is None else self.view.session.session
        self.statements = {
            f"{line.account}@{line.venue}": line for line in found if session is None or line.session == session
        }
        together = None if whole is None else msgspec.json.decode(whole, type=Together)
        self.together = together if together is not None and session in (None, together.session) else None

    async def _write(self, messages: list[Message]) -> None:
        label = self.view.label
        edges = {label(name): edge for name, edge in self.view.edges.items()}
        vars_pct = {label(name): target.var_fraction * 100 for name, target in self.view.decisions.items()}
        sizes = {
            label(line.instrument): decimal_text(line.value)
            for statement in self.statements.values()
            for line in statement.positions
            if line.value is not None
        }
        equity = {
            name: (line.ts, decimal_text(line.equity), line.session)
            for name, line in self.statements.items()
            if line.equity is not None
        }
        whole = self.together
        if whole is not None and whole.equity is not None and len(whole.accounts) > 1:
            equity[ALL] = (whole.ts, decimal_text(whole.equity), whole.session)
        self._set_trading(edges, vars_pct, sizes)
        await self._outward.write(
            edges=edges,
            sizes=sizes,
            vars_pct=vars_pct,
            equity=equity,
            switches=self.switches,
            ts=max(self.view.beat_ts.values(), default=self._clock.wall_ns()),
            messages=messages,
        )

    def _set_trading(self, edges: dict[str, float], vars_pct: dict[str, float], sizes: dict[str, str]) -> None:
        metrics = self._metrics
        for symbol, edge in edges.items():
            metrics.edge_blended_bps.labels(symbol).set(edge)
        for symbol, value in vars_pct.items():
            metrics.var_pct.labels(symbol).set(value)
        for symbol, size in sizes.items():
            metrics.position_size_usd.labels(symbol).set(_number(Decimal(size)))
        for (instrument, _), ensemble in self.view.ensembles.items():
            for chosen in ensemble.chosen:
                metrics.model_confidence.labels(self.view.label(instrument), chosen.model).set(chosen.confidence)
        if self.together is not None:
            self._set_money(self.together)
        self._set_head_room(self.view.head_room())

    def _set_head_room(self, rooms: dict[str, float]) -> None:
        for limit, room in rooms.items():
            self._metrics.head_room.labels(limit).set(room)
        for limit in self._limits - set(rooms):
            self._metrics.head_room.remove(limit)
        self._limits = set(rooms)

    def _set_money(self, whole: Together) -> None:
        """Show what all accounts come to; what is not known keeps no number that was."""
        metrics = self._metrics
        metrics.pnl_realized_usd.set(_number(whole.realised_after_fees))
        metrics.pnl_unrealized_usd.set(_number(whole.unrealised))
        metrics.equity_usd.set(_number(whole.equity))
        metrics.drawdown_pct.set(_number(drawdown_pct(whole)))

    async def equity_points(self, account: str, limit: int = KEPT_POINTS) -> list[tuple[int, str]]:
        """Return (market ms, equity) of this session, oldest first."""
        session = None if self.view.session is None else self.view.session.session
        raw = await self._redis.xrevrange(equity_key(account), count=limit)
        points = [(int(fields[b"ts"]), fields[b"value"].decode(), fields[b"session"].decode()) for _, fields in raw]
        return [(at, value) for at, value, of in reversed(points) if session is None or of == session]

    def status(self) -> Shown:
        """Return everything that the page's first screen shows."""
        view = self.view
        return {
            "time": iso(self._clock.wall_ns()),
            "redis": self.reached,
            "session": None if view.session is None else _session_line(view),
            "trading_state": None if self.latch is None else self._trading_line(self.latch),
            "mode": self.mode,
            "together": None if self.together is None else together_line(self.together),
            "accounts": [account_line(line) for line in self.statements.values()],
            "market": view.market(),
            "models": view.models(),
            "risk": view.risk(),
            "breakers": view.breaker_lines(),
            "services": self._services(),
            "refused": dict(view.refused.most_common()),
            "model_switches": self.switches,
            "alpha_delay_ms": alpha_delay_ms(view),
            "alerts": view.alert_lines(10),
        }

    def _trading_line(self, latch: Latch) -> Shown:
        told = self.view.trading
        since = None if told is None or told.state != latch.state else iso(told.ts_event)
        return {"state": latch.state, "reason": latch.reason, "by": latch.by, "since": since}

    def _services(self) -> list[Shown]:
        live = Counter(one.service for one in self.instances) + Counter(self.listening)
        names = sorted({*live, *self.listening, *(service for service, _ in self.lags)})
        now_ms = self._clock.wall_ns() // NS_PER_MS
        return [
            {
                "service": name,
                "instances": live[name],
                "config": next((one.hash[:12] for one in self.instances if one.service == name), None),
                "lag": {stream: lag for (service, stream), lag in sorted(self.lags.items()) if service == name},
                "last_commit_ms": now_ms - self.commits[name] if name in self.commits else None,
                "dead_letters": self.dead_letters.get(name),
            }
            for name in names
        ]


def newest_of_each(entries: Iterable[Entry]) -> list[Entry]:
    """Return, of entries in order, the newest ensemble of each instrument and rule and the newest of any other type."""
    newest: dict[object, Entry] = {}
    for entry in entries:
        key = _key(entry)
        newest.pop(key, None)  # or the new one would stand where the old one stood
        newest[key] = entry
    return list(newest.values())


def _key(entry: Entry) -> object:
    if entry.type != "ensemble.v1":
        return entry.type
    try:
        about = _ABOUT.decode(entry.data)
    except msgspec.MsgspecError:
        return entry.id  # whoever takes it says that it does not decode
    return about.instrument, about.rule


async def _answers(url: str) -> bool:
    """Return whether a server takes connections at `url`."""
    address = urlsplit(url)
    try:
        async with asyncio.timeout(VENUE_WITHIN_S):
            _, writer = await asyncio.open_connection(address.hostname, address.port)
    except OSError:  # a timeout is one
        return False
    writer.close()
    return True


def account_line(line: Statement) -> Shown:
    """Return a statement for a browser; amounts are text, the unknown is None."""
    body: Shown = plain(line)
    at = body.pop("ts")
    body["time"] = iso(at) if at else None
    body["drawdown_pct"] = None if (share := drawdown_pct(line)) is None else decimal_text(share)
    realised_after_fees = subtract(line.realised, line.fees_in_quote)
    body["realised_after_fees"] = decimal_text(realised_after_fees)
    return body


def together_line(whole: Together) -> Shown:
    """Return what all accounts come to for a browser."""
    body: Shown = plain(whole)
    at = body.pop("ts")
    body["time"] = iso(at) if at else None
    body["drawdown_pct"] = None if (share := drawdown_pct(whole)) is None else decimal_text(share)
    return body


def drawdown_pct(line: Statement | Together) -> Decimal | None:
    """Return how far equity is below the session's highest, in percent, None where it is not known."""
    if line.drawdown is None or line.peak_equity is None or not line.peak_equity > 0:
        return None
    return shown_ratio(line.drawdown * 100, line.peak_equity)


def _session_line(view: FleetView) -> dict[str, Any] | None:
    session = view.session
    if session is None:
        return None
    return {
        "session": session.session,
        "mode": session.mode,
        "venue": session.venue,
        "symbols": list(session.traded if "," in session.venue else session.symbols),
        "started": iso(session.ts_init),
    }


def _number(value: Decimal | None) -> float:
    """Return money as the float that a gauge can hold; what is not known is not a number."""
    return math.nan if value is None else float(value)
