"""Frames of Coinbase Exchange's WebSocket feed. Knows their shapes, not what follows from them.

Source: docs.cdp.coinbase.com, "Exchange WebSocket Channels". Numbers come as strings and are kept as written.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal

import msgspec

from edgefleet.messages.market import Level

BookSide = Literal["buy", "sell"]


class Snapshot(msgspec.Struct, tag_field="type", tag="snapshot", gc=False):
    """A whole book, after a subscription. Captures before 2022 carry no time."""

    product_id: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    time: str | None = None


class L2Update(msgspec.Struct, tag_field="type", tag="l2update", gc=False):
    """Levels that changed, each with its whole new size."""

    product_id: str
    changes: list[tuple[BookSide, Decimal, Decimal]]
    time: str


class Match(msgspec.Struct, tag_field="type", tag="match", gc=False):
    """A print. `side` is the side of the order that rested."""

    product_id: str
    trade_id: int
    side: BookSide
    price: Decimal
    size: Decimal
    time: str


class LastMatch(msgspec.Struct, tag_field="type", tag="last_match", gc=False):
    """The last print before a subscription."""

    product_id: str
    trade_id: int
    side: BookSide
    price: Decimal
    size: Decimal
    time: str


class Ticker(msgspec.Struct, tag_field="type", tag="ticker", gc=False):
    """The venue's top of book at a print. A product that never traded has no time."""

    product_id: str
    best_bid: Decimal | None = None
    best_ask: Decimal | None = None
    time: str | None = None


class Heartbeat(msgspec.Struct, tag_field="type", tag="heartbeat", gc=False):
    """Sent each second for each product."""

    product_id: str
    time: str
    last_trade_id: int | None = None


class Subscriptions(msgspec.Struct, tag_field="type", tag="subscriptions"):
    """What the connection is subscribed to by now."""


class Error(msgspec.Struct, tag_field="type", tag="error"):
    """A request was refused, whole."""

    message: str = ""
    reason: str = ""


Frame = Snapshot | L2Update | Match | LastMatch | Ticker | Heartbeat | Subscriptions | Error


class Named(msgspec.Struct):
    """What tells of whom a frame is, and of which type."""

    type: str
    product_id: str | None = None


FRAME: Final = msgspec.json.Decoder(Frame)
NAMED: Final = msgspec.json.Decoder(Named)
BOOKS: Final = frozenset({"snapshot", "l2update"})
MARKET_DATA: Final = BOOKS | {"match", "last_match", "ticker"}
KNOWN: Final = MARKET_DATA | {"heartbeat", "subscriptions", "error"}
