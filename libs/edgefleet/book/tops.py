"""Each symbol's consolidated best as of its venues' beats, from the market's own messages. Knows no stream, no clock.

An instrument's top is its venue's quote, and the best of its book until a quote has come. Venues are weighed by
`ConsolidatedBook`, at each beat of one of them; a symbol that one venue alone speaks of has no consolidated best.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

import msgspec

from edgefleet.book.book import Book
from edgefleet.book.consolidated import Best, ConsolidatedBook, Out, VenueQuote
from edgefleet.clock import NS_PER_MS
from edgefleet.instruments import split_id
from edgefleet.messages.market import Beat, BookDelta, BookSnapshot, Quote, VenueStatus
from edgefleet.units import ZERO

_ENOUGH = 2  # venues that a best over venues needs

TopMessage = Quote | BookSnapshot | BookDelta | Beat | VenueStatus


class VenueAge(msgspec.Struct, frozen=True):
    """How old a venue's word is, and why it does not count."""

    age_ms: int  # since its last quote, by event time
    out: str | None = None  # a reason of `Out`; None: it counts


class ConsolidatedBest(msgspec.Struct, frozen=True):
    """The best bid and offer of a symbol over its venues. Never locked or crossed; a side that nobody has is None."""

    symbol: str
    bid: Best | None
    ask: Best | None
    venues: dict[str, VenueAge]
    ts: int  # ns since the epoch, event time


class _Top(NamedTuple):
    bid: Decimal | None
    bid_size: Decimal
    ask: Decimal | None
    ask_size: Decimal
    ts: int


class Tops:
    """The newest top of every instrument, and the venues of every symbol."""

    def __init__(self, stale_after_ms: int) -> None:
        self.stale_after_ms = stale_after_ms
        self._tops: dict[str, dict[str, _Top]] = {}  # by symbol and venue
        self._books: dict[str, Book] = {}  # of the instruments that have not quoted
        self._quoting: set[str] = set()
        self._changed: dict[str, dict[str, None]] = {}  # by symbol: the venues that spoke since the last beat, in order
        self._weighed: dict[str, ConsolidatedBook] = {}

    def take(self, message: TopMessage) -> list[ConsolidatedBest]:
        """Take a message and return the best of the symbols that a beat tells of."""
        if isinstance(message, Beat):
            return self._pass(message)
        if isinstance(message, Quote):
            self._quoting.add(message.instrument)
            self._books.pop(message.instrument, None)
            bid, ask = message.bid or None, message.ask or None
            self._put(message.instrument, _Top(bid, message.bid_size, ask, message.ask_size, message.ts_event))
        elif isinstance(message, VenueStatus):
            self._lose(message)
        elif message.instrument not in self._quoting:
            self._change(message)
        return []

    def _change(self, message: BookSnapshot | BookDelta) -> None:
        if isinstance(message, BookSnapshot):
            book = self._books[message.instrument] = Book()
            book.load(message.bids, message.asks)
        else:
            known = self._books.get(message.instrument)
            if known is None:
                return  # changes of a book that nobody told
            book = known
            book.apply(message.bids, message.asks)
        bid, bid_size = book.bids.best() or (None, ZERO)
        ask, ask_size = book.asks.best() or (None, ZERO)
        self._put(message.instrument, _Top(bid, bid_size, ask, ask_size, message.ts_event))

    def _put(self, instrument: str, top: _Top) -> None:
        symbol, venue = split_id(instrument)
        self._tops.setdefault(symbol, {})[venue] = top
        changed = self._changed.setdefault(symbol, {})
        changed.pop(venue, None)
        changed[venue] = None

    def _lose(self, status: VenueStatus) -> None:
        """Forget what a venue said whose connection is gone, or of the one instrument whose book is read again."""
        if status.status not in ("disconnected", "resync"):
            return
        for symbol, tops in self._tops.items():
            instrument = f"{symbol}@{status.venue}"
            if status.status == "resync" and not status.detail.startswith(f"{instrument}:"):
                continue
            self._books.pop(instrument, None)
            if status.status == "resync" and instrument in self._quoting:
                continue
            self._quoting.discard(instrument)
            if tops.pop(status.venue, None) is not None:
                self._changed[symbol].pop(status.venue, None)
                if symbol in self._weighed:
                    self._weighed[symbol].forget(status.venue)

    def _pass(self, beat: Beat) -> list[ConsolidatedBest]:
        found = []
        for touch in beat.touches:
            symbol, venue = split_id(touch.instrument)
            tops = self._tops.get(symbol, {})
            book = self._weighed.get(symbol)
            if book is None:
                if len(tops) < _ENOUGH:
                    continue
                book = self._weighed[symbol] = ConsolidatedBook(symbol, self.stale_after_ms)
            if touch.quarantined:
                book.exclude(venue)
            else:
                book.admit(venue)
            changed, self._changed[symbol] = self._changed.get(symbol, {}), {}
            for name in changed:
                book.update(VenueQuote(name, *tops[name]))
            book.advance(beat.ts_event)
            found.append(_best_of(book, tops))
        return found


def _best_of(book: ConsolidatedBook, tops: dict[str, _Top]) -> ConsolidatedBest:
    venues = {
        venue: VenueAge(
            max(0, book.market_ts - top.ts) // NS_PER_MS, book.out[venue].value if venue in book.out else None
        )
        for venue, top in sorted(tops.items())
    }
    return ConsolidatedBest(book.symbol, book.bid, book.ask, venues, book.market_ts)


def _reason(out: Out | None) -> str | None:
    return None if out is None else out.value
