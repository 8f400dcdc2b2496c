"""Binance Spot market-data frames as typed values, one decode per frame. Knows shapes, nothing of books or sockets.

`E` and `T` are milliseconds of the venue's clock; prices and quantities stay as written, in Decimal.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from edgefleet.messages.market import Level

Levels = tuple[Level, ...]


class TradeData(msgspec.Struct, gc=False):
    """A print. `m`: the buyer was the resting side, so the seller was the aggressor."""

    s: str
    E: int
    t: int
    p: Decimal
    q: Decimal
    T: int
    m: bool


class TickerData(msgspec.Struct, gc=False):
    """The best bid and ask after book update `u`. It carries no stamp."""

    u: int
    s: str
    b: Decimal
    B: Decimal
    a: Decimal
    A: Decimal


class DepthData(msgspec.Struct, gc=False):
    """The levels that changed in book updates `U` to `u`; a size of zero removes the level."""

    s: str
    E: int
    U: int
    u: int
    b: Levels
    a: Levels


class DepthBody(msgspec.Struct, gc=False):
    """The answer of REST `GET /api/v3/depth`. It names no symbol and carries no stamp."""

    lastUpdateId: int
    bids: Levels
    asks: Levels


class _Trade(msgspec.Struct, gc=False):
    data: TradeData


class _Ticker(msgspec.Struct, gc=False):
    data: TickerData


class _Depth(msgspec.Struct, gc=False):
    data: DepthData


class Probe(msgspec.Struct, gc=False):
    """What tells an unusual frame apart: an envelope of an unknown stream, an acknowledgement, a bare depth body."""

    stream: str | None = None
    id: int | str | None = None
    lastUpdateId: int | None = None


class _StampedData(msgspec.Struct, gc=False):
    E: int | None = None


class _Stamped(msgspec.Struct, gc=False):
    data: _StampedData | None = None


TRADE: Final = msgspec.json.Decoder(_Trade)
TICKER: Final = msgspec.json.Decoder(_Ticker)
DEPTH: Final = msgspec.json.Decoder(_Depth)
DEPTH_BODY: Final = msgspec.json.Decoder(DepthBody)
PROBE: Final = msgspec.json.Decoder(Probe)
_STAMPED: Final = msgspec.json.Decoder(_Stamped)


def stamp_ms(raw: bytes) -> int | None:
    """Return the venue's event stamp in milliseconds, None where the frame has none or does not decode."""
    try:
        data = _STAMPED.decode(raw).data
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return None if data is None else data.E


def is_depth_body(raw: bytes) -> bool:
    """Whether a recorded line is a bare REST depth answer, which goes to `BinanceFeed.on_snapshot`."""
    return b'"lastUpdateId"' in raw[:32] and not raw.startswith(b'{"stream"')
