"""What every feed of market data shares: books, touches, beats, prints and what was counted. Opens no socket.

A venue's adapter reads frames and says what they mean; what follows from it for `market` and `beats` is decided here,
so that an instrument looks the same wherever it trades. Nothing here reads a clock: time is the stamp beside a frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Generic, Literal, Protocol, TypeVar, cast

import msgspec

from edgefleet.book import Book, LeapGuard, Top
from edgefleet.book.minute import MinuteVwap
from edgefleet.book.quality import Judgement, QualityMonitor
from edgefleet.book.sessions import ALWAYS_OPEN, Calendar
from edgefleet.clock import NS_PER_MS, NS_PER_S
from edgefleet.instruments import instrument_id
from edgefleet.messages.market import (
    Beat,
    BookDelta,
    BookSnapshot,
    Level,
    Quote,
    Touch,
    TouchAge,
    Trade,
    VenueStatus,
)
from edgefleet.params.schema.quality import QualityParams
from edgefleet.stage import Output
from edgefleet.units import ZERO
from edgefleet.venues.figures import ABSURD, SMALLEST

# After a silence longer than this only the newest beats are made: they say the same with a larger age.
MAX_BEATS_AT_ONCE = 60
FUTURE_NS = 86_400 * NS_PER_S  # no venue's clock is a day ahead of ours; such a stamp would still every touch

Status = Literal["connected", "disconnected", "resync", "ended"]
Aggressor = Literal["buy", "sell"]

# What a decoder raises for bytes that are no frame; thousands of brackets are told by the last.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class FeedCounts(msgspec.Struct):
    """What a feed has seen since it was made, over all its instruments. Only grows."""

    frames: int = 0
    trades: int = 0
    quotes: int = 0
    depth_applied: int = 0
    depth_stale: int = 0
    snapshots: int = 0
    book_gaps: int = 0
    book_crossed: int = 0
    checksums_ok: int = 0
    checksums_bad: int = 0
    trade_gaps: int = 0
    quarantined: int = 0
    kept_out: int = 0  # prints that are true and no last price
    withdrawn: int = 0  # prints that the venue corrected or cancelled after it sent them
    one_sided: int = 0  # tops of which a side was empty
    duplicates: int = 0
    unfollowed: int = 0
    unknown_events: int = 0
    undecodable: int = 0
    faults: dict[str, int] = {}  # of data quality, by label


class BookCounts(msgspec.Struct):
    """What befell one instrument's book since the feed was made. Only grows."""

    applied: int = 0  # deltas
    stale: int = 0  # deltas from before the snapshot
    gaps: int = 0  # in the venue's sequence
    crossed: int = 0  # times the book was found crossed, and lost for it
    checksums_ok: int = 0
    checksums_bad: int = 0
    tops_compared: int = 0  # times the venue said its top beside a book of ours of the same instant
    tops_equal: int = 0


class Followed:
    """One instrument of a connection: its book, where its sequences stand, and its touch."""

    __slots__ = (
        "asks",
        "bids",
        "book",
        "counts",
        "heard_ns",
        "instrument",
        "name",
        "prints",
        "reconnected",
        "synced",
        "top",
        "top_dirty",
        "top_id",
        "touch_ts",
        "trace",
        "trade_id",
        "update_id",
        "vwap",
    )

    def __init__(self, name: str, instrument: str, trace: str) -> None:
        self.name = name  # as the venue spells it
        self.instrument = instrument
        self.trace = trace
        self.book = Book()
        self.synced = False  # the book is whole
        self.update_id = 0  # the venue's book sequence, or our count where it has none
        self.trade_id = -1
        self.reconnected = False  # no print came on this connection yet
        self.heard_ns: int | None = None  # receive stamp of the last frame
        self.top: Top | None = None
        self.top_id = 0
        self.top_dirty = False
        self.touch_ts: int | None = None
        self.prints, self.bids, self.asks = LeapGuard(), LeapGuard(), LeapGuard()
        self.counts = BookCounts()
        self.vwap = MinuteVwap()

    def begin_anew(self) -> None:
        """Forget what one connection's sequences say: a venue that was restarted may count from one again."""
        self.lose_book()
        self.top = None
        self.top_id = 0
        self.reconnected = True

    def lose_book(self) -> None:
        """Know nothing of the book any more."""
        self.book = Book()
        self.synced = False


F = TypeVar("F", bound=Followed)


class Feed(Protocol):
    """One connection's market data, as ingestion, replay and `data check` drive it."""

    venue: str
    waits_for_books: bool
    counts: FeedCounts

    @property
    def instruments(self) -> tuple[str, ...]:
        """Return the instruments that are followed, in the order they were given."""
        ...

    @property
    def awaiting(self) -> tuple[str, ...]:
        """Return the instruments whose book needs a REST snapshot; empty where books come on the connection."""
        ...

    @property
    def unconfirmed(self) -> tuple[str, ...]:
        """Return the instruments that were asked for on this connection and have said nothing yet."""
        ...

    @property
    def held(self) -> int:
        """Return how many frames wait for the first snapshots."""
        ...

    @property
    def lost(self) -> dict[str, int]:
        """Return the instruments whose lost book is waited for, with the update after which it was lost."""
        ...

    @property
    def marks(self) -> str:
        """Return how far each instrument's own sequences have come, for `resume` after a restart."""
        ...

    @property
    def bookless(self) -> tuple[str, ...]:
        """Return the instruments of which no whole book is known now."""
        ...

    def book_counts(self) -> dict[str, BookCounts]:
        """Return what befell each instrument's book."""
        ...

    def resume(self, marks: str) -> None:
        """Begin after `marks`: prints that are missing since then are told as a hole."""
        ...

    def set_touch_interval(self, touch_interval_ms: int) -> None:
        """Take a new conflation interval."""
        ...

    def set_quality(self, params: QualityParams) -> None:
        """Judge prints and quotes by these thresholds: what is unsound is counted and sent to nobody."""
        ...

    def take_notices(self) -> list[str]:
        """Return one line for each thing worth a log entry since the last call."""
        ...

    def take_requests(self) -> list[str]:
        """Return the texts that the connection is to be sent: subscriptions, re-subscriptions, answers to pings."""
        ...

    def on_connect(self, stamp_ns: int) -> None:
        """Take note that a connection is up: what is to be asked for on it is in `take_requests`."""
        ...

    def ask_again(self) -> None:
        """Ask once more for what was asked for and has said nothing."""
        ...

    def on_frame(self, stamp_ns: int, raw: bytes, ts_init: int) -> list[Output]:
        """Return what follows from one frame."""
        ...

    def on_snapshot(self, instrument: str, raw: bytes, ts_init: int) -> list[Output]:
        """Return what follows from the answer of the venue's REST book."""
        ...

    def give_up_book(self, instrument: str, reason: str, ts_init: int) -> list[Output]:
        """Return what follows from a REST book that will not come on this connection."""
        ...

    def on_silence(self, now_ns: int) -> list[Output]:
        """Return the beats that fell due by `now_ns` although no frame came."""
        ...

    def on_disconnect(self, reason: str, ts_init: int) -> list[Output]:
        """Return the status that tells of a lost connection."""
        ...

    def on_end(self, ts_init: int) -> list[Output]:
        """Return what closes a tape."""
        ...


class FeedCore(Generic[F]):
    """What adapters build on. An adapter supplies `spell`, `follow` and `handle`, and calls the rest.

    Parameters
    ----------
    venue
        The venue's name in the fleet, such as `sim`.
    symbols
        Canonical pairs to follow; frames of others are counted and dropped.
    touch_interval_ms
        Event time between two `Touch` of one instrument; 0 sends every change.
    """

    waits_for_books = False
    calendar: Calendar = ALWAYS_OPEN  # the market's hours: silence outside them is no fault

    def __init__(self, venue: str, symbols: Iterable[str], *, touch_interval_ms: int = 100) -> None:
        self.venue = venue
        self.counts = FeedCounts()
        self._touch_interval = touch_interval_ms * NS_PER_MS
        self._followed: dict[str, F] = {}
        for symbol in symbols:
            name = self.spell(symbol)
            self._followed[name] = self.follow(name, instrument_id(symbol, venue), f"{venue}:{name}:")
        self._by_instrument = {followed.instrument: followed for followed in self._followed.values()}
        self._last_stamp: int | None = None  # ns, the newest venue stamp that this connection carried
        self._said_ns = 0  # ns, the newest stamp of any connection; 0: none yet
        self._next_beat: int | None = None  # ns of ingestion's clock
        self._reconnected = False
        self._quality: QualityMonitor | None = None
        self._unconfirmed: dict[str, None] = {}
        self._notices: list[str] = []
        self._requests: list[str] = []

    # --- what an adapter supplies

    def spell(self, symbol: str) -> str:
        """Return how the venue writes a canonical symbol in its frames."""
        raise NotImplementedError

    def follow(self, name: str, instrument: str, trace: str) -> F:
        """Return what is to be known of one instrument."""
        raise NotImplementedError

    def handle(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        """Append what follows from one frame. A `msgspec` error is told as an undecodable frame."""
        raise NotImplementedError

    def subscriptions(self, names: Sequence[str]) -> list[str]:
        """Return the texts that ask for `names` on a connection; none where its address says all."""
        return []

    # --- what drives it

    @property
    def instruments(self) -> tuple[str, ...]:
        """Return the instruments that are followed, in the order they were given."""
        return tuple(self._by_instrument)

    @property
    def awaiting(self) -> tuple[str, ...]:
        """Return the instruments whose book needs a REST snapshot; empty where books come on the connection."""
        return ()

    @property
    def unconfirmed(self) -> tuple[str, ...]:
        """Return the instruments that were asked for on this connection and have said nothing yet."""
        return tuple(self._followed[name].instrument for name in self._unconfirmed)

    @property
    def held(self) -> int:
        """Return how many frames wait for the first snapshots."""
        return 0

    @property
    def lost(self) -> dict[str, int]:
        """Return the instruments whose lost book is waited for, with the update after which it was lost."""
        return {}

    @property
    def marks(self) -> str:
        """Return how far each instrument's own sequences have come, for `resume` after a restart."""
        ids = (f"{name}:{one.trade_id}" for name, one in self._followed.items())
        return ",".join((str(self._last_stamp or self._said_ns), *ids))

    @property
    def bookless(self) -> tuple[str, ...]:
        """Return the instruments of which no whole book is known now."""
        return tuple(instrument for instrument, followed in self._by_instrument.items() if not followed.synced)

    def book_counts(self) -> dict[str, BookCounts]:
        """Return what befell each instrument's book."""
        return {instrument: followed.counts for instrument, followed in self._by_instrument.items()}

    def resume(self, marks: str) -> None:
        """Begin after `marks`: prints that are missing since then are told as a hole."""
        stamp, *ids = marks.split(",")
        self._said_ns = int(stamp)
        for mark in ids:
            name, _, trade_id = mark.rpartition(":")
            followed = self._followed.get(name)
            if followed is not None:
                followed.trade_id = int(trade_id)
                followed.reconnected = True
        self._reconnected = True

    def set_touch_interval(self, touch_interval_ms: int) -> None:
        """Take a new conflation interval."""
        self._touch_interval = touch_interval_ms * NS_PER_MS

    def set_quality(self, params: QualityParams) -> None:
        """Judge prints and quotes by these thresholds: what is unsound is counted and sent to nobody."""
        if self._quality is None or self._quality.params != params:
            self._quality = QualityMonitor(params, self.calendar)

    def take_notices(self) -> list[str]:
        """Return one line for each thing worth a log entry since the last call."""
        notices, self._notices = self._notices, []
        return notices

    def take_requests(self) -> list[str]:
        """Return the texts that the connection is to be sent: subscriptions, re-subscriptions, answers to pings."""
        requests, self._requests = self._requests, []
        return requests

    def on_connect(self, stamp_ns: int) -> None:
        """Take note that a connection is up. Every instrument is unconfirmed until data of it comes."""
        self._unconfirmed = dict.fromkeys(self._followed)
        self._requests = self.subscriptions(list(self._followed))

    def ask_again(self) -> None:
        """Ask once more for what was asked for and has said nothing."""
        self._requests += self.subscriptions(list(self._unconfirmed))

    def on_frame(self, stamp_ns: int, raw: bytes, ts_init: int) -> list[Output]:
        """Return what follows from one frame.

        `stamp_ns` is ingestion's clock at the frame: the receive stamp on a tape, the wall clock live. A frame that
        cannot be read is counted, told in a notice, and changes nothing.
        """
        out: list[Output] = []
        self.take(stamp_ns, raw, ts_init, out)
        return out

    def on_snapshot(self, instrument: str, raw: bytes, ts_init: int) -> list[Output]:
        """Return what follows from the answer of the venue's REST book; nothing where books come on the connection."""
        return []

    def give_up_book(self, instrument: str, reason: str, ts_init: int) -> list[Output]:
        """Return what follows from a REST book that will not come; nothing where nothing waits for it."""
        return []

    def on_silence(self, now_ns: int) -> list[Output]:
        """Return the beats that fell due by `now_ns` although no frame came. Live only: frames are a tape's clock."""
        out: list[Output] = []
        self.beat_until(now_ns, now_ns, out)
        return out

    def on_disconnect(self, reason: str, ts_init: int) -> list[Output]:
        """Return the status that tells of a lost connection, and begin every book anew."""
        out: list[Output] = []
        self.status("disconnected", reason, ts_init, out)
        self._said_ns = self._last_stamp or self._said_ns
        for followed in self._followed.values():
            followed.begin_anew()
        self._last_stamp = None
        self._reconnected = True
        return out

    def on_end(self, ts_init: int) -> list[Output]:
        """Return the last touches that conflation kept back, and the status that closes a tape."""
        out: list[Output] = []
        for followed in self._followed.values():
            if followed.top_dirty:
                self._touch(followed, self._last_stamp or 0, ts_init, out)
        self.status("ended", "", ts_init, out)
        return out

    # --- what an adapter calls

    def take(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        """Count a frame, let the beats before it go, and read it."""
        self.counts.frames += 1
        if self._next_beat is None or stamp_ns >= self._next_beat:
            self.beat_until(stamp_ns, ts_init, out)
        try:
            self.handle(stamp_ns, raw, ts_init, out)
        except UNREADABLE as error:
            self.refuse(raw, str(error))

    def hear(self, name: str, stamp_ns: int) -> F | None:
        """Return whom a frame of data is about, None where it is not followed."""
        followed = self._followed.get(name)
        if followed is None:
            self.counts.unfollowed += 1
            return None
        followed.heard_ns = stamp_ns
        if self._unconfirmed:
            self._unconfirmed.pop(name, None)
        return followed

    def take_stamp(self, stamp: int, stamp_ns: int) -> bool:
        """Take the venue's stamp of a frame; return False where none can have set it: it would still every touch."""
        if not 0 < stamp <= stamp_ns + FUTURE_NS:
            return False
        self._last_stamp = max(self._last_stamp or 0, stamp)
        return True

    def is_new_print(self, followed: F, trade_id: int, *, consecutive: bool = True) -> bool:
        """Return whether a print is not a repetition; where ids are consecutive, tell of those that are missing.

        After a reconnect a lower id is believed: the venue may count anew.
        """
        if trade_id <= followed.trade_id:
            if not followed.reconnected:
                self.counts.duplicates += 1
                return False
            self._notices.append(f"prints of {followed.instrument} are counted anew from {trade_id}")
        followed.reconnected = False
        if consecutive and 0 <= followed.trade_id < trade_id - 1:
            self.counts.trade_gaps += 1
            missing = f"{followed.trade_id + 1} to {trade_id - 1}"
            self._notices.append(f"prints {missing} of {followed.instrument} are missing")
        followed.trade_id = trade_id
        return True

    def keeps_out(self, followed: F, guard: LeapGuard, price: Decimal) -> bool:
        """Return whether a price is too far from the last ones to be believed, and count it then."""
        if not guard.leaps(price):
            return False
        self.counts.quarantined += 1
        if guard.doubted == 1:
            self._notices.append(f"{followed.instrument} leapt to {price}: kept out until it is confirmed")
        return True

    def trade(
        self,
        followed: F,
        trade_id: str,
        price: Decimal,
        quantity: Decimal,
        aggressor: Aggressor,
        ts_event: int,
        ts_init: int,
        out: list[Output],
    ) -> None:
        """Send a print that was found new and plausible."""
        message = Trade(
            instrument=followed.instrument,
            trade_id=trade_id,
            price=price,
            quantity=quantity,
            aggressor=aggressor,
            ts_event=ts_event,
            ts_init=ts_init,
            trace_id=f"{followed.trace}{trade_id}",
        )
        if self._quality is not None and not self._passes(self._quality.on_trade(message)):
            return
        self.counts.trades += 1
        followed.vwap.add(ts_event, price, quantity)
        out.append(Output("market", message))

    def quote(self, followed: F, top: Top, update_id: int, ts_event: int, ts_init: int, out: list[Output]) -> None:
        """Send a top of book that was found new and plausible."""
        bid, bid_size, ask, ask_size = top
        message = Quote(
            instrument=followed.instrument,
            bid=bid,
            bid_size=bid_size,
            ask=ask,
            ask_size=ask_size,
            update_id=update_id,
            ts_event=ts_event,
            ts_init=ts_init,
            trace_id=f"{followed.trace}{update_id}",
        )
        if self._quality is not None and not self._passes(self._quality.on_quote(message)):
            return
        self.counts.quotes += 1
        out.append(Output("market", message))

    def _passes(self, judgement: Judgement) -> bool:
        """Count what was found, and return whether the event goes on."""
        for finding in judgement.findings:
            label = finding.fault.value
            seen = self.counts.faults[label] = self.counts.faults.get(label, 0) + 1
            if seen == 1 or seen % 100 == 0:
                numbers = "" if finding.observed is None else f", {finding.observed:g}"
                self._notices.append(f"{finding.instrument}: {label}{numbers}; {seen} so far")
        return judgement.verdict == "pass"

    def load_book(
        self,
        followed: F,
        bids: tuple[Level, ...],
        asks: tuple[Level, ...],
        update_id: int,
        stamp: int,
        ts_init: int,
        out: list[Output],
    ) -> None:
        """Begin a book from a plausible snapshot and send it."""
        self.counts.snapshots += 1
        followed.book.load(bids, asks)
        top = followed.book.top()
        if top is not None:
            followed.bids.believe(top[0])
            followed.asks.believe(top[2])
            followed.prints.believe(top[0])
        followed.synced = True
        followed.update_id = update_id
        message = BookSnapshot(
            instrument=followed.instrument,
            update_id=update_id,
            bids=bids,
            asks=asks,
            ts_event=stamp,
            ts_init=ts_init,
            trace_id=f"{followed.trace}{update_id}",
        )
        out.append(Output("market", message))

    def apply_delta(
        self,
        followed: F,
        bids: Sequence[Level],
        asks: Sequence[Level],
        first_update_id: int,
        last_update_id: int,
        stamp: int,
        ts_init: int,
        out: list[Output],
    ) -> bool:
        """Apply a delta that is next in the sequence and send it; return False, sending nothing, where it crosses.

        The caller then begins the book anew: see `lose`.
        """
        followed.book.apply(bids, asks)
        if followed.book.is_crossed:
            self.counts.book_crossed += 1
            followed.counts.crossed += 1
            return False
        followed.update_id = last_update_id
        self.counts.depth_applied += 1
        followed.counts.applied += 1
        message = BookDelta(
            instrument=followed.instrument,
            first_update_id=first_update_id,
            last_update_id=last_update_id,
            bids=cast(tuple[Level, ...], bids),  # as it is when it is read from the stream
            asks=cast(tuple[Level, ...], asks),
            ts_event=stamp,
            ts_init=ts_init,
            trace_id=f"{followed.trace}{last_update_id}",
        )
        out.append(Output("market", message))
        return True

    def count_stale(self, followed: F) -> None:
        """Count a delta from before the snapshot."""
        self.counts.depth_stale += 1
        followed.counts.stale += 1

    def count_gap(self, followed: F) -> None:
        """Count a hole in the venue's book sequence."""
        self.counts.book_gaps += 1
        followed.counts.gaps += 1

    def count_checksum(self, followed: F, *, right: bool) -> None:
        """Count a checksum of the venue's that our book has, or has not."""
        if right:
            self.counts.checksums_ok += 1
            followed.counts.checksums_ok += 1
        else:
            self.counts.checksums_bad += 1
            followed.counts.checksums_bad += 1

    def compare_top(self, followed: F, bid: Decimal, ask: Decimal) -> None:
        """Count whether the venue's own top, said at this instant, is that of our book, if ours is whole."""
        top = followed.book.top() if followed.synced else None
        if top is not None:
            followed.counts.tops_compared += 1
            followed.counts.tops_equal += top[0] == bid and top[2] == ask

    def lose(self, followed: F, reason: str, ts_init: int, out: list[Output]) -> None:
        """Give a book up, say why, and let the adapter's `resync` ask for another."""
        followed.lose_book()
        self._notices.append(f"book of {followed.instrument} asks for a snapshot: {reason}")
        self.status("resync", f"{followed.instrument}: {reason}", ts_init, out)

    def connected(self, ts_init: int, out: list[Output]) -> None:
        """Say that a connection is whole again, once after each `on_disconnect`."""
        if self._reconnected:
            self.status("connected", "", ts_init, out)
            self._reconnected = False

    def set_top(self, followed: F, top: Top, update_id: int) -> bool:
        """Take a newer top of book; return whether it differs from the last."""
        followed.top_id = update_id
        if top == followed.top:
            return False
        followed.top = top
        followed.top_dirty = True
        return True

    def lose_top(self, followed: F) -> None:
        """Know no top of book any more: a side is empty, or what the venue says of it is not to be believed."""
        followed.top = None
        followed.top_dirty = False

    def quote_from_book(self, followed: F, stamp: int, ts_init: int, out: list[Output]) -> None:
        """Send the top of our book where it changed: for venues whose top of book is not a stream of its own."""
        top = followed.book.top()
        if top is None:
            self.lose_top(followed)
        elif self.set_top(followed, top, followed.update_id):
            self.quote(followed, top, followed.update_id, stamp, ts_init, out)
        if followed.top_dirty:
            self.touch_if_due(followed, stamp, ts_init, out)

    def touch_if_due(self, followed: F, stamp: int, ts_init: int, out: list[Output]) -> None:
        """Send a touch that changed, unless one was sent within the conflation interval."""
        if followed.touch_ts is None or stamp - followed.touch_ts >= self._touch_interval:
            self._touch(followed, stamp, ts_init, out)

    def _touch(self, followed: F, stamp: int, ts_init: int, out: list[Output]) -> None:
        if followed.top is None:
            return
        bid, bid_size, ask, ask_size = followed.top
        followed.top_dirty = False
        followed.touch_ts = stamp
        touch = Touch(
            instrument=followed.instrument,
            bid=bid,
            bid_size=bid_size,
            ask=ask,
            ask_size=ask_size,
            ts_event=stamp,
            ts_init=ts_init,
            trace_id=f"{followed.trace}{followed.top_id}",
        )
        out.append(Output("beats", touch))

    def beat_until(self, now_ns: int, ts_init: int, out: list[Output]) -> None:
        """Send a beat for each whole second that passed since the last one."""
        if self._next_beat is None:
            self._next_beat = (now_ns // NS_PER_S + 1) * NS_PER_S
            return
        last = now_ns // NS_PER_S * NS_PER_S
        boundary = max(self._next_beat, last - (MAX_BEATS_AT_ONCE - 1) * NS_PER_S)
        while boundary <= last:
            beat = Beat(
                venue=self.venue,
                touches=tuple(self._touch_age(followed, boundary) for followed in self._followed.values()),
                ts_event=boundary,
                ts_init=ts_init,
                trace_id=f"{self.venue}:beat:{boundary // NS_PER_S}",
            )
            out.append(Output("market", beat))
            out.append(Output("beats", beat))
            boundary += NS_PER_S
        self._next_beat = boundary

    def _touch_age(self, followed: F, now_ns: int) -> TouchAge:
        bid, ask = (None, None) if followed.top is None else (followed.top[0], followed.top[2])
        age = None if followed.heard_ns is None else max(0, now_ns - followed.heard_ns) // NS_PER_MS
        quality = self._quality
        quarantined = quality is not None and quality.verdict(followed.instrument) != "pass"
        return TouchAge(
            instrument=followed.instrument,
            bid=bid,
            ask=ask,
            age_ms=age,
            quarantined=quarantined,
            vwap_1m=followed.vwap.value(self._last_stamp or self._said_ns),
        )

    def status(self, status: Status, detail: str, ts_init: int, out: list[Output]) -> None:
        """Say that the feed changed its state; nothing where nothing was ever heard."""
        stamp = self._last_stamp or self._said_ns
        if not stamp:
            return
        message = VenueStatus(
            venue=self.venue,
            status=status,
            detail=detail,
            ts_event=stamp,
            ts_init=ts_init,
            trace_id=f"{self.venue}:{status}:{stamp}",
        )
        out.append(Output("market", message))

    def refuse(self, raw: bytes, reason: str) -> None:
        """Count a frame that cannot be what it says, and tell of it."""
        self.counts.undecodable += 1
        self._notices.append(f"a frame of {self.venue} was dropped: {reason}; it begins {raw[:80]!r}")


def are_levels(levels: Sequence[Level]) -> bool:
    """Return whether every price and size of `levels` can be one."""
    try:
        for price, size in levels:
            if not (SMALLEST <= price < ABSURD and (SMALLEST <= size < ABSURD or size == ZERO)):
                return False
    except InvalidOperation:
        return False
    return True
