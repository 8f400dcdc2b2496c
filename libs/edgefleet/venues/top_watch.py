"""Whether a venue's own top of book refutes ours. Knows nothing of frames, and does not mend a book.

For venues whose books carry neither a sequence nor a checksum: a change that was lost on the way shows only when a
level that is gone stands at our top. One disagreement proves nothing, for the two streams race each other.
"""

from __future__ import annotations

from decimal import Decimal

from edgefleet.clock import NS_PER_S

TOPS_TO_REFUTE = 3  # disagreements in a row on one side
REFUTED_AFTER_NS = 2 * NS_PER_S  # of the venue's time between the first and the last of them
_REMEMBERED = 64  # prices of the venue; past this many they are of a market that moved on


class _Side:
    """One side's run of disagreements."""

    __slots__ = ("count", "said", "since")

    def __init__(self) -> None:
        self.count = 0
        self.since = 0
        self.said: set[Decimal] = set()  # what the venue said since the last agreement

    def compare(self, ours: Decimal, theirs: Decimal, stamp: int) -> bool:
        """Take one comparison; return whether the run is long enough."""
        if ours == theirs:
            self.agree()
            return False
        if not self.count:
            self.since = stamp
        self.count += 1
        if len(self.said) >= _REMEMBERED:
            self.said.clear()
        self.said.add(theirs)
        return self.count >= TOPS_TO_REFUTE and stamp - self.since >= REFUTED_AFTER_NS

    def agree(self) -> None:
        self.count = 0
        self.said.clear()

    def changed(self, ours: Decimal) -> None:
        if ours in self.said:
            self.agree()


class TopWatch:
    """One book's disagreements with the venue's ticker, side by side."""

    __slots__ = ("_ask", "_bid")

    def __init__(self) -> None:
        self._bid, self._ask = _Side(), _Side()

    @property
    def doubts(self) -> bool:
        """Whether the last comparison of a side was a disagreement."""
        return bool(self._bid.said or self._ask.said)

    def compare(self, ours: tuple[Decimal, Decimal], theirs: tuple[Decimal, Decimal], stamp: int) -> bool:
        """Take the venue's best bid and ask beside ours; return whether ours are refuted.

        `stamp` is the venue's time in nanoseconds.
        """
        bid = self._bid.compare(ours[0], theirs[0], stamp)
        ask = self._ask.compare(ours[1], theirs[1], stamp)
        return bid or ask

    def changed(self, bid: Decimal, ask: Decimal) -> None:
        """Take our next top: where it is what the venue said before, its ticker was only faster."""
        self._bid.changed(bid)
        self._ask.changed(ask)

    def forget(self) -> None:
        """Begin anew, with a new book."""
        self._bid.agree()
        self._ask.agree()
