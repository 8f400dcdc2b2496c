"""Binance Spot frames as a feed takes them: the shapes that matching knows, and what is unusual beside them."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from edgefleet.matching.wire import DEPTH, SNAPSHOT, TICKER, TRADE, BookTicker, DepthDiff, DepthSnapshot, Trade

__all__ = [
    "AGGREGATE",
    "DEPTH",
    "PROBE",
    "SNAPSHOT",
    "TICKER",
    "TRADE",
    "BookTicker",
    "DepthDiff",
    "DepthSnapshot",
    "Print",
    "Trade",
    "is_depth_body",
    "stamp_ms",
]


class Aggregate(msgspec.Struct, frozen=True, gc=False):
    """What one order traded at one price: number `a` of its own sequence, the trades `f` to `l`."""

    s: str
    E: int
    T: int
    a: int
    p: Decimal
    q: Decimal
    m: bool


Print = Trade | Aggregate


class _AggregateEnvelope(msgspec.Struct, frozen=True, gc=False):
    data: Aggregate


class Probe(msgspec.Struct, gc=False):
    """What tells an unusual frame apart: an envelope of an unknown stream, an acknowledgement, a bare depth body."""

    stream: str | None = None
    id: int | str | None = None
    lastUpdateId: int | None = None


class _StampedData(msgspec.Struct, gc=False):
    E: int | None = None


class _Stamped(msgspec.Struct, gc=False):
    data: _StampedData | None = None


AGGREGATE: Final = msgspec.json.Decoder(_AggregateEnvelope)
PROBE: Final = msgspec.json.Decoder(Probe)
_STAMPED: Final = msgspec.json.Decoder(_Stamped)


def stamp_ms(raw: bytes) -> int | None:
    """Return the venue's event stamp in milliseconds, None where the frame has none or does not decode."""
    try:
        data = _STAMPED.decode(raw).data
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return None if data is None else data.E


def is_depth_body(raw: bytes) -> bool:
    """Whether a recorded line is a bare REST depth answer, which goes to `BinanceFeed.on_snapshot`."""
    return b'"lastUpdateId"' in raw[:32] and not raw.startswith(b'{"stream"')
