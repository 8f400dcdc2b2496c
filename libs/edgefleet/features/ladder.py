"""A book for arithmetic: prices and sizes as floats, best levels at hand. Knows nothing of sequences or of money."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate

import msgspec

FloatLevel = tuple[float, float]  # price, size


class LadderSide(msgspec.Struct):
    """One side, sorted by key so that the best is last. The key is the price of a bid and minus the price of an ask."""

    keys: list[float] = []
    sizes: list[float] = []

    def load(self, levels: Iterable[FloatLevel]) -> None:
        """Replace everything; a size of zero is no level, and of two levels of one key the later stands."""
        ordered = sorted(dict(levels).items())
        self.keys = [key for key, size in ordered if size]
        self.sizes = [size for _, size in ordered if size]

    def apply(self, levels: Iterable[FloatLevel]) -> None:
        """Set each level's size; zero removes it."""
        keys, sizes = self.keys, self.sizes
        for key, size in levels:
            place = bisect_left(keys, key)
            if place < len(keys) and keys[place] == key:
                if size:
                    sizes[place] = size
                else:
                    del keys[place], sizes[place]
            elif size:
                keys.insert(place, key)
                sizes.insert(place, size)


class Ladder(msgspec.Struct):
    """Bids and asks of one instrument."""

    bids: LadderSide = msgspec.field(default_factory=LadderSide)
    asks: LadderSide = msgspec.field(default_factory=LadderSide)

    def top(self) -> tuple[float, float, float, float] | None:
        """Return best bid, its size, best ask, its size; None where a side is empty or the book is not apart."""
        bids, asks = self.bids, self.asks
        if not bids.keys or not asks.keys or not bids.keys[-1] < -asks.keys[-1]:
            return None
        return bids.keys[-1], bids.sizes[-1], -asks.keys[-1], asks.sizes[-1]

    def depths(self, levels: int) -> tuple[list[float], list[float]]:
        """Return what waits on the best 1, 2, ... `levels` of each side, or of as many as it has.

        Sizes are added one by one from the best price outwards.
        """
        bids, asks = self.bids.sizes[: -levels - 1 : -1], self.asks.sizes[: -levels - 1 : -1]
        return list(accumulate(bids)), list(accumulate(asks))
