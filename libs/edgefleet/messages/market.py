"""What venues said about the market. Written by ingestion alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Literal, overload

import msgspec

Level = tuple[Decimal, Decimal]  # price in quote per base unit, size in base units


_MILLIONTH = "0.000001"  # of texts that are digits and a point, those that sort before it are smaller, or zero


@lru_cache(maxsize=1_024)  # most are a zero
def _spelled(text: str) -> str:
    return str(Decimal(text))


class WrittenLevels(Sequence[Level]):
    """Levels as a venue wrote them: exact when one is looked at, and most of a book are sent on and never looked at.

    They stand in a message where levels do, are the same levels, and are written into a stream as Decimals would be.

    Parameters
    ----------
    texts
        Price and size of each level, digits and a point: no sign, no exponent.
    figures
        The same as floats, of which somebody has seen that they can be a price and a size.
    """

    __slots__ = ("figures", "texts")

    def __init__(self, texts: Sequence[tuple[str, str]], figures: Sequence[tuple[float, float]]) -> None:
        self.texts = texts
        self.figures = figures

    @property
    def spelled(self) -> list[tuple[str, str]]:
        """Return the texts as `Decimal` spells them: it writes what is smaller than a millionth with an exponent."""
        return [
            (_spelled(price) if price < _MILLIONTH else price, _spelled(size) if size < _MILLIONTH else size)
            for price, size in self.texts
        ]

    def __len__(self) -> int:
        return len(self.texts)

    def __iter__(self) -> Iterator[Level]:
        return iter([(Decimal(price), Decimal(size)) for price, size in self.texts])

    @overload
    def __getitem__(self, at: int) -> Level: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Level, ...]: ...
    def __getitem__(self, at: int | slice) -> Level | tuple[Level, ...]:
        if isinstance(at, slice):
            return tuple(self)[at]
        price, size = self.texts[at]
        return Decimal(price), Decimal(size)

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, tuple | WrittenLevels) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as every sequence that may change

    def __repr__(self) -> str:
        return f"WrittenLevels({self.texts!r})"


class Trade(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="trade.v1"):
    """Two parties traded at the venue. Sent on `market` for each print."""

    instrument: str
    trade_id: str  # the venue's
    price: Decimal  # quote per base unit
    quantity: Decimal  # base units
    aggressor: Literal["buy", "sell"]
    ts_event: int  # ns since the epoch, the venue's clock
    ts_init: int  # ns since the epoch, ours, at receipt of the frame
    trace_id: str


class Quote(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="quote.v1"):
    """The best bid and ask changed. Sent on `market` for each frame of the venue's own top-of-book stream."""

    instrument: str
    bid: Decimal
    bid_size: Decimal
    ask: Decimal
    ask_size: Decimal
    update_id: int  # the venue's book sequence
    ts_event: int
    ts_init: int
    trace_id: str


class BookSnapshot(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="book_snapshot.v1"):
    """A whole book, after a connect or a resync. Sent on `market` before any delta that follows it."""

    instrument: str
    update_id: int
    bids: tuple[Level, ...]  # best first
    asks: tuple[Level, ...]  # best first
    ts_event: int
    ts_init: int
    trace_id: str


class BookDelta(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="book_delta.v1"):
    """Levels that changed; a size of zero removes one. Sent on `market` in the venue's sequence, without a gap."""

    instrument: str
    first_update_id: int
    last_update_id: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    ts_event: int
    ts_init: int
    trace_id: str


class Bar(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="bar.v1"):
    """One interval of trading. Sent on `market` and `beats` with `backfill=True`, before live data, for warm-up."""

    instrument: str
    interval_ms: int  # the width by name: the last bar of a session may be shorter; 0 for volume and dollar bars
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal  # base units
    trades: int
    backfill: bool = False
    kind: Literal["time", "volume", "dollar"] = "time"
    turnover: Decimal | None = None  # quote units; over `volume` it is the bar's VWAP
    ts_open: int | None = None  # ns since the epoch, the bar's start, or the first print of a volume or dollar bar
    ts_event: int  # ns since the epoch, the bar's end
    ts_init: int
    trace_id: str


class TouchAge(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One instrument's last top of book inside a `Beat`, and how long ago its feed last said anything."""

    instrument: str
    bid: Decimal | None  # None: nothing has been seen yet
    ask: Decimal | None
    age_ms: int | None
    quarantined: bool = False  # its data is not believed at present: nothing may be decided on it
    vwap_1m: Decimal | None = None  # of the last minute's prints, quote per base unit


class Beat(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="beat.v1"):
    """A second of ingestion's clock has passed. Sent on `market` and `beats`, with every touch and its age."""

    venue: str
    touches: tuple[TouchAge, ...]
    ts_event: int  # ns since the epoch: the wall clock live, the tape's receive stamps on a tape
    ts_init: int
    trace_id: str


class Touch(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="touch.v1"):
    """Top of one book, at most once per conflation interval. Sent on `beats` for risk, executor and ledger."""

    instrument: str
    bid: Decimal
    bid_size: Decimal
    ask: Decimal
    ask_size: Decimal
    ts_event: int
    ts_init: int
    trace_id: str


class VenueStatus(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="venue_status.v1"):
    """A feed changed its state. Sent on `market`; `ended` closes a tape."""

    venue: str
    status: Literal["connected", "disconnected", "resync", "ended"]
    detail: str = ""
    ts_event: int
    ts_init: int
    trace_id: str


class News(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="news.v1"):
    """A scored headline. Sent on `market` by a news source."""

    instrument: str
    headline: str
    sentiment: float  # -1..1
    impact: float  # 0..1
    source: str
    ts_event: int
    ts_init: int
    trace_id: str


class OnChain(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="on_chain.v1"):
    """A measurement of a chain by a named provider. Sent on `market`; crypto only."""

    instrument: str
    metric: str
    value: float
    unit: str
    provider: str
    ts_event: int
    ts_init: int
    trace_id: str
