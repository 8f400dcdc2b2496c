"""OKX v5 frames to messages: sequence, checksum, book, prints and best prices. Opens no socket, reads no clock.

A book begins with the channel's snapshot. Each update is then proved before it is sent: by its number (`prevSeqId` is
the number before it), by its checksum where the venue gives one, or by both. What proves nothing is given up, and the
channel is asked for again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from edgefleet.book import Book
from edgefleet.clock import NS_PER_MS, NS_PER_S
from edgefleet.errors import Poison
from edgefleet.messages.market import Level
from edgefleet.stage import Output
from edgefleet.venues.feed import UNREADABLE, FeedCore, are_levels
from edgefleet.venues.figures import is_plausible
from edgefleet.venues.okx import wire
from edgefleet.venues.okx.contract import Contract, place
from edgefleet.venues.okx.names import is_linear, wire_symbol

CHANNELS: Final = ("books", "bbo-tbt", "trades")
ARGS_PER_REQUEST: Final = 100  # one request may be 64 KB long
# 480 requests an hour are allowed: a book that is lost again and again is asked for at longer and longer intervals.
MAX_WAIT_NS: Final = 60 * NS_PER_S
PATIENCE_NS: Final = 5 * NS_PER_S  # so long an answer may take
STEADY_NS: Final = 60 * NS_PER_S  # a book that stood for so long was no failure


class OkxFeed(FeedCore[Contract]):
    """Frames of one public connection in, `market` and `beats` messages out.

    Parameters
    ----------
    venue, symbols, touch_interval_ms
        As of every feed.
    contract_sizes
        Base units of one contract, by canonical symbol. Sizes of a linear contract are sent in base units; where its
        size is not known, and for inverse contracts (whose base units depend on the price), they are contracts.
    """

    def __init__(
        self,
        venue: str,
        symbols: Iterable[str],
        *,
        touch_interval_ms: int = 100,
        contract_sizes: Mapping[str, Decimal] | None = None,
    ) -> None:
        self._now_ns = 0  # ingestion's clock, as far as frames and silence told it
        self._unread: set[str] = set()  # channels that were told to be not read
        self._due: dict[str, int] = {}  # when to ask for a lost book, ns of ingestion's clock
        self._sizes = {wire_symbol(symbol): size for symbol, size in (contract_sizes or {}).items()}
        super().__init__(venue, symbols, touch_interval_ms=touch_interval_ms)
        for one in self._followed.values():
            if one.size is None and is_linear(one.name):
                self._notices.append(f"what a contract of {one.instrument} holds is not known: its sizes are contracts")

    def spell(self, symbol: str) -> str:
        """Return ``BTC-USDT-SWAP`` for ``BTC/USDT:USDT``."""
        return wire_symbol(symbol)

    def follow(self, name: str, instrument: str, trace: str) -> Contract:
        """Return what is to be known of an instrument."""
        size = self._sizes.get(name) if is_linear(name) else None
        return Contract(name, instrument, trace, None if size == 1 else size)

    @property
    def awaiting(self) -> tuple[str, ...]:
        """Return the instruments whose channel began without a snapshot, as the venue has announced for some day."""
        return tuple(one.instrument for one in self._followed.values() if one.must_fetch and not one.synced)

    def subscriptions(self, names: Sequence[str]) -> list[str]:
        """Return the texts that ask for every channel of `names`."""
        return _requests("subscribe", [(channel, name) for name in names for channel in CHANNELS])

    def on_connect(self, stamp_ns: int) -> None:
        """Take note that a connection is up. An instrument is confirmed when its book has begun."""
        super().on_connect(stamp_ns)
        self._due = {}

    def ask_again(self) -> None:
        """Ask once more for the books that have said nothing, or were lost."""
        for name in self._unconfirmed:
            asked_ns = self._followed[name].asked_ns
            if name not in self._due and (asked_ns is None or self._now_ns - asked_ns > PATIENCE_NS):
                self._ask_for_book(self._followed[name])

    def on_silence(self, now_ns: int) -> list[Output]:
        """Return the beats that fell due by `now_ns` although no frame came. Live only: frames are a tape's clock."""
        self._now_ns = max(self._now_ns, now_ns)
        self._ask_for_due(now_ns)
        return super().on_silence(now_ns)

    def take(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        """Count a frame, let the beats before it go, and read it."""
        self._now_ns = stamp_ns
        if self._due:
            self._ask_for_due(stamp_ns)
        super().take(stamp_ns, raw, ts_init, out)

    def hear(self, name: str, stamp_ns: int) -> Contract | None:
        """Return whom a frame of data is about. Only a whole book confirms an instrument."""
        followed = self._followed.get(name)
        if followed is None:
            self.counts.unfollowed += 1
            return None
        followed.heard_ns = stamp_ns
        followed.is_heard = True
        return followed

    def handle(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        """Read a frame by the channel that it names."""
        channel = wire.channel(raw)
        if channel is None:
            if raw == b"pong":
                return
            head = wire.HEAD.decode(raw)
            if head.event is not None:
                self._on_event(head)
                return
            channel = head.arg.channel
        if channel in wire.BOOK_CHANNELS:
            self._on_books(stamp_ns, raw, ts_init, out)
        elif channel in wire.TRADE_CHANNELS:
            self._on_trades(stamp_ns, raw, ts_init, out)
        elif channel == "bbo-tbt":
            self._on_best(stamp_ns, raw, ts_init, out)
        elif channel != "tickers":  # carries no number: at no instant known to be our book's
            self._on_unread(channel)

    def _on_unread(self, channel: str) -> None:
        """Count a frame of a channel that is not ours; where it is of books, say once that it is not read."""
        self.counts.unknown_events += 1
        if channel in wire.PARTIAL_CHANNELS and channel not in self._unread:
            self._unread.add(channel)
            self._notices.append(f"channel {channel} of {self.venue} is not read: a book is made of `books`")

    def on_snapshot(self, instrument: str, raw: bytes, ts_init: int) -> list[Output]:
        """Return what follows from the answer of REST `books` for `instrument`; nothing where none was awaited.

        Raises
        ------
        Poison
            If the body is no whole numbered book, or names prices or sizes that cannot be. The book stays awaited.
        """
        out: list[Output] = []
        followed = self._by_instrument.get(instrument)
        if followed is None or followed.synced or not followed.must_fetch:
            return out
        data = _rest_book(raw, instrument)
        oldest = followed.pending[0][0].prevSeqId if followed.pending else None
        if data.seqId is None or (oldest is not None and data.seqId < oldest):
            raise Poison(f"book {data.seqId} of {instrument} is from before update {oldest}")
        pending = followed.pending
        if not self._begin(followed, data, ts_init, out):
            return out
        followed.fresh = True
        for update, received in pending:
            if followed.synced:
                self._update(followed, update, received, out)
        return out

    def _on_event(self, head: wire.Head) -> None:
        followed = self._followed.get(head.arg.instId)
        if head.event == "subscribe":
            if followed is not None and head.arg.channel in wire.BOOK_CHANNELS:
                followed.was_asked = True
        elif head.event == "error":
            self._notices.append(f"{self.venue} refuses a request: {head.code} {head.msg}"[:300])
        elif head.event == "notice":
            self._notices.append(f"{self.venue} says: {head.code} {head.msg}"[:300])

    # --- books

    def _on_books(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        frame = wire.BOOKS.decode(raw)
        followed = self.hear(frame.arg.instId, stamp_ns)
        if followed is None:
            return
        if followed.books_from != frame.arg.channel:
            if followed.books_from:  # two channels of one book: one is enough
                self.counts.duplicates += 1
                return
            followed.books_from = frame.arg.channel
        if followed.is_repeated(raw):
            self.counts.duplicates += 1
            return
        for data in frame.data:
            if not (are_levels(_levels(data.bids)) and are_levels(_levels(data.asks))) or not self.take_stamp(
                data.ts * NS_PER_MS, stamp_ns
            ):
                self.refuse(raw, "a price, size or stamp that cannot be")
                if followed.synced:
                    self._lose(followed, "an update was not readable", ts_init, out)
                return
            if frame.action == "snapshot":
                if data.ts < followed.book_ts:  # one that came late: what followed it is in our book, or was lost
                    self.count_stale(followed)
                else:
                    self._begin(followed, data, ts_init, out)
            elif followed.synced:
                self._update(followed, data, ts_init, out)
            else:
                self._wait(followed, data, ts_init)
            followed.was_asked = False
            followed.book_ts = max(followed.book_ts, data.ts)

    def _wait(self, followed: Contract, data: wire.Books, ts_init: int) -> None:
        """Keep an update of a book that is not whole: what comes first after the confirmation should be a snapshot."""
        if followed.was_asked and data.seqId is not None:
            followed.must_fetch = True
        if followed.must_fetch:
            followed.pending.append((data, ts_init))
        else:
            self.count_stale(followed)

    def _begin(self, followed: Contract, data: wire.Books, ts_init: int, out: list[Output]) -> bool:
        """Begin a book with a snapshot, if it is what its checksum says and not crossed; return whether it was."""
        bids, asks = _levels(data.bids), _levels(data.asks)
        written = Book()
        written.load(bids, asks)
        if not self._is_right(followed, written, data):
            self._lose(followed, f"checksum of the snapshot is not {data.checksum}", ts_init, out)
            return False
        if written.is_crossed:
            self.counts.book_crossed += 1
            followed.counts.crossed += 1
            self._lose(followed, "the snapshot is crossed", ts_init, out)
            return False
        self.connected(ts_init, out)
        self._unconfirmed.pop(followed.name, None)
        self._due.pop(followed.name, None)
        followed.lose_book()
        followed.written = written if data.checksum else None
        followed.sequence = data.seqId
        followed.begun_ns = followed.heard_ns
        # Where the venue numbers nothing: counted from its microseconds, numbers grow over a restart of ours too.
        number = max(followed.update_id + 1, data.ts * 1_000) if data.seqId is None else followed.renumber(data.seqId)
        self.load_book(
            followed, self._base(followed, bids), self._base(followed, asks), number, self._stamp(data), ts_init, out
        )
        self._tell_top(followed, self._stamp(data), ts_init, out)
        return True

    def _update(self, followed: Contract, data: wire.Books, ts_init: int, out: list[Output]) -> None:
        """Apply an update that its number or its checksum proves to be the next one."""
        problem = self._problem(followed, data)
        if problem == "":
            return
        if problem is not None:
            self._lose(followed, problem, ts_init, out)
            return
        bids, asks = _levels(data.bids), _levels(data.asks)
        if followed.written is not None:
            followed.written.apply(bids, asks)
            if not self._is_right(followed, followed.written, data):
                self._lose(followed, f"checksum is not {data.checksum}", ts_init, out)
                return
        first = followed.update_id + 1
        if data.seqId is not None and followed.sequence is not None and data.seqId < followed.sequence:
            followed.renumber(data.seqId)
            followed.quote_id = -1  # best prices are counted anew, too
        number = first if data.seqId is None else data.seqId + followed.offset
        stamp = self._stamp(data)
        if not self.apply_delta(
            followed, self._base(followed, bids), self._base(followed, asks), first, number, stamp, ts_init, out
        ):
            self._lose(followed, f"crossed after update {number}", ts_init, out)
            return
        followed.previous, followed.sequence = data.prevSeqId, data.seqId
        followed.fresh = False
        self._tell_top(followed, stamp, ts_init, out)

    def _problem(self, followed: Contract, data: wire.Books) -> str | None:
        """Return why an update cannot be applied, an empty text where it needs not be, None where it is the next."""
        if data.seqId is None or data.prevSeqId is None:
            if data.ts < followed.book_ts:  # an old book's checksum is as right as ever
                self.count_stale(followed)
                return ""
            return None if data.checksum else "an update has neither number nor checksum"
        if followed.fresh:
            seen = followed.sequence or 0
            if data.seqId <= seen:
                self.count_stale(followed)
                return ""
            if data.prevSeqId <= seen:
                return None
        where = place(followed.sequence, followed.previous, data.seqId, data.prevSeqId)
        if where == "same":
            return "an update without a new number changes levels" if data.bids or data.asks else ""
        if where == "again":
            self.counts.duplicates += 1
            return ""
        if where == "gap":
            self.count_gap(followed)
            return f"expected an update after {followed.sequence}, got one after {data.prevSeqId}"
        return None

    def _is_right(self, followed: Contract, book: Book, data: wire.Books) -> bool:
        """Return whether a book has the checksum that is given; where none is, there is nothing to be wrong."""
        if not data.checksum:
            return True
        best = wire.CHECKSUM_LEVELS
        right = wire.checksum(book.bids.levels(best), book.asks.levels(best)) == data.checksum
        self.count_checksum(followed, right=right)
        return right

    def _lose(self, followed: Contract, reason: str, ts_init: int, out: list[Output]) -> None:
        """Give a book up, and ask for it anew: at once the first time, later where it was lost soon after it began."""
        now = followed.heard_ns or 0
        if followed.begun_ns is not None and now - followed.begun_ns > STEADY_NS:
            followed.losses = 0
        self.lose(followed, reason, ts_init, out)
        self._unconfirmed[followed.name] = None
        wait_ns = min(((1 << min(followed.losses, 10)) - 1) * NS_PER_S, MAX_WAIT_NS)
        followed.losses += 1
        if wait_ns:
            self._due[followed.name] = now + wait_ns
        else:
            self._ask_for_book(followed)

    def _ask_for_due(self, now_ns: int) -> None:
        for name in [name for name, at in self._due.items() if at <= now_ns]:
            del self._due[name]
            self._ask_for_book(self._followed[name])

    def _ask_for_book(self, followed: Contract) -> None:
        followed.asked_ns = self._now_ns
        followed.books_from = ""
        wanted = [("books", followed.name)]
        if not followed.is_heard:
            self._requests += self.subscriptions([followed.name])
        else:
            self._requests += _requests("unsubscribe", wanted) + _requests("subscribe", wanted)

    def _tell_top(self, followed: Contract, stamp: int, ts_init: int, out: list[Output]) -> None:
        """Send the book's top; where best prices come on a channel of their own, only the touch that follows."""
        best = followed.best
        if best is None:
            self.quote_from_book(followed, stamp, ts_init, out)
            return
        if best[0] == followed.sequence:
            self.compare_top(followed, best[1], best[2])
        if followed.update_id > followed.top_id:
            top = followed.book.top()
            if top is None:
                self.lose_top(followed)
            else:
                self.set_top(followed, top, followed.update_id)
        if followed.top_dirty:
            self.touch_if_due(followed, stamp, ts_init, out)

    # --- prints and best prices

    def _on_trades(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        frame = wire.TRADES.decode(raw)
        for data in frame.data:
            followed = self.hear(data.instId, stamp_ns)
            if followed is None:
                continue
            if followed.prints_from != frame.arg.channel:
                if followed.prints_from:
                    self.counts.duplicates += 1
                    continue
                followed.prints_from = frame.arg.channel
            if not (is_plausible(data.px) and is_plausible(data.sz) and self.take_stamp(data.ts * NS_PER_MS, stamp_ns)):
                self.refuse(raw, "a price, size or stamp that cannot be")
            elif not self.keeps_out(followed, followed.prints, data.px):
                self._print(followed, data, ts_init, out)

    def _print(self, followed: Contract, data: wire.Trade, ts_init: int, out: list[Output]) -> None:
        if data.tradeId == followed.trade_id:  # what a channel says first may be the last print before
            self.counts.duplicates += 1
            return
        first = data.tradeId - max(1, data.count) + 1
        if 0 <= followed.trade_id < first - 1:
            self.counts.trade_gaps += 1
            missing = f"{followed.trade_id + 1} to {first - 1}"
            self._notices.append(f"prints {missing} of {followed.instrument} are missing")
        if not self.is_new_print(followed, data.tradeId, consecutive=False):
            return
        stamp = data.ts * NS_PER_MS
        size = data.sz if followed.size is None else data.sz * followed.size
        self.trade(followed, str(data.tradeId), data.px, size, data.side, stamp, ts_init, out)
        if followed.top_dirty:
            self.touch_if_due(followed, self._last_stamp or stamp, ts_init, out)

    def _on_best(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        frame = wire.BEST.decode(raw)
        followed = self.hear(frame.arg.instId, stamp_ns)
        if followed is None:
            return
        for data in frame.data:
            if data.seqId <= followed.quote_id:
                self.counts.duplicates += 1
            elif not (are_levels(_levels(data.bids)) and are_levels(_levels(data.asks))) or not self.take_stamp(
                data.ts * NS_PER_MS, stamp_ns
            ):
                self.refuse(raw, "a price, size or stamp that cannot be")
            else:
                self._best(followed, data, ts_init, out)

    def _best(self, followed: Contract, data: wire.Best, ts_init: int, out: list[Output]) -> None:
        stamp = data.ts * NS_PER_MS
        bids, asks = self._base(followed, _levels(data.bids)), self._base(followed, _levels(data.asks))
        if not bids or not asks or bids[0][0] >= asks[0][0]:  # a side is empty, or a call auction is on
            self.counts.one_sided += 1
            followed.quote_id = data.seqId
            followed.top_id = data.seqId + followed.offset
            self.lose_top(followed)
            return
        (bid, bid_size), (ask, ask_size) = bids[0], asks[0]
        if self.keeps_out(followed, followed.bids, bid) or self.keeps_out(followed, followed.asks, ask):
            return
        followed.quote_id = data.seqId
        followed.best = (data.seqId, bid, ask)
        top = (bid, bid_size, ask, ask_size)
        number = data.seqId + followed.offset
        self.quote(followed, top, number, stamp, ts_init, out)
        if number > followed.top_id:
            self.set_top(followed, top, number)
        if followed.top_dirty:
            self.touch_if_due(followed, stamp, ts_init, out)

    def _base(self, followed: Contract, levels: tuple[Level, ...]) -> tuple[Level, ...]:
        size = followed.size
        return levels if size is None else tuple((price, amount * size) for price, amount in levels)

    def _stamp(self, data: wire.Books) -> int:
        return data.ts * NS_PER_MS


def _levels(rows: wire.Rows) -> tuple[Level, ...]:
    return tuple((row.price, row.size) for row in rows)


def _requests(op: str, wanted: Sequence[tuple[str, str]]) -> list[str]:
    args = [{"channel": channel, "instId": name} for channel, name in wanted]
    pages = [args[i : i + ARGS_PER_REQUEST] for i in range(0, len(args), ARGS_PER_REQUEST)]
    return [msgspec.json.encode({"op": op, "args": page}).decode() for page in pages]


def _rest_book(raw: bytes, instrument: str) -> wire.Books:
    try:
        answer = wire.REST_BOOKS.decode(raw)
    except UNREADABLE as error:
        raise Poison(f"book of {instrument} does not decode: {error}") from error
    if answer.code != "0" or len(answer.data) != 1:
        raise Poison(f"book of {instrument} was refused: {answer.code} {answer.msg}")
    data = answer.data[0]
    if not (are_levels(_levels(data.bids)) and are_levels(_levels(data.asks))):
        raise Poison(f"book of {instrument} holds a price or size that cannot be")
    return data
