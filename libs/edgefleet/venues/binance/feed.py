"""Binance Spot frames to messages: sequence, book, touch and beats. Opens no socket, reads no clock, keeps no queue.

One object follows one combined connection. What it returns depends on the frames and on the order they came in, and
not on the moment a REST snapshot arrived: until every book has its first snapshot all frames are held in order, and
where the venue can wait for us (a tape) also while a lost book is fetched anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Literal

import msgspec

from edgefleet.book import Book, LeapGuard, Top
from edgefleet.clock import NS_PER_MS, NS_PER_S
from edgefleet.errors import Poison
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
from edgefleet.stage import Output
from edgefleet.venues.binance import wire

# After a silence longer than this only the newest beats are made: they say the same with a larger age.
MAX_BEATS_AT_ONCE = 60

Status = Literal["connected", "disconnected", "resync", "ended"]

_ABSURD = Decimal("1e15")  # no price or size of a venue is near it, and no infinity passes


class FeedCounts(msgspec.Struct):
    """What the feed has seen since it was made. Only grows."""

    frames: int = 0
    trades: int = 0
    quotes: int = 0
    depth_applied: int = 0
    depth_stale: int = 0
    snapshots: int = 0
    book_gaps: int = 0
    book_crossed: int = 0
    trade_gaps: int = 0
    quarantined: int = 0
    duplicates: int = 0
    unfollowed: int = 0
    unknown_events: int = 0
    undecodable: int = 0


class _Followed:
    """One instrument of the connection: its book, where its sequences stand, and its touch."""

    __slots__ = (
        "asks",
        "bids",
        "book",
        "fresh",
        "heard_ns",
        "instrument",
        "lost_at",
        "pending",
        "prints",
        "quote_id",
        "reconnected",
        "synced",
        "top",
        "top_dirty",
        "top_id",
        "touch_ts",
        "trace",
        "trade_id",
        "update_id",
    )

    def __init__(self, instrument: str, trace: str) -> None:
        self.instrument = instrument
        self.trace = trace
        self.book = Book()
        self.synced = False  # the book is whole
        self.lost_at: int | None = None  # the update after which the book was lost; None: it is whole, or never was
        self.fresh = False  # no delta was applied since the snapshot: the first may overlap it
        self.update_id = 0
        self.pending: list[tuple[wire.DepthDiff, int]] = []  # deltas that wait for a snapshot, with their ts_init
        self.quote_id = 0
        self.trade_id = -1
        self.reconnected = False  # no print came on this connection yet
        self.heard_ns: int | None = None  # receive stamp of the last frame
        self.top: Top | None = None
        self.top_id = 0
        self.top_dirty = False
        self.touch_ts: int | None = None
        self.prints, self.bids, self.asks = LeapGuard(), LeapGuard(), LeapGuard()

    def begin_anew(self) -> None:
        """Forget what one connection's sequences say: a venue that was restarted may count from one again."""
        self.lose_book()
        self.lost_at = None
        self.top = None
        self.quote_id = self.top_id = 0
        self.reconnected = True

    def lose_book(self) -> None:
        self.book = Book()
        self.synced = False
        self.pending = []


class BinanceFeed:
    """Frames of one combined connection in, `market` and `beats` messages out.

    Parameters
    ----------
    venue
        The venue's name in the fleet, such as `sim`.
    symbols
        Canonical pairs to follow; frames of others are counted and dropped.
    touch_interval_ms
        Event time between two `Touch` of one instrument; 0 sends every change.
    waits_for_books
        Hold all that comes after a book was lost until its new snapshot is in, as before the first one. So a tape,
        which can be held too, gives the same messages however late a snapshot is; a live market is not kept waiting.
    """

    def __init__(
        self, venue: str, symbols: Iterable[str], *, touch_interval_ms: int = 100, waits_for_books: bool = False
    ) -> None:
        self.venue = venue
        self.waits_for_books = waits_for_books
        self.counts = FeedCounts()
        self._touch_interval = touch_interval_ms * NS_PER_MS
        self._followed: dict[str, _Followed] = {}
        for symbol in symbols:
            name = wire_symbol(symbol)
            self._followed[name] = _Followed(instrument_id(symbol, venue), f"{venue}:{name}:")
        self._order = {followed.instrument: i for i, followed in enumerate(self._followed.values())}
        self._by_instrument = {followed.instrument: followed for followed in self._followed.values()}
        self._held: deque[tuple[int, bytes, int]] | None = deque()
        self._snapshots: dict[str, tuple[wire.DepthSnapshot, int]] = {}
        self._last_stamp: int | None = None  # ns, the newest venue stamp that this connection carried
        self._said_ns = 0  # ns, the newest stamp of any connection; 0: none yet
        self._next_beat: int | None = None  # ns of ingestion's clock
        self._reconnected = False
        self._must_wait = False  # a book was lost and is waited for
        self._notices: list[str] = []
        self._handlers: dict[bytes, Callable[[int, bytes, int, list[Output]], None]] = {
            b"trad": self._on_trade,
            b"book": self._on_ticker,
            b"dept": self._on_depth,
        }

    @property
    def awaiting(self) -> tuple[str, ...]:
        """Return the instruments whose book needs a REST snapshot, in the order they were given."""
        return tuple(
            followed.instrument
            for followed in self._followed.values()
            if not followed.synced and followed.instrument not in self._snapshots
        )

    @property
    def held(self) -> int:
        """Return how many frames wait for the first snapshots."""
        return 0 if self._held is None else len(self._held)

    @property
    def lost(self) -> dict[str, int]:
        """Return the instruments whose lost book is waited for, with the update after which it was lost."""
        if self._held is None:
            return {}
        return {
            one.instrument: one.lost_at
            for one in self._followed.values()
            if one.lost_at is not None and one.instrument not in self._snapshots
        }

    @property
    def marks(self) -> str:
        """Return how far each instrument's own sequences have come, for `resume` after a restart."""
        ids = (f"{name}:{one.trade_id}" for name, one in self._followed.items())
        return ",".join((str(self._last_stamp or self._said_ns), *ids))

    def resume(self, marks: str) -> None:
        """Begin after `marks`: prints that are missing since then are told as a hole."""
        stamp, *ids = marks.split(",")
        self._said_ns = int(stamp)
        for mark in ids:
            name, trade_id = mark.split(":")
            followed = self._followed.get(name)
            if followed is not None:
                followed.trade_id = int(trade_id)
                followed.reconnected = True
        self._reconnected = True

    def set_touch_interval(self, touch_interval_ms: int) -> None:
        """Take a new conflation interval."""
        self._touch_interval = touch_interval_ms * NS_PER_MS

    def take_notices(self) -> list[str]:
        """Return one line for each thing worth a log entry since the last call."""
        notices, self._notices = self._notices, []
        return notices

    def on_frame(self, stamp_ns: int, raw: bytes, ts_init: int) -> list[Output]:
        """Return what follows from one frame.

        `stamp_ns` is ingestion's clock at the frame: the receive stamp on a tape, the wall clock live. A frame that
        cannot be read is counted, told in a notice, and changes nothing.
        """
        out: list[Output] = []
        if self._held is None:
            self._take(stamp_ns, raw, ts_init, out)
            if self._must_wait:
                self._held = deque()
        else:
            self._held.append((stamp_ns, raw, ts_init))
            if self._last_stamp is None:
                self._stamp_from(raw)
            self._release_if_complete(out)
        return out

    def on_line(self, stamp_ns: int, body: bytes, ts_init: int) -> list[Output]:
        """Return what follows from one recorded line: a frame, or a bare depth answer where one symbol is followed."""
        if not wire.is_depth_body(body):
            return self.on_frame(stamp_ns, body, ts_init)
        if len(self._by_instrument) != 1:
            self.counts.unknown_events += 1  # it names no symbol
            return []
        return self.on_snapshot(next(iter(self._by_instrument)), body, ts_init)

    def on_snapshot(self, instrument: str, raw: bytes, ts_init: int) -> list[Output]:
        """Return what follows from the answer of REST `depth` for `instrument`; nothing where none was awaited.

        Raises
        ------
        Poison
            If the body is no depth answer, or names prices or sizes that cannot be. The book stays awaited.
        """
        out: list[Output] = []
        followed = self._by_instrument.get(instrument)
        if followed is None or followed.synced or instrument in self._snapshots:
            return out
        try:
            body = wire.SNAPSHOT.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Poison(f"depth snapshot of {instrument} does not decode: {error}") from error
        if not (_plausible(body.bids) and _plausible(body.asks)):
            raise Poison(f"depth snapshot of {instrument} holds a price or size that cannot be")
        if self._held is None:
            self._load(followed, body, ts_init, out)
        else:
            self._snapshots[instrument] = (body, ts_init)
            self._release_if_complete(out)
        return out

    def on_silence(self, now_ns: int) -> list[Output]:
        """Return the beats that fell due by `now_ns` although no frame came. Live only: frames are a tape's clock."""
        out: list[Output] = []
        if self._held is None or not self._held:
            self._beat_until(now_ns, now_ns, out)
        return out

    def on_disconnect(self, reason: str, ts_init: int) -> list[Output]:
        """Return the status that tells of a lost connection, and wait for every snapshot anew."""
        out: list[Output] = []
        self._status("disconnected", reason, ts_init, out)
        self._said_ns = self._last_stamp or self._said_ns
        for followed in self._followed.values():
            followed.begin_anew()
        self._held = deque()
        self._snapshots = {}
        self._must_wait = False
        self._last_stamp = None
        self._reconnected = True
        return out

    def on_end(self, ts_init: int) -> list[Output]:
        """Return the last touches that conflation kept back, and the status that closes a tape."""
        out: list[Output] = []
        for followed in self._followed.values():
            if followed.top_dirty:
                self._touch(followed, self._last_stamp or 0, ts_init, out)
        self._status("ended", "", ts_init, out)
        return out

    def _release_if_complete(self, out: list[Output]) -> None:
        """Let held frames go once every book has a snapshot and the connection has a stamp to give them."""
        held = self._held
        if held is None or self._last_stamp is None or self.awaiting:
            return
        snapshots, self._snapshots = self._snapshots, {}
        if self._reconnected:
            self._status("connected", "", held[0][2], out)
            self._reconnected = False
        self._must_wait = False
        for instrument, (body, ts_init) in sorted(snapshots.items(), key=lambda item: self._order[item[0]]):
            self._load(self._by_instrument[instrument], body, ts_init, out)
        while held and not self._must_wait:
            self._take(*held.popleft(), out)
        if not self._must_wait:
            self._held = None

    def _take(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        self.counts.frames += 1
        if self._next_beat is None or stamp_ns >= self._next_beat:
            self._beat_until(stamp_ns, ts_init, out)
        at = raw.find(b"@", 0, 64)
        handler = self._handlers.get(raw[at + 1 : at + 5]) if at > 0 else None
        try:
            if handler is None:
                self._on_unusual(stamp_ns, raw, ts_init, out)
            else:
                handler(stamp_ns, raw, ts_init, out)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._refuse(raw, str(error))

    def _on_trade(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        data = wire.TRADE.decode(raw).data
        followed = self._hear(data.s, stamp_ns)
        if followed is None:
            return
        if not (_is_plausible(data.p) and _is_plausible(data.q)):
            self._refuse(raw, "a price or quantity that cannot be")
            return
        if followed.prints.leaps(data.p):
            self._quarantine(followed, followed.prints, data.p)
            return
        self._last_stamp = data.E * NS_PER_MS
        if data.t <= followed.trade_id:
            if not followed.reconnected:
                self.counts.duplicates += 1
                return
            self._notices.append(f"prints of {followed.instrument} are counted anew from {data.t}")
        followed.reconnected = False
        if 0 <= followed.trade_id < data.t - 1:
            self.counts.trade_gaps += 1
            self._notices.append(f"prints {followed.trade_id + 1} to {data.t - 1} of {followed.instrument} are missing")
        followed.trade_id = data.t
        self.counts.trades += 1
        trade = Trade(
            instrument=followed.instrument,
            trade_id=str(data.t),
            price=data.p,
            quantity=data.q,
            aggressor="sell" if data.m else "buy",
            ts_event=data.T * NS_PER_MS,
            ts_init=ts_init,
            trace_id=f"{followed.trace}{data.t}",
        )
        out.append(Output("market", trade))
        if followed.top_dirty:
            self._touch_if_due(followed, self._last_stamp, ts_init, out)

    def _on_ticker(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        data = wire.TICKER.decode(raw).data
        followed = self._hear(data.s, stamp_ns)
        if followed is None:
            return
        if data.u <= followed.quote_id:
            self.counts.duplicates += 1
            return
        if not (_is_plausible(data.b) and _is_plausible(data.a) and _is_size(data.B) and _is_size(data.A)):
            self._refuse(raw, "a price or size that cannot be")
            return
        if followed.bids.leaps(data.b):
            self._quarantine(followed, followed.bids, data.b)
            return
        if followed.asks.leaps(data.a):
            self._quarantine(followed, followed.asks, data.a)
            return
        stamp = self._last_stamp
        if stamp is None:  # released frames always have one
            self._refuse(raw, "no frame of this connection carried a stamp yet")
            return
        followed.quote_id = data.u
        self.counts.quotes += 1
        quote = Quote(
            instrument=followed.instrument,
            bid=data.b,
            bid_size=data.B,
            ask=data.a,
            ask_size=data.A,
            update_id=data.u,
            ts_event=stamp,
            ts_init=ts_init,
            trace_id=f"{followed.trace}{data.u}",
        )
        out.append(Output("market", quote))
        if data.u > followed.top_id:
            self._set_top(followed, (data.b, data.B, data.a, data.A), data.u)
        if followed.top_dirty:
            self._touch_if_due(followed, stamp, ts_init, out)

    def _on_depth(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        data = wire.DEPTH.decode(raw).data
        followed = self._hear(data.s, stamp_ns)
        if followed is None:
            return
        if not (_plausible(data.b) and _plausible(data.a)):
            self._refuse(raw, "a price or size that cannot be")
            return
        self._last_stamp = data.E * NS_PER_MS
        if followed.synced:
            self._apply(followed, data, ts_init, out)
        else:
            followed.pending.append((data, ts_init))

    def _on_unusual(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        """Take a frame whose stream is not within its first bytes: other key order, acknowledgement, bare snapshot."""
        probe = wire.PROBE.decode(raw)
        if probe.stream is not None:
            kind = probe.stream.partition("@")[2][:4].encode()
            handler = self._handlers.get(kind)
            if handler is not None:
                handler(stamp_ns, raw, ts_init, out)
                return
        if probe.stream is None and probe.id is not None:
            return  # the answer to a SUBSCRIBE
        self.counts.unknown_events += 1

    def _hear(self, symbol: str, stamp_ns: int) -> _Followed | None:
        followed = self._followed.get(symbol)
        if followed is None:
            self.counts.unfollowed += 1
            return None
        followed.heard_ns = stamp_ns
        return followed

    def _load(self, followed: _Followed, body: wire.DepthSnapshot, ts_init: int, out: list[Output]) -> None:
        """Begin a book from its snapshot, then apply what waited for it."""
        stamp = self._last_stamp or 0
        self.counts.snapshots += 1
        followed.book.load(body.bids, body.asks)
        top = followed.book.top()
        if top is not None:
            followed.bids.believe(top[0])
            followed.asks.believe(top[2])
            followed.prints.believe(top[0])
        followed.synced = followed.fresh = True
        followed.lost_at = None
        followed.update_id = body.lastUpdateId
        snapshot = BookSnapshot(
            instrument=followed.instrument,
            update_id=body.lastUpdateId,
            bids=body.bids,
            asks=body.asks,
            ts_event=stamp,
            ts_init=ts_init,
            trace_id=f"{followed.trace}{body.lastUpdateId}",
        )
        out.append(Output("market", snapshot))
        self._top_from_book(followed, stamp, ts_init, out)
        pending, followed.pending = followed.pending, []
        for data, received in pending:
            if followed.synced:
                self._apply(followed, data, received, out)
            else:
                followed.pending.append((data, received))

    def _apply(self, followed: _Followed, data: wire.DepthDiff, ts_init: int, out: list[Output]) -> None:
        """Apply one delta by the venue's rule: the first may overlap the snapshot, each next begins where one ended."""
        if data.u <= followed.update_id:
            self.counts.depth_stale += 1
            return
        expected = followed.update_id + 1
        if expected < data.U or (expected > data.U and not followed.fresh):
            self.counts.book_gaps += 1
            self._resync(followed, data.u, ts_init, f"expected update {expected}, got {data.U}", out)
            followed.pending.append((data, ts_init))
            return
        followed.book.apply(data.b, data.a)
        if followed.book.is_crossed:
            self.counts.book_crossed += 1
            self._resync(followed, data.u, ts_init, f"crossed after update {data.u}", out)
            return
        followed.fresh = False
        followed.update_id = data.u
        self.counts.depth_applied += 1
        stamp = data.E * NS_PER_MS
        delta = BookDelta(
            instrument=followed.instrument,
            first_update_id=data.U,
            last_update_id=data.u,
            bids=data.b,
            asks=data.a,
            ts_event=stamp,
            ts_init=ts_init,
            trace_id=f"{followed.trace}{data.u}",
        )
        out.append(Output("market", delta))
        self._top_from_book(followed, stamp, ts_init, out)

    def _resync(self, followed: _Followed, update_id: int, ts_init: int, reason: str, out: list[Output]) -> None:
        followed.lose_book()
        followed.lost_at = update_id
        self._must_wait = self.waits_for_books
        self._notices.append(f"book of {followed.instrument} asks for a snapshot: {reason}")
        self._status("resync", f"{followed.instrument}: {reason}", ts_init, out)

    def _top_from_book(self, followed: _Followed, stamp: int, ts_init: int, out: list[Output]) -> None:
        if followed.update_id > followed.top_id:
            top = followed.book.top()
            if top is not None:
                self._set_top(followed, top, followed.update_id)
        if followed.top_dirty:
            self._touch_if_due(followed, stamp, ts_init, out)

    @staticmethod
    def _set_top(followed: _Followed, top: Top, update_id: int) -> None:
        followed.top_id = update_id
        if top != followed.top:
            followed.top = top
            followed.top_dirty = True

    def _touch_if_due(self, followed: _Followed, stamp: int, ts_init: int, out: list[Output]) -> None:
        if followed.touch_ts is None or stamp - followed.touch_ts >= self._touch_interval:
            self._touch(followed, stamp, ts_init, out)

    def _touch(self, followed: _Followed, stamp: int, ts_init: int, out: list[Output]) -> None:
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

    def _beat_until(self, now_ns: int, ts_init: int, out: list[Output]) -> None:
        """Send a beat for each whole second that passed since the last one."""
        if self._next_beat is None:
            self._next_beat = (now_ns // NS_PER_S + 1) * NS_PER_S
            return
        last = now_ns // NS_PER_S * NS_PER_S
        boundary = max(self._next_beat, last - (MAX_BEATS_AT_ONCE - 1) * NS_PER_S)
        while boundary <= last:
            beat = Beat(
                venue=self.venue,
                touches=tuple(_touch_age(followed, boundary) for followed in self._followed.values()),
                ts_event=boundary,
                ts_init=ts_init,
                trace_id=f"{self.venue}:beat:{boundary // NS_PER_S}",
            )
            out.append(Output("market", beat))
            out.append(Output("beats", beat))
            boundary += NS_PER_S
        self._next_beat = boundary

    def _status(self, status: Status, detail: str, ts_init: int, out: list[Output]) -> None:
        stamp = self._last_stamp or self._said_ns
        if not stamp:
            return  # nothing was ever heard, so there is nothing whose state could change
        message = VenueStatus(
            venue=self.venue,
            status=status,
            detail=detail,
            ts_event=stamp,
            ts_init=ts_init,
            trace_id=f"{self.venue}:{status}:{stamp}",
        )
        out.append(Output("market", message))

    def _stamp_from(self, raw: bytes) -> None:
        stamp = wire.stamp_ms(raw)
        if stamp is not None:
            self._last_stamp = stamp * NS_PER_MS

    def _quarantine(self, followed: _Followed, guard: LeapGuard, price: Decimal) -> None:
        self.counts.quarantined += 1
        if guard.doubted == 1:
            self._notices.append(f"{followed.instrument} leapt to {price}: kept out until it is confirmed")

    def _refuse(self, raw: bytes, reason: str) -> None:
        self.counts.undecodable += 1
        self._notices.append(f"a frame of {self.venue} was dropped: {reason}; it begins {raw[:80]!r}")


def wire_symbol(symbol: str) -> str:
    """Return the venue's spelling of a pair: ``BTC/USDT`` is ``BTCUSDT``."""
    return symbol.partition(":")[0].replace("/", "").upper()


def stream_names(symbols: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the streams that the feed wants for `symbols`."""
    kinds = ("trade", "bookTicker", "depth@100ms")
    return tuple(f"{wire_symbol(symbol).lower()}@{kind}" for symbol in symbols for kind in kinds)


def _touch_age(followed: _Followed, now_ns: int) -> TouchAge:
    bid, ask = (None, None) if followed.top is None else (followed.top[0], followed.top[2])
    age = None if followed.heard_ns is None else max(0, now_ns - followed.heard_ns) // NS_PER_MS
    return TouchAge(instrument=followed.instrument, bid=bid, ask=ask, age_ms=age)


def _is_plausible(value: Decimal) -> bool:
    """Whether `value` is a positive number; NaN and infinities are not."""
    try:
        return 0 < value < _ABSURD
    except InvalidOperation:  # Decimal refuses to order NaN
        return False


def _is_size(value: Decimal) -> bool:
    try:
        return 0 <= value < _ABSURD
    except InvalidOperation:
        return False


def _plausible(levels: Sequence[Level]) -> bool:
    try:
        for price, size in levels:
            if not (0 < price < _ABSURD and 0 <= size < _ABSURD):
                return False
    except InvalidOperation:
        return False
    return True
