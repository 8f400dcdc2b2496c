"""The one place that reads the machine's clocks. Knows nothing of what the time is used for.

Steps never call this: their time is the largest stamp they have seen. Services hand a `Clock` to what needs one.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


class Clock(Protocol):
    """What a service may ask of time."""

    def wall_ns(self) -> int:
        """Return nanoseconds since the epoch, UTC. May step."""
        ...

    def monotonic_ns(self) -> int:
        """Return nanoseconds that never go back; only differences mean anything."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def wall_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


SYSTEM = SystemClock()


def iso(ns: int) -> str:
    """Return `ns` since the epoch as ISO 8601 UTC with microseconds."""
    return datetime.fromtimestamp(ns / NS_PER_S, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
