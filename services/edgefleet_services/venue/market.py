"""The venue as its handlers see it: exchange, history of prints, listeners. Knows no HTTP and no source of lines."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from edgefleet.clock import NS_PER_MS
from edgefleet.errors import Broken, Misuse
from edgefleet.matching.exchange import Execution, OrderRequest, SimExchange
from edgefleet.matching.exchange import Order as SimOrder
from edgefleet.matching.history import MarketHistory
from edgefleet.matching.recorded import RecordedBook
from edgefleet.matching.wire import (
    BookTicker,
    DepthDiff,
    DepthSnapshot,
    Frame,
    Trade,
    decode_stream,
    payload,
    stream_name,
)
from edgefleet.telemetry.metrics import Metrics
from edgefleet.venues.tape import TapeLine

from . import views
from .consumers import Consumer, Hub
from .derived import Derived, is_derived
from .faults import FaultPlan, Whom
from .mutations import Mutations
from .wsapi import SUBSCRIPTION, USER_STREAM

encode = msgspec.json.encode
STREAM_KINDS = frozenset({"trade", "bookTicker", "depth", "depth@100ms"})


class Progress(msgspec.Struct):
    """How far the market has come; what `/sim/status` tells."""

    market: str  # tape, synthetic or relay
    speed: str
    lines_total: int | None = None
    lines_served: int = 0
    finished: bool = False
    failure: str | None = None  # why the market stopped, where it did not end


class VenueMarket:
    """One exchange, the markets' history, and the consumers of both."""

    def __init__(self, exchange: SimExchange, progress: Progress) -> None:
        self.exchange = exchange
        self.progress = progress
        self.hub = Hub()
        self.history = {symbol: MarketHistory() for symbol in exchange.rules}
        self.recorded_snapshots: dict[str, TapeLine] = {}  # of the tape, by symbol
        self.overtaken: set[str] = set()  # symbols whose recorded snapshot the tape has passed
        self.claimed: set[str] = set()  # symbols whose recorded snapshot somebody has had in full
        self.listen_keys: set[str] = set()
        self.changed = False  # since the account was last saved
        self.metrics = Metrics()
        kinds: tuple[type[Frame], ...] = (Trade, BookTicker, DepthDiff, DepthSnapshot)
        self._counted = {kind: self.metrics.messages.labels(service="venue", type=kind.__name__) for kind in kinds}
        self._book_ready = asyncio.Event()
        self._break = asyncio.Event()
        self._broken: Broken | None = None
        self.on_rested_order_traded: Callable[[], None] = lambda: None  # once for each order that waited
        self._derived = Derived(self)
        self.faults = FaultPlan()
        self._mutations: Mutations | None = None  # None: frames are sent as they are

    async def serve_line(self, line: TapeLine, *, live: bool) -> None:
        """Let one line happen: to the exchange first, then to whoever listens, so no consumer knows more than the book.

        Raises
        ------
        Poison
            If the line is of no known shape.
        """
        stream = stream_name(line.body)
        frame = decode_stream(stream, line.body)
        self.progress.lines_served += 1
        if frame is None:  # of a stream that the exchange has no use for: whoever subscribed to it gets it
            await self._distribute(stream or "", line, live=live)
            return
        self._counted[type(frame)].inc()
        symbol = line.book_of if isinstance(frame, DepthSnapshot) else frame.s
        executions = self.exchange.on_frame(frame, symbol=symbol)
        self.tell_account(executions)
        if stream is None:
            self._book_ready.set()
            self._overtake(symbol)
            return
        await self._distribute(stream, line, live=live)
        if isinstance(frame, Trade) and frame.s in self.history:
            self.history[frame.s].add(frame)
        if self._derived.is_wanted() and not isinstance(frame, DepthSnapshot | BookTicker):
            await self._derived.follow(frame, live=live)

    async def _distribute(self, stream: str, line: TapeLine, *, live: bool) -> None:
        if self._mutations is None:
            await self._send(stream, line, live=live)
        elif self.hub.of(stream):
            for struck in self._mutations.strike(stream, line, self.exchange.market_time_ms):
                await self._send(stream, struck, live=live)
            if self._mutations.spent:
                self._mutations = None
        if stream.endswith("@depth@100ms"):
            alias = stream.removesuffix("@100ms")
            if self.hub.of(alias):
                await self.publish(alias, payload(line.body), live=live)

    async def _send(self, stream: str, line: TapeLine, *, live: bool) -> None:
        for consumer in self.hub.of(stream):
            if consumer.tape_lines:
                text = line.raw.decode()
            elif consumer.combined:
                text = line.body.decode()
            else:
                text = payload(line.body).decode()
            if live:
                consumer.offer(text)
            else:
                await consumer.put(text)

    async def publish(self, stream: str, data: bytes, *, live: bool) -> None:
        """Send a frame of the venue's own making to the consumers of `stream`."""
        body = b'{"stream":"%b","data":%b}' % (stream.encode(), data)
        await self._distribute(stream, TapeLine(self.exchange.market_time_ms * NS_PER_MS, body), live=live)

    def tell_account(self, executions: list[Execution]) -> None:
        """Send execution reports and the balances they changed to the user streams."""
        if not executions:
            return
        self.changed = True
        for execution in executions:
            trade = execution.trade
            if trade is not None and trade.is_maker and execution.order.executed == trade.quantity:
                self.on_rested_order_traded()
        listeners = [(key, consumer) for key in (*self.listen_keys, USER_STREAM) for consumer in self.hub.of(key)]
        if not listeners:
            return
        assets: dict[str, None] = {}
        events: list[dict[str, Any]] = []
        for execution in executions:
            rules = self.exchange.rules[execution.order.symbol]
            assets.update({rules.base: None, rules.quote: None})
            events.append(views.execution_report(execution))
        events.append(views.account_position(self.exchange.account(), list(assets), self.exchange.market_time_ms))
        for event in events:
            body = encode(event).decode()
            for key, consumer in listeners:
                consumer.offer(_enveloped(key, body, combined=consumer.combined))

    def place(self, request: OrderRequest) -> tuple[SimOrder, list[Execution]]:
        """Return the order and what happened, the user streams having been told."""
        order, executions = self.exchange.place(request)
        self.tell_account(executions)
        return order, executions

    def new_listen_key(self) -> str:
        """Return a new name for a user stream."""
        key = secrets.token_hex(30)
        self.listen_keys.add(key)
        return key

    def drop_listen_key(self, key: str) -> None:
        """Forget a user stream and close who listens to it."""
        self.listen_keys.discard(key)
        for consumer in self.hub.of(key):
            consumer.close(1000, "listen key closed")

    def load_book(self, symbol: str, body: bytes) -> None:
        """Make a REST depth snapshot the book of `symbol`, whatever was there. Raises `Poison` if it is none."""
        self.exchange.markets[symbol].forget_book()
        self.tell_account(self.exchange.on_line(0, body, symbol=symbol))
        self._book_ready.set()

    async def book_of(self, symbol: str, patience_s: float) -> RecordedBook | None:
        """Return the book of `symbol`, waiting up to `patience_s` for its first snapshot; None where none came."""
        market = self.exchange.markets[symbol]
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while not market.book.ready:
                    self._book_ready.clear()
                    await self._book_ready.wait()
        return market.book if market.book.ready else None

    def snapshot_for(self, symbol: str, limit: int) -> TapeLine | None:
        """Return the tape's recorded snapshot where it is the right answer to a depth request, else None.

        It is until the tape has passed it; and once more, wherever the tape then stands, for the first request of a
        whole book (1,000 levels or more), because a consumer that reads from the tape's start holds its frames until it
        has the book they began with.
        """
        recorded = self.recorded_snapshots.get(symbol)
        if recorded is None:
            return None
        if limit >= 1_000 and symbol not in self.claimed:
            self.claimed.add(symbol)
            return recorded
        return None if symbol in self.overtaken else recorded

    def _overtake(self, passed: str | None) -> None:
        """Note that the tape has passed a recorded snapshot: nobody is owed it who did not follow that book."""
        for symbol in self.recorded_snapshots if passed is None else self.recorded_snapshots.keys() & {passed}:
            self.overtaken.add(symbol)
            if not any(self.hub.of(stream) for stream in _depth_streams(symbol)):
                self.claimed.add(symbol)

    def joined(self, streams: list[str]) -> None:
        """Note that somebody just began to follow `streams`: a snapshot of long ago fits none of what comes now."""
        for symbol in self.overtaken - self.claimed:
            if not set(streams).isdisjoint(_depth_streams(symbol)):
                self.claimed.add(symbol)

    def known_stream(self, stream: str) -> bool:
        """Return whether a stream of this name exists here."""
        if stream in self.listen_keys:
            return True
        name, at, kind = stream.partition("@")
        if name.startswith("!"):
            return is_derived(stream)
        if not at or name.upper() not in self.exchange.rules or name != name.lower():
            return False
        return kind in STREAM_KINDS or is_derived(kind)

    # --- faults

    def faults_left(self) -> FaultPlan:
        """Return what is left of the faults that are switched on."""
        if self._mutations is None:
            return msgspec.structs.replace(self.faults, silence={})
        left = self._mutations.silence_left(self.exchange.market_time_ms)
        return msgspec.structs.replace(self.faults, silence=left)

    def set_faults(self, plan: FaultPlan) -> None:
        """Switch faults on or off; who is to be cut off is cut off now."""
        self.faults = plan
        self._mutations = Mutations.of(plan, self.exchange.market_time_ms, self._mutations)
        for consumer in self._to_cut(plan.disconnect):
            consumer.break_off(plan.disconnect_code, "a fault of the simulated venue")
        plan.disconnect = ""

    def _to_cut(self, whom: Whom) -> list[Consumer]:
        market = self.hub.market_consumers()
        users = [one for key in (*self.listen_keys, USER_STREAM) for one in self.hub.of(key)]
        chosen = {"": [], "one": market[:1], "market": market, "user": users, "all": [*market, *users]}
        return chosen[whom]

    # --- the end

    def break_down(self, error: Broken) -> None:
        """Stop the venue: an account whose arithmetic is false is served to nobody."""
        self._broken = error
        self._break.set()

    async def until_broken(self) -> None:
        """Raise the `Broken` that `break_down` is given; return never."""
        await self._break.wait()
        if self._broken is not None:
            raise self._broken

    def fail(self, reason: str) -> None:
        """Tell that the market broke off, in the status and to every market-data consumer.

        A relay tries again and clears the failure when its upstream is back.
        """
        self.progress.failure = reason
        for consumer in self.hub.market_consumers():
            consumer.close(1011, reason[:120])

    def end(self) -> None:
        """Close every market-data consumer once it has had all there was."""
        self.progress.finished = True
        for consumer in self.hub.market_consumers():
            consumer.close(1000, "tape ended")


def _depth_streams(symbol: str) -> tuple[str, str]:
    return f"{symbol.lower()}@depth@100ms", f"{symbol.lower()}@depth"


def _enveloped(key: str, body: str, *, combined: bool) -> str:
    """Return an event of the account as the consumer of `key` is told it."""
    if key == USER_STREAM:
        return f'{{"subscriptionId":{SUBSCRIPTION},"event":{body}}}'
    return f'{{"stream":"{key}","data":{body}}}' if combined else body


def snapshot_symbol(symbols: tuple[str, ...]) -> str:
    """Return whose a recorded REST snapshot is: it names no symbol, so the tape must hold one only."""
    if len(symbols) != 1:
        raise Misuse(f"a recorded depth snapshot names no symbol and the tape holds {', '.join(symbols)}")
    return symbols[0]
