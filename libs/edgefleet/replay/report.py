"""What a session came to, from its streams and its venue's own books. Knows nothing of how it was run."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from edgefleet.book.book import Book
from edgefleet.bus.interface import Entry
from edgefleet.clock import NS_PER_MS, iso
from edgefleet.errors import Poison
from edgefleet.ledger.books import Book as AccountBook
from edgefleet.ledger.books import Statement, TopOfBook, book_execution, mark, open_book, price_openings, statement
from edgefleet.ledger.exact import total
from edgefleet.ledger.identity import amounts, check, execution_key
from edgefleet.ledger.together import together
from edgefleet.messages import (
    Account,
    Approved,
    BookDelta,
    BookSnapshot,
    Ensemble,
    Fill,
    GatewayOutcome,
    Message,
    OrderEvent,
    OrderState,
    Quote,
    Refused,
    Signals,
    Touch,
    Trade,
    VenueStatus,
    VenueTrade,
    decode,
)
from edgefleet.replay.digest import Digests
from edgefleet.units import ZERO, decimal_text


class VenueBooks(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue says at the end: every balance, and every trade of the account since the session began."""

    balances: dict[str, Decimal]
    trades: tuple[VenueTrade, ...]


class _Market:
    """One symbol's market as the fleet saw it."""

    def __init__(self) -> None:
        self.trades = 0
        self.quotes = 0
        self.deltas = 0
        self.gaps = 0
        self.crossed = 0
        self.volume = ZERO
        self.notional = ZERO
        self.last: Decimal | None = None
        self.book: Book | None = None
        self.update_id = 0
        self.quote: Quote | None = None  # the newest

    def take(self, message: Trade | Quote | BookDelta | BookSnapshot) -> None:
        match message:
            case Trade():
                self.trades += 1
                self.volume += message.quantity
                self.notional += message.quantity * message.price
                self.last = message.price
            case Quote():
                self.quotes += 1
                self.quote = message
            case BookSnapshot():
                self.book = Book()
                self.book.load(message.bids, message.asks)
                self.update_id = message.update_id
            case BookDelta():
                self.deltas += 1
                self.gaps += self.book is None or message.first_update_id > self.update_id + 1
                self.update_id = message.last_update_id
                if self.book is not None:
                    self.book.apply(message.bids, message.asks)
                    self.crossed += self.book.is_crossed

    def row(self) -> dict[str, Any]:
        bid, ask = self._top()
        return {
            "trades": self.trades,
            "volume": decimal_text(self.volume),
            "vwap": str(round(self.notional / self.volume, 12)) if self.volume else None,
            "quotes": self.quotes,
            "book_deltas": self.deltas,
            "book_gaps": self.gaps,
            "crossed": self.crossed,
            "last": _text(self.last),
            "best_bid": [decimal_text(part) for part in bid] if bid else None,
            "best_ask": [decimal_text(part) for part in ask] if ask else None,
        }

    def _top(self) -> tuple[tuple[Decimal, Decimal] | None, tuple[Decimal, Decimal] | None]:
        """Return the best of both sides: of the book, or of the newest quote where the venue sends no book."""
        if self.book is not None:
            return self.book.bids.best(), self.book.asks.best()
        if self.quote is None:
            return None, None
        return (self.quote.bid, self.quote.bid_size), (self.quote.ask, self.quote.ask_size)


class SessionReport:
    """Takes every entry of a session, stream by stream, and tells what it came to."""

    def __init__(self) -> None:
        self.digests = Digests()
        self.counts: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.dead_letters = 0
        self._markets: dict[str, _Market] = {}
        self._orders: dict[str, OrderEvent] = {}
        self._fills: dict[tuple[str, str, str, str], Fill] = {}  # the executor may publish one again
        self._starts: dict[str, Account] = {}  # by venue
        self._received: dict[str, int] = {}  # order id: receipt of the frame that led to it
        self._sent: dict[str, int] = {}  # order id: the moment its request went out
        self._first_touches: dict[str, TopOfBook] = {}
        self._touches: dict[str, TopOfBook] = {}

    def take(self, stream: str, entry: Entry) -> None:
        """Take one entry; entries of one stream come in order."""
        self.digests.add(stream, entry.data)
        if stream.startswith("dead."):
            self.dead_letters += 1
        elif stream in _READ:
            with contextlib.suppress(Poison):  # the stages that met it set it aside or halted; it counts for nothing
                message = decode(entry.type, entry.data)
                if not (stream == "venue.events" and isinstance(message, Account)):
                    self._read(message)

    def _read(self, message: Message) -> None:
        match message:
            case Trade() | Quote() | BookDelta() | BookSnapshot():
                self._market(message.instrument).take(message)
            case VenueStatus(status="resync"):
                self.counts["resyncs"] += 1
            case Touch():
                top = TopOfBook(message.bid, message.ask, message.ts_event)
                self._first_touches.setdefault(message.instrument, top)
                self._touches[message.instrument] = top
            case Signals():
                self.counts["signals"] += 1
            case Ensemble():
                self.counts["ensembles"] += 1
            case Approved():
                self.counts["approved"] += 1
            case Refused():
                self.refused[message.reason.value] += 1
            case OrderEvent():
                self._orders[message.order_id] = message
                if message.state is OrderState.PENDING_NEW:
                    self._received.setdefault(message.order_id, message.ts_init)
            case Fill():
                self._fills.setdefault(execution_key(message), message)
            case Account(reason="start") if message.venue not in self._starts:
                self._starts[message.venue] = message
                # What its fills say before this is in these balances.
                self._fills = {key: fill for key, fill in self._fills.items() if _venue(fill) != message.venue}
            case GatewayOutcome(command="new") if message.sent_at is not None:
                self._sent[message.order_id] = message.sent_at

    def _market(self, instrument: str) -> _Market:
        return self._markets.setdefault(instrument, _Market())

    def order_ids(self, venue: str) -> dict[str, str]:
        """Return our order id for each of the venue's that a fill names."""
        return {fill.venue_order_id: fill.order_id for fill in self._fills.values() if _venue(fill) == venue}

    def is_of_session(self, venue: str, venue_order_id: str, trade_id: str, ts: int) -> bool:
        """Return whether a trade that the venue lists is later than the opening balances, or booked in this session."""
        start = self._starts.get(venue)
        if start is None or ts > start.ts_event:
            return True
        return any(
            (_venue(fill), fill.venue_order_id, fill.trade_id) == (venue, venue_order_id, trade_id)
            for fill in self._fills.values()
        )

    def build(
        self,
        *,
        session: str,
        mode: str,
        instruments: Sequence[str],
        started_ns: int,
        ended_ns: int,
        quote: str,
        venue_books: Mapping[str, VenueBooks],
        restarts: Mapping[str, int],
    ) -> dict[str, Any]:
        """Return the report; what is not known is null, never zero.

        `instruments` are what was traded, as SYMBOL@venue, and `venue_books` what venues said at the end. Of one venue,
        the report's keys are symbols; of several, they are instruments, `accounts` has each account by itself, and what
        all are worth is in `quote`.
        """
        venues = tuple(dict.fromkeys(map(_venue_of, instruments)))
        books = {venue: self._books(session, instruments, venue) for venue in venues}
        names: Callable[[str], str] = (lambda one: one.rpartition("@")[0]) if len(venues) == 1 else str
        return {
            "session": session,
            "mode": mode,
            "venue": ",".join(venues),
            "symbols": [names(instrument) for instrument in instruments],
            "started": iso(started_ns),
            "ended": iso(ended_ns),
            "market": {names(instrument): self._market(instrument).row() for instrument in instruments},
            "signals": self.counts["signals"],
            "ensembles": self.counts["ensembles"],
            "approved": self.counts["approved"],
            "refused": dict(sorted(self.refused.items())),
            "orders": len(self._orders),
            "order_states": dict(sorted(Counter(order.state.value for order in self._orders.values()).items())),
            "fills": len(self._fills),
            **self._together(books, names, quote),
            "accounts": {venue: _money(one, names) for venue, one in books.items()},
            "identity": self._identity(books, venue_books),
            "latency_ms": {"tick_to_order": _percentiles(self._latencies())},
            "restarts": dict(restarts),
            "dead_letters": self.dead_letters,
            "digests": self.digests.hex(),
        }

    def _latencies(self) -> list[float]:
        both = self._received.keys() & self._sent.keys()
        return [(self._sent[order] - self._received[order]) / NS_PER_MS for order in both]

    def _books(self, session: str, instruments: Sequence[str], venue: str) -> _Books | None:
        start = self._starts.get(venue)
        if start is None:
            return None
        book = open_book(
            None,
            account=start.account,
            venue=venue,
            session=session,
            balances=amounts(start.balances),
            instruments=tuple(one for one in instruments if _venue_of(one) == venue),
            ts=start.ts_event,
        )
        for instrument, top in self._first_touches.items():
            if _venue_of(instrument) == venue:
                price_openings(book, instrument, top)
        for fill in self._fills.values():
            if _venue(fill) == venue:
                book_execution(book, fill, ts=fill.ts_event)
        mark(book, self._touches)
        newest = max((top.ts for top in self._touches.values()), default=0)
        return _Books(start, book, statement(book, self._touches, newest))

    def _identity(self, books: Mapping[str, _Books | None], venues: Mapping[str, VenueBooks]) -> dict[str, Any] | None:
        """Return what does not agree, summed over all accounts; None where a venue's own word is not known."""
        found = []
        for venue, ours in books.items():
            theirs = venues.get(venue)
            if ours is None or theirs is None:
                return None
            found.append(
                check(
                    start=amounts(ours.start.balances),
                    end=theirs.balances,
                    venue_trades=theirs.trades,
                    ledger=ours.book.balances,
                    fills=tuple(fill for fill in self._fills.values() if _venue(fill) == venue),
                )
            )
        return {
            "cash_and_inventory_balance": decimal_text(total(one.cash_and_inventory_balance for one in found)),
            "ledger_minus_venue": decimal_text(total(one.ledger_minus_venue for one in found)),
            "fills_not_at_venue": sum(one.fills_not_at_venue for one in found),
            "venue_trades_not_in_ledger": sum(one.venue_trades_not_in_ledger for one in found),
        }

    def _together(self, books: Mapping[str, _Books | None], names: Callable[[str], str], quote: str) -> dict[str, Any]:
        """Return the money of all accounts: sums per asset, and in `quote` what all come to."""
        known = [one for one in books.values() if one is not None]
        lines = [one.lines for one in known]
        whole = together(lines, self._touches, quote, None, max((one.ts for one in lines), default=0))
        if whole is None or len(known) < len(books):
            return dict.fromkeys(_MONEY)
        accounts = [_money(one, names) for one in known]
        return {
            "quote": whole.quote,
            "positions": {name: quantity for one in accounts for name, quantity in one["positions"].items()},
            "cash": _sums([one["cash"] for one in accounts]),
            "fees": {asset: decimal_text(amount) for asset, amount in whole.fees.items()},
            "equity": _text(whole.equity),
            "why": whole.why or None,
            "rates": {asset: decimal_text(rate) for asset, rate in whole.rates.items() if asset != whole.quote},
            "realized_pnl": _text(whole.realised),
            "realized_pnl_after_fees": _text(whole.realised_after_fees),
            "unrealized_pnl": _text(whole.unrealised),
        }


class _Books(NamedTuple):
    """An account as it was opened, as it was booked, and what it comes to."""

    start: Account
    book: AccountBook
    lines: Statement


def _venue(fill: Fill) -> str:
    return _venue_of(fill.instrument)


def _venue_of(instrument: str) -> str:
    return instrument.rpartition("@")[2]


def _money(books: _Books | None, names: Callable[[str], str]) -> dict[str, Any]:
    """Return an account's money; `names` are what instruments are called."""
    if books is None:
        return dict.fromkeys(_MONEY)
    lines = books.lines
    return {
        "quote": lines.quote,
        "positions": {names(at.instrument): decimal_text(at.quantity) for at in lines.positions},
        "cash": {asset: decimal_text(amount) for asset, amount in lines.cash.items()},
        "fees": {asset: decimal_text(amount) for asset, amount in sorted(lines.fees.items())},
        "equity": _text(lines.equity),
        "realized_pnl": _text(lines.realised),  # before fees, as lots close
        "realized_pnl_after_fees": decimal_text(lines.realised - lines.fees_in_quote),
        "unrealized_pnl": _text(lines.unrealised),
    }


def _sums(parts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: decimal_text(total(Decimal(part.get(name, "0")) for part in parts)) for name in names}


_MONEY = (
    "quote", "positions", "cash", "fees", "equity", "realized_pnl", "realized_pnl_after_fees", "unrealized_pnl",
)  # fmt: skip
_READ = frozenset({"market", "beats", "signals", "ensembles", "targets", "refusals", "orders", "fills", "venue.events"})


def _percentiles(values: list[float]) -> dict[str, Any]:
    """Return n, p50, p90, p99 and max; a percentile is the smallest value that so many are not above."""
    ordered = sorted(values)
    if not ordered:
        return {"n": 0, "p50": None, "p90": None, "p99": None, "max": None}
    rank: Callable[[float], float] = lambda share: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)  # noqa: E731 - read once, two lines below
    return {"n": len(ordered), "p50": rank(0.5), "p90": rank(0.9), "p99": rank(0.99), "max": round(ordered[-1], 3)}


def _text(value: Decimal | None) -> str | None:
    return None if value is None else decimal_text(value)
