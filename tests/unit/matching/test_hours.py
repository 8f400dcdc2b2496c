"""Phases of a stock market's day, and New York's time against the machine's own time zones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.clock import NS_PER_S
from edgefleet.matching.hours import Hours, Phase, eastern, from_eastern

from .stock_days import DAYS, at

NEW_YORK = ZoneInfo("America/New_York")
SINCE_1987 = st.integers(*(int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (1987, 2037)))


@given(SINCE_1987)
def test_eastern_time_is_the_time_zone_s(second: int) -> None:
    expected = datetime.fromtimestamp(second, NEW_YORK)

    assert eastern(second * NS_PER_S) == expected.replace(tzinfo=None)
    if not expected.fold:
        assert from_eastern(expected.replace(tzinfo=None)) == second * NS_PER_S


@pytest.mark.parametrize(
    ("clock", "phase"),
    [
        ("03:59:59", Phase.CLOSED),
        ("04:00", Phase.PRE),
        ("09:29:59", Phase.PRE),
        ("09:30", Phase.REGULAR),
        ("12:59:59", Phase.REGULAR),
        ("13:00", Phase.POST),
        ("16:59:59", Phase.POST),
        ("17:00", Phase.CLOSED),
    ],
)
def test_half_day_has_its_phases(clock: str, phase: Phase) -> None:
    assert Hours(DAYS).at(at(clock)).phase is phase


def test_holiday_is_closed_and_the_next_open_is_after_it() -> None:
    hours = Hours(DAYS)

    assert hours.at(at("11:00", 28)).phase is Phase.CLOSED
    assert hours.next_open(at("11:00", 28)) == at("09:30")
    assert hours.next_close(at("11:00", 28)) == at("13:00")


def test_next_open_of_an_open_market_is_the_next_day_s() -> None:
    assert Hours(DAYS).next_open(at("09:30", 27)) == at("09:30")


@pytest.mark.parametrize(
    ("clock", "extended", "ends"),
    [
        ("08:00", False, at("13:00")),
        ("10:00", False, at("13:00")),
        ("10:00", True, at("17:00")),
        ("14:00", True, at("17:00")),
        ("14:00", False, DAYS.days[2].close),
        ("18:00", True, DAYS.days[2].close + int(timedelta(hours=4).total_seconds()) * NS_PER_S),
    ],
)
def test_order_of_the_day_ends_with_the_hours_it_may_trade_in(clock: str, extended: bool, ends: int) -> None:
    assert Hours(DAYS).day_end(at(clock), extended=extended) == ends


def test_sessions_between_two_moments_are_those_that_open_there() -> None:
    found = Hours(DAYS).between(at("09:30", 27), at("09:30"))

    assert [session.date.day for session in found] == [27]
