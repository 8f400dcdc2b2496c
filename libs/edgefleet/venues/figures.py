"""Prices and sizes as a venue writes them, to Decimal: each text is read and judged once. Knows no frame."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

import msgspec

from edgefleet.units import ZERO

ABSURD = Decimal("1e15")  # no price or size of a venue is near it, and no infinity passes
_MOST_PLACES = 30  # no venue writes so many behind the point; sums of prints are exact, and need all of them
_SHORT, _SMALL = 20, Decimal("1e-8")  # what is written shorter and is not smaller has fewer places, exponent or not
_REMEMBERED = 4_096  # texts, of one instrument; a market walks on, so what is full is begun anew


def is_plausible(value: Decimal) -> bool:
    """Return whether `value` can be a price or a traded quantity: positive, finite, and of no more digits than any."""
    try:
        if not ZERO < value < ABSURD:
            return False
    except InvalidOperation:  # Decimal refuses to order NaN
        return False
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -_MOST_PLACES


def is_size(value: Decimal) -> bool:
    """Return whether `value` can be a size on a book, where zero is none."""
    return value.is_zero() or is_plausible(value)


class Figures(dict[str, Decimal]):
    """The value of each text, ``figures["60000.10"]``, for streams that say the same texts again and again.

    Reading is half of what is saved: the same text gives the same object, which knows its hash when a book asks for it.

    Parameters
    ----------
    zero
        Whether zero can be: it can for a size on a book, where it is none, and not for a price.

    Raises
    ------
    msgspec.ValidationError
        By the look-up, if the text is no number or one that no venue can mean.
    """

    __slots__ = ("_zero",)

    def __init__(self, *, zero: bool) -> None:
        super().__init__()
        self._zero = zero

    def __missing__(self, text: str) -> Decimal:
        try:
            value = Decimal(text)
            if (len(text) <= _SHORT and _SMALL <= value < ABSURD) or is_plausible(value) or (self._zero and not value):
                if len(self) >= _REMEMBERED:
                    self.clear()
                self[text] = value
                return value
        except InvalidOperation:  # no number
            pass
        what = "size" if self._zero else "price or quantity"
        raise msgspec.ValidationError(f"{text[:40]!r} is a {what} that cannot be")


class Reader:
    """The figures of one instrument, each text read once.

    Every method raises `msgspec.ValidationError` for a text that is no figure, or one that no venue can mean.
    """

    __slots__ = ("prices", "sizes")

    def __init__(self) -> None:
        self.prices = Figures(zero=False)
        self.sizes = Figures(zero=True)

    def top(self, bid: str, bid_size: str, ask: str, ask_size: str) -> tuple[Decimal, Decimal, Decimal, Decimal]:
        """Return a top of book; a size may be zero."""
        prices, sizes = self.prices, self.sizes
        return prices[bid], sizes[bid_size], prices[ask], sizes[ask_size]

    def print(self, price: str, quantity: str) -> tuple[Decimal, Decimal]:
        """Return a print's price and quantity, both positive."""
        prices = self.prices
        return prices[price], prices[quantity]

    def levels(self, texts: Iterable[tuple[str, str]]) -> tuple[tuple[Decimal, Decimal], ...]:
        """Return levels of a book; a size may be zero."""
        prices, sizes = self.prices, self.sizes
        return tuple([(prices[price], sizes[size]) for price, size in texts])
