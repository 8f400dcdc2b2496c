"""When markets are open: the New York Stock Exchange by a table, crypto always. Knows nothing of instruments or clocks.

The table is a file of this package, made by `scripts/calendars.py` from exchange-calendars: lean services load neither
that nor pandas. It names what differs from the regular hours, so that it can be read and checked by eye.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from functools import cache
from importlib.resources import files
from typing import Protocol

import msgspec

from edgefleet.clock import NS_PER_S, iso
from edgefleet.errors import Misuse
from edgefleet.instruments import AssetClass

DAY_NS = 86_400 * NS_PER_S
_EPOCH = dt.date(1970, 1, 1)
_TABLES = {"XNYS": "xnys.txt"}


class Session(msgspec.Struct, frozen=True):
    """One session: `open <= ts < close`."""

    date: dt.date  # the exchange's own day
    open: int  # ns since the epoch
    close: int  # ns since the epoch
    is_half: bool = False  # closes early


class Calendar(Protocol):
    """What may be asked of a market's hours. Stamps are ns since the epoch, UTC."""

    @property
    def name(self) -> str:
        """Return the calendar's name: the exchange's MIC, or `24/7`."""
        ...

    @property
    def annual_seconds(self) -> float:
        """Return the open seconds of a year, by which a variance per second becomes one per year."""
        ...

    def covers(self, ts: int) -> bool:
        """Return whether the hours at `ts` are known."""
        ...

    def is_open(self, ts: int) -> bool:
        """Return whether the market trades at `ts`."""
        ...

    def session_of(self, ts: int) -> Session | None:
        """Return the session that `ts` falls into, None where the market is closed."""
        ...

    def next_open(self, ts: int) -> int:
        """Return the first moment from `ts` on at which the market is open: `ts` itself in a session."""
        ...

    def session_before(self, ts: int) -> Session | None:
        """Return the last session that has closed by `ts`, None before the first."""
        ...


class AlwaysOpen:
    """A market that never closes. Its sessions are the days of UTC."""

    name = "24/7"
    annual_seconds = 365.0 * 86_400  # the custom of crypto markets

    def covers(self, ts: int) -> bool:
        return True

    def is_open(self, ts: int) -> bool:
        return True

    def session_of(self, ts: int) -> Session:
        start = ts - ts % DAY_NS
        return Session(date_of(start), start, start + DAY_NS)

    def next_open(self, ts: int) -> int:
        return ts

    def session_before(self, ts: int) -> Session:
        return self.session_of(ts - DAY_NS)


class ExchangeCalendar:
    """Sessions by a table. A stamp outside what the table covers is `Misuse`: no session is guessed."""

    annual_seconds = (
        252 * 6.5 * 3_600
    )  # the custom of stock markets; the table's mean, with its half-days, is 0.6 % below

    def __init__(self, name: str, first: dt.date, last: dt.date, sessions: list[Session]) -> None:
        self.name = name
        self.first, self.last = first, last
        self.sessions = sessions
        self._opens = [session.open for session in sessions]
        self._from, self._until = ns_of(first), ns_of(last) + DAY_NS

    def covers(self, ts: int) -> bool:
        return self._from <= ts < self._until

    def is_open(self, ts: int) -> bool:
        return self.session_of(ts) is not None

    def session_of(self, ts: int) -> Session | None:
        i = self._begun(ts)
        return self.sessions[i - 1] if i and ts < self.sessions[i - 1].close else None

    def next_open(self, ts: int) -> int:
        if self.session_of(ts) is not None:
            return ts
        i = self._begun(ts)
        if i == len(self._opens):
            raise self._beyond(ts)
        return self._opens[i]

    def session_before(self, ts: int) -> Session | None:
        i = self._begun(ts)
        if i and ts < self.sessions[i - 1].close:
            i -= 1
        return self.sessions[i - 1] if i else None

    def _begun(self, ts: int) -> int:
        if not self._from <= ts < self._until:
            raise self._beyond(ts)
        return bisect_right(self._opens, ts)

    def _beyond(self, ts: int) -> Misuse:
        return Misuse(
            f"sessions of {self.name} are known from {self.first} to {self.last}, asked for {iso(ts)}; "
            "a newer table is made by scripts/calendars.py"
        )


@cache
def calendar_named(name: str) -> ExchangeCalendar:
    """Return an exchange's calendar, read once.

    Raises
    ------
    Misuse
        If there is no table of that name.
    """
    if name not in _TABLES:
        raise Misuse(f"no session table for {name!r}; there are {', '.join(sorted(_TABLES))}")
    return parse_table(name, files(__package__).joinpath(_TABLES[name]).read_text(encoding="utf-8"))


def calendar_for(asset_class: AssetClass) -> Calendar:
    """Return the hours that instruments of a class trade in.

    Raises
    ------
    Misuse
        If the class's hours are not known here.
    """
    if asset_class == "crypto":
        return ALWAYS_OPEN
    if asset_class == "us_stocks":
        return calendar_named("XNYS")
    raise Misuse(f"trading hours of {asset_class} are not known; crypto and us_stocks have a calendar")


def closed_now(asset_class: AssetClass, ts: int) -> str | None:
    """Return why instruments of a class do not trade at `ts`, None where they do, or their hours are not known here.

    Where a table has hours for the class and not for that time, it is closed: none are guessed.
    """
    if asset_class not in ("crypto", "us_stocks"):
        return None
    calendar = calendar_for(asset_class)
    if not calendar.covers(ts):
        return f"hours of {calendar.name} are not known for {iso(ts)}; a newer table is made by scripts/calendars.py"
    if calendar.is_open(ts):
        return None
    return f"{calendar.name} opens {iso(calendar.next_open(ts))}"


def silence(age_ns: int | None, calendar: Calendar, ts: int) -> int | None:
    """Return for how long a feed has been silent while its market was open, ns; None where it has not spoken yet.

    A closed market is not waited for, and after an opening no silence is longer than the session. Where the calendar
    does not reach, the market counts as open.
    """
    if not calendar.covers(ts):
        return age_ns
    session = calendar.session_of(ts)
    if session is None:
        return 0
    if age_ns is None or (calendar.covers(session.open - 1) and calendar.is_open(session.open - 1)):
        return age_ns  # days of a market that never closes follow each other without a silence
    return min(age_ns, ts - session.open)


def parse_table(name: str, text: str) -> ExchangeCalendar:
    """Return the calendar that a table tells: `covers`, `regular`, then each `closed` and `early` day."""
    rows = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    one = {row[0]: row[1:] for row in rows if row[0] in {"covers", "regular"}}
    first, last = map(dt.date.fromisoformat, one["covers"])
    opens, closes = map(dt.time.fromisoformat, one["regular"])
    closed = {dt.date.fromisoformat(row[1]) for row in rows if row[0] == "closed"}
    early = {dt.date.fromisoformat(row[1]): dt.time.fromisoformat(row[2]) for row in rows if row[0] == "early"}
    sessions = [
        Session(day, new_york_ns(day, opens), new_york_ns(day, early.get(day, closes)), day in early)
        for day in (first + dt.timedelta(days=n) for n in range((last - first).days + 1))
        if day.weekday() < 5 and day not in closed
    ]
    return ExchangeCalendar(name, first, last, sessions)


def new_york_ns(day: dt.date, time: dt.time) -> int:
    """Return ns since the epoch of a New York wall time between the nights in which clocks change."""
    seconds = time.hour * 3_600 + time.minute * 60 + time.second
    return ns_of(day) + (seconds - new_york_offset_s(day)) * NS_PER_S


def new_york_offset_s(day: dt.date) -> int:
    """Return the seconds that New York's clocks are ahead of UTC on a day, from 3 o'clock on: -18,000 or -14,400.

    Summer time by the Energy Policy Act of 2005: second Sunday of March to first Sunday of November; from 1987 to 2006
    first Sunday of April to last Sunday of October. A rule of two lines, so that no machine's zone files are needed.

    Raises
    ------
    ValueError
        If the day is before 1987, when another rule held.
    """
    if day.year < 1987:
        raise ValueError(f"New York's summer time is known from 1987 on, asked for {day}")
    if day.year >= 2007:
        begins, ends = _sunday(day.year, 3, 8), _sunday(day.year, 11, 1)
    else:
        begins, ends = _sunday(day.year, 4, 1), _sunday(day.year, 10, 25)
    return -4 * 3_600 if begins <= day < ends else -5 * 3_600


def _sunday(year: int, month: int, from_day: int) -> dt.date:
    """Return the first Sunday from a day on."""
    day = dt.date(year, month, from_day)
    return day + dt.timedelta(days=6 - day.weekday())


def ns_of(day: dt.date) -> int:
    """Return ns since the epoch of a day's midnight, UTC."""
    return (day - _EPOCH).days * DAY_NS


def date_of(ts: int) -> dt.date:
    """Return the day of UTC that `ts` falls into."""
    return _EPOCH + dt.timedelta(days=ts // DAY_NS)


ALWAYS_OPEN = AlwaysOpen()
