"""Prices and sizes of messages as floats: where money becomes a statistic, and where what cannot be is refused."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from edgefleet.features.ladder import FloatLevel
from edgefleet.messages.market import Level
from edgefleet.units import to_float

# No market's price or size is outside, and no quotient or product of two of them leaves what a double holds.
LEAST, MOST = 1e-18, 1e15


def amount(value: Decimal) -> float:
    """Return a price or size that may be zero.

    Raises
    ------
    ValueError
        If it is not finite, negative, or of a magnitude that no market has.
    """
    number = to_float(value)
    if LEAST <= number <= MOST or number == 0.0:
        return number
    raise ValueError(f"a price or size is 0 or from {LEAST:g} to {MOST:g}, was {value}")


def price(value: Decimal) -> float:
    """Return a price or size that is there: as `amount`, but zero is refused too."""
    number = to_float(value)
    if LEAST <= number <= MOST:
        return number
    raise ValueError(f"a traded price or size is from {LEAST:g} to {MOST:g}, was {value}")


def levels(given: Iterable[Level], sign: float) -> list[FloatLevel]:
    """Return levels with `sign` times their price as key."""
    found = []
    for level, size in given:
        try:  # a delta has tens of them: the usual ones are converted in place, a strange one is looked at closely
            key, left = float(level), float(size)
        except ValueError:
            key = left = -1.0
        if not (LEAST <= key <= MOST and (LEAST <= left <= MOST or left == 0.0)):
            key, left = price(level), amount(size)
        found.append((sign * key, left))
    return found
