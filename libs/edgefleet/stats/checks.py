"""What arithmetic refuses before it begins: numbers that are not finite, series that do not vary."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# What is left of a constant column of size 1 after rounding; a spread below this share of the size is none.
_ROUNDING = 1e-12


def is_constant(values: Floats) -> bool:
    """Return whether the values differ by no more than rounding does."""
    least, most = float(values.min()), float(values.max())
    return most - least <= _ROUNDING * max(abs(least), abs(most))


def are_constant(columns: Floats) -> npt.NDArray[np.bool_]:
    """Return `is_constant` of each column."""
    least, most = columns.min(axis=0), columns.max(axis=0)
    found: npt.NDArray[np.bool_] = most - least <= _ROUNDING * np.maximum(np.abs(least), np.abs(most))
    return found


def check_finite(numbers: Floats, told: str) -> None:
    """Refuse numbers that are not finite; `told` begins the message, as in ``a return must be finite, was``.

    Raises
    ------
    ValueError
        If one is not; the first is told.
    """
    wrong = numbers[~np.isfinite(numbers)]
    if len(wrong):
        raise ValueError(f"{told} {float(wrong[0])!r}")


def check_series(returns: Floats) -> None:
    """Refuse what has no risk to tell.

    Raises
    ------
    ValueError
        If `returns` is not one series of two numbers at least, one is not finite, or all are equal.
    """
    if returns.ndim != 1:
        raise ValueError(f"returns must be one series, was shape {returns.shape}")
    check_finite(returns, "a return must be finite, was")
    if len(returns) < 2:
        raise ValueError(
            f"has {len(returns)} return{'' if len(returns) == 1 else 's'}, 2 are the least that vary; bring more"
        )
    if is_constant(returns):
        raise ValueError(
            f"all {len(returns)} returns are {float(returns[0])!r}: the variance is 0; bring one that moves"
        )


def check_decay(decay: float) -> None:
    """Refuse what is no factor of exponential weights.

    Raises
    ------
    ValueError
        If it is outside (0, 1).
    """
    if not 0 < decay < 1:
        raise ValueError(f"decay must be in (0, 1), was {decay!r}")
