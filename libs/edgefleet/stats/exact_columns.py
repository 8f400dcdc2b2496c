"""Sums over many ranges of one column, each rounded once: what `math.fsum` gives for the range. Needs numpy.

Every double is a whole number of one smallest unit. Cut into limbs of 24 bits it fits columns of integers, whose
running totals are exact; a range is the difference of two of them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_BITS = 24
_MASK = (1 << _BITS) - 1
_MANTISSA = 53
_HEAD_ROOM = 2  # limbs above the largest term: 48 bits for sums of up to 2**34 terms
_CELLS_KEPT = 1 << 23  # 64 MB of running totals
_WINDOW = 4  # limbs that decide a rounding: at least 73 bits from the highest that is set


class ExactSums:
    """The exact running totals of a column of finite numbers.

    Raises
    ------
    ValueError
        If a value is not finite.
    """

    def __init__(self, values: Floats) -> None:
        if not np.isfinite(values).all():
            raise ValueError(f"only finite numbers are summed, was {values[~np.isfinite(values)][0]!r}")
        fractions, exponents = np.frexp(values)
        self._units = np.ldexp(fractions, _MANTISSA).astype(np.int64)
        present = self._units != 0
        self._exponent = int(exponents[present].min()) - _MANTISSA if present.any() else 0
        shift = np.where(present, exponents - _MANTISSA - self._exponent, 0)
        self._place, self._left = (shift // _BITS).astype(np.int16), (shift % _BITS).astype(np.int8)
        self._count = int(self._place.max(initial=0)) + 3 + _HEAD_ROOM
        self._kept: dict[int, Ints] = {}

    def between(self, starts: Ints, ends: Ints) -> Floats:
        """Return the sum of ``values[start:end]`` for each pair, rounded once; 0.0 of an empty range."""
        limbs = np.empty((self._count, len(starts)), np.int64)
        for place in range(self._count):
            totals = self._totals(place)
            limbs[place] = totals[ends] - totals[starts]
        sign = np.where(_carried(limbs)[-1] < 0, -1, 1)
        return sign * _rounded(_carried(limbs * sign), self._exponent)

    def _totals(self, place: int) -> Ints:
        """Return the running totals of one limb; a long column's are made anew each time, to spare its memory."""
        totals = self._kept.get(place)
        if totals is None:
            totals = np.concatenate((np.zeros(1, np.int64), np.cumsum(self._limb(place))))
            if self._count * len(totals) <= _CELLS_KEPT:
                self._kept[place] = totals
        return totals

    def _limb(self, place: int) -> Ints:
        """Return what each value has in a limb: its 53 bits, moved into place, reach over three of them."""
        limb = np.zeros(len(self._units), np.int64)
        for part in range(3):
            at = np.flatnonzero(self._place == place - part)
            size, left = np.abs(self._units[at]), self._left[at].astype(np.int64)
            low, high = (size & _MASK) << left, (size >> _BITS) << left
            pieces = (low & _MASK, (low >> _BITS) + (high & _MASK), high >> _BITS)
            limb[at] = np.sign(self._units[at]) * pieces[part]
        return limb


def _carried(limbs: Ints) -> Ints:
    """Return the same numbers with every limb but the last in [0, 2**24)."""
    carried = limbs.copy()
    for place in range(len(carried) - 1):
        carried[place + 1] += carried[place] >> _BITS
        carried[place] &= _MASK
    return carried


def _rounded(limbs: Ints, exponent: int) -> Floats:
    """Return numbers that are not negative as the nearest doubles, ties to even.

    The four limbs from the highest that is set are two doubles that hold them exactly; whatever is below counts as a
    half of the last unit, which decides a rounding as the true rest does. So one addition rounds, and rounds right.
    """
    present = limbs != 0
    highest = len(limbs) - 1 - np.argmax(present[::-1], axis=0)
    top = np.maximum(np.where(present.any(axis=0), highest, 0), _WINDOW - 1)
    rows = np.arange(limbs.shape[1])
    upper = (limbs[top, rows] << _BITS) + limbs[top - 1, rows]
    lower = (limbs[top - 2, rows] << _BITS) + limbs[top - 3, rows]
    below = np.concatenate((np.zeros((1, limbs.shape[1]), np.int64), np.cumsum(present, axis=0)))
    rest = np.where(below[top - 3, rows] > 0, 0.5, 0.0)
    whole = np.ldexp(upper.astype(np.float64), 2 * _BITS) + (lower.astype(np.float64) + rest)
    found: Floats = np.ldexp(whole, (_BITS * (top - 3) + exponent).astype(np.int32))
    return found
