"""The books, the equity curve, readers' positions and the index for `why`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from edgefleet.store.tables import Money

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of an empty database."""
    op.create_table(
        "cash",
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("venue", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("amount", Money(), nullable=False),
        sa.Column("start", Money(), nullable=False),
        sa.Column("fees", Money(), nullable=False),
        sa.Column("venue_amount", Money(), nullable=False),
        sa.PrimaryKeyConstraint("session", "account", "venue", "asset"),
    )
    op.create_table(
        "equity",
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("venue", sa.Text(), nullable=False),
        sa.Column("ts", sa.BigInteger(), nullable=False),
        sa.Column("equity", Money(), nullable=False),
        sa.Column("realised", Money(), nullable=False),
        sa.Column("unrealised", Money(), nullable=False),
        sa.Column("fees_in_quote", Money(), nullable=False),
        sa.Column("drawdown", Money(), nullable=False),
        sa.PrimaryKeyConstraint("session", "account", "venue", "ts"),
    )
    op.create_table(
        "fills",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("trade_id", sa.Text(), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("venue", sa.Text(), nullable=False),
        sa.Column("venue_order_id", sa.Text(), nullable=False),
        sa.Column("target_id", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("quantity", Money(), nullable=False),
        sa.Column("price", Money(), nullable=False),
        sa.Column("fee", Money(), nullable=False),
        sa.Column("fee_asset", sa.Text(), nullable=False),
        sa.Column("liquidity", sa.Text(), nullable=False),
        sa.Column("realised", Money(), nullable=False),
        sa.Column("booked", sa.Boolean(), nullable=False),
        sa.Column("ts_event", sa.BigInteger(), nullable=False),
        sa.Column("ts_init", sa.BigInteger(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("stream_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account", "instrument", "order_id", "trade_id"),
    )
    op.create_index("fills_by_session", "fills", ["session", "ts_event"], unique=False)
    op.create_table(
        "lookup",
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("ms", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=True),
        sa.Column("target_id", sa.Text(), nullable=True),
        sa.Column("ts_event", sa.BigInteger(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("stream", "ms", "seq"),
    )
    op.create_index("lookup_by_instrument", "lookup", ["instrument", "ts_event"], unique=False)
    op.create_index("lookup_by_order", "lookup", ["order_id"], unique=False)
    op.create_index("lookup_by_target", "lookup", ["target_id"], unique=False)
    op.create_table(
        "lots",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("quantity", Money(), nullable=False),
        sa.Column("price", Money(), nullable=True),
        sa.Column("opened", sa.BigInteger(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account", "instrument", "number"),
    )
    op.create_table(
        "order_events",
        sa.Column("stream_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("filled", Money(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("ts_event", sa.BigInteger(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("stream_id"),
    )
    op.create_index("order_events_by_order", "order_events", ["order_id"], unique=False)
    op.create_table(
        "orders",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("venue_order_id", sa.Text(), nullable=True),
        sa.Column("target_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("quantity", Money(), nullable=False),
        sa.Column("price", Money(), nullable=True),
        sa.Column("filled", Money(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("stream_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("order_id"),
    )
    op.create_index("orders_by_session", "orders", ["session", "updated"], unique=False)
    op.create_table(
        "positions",
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("quantity", Money(), nullable=False),
        sa.Column("average_price", Money(), nullable=True),
        sa.Column("realised", Money(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("session", "account", "instrument"),
    )
    op.create_table(
        "reader_state",
        sa.Column("reader", sa.Text(), nullable=False),
        sa.Column("schema", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("reader"),
    )
    op.create_table(
        "sessions",
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("venue", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("symbols", sa.Text(), nullable=False),
        sa.Column("started", sa.BigInteger(), nullable=False),
        sa.Column("stream_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("session"),
    )
    op.create_table(
        "stream_positions",
        sa.Column("reader", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("reader", "stream"),
    )


def downgrade() -> None:
    """Leave: the first revision has nothing before it."""
    raise NotImplementedError("the first revision has nothing before it")
