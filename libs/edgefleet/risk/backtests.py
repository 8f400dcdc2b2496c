"""Were losses beyond the value at risk as many, as scattered and as large as promised? Knows counts and series of them.

An *exception* is a period whose loss was beyond the value at risk told before it. `rate` is how often that should be:
0.05 where the level is 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from edgefleet.stats.checks import check_finite

Floats = npt.NDArray[np.float64]
Zone = Literal["green", "yellow", "red"]

_YELLOW, _RED = 0.95, 0.9999  # Basel's two probabilities of as many exceptions or fewer


class Test(NamedTuple):
    """A likelihood ratio and the probability of one as large where the promise holds, by its chi-squared limit."""

    ratio: float
    p: float


class Transitions(NamedTuple):
    """How often a period with (1) or without (0) an exception was followed by one with or without."""

    n00: int
    n01: int
    n10: int
    n11: int


def rate_of(level: float) -> float:
    """Return the rate of exceptions that a level means: itself up to 0.5, above that 1 minus it.

    The difference is taken to 12 places, so that 0.99 means 0.01 and not 0.010000000000000009.

    Raises
    ------
    ValueError
        If `level` is outside (0, 1).

    Examples
    --------
    >>> rate_of(0.99), rate_of(0.01)
    (0.01, 0.01)
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), was {level!r}")
    return level if level <= 0.5 else (round(1 - level, 12) or 1 - level)


def kupiec(exceptions: int, observations: int, rate: float) -> Test:
    """Return the test that exceptions come at `rate`, whenever they come: proportion of failures, one degree [1]_.

    ``LR = 2 (log L(x / T) - log L(rate))`` with ``L(p) = p**x (1 - p)**(T - x)`` for `x` exceptions in `T` periods.

    Raises
    ------
    ValueError
        If `observations` is not positive, `exceptions` is outside 0..`observations`, or `rate` is outside (0, 1).

    Examples
    --------
    >>> [round(number, 5) for number in kupiec(57, 1043, 0.05)]
    [0.46147, 0.49694]

    References
    ----------
    .. [1] P. H. Kupiec, "Techniques for Verifying the Accuracy of Risk Measurement Models", Journal of Derivatives
       3(2), 1995, p. 73.
    """
    _check_counts(exceptions, observations)
    _check_rate(rate)
    calm = observations - exceptions
    return _one_degree(
        _evidence(exceptions, exceptions / observations, rate) + _evidence(calm, calm / observations, 1 - rate)
    )


def christoffersen(transitions: Transitions) -> Test | None:
    """Return the test that an exception says nothing of the next period: independence, one degree [1]_.

    ``LR = 2 (log L(p01, p11) - log L(p, p))`` with ``L(a, b) = (1-a)^n00 a^n01 (1-b)^n10 b^n11``, each rate as it was
    observed. None where no exception was followed by anything, or every period was one: there is only one of the two
    rates then, and nothing to compare it with.

    Raises
    ------
    ValueError
        If a count is negative or all are zero.

    References
    ----------
    .. [1] P. F. Christoffersen, "Evaluating Interval Forecasts", International Economic Review 39, 1998, p. 841.
    """
    n00, n01, n10, n11 = _checked(transitions)
    after_calm, after_exception = n00 + n01, n10 + n11
    if after_calm == 0 or after_exception == 0:
        return None
    whole = after_calm + after_exception
    calm, exceptions = (n00 + n10) / whole, (n01 + n11) / whole
    return _one_degree(
        _evidence(n00, n00 / after_calm, calm)
        + _evidence(n01, n01 / after_calm, exceptions)
        + _evidence(n10, n10 / after_exception, calm)
        + _evidence(n11, n11 / after_exception, exceptions)
    )


def conditional_coverage(transitions: Transitions, rate: float) -> Test | None:
    """Return the test that exceptions come at `rate` and independently: the sum of both ratios, two degrees.

    Coverage is judged by the periods that followed another one, ``n01 + n11`` exceptions in all four counts, so that
    the sum is the ratio of Christoffersen's own hypotheses. None where independence has no test.

    Raises
    ------
    ValueError
        As `kupiec` and `christoffersen` say.
    """
    apart = christoffersen(transitions)
    coverage = kupiec(transitions.n01 + transitions.n11, sum(transitions), rate)
    if apart is None:
        return None
    ratio = coverage.ratio + apart.ratio
    return Test(ratio, math.exp(-ratio / 2))


def transitions_of(exceptions: Sequence[bool] | npt.NDArray[np.bool_]) -> Transitions:
    """Return how periods followed each other.

    Raises
    ------
    ValueError
        If there are fewer than two periods.

    Examples
    --------
    >>> transitions_of([False, False, True, True, False])
    Transitions(n00=1, n01=1, n10=1, n11=1)
    """
    flags = np.asarray(exceptions, dtype=bool)
    if len(flags) < 2:
        raise ValueError(f"transitions need 2 periods, were {len(flags)}")
    before, after = flags[:-1], flags[1:]
    return Transitions(
        int(np.sum(~before & ~after)),
        int(np.sum(~before & after)),
        int(np.sum(before & ~after)),
        int(np.sum(before & after)),
    )


def traffic_light(exceptions: int, observations: int, rate: float) -> Zone | None:
    """Return the zone of the Basel committee [1]_, for any number of periods and any rate.

    Where the promise holds, `x` exceptions or fewer have the probability ``P`` by the binomial distribution: yellow
    begins where ``P >= 0.95``, red where ``P >= 0.9999``. Of 250 days at 99 % these are 5 and 10. None where no
    exception at all is as probable as that already: so few periods are no ground for a zone.

    Raises
    ------
    ValueError
        As `kupiec` says.

    Examples
    --------
    >>> [traffic_light(x, 250, 0.01) for x in (4, 5, 9, 10)]
    ['green', 'yellow', 'yellow', 'red']

    References
    ----------
    .. [1] Basel Committee on Banking Supervision, "Supervisory framework for the use of 'backtesting' in conjunction
       with the internal models approach to market risk capital requirements", 1996.
    """
    _check_counts(exceptions, observations)
    _check_rate(rate)
    if observations * math.log1p(-rate) >= math.log(_YELLOW):
        return None
    beyond = binomial_beyond(exceptions, observations, rate)
    if beyond <= 1 - _RED:
        return "red"
    return "yellow" if beyond <= 1 - _YELLOW else "green"


def binomial_beyond(count: int, trials: int, rate: float) -> float:
    """Return the probability of more than `count` successes, summed term by term; above the mean only the tail's."""
    if count >= trials:
        return 0.0
    if count < math.floor(trials * rate):
        return 1.0 - math.fsum(_binomial_terms(count, trials, rate, -1))
    return math.fsum(_binomial_terms(count + 1, trials, rate, 1))


def _binomial_terms(start: int, trials: int, rate: float, step: Literal[1, -1]) -> list[float]:
    """Return the probabilities from `start` on, away from the mean, as long as they count."""
    place = start
    term = math.exp(
        math.lgamma(trials + 1)
        - math.lgamma(place + 1)
        - math.lgamma(trials - place + 1)
        + place * math.log(rate)
        + (trials - place) * math.log1p(-rate)
    )
    odds, found = rate / (1 - rate), [term]
    while 0 <= place + step <= trials and term > 1e-18 * found[0]:
        term *= (trials - place) / (place + 1) * odds if step > 0 else place / (trials - place + 1) / odds
        place += step
        found.append(term)
    return found


def acerbi_szekely(returns: Floats, var: Floats, es: Floats, rate: float) -> float:
    """Return Z2 of Acerbi and Szekely: how losses beyond the value at risk compare with the shortfall promised [1]_.

    ``Z2 = 1 + sum(X_t I_t / ES_t) / (T rate)`` with ``I_t = 1`` where the return `X_t` is below ``-VaR_t``. It is 0 on
    average where the promise holds and negative where losses are larger or more frequent. Whatever the tails, about
    -0.70 is undercut with 5 % and -1.8 with 0.01 % probability, for a year of days at 97.5 % [1]_.

    Parameters
    ----------
    returns
        One per period, a loss is negative.
    var, es
        What was told before each period: positive losses, of the same unit.
    rate
        1 minus the level of both.

    Raises
    ------
    ValueError
        If the lengths differ or are zero, a number is not finite, a shortfall is not positive or is below its value at
        risk, or `rate` is outside (0, 1).

    References
    ----------
    .. [1] C. Acerbi, B. Szekely, "Back-testing expected shortfall", Risk, December 2014, p. 76; table 4 of the paper's
       longer version for the two bounds.
    """
    _check_rate(rate)
    if not len(returns) == len(var) == len(es) > 0:
        raise ValueError(
            f"returns, var and es must be as long as each other, were {len(returns)}, {len(var)}, {len(es)}"
        )
    for name, numbers in (("returns", returns), ("var", var), ("es", es)):
        check_finite(numbers, f"{name} must be finite, has")
    wrong = ~((es > 0) & (es >= var))
    if wrong.any():
        place = int(np.argmax(wrong))
        raise ValueError(
            f"a shortfall must be positive and not below its value at risk, were {float(es[place])!r} and "
            f"{float(var[place])!r} in period {place + 1}"
        )
    beyond = returns < -var
    return 1 + math.fsum(returns[beyond] / es[beyond]) / (len(returns) * rate)


def _one_degree(half: float) -> Test:
    ratio = max(0.0, 2 * half)  # rounding may carry a ratio of nothing below zero
    return Test(ratio, math.erfc(math.sqrt(ratio / 2)))


def _evidence(count: int, observed: float, supposed: float) -> float:
    return count * math.log(observed / supposed) if count else 0.0


def _checked(transitions: Transitions) -> Transitions:
    if min(transitions) < 0 or sum(transitions) == 0:
        raise ValueError(f"counts of transitions must not be negative, nor all zero, were {tuple(transitions)}")
    return transitions


def _check_counts(exceptions: int, observations: int) -> None:
    if not observations > 0:
        raise ValueError(f"observations must be positive, were {observations!r}")
    if not 0 <= exceptions <= observations:
        raise ValueError(f"exceptions must be in 0..{observations}, the observations, were {exceptions!r}")


def _check_rate(rate: float) -> None:
    if not 0 < rate < 1:
        raise ValueError(f"the rate of exceptions must be in (0, 1), was {rate!r}")
