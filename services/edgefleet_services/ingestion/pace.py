"""How often a busy market is read. Knows rates, nothing of markets; reads no clock."""

from __future__ import annotations

from edgefleet.clock import NS_PER_MS, NS_PER_S

BUSY_PER_S = 2_000  # from here on reading and committing each frame alone costs more than all that is in the frames
TURN_NS = 4 * NS_PER_MS  # from one reading to the next in a busy market: a commit costs what ten of its frames do
_FINEST_NS = NS_PER_MS // 4  # an event loop's timer knows milliseconds
_WINDOW_NS = 50 * NS_PER_MS


class Pace:
    """Whether frames come so fast that one reading and one commit should carry several. Times are monotonic, ns."""

    def __init__(self, now_ns: int) -> None:
        self.is_busy = False
        self._since_ns = self._last_ns = now_ns
        self._count = 0

    def took(self, count: int, now_ns: int) -> None:
        """Note that `count` frames were taken."""
        self._count += count
        self._last_ns = now_ns
        passed = now_ns - self._since_ns
        if passed >= _WINDOW_NS:
            self.is_busy = self._count * NS_PER_S >= BUSY_PER_S * passed
            self._since_ns, self._count = now_ns, 0

    def rest_s(self, now_ns: int) -> float:
        """Return how long to wait until the next reading is due, in seconds; 0 where the market is not busy."""
        left = self._last_ns + TURN_NS - now_ns
        return left / NS_PER_S if self.is_busy and left >= _FINEST_NS else 0.0
