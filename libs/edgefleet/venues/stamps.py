"""Venues' time texts as integer nanoseconds since the epoch, exact to the last digit written. Reads no clock."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from edgefleet.clock import NS_PER_S, NS_PER_US

_DIGITS = 9


def rfc3339_ns(text: str) -> int:
    """Return nanoseconds since the epoch for ``2021-04-17T16:43:37.075687Z``; digits past the ninth are cut.

    Raises
    ------
    msgspec.ValidationError
        If `text` is no such time, so that a frame that holds it is told as one that cannot be read.

    Examples
    --------
    >>> rfc3339_ns("1970-01-01T00:00:01.000000001Z"), rfc3339_ns("1970-01-01T01:00:00+01:00")
    (1000000001, 0)
    """
    seconds = _whole_seconds(text[:19])
    micros = text[20:26]
    # Nearly every stamp is written with six digits and a Z.
    if len(text) == 27 and text[19] == "." and text[26] == "Z" and micros.isdigit() and micros.isascii():
        return seconds * NS_PER_S + int(micros) * NS_PER_US
    rest = text[19:]
    if rest[-1:] == "Z":
        offset, fraction = 0, rest[:-1]
    else:
        offset, fraction = _offset(rest[-6:], text), rest[:-6]
    return (seconds - offset) * NS_PER_S + _fraction(fraction, text)


def seconds_ns(text: str) -> int:
    """Return nanoseconds since the epoch for seconds with a fraction, such as ``1582905486.493008``.

    Raises
    ------
    msgspec.ValidationError
        If `text` is no such number.
    """
    whole, dot, fraction = text.partition(".")
    if not (whole.isascii() and whole.isdigit()):
        raise _unreadable(text)
    return int(whole) * NS_PER_S + _fraction(f"{dot}{fraction}", text)


@lru_cache(maxsize=64)
def _whole_seconds(text: str) -> int:
    """Return seconds since the epoch. Frames of one second share it, so nearly all are answered from the cache."""
    try:
        stamp = datetime.fromisoformat(text)
    except ValueError:
        raise _unreadable(text) from None
    if len(text) != 19 or text[10] not in "Tt ":
        raise _unreadable(text)
    return int(stamp.replace(tzinfo=UTC).timestamp())


def _fraction(text: str, whole: str) -> int:
    """Return the nanoseconds in ``.075687``; none where there is no fraction."""
    if not text:
        return 0
    digits = text[1:]
    if text[0] != "." or not (digits.isascii() and digits.isdigit()):
        raise _unreadable(whole)
    return int(digits[:_DIGITS].ljust(_DIGITS, "0"))


def _offset(text: str, whole: str) -> int:
    """Return the seconds in ``+01:00``."""
    sign, hours, colon, minutes = text[:1], text[1:3], text[3:4], text[4:]
    if sign not in ("+", "-") or colon != ":" or not (hours.isdigit() and minutes.isdigit()):
        raise _unreadable(whole)
    return (-1 if sign == "-" else 1) * (int(hours) * 3_600 + int(minutes) * 60)


def _unreadable(text: str) -> msgspec.ValidationError:
    return msgspec.ValidationError(f"{text[:40]!r} is no time")
