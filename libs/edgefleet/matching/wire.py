"""Binance Spot market-data frames as typed values. Knows the wire's shapes, nothing of sockets or books.

Prices and quantities are Decimal as written; `E` and `T` are milliseconds of the venue's clock.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Generic, TypeVar

import msgspec

from edgefleet.errors import Poison

Level = tuple[Decimal, Decimal]
Levels = tuple[Level, ...]


class Trade(msgspec.Struct, frozen=True, gc=False):
    """A print. `m` is true where the buyer was the resting side, so the seller was the aggressor."""

    s: str
    E: int
    T: int
    t: int
    p: Decimal
    q: Decimal
    m: bool


class BookTicker(msgspec.Struct, frozen=True, gc=False):
    """The best bid and ask after book update `u`. It carries no stamp."""

    u: int
    s: str
    b: Decimal
    B: Decimal
    a: Decimal
    A: Decimal


class DepthDiff(msgspec.Struct, frozen=True, gc=False):
    """The levels that changed in book updates `U` to `u`, with their quantity after `u`; 0 removes the level."""

    s: str
    E: int
    U: int
    u: int
    b: Levels
    a: Levels


class DepthSnapshot(msgspec.Struct, frozen=True, gc=False):
    """The book after update `lastUpdateId`, as REST gives it: it names no symbol."""

    lastUpdateId: int
    bids: Levels
    asks: Levels


Frame = Trade | BookTicker | DepthDiff | DepthSnapshot
F = TypeVar("F")


class Envelope(msgspec.Struct, Generic[F], frozen=True, gc=False):
    """What a combined stream puts around a frame; its `stream` is read before."""

    data: F


class _Named(msgspec.Struct, frozen=True, gc=False):
    stream: str


TRADE: Final = msgspec.json.Decoder(Envelope[Trade])
TICKER: Final = msgspec.json.Decoder(Envelope[BookTicker])
DEPTH: Final = msgspec.json.Decoder(Envelope[DepthDiff])
SNAPSHOT: Final = msgspec.json.Decoder(DepthSnapshot)
_NAMED: Final = msgspec.json.Decoder(_Named)
_PREFIX: Final = b'{"stream":"'


def stream_name(body: bytes) -> str | None:
    """Return the stream a combined envelope names, or None for a bare REST object.

    Raises
    ------
    Poison
        If `body` is neither.
    """
    if body.startswith(_PREFIX):
        end = body.find(b'"', len(_PREFIX))
        if end > 0:
            return body[len(_PREFIX) : end].decode()
    if b'"lastUpdateId"' in body[:40]:
        return None
    try:
        return _NAMED.decode(body).stream
    except msgspec.DecodeError as error:
        raise Poison(f"not a combined-stream envelope nor a depth snapshot: {error}") from error


def payload(body: bytes) -> bytes:
    """Return the `data` object of a combined envelope, byte for byte."""
    marker = b'"data":'
    start = body.find(marker)
    return body[start + len(marker) : -1] if start > 0 else body


def decode(body: bytes) -> Frame | None:
    """Return what a recorded body says: a trade, a top of book, a depth diff or a REST depth snapshot.

    None is a frame of another stream (a candle, say), which no book is built from.

    Raises
    ------
    Poison
        If it is not JSON, or a field is missing or of another type.
    """
    return decode_stream(stream_name(body), body)


def decode_stream(stream: str | None, body: bytes) -> Frame | None:
    """Return what `body` says, its stream's name being known already (None: a REST snapshot)."""
    try:
        if stream is None:
            return SNAPSHOT.decode(body)
        kind = stream.partition("@")[2]
        if kind == "bookTicker":
            return TICKER.decode(body).data
        if kind == "trade":
            return TRADE.decode(body).data
        if kind in ("depth@100ms", "depth", "depth@0ms"):
            return DEPTH.decode(body).data
    except msgspec.DecodeError as error:
        raise Poison(f"unreadable frame of {stream or 'REST depth'}: {error}") from error
    return None
