"""Alpaca's two encodings, JSON and MessagePack, and how a stamp stands in each. Knows no message."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

import msgspec
from starlette.websockets import WebSocket

from edgefleet.clock import NS_PER_S
from edgefleet.matching.hours import eastern, eastern_offset_hours

from ..consumers import Payload

MSGPACK_TYPE: Final = "application/msgpack"
_TIMESTAMP: Final = -1  # MessagePack's own extension type


class Codec(Enum):
    """What a connection speaks."""

    JSON = "json"
    MSGPACK = "msgpack"

    def stamp(self, ts_ns: int) -> Any:
        """Return a stamp as it stands in a market-data message: text in JSON, a timestamp in MessagePack."""
        return rfc3339(ts_ns) if self is Codec.JSON else timestamp(ts_ns)

    def encode(self, message: object, *, binary: bool = False) -> Payload:
        """Return a frame; JSON is a text frame unless `binary` is asked for, MessagePack always a binary one."""
        if self is Codec.MSGPACK:
            return msgspec.msgpack.encode(message)
        body = msgspec.json.encode(message)
        return body if binary else body.decode()

    def decode(self, frame: str | bytes, kind: Any) -> Any:
        """Return what a client sent, as `kind`; a text frame is JSON in any case. Raises `msgspec.DecodeError`."""
        if self is Codec.MSGPACK and isinstance(frame, bytes):
            return msgspec.msgpack.decode(frame, type=kind)
        return msgspec.json.decode(frame, type=kind)


def codec_of(socket: WebSocket) -> Codec:
    """Return the encoding a client asks for when it connects."""
    return Codec.MSGPACK if MSGPACK_TYPE in socket.headers.get("content-type", "") else Codec.JSON


def rfc3339(ts_ns: int) -> str:
    """Return a stamp in UTC with as many decimals as it has: `2021-02-22T15:51:44.208Z`.

    Examples
    --------
    >>> rfc3339(1_514_903_400_115_000_010), rfc3339(0)
    ('2018-01-02T14:30:00.11500001Z', '1970-01-01T00:00:00Z')
    """
    seconds, fraction = divmod(ts_ns, NS_PER_S)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{fraction:09d}".rstrip("0") + "Z" if fraction else text + "Z"


def rfc3339_eastern(ts_ns: int) -> str:
    """Return a stamp in New York's time with its offset, as the clock has it: `2018-01-02T09:30:00-05:00`."""
    utc = datetime.fromtimestamp(ts_ns // NS_PER_S, UTC).replace(tzinfo=None)
    return f"{eastern(ts_ns).isoformat()}-{eastern_offset_hours(utc):02d}:00"


def timestamp(ts_ns: int) -> msgspec.msgpack.Ext:
    """Return a stamp as MessagePack's timestamp, 64 bits where it fits (until 2514), else 96."""
    seconds, fraction = divmod(ts_ns, NS_PER_S)
    if 0 <= seconds < 2**34:
        return msgspec.msgpack.Ext(_TIMESTAMP, struct.pack("!Q", fraction << 34 | seconds))
    return msgspec.msgpack.Ext(_TIMESTAMP, struct.pack("!Iq", fraction, seconds))
