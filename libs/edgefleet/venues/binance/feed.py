"""Binance Spot frames to messages: sequence, book, touch and beats. Opens no socket, reads no clock, keeps no queue.

One object follows one combined connection. What it returns depends on the frames and on the order they came in, and
not on the moment a REST snapshot arrived: until every book has its first snapshot all frames are held in order, and
where the venue can wait for us (a tape) also while a lost book is fetched anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from edgefleet.clock import NS_PER_MS
from edgefleet.errors import Poison
from edgefleet.instruments import instrument_id
from edgefleet.messages.market import Level
from edgefleet.stage import Output
from edgefleet.venues.binance import wire
from edgefleet.venues.feed import FUTURE_NS, UNREADABLE, Aggressor, FeedCore, Followed, are_levels
from edgefleet.venues.figures import Reader

# Frames that wait for the first books of a live market, and changes that wait for a lost one: some MB of each. Past
# that the frames go on without the books that are missing, and of the changes the oldest go: a later book has them.
MOST_HELD, MOST_PENDING = 20_000, 2_048
_DAY_MS = 86_400_000  # a trade and the event that tells of it are nearer


class Pending(NamedTuple):
    """A change of a book that waits for a snapshot: its last update, the venue's stamp of it in ms, and its frame."""

    update_id: int
    stamp_ms: int
    raw: bytes
    ts_init: int


class Delta(NamedTuple):
    """A change of a book that is plausible: its place in the sequence, its levels, and the frame that it is."""

    data: wire.DepthDiff
    bids: Sequence[Level]
    asks: Sequence[Level]
    raw: bytes
    ts_init: int

    @property
    def pending(self) -> Pending:
        """Return what is kept of it while it waits: its levels are many times as large as its frame."""
        return Pending(self.data.u, self.data.E, self.raw, self.ts_init)


class Pair(Followed):
    """A pair, with what its snapshot and its two sequences need."""

    __slots__ = ("fresh", "lost_at", "pending", "prints_from", "quote_id", "read")

    def __init__(self, name: str, instrument: str, trace: str) -> None:
        super().__init__(name, instrument, trace)
        self.lost_at: int | None = None  # the update after which the book was lost; None: it is whole, or never was
        self.fresh = False  # no delta was applied since the snapshot: the first may overlap it
        self.pending: deque[Pending] = deque(maxlen=MOST_PENDING)
        self.read = Reader()
        self.quote_id = 0
        self.prints_from = ""  # the stream its prints come from; where there are two, they tell of the same trades

    def begin_anew(self) -> None:
        super().begin_anew()
        self.lost_at = None
        self.quote_id = 0
        self.prints_from = ""

    def lose_book(self) -> None:
        super().lose_book()
        self.pending.clear()


class BinanceFeed(FeedCore[Pair]):
    """Frames of one combined connection in, `market` and `beats` messages out.

    Parameters
    ----------
    venue, symbols, touch_interval_ms
        As of every feed.
    waits_for_books
        Hold all that comes after a book was lost until its new snapshot is in, as before the first one. So a tape,
        which can be held too, gives the same messages however late a snapshot is; a live market is not kept waiting.
    bookless
        Symbols whose snapshot will never come (a capture lacks it): nothing waits for them, and they have no book.
    """

    def __init__(
        self,
        venue: str,
        symbols: Iterable[str],
        *,
        touch_interval_ms: int = 100,
        waits_for_books: bool = False,
        bookless: Iterable[str] = (),
    ) -> None:
        super().__init__(venue, symbols, touch_interval_ms=touch_interval_ms)
        self._never = {instrument_id(symbol, venue) for symbol in bookless}
        self._bookless = set(self._never)  # with those whose book the venue refuses on this connection
        self.waits_for_books = waits_for_books
        self._order = {followed.instrument: i for i, followed in enumerate(self._followed.values())}
        self._held: deque[tuple[int, bytes, int]] | None = deque()
        self._snapshots: dict[str, tuple[wire.DepthSnapshot, int]] = {}
        self._must_wait = False  # a book was lost and is waited for
        self._handlers: dict[bytes, Callable[[int, bytes, int, list[Output]], None]] = {
            b"trad": self._on_trade,
            b"aggT": self._on_aggregate,
            b"book": self._on_ticker,
            b"dept": self._on_depth,
        }

    def spell(self, symbol: str) -> str:
        """Return ``BTCUSDT`` for ``BTC/USDT``."""
        return wire_symbol(symbol)

    def follow(self, name: str, instrument: str, trace: str) -> Pair:
        """Return what is to be known of a pair."""
        return Pair(name, instrument, trace)

    @property
    def awaiting(self) -> tuple[str, ...]:
        """Return the instruments whose book needs a REST snapshot, in the order they were given."""
        return tuple(
            followed.instrument
            for followed in self._followed.values()
            if not (followed.synced or followed.instrument in self._snapshots or followed.instrument in self._bookless)
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

    def on_frame(self, stamp_ns: int, raw: bytes, ts_init: int) -> list[Output]:
        """Return what follows from one frame.

        `stamp_ns` is ingestion's clock at the frame: the receive stamp on a tape, the wall clock live. A frame that
        cannot be read is counted, told in a notice, and changes nothing.
        """
        out: list[Output] = []
        if self._held is None:
            self.take(stamp_ns, raw, ts_init, out)
            if self._must_wait:
                self._held = deque()
        else:
            self._held.append((stamp_ns, raw, ts_init))
            if self._last_stamp is None:
                self._stamp_from(stamp_ns, raw)
            if len(self._held) > MOST_HELD and not self.waits_for_books:
                missing = ", ".join(self.awaiting)
                self._notices.append(f"{MOST_HELD} frames waited for the book of {missing}; they go on without")
                self._release(self._held, out)
            else:
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
        except UNREADABLE as error:
            raise Poison(f"depth snapshot of {instrument} does not decode: {error}") from error
        if not (are_levels(body.bids) and are_levels(body.asks)):
            raise Poison(f"depth snapshot of {instrument} holds a price or size that cannot be")
        if self._held is None:
            self._load(followed, body, ts_init, out)
        else:
            self._snapshots[instrument] = (body, ts_init)
            self._release_if_complete(out)
        return out

    def give_up_book(self, instrument: str, reason: str, ts_init: int) -> list[Output]:
        """Return what was held for a REST book that will not come: the others go on, this one has no book."""
        out: list[Output] = []
        followed = self._by_instrument.get(instrument)
        if followed is None or followed.synced or instrument in self._bookless:
            return out
        self._bookless.add(instrument)
        self._notices.append(f"{instrument} has no book on this connection: {reason}")
        followed.lost_at = None
        followed.pending.clear()
        self._release_if_complete(out)
        return out

    def on_silence(self, now_ns: int) -> list[Output]:
        """Return the beats that fell due by `now_ns` although no frame came. Live only: frames are a tape's clock."""
        out: list[Output] = []
        if self._held is None or not self._held:
            self.beat_until(now_ns, now_ns, out)
        return out

    def on_disconnect(self, reason: str, ts_init: int) -> list[Output]:
        """Return the status that tells of a lost connection, and wait for every snapshot anew."""
        out = super().on_disconnect(reason, ts_init)
        self._held = deque()
        self._snapshots = {}
        self._must_wait = False
        self._bookless = set(self._never)
        return out

    def _release_if_complete(self, out: list[Output]) -> None:
        """Let held frames go once every book has a snapshot and the connection has a stamp to give them."""
        held = self._held
        if held is not None and self._last_stamp is not None and not self.awaiting:
            self._release(held, out)

    def _release(self, held: deque[tuple[int, bytes, int]], out: list[Output]) -> None:
        """Let held frames go, behind the snapshots that are there."""
        snapshots, self._snapshots = self._snapshots, {}
        if held:
            self.connected(held[0][2], out)
        self._must_wait = False
        for instrument, (body, ts_init) in sorted(snapshots.items(), key=lambda item: self._order[item[0]]):
            self._load(self._by_instrument[instrument], body, ts_init, out)
        while held and not self._must_wait:
            self.take(*held.popleft(), out)
        if not self._must_wait:
            self._held = None

    def handle(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        """Read a frame by the stream that its envelope names."""
        at = raw.find(b"@", 0, 64)
        handler = self._handlers.get(raw[at + 1 : at + 5]) if at > 0 else None
        if handler is None:
            self._on_unusual(stamp_ns, raw, ts_init, out)
        elif raw[at + 6 : at + 7].isdigit():
            self.counts.unknown_events += 1  # `depth5` to `depth20`: the best levels as they are, no changes of a book
        else:
            handler(stamp_ns, raw, ts_init, out)

    def _on_trade(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        data = wire.TRADE.decode(raw).data
        followed = self.hear(data.s, stamp_ns)
        if followed is not None:
            self.take_print(followed, "trade", data, data.t, stamp_ns, raw, ts_init, out)

    def _on_aggregate(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        """Take the prints of one order at one price as one print: we do not ask for them, others have recorded them."""
        data = wire.AGGREGATE.decode(raw).data
        followed = self.hear(data.s, stamp_ns)
        if followed is not None:
            self.take_print(followed, "aggTrade", data, data.a, stamp_ns, raw, ts_init, out)

    def take_print(
        self,
        followed: Pair,
        stream: str,
        data: wire.Print,
        trade_id: int,
        stamp_ns: int,
        raw: bytes,
        ts_init: int,
        out: list[Output],
    ) -> None:
        """Send a print that is new and plausible, and of the stream that this connection's first print was of."""
        if followed.prints_from != stream:
            if followed.prints_from:
                self.counts.duplicates += 1
                return
            followed.prints_from = stream
        price, quantity = followed.read.print(data.p, data.q)
        if self.keeps_out(followed, followed.prints, price):
            return
        stamp = data.E * NS_PER_MS
        if not 0 < stamp <= stamp_ns + FUTURE_NS or abs(data.T - data.E) > _DAY_MS:
            self.refuse(raw, f"stamps {data.E} and {data.T} cannot be")
            return
        self._last_stamp = stamp
        if not self.is_new_print(followed, trade_id):
            return
        aggressor: Aggressor = "sell" if data.m else "buy"
        self.trade(followed, str(trade_id), price, quantity, aggressor, data.T * NS_PER_MS, ts_init, out)
        if followed.top_dirty:
            self.touch_if_due(followed, stamp, ts_init, out)

    def _on_ticker(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        data = wire.TICKER.decode(raw).data
        self.take_ticker(data, self._last_stamp, stamp_ns, raw, ts_init, out)

    def take_ticker(
        self, data: wire.BookTicker, stamp: int | None, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]
    ) -> None:
        """Send a top of book that is new and plausible; `stamp` is the venue's, in ns."""
        followed = self.hear(data.s, stamp_ns)
        if followed is None:
            return
        if data.u <= followed.quote_id:
            self.counts.duplicates += 1
            return
        top = bid, _, ask, _ = followed.read.top(data.b, data.B, data.a, data.A)
        if self.keeps_out(followed, followed.bids, bid) or self.keeps_out(followed, followed.asks, ask):
            return
        if stamp is None:  # released frames always have one
            self.refuse(raw, "no frame of this connection carried a stamp yet")
            return
        followed.quote_id = data.u
        self.quote(followed, top, data.u, stamp, ts_init, out)
        if data.u > followed.top_id:
            self.set_top(followed, top, data.u)
        if followed.top_dirty:
            self.touch_if_due(followed, stamp, ts_init, out)

    def _on_depth(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        self.take_depth(self.depth(raw), stamp_ns, raw, ts_init, out)

    def depth(self, raw: bytes) -> wire.DepthDiff:
        """Return the change of a book that a frame is."""
        return wire.DEPTH.decode(raw).data

    def take_depth(self, data: wire.DepthDiff, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        """Apply a plausible delta, or keep it until the book has its snapshot; one that is refused loses the book."""
        followed = self.hear(data.s, stamp_ns)
        if followed is None:
            return
        delta = Delta(data, *wire.levels_of(raw, data), raw, ts_init)
        stamp = data.E * NS_PER_MS
        if not 0 < stamp <= stamp_ns + FUTURE_NS:
            self.refuse(raw, f"stamp {data.E} cannot be")
            if followed.synced and data.u > followed.update_id:
                self._resync(followed, data.u, ts_init, "a change was refused for its stamp", out)
            return
        self._last_stamp = stamp
        if followed.synced:
            self._apply(followed, delta, out)
        elif followed.instrument in self._bookless:
            self.count_stale(followed)
        else:
            followed.pending.append(delta.pending)

    def _on_unusual(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        """Take a frame whose stream is not within its first bytes: other key order, acknowledgement, bare snapshot."""
        probe = wire.PROBE.decode(raw)
        if probe.stream is not None:
            kind = probe.stream.partition("@")[2]
            handler = self._handlers.get(kind[:4].encode())
            if handler is not None and not kind[5:6].isdigit():
                handler(stamp_ns, raw, ts_init, out)
                return
        if probe.stream is None and probe.id is not None:
            return  # the answer to a SUBSCRIBE
        self.counts.unknown_events += 1

    def _load(self, followed: Pair, body: wire.DepthSnapshot, ts_init: int, out: list[Output]) -> None:
        """Begin a book from its snapshot, then apply what waited for it."""
        stamp = self._last_stamp or 0
        for one in followed.pending:  # the answer has no stamp of its own, and is from before what follows on it
            if one.update_id > body.lastUpdateId:
                stamp = min(stamp, one.stamp_ms * NS_PER_MS)
                break
        followed.fresh = True
        followed.lost_at = None
        self.load_book(followed, body.bids, body.asks, body.lastUpdateId, stamp, ts_init, out)
        self._top_from_book(followed, stamp, ts_init, out)
        pending = tuple(followed.pending)
        followed.pending.clear()
        for one in pending:
            if followed.synced:
                data = self.depth(one.raw)
                self._apply(followed, Delta(data, *wire.levels_of(one.raw, data), one.raw, one.ts_init), out)
            else:
                followed.pending.append(one)

    def is_stale(self, followed: Pair, data: wire.DepthDiff) -> bool:
        """Return whether the book holds all of a delta already."""
        return data.u <= followed.update_id

    def gap(self, followed: Pair, data: wire.DepthDiff) -> str | None:
        """Return what is wrong with a delta's place in the sequence: the first may overlap the snapshot."""
        expected = followed.update_id + 1
        if expected < data.U or (expected > data.U and not followed.fresh):
            return f"expected update {expected}, got {data.U}"
        return None

    def first_id(self, followed: Pair, data: wire.DepthDiff) -> int:
        """Return the first update that a delta covers, so that each next begins one past where one ended."""
        return data.U

    def _apply(self, followed: Pair, delta: Delta, out: list[Output]) -> None:
        """Apply one delta by the venue's rule."""
        data, bids, asks, _, ts_init = delta
        if self.is_stale(followed, data):
            self.count_stale(followed)
            return
        gap = self.gap(followed, data)
        if gap is not None:
            self.count_gap(followed)
            self._resync(followed, data.u, ts_init, gap, out)
            followed.pending.append(delta.pending)
            return
        stamp = data.E * NS_PER_MS
        first = self.first_id(followed, data)
        if not self.apply_delta(followed, bids, asks, first, data.u, stamp, ts_init, out):
            self._resync(followed, data.u, ts_init, f"crossed after update {data.u}", out)
            return
        followed.fresh = False
        self._top_from_book(followed, stamp, ts_init, out)

    def _resync(self, followed: Pair, update_id: int, ts_init: int, reason: str, out: list[Output]) -> None:
        followed.lost_at = update_id
        self._must_wait = self.waits_for_books
        self.lose(followed, reason, ts_init, out)

    def _top_from_book(self, followed: Pair, stamp: int, ts_init: int, out: list[Output]) -> None:
        if followed.update_id > followed.top_id:
            top = followed.book.top()
            if top is not None:
                self.set_top(followed, top, followed.update_id)
        if followed.top_dirty:
            self.touch_if_due(followed, stamp, ts_init, out)

    def _stamp_from(self, stamp_ns: int, raw: bytes) -> None:
        stamp = wire.stamp_ms(raw)
        if stamp is not None:
            self.take_stamp(stamp * NS_PER_MS, stamp_ns)


def wire_symbol(symbol: str) -> str:
    """Return the venue's spelling of a pair: ``BTC/USDT`` is ``BTCUSDT``."""
    return symbol.partition(":")[0].replace("/", "").upper()


def stream_names(symbols: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the streams that the feed wants for `symbols`."""
    kinds = ("trade", "bookTicker", "depth@100ms")
    return tuple(f"{wire_symbol(symbol).lower()}@{kind}" for symbol in symbols for kind in kinds)
