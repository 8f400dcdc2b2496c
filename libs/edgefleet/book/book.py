"""An L2 order book: sizes by price, its top, and whether it is crossed. Knows nothing of venues or sequence numbers."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from decimal import Decimal

from edgefleet.messages.market import Level

Top = tuple[Decimal, Decimal, Decimal, Decimal]  # bid, bid size, ask, ask size

# A heap may hold prices that left the book; past this many more than the book has, it is built anew.
_SLACK = 1_024


class Side:
    """One side of a book. The best price is on a heap; prices that left are dropped when they come to its top."""

    __slots__ = ("_heap", "_sign", "sizes")

    def __init__(self, *, bids: bool) -> None:
        self.sizes: dict[Decimal, Decimal] = {}
        self._heap: list[Decimal] = []
        self._sign = -1 if bids else 1

    def load(self, levels: Iterable[Level]) -> None:
        """Replace everything with `levels`; a size of zero is no level."""
        self.sizes = {price: size for price, size in levels if size}
        self._rebuild()

    def apply(self, levels: Iterable[Level]) -> None:
        """Set each level's size; zero removes it."""
        sizes = self.sizes
        for price, size in levels:
            if not size:
                sizes.pop(price, None)
            elif price in sizes:
                sizes[price] = size
            else:
                sizes[price] = size
                heapq.heappush(self._heap, price if self._sign > 0 else price.copy_negate())
        if len(self._heap) > 2 * len(sizes) + _SLACK:
            self._rebuild()

    def best(self) -> Level | None:
        """Return the best price and its size, None where the side is empty."""
        heap, sizes = self._heap, self.sizes
        while heap:
            price = heap[0] if self._sign > 0 else heap[0].copy_negate()
            size = sizes.get(price)
            if size is not None:
                return price, size
            heapq.heappop(heap)
        return None

    def levels(self, count: int | None = None) -> tuple[Level, ...]:
        """Return the best `count` levels, best first."""
        ordered = sorted(self.sizes.items(), reverse=self._sign < 0)
        return tuple(ordered if count is None else ordered[:count])

    def _rebuild(self) -> None:
        self._heap = list(self.sizes) if self._sign > 0 else [price.copy_negate() for price in self.sizes]
        heapq.heapify(self._heap)


class Book:
    """Bids and asks of one instrument."""

    __slots__ = ("asks", "bids")

    def __init__(self) -> None:
        self.bids = Side(bids=True)
        self.asks = Side(bids=False)

    def load(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Replace the whole book."""
        self.bids.load(bids)
        self.asks.load(asks)

    def apply(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Set each named level's size; zero removes it."""
        self.bids.apply(bids)
        self.asks.apply(asks)

    def top(self) -> Top | None:
        """Return the best bid and ask with their sizes, None where a side is empty."""
        bid, ask = self.bids.best(), self.asks.best()
        return None if bid is None or ask is None else (*bid, *ask)

    @property
    def is_crossed(self) -> bool:
        """Whether somebody would buy for no less than somebody sells: no such book exists for long at a venue."""
        top = self.top()
        return top is not None and top[0] >= top[2]
