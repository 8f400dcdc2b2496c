"""Trading hours are what exchange-calendars says of every session, without it being there when they are asked."""

from __future__ import annotations

import datetime as dt
import importlib.util
from pathlib import Path
from types import ModuleType
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.book.sessions import (
    ALWAYS_OPEN,
    Session,
    calendar_for,
    calendar_named,
    date_of,
    new_york_offset_s,
    ns_of,
    parse_table,
)
from edgefleet.clock import NS_PER_S
from edgefleet.errors import Misuse
from edgefleet.lean import absent

ROOT = Path(__file__).resolve().parents[3]
XNYS = calendar_named("XNYS")


def at(text: str) -> int:
    """Return ns since the epoch of an ISO time, UTC."""
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()) * NS_PER_S


@pytest.fixture(scope="module")
def script() -> ModuleType:
    pytest.importorskip("exchange_calendars")
    spec = importlib.util.spec_from_file_location("calendars", ROOT / "scripts" / "calendars.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# exchange-calendars 4.13 calls what pandas 3.1 deprecates; nothing of it is ours.
THEIRS = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@THEIRS
def test_the_table_is_what_the_script_makes(script: ModuleType) -> None:
    assert script.TARGET.read_text(encoding="utf-8").splitlines()[2:] == script.table().splitlines()[2:]


@THEIRS
def test_every_session_is_the_one_of_exchange_calendars() -> None:
    says = pytest.importorskip("exchange_calendars").get_calendar("XNYS", start="2000-01-01", end="2027-12-31").schedule
    expected = [
        (day.date(), row.open.value, row.close.value) for day, row in zip(says.index, says.itertuples(), strict=True)
    ]

    assert [(one.date, one.open, one.close) for one in XNYS.sessions] == expected
    assert len(expected) == 7_041


def test_the_day_after_thanksgiving_2026_closes_at_18_utc() -> None:
    session = XNYS.session_of(at("2026-11-27T15:00:00"))

    assert session == Session(dt.date(2026, 11, 27), at("2026-11-27T14:30:00"), at("2026-11-27T18:00:00"), is_half=True)
    assert not XNYS.is_open(at("2026-11-27T18:00:00"))
    assert XNYS.next_open(at("2026-11-27T18:00:00")) == at("2026-11-30T14:30:00")


def test_the_open_belongs_to_a_session_and_the_close_does_not() -> None:
    opens, closes = at("2024-07-01T13:30:00"), at("2024-07-01T20:00:00")

    assert [XNYS.is_open(ts) for ts in (opens - 1, opens, closes - 1, closes)] == [False, True, True, False]
    assert XNYS.next_open(opens - 1) == opens
    assert XNYS.next_open(closes - 1) == closes - 1


@given(st.integers(ns_of(dt.date(2000, 1, 4)), ns_of(dt.date(2027, 12, 31))))
def test_hours_at_any_moment_follow_from_the_list_of_sessions(ts: int) -> None:
    inside = [one for one in XNYS.sessions if one.open <= ts < one.close]
    over = [one for one in XNYS.sessions if one.close <= ts]
    coming = [one.open for one in XNYS.sessions if one.open > ts]

    assert XNYS.session_of(ts) == (inside[0] if inside else None)
    assert XNYS.is_open(ts) == bool(inside)
    assert XNYS.session_before(ts) == (over[-1] if over else None)
    assert XNYS.next_open(ts) == (ts if inside else coming[0])


@pytest.mark.parametrize("day", ["1999-12-31", "2028-01-03"])
def test_a_day_that_the_table_does_not_cover_is_refused(day: str) -> None:
    with pytest.raises(Misuse, match=rf"from 2000-01-01 to 2027-12-31, asked for {day}.*scripts/calendars.py"):
        XNYS.is_open(at(f"{day}T15:00:00"))


def test_no_open_is_guessed_after_the_last_session() -> None:
    with pytest.raises(Misuse, match="asked for 2027-12-31T21:00:00"):
        XNYS.next_open(at("2027-12-31T21:00:00"))


@given(st.integers(0, ns_of(dt.date(2100, 1, 1))))
def test_crypto_is_always_open_and_its_session_is_the_day_of_utc(ts: int) -> None:
    session = ALWAYS_OPEN.session_of(ts)

    assert ALWAYS_OPEN.is_open(ts)
    assert ALWAYS_OPEN.next_open(ts) == ts
    assert session.open <= ts < session.close
    assert session.date == dt.datetime.fromtimestamp(ts // NS_PER_S, dt.UTC).date() == date_of(ts)
    assert ALWAYS_OPEN.session_before(ts).close == session.open


def test_classes_have_their_calendars() -> None:
    assert calendar_for("crypto").name == "24/7"
    assert calendar_for("us_stocks").name == "XNYS"
    with pytest.raises(Misuse, match="trading hours of forex are not known"):
        calendar_for("forex")
    with pytest.raises(Misuse, match="no session table for 'XLON'; there are XNYS"):
        calendar_named("XLON")


def test_annual_seconds_are_the_custom_and_near_the_table() -> None:
    whole_years = range(2000, 2028)
    opened = sum(one.close - one.open for one in XNYS.sessions) / NS_PER_S / len(whole_years)

    assert XNYS.annual_seconds == 5_896_800
    assert XNYS.annual_seconds == pytest.approx(opened, rel=0.007)
    assert ALWAYS_OPEN.annual_seconds == 31_536_000


def test_new_york_is_where_the_zone_database_puts_it() -> None:
    zone, first = ZoneInfo("America/New_York"), dt.date(1987, 1, 1)
    for day in (first + dt.timedelta(days=n) for n in range(50 * 365)):
        noon = dt.datetime.combine(day, dt.time(12), zone)
        assert noon.utcoffset() == dt.timedelta(seconds=new_york_offset_s(day)), day


def test_summer_time_before_1987_is_not_guessed() -> None:
    with pytest.raises(ValueError, match="from 1987 on, asked for 1986-12-31"):
        new_york_offset_s(dt.date(1986, 12, 31))


def test_hours_need_neither_pandas_nor_exchange_calendars() -> None:
    calendar_named.cache_clear()
    with absent("pandas", "exchange_calendars"):
        assert calendar_named("XNYS").is_open(at("2024-07-01T15:00:00"))


def test_a_table_of_one_week_has_its_sessions() -> None:
    text = "# why\ncovers 2024-07-01 2024-07-07\nregular 09:30 16:00\nearly 2024-07-03 13:00\nclosed 2024-07-04\n"
    sessions = parse_table("X", text).sessions

    assert [one.date.day for one in sessions] == [1, 2, 3, 5]
    assert [one.is_half for one in sessions] == [False, False, True, False]
    assert sessions[2].close == at("2024-07-03T17:00:00")
