"""What Alpaca's refusals prove. Knows no transport.

Alpaca answers with an HTTP status and `{"code": ..., "message": ...}`; the code's first digits are the status. A 4xx is
given before an order is made, with one exception: a client order id that is not unique says that an order of that name
is there.
"""

from __future__ import annotations

from typing import Final

import msgspec

_REFUSED_BEFORE_AN_ORDER: Final = frozenset({400, 401, 403, 422})


class ErrorBody(msgspec.Struct, frozen=True):
    """Alpaca's error answer; some of its front ends leave the code out."""

    message: str
    code: int = 0


def error_body(data: bytes) -> ErrorBody | None:
    """Return the error in an answer's body, None where it holds none."""
    try:
        return msgspec.json.decode(data, type=ErrorBody)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def is_rejection(status: int, error: ErrorBody | None) -> bool:
    """Return whether an answer proves that a new order does not exist."""
    if error is None or "unique" in error.message.lower():
        return False
    return status in _REFUSED_BEFORE_AN_ORDER


def text_of(status: int, error: ErrorBody) -> str:
    """Return the code that an outcome carries."""
    return str(error.code or status)
