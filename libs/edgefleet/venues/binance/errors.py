"""What Binance Spot's error codes prove. Knows no transport.

Source: the "Error codes" page of the Binance Spot API documentation. Only a code that says the request was refused
before or by the matching engine proves that nothing changed; everything else leaves the outcome open.
"""

from __future__ import annotations

from typing import Final

import msgspec

from edgefleet.venues.interface import STAMP_REFUSED

WOULD_TAKE: Final = "WOULD_TAKE"  # our name of a post-only order that would have traded at once

# Refused while the request was being read or checked: the matching engine never saw it.
_REFUSED_BEFORE_MATCHING: Final = frozenset(
    {-1002, -1013, -1014, -1016, -1020, -1021, -1022, -1034, -2014, -2015, *range(-1199, -1099)}
)
_REFUSED_BY_MATCHING: Final = frozenset({-2010, -2021, -2022, -2026})
_TOO_MANY: Final = frozenset({-1003, -1015})
_NOT_KNOWN: Final = frozenset({-2011, -2013})


class ErrorBody(msgspec.Struct, frozen=True):
    """Binance's error answer."""

    code: int
    msg: str = ""


def error_body(data: bytes) -> ErrorBody | None:
    """Return the error in an answer's body, None where it holds none."""
    try:
        return msgspec.json.decode(data, type=ErrorBody)
    except msgspec.MsgspecError:
        return None


def is_rejection(status: int, error: ErrorBody | None) -> bool:
    """Return whether an answer proves that a new order does not exist.

    -2010 with "Duplicate order sent." proves the opposite: an order of that name is there.
    """
    if error is None or not 400 <= status < 500 or "duplicate" in error.msg.lower():
        return False
    return error.code in _REFUSED_BEFORE_MATCHING or error.code in _REFUSED_BY_MATCHING


def is_not_known(error: ErrorBody | None) -> bool:
    """Return whether the venue says that it does not know the order."""
    return error is not None and error.code in _NOT_KNOWN


def is_limited(status: int, error: ErrorBody | None) -> bool:
    """Return whether the venue refused for load, before looking at the request."""
    return status in (418, 429) or (400 <= status < 500 and error is not None and error.code in _TOO_MANY)


def short_code(error: ErrorBody) -> str:
    """Return the code that an outcome carries."""
    if error.code == -1021:
        return STAMP_REFUSED
    return WOULD_TAKE if "immediately match" in error.msg else str(error.code)
