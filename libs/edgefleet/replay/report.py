"""What a session came to, from its streams and its venue's own books. Knows nothing of how it was run."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from edgefleet.book.book import Book
from edgefleet.bus.interface import Entry
from edgefleet.clock import NS_PER_MS, iso
from edgefleet.errors import Poison
from edgefleet.ledger.books import Book as AccountBook
from edgefleet.ledger.books import Statement, TopOfBook, book_execution, mark, open_book, price_openings, statement
from edgefleet.ledger.identity import amounts, check, execution_key
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
    """What the venue says at the end: every balance, and every trade of the account since the session began."""

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

    def take(self, message: Trade | Quote | BookDelta | BookSnapshot) -> None:
        match message:
            case Trade():
                self.trades += 1
                self.volume += message.quantity
                self.notional += message.quantity * message.price
                self.last = message.price
            case Quote():
                self.quotes += 1
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
        bid = self.book.bids.best() if self.book is not None else None
        ask = self.book.asks.best() if self.book is not None else None
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
        self._start: Account | None = None
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
            case Account(reason="start") if self._start is None:
                self._start = message
                self._fills.clear()  # what the fills say before this is in these balances
            case GatewayOutcome(command="new") if message.sent_at is not None:
                self._sent[message.order_id] = message.sent_at

    def _market(self, instrument: str) -> _Market:
        return self._markets.setdefault(instrument.rpartition("@")[0], _Market())

    @property
    def order_ids(self) -> dict[str, str]:
        """Return our order id for each of the venue's that a fill names."""
        return {fill.venue_order_id: fill.order_id for fill in self._fills.values()}

    def is_of_session(self, venue_order_id: str, trade_id: str, ts: int) -> bool:
        """Return whether a trade that the venue lists is later than the opening balances, or booked in this session."""
        if self._start is None or ts > self._start.ts_event:
            return True
        return any((fill.venue_order_id, fill.trade_id) == (venue_order_id, trade_id) for fill in self._fills.values())

    def build(
        self,
        *,
        session: str,
        mode: str,
        venue: str,
        symbols: Iterable[str],
        started_ns: int,
        ended_ns: int,
        venue_books: VenueBooks | None,
        restarts: Mapping[str, int],
    ) -> dict[str, Any]:
        """Return the report; what is not known is null, never zero."""
        books = self._books(session, tuple(symbols), venue)
        return {
            "session": session,
            "mode": mode,
            "venue": venue,
            "symbols": list(symbols),
            "started": iso(started_ns),
            "ended": iso(ended_ns),
            "market": {symbol: self._market(f"{symbol}@{venue}").row() for symbol in symbols},
            "signals": self.counts["signals"],
            "ensembles": self.counts["ensembles"],
            "approved": self.counts["approved"],
            "refused": dict(sorted(self.refused.items())),
            "orders": len(self._orders),
            "order_states": dict(sorted(Counter(order.state.value for order in self._orders.values()).items())),
            "fills": len(self._fills),
            **self._money(books),
            "identity": self._identity(books, venue_books),
            "latency_ms": {"tick_to_order": _percentiles(self._latencies())},
            "restarts": dict(restarts),
            "dead_letters": self.dead_letters,
            "digests": self.digests.hex(),
        }

    def _latencies(self) -> list[float]:
        both = self._received.keys() & self._sent.keys()
        return [(self._sent[order] - self._received[order]) / NS_PER_MS for order in both]

    def _books(self, session: str, symbols: tuple[str, ...], venue: str) -> tuple[AccountBook, Statement] | None:
        if self._start is None:
            return None
        book = open_book(
            None,
            account=self._start.account,
            venue=venue,
            session=session,
            balances=amounts(self._start.balances),
            instruments=tuple(f"{symbol}@{venue}" for symbol in symbols),
            ts=self._start.ts_event,
        )
        for instrument, top in self._first_touches.items():
            price_openings(book, instrument, top)
        for fill in self._fills.values():
            book_execution(book, fill, ts=fill.ts_event)
        mark(book, self._touches)
        return book, statement(book, self._touches, max((top.ts for top in self._touches.values()), default=0))

    def _money(self, books: tuple[AccountBook, Statement] | None) -> dict[str, Any]:
        if books is None:
            return dict.fromkeys(_MONEY)
        lines = books[1]
        return {
            "positions": {line.instrument.rpartition("@")[0]: decimal_text(line.quantity) for line in lines.positions},
            "cash": {asset: decimal_text(amount) for asset, amount in lines.cash.items()},
            "fees": {asset: decimal_text(amount) for asset, amount in sorted(lines.fees.items())},
            "equity": _text(lines.equity),
            "realized_pnl": _text(lines.realised),  # before fees, as lots close
            "realized_pnl_after_fees": decimal_text(lines.realised - lines.fees_in_quote),
            "unrealized_pnl": _text(lines.unrealised),
        }

    def _identity(self, books: tuple[AccountBook, Statement] | None, venue: VenueBooks | None) -> dict[str, Any] | None:
        if books is None or venue is None or self._start is None:
            return None
        found = check(
            start=amounts(self._start.balances),
            end=venue.balances,
            venue_trades=venue.trades,
            ledger=books[0].balances,
            fills=tuple(self._fills.values()),
        )
        return {
            "cash_and_inventory_balance": decimal_text(found.cash_and_inventory_balance),
            "ledger_minus_venue": decimal_text(found.ledger_minus_venue),
            "fills_not_at_venue": found.fills_not_at_venue,
            "venue_trades_not_in_ledger": found.venue_trades_not_in_ledger,
        }


_MONEY = (
    "positions", "cash", "fees", "equity", "realized_pnl", "realized_pnl_after_fees", "unrealized_pnl",
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
