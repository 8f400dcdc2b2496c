"""OKX v5 market-data frames and answers as typed values. Knows the wire's shapes, nothing of sockets or books.

Prices and sizes are Decimal as written; `ts` is milliseconds of the venue's clock. Source: OKX API guide, "Order book
channel", "Trades channel", "All trades channel", "Get instruments", "Get candlesticks", "Get system time"
(www.okx.com/docs-v5/en), and "OKX Order Book Channels Checksum Field Deprecation" (2026-05-21).
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from itertools import zip_longest
from typing import Final, Literal
from zlib import crc32

import msgspec

from edgefleet.messages.market import Level

CHECKSUM_LEVELS: Final = 25
BOOK_CHANNELS: Final = frozenset({"books", "books-l2-tbt", "books50-l2-tbt"})  # a snapshot, then what changes
PARTIAL_CHANNELS: Final = frozenset({"books5"})  # the best levels as they are, no changes of a book: not read
TRADE_CHANNELS: Final = frozenset({"trades", "trades-all"})


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A level as the venue writes it: price, size, a field that is always zero, number of orders."""

    price: Decimal
    size: Decimal


Rows = tuple[Row, ...]


class Books(msgspec.Struct, frozen=True, gc=False):
    """A whole book or what changed in it. Until 2022 it had no numbers; since June 2026 its checksum is 0, for none."""

    bids: Rows
    asks: Rows
    ts: int
    checksum: int | None = None
    seqId: int | None = None
    prevSeqId: int | None = None


class Trade(msgspec.Struct, frozen=True, gc=False):
    """What one taker order traded at one price: `count` matches, of which `tradeId` is the last."""

    instId: str
    tradeId: int
    px: Decimal
    sz: Decimal
    side: Literal["buy", "sell"]
    ts: int
    count: int = 1


class Best(msgspec.Struct, frozen=True, gc=False):
    """The best bid and ask, with the matching engine's stamp."""

    bids: Rows
    asks: Rows
    ts: int
    seqId: int


class Arg(msgspec.Struct, frozen=True, gc=False):
    """What a frame is about."""

    channel: str = ""
    instId: str = ""


class BooksFrame(msgspec.Struct, frozen=True, gc=False):
    """A push of a book channel."""

    arg: Arg
    action: Literal["snapshot", "update"]
    data: tuple[Books, ...]


class TradesFrame(msgspec.Struct, frozen=True, gc=False):
    """A push of a trade channel."""

    arg: Arg
    data: tuple[Trade, ...]


class BestFrame(msgspec.Struct, frozen=True, gc=False):
    """A push of `bbo-tbt`."""

    arg: Arg
    data: tuple[Best, ...]


class Head(msgspec.Struct, frozen=True, gc=False):
    """What tells a frame apart: an event of the connection, or a push of a channel."""

    arg: Arg = Arg()
    event: str | None = None
    code: str = ""
    msg: str = ""


class RestBooks(msgspec.Struct, frozen=True):
    """The answer of `GET /api/v5/market/books`."""

    code: str
    data: tuple[Books, ...] = ()
    msg: str = ""


# Numbers are written as strings.
BOOKS: Final = msgspec.json.Decoder(BooksFrame, strict=False)
TRADES: Final = msgspec.json.Decoder(TradesFrame, strict=False)
BEST: Final = msgspec.json.Decoder(BestFrame, strict=False)
HEAD: Final = msgspec.json.Decoder(Head, strict=False)
REST_BOOKS: Final = msgspec.json.Decoder(RestBooks, strict=False)

_PREFIX: Final = b'{"arg":{"channel":"'


def channel(raw: bytes) -> str | None:
    """Return the channel that a frame names in its first bytes, None where another field comes first."""
    if not raw.startswith(_PREFIX):
        return None
    end = raw.find(b'"', len(_PREFIX))
    return raw[len(_PREFIX) : end].decode() if end > 0 else None


def checksum(bids: Iterable[Level], asks: Iterable[Level]) -> int:
    """Return the venue's checksum of the best 25 bids and asks, best first, with price and size as it wrote them.

    The guide's own examples, whose check strings it prints:

    >>> d = Decimal
    >>> checksum([(d("3366.1"), d("7")), (d("3366"), d("6"))], [(d("3366.8"), d("9")), (d("3368"), d("8"))])
    -1881014294
    >>> signed = crc32(b"3366.1:7:3366.8:9:3368:8:3372:8")
    >>> three = [(d("3366.8"), d("9")), (d("3368"), d("8")), (d("3372"), d("8"))]
    >>> checksum([(d("3366.1"), d("7"))], three) in (signed, signed - 2**32)
    True
    """
    fields: list[str] = []
    for bid, ask in zip_longest(bids, asks):
        for level in (bid, ask):
            if level is not None:
                fields += (f"{level[0]:f}", f"{level[1]:f}")
    value = crc32(":".join(fields).encode())
    return value - 2**32 if value >= 2**31 else value
