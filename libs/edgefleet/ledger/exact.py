"""Decimal arithmetic that never rounds in silence. Knows nothing of what is counted."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Context, Decimal, DivisionByZero, InvalidOperation, Overflow

from edgefleet.units import EXACT, ZERO

_SHOWN = Context(prec=28, traps=[InvalidOperation, DivisionByZero, Overflow])


def add(left: Decimal, right: Decimal) -> Decimal:
    """Return the exact sum.

    Raises
    ------
    decimal.Inexact
        If it needs more than 120 digits.
    """
    return EXACT.add(left, right)


def subtract(left: Decimal, right: Decimal) -> Decimal:
    """Return the exact difference."""
    return EXACT.subtract(left, right)


def multiply(left: Decimal, right: Decimal) -> Decimal:
    """Return the exact product."""
    return EXACT.multiply(left, right)


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Return the exact sum of all, 0 of none."""
    result = ZERO
    for amount in amounts:
        result = EXACT.add(result, amount)
    return result


def shown_ratio(numerator: Decimal, denominator: Decimal) -> Decimal:
    """Return a quotient rounded to 28 digits: for people to look at, never to be booked."""
    return _SHOWN.divide(numerator, denominator)
