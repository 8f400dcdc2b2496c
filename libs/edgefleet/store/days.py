"""UTC days of nanosecond stamps, as partitions are named by them. Reads no clock."""

from __future__ import annotations

from datetime import UTC, datetime

from edgefleet.clock import NS_PER_S

DAY_NS = 86_400 * NS_PER_S
_LAST_DAY = 106_751  # 2262-04-11, the last that int64 nanoseconds reach whole


def day_of(stamp_ns: int) -> int:
    """Return the UTC day of a stamp, in days since the epoch.

    Raises
    ------
    ValueError
        If int64 nanoseconds do not reach there.
    """
    day = stamp_ns // DAY_NS
    if not 0 <= day < _LAST_DAY:
        raise ValueError(f"ts_event must be nanoseconds between 1970 and 2262, was {stamp_ns}")
    return day


def date_of(day: int) -> str:
    """Return ``YYYY-MM-DD`` of a day since the epoch."""
    return datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()


def start_of(date: str) -> int:
    """Return the first nanosecond of a date.

    Raises
    ------
    ValueError
        If it is not written ``YYYY-MM-DD``.
    """
    return int(datetime.fromisoformat(f"{date}T00:00:00+00:00").timestamp()) * NS_PER_S
