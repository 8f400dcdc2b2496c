"""A clock that moves when it is told to. Knows nothing of the machine's."""

from __future__ import annotations

START_NS = 1_750_000_000_000_000_000  # 2025-06-15T15:06:40Z


class FakeClock:
    """Wall and monotonic time under the test's control."""

    def __init__(self, wall_ns: int = START_NS) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = 1_000_000_000_000

    def wall_ns(self) -> int:
        return self._wall_ns

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def advance(self, *, s: float = 0, ms: float = 0, ns: int = 0) -> None:
        """Let time pass on both clocks."""
        passed = round(s * 1e9) + round(ms * 1e6) + ns
        if passed < 0:
            raise ValueError(f"time passes forwards, was {passed} ns; `step` moves the wall clock back")
        self._wall_ns += passed
        self._monotonic_ns += passed

    def step(self, ns: int) -> None:
        """Move the wall clock alone, as a time server or a person does."""
        self._wall_ns += ns
