"""Frames of Kraken's WebSocket v1: arrays of a channel number, one or two objects, a channel name and a pair.

Knows their shapes, not what follows from them. Source: docs.kraken.com, "Spot WebSocket v1". Numbers and stamps come
as strings; a checksum is over them as they were written.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from edgefleet.venues.feed import UNREADABLE

Entry = list[str]  # price, volume, stamp, and `r` where a level is told again because it came into the depth


class BookPart(msgspec.Struct, gc=False):
    """A whole book (`as`, `bs`), or what changed of a side or both, with the checksum after it."""

    all_asks: list[Entry] | None = msgspec.field(default=None, name="as")
    all_bids: list[Entry] | None = msgspec.field(default=None, name="bs")
    asks: list[Entry] = msgspec.field(default=[], name="a")
    bids: list[Entry] = msgspec.field(default=[], name="b")
    checksum: str | None = msgspec.field(default=None, name="c")


class Print(msgspec.Struct, array_like=True, gc=False):
    """A print. `side` is the taker's: buy or sell."""

    price: str
    volume: str
    time: str
    side: Literal["b", "s"]


class Ticker(msgspec.Struct, gc=False):
    """The venue's top of book: price, whole lots, volume."""

    a: tuple[str, int | str, str]
    b: tuple[str, int | str, str]


class Spread(msgspec.Struct, array_like=True, gc=False):
    """The venue's top of book at each change of it."""

    bid: str
    ask: str


class Event(msgspec.Struct):
    """Anything that is no market data."""

    event: str
    status: str = ""
    pair: str | None = None
    errorMessage: str = ""


ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])
TEXT: Final = msgspec.json.Decoder(str)
BOOK: Final = msgspec.json.Decoder(BookPart)
PRINTS: Final = msgspec.json.Decoder(list[Print])
TICKER: Final = msgspec.json.Decoder(Ticker)
SPREAD: Final = msgspec.json.Decoder(Spread)
EVENT: Final = msgspec.json.Decoder(Event)
_LEAST = 4  # elements of an array of market data


def split(raw: bytes) -> tuple[list[msgspec.Raw], str, str]:
    """Return what is between the channel number and its name, the name, and the pair.

    Raises
    ------
    msgspec.MsgspecError
        If the frame is no such array.
    """
    parts = ARRAY.decode(raw)
    if len(parts) < _LEAST:
        raise msgspec.ValidationError(f"an array of {len(parts)}, where market data has four or more")
    return parts[1:-2], TEXT.decode(parts[-2]), TEXT.decode(parts[-1])


def names(raw: bytes) -> tuple[str, ...]:
    """Return the pair of a frame of market data, none for any other frame."""
    if not raw.startswith(b"["):
        return ()
    try:
        return (split(raw)[2],)
    except UNREADABLE:
        return ()
