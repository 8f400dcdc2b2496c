"""How often a busy market is read. Knows rates and how long the processor was waited for, nothing of markets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgefleet.clock import NS_PER_MS, NS_PER_S

BUSY_PER_S = 2_000  # from here on reading and committing each frame alone costs more than all that is in the frames
TURN_NS = 4 * NS_PER_MS  # from one reading to the next in a busy market: a commit costs what ten of its frames do
# The same where processors are short: every service behind wakes once a commit and finds its caches cold, so fewer and
# larger commits carry a fifth more events. Where there are processors enough nobody waits for one, and nothing rests.
SHORT_TURN_SHARE, SHORT_TURN_NS = 0.2, 12 * NS_PER_MS
_FINEST_NS = NS_PER_MS // 4  # an event loop's timer knows milliseconds
_WINDOW_NS = 50 * NS_PER_MS
_SCHEDULED = Path("/proc/self/schedstat")


def waited_ns() -> int:
    """Return how long this process's main thread was ready and had no processor, in all; 0 where nothing tells."""
    try:
        return int(_SCHEDULED.read_bytes().split()[1])
    except (OSError, IndexError, ValueError):
        return 0


class Pace:
    """Whether frames come so fast that one reading and one commit should carry several. Times are monotonic, ns."""

    def __init__(self, now_ns: int, waited: Callable[[], int] = waited_ns) -> None:
        self.is_busy = False
        self._turn_ns = TURN_NS
        self._waited, self._waited_ns = waited, waited()
        self._since_ns = self._last_ns = now_ns
        self._count = 0

    def took(self, count: int, now_ns: int, *, full: bool = False) -> None:
        """Note that `count` frames were taken, and whether as many as a commit holds: then more may wait already."""
        self._count += count
        self._last_ns = now_ns - self._turn_ns if full else now_ns
        passed = now_ns - self._since_ns
        if passed >= _WINDOW_NS:
            self.is_busy = self._count * NS_PER_S >= BUSY_PER_S * passed
            self._since_ns, self._count = now_ns, 0
            before, self._waited_ns = self._waited_ns, self._waited()
            is_short = self._waited_ns - before >= SHORT_TURN_SHARE * passed
            self._turn_ns = SHORT_TURN_NS if is_short else TURN_NS

    def rest_s(self, now_ns: int) -> float:
        """Return how long to wait until the next reading is due, in seconds; 0 where the market is not busy."""
        left = self._last_ns + self._turn_ns - now_ns
        return left / NS_PER_S if self.is_busy and left >= _FINEST_NS else 0.0
