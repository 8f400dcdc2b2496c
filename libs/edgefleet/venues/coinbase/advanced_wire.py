"""Frames of Coinbase Advanced Trade's WebSocket. Knows their shapes, not what follows from them.

Source: docs.cdp.coinbase.com, "Advanced Trade WebSocket Channels" and its AsyncAPI document. `level2` is asked for
and comes as `l2_data`. Every frame but an error carries the connection's own `sequence_num`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal

import msgspec

from edgefleet.venues.feed import UNREADABLE


class BookChange(msgspec.Struct, gc=False):
    """One level with its whole new size. Its `event_time` is left: in snapshots it may be of 1970."""

    side: Literal["bid", "offer", "ask"]
    price_level: Decimal
    new_quantity: Decimal


class BookEvent(msgspec.Struct, gc=False):
    """A whole book, or what changed of one."""

    type: Literal["snapshot", "update"]
    product_id: str
    updates: list[BookChange]


class Print(msgspec.Struct, gc=False):
    """A print. `side` is the side of the order that rested."""

    product_id: str
    trade_id: str
    price: Decimal
    size: Decimal
    time: str
    side: Literal["BUY", "SELL"]


class PrintsEvent(msgspec.Struct, gc=False):
    """Prints of the last 250 ms, or those before the subscription; the newest may come first."""

    type: Literal["snapshot", "update"]
    trades: list[Print]


class TickerItem(msgspec.Struct, gc=False):
    """One product's top; `ticker_batch` says none, and an empty side is an empty text."""

    product_id: str
    best_bid: str = ""
    best_ask: str = ""


class TickerEvent(msgspec.Struct, gc=False):
    """Tops of one moment."""

    tickers: list[TickerItem]


class L2Data(msgspec.Struct, tag_field="channel", tag="l2_data", gc=False):
    """What happened to books."""

    timestamp: str
    sequence_num: int
    events: list[BookEvent]


class MarketTrades(msgspec.Struct, tag_field="channel", tag="market_trades", gc=False):
    """Prints."""

    timestamp: str
    sequence_num: int
    events: list[PrintsEvent]


class Tickers(msgspec.Struct, tag_field="channel", tag="ticker", gc=False):
    """Tops of book at prints."""

    timestamp: str
    sequence_num: int
    events: list[TickerEvent]


class Heartbeats(msgspec.Struct, tag_field="channel", tag="heartbeats", gc=False):
    """Sent each second; without it a quiet connection is closed."""

    timestamp: str
    sequence_num: int


class Subscriptions(msgspec.Struct, tag_field="channel", tag="subscriptions", gc=False):
    """What the connection is subscribed to by now."""

    timestamp: str
    sequence_num: int


Frame = L2Data | MarketTrades | Tickers | Heartbeats | Subscriptions


class Probe(msgspec.Struct):
    """What tells an unusual frame apart: another channel, or an error."""

    channel: str | None = None
    sequence_num: int | None = None
    type: str | None = None
    message: str = ""
    reason: str = ""


class _Named(msgspec.Struct):
    product_id: str | None = None


class _NamedEvent(msgspec.Struct):
    product_id: str | None = None
    trades: list[_Named] = []
    tickers: list[_Named] = []


class _NamedFrame(msgspec.Struct):
    channel: str
    events: list[_NamedEvent] = []


FRAME: Final = msgspec.json.Decoder(Frame)
PROBE: Final = msgspec.json.Decoder(Probe)
MARKET_DATA: Final = frozenset({"l2_data", "market_trades", "ticker", "ticker_batch"})
KNOWN: Final = frozenset({"l2_data", "market_trades", "ticker", "heartbeats", "subscriptions"})
_NAMED: Final = msgspec.json.Decoder(_NamedFrame)


def names(raw: bytes) -> tuple[str, ...]:
    """Return the products that a frame of market data is about, none for any other frame."""
    try:
        frame = _NAMED.decode(raw)
    except UNREADABLE:
        return ()
    if frame.channel not in MARKET_DATA:
        return ()
    found: dict[str | None, None] = {}
    for event in frame.events:
        found[event.product_id] = None
        found |= dict.fromkeys(one.product_id for one in (*event.trades, *event.tickers))
    return tuple(name for name in found if name is not None)
