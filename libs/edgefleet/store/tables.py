"""The tables of the ledger's database. Knows SQLite and PostgreSQL; knows nothing of who writes.

Money is exact on both: NUMERIC on PostgreSQL, canonical text on SQLite, whose numbers are floats.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from edgefleet.units import decimal_text


class Money(TypeDecorator[Decimal]):
    """A Decimal that comes back as it went in."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return NUMERIC where the database has an exact one."""
        exact = Numeric(asdecimal=True) if dialect.name == "postgresql" else Text()
        return dialect.type_descriptor(exact)

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """Return text for SQLite, the Decimal itself for PostgreSQL."""
        if value is None or dialect.name == "postgresql":
            return value
        return decimal_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Return the Decimal that was stored."""
        return None if value is None else Decimal(value)


metadata = MetaData()

sessions = Table(
    "sessions",
    metadata,
    Column("session", Text, primary_key=True),
    Column("mode", Text, nullable=False),
    Column("venue", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("symbols", Text, nullable=False),  # JSON
    Column("started", BigInteger, nullable=False),  # ns since the epoch
    Column("stream_id", Text, nullable=False),  # its entry in `control`
)

fills = Table(
    "fills",
    metadata,
    Column("account", Text, nullable=False),
    Column("instrument", Text, nullable=False),
    Column("order_id", Text, nullable=False),
    Column("trade_id", Text, nullable=False),
    Column("session", Text, nullable=False),
    Column("venue", Text, nullable=False),
    Column("venue_order_id", Text, nullable=False),
    Column("target_id", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("quantity", Money, nullable=False),
    Column("price", Money, nullable=False),
    Column("fee", Money, nullable=False),
    Column("fee_asset", Text, nullable=False),
    Column("liquidity", Text, nullable=False),
    Column("realised", Money, nullable=False),  # quote units, before fees
    Column("booked", Boolean, nullable=False),  # False: the venue's opening balance already contains it
    Column("ts_event", BigInteger, nullable=False),
    Column("ts_init", BigInteger, nullable=False),
    Column("cause", Text, nullable=False),
    Column("config", Text, nullable=False),
    Column("stream_id", Text, nullable=False),
    PrimaryKeyConstraint("account", "instrument", "order_id", "trade_id"),
    Index("fills_by_session", "session", "ts_event"),
)

orders = Table(
    "orders",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("session", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("instrument", Text, nullable=False),
    Column("venue_order_id", Text),
    Column("target_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("quantity", Money, nullable=False),
    Column("price", Money),
    Column("filled", Money, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
    Column("config", Text, nullable=False),
    Column("stream_id", Text, nullable=False),  # its newest entry in `orders`
    Index("orders_by_session", "session", "updated"),
)

order_events = Table(
    "order_events",
    metadata,
    Column("stream_id", Text, primary_key=True),
    Column("order_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("filled", Money, nullable=False),
    Column("reason", Text, nullable=False),
    Column("ts_event", BigInteger, nullable=False),
    Column("cause", Text, nullable=False),
    Index("order_events_by_order", "order_id"),
)

positions = Table(
    "positions",
    metadata,
    Column("session", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("instrument", Text, nullable=False),
    Column("quantity", Money, nullable=False),
    Column("average_price", Money),
    Column("realised", Money, nullable=False),
    Column("updated", BigInteger, nullable=False),
    PrimaryKeyConstraint("session", "account", "instrument"),
)

lots = Table(
    "lots",
    metadata,
    Column("account", Text, nullable=False),
    Column("instrument", Text, nullable=False),
    Column("number", Integer, nullable=False),  # oldest first
    Column("quantity", Money, nullable=False),
    Column("price", Money),
    Column("opened", BigInteger, nullable=False),
    Column("origin", Text, nullable=False),
    PrimaryKeyConstraint("account", "instrument", "number"),
)

cash = Table(
    "cash",
    metadata,
    Column("session", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("venue", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("amount", Money, nullable=False),
    Column("start", Money, nullable=False),
    Column("fees", Money, nullable=False),
    Column("venue_amount", Money, nullable=False),  # what the venue said last
    PrimaryKeyConstraint("session", "account", "venue", "asset"),
)

equity = Table(
    "equity",
    metadata,
    Column("session", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("venue", Text, nullable=False),
    Column("ts", BigInteger, nullable=False),
    Column("equity", Money, nullable=False),
    Column("realised", Money, nullable=False),
    Column("unrealised", Money, nullable=False),
    Column("fees_in_quote", Money, nullable=False),
    Column("drawdown", Money, nullable=False),
    PrimaryKeyConstraint("session", "account", "venue", "ts"),
)

# Where each reader is, written in the transaction that writes its rows: that is what makes a row appear once.
stream_positions = Table(
    "stream_positions",
    metadata,
    Column("reader", Text, nullable=False),
    Column("stream", Text, nullable=False),
    Column("id", Text, nullable=False),
    PrimaryKeyConstraint("reader", "stream"),
)

reader_state = Table(
    "reader_state",
    metadata,
    Column("reader", Text, primary_key=True),
    Column("schema", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),  # msgpack
)

lookup = Table(
    "lookup",
    metadata,
    Column("stream", Text, nullable=False),
    Column("ms", BigInteger, nullable=False),  # the entry id's two numbers
    Column("seq", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("instrument", Text, nullable=False),
    Column("order_id", Text),
    Column("target_id", Text),
    Column("ts_event", BigInteger, nullable=False),
    Column("cause", Text),
    PrimaryKeyConstraint("stream", "ms", "seq"),
    Index("lookup_by_order", "order_id"),
    Index("lookup_by_target", "target_id"),
    Index("lookup_by_instrument", "instrument", "ts_event"),
)
