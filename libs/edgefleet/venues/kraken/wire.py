"""Frames of Kraken's WebSocket v2. Knows their shapes, not what follows from them.

Source: docs.kraken.com, "Spot WebSocket v2". Prices and sizes come as JSON numbers and are kept digit by digit.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal

import msgspec

from edgefleet.venues.feed import UNREADABLE

Kind = Literal["snapshot", "update"]


class PriceLevel(msgspec.Struct, gc=False):
    """One level with its whole new size; zero removes it."""

    price: Decimal
    qty: Decimal


class BookItem(msgspec.Struct, gc=False):
    """A whole book, or what changed of one. Snapshots of 2023 carry no timestamp."""

    symbol: str
    bids: list[PriceLevel]
    asks: list[PriceLevel]
    checksum: int
    timestamp: str | None = None


class PrintItem(msgspec.Struct, gc=False):
    """A print. `side` is the taker's."""

    symbol: str
    side: Literal["buy", "sell"]
    price: Decimal
    qty: Decimal
    trade_id: int
    timestamp: str


class TickerItem(msgspec.Struct, gc=False):
    """The venue's top of book at a print."""

    symbol: str
    bid: Decimal | None = None
    ask: Decimal | None = None
    timestamp: str | None = None


class PairItem(msgspec.Struct, gc=False):
    """What a pair is traded in."""

    symbol: str
    price_precision: int
    qty_precision: int


class Reference(msgspec.Struct):
    """All pairs, or those whose rules changed."""

    pairs: list[PairItem] = []


class SystemItem(msgspec.Struct):
    """Whether the engine trades."""

    system: str = ""


class Book(msgspec.Struct, tag_field="channel", tag="book", gc=False):
    """What happened to books."""

    type: Kind
    data: list[BookItem]


class Prints(msgspec.Struct, tag_field="channel", tag="trade", gc=False):
    """Prints, or the last fifty before the subscription."""

    type: Kind
    data: list[PrintItem]


class Tickers(msgspec.Struct, tag_field="channel", tag="ticker", gc=False):
    """Tops of book."""

    data: list[TickerItem]


class Instruments(msgspec.Struct, tag_field="channel", tag="instrument"):
    """Reference data."""

    data: Reference


class Status(msgspec.Struct, tag_field="channel", tag="status"):
    """The state of the engine, at connect and when it changes."""

    data: list[SystemItem] = []


class Heartbeat(msgspec.Struct, tag_field="channel", tag="heartbeat"):
    """Sent about once a second while nothing else is."""


Frame = Book | Prints | Tickers | Instruments | Status | Heartbeat


class Result(msgspec.Struct):
    """What was subscribed to."""

    channel: str = ""
    symbol: str | None = None
    depth: int | None = None


class Probe(msgspec.Struct):
    """What tells an unusual frame apart: another channel, or the answer to a request."""

    channel: str | None = None
    method: str | None = None
    success: bool | None = None
    error: str = ""
    symbol: str | None = None
    result: Result | None = None
    time_out: str | None = None


class _Named(msgspec.Struct):
    symbol: str | None = None


class _NamedFrame(msgspec.Struct):
    channel: Literal["book", "trade", "ticker", "ohlc", "level3"]
    data: list[_Named]


FRAME: Final = msgspec.json.Decoder(Frame)
PROBE: Final = msgspec.json.Decoder(Probe)
KNOWN: Final = frozenset({"book", "trade", "ticker", "instrument", "status", "heartbeat"})
_NAMED: Final = msgspec.json.Decoder(_NamedFrame)


def names(raw: bytes) -> tuple[str, ...]:
    """Return the pairs that a frame of market data is about, none for any other frame."""
    try:
        frame = _NAMED.decode(raw)
    except UNREADABLE:
        return ()
    return tuple(dict.fromkeys(one.symbol for one in frame.data if one.symbol is not None))
