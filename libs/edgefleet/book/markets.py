"""All venues of all symbols together, fed with the fleet's own messages: books, figures, best and arbitrage.

Keeps what `Book`, `RollingVwap`, `ConsolidatedBook` and `ArbitrageMonitor` know of each instrument and symbol and hands
messages on to them. Knows no stream; decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from edgefleet.book.aggregator import Arbitrage, ArbitrageMonitor, RollingVwap, VenueView, venue_view
from edgefleet.book.book import Book
from edgefleet.book.consolidated import ConsolidatedBook, VenueEvent, VenueQuote
from edgefleet.instruments import split_id
from edgefleet.messages.market import BookDelta, BookSnapshot, Quote, Touch, Trade
from edgefleet.units import ZERO

MarketMessage = BookSnapshot | BookDelta | Trade | Quote | Touch
MarketEvent = VenueEvent | Arbitrage


class _Venue:
    def __init__(self, window_ms: int) -> None:
        self.book = Book()
        self.whole = False  # a snapshot has come
        self.vwap = RollingVwap(window_ms)


class _Symbol:
    def __init__(self, symbol: str, fees: Mapping[str, Decimal], stale_after_ms: int) -> None:
        self.best = ConsolidatedBook(symbol, stale_after_ms)
        self.arbitrage = ArbitrageMonitor(symbol, fees, stale_after_ms)


class Markets:
    """Every instrument's book and trades, every symbol's best and arbitrage.

    Parameters
    ----------
    fees
        The taker's fee of each venue as a fraction; a venue without one takes no part in arbitrage.
    stale_after_ms
        Age, by event time, from which a venue's word counts no more.
    window_ms
        What the rolling VWAP is taken over.
    """

    def __init__(self, fees: Mapping[str, Decimal], *, stale_after_ms: int, window_ms: int) -> None:
        self.fees, self.stale_after_ms, self.window_ms = dict(fees), stale_after_ms, window_ms
        self._venues: dict[str, _Venue] = {}  # by instrument
        self._symbols: dict[str, _Symbol] = {}

    def take(self, message: MarketMessage) -> list[MarketEvent]:
        """Take a message and return which venues went out or came back, and what arbitrage opened, changed or closed.

        A delta before its book's first snapshot is passed over. An instrument with a book is judged by its book, its
        quotes are passed over; one with quotes alone has no depth and takes no part in arbitrage.
        """
        venue = self._venues.get(message.instrument)
        if venue is None:
            venue = self._venues[message.instrument] = _Venue(self.window_ms)
        if isinstance(message, Trade):
            venue.vwap.add(message.ts_event, message.price, message.quantity)
            return []
        if isinstance(message, (Quote, Touch)):
            if venue.whole:
                return []
            bid, ask = message.bid or None, message.ask or None
            return self._best(message.instrument, bid, message.bid_size, ask, message.ask_size, message.ts_event)
        if isinstance(message, BookSnapshot):
            venue.book.load(message.bids, message.asks)
            venue.whole = True
        elif venue.whole:
            venue.book.apply(message.bids, message.asks)
        else:
            return []
        return self._compare(message.instrument, venue.book, message.ts_event)

    def advance(self, ts: int) -> list[MarketEvent]:
        """Let event time be `ts`, of a beat for instance, and return what follows from that alone."""
        events: list[MarketEvent] = []
        for venue in self._venues.values():
            venue.vwap.advance(ts)
        for symbol in self._symbols.values():
            events += symbol.best.advance(ts)
            events += symbol.arbitrage.advance(ts)
        return events

    def lose(self, instrument: str) -> list[MarketEvent]:
        """Forget an instrument's book: its connection is gone, or its data are not believed."""
        venue = self._venues.get(instrument)
        if venue is not None:
            venue.book, venue.whole = Book(), False
        name, at = split_id(instrument)
        symbol = self._symbols.get(name)
        return [] if symbol is None else [*symbol.best.forget(at), *symbol.arbitrage.drop(at)]

    def view(self, instrument: str, levels: int = 5) -> VenueView:
        """Return an instrument's spread, imbalance of the best `levels` levels and VWAP, each None where unknown."""
        venue = self._venues.get(instrument)
        return VenueView(None, None, None) if venue is None else venue_view(venue.book, venue.vwap, levels)

    def book(self, instrument: str) -> Book | None:
        """Return an instrument's book, None before its first snapshot."""
        venue = self._venues.get(instrument)
        return venue.book if venue is not None and venue.whole else None

    def best(self, symbol: str) -> ConsolidatedBook | None:
        """Return a symbol's consolidated best, None where nothing was said of it."""
        known = self._symbols.get(symbol)
        return None if known is None else known.best

    def arbitrage(self, symbol: str) -> ArbitrageMonitor | None:
        """Return a symbol's open opportunities, None where nothing was said of it."""
        known = self._symbols.get(symbol)
        return None if known is None else known.arbitrage

    def _compare(self, instrument: str, book: Book, ts: int) -> list[MarketEvent]:
        bid, ask = book.bids.best(), book.asks.best()
        bid_price, bid_size = (None, ZERO) if bid is None else bid
        ask_price, ask_size = (None, ZERO) if ask is None else ask
        events = self._best(instrument, bid_price, bid_size, ask_price, ask_size, ts)
        name, at = split_id(instrument)
        return [*events, *self._symbols[name].arbitrage.on_book(at, book, ts)]

    def _best(
        self, instrument: str, bid: Decimal | None, bid_size: Decimal, ask: Decimal | None, ask_size: Decimal, ts: int
    ) -> list[MarketEvent]:
        name, at = split_id(instrument)
        symbol = self._symbols.get(name)
        if symbol is None:
            symbol = self._symbols[name] = _Symbol(name, self.fees, self.stale_after_ms)
        return [*symbol.best.update(VenueQuote(at, bid, bid_size, ask, ask_size, ts))]
