"""The gateway: from a committed command to the venue and back. Decides no order; forbids, sends, asks, and tells.

The way of an order: intent on disk and on the bus (which checks the latch, the mode and the lease), the gates once
more, then the wire, once. Whatever comes back, or does not, is told on `venue.events`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from edgefleet.bus.interface import FIRST, Bus, Clearance, Entry, Permit, id_key
from edgefleet.clock import NS_PER_MS, Clock
from edgefleet.errors import FleetError, OutOfReach, Poison, Transient
from edgefleet.gateway.gates import Gates
from edgefleet.gateway.hold import FeedHold, Member
from edgefleet.gateway.inquiry import Inquiry, Log
from edgefleet.gateway.intents import IntentJournal, Line
from edgefleet.gateway.lease import AccountLease
from edgefleet.gateway.memory import OUR_PREFIX, Known, OrderMemory
from edgefleet.gateway.publisher import Batch, Publisher
from edgefleet.gateway.reconcile import Classes, VenueView, classify, look, unresolved
from edgefleet.gateway.words import Occasion, Words
from edgefleet.instruments import split_id
from edgefleet.messages import (
    FEEDS,
    SESSION_START,
    Command,
    GatewayOutcome,
    OrderEvent,
    OrderState,
    TradingState,
    VenueOrder,
    VenueTrade,
    decode,
)
from edgefleet.params.schema import ExecutionParams
from edgefleet.venues.interface import (
    STAMP_REFUSED,
    AccountUpdate,
    Answered,
    Connected,
    Disconnected,
    NewOrder,
    NotFound,
    NotSent,
    OrderUpdate,
    Rejected,
    Unknown,
    UserEvent,
    Venue,
)

SWEEP_S: Final = 0.25
CLEARANCE_MS: Final = 500  # what a commit was told may leave; the disk can take longer, and the latch fall meanwhile
KEEP_SWEPT: Final = 1_000  # a command whose commit's answer was lost is never handed over
HALT_POLL_S: Final = 0.05
STALE_COMMAND_MS: Final = 5_000
SLOW_DISK_MS: Final = 1_000  # each order waits for its intent: a slower disk is a person's business
CLOCK_WATCH_S: Final = 10.0  # how often the venue's clock is measured between reconciles
_CLOCK_AWAY: Final = "the venue's clock is"
_CANCEL_PAUSES_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)


class Written(NamedTuple):
    """An order event, and how it stands in its stream."""

    data: bytes
    event: OrderEvent


class _About(msgspec.Struct):
    """Of an `OrderEvent`, what it is about."""

    state: OrderState
    instrument: str


_ABOUT: Final = msgspec.json.Decoder(_About)


class Gateway:
    """One account at one venue."""

    def __init__(
        self,
        *,
        bus: Bus,
        venue: Venue,
        account: str,
        instruments: Sequence[str],
        lease: AccountLease,
        feeds: FeedHold,
        is_anothers: Callable[[str], bool] = lambda venue: False,
        journal_path: Path,
        halt_file: Path,
        params: Callable[[], ExecutionParams],
        config_hash: Callable[[], str],
        clock: Clock,
        log: Log,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_sent: Callable[[OrderEvent, int], None] = lambda event, sent_at: None,
    ) -> None:
        self.account = account
        self.venue_name = venue.name
        self.memory = OrderMemory()
        self.gates = Gates(clock, halt_file, lease_is_fresh=lease.is_fresh)
        self.instruments = tuple(instruments)
        self.offset_ns: int | None = None
        self.sweeps = 0  # readings of `orders`
        self._bus = bus
        self._venue = venue
        self._lease = lease
        self._is_anothers = is_anothers  # whether orders at a venue are for another gateway
        self._journal_path = journal_path
        lease.on_lapse = self._lease_lapsed
        self._params = params
        self._config_hash = config_hash
        self._clock = clock
        self._log = log
        self._pause = pause
        self._on_sent = on_sent
        self._journal: IntentJournal
        self._publisher: Publisher
        self._words = Words(account, venue.name, self.memory, clock, lambda message: self._publisher.tell(message))
        self._inquiry = Inquiry(
            venue,
            self.memory,
            self._words,
            params=params,
            clock=clock,
            log=log,
            pause=pause,
            spawn=lambda work: self._spawn(work),
        )
        self._prepared: dict[str, asyncio.Future[None]] = {}  # by order: its intent, on its way to the disk
        self._offered: set[bytes] = set()  # commands handed over in process, not yet seen in the stream
        self._swept_first: deque[bytes] = deque(maxlen=KEEP_SWEPT)  # seen in the stream, not yet handed over
        self._position = FIRST
        self._buffer: list[UserEvent] | None = None  # events that came while the venue was being looked at
        self._feeds = feeds
        feeds.join(venue.name, Member(self.gates.beat, self._bus_trouble, self._alert))
        self._halt_look: asyncio.TimerHandle | None = None
        self._reconcile = asyncio.Event()
        self._reason: Occasion = "start"
        self._bus_lost = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failed: asyncio.Future[None] | None = None
        self._halted_at = 0
        self._said: TradingState | None = None  # the newest that was read and not obeyed yet
        self._unjudged: set[str] = set()  # orphans that wait for a lease that is young
        self._alarmed: set[str] = set()  # orphans that people were told of since a person resumed last
        self._asked: Command | None = None  # of risk's breakers: the latch is to be moved

    def disk(self) -> tuple[bool, str]:
        """Return whether intents reach the disk in good time, and how long the slowest of late took or has waited."""
        if self._journal.failure:
            return False, self._journal.failure
        lag_ms = self._journal.lag_ms()
        return lag_ms <= SLOW_DISK_MS, f"a sync takes {lag_ms} ms, allowed {SLOW_DISK_MS}"

    # --- life

    async def start(self) -> None:
        """Take the account, read the journal, claim the identity, and begin.

        Raises
        ------
        OutOfReach
            If another executor trades the account or has the journal.
        Broken
            If the journal is damaged.
        """
        self._failed = asyncio.get_running_loop().create_future()
        self._journal, lines, torn = IntentJournal.open(self._journal_path)
        try:
            await self._lease.take()
        except BaseException:
            await self._journal.close()
            raise
        if torn:
            self._log.warning("journal_torn", path=str(self._journal.path), bytes=len(torn))
        self._publisher = Publisher(self._bus, self.venue_name, self._journal, self._clock, self._config_hash)
        self._publisher.on_trouble = self._bus_trouble
        record = await self._publisher.claim(self._replay(lines))
        self._position = record.fields.get("orders", FIRST)
        await self._journal.append("open", b"{}", at=self._clock.wall_ns())
        await self._latch_from_start()
        # The order step may remember an open gate from before: it must read this first.
        self._words.reconciled(Classes((), (), ()), (), self.gates.not_ready_reason)
        for work in (
            self._publisher.run(),
            self._lease.keep(),
            self._follow_user_stream(),
            self._follow_control(),
            self._sweep_orders(),
            self._reconcile_when_asked(),
            self._watch_clock(),
            self._inquiry.watch(),
        ):
            self._spawn(work)
        self._look_for_halt_file()
        await self._publisher.flushed()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then cancel what is open, tell what is left, and let the account go.

        Raises
        ------
        FleetError
            What ended the gateway: it was fenced, or an invariant is false.
        """
        assert self._failed is not None
        stopped = asyncio.create_task(stop.wait())
        try:
            waited: set[asyncio.Future[Any]] = {stopped, self._failed}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if self._failed.done():
                self._failed.result()
            await self._stop_in_order()
        finally:
            stopped.cancel()
            await self.close()

    async def close(self) -> None:
        """Stop at once, sending nothing more."""
        self.gates.stopping = True
        if self._halt_look is not None:
            self._halt_look.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._journal.close()
        await self._venue.close()

    def prepare(self, commands: Sequence[Written]) -> Permit | None:
        """Begin to write the intents of orders whose commit is next; return what that commit asks, if any is new.

        Disk and bus work side by side. A commit that fails leaves an intent of an order that never was: harmless, the
        repeated step names the same order again, and nothing leaves before its commit is answered with OK.
        """
        new = [command for command in commands if command.event.state is OrderState.PENDING_NEW]
        for data, event in new:
            if event.order_id not in self.memory.orders and event.order_id not in self._prepared:
                self._prepared[event.order_id] = self._write_intent(data)
        return Permit(self._lease.account, self._lease.token) if new else None

    def offer(self, commands: Sequence[Written], clearance: Clearance | None = None) -> None:
        """Carry out commands whose commit was just answered with OK, without waiting to read them back.

        `clearance` is what that commit was told may leave; without it each order asks by itself.
        """
        new = []
        for command in commands:
            if command.event.state not in _COMMANDS:
                continue
            if command.data in self._swept_first:
                self._swept_first.remove(command.data)
                continue
            self._offered.add(command.data)
            new.append(command)
        self._carry_out(new, clearance)

    def halt(self, reason: str) -> None:
        """Latch HALTED here and now; the journal, the bus and the cancels follow."""
        if not self.gates.halted:
            self.gates.halted = reason
            self._halted_at = self._clock.wall_ns()
            self._log.warning("halted", reason=reason)
            self._spawn(self._latch(reason))
            self._spawn(self._cancel_all(f"HALTED: {reason}"))

    # --- the journal, read again

    def _replay(self, lines: Sequence[Line]) -> list[Batch]:
        batches: list[Batch] = []
        for line in lines:
            body = bytes(line.body)
            match line.kind:
                case "intent":
                    self.memory.intend(msgspec.json.decode(body, type=OrderEvent))
                case "events":
                    batch = msgspec.json.decode(body, type=Batch)
                    batches.append(batch)
                    for message in batch.messages():
                        if isinstance(message, VenueOrder | VenueTrade | GatewayOutcome):
                            self.memory.take(message)
                            self._words.heard(message.ts_event)
                case "halt":
                    self.gates.halted, self._halted_at = msgspec.json.decode(body, type=str), line.at
                case "resume":
                    self.gates.halted = ""
                case _:
                    pass
        return batches[-2_000:]

    # --- commands

    def _carry_out(self, commands: Sequence[Written], clearance: Clearance | None = None) -> None:
        for command in commands:
            is_new = command.event.state is OrderState.PENDING_NEW
            self._spawn(self._new_order(command, clearance) if is_new else self._cancel_order(command.event))

    async def _new_order(self, command: Written, clearance: Clearance | None) -> None:
        """Take one PENDING_NEW to the venue, at most once in the journal's whole life."""
        event, began = command.event, self._clock.monotonic_ns()
        written = self._prepared.pop(event.order_id, None)
        known = self.memory.orders.get(event.order_id)
        if known is not None:
            self._inquiry.resolve_later(known)  # intended before a crash: it may be there
            return
        known = self.memory.intend(event)  # before anything is waited for: a cancel that comes meanwhile finds it
        if not self._bus_lost and not self.gates.has_beat(self._params().beat_limit_ms):
            await self._feeds.look()  # one may have come since the last look
        refusal = self._refusal()
        if event.instrument not in self.instruments:
            refusal = "this executor does not reconcile the instrument; start it with --symbols"
        if refusal is not None:
            self._deny(event, refusal)
            return
        try:
            intent = written or self._write_intent(command.data)
            permitted = await self._intend(event, intent, clearance, cleared_at=began)
        except (OutOfReach, Transient) as error:
            self._deny(event, str(error))
            return
        refusal = self._refusal() if permitted else "the latch, the mode or the account's lease forbids it"
        if known.standing != "intended":
            refusal = "it was given up while beats or the disk were waited for"
        if refusal is not None:
            self._deny(event, refusal)
            return
        await self._send(event, known)

    async def _intend(
        self, event: OrderEvent, written: asyncio.Future[None], clearance: Clearance | None, *, cleared_at: int
    ) -> bool:
        """Return, once the intent is on disk, whether the bus permits the order to leave.

        The wire waits for both, so either alone means an order that never left.
        """
        if clearance is not None:
            await written
            if self._clock.monotonic_ns() - cleared_at <= CLEARANCE_MS * NS_PER_MS:
                return clearance.covers(reducing=event.reduce_only)
        asked = self._publisher.intend(account=self._lease.account, lease=self._lease.token, reducing=event.reduce_only)
        outcomes = await asyncio.gather(written, asked, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return outcomes[1] is True

    def _write_intent(self, data: bytes) -> asyncio.Future[None]:
        return self._journal.begin("intent", data, at=self._clock.wall_ns())

    async def _send(self, event: OrderEvent, known: Known) -> None:
        order = NewOrder(
            order_id=event.order_id,
            instrument=event.instrument,
            side=event.side,
            kind=event.kind,
            quantity=event.quantity,
            price=event.price,
        )
        sent_at = self._clock.wall_ns()
        result = await self._venue.place(order)
        self._on_sent(event, sent_at)
        match result:
            case Answered():
                self._words.outcome(event, "new", "SENT", sent_at=sent_at)
                self._words.answer(result, "answer")
            case Rejected():
                self._words.outcome(event, "new", "REJECTED", code=result.code, reason=result.reason, sent_at=sent_at)
                if result.code == STAMP_REFUSED:
                    self._shut("the venue refuses the stamps of our clock")
                    self._ask_reconcile("reconnect")  # which measures the clocks first
            case NotSent():
                self._words.outcome(event, "new", "DENIED", reason=result.reason)
            case Unknown():
                self._log.warning("order_unknown", order_id=event.order_id, reason=result.reason)
                self._words.outcome(event, "new", "UNKNOWN", reason=result.reason, sent_at=sent_at)
                self._inquiry.resolve_later(known)
            case _:
                self._words.outcome(event, "new", "DENIED", code=result.code, reason=result.reason, sent_at=sent_at)

    def _refusal(self) -> str | None:
        if self._journal.failure:
            return self._journal.failure
        return self.gates.refusal(self._params().beat_limit_ms)

    def _deny(self, event: OrderEvent, reason: str) -> None:
        self._log.warning("order_denied", order_id=event.order_id, instrument=event.instrument, reason=reason)
        self._words.outcome(event, "new", "DENIED", reason=reason)

    async def _cancel_order(self, event: OrderEvent) -> None:
        """Ask for a cancel until the venue has said what the order is: asking twice does no harm."""
        try:
            body = msgspec.json.encode({"order_id": event.order_id})
            await self._journal.append("cancel", body, at=self._clock.wall_ns())
        except OutOfReach as error:
            # A cancel only makes the book smaller: it goes out though the disk is full.
            self._log.error("cancel_not_journaled", order_id=event.order_id, reason=str(error))
        for attempt in range(1_000):
            result = await self._venue.cancel(event.instrument, event.order_id)
            if isinstance(result, Answered):
                self._words.answer(result, "answer")
                return
            if isinstance(result, NotFound | Rejected) and await self._ask_about(event, result.code, result.reason):
                return
            await self._pause(_CANCEL_PAUSES_S[min(attempt, len(_CANCEL_PAUSES_S) - 1)])
        self._words.outcome(event, "cancel", "UNKNOWN", reason="the venue never said")

    async def _ask_about(self, event: OrderEvent, code: str, reason: str) -> bool:
        """Find out what became of an order that could not be cancelled; return whether it is known now."""
        found = await self._venue.query(event.instrument, event.order_id)
        if isinstance(found, NotFound):
            self._words.outcome(event, "cancel", "NOT_FOUND", code=code, reason=reason)
            known = self.memory.orders.get(event.order_id)
            if known is not None:
                known.standing = "unknown"
                self._inquiry.resolve_later(known)
            return True
        if not isinstance(found, Answered):
            return False
        await self._inquiry.tell_with_trades(found.order)
        if found.order.status in ("NEW", "PARTIALLY_FILLED"):
            self._words.outcome(event, "cancel", "REJECTED", code=code, reason=reason)
        return True

    # --- the user stream

    async def _follow_user_stream(self) -> None:
        async for event in self._venue.user_events():
            match event:
                case Connected():
                    self._inquiry.stream_since = self._clock.monotonic_ns()
                    self._ask_reconcile("reconnect")
                case Disconnected():
                    self._inquiry.stream_since = None
                    self._log.warning("user_stream_lost", reason=event.reason)
                case _ if self._buffer is not None:
                    self._buffer.append(event)
                case _:
                    self._take_user_event(event)

    def _take_user_event(self, event: UserEvent) -> None:
        if isinstance(event, AccountUpdate):
            self._words.heard(event.ts_event)
            return
        if not isinstance(event, OrderUpdate):
            return
        now = self._clock.wall_ns()
        if event.order.order_id not in self.memory.orders:
            self._take_foreign(event)
            return
        known = self.memory.orders[event.order.order_id]
        known.venue_order_id = event.order.venue_order_id
        if event.trade is not None:
            self._words.trade(event.trade, now)
        self._words.order(event.order, "stream", now)
        if event.trade_incomplete:
            self._spawn(self._inquiry.fetch_trades(event.order.instrument))

    def _take_foreign(self, event: OrderUpdate) -> None:
        """An order that no journal of ours knows: somebody else's, or an orphan with our name."""
        if event.order.order_id.startswith(OUR_PREFIX):
            self._orphans((event.order.order_id,))
        elif event.trade is not None or event.trade_incomplete:
            self._ask_reconcile("periodic")  # the account changed by a hand that is not ours

    # --- the start gate

    def _ask_reconcile(self, reason: Occasion) -> None:
        if self._reason != "start":
            self._reason = reason
        self._reconcile.set()

    async def _reconcile_when_asked(self) -> None:
        failures = 0
        while True:
            await self._reconcile.wait()
            self._reconcile.clear()
            if self._inquiry.stream_since is None:
                continue  # its next connect asks again
            if self._reason != "periodic":
                self._shut("reconciling")
            try:
                await self.reconcile()
                failures = 0
            except Transient as error:
                self._shut(str(error))
                self._log.warning("reconcile_failed", reason=str(error))
                await self._pause(_CANCEL_PAUSES_S[min(failures, len(_CANCEL_PAUSES_S) - 1)])
                failures += 1
                self._reconcile.set()

    def _shut(self, reason: str) -> None:
        """Shut the start gate here and now, and tell the order step so that it decides nothing meanwhile."""
        if self.gates.ready:
            self._words.reconciled(Classes((), (), ()), (), reason)
        self.gates.ready, self.gates.not_ready_reason = False, reason

    async def reconcile(self) -> None:
        """Compare the venue with the journal, tell every difference, and open the start gate if all is well."""
        reason = self._reason
        params = self._params()
        if self._bus_lost:
            await self._publisher.stand()
            self._bus_lost = False
        self.offset_ns = await self._venue.server_time_offset_ns()
        self._buffer = []
        try:
            view = await look(self._venue, self.memory, self.instruments)
            if self._publisher.lost_facts:
                self._publisher.lost_facts = False
                self._words.again()
            classes = self._tell_view(view, reason)
        finally:
            buffered, self._buffer = self._buffer or [], None
            for event in buffered:
                self._take_user_event(event)
        pending = unresolved(self.memory, view.missing)
        for known in pending:
            if known.standing == "live":
                known.standing = "unknown"
                reason_lost = "the venue does not find what it had accepted"
                self._words.outcome(known.intent, "new", "NOT_FOUND", reason=reason_lost)
            self._inquiry.resolve_later(known)
        if classes.orphans:
            self._orphans(classes.orphans)
        shut = self._why_shut(classes, params)
        self._words.reconciled(classes, pending, shut)
        await self._publisher.flushed()
        if self._reconcile.is_set():
            return
        self.gates.ready, self.gates.not_ready_reason = not shut, shut
        self._reason = "reconnect" if self._reason == "start" else self._reason
        self._log.info(
            "reconciled", ready=not shut, reason=shut or reason, ours=len(classes.ours), external=len(classes.external)
        )

    def _why_shut(self, classes: Classes, params: ExecutionParams) -> str:
        """Return why the start gate stays shut after a look at the venue; empty where it may open."""
        if self.gates.stopping:
            return "the executor is stopping"
        if classes.orphans:
            return f"orders with our name that our journal does not know: {', '.join(classes.orphans)}"
        return self._clock_fault(params)

    def _clock_fault(self, params: ExecutionParams) -> str:
        offset_ms = abs(self.offset_ns or 0) / NS_PER_MS
        if offset_ms < params.clock_offset_limit_ms:
            return ""
        return f"{_CLOCK_AWAY} {offset_ms:.0f} ms away, allowed {params.clock_offset_limit_ms}"

    async def _watch_clock(self) -> None:
        """Shut the gate where a clock has gone astray since the last reconcile, and ask for one when it came back."""
        while True:
            await asyncio.sleep(CLOCK_WATCH_S)
            try:
                self.offset_ns = await self._venue.server_time_offset_ns()
            except Transient as error:
                self._log.warning("clock_not_measured", reason=str(error))
                continue
            fault = self._clock_fault(self._params())
            if fault and self.gates.ready:
                self._log.warning("clock_astray", reason=fault)
                self._shut(fault)
            elif not fault and self.gates.not_ready_reason.startswith(_CLOCK_AWAY):
                self._ask_reconcile("reconnect")

    def _tell_view(self, view: VenueView, occasion: Occasion) -> Classes:
        now = self._clock.wall_ns()
        for order in (*view.open_orders, *view.queried):
            self._words.order(order, "query", now)
        for trade in view.trades:
            self._words.trade(trade, now)
        self._words.account(view.account, occasion, now)
        return classify(view.open_orders, self.memory)

    def _orphans(self, order_ids: Sequence[str]) -> None:
        text = f"orders with our name that our journal does not know: {', '.join(order_ids)}"
        if not self._lease.is_fresh():
            # Another executor may have the account by now, and these are its orders.
            self._shut("the account's lease is too old")
            new = [order_id for order_id in order_ids if order_id not in self._unjudged]
            if new:
                self._unjudged.update(new)
                self._log.warning("orphans_not_judged", text=text)
                self._spawn(self._judge_later(new))
            return
        if not self._alarmed.issuperset(order_ids):
            self._alarmed.update(order_ids)
            self._alert("orphan_order", text)
        self.halt(text)

    async def _judge_later(self, order_ids: Sequence[str]) -> None:
        """Judge once the lease is young again; where it is lost its keeper ends this process."""
        await self._lease.until_fresh()
        self._unjudged.difference_update(order_ids)
        unknown = [order_id for order_id in order_ids if order_id not in self.memory.orders]
        if unknown:
            self._orphans(unknown)
        self._ask_reconcile("reconnect")  # the gate was shut for the lease

    # --- the latch

    async def _latch_from_start(self) -> None:
        """Carry a latch over a restart, and over a Redis that forgot it."""
        if self.gates.halted:
            await self._bus.latch(
                "HALTED", reason=self.gates.halted, by="executor", person=False, ts=self._clock.wall_ns()
            )
            self._log.warning("still_halted", reason=self.gates.halted)
            return
        now = await self._bus.trading_state()
        if now is not None and now.state == "HALTED":
            self.gates.halted, self._halted_at = f"{now.reason} (by {now.by})", self._clock.wall_ns()
            await self._journal.append("halt", msgspec.json.encode(self.gates.halted), at=self._halted_at)

    async def _latch(self, reason: str) -> None:
        try:
            await self._journal.append("halt", msgspec.json.encode(reason), at=self._halted_at)
        except OutOfReach as error:
            self._log.error("halt_not_journaled", reason=str(error))
        while True:
            try:
                await self._bus.latch("HALTED", reason=reason, by="executor", person=False, ts=self._clock.wall_ns())
                return
            except Transient:
                await self._pause(0.2)  # nothing leaves meanwhile: the gate is shut here

    async def _take_trading_state(self, said: TradingState) -> None:
        if said.state == "HALTED":
            if not self.gates.halted:
                self.halt(f"{said.reason} (by {said.by})")
        elif said.state == "ACTIVE" and self.gates.halted:
            if said.by == SESSION_START or said.ts_event <= self._halted_at or self.gates.is_file_there():
                self._spawn(self._latch(self.gates.halted))
                return
            await self._journal.append("resume", msgspec.json.encode(said.by), at=self._clock.wall_ns())
            self.gates.halted = ""
            self._alarmed.clear()
            self._log.warning("resumed", by=said.by, reason=said.reason)

    def _look_for_halt_file(self) -> None:
        """Halt where the file is there, and look again soon. A timer: a task that sleeps costs some times as much."""
        self._halt_look = asyncio.get_running_loop().call_later(HALT_POLL_S, self._look_for_halt_file)
        try:
            if not self.gates.halted and self.gates.is_file_there():
                self.halt(f"{self.gates.halt_file} is there")
        except OSError as error:
            self.halt(f"whether {self.gates.halt_file} is there cannot be told: {error.strerror}")

    async def _cancel_all(self, reason: str) -> None:
        """Cancel every order of ours that may be open, at the venue itself: Redis may be away."""
        work = [
            self._cancel_order(known.intent)
            for known in self.memory.unsettled()
            if known.standing in ("live", "unknown") and known.status not in ("FILLED", "CANCELED", "EXPIRED")
        ]
        if work:
            self._log.warning("cancelling_all", orders=len(work), reason=reason)
            await asyncio.gather(*work)

    # --- streams we follow

    async def _follow_control(self) -> None:
        """Obey the latch, and notice when Redis was away."""
        position: str | None = None
        history_until = FIRST
        while True:
            try:
                if position is None:
                    history_until = await self._bus.last_id("control")
                    position = FIRST
                entries = (await self._bus.read({"control": position}, count=256, block_ms=500)).get("control", [])
                if entries:
                    position = entries[-1].id
                    self._take_control(entries)
                if id_key(position) >= id_key(history_until):
                    said, self._said = self._said, None
                    if said is not None:
                        await self._take_trading_state(said)
                    await self._obey()
                if self._bus_lost:
                    self._ask_reconcile("reconnect")
                    position = None
                    self._feeds.begin_anew()
            except Transient as error:
                self._bus_trouble(str(error))
                await self._pause(0.1)

    def _take_control(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.type == "trading_state.v1":
                said = decode(entry.type, entry.data)
                assert isinstance(said, TradingState)
                self._said = said  # obeyed at the end of what is there: a page of history is not what is so
                if self._asked is not None and _answers(said, self._asked):
                    self._asked = None
            elif entry.type == "command.v1":
                command = decode(entry.type, entry.data)
                assert isinstance(command, Command)
                if command.verb == "reconcile":
                    self._ask_reconcile("periodic")
                elif command.verb == "halt" or (command.verb == "reduce" and self._asked is None):
                    self._asked = command  # the stricter one stays

    async def _obey(self) -> None:
        """Move the latch as the newest command says that nothing has answered; after a restart too."""
        asked = self._asked
        if asked is None:
            return
        if asked.verb == "halt":
            self.halt(f"{asked.reason} (by {asked.by})")
        else:
            ts = self._clock.wall_ns()
            await self._bus.latch("REDUCING", reason=asked.reason, by=asked.by, person=False, ts=ts)
        self._asked = None

    def _lease_lapsed(self) -> None:
        self._shut("the account's lease had lapsed")
        self._ask_reconcile("reconnect")

    def _bus_trouble(self, reason: str) -> None:
        if not self._bus_lost:
            self._bus_lost = True
            self._shut(f"Redis was lost: {reason}")
            self._log.warning("bus_lost", reason=reason)
            self._ask_reconcile("reconnect")

    async def _sweep_orders(self) -> None:
        """Read `orders` behind the in-process hand-over: what was handed over is passed by, the rest is carried out."""
        while True:
            try:
                read = await self._bus.read({"orders": self._position}, count=256, block_ms=0)
            except Transient as error:
                self._bus_trouble(str(error))
                await self._pause(SWEEP_S)
                continue
            self.sweeps += 1
            entries = read.get("orders", [])
            for entry in entries:
                if not self._swept(entry):
                    break
                self._position = entry.id
                self._publisher.fields = {"orders": self._position}
            else:
                if entries:
                    continue
            await asyncio.sleep(SWEEP_S)

    def _swept(self, entry: Entry) -> bool:
        """Take an entry in; False where it is so young that it may yet be handed over in process."""
        if entry.type != "order_event.v1":
            return True
        if entry.data in self._offered:
            self._offered.remove(entry.data)
            return True
        about = _about(entry)
        if about.state not in _COMMANDS or self._is_anothers(split_id(about.instrument)[1]):
            return True
        age_ms = self._clock.wall_ns() // NS_PER_MS - id_key(entry.id)[0]
        if age_ms < SWEEP_S * 1_000:
            return False
        self._swept_first.append(entry.data)
        event = decode(entry.type, entry.data)
        assert isinstance(event, OrderEvent)
        is_new = event.state is OrderState.PENDING_NEW and event.order_id not in self.memory.orders
        if is_new and age_ms > STALE_COMMAND_MS:
            self.memory.intend(event)
            self._deny(event, f"it was decided {age_ms} ms ago")
        else:
            self._carry_out([Written(entry.data, event)])
        return True

    # --- the end

    async def _stop_in_order(self) -> None:
        """Cancel what is open, take the last balances, tell what is left, let the account go."""
        self.gates.stopping = True
        limit_s = self._params().stop_cancel_ms / 1_000
        try:
            async with asyncio.timeout(limit_s):
                # Before the cancels, or the order step would answer each of them with a new order.
                self._shut("the executor is stopping")
                await self._cancel_all("ordered stop")
                self._reason = "stop"
                await self.reconcile()
        except (Transient, TimeoutError) as error:
            self._log.error("stop_incomplete", reason=str(error) or f"not done in {limit_s:g} s")
        self._shut("the executor has stopped")
        left = [known.order_id for known in self.memory.unsettled()]
        if left:
            self._alert("orders_left", f"at the stop these orders of ours are not settled: {', '.join(left)}")
        self._log.info("gateway_stopped", left=left)
        try:
            async with asyncio.timeout(limit_s):
                await self._publisher.flushed()
                await self._lease.give_back()
        except (Transient, TimeoutError) as error:
            self._log.error("stop_not_told", reason=str(error))

    def _alert(self, name: str, text: str) -> None:
        self._log.error(name, text=text)
        self._words.alert(name, text)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and self._failed is not None and not self._failed.done():
            if not isinstance(error, FleetError):
                self._log.error("gateway_failed", error=repr(error))
            self._shut(str(error))
            self._failed.set_exception(error)


_COMMANDS: Final = frozenset({OrderState.PENDING_NEW, OrderState.PENDING_CANCEL})


def _about(entry: Entry) -> _About:
    """Return what an order event is about. Most are facts, and nothing else of them is wanted here.

    Raises
    ------
    Poison
        If the entry does not decode.
    """
    try:
        return _ABOUT.decode(entry.data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Poison(f"{entry.type} does not decode: {error}") from error


def _answers(said: TradingState, asked: Command) -> bool:
    """Return whether the latch has moved as asked, or a person has resumed since; a feed's hold is neither."""
    if said.by == FEEDS or (said.by == SESSION_START and said.state == "ACTIVE"):
        return False
    return said.state in ("HALTED", "ACTIVE") or asked.verb == "reduce"
