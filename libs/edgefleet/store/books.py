"""The ledger's stage with its books in a database: one transaction holds the rows and how far the reader is.

Knows nothing of Redis. A kill between any two instructions leaves a database that is a moment of the stream, so the
entries after its positions are booked once, however often they were read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from edgefleet.bus.interface import FIRST, Entry, id_key
from edgefleet.errors import Broken, Poison
from edgefleet.instruments import split_id
from edgefleet.ledger.books import Book, Statement, statement
from edgefleet.ledger.exact import subtract
from edgefleet.ledger.identity import execution_key
from edgefleet.ledger.lots import average_price
from edgefleet.ledger.stage import LedgerStage, LedgerState, all_together, statements
from edgefleet.ledger.together import Together
from edgefleet.messages import Beat, DeadLetter, Fill, Message, OrderEvent, Session, decode
from edgefleet.params.schema import FleetConfig
from edgefleet.stage import Input, Output
from edgefleet.store import tables
from edgefleet.store.db import FillKey, LedgerDatabase, Transaction
from edgefleet.units import ZERO

READER = "books"
_MAY_BE_SET_ASIDE = frozenset({"beats"})  # an unreadable entry anywhere else is a fact that must not be passed over


class Bookkeeper:
    """Books batches. After an error its memory is not to be trusted: call `open` again."""

    def __init__(self, database: LedgerDatabase) -> None:
        self._database = database
        self._stage = LedgerStage()
        self._state = self._stage.initial()
        self.positions: dict[str, str] = {}

    def open(self) -> None:
        """Load the books and how far they are."""
        with self._database.reading() as transaction:
            stored = transaction.state(READER, self._stage.schema)
            self.positions = transaction.positions(READER)
        self._state = self._stage.initial() if stored is None else msgspec.msgpack.decode(stored, type=LedgerState)

    def position(self, stream: str) -> str:
        """Return the last id of `stream` that is in the books."""
        return self.positions.get(stream, FIRST)

    def statements(self) -> tuple[Statement, ...]:
        """Return every account valued at the newest touch."""
        return statements(self._state)

    def together(self) -> Together | None:
        """Return this session's accounts as one, None before the first is told."""
        return all_together(self._state)

    def book(self, stream: str, entries: Sequence[Entry], config: FleetConfig) -> list[Output]:
        """Book the entries that are not booked yet, in one transaction, and return what the stage has to say.

        Raises
        ------
        Broken
            If an entry that carries a fact cannot be read.
        """
        fresh = following(entries, self.position(stream))
        if not fresh:
            return []
        outputs: list[Output] = []
        with self._database.transaction() as transaction:
            readable = [(entry, message) for entry in fresh if (message := _read(stream, entry, outputs)) is not None]
            known = transaction.known_fills([execution_key(m) for _, m in readable if isinstance(m, Fill)])
            rows = _Rows(self._state)
            for entry, message in readable:
                if isinstance(message, Fill) and execution_key(message) in known:
                    continue
                rows.before(message)
                outputs += self._stage.step(self._state, Input(stream, entry.id, message), config)
                rows.after(entry.id, message)
            rows.write(transaction)
            transaction.put_state(READER, self._stage.schema, _stored(self._state))
            transaction.move(READER, {stream: fresh[-1].id})
        self.positions[stream] = fresh[-1].id
        return outputs


def following(entries: Sequence[Entry], position: str) -> Sequence[Entry]:
    """Return those of a stream's entries, given in their order, that come after `position`."""
    known = id_key(position)
    if entries and id_key(entries[0].id) > known:
        return entries
    return [entry for entry in entries if id_key(entry.id) > known]


def _read(stream: str, entry: Entry, outputs: list[Output]) -> Message | None:
    try:
        return decode(entry.type, entry.data)
    except Poison as error:
        if stream not in _MAY_BE_SET_ASIDE:
            raise Broken(f"{stream}/{entry.id} cannot be booked: {error}") from error
        letter = DeadLetter(
            service="ledger",
            stream=stream,
            id=entry.id,
            entry_type=entry.type,
            data=entry.data.decode(errors="replace"),
            error=str(error),
            ts_event=0,
            ts_init=0,
        )
        outputs.append(Output("dead.ledger", letter))
        return None


def _stored(state: LedgerState) -> bytes:
    # The database's own key says which fills are booked, so the window of keys need not be written with every batch.
    return msgspec.msgpack.encode(msgspec.structs.replace(state, booked={}))


class _Rows:
    """Collects what one batch changes in the tables."""

    def __init__(self, state: LedgerState) -> None:
        self._state = state
        self._sessions: list[dict[str, Any]] = []
        self._fills: list[dict[str, Any]] = []
        self._orders: dict[str, dict[str, Any]] = {}
        self._events: list[dict[str, Any]] = []
        self._equity: dict[tuple[str, int], dict[str, Any]] = {}
        self._held: dict[str, Any] = {}
        self._realised = ZERO
        self._fills_known: set[FillKey] = set()
        self._books_changed = False
        self._unopened = 0

    def before(self, message: Message) -> None:
        if isinstance(message, Fill):
            self._realised = self._realised_of(message)
            self._unopened = self._state.unopened_fills

    def after(self, entry_id: str, message: Message) -> None:
        match message:
            case Session():
                self._sessions.append(_session_row(entry_id, message))
            case Fill():
                self._fill(entry_id, message)
            case OrderEvent():
                self._order(entry_id, message)
            case Beat():
                for name, book in self._state.books.items():
                    row = _equity_row(statement(book, self._state.touches, message.ts_event))
                    if row is not None:
                        self._equity[name, message.ts_event] = row
            case _:
                self._books_changed = self._books_changed or message.__struct_config__.tag == "account.v1"

    def write(self, transaction: Transaction) -> None:
        transaction.add(tables.sessions, self._sessions)
        transaction.add(tables.fills, self._fills)
        transaction.put(tables.orders, list(self._orders.values()), keep=frozenset({"created", "session"}))
        transaction.add(tables.order_events, self._events)
        transaction.add(tables.equity, list(self._equity.values()))
        if not (self._fills or self._books_changed):
            return
        for book in self._state.books.values():
            transaction.put(tables.cash, _cash_rows(book))
            transaction.put(tables.positions, _position_rows(book, self._state.time))
            for instrument, holding in book.holdings.items():
                transaction.replace_lots(book.account, instrument, _lot_rows(book.account, instrument, holding.lots))

    def _fill(self, entry_id: str, fill: Fill) -> None:
        key = execution_key(fill)
        if key in self._fills_known:
            return  # the same execution twice in one batch: the stage booked it once
        self._fills_known.add(key)
        row = _as_row(fill, tables.fills)
        row["session"] = self._state.session
        row["venue"] = split_id(fill.instrument)[1]
        row["realised"] = subtract(self._realised_of(fill), self._realised)
        row["booked"] = self._state.unopened_fills == self._unopened
        row["stream_id"] = entry_id
        self._fills.append(row)

    def _order(self, entry_id: str, event: OrderEvent) -> None:
        row = _as_row(event, tables.orders)
        row |= {"session": self._state.session, "created": event.ts_event, "updated": event.ts_event}
        row["stream_id"] = entry_id
        if event.order_id in self._orders:
            row["created"] = self._orders[event.order_id]["created"]
        self._orders[event.order_id] = row
        self._events.append({**_as_row(event, tables.order_events), "stream_id": entry_id})

    def _realised_of(self, fill: Fill) -> Any:
        book = self._state.books.get(f"{fill.account}@{split_id(fill.instrument)[1]}")
        holding = None if book is None else book.holdings.get(fill.instrument)
        return ZERO if holding is None else holding.realised


def _as_row(message: msgspec.Struct, table: Any) -> dict[str, Any]:
    names = {column.name for column in table.columns}
    values = {name: getattr(message, name) for name in message.__struct_fields__ if name in names}
    return {name: str(value) if isinstance(value, str) else value for name, value in values.items()}


def _session_row(entry_id: str, session: Session) -> dict[str, Any]:
    return {
        "session": session.session,
        "mode": session.mode,
        "venue": session.venue,
        "account": session.account,
        "symbols": msgspec.json.encode(session.symbols).decode(),
        "started": session.ts_event,
        "stream_id": entry_id,
    }


def _equity_row(line: Statement) -> dict[str, Any] | None:
    if line.equity is None or line.unrealised is None or line.drawdown is None:
        return None
    return {
        "session": line.session,
        "account": line.account,
        "venue": line.venue,
        "ts": line.ts,
        "equity": line.equity,
        "realised": line.realised,
        "unrealised": line.unrealised,
        "fees_in_quote": line.fees_in_quote,
        "drawdown": line.drawdown,
    }


def _cash_rows(book: Book) -> list[dict[str, Any]]:
    return [
        {
            "session": book.session,
            "account": book.account,
            "venue": book.venue,
            "asset": asset,
            "amount": book.balances.get(asset, ZERO),
            "start": book.start.get(asset, ZERO),
            "fees": book.fees.get(asset, ZERO),
            "venue_amount": book.venue_balances.get(asset, ZERO),
        }
        for asset in sorted({*book.balances, *book.start, *book.fees, *book.venue_balances})
    ]


def _position_rows(book: Book, ts: int) -> list[dict[str, Any]]:
    return [
        {
            "session": book.session,
            "account": book.account,
            "instrument": instrument,
            "quantity": holding.quantity,
            "average_price": average_price(holding.lots),
            "realised": holding.realised,
            "updated": ts,
        }
        for instrument, holding in book.holdings.items()
    ]


def _lot_rows(account: str, instrument: str, lots: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {
            "account": account,
            "instrument": instrument,
            "number": number,
            "quantity": lot.quantity,
            "price": lot.price,
            "opened": lot.opened,
            "origin": lot.origin,
        }
        for number, lot in enumerate(lots)
    ]
