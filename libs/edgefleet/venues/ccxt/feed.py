"""Frames that ccxt was watched for, to messages: whole books become what changed in them. No socket, no ccxt, no clock.

What is lost on the way from the venue only ccxt can see; it makes the book anew by itself. What is seen here: a book
that is crossed, one that is older than the last, prices that leap, prints that come twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from edgefleet.book.book import Side
from edgefleet.clock import NS_PER_MS
from edgefleet.instruments import canonical_symbol
from edgefleet.messages.market import Level
from edgefleet.stage import Output
from edgefleet.venues.ccxt import wire
from edgefleet.venues.dialect import Listed
from edgefleet.venues.feed import FeedCore, Followed, are_levels
from edgefleet.venues.figures import is_plausible, is_size

REMEMBERED: Final = 10_000  # prints of one symbol, to know one that comes again
TO_BELIEVE: Final = 50  # books in a row that are older than ours: the venue counts anew

_NOTHING: Final = Decimal(0)


class Watched(Followed):
    """A symbol, with what its books and prints need."""

    __slots__ = ("behind", "book_ts", "has_no_book", "seen", "size")

    def __init__(self, name: str, instrument: str, trace: str) -> None:
        super().__init__(name, instrument, trace)
        self.size: Decimal | None = None  # base units of one contract; None: sizes are sent as they come
        self.has_no_book = False
        self.seen: dict[str, None] = {}
        self._forget()

    def begin_anew(self) -> None:
        super().begin_anew()
        self.has_no_book = False
        self._forget()

    def lose_book(self) -> None:
        """Know nothing of the book any more, nor of its top."""
        super().lose_book()
        self.top = None
        self.top_dirty = False

    def _forget(self) -> None:
        self.book_ts: int | None = None
        self.behind = 0


class CcxtFeed(FeedCore[Watched]):
    """Frames of one exchange in, `market` and `beats` messages out. Parameters are as of every feed."""

    def __init__(self, venue: str, symbols: Iterable[str], *, touch_interval_ms: int = 100) -> None:
        super().__init__(venue, symbols, touch_interval_ms=touch_interval_ms)
        self.listed: dict[str, Listed] = {}  # by canonical symbol, as this connection said

    def spell(self, symbol: str) -> str:
        """Return the symbol: ccxt writes it as we do."""
        return canonical_symbol(symbol)

    def follow(self, name: str, instrument: str, trace: str) -> Watched:
        """Return what is to be known of a symbol."""
        return Watched(name, instrument, trace)

    def handle(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        """Read a frame by its kind."""
        frame = wire.FRAME.decode(raw)
        if isinstance(frame, wire.Market | wire.Refused):
            self._on_told(frame)
            return
        followed = self.hear(frame.symbol, stamp_ns)
        if followed is None:
            return
        stamps = [trade.ts for trade in frame.trades] if isinstance(frame, wire.Trades) else [frame.ts]
        if not all(ts is None or self.take_stamp(ts * NS_PER_MS, stamp_ns) for ts in stamps):
            self.refuse(raw, "a stamp that cannot be")
        elif isinstance(frame, wire.Book):
            self._on_book(followed, frame, stamp_ns, raw, ts_init, out)
        elif isinstance(frame, wire.Trades):
            for data in frame.trades:
                self._on_print(followed, data, stamp_ns, raw, ts_init, out)
        else:
            self._on_ticker(followed, frame, stamp_ns, raw, ts_init, out)

    def _on_told(self, frame: wire.Market | wire.Refused) -> None:
        followed = self._followed.get(frame.symbol)
        if followed is None:
            self.counts.unfollowed += 1
        elif isinstance(frame, wire.Market):
            self.listed[frame.symbol] = frame.listed
            size = frame.listed.contract_size
            followed.size = None if size == 1 else size
        else:
            followed.has_no_book = followed.has_no_book or frame.what == "watch_order_book"
            self._notices.append(f"{frame.what} of {followed.instrument} is refused: {frame.reason}"[:300])

    # --- books

    def _on_book(
        self, followed: Watched, data: wire.Book, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]
    ) -> None:
        if not (are_levels(data.bids) and are_levels(data.asks)):
            self.refuse(raw, "a price or size that cannot be")
            return
        if followed.synced and self._is_behind(followed, data):
            self.count_stale(followed)
            followed.behind += 1
            if followed.behind < TO_BELIEVE:
                return
            self.lose(followed, f"the venue counts anew from {data.nonce or data.ts}", ts_init, out)
        bids, asks = self._base(followed, data.bids), self._base(followed, data.asks)
        if bids and asks and bids[0][0] >= asks[0][0]:
            self.counts.book_crossed += 1
            followed.counts.crossed += 1
            if followed.synced:
                self.lose(followed, f"crossed: {bids[0][0]} is bid, {asks[0][0]} asked", ts_init, out)
            return
        followed.behind = 0
        followed.book_ts = data.ts
        stamp = self._stamp(data.ts, stamp_ns)
        if followed.synced:
            self._change(followed, bids, asks, data.nonce, stamp, ts_init, out)
        else:
            self.connected(ts_init, out)
            # Without a number of the venue's: counted from its microseconds, numbers grow over a restart of ours too.
            number = max(followed.update_id + 1, stamp // 1_000) if data.nonce is None else data.nonce
            self.load_book(followed, bids, asks, number, stamp, ts_init, out)
        self.quote_from_book(followed, stamp, ts_init, out)

    def _is_behind(self, followed: Watched, data: wire.Book) -> bool:
        """Return whether a book is older than ours, by the venue's number, else by its stamp."""
        if data.nonce is not None:
            return data.nonce < followed.update_id
        return data.ts is not None and followed.book_ts is not None and data.ts < followed.book_ts

    def _change(
        self,
        followed: Watched,
        bids: tuple[Level, ...],
        asks: tuple[Level, ...],
        nonce: int | None,
        stamp: int,
        ts_init: int,
        out: list[Output],
    ) -> None:
        """Send what a whole book changes in ours: levels that left its best ones are removed."""
        changed = difference(followed.book.bids, bids), difference(followed.book.asks, asks)
        if not any(changed):
            followed.update_id = followed.update_id if nonce is None else nonce
            return
        first = followed.update_id + 1
        self.apply_delta(followed, *changed, first, max(first, nonce or 0), stamp, ts_init, out)

    # --- prints and tickers

    def _on_print(
        self, followed: Watched, data: wire.Print, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]
    ) -> None:
        if data.id is not None:
            if data.id in followed.seen:
                self.counts.duplicates += 1
                return
            followed.seen[data.id] = None
            if len(followed.seen) > REMEMBERED:
                del followed.seen[next(iter(followed.seen))]
        if not (is_plausible(data.price) and is_plausible(data.amount)):
            self.refuse(raw, "a price or amount that cannot be")
            return
        if self.keeps_out(followed, followed.prints, data.price):
            return
        if data.side is None:
            self.counts.kept_out += 1
            return
        stamp = self._stamp(data.ts, stamp_ns)
        name = data.id if data.id is not None else f"{stamp}-{self.counts.trades}"
        size = data.amount if followed.size is None else data.amount * followed.size
        self.trade(followed, name, data.price, size, data.side, stamp, ts_init, out)
        if followed.top_dirty:
            self.touch_if_due(followed, self._last_stamp or stamp, ts_init, out)

    def _on_ticker(
        self, followed: Watched, data: wire.Ticker, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]
    ) -> None:
        """Compare a ticker with the book of its instant; where there is no book at all, its prices are the top."""
        if data.bid is None or data.ask is None:
            return
        if not followed.has_no_book:
            if data.ts is not None and data.ts == followed.book_ts:
                self.compare_top(followed, data.bid, data.ask)
            return
        sizes = (data.bid_size or _NOTHING, data.ask_size or _NOTHING)
        if not (is_plausible(data.bid) and is_plausible(data.ask) and is_size(sizes[0]) and is_size(sizes[1])):
            self.refuse(raw, "a price or size that cannot be")
            return
        if data.bid >= data.ask:
            self.counts.book_crossed += 1
            self.lose_top(followed)
            return
        if self.keeps_out(followed, followed.bids, data.bid) or self.keeps_out(followed, followed.asks, data.ask):
            return
        stamp = self._stamp(data.ts, stamp_ns)
        (bid, bid_size), (ask, ask_size) = self._base(followed, ((data.bid, sizes[0]), (data.ask, sizes[1])))
        if self.set_top(followed, (bid, bid_size, ask, ask_size), followed.update_id + 1):
            followed.update_id += 1
            self.quote(followed, (bid, bid_size, ask, ask_size), followed.update_id, stamp, ts_init, out)
            self.touch_if_due(followed, stamp, ts_init, out)

    def _base(self, followed: Watched, levels: tuple[Level, ...]) -> tuple[Level, ...]:
        size = followed.size
        return levels if size is None else tuple((price, amount * size) for price, amount in levels)

    def _stamp(self, ts_ms: int | None, stamp_ns: int) -> int:
        """Return the venue's stamp; a frame without one takes the last that came, and the very first ours."""
        if ts_ms is not None:
            return ts_ms * NS_PER_MS
        if self._last_stamp is None:
            self._last_stamp = stamp_ns
        return self._last_stamp


def difference(side: Side, levels: tuple[Level, ...]) -> tuple[Level, ...]:
    """Return the levels that make `side` what `levels` are: changed and new ones, and zero for those that are gone."""
    wanted = {price: size for price, size in levels if size}
    there = side.sizes
    gone = tuple((price, _NOTHING) for price in there if price not in wanted)
    return (*gone, *((price, size) for price, size in wanted.items() if there.get(price) != size))
