"""What a venue holds against what our journal knows: fetched whole, then classified. Decides nothing about trading."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edgefleet.errors import Transient
from edgefleet.gateway.memory import OUR_PREFIX, Known, OrderMemory
from edgefleet.venues.interface import (
    AccountReport,
    Answered,
    NotFound,
    OrderReport,
    TradeReport,
    Venue,
)

SETTLE_ROUNDS = 5


class VenueView(NamedTuple):
    """What the venue said, all of one moment: the account is that after exactly these trades."""

    open_orders: Sequence[OrderReport]
    queried: Sequence[OrderReport]  # ours that are not open any more
    missing: Sequence[str]  # client order ids of ours that the venue does not find
    trades: Sequence[TradeReport]  # since the last we knew, oldest first
    account: AccountReport


class Classes(NamedTuple):
    """Every open order at the venue, and every order of ours that is not there."""

    ours: tuple[str, ...]  # client order ids
    external: tuple[str, ...]  # venue order ids; never touched by us
    orphans: tuple[str, ...]  # client order ids with our prefix that our journal does not know


async def look(venue: Venue, memory: OrderMemory, instruments: Sequence[str]) -> VenueView:
    """Return the venue's orders, trades and balances, read until no trade came between trades and balances.

    Raises
    ------
    Transient
        If the venue does not answer, or trades faster than we can read.
    """
    open_orders = await venue.open_orders()
    there = {order.order_id for order in open_orders}
    queried: list[OrderReport] = []
    missing: list[str] = []
    for known in memory.unsettled():
        if known.order_id in there:
            continue
        result = await venue.query(known.intent.instrument, known.order_id)
        if isinstance(result, Answered):
            queried.append(result.order)
        elif isinstance(result, NotFound):
            missing.append(known.order_id)
        else:
            raise Transient(f"venue {venue.name} does not say what {known.order_id} is: {result.reason}")
    cursor: dict[str, str | None] = {
        name: str(memory.last_trade_id[name]) if name in memory.last_trade_id else None for name in instruments
    }
    trades = await _trades(venue, cursor)
    for _ in range(SETTLE_ROUNDS):
        account = await venue.account()
        later = await _trades(venue, cursor)
        if not later:
            return VenueView(open_orders, queried, missing, trades, account)
        trades += later
    raise Transient(f"venue {venue.name} trades faster than it can be reconciled")


def classify(open_orders: Sequence[OrderReport], memory: OrderMemory) -> Classes:
    """Return whose each open order is: ours by the journal, ours by name alone (an orphan), or somebody else's."""
    ours, external, orphans = [], [], []
    for order in open_orders:
        if order.order_id in memory.orders:
            ours.append(order.order_id)
        elif order.order_id.startswith(OUR_PREFIX):
            orphans.append(order.order_id)
        else:
            external.append(order.venue_order_id)
    return Classes(tuple(ours), tuple(external), tuple(orphans))


def unresolved(memory: OrderMemory, missing: Sequence[str]) -> list[Known]:
    """Return our orders whose outcome is still open after a look at the venue."""
    return [memory.orders[order_id] for order_id in missing if order_id in memory.orders]


async def _trades(venue: Venue, cursor: dict[str, str | None]) -> list[TradeReport]:
    """Return the trades after `cursor`, oldest first, and move it behind them."""
    found: list[TradeReport] = []
    for instrument, after in cursor.items():
        page = await venue.trades_since(instrument, after)
        if page:
            cursor[instrument] = page[-1].trade_id
        elif after is None:
            cursor[instrument] = "-1"
        found += page
    return sorted(found, key=lambda trade: trade.ts_event)
