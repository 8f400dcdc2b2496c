"""Binance Spot frames as a feed takes them, their figures as text, and what is unusual beside them.

Figures of tops and prints are text because most stand as they stood in the frame before. The levels of a delta are
decoded twice, as they stand and as floats, which judges them for less than it takes to make one half of them Decimal.
Snapshots are as matching knows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from edgefleet.matching.wire import SNAPSHOT, DepthSnapshot, Envelope
from edgefleet.messages.market import Level, WrittenLevels
from edgefleet.venues.figures import FloatLevel, TextLevel, exactly, is_plain

__all__ = [
    "AGGREGATE",
    "DEPTH",
    "DEPTH_FIGURES",
    "PROBE",
    "SNAPSHOT",
    "TICKER",
    "TRADE",
    "BookTicker",
    "DepthDiff",
    "DepthFigures",
    "DepthSnapshot",
    "Envelope",
    "Print",
    "Trade",
    "is_depth_body",
    "levels_of",
    "stamp_ms",
]


class Trade(msgspec.Struct, frozen=True, gc=False):
    """A print. `m` is true where the buyer was the resting side, so the seller was the aggressor."""

    s: str
    E: int
    T: int
    t: int
    p: str
    q: str
    m: bool


class BookTicker(msgspec.Struct, frozen=True, gc=False):
    """The best bid and ask after book update `u`. It carries no stamp."""

    u: int
    s: str
    b: str
    B: str
    a: str
    A: str


class DepthDiff(msgspec.Struct, frozen=True, gc=False):
    """The levels that changed in book updates `U` to `u`, with their quantity after `u`; 0 removes the level."""

    s: str
    E: int
    U: int
    u: int
    b: list[TextLevel]
    a: list[TextLevel]


class DepthFigures(msgspec.Struct, frozen=True, gc=False):
    """The levels of a `DepthDiff` as floats that can be prices and sizes."""

    b: list[FloatLevel]
    a: list[FloatLevel]


class Aggregate(msgspec.Struct, frozen=True, gc=False):
    """What one order traded at one price: number `a` of its own sequence, the trades `f` to `l`."""

    s: str
    E: int
    T: int
    a: int
    p: str
    q: str
    m: bool


Print = Trade | Aggregate


class Probe(msgspec.Struct, gc=False):
    """What tells an unusual frame apart: an envelope of an unknown stream, an acknowledgement, a bare depth body."""

    stream: str | None = None
    id: int | str | None = None
    lastUpdateId: int | None = None


class _StampedData(msgspec.Struct, gc=False):
    E: int | None = None


class _Stamped(msgspec.Struct, gc=False):
    data: _StampedData | None = None


TRADE: Final = msgspec.json.Decoder(Envelope[Trade])
TICKER: Final = msgspec.json.Decoder(Envelope[BookTicker])
DEPTH: Final = msgspec.json.Decoder(Envelope[DepthDiff])
DEPTH_FIGURES: Final = msgspec.json.Decoder(Envelope[DepthFigures], strict=False)
AGGREGATE: Final = msgspec.json.Decoder(Envelope[Aggregate])
PROBE: Final = msgspec.json.Decoder(Probe)
_STAMPED: Final = msgspec.json.Decoder(_Stamped)


def levels_of(raw: bytes, data: DepthDiff) -> tuple[Sequence[Level], Sequence[Level]]:
    """Return the bids and asks of a delta that was decoded from `raw`.

    Raises
    ------
    msgspec.ValidationError
        If one is no price or size that can be.
    """
    figures = DEPTH_FIGURES.decode(raw).data
    if not is_plain(raw):
        return exactly(data.b), exactly(data.a)
    return WrittenLevels(data.b, figures.b), WrittenLevels(data.a, figures.a)


def stamp_ms(raw: bytes) -> int | None:
    """Return the venue's event stamp in milliseconds, None where the frame has none or does not decode."""
    try:
        data = _STAMPED.decode(raw).data
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return None if data is None else data.E


def is_depth_body(raw: bytes) -> bool:
    """Whether a recorded line is a bare REST depth answer, which goes to `BinanceFeed.on_snapshot`."""
    return not raw.startswith(b'{"stream"') and b'"lastUpdateId"' in raw[:32]
