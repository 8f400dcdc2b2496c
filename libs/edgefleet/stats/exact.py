"""Sums of floats without rounding on the way: taking away is as good as never having added. Knows no market.

A sum is kept as a few floats that do not overlap and add up to it exactly [1]_; reading it rounds once. Hence a rolling
sum has no drift, does not depend on the order of its terms, and equals `math.fsum` over what is in the window to the
last bit, however long it has been rolling.

References
----------
.. [1] J. R. Shewchuk, "Adaptive Precision Floating-Point Arithmetic and Fast Robust Geometric Predicates", Discrete &
   Computational Geometry 18, 1997; the way of `math.fsum`.
"""

from __future__ import annotations

import math

import msgspec

_SLACK = 64  # buckets that every window has left, kept until they are worth a removal


def grow(partials: list[float], value: float) -> None:
    """Add a finite `value` to an exact sum, in place. `math.fsum(partials)` is the sum, rounded once."""
    kept = 0
    for partial in partials:
        total = value + partial
        back = total - value
        lost = (value - (total - back)) + (partial - back)
        if lost:
            partials[kept] = lost
            kept += 1
        value = total
    del partials[kept:]
    if value:
        partials.append(value)


class WindowSums(msgspec.Struct):
    """Exact sums of one quantity over the newest `n` buckets, for several `n` at once. Changed in place.

    Terms come with the number of their bucket, which never goes back. What is kept is one exact sum per bucket and per
    window: memory depends on the widest window and not on how many terms there are.
    """

    windows: tuple[int, ...]  # buckets each
    totals: list[list[float]]  # an exact sum per window
    heads: list[int]  # per window, the place in `buckets` of the oldest bucket inside
    bucket: int = 0  # the newest bucket the windows reach to
    buckets: list[int] = []
    sums: list[list[float]] = []  # an exact sum per bucket

    @classmethod
    def of(cls, windows: tuple[int, ...]) -> WindowSums:
        """Return empty sums."""
        return cls(windows, [[] for _ in windows], [0] * len(windows))

    def add(self, bucket: int, value: float) -> None:
        """Add a finite term to the bucket, which is the newest."""
        if bucket != self.bucket:
            self.advance(bucket)
        if not value:
            return
        if not self.buckets or self.buckets[-1] != bucket:
            self.buckets.append(bucket)
            self.sums.append([])
        grow(self.sums[-1], value)
        for total in self.totals:
            grow(total, value)

    def advance(self, bucket: int) -> None:
        """Let the windows reach to `bucket`: what is older than their width leaves them."""
        self.bucket = bucket
        buckets, sums = self.buckets, self.sums
        for place, width in enumerate(self.windows):
            head, oldest = self.heads[place], bucket - width
            total = self.totals[place]
            while head < len(buckets) and buckets[head] <= oldest:
                for partial in sums[head]:
                    grow(total, -partial)
                head += 1
            self.heads[place] = head
        gone = min(self.heads, default=0)
        if gone > _SLACK:
            del buckets[:gone], sums[:gone]
            self.heads = [head - gone for head in self.heads]

    def total(self, place: int) -> float:
        """Return the sum over the window at `place` of `windows`, rounded once."""
        return math.fsum(self.totals[place])
