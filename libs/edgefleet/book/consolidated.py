"""The best bid and offer of one symbol over many venues, and which venues are not believed. Knows no stream.

A venue is out while

- it was excluded by somebody who knows more, the quality checks or an operator,
- its last quote is older than the deadline, by event time,
- its own bid is not below its own ask, or
- its quote locks (bid equal to ask) or crosses (bid above ask) other venues' quotes and it is the offender: who does so
  with the most venues; among equals the stalest, the quote with the oldest stamp, then the one that arrived first.

Offenders are put out one by one until what is left is neither locked nor crossed, so the consolidated best never is.
All of that is a function of the venues' last quotes: a venue is back with the first quote, of its own or of another,
that makes it sane.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum
from typing import Literal

import msgspec

from edgefleet.book.book import spread_bps
from edgefleet.clock import NS_PER_MS
from edgefleet.instruments import split_id
from edgefleet.messages.market import Quote, Touch


class Out(StrEnum):
    """Why a venue does not count."""

    EXCLUDED = "excluded"
    STALE = "stale"
    OWN_LOCKED = "own_locked"
    OWN_CROSSED = "own_crossed"
    LOCKED = "locked"
    CROSSED = "crossed"


class VenueQuote(msgspec.Struct, frozen=True, gc=False):
    """A venue's last word. A side without a price is None."""

    venue: str
    bid: Decimal | None
    bid_size: Decimal
    ask: Decimal | None
    ask_size: Decimal
    ts: int  # ns since the epoch, the venue's clock


class Best(msgspec.Struct, frozen=True, gc=False):
    """One side of the consolidated best."""

    price: Decimal
    size: Decimal  # of all venues at that price together
    venues: tuple[str, ...]  # largest size first


class VenueEvent(msgspec.Struct, frozen=True, gc=False):
    """A venue went out or came back."""

    symbol: str
    venue: str
    state: Literal["quarantined", "released"]
    reason: Out  # why it is out, or last was
    against: tuple[str, ...]  # the venues that it locked or crossed
    ts: int


class ConsolidatedBook:
    """One symbol's venues.

    Parameters
    ----------
    stale_after_ms
        Age of a quote, by event time, from which its venue is out. None: a quote stands until it is replaced, as those
        of the consolidated tape of US stocks do.
    """

    def __init__(self, symbol: str, stale_after_ms: int | None = None) -> None:
        self.symbol = symbol
        self.stale_after_ns = None if stale_after_ms is None else stale_after_ms * NS_PER_MS
        self._quotes: dict[str, VenueQuote] = {}  # the one that arrived last stands last
        self._excluded: set[str] = set()
        self.market_ts = 0  # the largest stamp seen
        self.bid: Best | None = None
        self.ask: Best | None = None
        self.out: dict[str, Out] = {}  # the venues that do not count
        self.counts: Counter[tuple[str, Out]] = Counter()  # how often a venue went out for a reason
        self.overtaken = 0  # quotes passed over because their venue had said something newer

    def update(self, quote: VenueQuote) -> list[VenueEvent]:
        """Take a venue's quote and return which venues went out or came back by it."""
        last = self._quotes.get(quote.venue)
        if last is not None and quote.ts < last.ts:
            self.overtaken += 1
            return []
        self._quotes.pop(quote.venue, None)
        self._quotes[quote.venue] = quote
        return self.advance(quote.ts)

    def advance(self, ts: int) -> list[VenueEvent]:
        """Let event time be `ts`, of a beat for instance, and return which venues went out or came back by then."""
        self.market_ts = max(self.market_ts, ts)
        return self._weigh()

    def exclude(self, venue: str) -> list[VenueEvent]:
        """Count a venue no more until it is admitted."""
        self._excluded.add(venue)
        return self._weigh()

    def admit(self, venue: str) -> list[VenueEvent]:
        """Count an excluded venue again, as far as its quotes let it."""
        self._excluded.discard(venue)
        return self._weigh()

    def forget(self, venue: str) -> list[VenueEvent]:
        """Forget a venue's quote: its connection is gone."""
        self._quotes.pop(venue, None)
        return self._weigh()

    @property
    def spread_bps(self) -> float | None:
        """Return the consolidated spread in basis points of its mid, None where a side is empty."""
        return None if self.bid is None or self.ask is None else spread_bps(self.bid.price, self.ask.price)

    def _weigh(self) -> list[VenueEvent]:
        out: dict[str, Out] = {}
        against: dict[str, tuple[str, ...]] = {}
        counted = [quote for quote in self._quotes.values() if not self._is_out_alone(quote, out)]
        bid, ask = _highest(counted), _lowest(counted)
        if bid is not None and ask is not None and bid >= ask:
            suspects = [
                q for q in counted if (q.bid is not None and q.bid >= ask) or (q.ask is not None and q.ask <= bid)
            ]
            for offender, others in _offenders(suspects):
                venue = offender.venue
                out[venue] = Out.CROSSED if any(_crosses(offender, other) for other in others) else Out.LOCKED
                against[venue] = tuple(other.venue for other in others)
            counted = [quote for quote in counted if quote.venue not in out]
            bid, ask = _highest(counted), _lowest(counted)
        self.bid = None if bid is None else _best(bid, [(q.bid_size, q.venue) for q in counted if q.bid == bid])
        self.ask = None if ask is None else _best(ask, [(q.ask_size, q.venue) for q in counted if q.ask == ask])
        return self._told(out, against) if out or self.out else []

    def _is_out_alone(self, quote: VenueQuote, out: dict[str, Out]) -> bool:
        reason: Out | None = None
        if quote.venue in self._excluded:
            reason = Out.EXCLUDED
        elif self.stale_after_ns is not None and self.market_ts - quote.ts > self.stale_after_ns:
            reason = Out.STALE
        elif quote.bid is not None and quote.ask is not None and quote.bid >= quote.ask:
            reason = Out.OWN_LOCKED if quote.bid == quote.ask else Out.OWN_CROSSED
        if reason is not None:
            out[quote.venue] = reason
        return reason is not None

    def _told(self, out: dict[str, Out], against: dict[str, tuple[str, ...]]) -> list[VenueEvent]:
        """Take who is out now and return what that changes; another reason for being out is no change."""
        before, self.out = self.out, out
        events = [
            VenueEvent(self.symbol, venue, "released", reason, (), self.market_ts)
            for venue, reason in before.items()
            if venue not in out
        ]
        for venue, reason in out.items():
            if venue not in before:
                self.counts[venue, reason] += 1
                others = against.get(venue, ())
                events.append(VenueEvent(self.symbol, venue, "quarantined", reason, others, self.market_ts))
        return events


class ConsolidatedBooks:
    """Every symbol's consolidated book, fed with the fleet's own messages."""

    def __init__(self, stale_after_ms: int | None = None) -> None:
        self.stale_after_ms = stale_after_ms
        self.books: dict[str, ConsolidatedBook] = {}

    def take(self, message: Quote | Touch) -> list[VenueEvent]:
        """Take a top of book and return which venues went out or came back by it. A price of zero is no price."""
        symbol, venue = split_id(message.instrument)
        book = self.books.get(symbol)
        if book is None:
            book = self.books[symbol] = ConsolidatedBook(symbol, self.stale_after_ms)
        bid, ask = message.bid or None, message.ask or None
        return book.update(VenueQuote(venue, bid, message.bid_size, ask, message.ask_size, message.ts_event))


def _highest(quotes: list[VenueQuote]) -> Decimal | None:
    return max([quote.bid for quote in quotes if quote.bid is not None], default=None)


def _lowest(quotes: list[VenueQuote]) -> Decimal | None:
    return min([quote.ask for quote in quotes if quote.ask is not None], default=None)


def _offenders(quotes: list[VenueQuote]) -> Iterator[tuple[VenueQuote, list[VenueQuote]]]:
    """Yield who is to go so that nobody locks or crosses another, and whom each did; quotes in order of arrival."""
    conflicts = {quote.venue: _conflicts(quote, quotes) for quote in quotes}
    while True:
        # The first of equals is the one that arrived first.
        offender = max(quotes, key=lambda quote: (len(conflicts[quote.venue]), -quote.ts))
        others = conflicts.pop(offender.venue)
        if not others:
            return
        yield offender, others
        quotes.remove(offender)
        for other in others:
            conflicts[other.venue].remove(offender)


def _conflicts(quote: VenueQuote, others: list[VenueQuote]) -> list[VenueQuote]:
    """Return the quotes that one locks or crosses."""
    bid, ask = quote.bid, quote.ask
    return [
        other
        for other in others
        if (bid is not None and other.ask is not None and bid >= other.ask)
        or (ask is not None and other.bid is not None and other.bid >= ask)
    ]


def _crosses(one: VenueQuote, other: VenueQuote) -> bool:
    return any(
        bid is not None and ask is not None and bid > ask for bid, ask in ((one.bid, other.ask), (other.bid, one.ask))
    )


def _best(price: Decimal, sizes: list[tuple[Decimal, str]]) -> Best:
    sizes.sort(key=lambda each: (-each[0], each[1]))
    return Best(price, sum([size for size, _ in sizes], Decimal(0)), tuple(venue for _, venue in sizes))
