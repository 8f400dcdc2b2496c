"""What a suite answers: figures beside their floors. Knows no process and no clock."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Sequence
from typing import Any, Literal

import msgspec


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure beside what it is measured against. `ratio` is value over reference value."""

    name: str
    value: float
    unit: str
    reference: str  # what the reference value is
    reference_value: float
    ratio: float
    target: str  # of the ratio, or of the value where the reference is a limit
    ok: bool


class SuiteReport(msgspec.Struct, frozen=True, kw_only=True):
    """A suite's answer; its form is fixed in the interface."""

    suite: str
    machine: dict[str, Any]
    results: tuple[Figure, ...]
    ok: bool


def figure(
    name: str,
    value: float,
    unit: str,
    reference: str,
    reference_value: float,
    bound: Literal["at most", "at least"],
    times: float,
) -> Figure:
    """Return a figure whose ratio to its reference shall be `bound` `times`. NaN is never ok."""
    ratio = value / reference_value if reference_value else math.nan
    sign, ok = ("<=", ratio <= times) if bound == "at most" else (">=", ratio >= times)
    return Figure(
        name=name,
        value=rounded(value),
        unit=unit,
        reference=reference,
        reference_value=rounded(reference_value),
        ratio=rounded(ratio),
        target=f"{sign} {times:g}x",
        ok=ok,
    )


def rounded(value: float) -> float:
    """Return `value` to four significant digits; whole above a thousand."""
    if not math.isfinite(value) or value == 0:
        return value
    return round(value, max(0, 3 - math.floor(math.log10(abs(value)))))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of `values` do not exceed, NaN of none.

    Examples
    --------
    >>> percentile([3.0, 1.0, 2.0], 0.5), percentile([1.0, 2.0], 0.99)
    (2.0, 2.0)
    """
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def machine(**more: str) -> dict[str, Any]:
    """Return what the figures were measured on, and how busy it was."""
    return {
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "load_1m": round(os.getloadavg()[0], 2),
        **more,
    }
