"""Where money (Decimal) and statistics (float) meet. Knows nothing of instruments or venues."""

from __future__ import annotations

import math
from decimal import (
    ROUND_CEILING,
    ROUND_DOWN,
    ROUND_FLOOR,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
)

BPS = 10_000.0
ZERO = Decimal(0)
# Sums and products that never round in silence: what needs more digits than this is a fault somewhere else and raises.
EXACT = Context(prec=120, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])


def decimal_text(value: Decimal) -> str:
    """Return `value` exactly, without exponent or trailing zeros: ``61602.01``, ``0``.

    Examples
    --------
    >>> decimal_text(Decimal("437.9155200"))
    '437.91552'
    >>> decimal_text(Decimal("0E-8"))
    '0'
    """
    if value == 0:
        return "0"
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def to_float(value: Decimal) -> float:
    """Return the double nearest to `value`: where money becomes a statistic, once.

    Raises
    ------
    ValueError
        If `value` is no finite number, or beyond what a double holds.

    Examples
    --------
    >>> to_float(Decimal("61602.01"))
    61602.01
    """
    number = math.nan if value.is_snan() else float(value)
    if not -math.inf < number < math.inf:
        raise ValueError(f"only a finite number becomes a statistic, was {value}")
    return number


def to_decimal(value: float, step: Decimal) -> Decimal:
    """Return the multiple of `step` nearest to zero that does not exceed `value` in size.

    Rounding is toward zero: what statistics ask for never grows on its way to money.

    Raises
    ------
    ValueError
        If `value` is not finite or `step` is not positive.

    Examples
    --------
    >>> to_decimal(-0.12349, Decimal("0.001"))
    Decimal('-0.123')
    """
    if not math.isfinite(value):
        raise ValueError(f"only a finite number becomes money, was {value!r}")
    return round_to_step(Decimal(repr(value)), step)


def round_to_step(value: Decimal, step: Decimal, rounding: str = ROUND_DOWN) -> Decimal:
    """Return `value` as a multiple of `step`, by default rounded toward zero."""
    if not step > 0:
        raise ValueError(f"a step must be positive, was {step}")
    return (value / step).to_integral_value(rounding=rounding) * step


def floor_to_step(value: Decimal, step: Decimal) -> Decimal:
    """Return the largest multiple of `step` that is not above `value`."""
    return round_to_step(value, step, ROUND_FLOOR)


def ceil_to_step(value: Decimal, step: Decimal) -> Decimal:
    """Return the smallest multiple of `step` that is not below `value`."""
    return round_to_step(value, step, ROUND_CEILING)
