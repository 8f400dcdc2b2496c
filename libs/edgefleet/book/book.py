"""An L2 order book: sizes by price, its top, its depth, what a size costs. Knows nothing of venues or sequences."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from heapq import heapify, heappop, heappush, nlargest, nsmallest
from typing import Literal, NamedTuple

from edgefleet.messages.market import Level, WrittenLevels
from edgefleet.units import BPS, ZERO

Top = tuple[Decimal, Decimal, Decimal, Decimal]  # bid, bid size, ask, ask size

# A heap may hold prices that left the book; past this many more than the book has, it is built anew.
_SLACK = 1_024
# Prices kept in order once somebody asked for more than the best: enough that a touch that walks seldom empties it.
_WINDOW = 64
_WALK = 16  # levels that a sweep looks at first
_NOWHERE = {True: -math.inf, False: math.inf}  # the worst price that bids and asks can have

_Held = Level | tuple[str, str]  # a level as it came: its figures, or their texts
_Key = float | Fraction


class _Alike(Exception):
    """Two prices of one side are not the same and the same as floats."""


class Sweep(NamedTuple):
    """What an order of some size would meet on one side, best price first."""

    filled: Decimal  # base units that are really there, at most what was asked
    notional: Decimal  # quote units for them
    worst: Decimal | None  # the last price taken, None where nothing was there

    @property
    def average(self) -> Decimal | None:
        """Return the average price of what is there, None where nothing is."""
        return self.notional / self.filled if self.filled else None


class Side:
    """One side of a book. The best price is on a heap; prices that left are dropped when they come to its top.

    Levels are found and ordered by a key, their price as a float, for a fraction of what a Decimal's own hash and order
    cost, and are given exactly as they came. Where two different prices are the same as floats (they agree to fifteen
    digits), the side goes on with exact keys until it is loaded anew.

    Who asks for `levels(count)` or a sweep makes the side keep its best prices in order from then on: the window holds
    every price that is no worse than `_edge`. That costs a comparison per changed level; who never asks does not pay.
    """

    __slots__ = ("_edge", "_heap", "_held", "_is_exact", "_sign", "_width", "_window")

    def __init__(self, *, bids: bool) -> None:
        self._held: dict[_Key, _Held] = {}
        self._heap: list[_Key] = []  # keys times `_sign`
        self._sign = -1 if bids else 1
        self._is_exact = False  # keys are fractions
        self._window: list[_Key] | None = None  # ascending, for bids too
        self._edge: _Key = _NOWHERE[bids]
        self._width = _WINDOW

    @property
    def sizes(self) -> dict[Decimal, Decimal]:
        """Return the size of every price. Reads every level: for who looks at a book seldom."""
        return dict(map(_exact, self._held.values()))

    def load(self, levels: Iterable[Level]) -> None:
        """Replace everything with `levels`; a size of zero is no level."""
        self._held, self._heap, self._window, self._is_exact = {}, [], None, False
        self.apply(levels)

    def apply(self, levels: Iterable[Level]) -> None:
        """Set each level's size; zero removes it."""
        if not isinstance(levels, WrittenLevels | tuple | list):
            levels = tuple(levels)
        try:
            self._apply(levels)
        except _Alike:
            self._tell_apart()
            self._apply(levels)  # what was done is done again

    def _apply(self, levels: Sequence[Level]) -> None:
        held, heap, sign, window = self._held, self._heap, self._sign, self._window
        edge = sign * self._edge
        for (key, size), level in _exactly_keyed(levels) if self._is_exact else _keyed(levels):
            before = held.get(key)
            if before is not None:
                if before[0] != level[0] and Decimal(before[0]) != Decimal(level[0]):
                    raise _Alike
                if size:
                    held[key] = level
                    continue
                del held[key]
                if window is not None and sign * key <= edge:
                    del window[bisect_left(window, key)]
            elif size:
                held[key] = level
                heappush(heap, sign * key)
                if window is not None and sign * key <= edge:
                    insort(window, key)
        if window is not None and len(window) > 4 * self._width:
            self._trim(window)
        if len(heap) > 2 * len(held) + _SLACK:
            self._rebuild()

    def _tell_apart(self) -> None:
        """Go on with keys that are exact."""
        self._is_exact = True
        self._held = {Fraction(level[0]): level for level in self._held.values()}
        self._window = None
        self._rebuild()

    def best(self) -> Level | None:
        """Return the best price and its size, None where the side is empty."""
        heap, held, sign = self._heap, self._held, self._sign
        while heap:
            level = held.get(sign * heap[0])
            if level is not None:
                return _exact(level)
            heappop(heap)
        return None

    def levels(self, count: int | None = None) -> tuple[Level, ...]:
        """Return the best `count` levels, or all, best first."""
        return tuple(self._found(self._best(count)))

    def _best(self, count: int | None) -> list[_Key]:
        """Return the keys of the best `count` levels, or of all, best first."""
        held = self._held
        if count is None or count >= len(held):
            return sorted(held, reverse=self._sign < 0)
        if count <= 0:
            return []
        window = self._window
        if window is None or len(window) < count:
            window = self._look(count)
        return window[: -count - 1 : -1] if self._sign < 0 else window[:count]

    def _found(self, keys: Sequence[_Key]) -> list[Level]:
        held = self._held
        levels = [held[key] for key in keys]
        return [_exact(level) if type(level[0]) is str else level for level in levels]  # type: ignore[misc]  # exact

    def depth(self, count: int) -> Decimal:
        """Return the sum of the best `count` levels' sizes, base units."""
        return sum([size for _, size in self.levels(count)], ZERO)

    def sweep(self, size: Decimal) -> Sweep:
        """Return what taking `size` base units would meet, walking from the best price; less where the side is thin.

        Raises
        ------
        ValueError
            If `size` is not positive.
        """
        if not (size.is_finite() and size > 0):
            raise ValueError(f"a size to sweep must be positive, was {size}")
        count, seen = _WALK, 0
        left, notional, worst = size, ZERO, None
        while True:
            keys = self._best(count)
            for price, there in self._found(keys[seen:]):
                worst = price
                if there >= left:
                    return Sweep(size, notional + price * left, worst)
                left -= there
                notional += price * there
            if len(keys) < count:
                return Sweep(size - left, notional, worst)
            count, seen = 4 * count, count

    def _look(self, count: int) -> list[_Key]:
        """Put the best prices in order, twice as many as are asked for."""
        self._width = max(self._width, 2 * count)
        bids = self._sign < 0
        best = (nlargest if bids else nsmallest)(self._width, self._held)
        self._edge = _NOWHERE[bids] if len(best) == len(self._held) else best[-1]
        self._window = best[::-1] if bids else best
        return self._window

    def _trim(self, window: list[_Key]) -> None:
        if self._sign < 0:
            del window[: -self._width]
            self._edge = window[0]
        else:
            del window[self._width :]
            self._edge = window[-1]

    def _rebuild(self) -> None:
        self._heap = list(self._held) if self._sign > 0 else [-key for key in self._held]
        heapify(self._heap)


def _keyed(levels: Sequence[Level]) -> Iterable[tuple[tuple[float, float | Decimal], _Held]]:
    """Return each level behind its price as a float and its size, which is only asked whether it is zero."""
    if type(levels) is WrittenLevels:
        return zip(levels.figures, levels.texts, strict=True)
    return [((float(level[0]), level[1]), level) for level in levels]


def _exactly_keyed(levels: Sequence[Level]) -> Iterable[tuple[tuple[Fraction, Decimal], _Held]]:
    """Return each level behind its price, which is a key as it is, and its size."""
    texts: Sequence[_Held] = levels.texts if isinstance(levels, WrittenLevels) else levels
    return [((Fraction(price), Decimal(size)), (price, size)) for price, size in texts]  # type: ignore[misc]  # as it came


def _exact(level: _Held) -> Level:
    price, size = level
    return (Decimal(price), Decimal(size)) if type(price) is str else level  # type: ignore[return-value]  # both are


class Book:
    """Bids and asks of one instrument. It is changed by `load` and `apply`; its sides are there to be read."""

    __slots__ = ("_is_read", "_top", "asks", "bids")

    def __init__(self) -> None:
        self.bids = Side(bids=True)
        self.asks = Side(bids=False)
        self._top: Top | None = None  # of the last change, where `_is_read`
        self._is_read = True

    def load(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Replace the whole book."""
        self.bids.load(bids)
        self.asks.load(asks)
        self._is_read = False

    def apply(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Set each named level's size; zero removes it."""
        self.bids.apply(bids)
        self.asks.apply(asks)
        self._is_read = False

    def top(self) -> Top | None:
        """Return the best bid and ask with their sizes, None where a side is empty."""
        if not self._is_read:
            bid, ask = self.bids.best(), self.asks.best()
            self._top = None if bid is None or ask is None else (*bid, *ask)
            self._is_read = True
        return self._top

    @property
    def is_crossed(self) -> bool:
        """Whether somebody would buy for no less than somebody sells: no such book exists for long at a venue."""
        top = self.top()
        return top is not None and top[0] >= top[2]

    @property
    def mid(self) -> Decimal | None:
        """Return the middle of the best bid and ask, None where a side is empty."""
        top = self.top()
        return None if top is None else (top[0] + top[2]) / 2

    @property
    def spread_bps(self) -> float | None:
        """Return the spread in basis points of the mid, negative where crossed, None where a side is empty."""
        top = self.top()
        return None if top is None else spread_bps(top[0], top[2])

    @property
    def microprice(self) -> float | None:
        """Return the mid weighted by the sizes across from it, None where a side is empty.

        ``(bid * ask_size + ask * bid_size) / (bid_size + ask_size)``: nearer to the side that is thinner.
        """
        top = self.top()
        return None if top is None else microprice(*top)

    def depth(self, count: int) -> tuple[Decimal, Decimal]:
        """Return the base units of the best `count` levels of bids and of asks."""
        return self.bids.depth(count), self.asks.depth(count)

    def imbalance(self, count: int) -> float | None:
        """Return ``(bid - ask) / (bid + ask)`` of the best `count` levels' sizes, None where the book is empty.

        1.0 is nothing but bids, -1.0 nothing but asks.
        """
        return imbalance(*self.depth(count))

    def vwap_to(self, side: Literal["buy", "sell"], size: Decimal) -> Decimal | None:
        """Return the average price of buying (from the asks) or selling `size` base units at once.

        None where the book is too thin for all of it: `sweep` of the side says what was really there.
        """
        swept = (self.asks if side == "buy" else self.bids).sweep(size)
        return swept.average if swept.filled == size else None


def imbalance(bid_size: Decimal, ask_size: Decimal) -> float | None:
    """Return ``(bid - ask) / (bid + ask)`` of two sizes, None where both are zero.

    Examples
    --------
    >>> imbalance(Decimal(10), Decimal(2))
    0.6666666666666666
    """
    total = bid_size + ask_size
    return float((bid_size - ask_size) / total) if total else None


def microprice(bid: Decimal, bid_size: Decimal, ask: Decimal, ask_size: Decimal) -> float | None:
    """Return the mid weighted by the sizes across from it, None where both sizes are zero.

    Examples
    --------
    >>> microprice(Decimal(100), Decimal(3), Decimal(101), Decimal(1))
    100.75
    """
    total = bid_size + ask_size
    return float((bid * ask_size + ask * bid_size) / total) if total else None


def spread_bps(bid: Decimal, ask: Decimal) -> float | None:
    """Return the spread in basis points of the mid, None where the mid is not positive.

    Examples
    --------
    >>> spread_bps(Decimal("99.5"), Decimal("100.5"))
    100.0
    """
    middle = (bid + ask) / 2
    return float((ask - bid) / middle) * BPS if middle > 0 else None
