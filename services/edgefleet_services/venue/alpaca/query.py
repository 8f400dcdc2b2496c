"""What requests carry in their query: dates, stamps, numbers, limits. Raises `BrokerReject` for what does not read."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation

from edgefleet.clock import NS_PER_S
from edgefleet.matching.broker_orders import unprocessable
from edgefleet.matching.hours import from_eastern

FIRST_YEAR, LAST_YEAR = 1970, 2200
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)")


def limit(text: str | None, default: int, largest: int) -> int:
    """Return how many are asked for, at most `largest`."""
    if not text:
        return default
    if not text.isdecimal() or not int(text):
        raise unprocessable(f"limit must be a positive integer, was {text}")
    return min(int(text), largest)


def decimal(text: str, name: str) -> Decimal:
    """Return a finite number."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite():
        raise unprocessable(f"{name} must be a number, was {text}")
    return value


def day_ns(text: str, name: str) -> int:
    """Return the midnight of New York that a date begins with, ns since the epoch."""
    try:
        day = date.fromisoformat(text[:10])
    except ValueError:
        raise unprocessable(f"{name} must be a date, YYYY-MM-DD, was {text}") from None
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise unprocessable(f"{name} must lie between {FIRST_YEAR} and {LAST_YEAR}, was {text}")
    return from_eastern(datetime.combine(day, datetime.min.time()))


def stamp_ns(text: str | None, name: str) -> int | None:
    """Return an RFC 3339 stamp, or the midnight of a date, in ns since the epoch, None where none was sent.

    Examples
    --------
    >>> stamp_ns("2018-01-02T09:30:00.115000010-05:00", "start")
    1514903400115000010
    """
    if not text:
        return None
    if len(text) == 10:
        return day_ns(text, name)
    # A plus that was not escaped in a query arrives as a blank.
    found = _STAMP.fullmatch(text.replace(" ", "+"))
    if found is None:
        raise unprocessable(f"{name} must be RFC 3339 or a date, was {text}")
    try:
        whole = datetime.fromisoformat(found[1] + found[3].replace("Z", "+00:00"))
    except ValueError:
        raise unprocessable(f"{name} is no date, was {text}") from None
    day_ns(text, name)
    return int(whole.astimezone(UTC).timestamp()) * NS_PER_S + int((found[2] or "").ljust(9, "0"))
