"""The life of orders: what we asked, what a venue said, what it did to the account."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Literal

import msgspec

Side = Literal["buy", "sell"]
OrderKind = Literal["market", "limit", "post_only"]


class OrderState(StrEnum):
    """Where an order is in its life."""

    PENDING_NEW = "PENDING_NEW"  # decided and committed; the gateway's command
    ACCEPTED = "ACCEPTED"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    PENDING_CANCEL = "PENDING_CANCEL"  # the gateway's command
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"  # the venue's semantics prove that it does not exist
    DENIED = "DENIED"  # never sent
    UNKNOWN = "UNKNOWN"  # it may exist; counted at full size until resolved


class OrderEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="order_event.v1"):
    """An order changed its state. Sent by the order step on `orders`; PENDING_* are the gateway's commands."""

    order_id: str  # client order id
    venue_order_id: str | None
    account: str
    instrument: str
    target_id: str
    leg: int
    attempt: int
    state: OrderState
    side: Side
    kind: OrderKind
    quantity: Decimal  # base units, positive
    price: Decimal | None  # None for market orders
    filled: Decimal  # base units so far
    reduce_only: bool  # does not enlarge the position; allowed while REDUCING
    reason: str = ""
    ts_event: int
    ts_init: int
    trace_id: str
    cause: str
    config: str


class Fill(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="fill.v1"):
    """A venue executed part of an order. Sent by the order step on `fills`, once per venue trade."""

    order_id: str
    venue_order_id: str
    trade_id: str  # the venue's
    target_id: str
    account: str
    instrument: str
    side: Side
    quantity: Decimal  # base units, positive; `side` carries the sign
    price: Decimal  # quote per base unit
    fee: Decimal  # units of `fee_asset`; negative is a rebate
    fee_asset: str
    liquidity: Literal["maker", "taker"]
    ts_event: int
    ts_init: int
    trace_id: str
    cause: str
    config: str


class Balance(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One asset of an account."""

    free: Decimal
    locked: Decimal


class Account(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="account.v1"):
    """What a venue says an account holds.

    Sent by the gateway on `venue.events` at each reconcile, and handed on by the order step on `fills`.
    """

    account: str
    venue: str
    balances: dict[str, Balance]
    reason: Literal["start", "reconnect", "periodic", "stop"]
    ts_event: int
    ts_init: int
    trace_id: str


class VenueOrder(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="venue_order.v1"):
    """What a venue said about one order, by stream, answer or query. Sent by the gateway on `venue.events`."""

    account: str
    instrument: str
    order_id: str  # client order id
    venue_order_id: str
    status: Literal["NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "REJECTED", "EXPIRED"]
    side: Side
    kind: OrderKind
    quantity: Decimal
    price: Decimal | None
    filled: Decimal
    source: Literal["stream", "answer", "query"]
    ts_event: int
    ts_init: int
    trace_id: str


class VenueTrade(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="venue_trade.v1"):
    """What a venue said about one execution of ours. Sent by the gateway on `venue.events`, once per trade id."""

    account: str
    instrument: str
    order_id: str
    venue_order_id: str
    trade_id: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_asset: str
    liquidity: Literal["maker", "taker"]
    ts_event: int
    ts_init: int
    trace_id: str


class GatewayOutcome(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="gateway_outcome.v1"):
    """What became of one command of the order step. Sent by the gateway on `venue.events`."""

    account: str
    instrument: str
    order_id: str
    command: Literal["new", "cancel"]
    outcome: Literal["SENT", "REJECTED", "DENIED", "UNKNOWN", "NOT_FOUND", "RESOLVED_ABSENT"]
    code: str = ""  # the venue's error code where it gave one
    reason: str = ""
    sent_at: int | None = None  # ns since the epoch, our wall clock, as the request went out
    ts_event: int
    ts_init: int
    trace_id: str


class Reconciled(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="reconciled.v1"):
    """The gateway compared its journal with the venue. Sent on `venue.events` with each look at the start gate."""

    account: str
    venue: str
    ready: bool
    ours: tuple[str, ...]  # client order ids
    external: tuple[str, ...]  # venue order ids that no journal of ours knows; never cancelled by us
    orphans: tuple[str, ...]  # ids with our prefix that our journal does not know
    unresolved: tuple[str, ...]  # ours, sent or intended, outcome not known
    reason: str = ""
    ts_event: int
    ts_init: int
    trace_id: str
