"""A book's levels in order, cut to a depth, with the digits that Kraken's checksum is taken over. Knows no frame.

Source: docs.kraken.com, "Book checksum (WebSocket v1)" and "(WebSocket v2)": the ten best asks from low to high, then
the ten best bids from high to low, each as price and volume without the point and without leading zeros; CRC32 of it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from decimal import Decimal
from zlib import crc32

from edgefleet.messages.market import Level
from edgefleet.venues.stream_books import SAME_MOMENT_NS

CHECKED_LEVELS = 10  # of each side, whatever the depth
DEPTHS = (10, 25, 100, 500, 1_000)  # that the venue offers

Piece = tuple[Decimal, Decimal, str, int]  # price, size, their digits, and when the level was set, ns
UNDATED = -1  # where that is not known, or says nothing of the order of frames
Precision = tuple[int, int]  # decimals of prices and of sizes
_REMEMBERED_LEVELS = 4_096


class LadderSide:
    """One side's prices, best first, each with its digits."""

    __slots__ = ("_bids", "_digits", "_keys", "_set", "_sizes")

    def __init__(self, *, bids: bool) -> None:
        self._bids = bids
        self._keys: list[Decimal] = []  # asks as they are, bids negated: the best is the least
        self._sizes: list[Decimal] = []
        self._digits: list[str] = []
        self._set: dict[Decimal, int] = {}  # when each level was set or removed

    def is_late(self, pieces: Iterable[Piece]) -> bool:
        """Return whether one of the levels was changed since by a frame that came before this one."""
        set_at = self._set
        return any(UNDATED < stamp < set_at.get(price, 0) - SAME_MOMENT_NS for price, _, _, stamp in pieces)

    def apply(self, pieces: Iterable[Piece]) -> None:
        """Set each level in order; a size of zero removes it, and where there is none it is passed over."""
        keys, sizes, digits, set_at = self._keys, self._sizes, self._digits, self._set
        if len(set_at) > _REMEMBERED_LEVELS:
            set_at.clear()
        for price, size, text, stamp in pieces:
            if stamp != UNDATED:
                set_at[price] = stamp
            key = price.copy_negate() if self._bids else price
            at = bisect_left(keys, key)
            there = at < len(keys) and keys[at] == key
            if not size:
                if there:
                    del keys[at], sizes[at], digits[at]
            elif there:
                sizes[at], digits[at] = size, text
            else:
                keys.insert(at, key)
                sizes.insert(at, size)
                digits.insert(at, text)

    def cut(self, depth: int) -> list[Decimal]:
        """Forget the levels past `depth` and return their prices."""
        past = self._keys[depth:]
        if past:
            del self._keys[depth:], self._sizes[depth:], self._digits[depth:]
        return [key.copy_negate() for key in past] if self._bids else past

    def rewrite(self, precision: Precision) -> None:
        """Write every level with other decimals."""
        self._digits = [
            digits_of_level(abs(key), size, precision) for key, size in zip(self._keys, self._sizes, strict=True)
        ]

    def checked(self) -> str:
        """Return the digits of the levels that the checksum is over."""
        return "".join(self._digits[:CHECKED_LEVELS])


class Ladder:
    """Both sides of a book of a subscribed depth."""

    __slots__ = ("_asks", "_bids", "depth")

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._bids = LadderSide(bids=True)
        self._asks = LadderSide(bids=False)

    def apply(self, bids: Iterable[Piece], asks: Iterable[Piece]) -> tuple[list[Level], list[Level]]:
        """Take changes; return what fell out of the depth by them, bids and asks, as levels of size zero.

        The venue does not say that a level fell out, so whoever follows our deltas has to be told.
        """
        self._bids.apply(bids)
        self._asks.apply(asks)
        nothing = Decimal(0)
        return (
            [(price, nothing) for price in self._bids.cut(self.depth)],
            [(price, nothing) for price in self._asks.cut(self.depth)],
        )

    def is_late(self, bids: Iterable[Piece], asks: Iterable[Piece]) -> bool:
        """Return whether changes are older than what is here already."""
        return self._bids.is_late(bids) or self._asks.is_late(asks)

    def rewrite(self, precision: Precision) -> None:
        """Write every level with other decimals."""
        self._bids.rewrite(precision)
        self._asks.rewrite(precision)

    def checksum(self) -> int:
        """Return the CRC32 of the best levels as they are."""
        return crc32((self._asks.checked() + self._bids.checked()).encode())


def digits_of(text: str) -> str:
    """Return what the checksum takes of a number as written.

    >>> digits_of("0.05005"), digits_of("0.00000500")
    ('5005', '500')
    """
    return text.replace(".", "").lstrip("0")


def digits_at(value: Decimal, decimals: int) -> str:
    """Return what the checksum takes of a number that the venue keeps to so many decimals.

    >>> digits_at(Decimal("45281"), 1), digits_at(Decimal("0.1"), 8)
    ('452810', '10000000')
    """
    return str(int(value.scaleb(decimals)))


def digits_of_level(price: Decimal, size: Decimal, precision: Precision) -> str:
    """Return what the checksum takes of a level."""
    return digits_at(price, precision[0]) + digits_at(size, precision[1])


def decimals_of(value: Decimal) -> int:
    """Return how many decimals a number was written with."""
    exponent = value.as_tuple().exponent
    return -exponent if isinstance(exponent, int) and exponent < 0 else 0


def depth_for(levels: int) -> int:
    """Return the least depth on offer that so many levels fit in."""
    return next((depth for depth in DEPTHS if levels <= depth), DEPTHS[-1])
