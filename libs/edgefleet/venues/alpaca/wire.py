"""Alpaca's stock stream as typed values, in JSON and MessagePack. Knows the wire's shapes, nothing of sockets.

Source: docs.alpaca.markets, "Real-time Stock Data" and "WebSocket Stream". Prices are Decimal, as written in JSON, and
the shortest decimal that a MessagePack double stands for. A stamp is RFC 3339 text in JSON and a timestamp extension
(type -1) in MessagePack, both to the nanosecond: so it is taken raw and read by `stamp_ns`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Final

import msgspec

from edgefleet.clock import NS_PER_S

_TIMESTAMP: Final = 0xFF  # extension type -1


class Trade(msgspec.Struct, frozen=True, gc=False, tag_field="T", tag="t"):
    """A print at an exchange, whose number is that exchange's."""

    S: str
    i: int
    x: str
    p: Decimal
    s: Decimal
    t: msgspec.Raw
    c: tuple[str, ...] | None = None
    z: str = ""


class Quote(msgspec.Struct, frozen=True, gc=False, tag_field="T", tag="q"):
    """The best bid and ask, each at one exchange; a price of 0 is none."""

    S: str
    bp: Decimal
    bs: Decimal
    ap: Decimal
    ask_size: Decimal = msgspec.field(name="as")
    t: msgspec.Raw
    bx: str = ""
    ax: str = ""
    c: tuple[str, ...] | None = None
    z: str = ""


class Bar(msgspec.Struct, frozen=True, gc=False, tag_field="T", tag="b"):
    """A minute, told at its end."""

    S: str


class UpdatedBar(msgspec.Struct, frozen=True, gc=False, tag_field="T", tag="u"):
    """A minute once more, because a trade was late."""

    S: str


class DailyBar(msgspec.Struct, frozen=True, gc=False, tag_field="T", tag="d"):
    """A day so far."""

    S: str


class Status(msgspec.Struct, frozen=True, gc=False, tag_field="T", tag="s"):
    """Trading in a stock was halted, or goes on."""

    S: str
    sc: str
    sm: str = ""
    rc: str = ""
    rm: str = ""
    z: str = ""


class Bands(msgspec.Struct, frozen=True, gc=False, tag_field="T", tag="l"):
    """The prices between which trades are allowed (limit up, limit down)."""

    S: str


class Imbalance(msgspec.Struct, frozen=True, gc=False, tag_field="T", tag="i"):
    """Orders of an auction that do not match."""

    S: str


class Correction(msgspec.Struct, frozen=True, gc=False, tag_field="T", tag="c"):
    """A print that was sent was wrong: what it was (`o`), and what it is (`c`)."""

    S: str
    x: str
    oi: int
    op: Decimal
    os: Decimal
    cp: Decimal
    cs: Decimal
    t: msgspec.Raw


class Cancel(msgspec.Struct, frozen=True, gc=False, tag_field="T", tag="x"):
    """A print that was sent is none."""

    S: str
    i: int
    x: str
    p: Decimal
    s: Decimal
    t: msgspec.Raw
    a: str = "C"


class Success(msgspec.Struct, frozen=True, gc=False, tag_field="T", tag="success"):
    """The connection is made (`connected`), or the keys are good (`authenticated`)."""

    msg: str = ""


class Refusal(msgspec.Struct, frozen=True, gc=False, tag_field="T", tag="error"):
    """A request was refused."""

    code: int = 0
    msg: str = ""


class Subscription(msgspec.Struct, frozen=True, gc=False, tag_field="T", tag="subscription"):
    """All that the connection is subscribed to now."""

    trades: tuple[str, ...] | None = None
    quotes: tuple[str, ...] | None = None


Data = Trade | Quote | Bar | UpdatedBar | DailyBar | Status | Bands | Imbalance | Correction | Cancel
Message = Data | Success | Refusal | Subscription

TYPES: Final = frozenset("t q b u d s l i c x success error subscription".split())


class _Kind(msgspec.Struct, frozen=True):
    T: str


_JSON: Final = msgspec.json.Decoder(tuple[Message, ...])
_JSON_ONE: Final = msgspec.json.Decoder(Message)
_JSON_RAWS: Final = msgspec.json.Decoder(tuple[msgspec.Raw, ...])
_JSON_KIND: Final = msgspec.json.Decoder(_Kind)
_PACK: Final = msgspec.msgpack.Decoder(tuple[Message, ...])
_PACK_ONE: Final = msgspec.msgpack.Decoder(Message)
_PACK_RAWS: Final = msgspec.msgpack.Decoder(tuple[msgspec.Raw, ...])
_PACK_KIND: Final = msgspec.msgpack.Decoder(_Kind)


def is_json(raw: bytes) -> bool:
    """Return whether a frame is JSON: a MessagePack array begins with a byte that no text does."""
    return raw[:1] in (b"[", b"{")


def messages(raw: bytes) -> tuple[Sequence[Message], Sequence[str], int]:
    """Return what a frame says, in order, why others are not readable, and how many are of no known type.

    Raises
    ------
    msgspec.MsgspecError
        If the frame is no array at all.
    """
    in_json = is_json(raw)
    if in_json and raw.startswith(b"{"):
        return (_JSON_ONE.decode(raw),), (), 0
    try:
        return (_JSON if in_json else _PACK).decode(raw), (), 0
    except msgspec.ValidationError:  # one message that is unknown or wrong must not take the others with it
        pass
    found: list[Message] = []
    wrong: list[str] = []
    unknown = 0
    one, kind = (_JSON_ONE, _JSON_KIND) if in_json else (_PACK_ONE, _PACK_KIND)
    for part in (_JSON_RAWS if in_json else _PACK_RAWS).decode(raw):
        try:
            name = kind.decode(part).T
            if name in TYPES:
                found.append(one.decode(part))
            else:
                unknown += 1
        except msgspec.ValidationError as error:
            wrong.append(str(error))
    return found, wrong, unknown


def stamp_ns(raw: msgspec.Raw) -> int:
    """Return a stamp in ns since the epoch.

    Raises
    ------
    msgspec.ValidationError
        If it is none.
    """
    data = bytes(raw)
    try:
        if data[:1] == b'"':
            return text_ns(data[1:-1].decode())
        if data[:1] == b"\xd7" and data[1] == _TIMESTAMP:
            (packed,) = struct.unpack("!Q", data[2:])
            return int((packed & (2**34 - 1)) * NS_PER_S + (packed >> 34))
        if data[:1] == b"\xd6" and data[1] == _TIMESTAMP:
            return int.from_bytes(data[2:6]) * NS_PER_S
        if data[:2] == b"\xc7\x0c" and data[2] == _TIMESTAMP:
            fraction, seconds = struct.unpack("!Iq", data[3:])
            return int(seconds * NS_PER_S + fraction)
        return text_ns(msgspec.msgpack.decode(data, type=str))
    except (ValueError, IndexError, struct.error, UnicodeDecodeError) as error:
        raise msgspec.ValidationError(f"not a stamp: {data[:40]!r} ({error})") from error


def text_ns(text: str) -> int:
    """Return an RFC 3339 stamp in ns since the epoch; digits past the ninth are dropped.

    >>> text_ns("2021-02-22T15:51:45.335689322Z"), text_ns("2021-02-22T10:51:45-05:00")
    (1614009105335689322, 1614009105000000000)

    Raises
    ------
    ValueError
        If it is none.
    """
    minute, seconds = text[:16], text[16:]
    zone = max(seconds.rfind("+"), seconds.rfind("-"), seconds.find("Z"))
    if zone < 0 or seconds[:1] != ":":
        raise ValueError("no time zone, or no seconds")
    whole, _, fraction = seconds[1:zone].partition(".")
    if len(whole) != 2 or (fraction and not fraction.isdecimal()):
        raise ValueError("seconds are not readable")
    return _minute_ns(minute, seconds[zone:]) + int(whole) * NS_PER_S + int(fraction[:9].ljust(9, "0") or 0)


@lru_cache(maxsize=64)
def _minute_ns(minute: str, zone: str) -> int:
    return int(datetime.fromisoformat(f"{minute}:00{zone}").timestamp()) * NS_PER_S
