"""How each kind of venue is reached and read: what ingestion, recorder and `data check` look into.

A dialect is a value made of functions that do no I/O. Its module is imported when it is asked for, so a service that
follows one venue carries no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from decimal import Decimal
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from edgefleet.clock import Clock
from edgefleet.errors import Misuse
from edgefleet.messages.market import Bar
from edgefleet.params.schema.venues import DIALECTS
from edgefleet.venues.budget import VenueLimits
from edgefleet.venues.feed import Feed

if TYPE_CHECKING:
    from edgefleet.venues.connection import Frames

CCXT = "ccxt:"  # and an exchange id
_PROBED_FRAMES = 1_000


class FeedOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a feed is made with beside the venue and its symbols."""

    touch_interval_ms: int = 100
    waits_for_books: bool = False  # the venue plays a tape and waits for us
    bookless: tuple[str, ...] = ()  # symbols whose REST book will never come: their prints and quotes alone
    key: str = ""  # where a venue asks for keys before it gives market data; never logged
    secret: str = msgspec.field(default="")
    options: Mapping[str, str] = {}  # of one dialect, such as Alpaca's feed name
    contract_sizes: Mapping[str, Decimal] = {}  # as listed, by canonical symbol, where the wire counts contracts

    def __repr__(self) -> str:
        """Return what was given, without the keys."""
        return f"FeedOptions({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return what was given, without the keys, for who prints values field by field."""
        hidden = {name: "***" for name in ("key", "secret") if getattr(self, name)}
        return list((msgspec.structs.asdict(self) | hidden).items())


class MakeFeed(Protocol):
    """Make the feed of one connection."""

    def __call__(self, venue: str, symbols: Sequence[str], options: FeedOptions, /) -> Feed: ...


class OpenSource(Protocol):
    """Open the frames of some symbols, where the connection is not a WebSocket of ours."""

    def __call__(
        self, symbols: Sequence[str], options: FeedOptions, clock: Clock, /
    ) -> AbstractAsyncContextManager[Frames]: ...


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue says of one instrument that it lists. None where it says nothing of it."""

    symbol: str  # canonical
    name: str  # as the venue spells it
    trading: bool
    tick_size: Decimal | None = None
    lot_size: Decimal | None = None
    min_quantity: Decimal | None = None
    min_notional: Decimal | None = None
    contract_size: Decimal | None = None  # base units of one contract, where the wire counts linear contracts


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One kind of venue. Addresses are bases without a trailing slash; paths begin with one.

    `names` gives the instruments that a frame of market data is about, as the venue spells them, and nothing for any
    other frame: so a capture tells what is in it. A function that is None stands for what the venue does not offer.
    """

    name: str
    rest_url: str  # the venue's own
    stream_url: str
    feed: MakeFeed
    address: Callable[[str, Sequence[str]], str]  # stream base and canonical symbols -> where to connect
    spell: Callable[[str], str]  # canonical -> as the venue spells it
    canonical: Callable[[str], str]  # the other way; raises Misuse where it is not readable
    names: Callable[[bytes], Sequence[str]]
    rest_root: Callable[[str], str] = field(default=lambda base: base)  # REST base -> what paths are put behind
    book_path: Callable[[str], str] | None = None  # venue's spelling -> path; None: books come on the connection
    book_of: Callable[[str], str | None] = field(default=lambda url: None)  # a REST address -> whose book it answers
    tops_by_id: bool = False  # a top-of-book frame carries the id of the book update it belongs to
    reference_url: str | None = None  # the base of `listing_path` and `time_path`; None: `rest_url`
    listing_path: Callable[[Sequence[str]], str] | None = None
    listing: Callable[[bytes], Sequence[Listed]] | None = None
    time_path: str | None = None
    time_ns: Callable[[bytes], int] | None = None  # the venue's clock in the answer of `time_path`
    bars_path: Callable[[str, int, int], str | None] | None = None  # spelling, width in ms, count; None: no such width
    # body, instrument, width in ms, the venue's time in ms, ts_init -> the closed bars
    bars: Callable[[bytes, str, int, int, int], Sequence[Bar]] | None = None
    weights: Mapping[str, int] = field(default_factory=dict)  # of paths without their query, where they are counted
    limits: Callable[[bytes], VenueLimits] | None = None  # the rate limits in the answer of `listing_path`
    headers: Callable[[FeedOptions], Mapping[str, str]] = field(default=lambda options: {})  # of REST
    open_source: OpenSource | None = None  # in place of `address`
    ping: str | None = None  # a text that keeps the connection, where the protocol's own ping does not
    ping_every_s: float = 20.0
    silence_s: float = 30.0  # a connection that says nothing for so long is made anew
    confirm_s: float = 10.0  # an instrument that was asked for and says nothing for so long is asked for again


def dialect(name: str) -> Dialect:
    """Return a dialect by name, in whatever case it is written.

    Raises
    ------
    Misuse
        If there is none of that name.
    """
    known = name.lower()
    if known.startswith(CCXT):
        return cast(Dialect, import_module("edgefleet.venues.ccxt.dialect").of(known.removeprefix(CCXT)))
    module = DIALECTS.get(known)
    if module is None:
        raise Misuse(f"venue dialect {name!r} is unknown; there are {', '.join(DIALECTS)}, and ccxt:<exchange id>")
    return cast(Dialect, import_module(module).DIALECT)


def which_dialect(frames: Iterable[bytes]) -> str | None:
    """Return the name of the dialect that reads the most of the first thousand `frames`, None where none reads any.

    What only ccxt's dialect reads is not named: its frames do not say of which exchange they are.
    """
    first = list(islice(frames, _PROBED_FRAMES))
    read = {name: sum(bool(dialect(name).names(raw)) for raw in first) for name in DIALECTS}
    best = max(read, key=lambda name: read[name])
    return best if read[best] else None
