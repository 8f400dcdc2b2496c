"""Prices and sizes as a venue writes them, judged: tops and prints as Decimal, levels as they stand. Knows no frame."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated

import msgspec

from edgefleet.messages.market import Level
from edgefleet.units import ZERO

ABSURD = Decimal("1e15")  # no price or size of a venue is near it, and no infinity passes
_MOST_PLACES = 30  # no venue writes so many behind the point; sums of prints are exact, and need all of them
SMALLEST = Decimal(1).scaleb(-_MOST_PLACES)
_SHORT, _SMALL = 20, Decimal("1e-8")  # what is written shorter and is not smaller has fewer places, exponent or not


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


def price_of(text: str) -> Decimal:
    """Return the price or traded quantity that `text` is.

    Raises
    ------
    msgspec.ValidationError
        If it is no number, or none that a venue can mean.
    """
    try:
        value = Decimal(text)
        if (len(text) <= _SHORT and _SMALL <= value < ABSURD) or is_plausible(value):
            return value
    except InvalidOperation:  # no number
        pass
    raise msgspec.ValidationError(f"{text[:40]!r} is a price or quantity that cannot be")


def size_of(text: str) -> Decimal:
    """Return the size on a book that `text` is, where zero is none. Raises as `price_of`."""
    try:
        value = Decimal(text)
        if (len(text) <= _SHORT and _SMALL <= value < ABSURD) or is_size(value):
            return value
    except InvalidOperation:
        pass
    raise msgspec.ValidationError(f"{text[:40]!r} is a size that cannot be")


class Reader:
    """The tops and prints of one instrument. A figure that stands as it stood in the frame before is not read again.

    Every method raises `msgspec.ValidationError` for a text that is no figure, or one that no venue can mean.
    """

    __slots__ = (
        "_ask", "_ask_size", "_ask_size_text", "_ask_text",
        "_bid", "_bid_size", "_bid_size_text", "_bid_text",
        "_price", "_price_text",
    )  # fmt: skip

    def __init__(self) -> None:
        self._bid = self._bid_size = self._ask = self._ask_size = self._price = ZERO
        nothing: str | None = None
        self._bid_text = self._bid_size_text = self._ask_text = self._ask_size_text = self._price_text = nothing

    def top(self, bid: str, bid_size: str, ask: str, ask_size: str) -> tuple[Decimal, Decimal, Decimal, Decimal]:
        """Return a top of book; a size may be zero."""
        # Written out: a call for each figure would cost as much as reading one.
        if bid != self._bid_text:
            self._bid = price_of(bid)
            self._bid_text = bid
        if bid_size != self._bid_size_text:
            self._bid_size = size_of(bid_size)
            self._bid_size_text = bid_size
        if ask != self._ask_text:
            self._ask = price_of(ask)
            self._ask_text = ask
        if ask_size != self._ask_size_text:
            self._ask_size = size_of(ask_size)
            self._ask_size_text = ask_size
        return self._bid, self._bid_size, self._ask, self._ask_size

    def print(self, price: str, quantity: str) -> tuple[Decimal, Decimal]:
        """Return a print's price and quantity, both positive."""
        if price != self._price_text:
            self._price = price_of(price)
            self._price_text = price
        return self._price, price_of(quantity)


# A level's two figures as their texts, and the same as floats that can be a price and a size. What decodes both from
# one frame, the floats with `strict=False`, has judged the texts: no JSON number, NaN, out of bounds are refused.
Text = Annotated[str, msgspec.Meta(max_length=2 + _MOST_PLACES)]
TextLevel = tuple[Text, Text]
FloatLevel = tuple[
    Annotated[float, msgspec.Meta(ge=float(SMALLEST), lt=float(ABSURD))],
    Annotated[float, msgspec.Meta(ge=0.0, lt=float(ABSURD))],
]


def is_plain(raw: bytes) -> bool:
    """Return whether a frame's levels, from its first bracket on, are digits and points: no sign, no exponent.

    Texts that were let through as floats are then what Decimal reads from them, and zero where the float is zero.
    """
    at = raw.find(b"[")
    return not (raw.find(b"e", at) >= 0 or raw.find(b"E", at) >= 0 or raw.find(b"-", at) >= 0 or b"\\" in raw)


def exactly(levels: list[TextLevel]) -> tuple[Level, ...]:
    """Return levels each of whose texts is judged. Raises as `price_of`."""
    return tuple([(price_of(price), size_of(size)) for price, size in levels])
