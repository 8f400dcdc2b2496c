"""From a wanted share of equity to one worth trading: size steps and the no-trade band. Pure floats."""

from __future__ import annotations

import math

# A wanted share this close below a step is on it: 0.045 / 0.015 is 2.9999999999999996.
_TOUCHING = 1e-9


def step_down(fraction: float, step: float) -> float:
    """Return the largest size step not above `fraction` (>= 0): multiples of `step`, and below it its halves.

    The halves below the first step keep a small constant edge from sizing to zero.

    Raises
    ------
    ValueError
        If `fraction` is negative or not finite, or `step` is not positive and finite.

    Examples
    --------
    >>> step_down(0.14, 0.045), step_down(0.03, 0.045), step_down(0.0, 0.045)
    (0.135, 0.0225, 0.0)
    """
    if not 0 <= fraction < math.inf:
        raise ValueError(f"a wanted share must be finite and not negative, was {fraction!r}")
    if not 0 < step < math.inf:
        raise ValueError(f"a step must be positive and finite, was {step!r}")
    if fraction == 0:
        return 0.0
    steps = fraction / step + _TOUCHING
    taken = math.floor(steps) * step if steps >= 1 else math.ldexp(step, math.frexp(steps)[1] - 1)
    return min(taken, fraction)


def resized(now: float, grow_to: float, shrink_to: float, *, step: float, band: float) -> float | None:
    """Return the share that a held share `now` (> 0) should become, None where it should stay.

    It grows when the step below `grow_to` exceeds it by more than `band`, and shrinks when it exceeds `shrink_to` by
    more than `band`, both relative to `now`. Between them lies the no-trade region: the price of a change would buy
    less than a band's worth of position.
    """
    most = now * (1 + band)
    if not 0 <= grow_to <= most:  # else no step below it is above either
        grown = step_down(grow_to, step)
        if grown > most:
            return grown
    if not now * (1 - band) <= shrink_to:
        return step_down(shrink_to, step)
    return None
