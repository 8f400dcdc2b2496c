"""The ledger as a stage: what control, fills, orders and beats do to the books. Knows nothing of buses or databases."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from edgefleet.instruments import split_id
from edgefleet.ledger.books import (
    Book,
    Statement,
    TopOfBook,
    book_execution,
    hear_venue,
    instruments_of,
    mark,
    open_book,
    price_openings,
    statement,
)
from edgefleet.ledger.identity import amounts, execution_key
from edgefleet.ledger.together import Together, together
from edgefleet.messages import Account, Alert, Beat, Fill, Message, OrderEvent, OrderState, Session, Touch, TradingState
from edgefleet.params.schema import FleetConfig
from edgefleet.stage import Input, Output
from edgefleet.units import decimal_text

BOOKED_WINDOW = 65_536  # fills remembered by key; the database's unique key guards against older ones
TERMINAL = frozenset(
    {OrderState.FILLED, OrderState.CANCELLED, OrderState.EXPIRED, OrderState.REJECTED, OrderState.DENIED}
)


class LedgerState(msgspec.Struct, kw_only=True):
    """Everything the ledger remembers."""

    time: int = 0  # ns since the epoch, market time: the largest stamp of a beat, a touch or a fill in this session
    session: str = ""
    instruments: tuple[str, ...] = ()  # what the session trades
    trading: str = ""
    books: dict[str, Book] = {}  # by account@venue
    touches: dict[str, TopOfBook] = {}  # by instrument
    booked: dict[str, None] = {}  # newest last
    open_orders: dict[str, str] = {}  # order id: state
    peak: Decimal | None = None  # highest equity of several accounts together at a beat of this session, in `quote`
    quote: str = ""  # of `peak`
    unopened_fills: int = 0  # executions that a venue's opening balance already contains


class LedgerStage:
    """Books every execution once, in the order of the stream, and values the account at the touch."""

    service = "ledger"
    inputs = ("control", "fills", "orders", "beats")
    state_type = LedgerState
    schema = 1

    def initial(self) -> LedgerState:
        """Return empty books."""
        return LedgerState()

    def step(self, state: LedgerState, entry: Input, config: FleetConfig) -> Sequence[Output]:
        """Take one entry; the only outputs are alerts."""
        message = entry.message
        if isinstance(message, Beat | Touch | Fill):
            # Control and accounts may carry the wall clock, which on a tape is years ahead of the market.
            state.time = max(state.time, message.ts_event)
        match message:
            case Session():
                _begin(state, message)
            case TradingState():
                state.trading = message.state
            case Account():
                return self._account(state, message, config)
            case Fill():
                self._fill(state, message)
            case OrderEvent():
                _note_order(state, message)
            case Touch():
                _touch(state, message.instrument, TopOfBook(message.bid, message.ask, message.ts_event))
            case Beat():
                self._beat(state, message, config)
            case _:
                pass
        return ()

    def _account(self, state: LedgerState, message: Account, config: FleetConfig) -> Sequence[Output]:
        _note_quote(state, config.risk_harmonizer.fleet_limits.quote)
        name = f"{message.account}@{message.venue}"
        balances = amounts(message.balances)
        book = state.books.get(name)
        if book is None or book.session != state.session:
            traded = state.instruments or tuple(f"{one}@{message.venue}" for one in config.instruments.symbols)
            traded = tuple(name for name in traded if not config.instruments.is_rate(name))
            known = {} if book is None else book.holdings
            opened = open_book(
                book,
                account=message.account,
                venue=message.venue,
                session=state.session,
                balances=balances,
                instruments=instruments_of(traded, message.venue, known),
                ts=message.ts_event,
            )
            state.books[name] = opened
            for instrument, top in state.touches.items():
                price_openings(opened, instrument, top)
            mark(opened, state.touches)
            return ()
        previous = book.difference
        hear_venue(book, balances)
        # A fill may still be under way when the venue speaks; the same difference twice is not under way.
        if book.difference and book.difference == previous:
            return (Output("alerts", _mismatch(book, state.time, message.ts_init)),)
        return ()

    def _fill(self, state: LedgerState, fill: Fill) -> None:
        key = "|".join(execution_key(fill))
        if key in state.booked:
            return
        state.booked[key] = None
        if len(state.booked) > BOOKED_WINDOW:
            del state.booked[next(iter(state.booked))]
        book = state.books.get(f"{fill.account}@{split_id(fill.instrument)[1]}")
        if book is None or book.session != state.session:
            state.unopened_fills += 1
            return
        book_execution(book, fill, ts=fill.ts_event)
        mark(book, state.touches)

    def _beat(self, state: LedgerState, beat: Beat, config: FleetConfig) -> None:
        for touch in beat.touches:
            if touch.bid is not None and touch.ask is not None:
                _touch(state, touch.instrument, TopOfBook(touch.bid, touch.ask, beat.ts_event))
        for book in state.books.values():
            mark(book, state.touches)
        _mark_peak(state, config.risk_harmonizer.fleet_limits.quote)


def _note_quote(state: LedgerState, quote: str) -> None:
    """Note what several accounts are valued in; in another asset their highest equity is measured anew."""
    if state.quote != quote:
        state.peak, state.quote = None, quote


def _mark_peak(state: LedgerState, quote: str) -> None:
    """Raise the highest equity of several accounts together."""
    _note_quote(state, quote)
    if len(open_books(state)) > 1:
        found = all_together(state)
        if found is not None and found.equity is not None:
            state.peak = found.peak_equity


def _begin(state: LedgerState, session: Session) -> None:
    """Begin a session: prices and orders of the last one, perhaps of another market, are not carried over."""
    state.session, state.instruments = session.session, session.traded
    state.time, state.touches, state.open_orders, state.peak = 0, {}, {}, None


def _touch(state: LedgerState, instrument: str, top: TopOfBook) -> None:
    state.touches[instrument] = top
    for book in state.books.values():
        price_openings(book, instrument, top)
        if book.start_equity is None:
            mark(book, state.touches)


def _note_order(state: LedgerState, event: OrderEvent) -> None:
    if event.state in TERMINAL:
        state.open_orders.pop(event.order_id, None)
    else:
        state.open_orders[event.order_id] = event.state.value


def _mismatch(book: Book, ts: int, ts_init: int) -> Alert:
    said = ", ".join(f"{asset} {decimal_text(amount)}" for asset, amount in book.difference.items())
    return Alert(
        name="ledger_venue_mismatch",
        severity="critical",
        service="ledger",
        text=f"account {book.account} at {book.venue}: the ledger minus the venue is {said}",
        ts_event=ts,
        ts_init=ts_init,
    )


def statements(state: LedgerState) -> tuple[Statement, ...]:
    """Return every book valued at the newest touch."""
    return tuple(statement(book, state.touches, state.time) for _, book in sorted(state.books.items()))


def open_books(state: LedgerState) -> list[Book]:
    """Return the books of this session; an account that it does not have is not in them."""
    return [book for _, book in sorted(state.books.items()) if book.session == state.session]


def all_together(state: LedgerState) -> Together | None:
    """Return this session's accounts as one, valued at the newest touch; None before the first is told."""
    lines = [statement(book, state.touches, state.time) for book in open_books(state)]
    return together(lines, state.touches, state.quote, state.peak, state.time)


def realised_by(state: LedgerState, message: Message) -> Decimal | None:
    """Return the realised profit so far of the instrument of a fill, None for anything else."""
    if not isinstance(message, Fill):
        return None
    book = state.books.get(f"{message.account}@{split_id(message.instrument)[1]}")
    holding = None if book is None else book.holdings.get(message.instrument)
    return None if holding is None else holding.realised
