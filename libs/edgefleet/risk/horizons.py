"""How many periods of a series a horizon has, by a calendar's days. Knows no dates."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

Horizon = Literal["1h", "1d", "1w", "1m"]
CalendarName = Literal["XNYS", "24/7"]


class Days(NamedTuple):
    """What a calendar calls a year, a week and a day's length."""

    per_year: float
    per_week: float
    hours: float  # that the market is open each day


# The customs of `edgefleet.book.sessions`: 252 days of 6.5 hours, and a market that never closes.
CALENDARS: dict[CalendarName, Days] = {"XNYS": Days(252.0, 5.0, 6.5), "24/7": Days(365.0, 7.0, 24.0)}


def days_of(horizon: Horizon, calendar: CalendarName) -> float:
    """Return how many days of the calendar a horizon has: a month is a twelfth of its year.

    An hour is its share of the *open* day, although part of a stock's daily variance falls into the night: an hour of a
    stock is overstated by that, never understated.

    Raises
    ------
    ValueError
        If the horizon or the calendar is unknown.

    Examples
    --------
    >>> days_of("1m", "XNYS"), days_of("1w", "24/7"), days_of("1d", "XNYS")
    (21.0, 7.0, 1.0)
    """
    if calendar not in CALENDARS:
        raise ValueError(f"calendar must be one of {', '.join(CALENDARS)}, was {calendar!r}")
    days = CALENDARS[calendar]
    lengths: dict[str, float] = {"1h": 1 / days.hours, "1d": 1.0, "1w": days.per_week, "1m": days.per_year / 12}
    if horizon not in lengths:
        raise ValueError(f"horizon must be one of {', '.join(get_args(Horizon))}, was {horizon!r}")
    return lengths[horizon]


def periods_in(horizon: Horizon, period: Horizon, calendar: CalendarName) -> float:
    """Return how many `period` s a horizon has, which may be a fraction.

    Raises
    ------
    ValueError
        If the horizon, the period or the calendar is unknown.

    Examples
    --------
    >>> periods_in("1d", "1h", "XNYS")
    6.5
    """
    return days_of(horizon, calendar) / days_of(period, calendar)
