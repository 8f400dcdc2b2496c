"""Which ways of telling a day's value at risk hold on a series? Fourteen, stated in advance, by three tests.

Every parameter is one that is printed where the way comes from, or a round number of trading days; none was chosen by
how it does on any data here. All ways are judged by the same days.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgefleet.risk.backtests import Test, christoffersen, conditional_coverage, kupiec, rate_of, transitions_of
from edgefleet.risk.rolling import LONGEST, REFIT_EVERY, Refit, Rolled, roll, roll_refitted
from edgefleet.risk.shortfall import check_level
from edgefleet.stats.checks import check_series

Floats = npt.NDArray[np.float64]

FIRST_TOLD = 500  # returns before the first day that is judged: the longest window
SIGNIFICANCE = 0.05


class Way(NamedTuple):
    """A method with its window and options; a `window` of None is a GARCH that is refitted."""

    name: str
    method: str
    window: int | None
    options: Mapping[str, Any]
    source: str

    def roll(self, returns: Floats, *, level: float, start: int) -> Rolled:
        """Return what this way tells before each period from `start` on.

        Raises
        ------
        ValueError
            As `roll` and `roll_refitted` say.
        """
        if self.window is None:
            model: Refit = self.method  # type: ignore[assignment]  # it refuses
            return roll_refitted(returns, model, level=level, start=start)
        return roll(returns, self.method, window=self.window, level=level, start=start, **self.options)


_REFITTED = f"{LONGEST:,} returns at most, refitted every {REFIT_EVERY}"
WAYS = (
    Way("normal 252", "normal", 252, {}, "mean and deviation"),
    Way("historical 252", "historical", 252, {}, "quantile"),
    Way("historical 500", "historical", 500, {}, "quantile"),
    Way("ewma .94", "ewma", 252, {"decay": 0.94}, "RiskMetrics 1996, normal"),
    Way("ewma-t .94", "ewma-t", 252, {"decay": 0.94, "degrees": 5.0}, "RiskMetrics 2006: five degrees of freedom"),
    Way("age .99", "age-weighted", 252, {"decay": 0.99}, "Boudoukh, Richardson, Whitelaw 1998"),
    Way("age .98", "age-weighted", 252, {"decay": 0.98}, "the same with a shorter memory"),
    Way("filtered .94", "filtered", 500, {"decay": 0.94}, "Hull and White 1998: rescaled to today's volatility"),
    Way("cornish-fisher", "cornish-fisher", 500, {}, "Cornish and Fisher 1938: skewness and kurtosis"),
    Way("mc normal", "monte-carlo", 252, {"paths": 5000, "seed": 0}, "5,000 normal draws"),
    Way(
        "mc bootstrap",
        "monte-carlo",
        252,
        {"paths": 5000, "seed": 0, "draws": "bootstrap"},
        "5,000 draws with replacement",
    ),
    Way("garch", "garch", None, {}, f"Bollerslev 1986, normal; {_REFITTED}"),
    Way("garch-filtered", "garch-filtered", None, {}, f"Barone-Adesi and others 1999; {_REFITTED}"),
    Way("gjr-t", "gjr-t", None, {}, f"Glosten and others 1993, Student-t; {_REFITTED}"),
)


class Judged(NamedTuple):
    """What the tests say of one way on one series; `refused` instead where the way did not tell every day."""

    exceptions: int
    periods: int
    coverage: Test | None
    independence: Test | None
    both: Test | None
    kept: int
    refused: str | None = None

    @property
    def passes(self) -> bool:
        """Return whether neither Kupiec's nor Christoffersen's test rejects at 5 %; what has no test has not passed."""
        tests = (self.coverage, self.independence)
        return all(test is not None and test.p > SIGNIFICANCE for test in tests)


def judge(rolled: Rolled, rate: float) -> Judged:
    """Return the tests of what was told before each period.

    Raises
    ------
    ValueError
        If there are fewer than two periods, or as `kupiec` says.
    """
    flags = rolled.exceptions
    counts = transitions_of(flags)
    exceptions = int(flags.sum())
    return Judged(
        exceptions,
        len(flags),
        kupiec(exceptions, len(flags), rate),
        christoffersen(counts),
        conditional_coverage(counts, rate),
        rolled.kept,
    )


def coverage_of(
    returns: Floats, *, level: float = 0.95, start: int = FIRST_TOLD, ways: Sequence[Way] = WAYS
) -> dict[str, Judged]:
    """Return each way's verdict on one series, judged from the period `start` on, counted from 0.

    That a series passes by one way of many is no test at 5 %: the chance that the best of fourteen passes is larger
    than that of any of them.

    Raises
    ------
    ValueError
        If `start` is less than `FIRST_TOLD`, the series has not two periods beyond it, it has no risk to tell, or the
        level cannot be.
    """
    if not start >= FIRST_TOLD:
        raise ValueError(f"the first period needs {FIRST_TOLD} returns before it, the longest window, had {start!r}")
    check_level(level)
    check_series(returns)
    if not start < len(returns) - 1:
        raise ValueError(f"has {len(returns)} returns, {start + 2} are the least of which two are told; bring more")
    rate = rate_of(level)
    found = {}
    for way in ways:
        try:
            found[way.name] = judge(way.roll(returns, level=level, start=start), rate)
        except ValueError as error:
            found[way.name] = Judged(0, len(returns) - start, None, None, None, 0, refused=str(error))
    return found
