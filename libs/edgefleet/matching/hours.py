"""When a stock market may trade: the phases of its day. Knows no holidays; those come from the calendar it is given.

Regular hours are the calendar's. Before them comes the pre-market (from 04:00 Eastern) and after them the post-market
(four hours, so until 20:00, and until 17:00 on a half-day), as Alpaca has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Protocol

from edgefleet.clock import NS_PER_S
from edgefleet.errors import Misuse

_HOUR_NS = 3_600 * NS_PER_S
PRE_NS = 11 * _HOUR_NS // 2  # 04:00 to 09:30
POST_NS = 4 * _HOUR_NS
AFTER_OPEN_NS = 180 * NS_PER_S  # so that the past that is asked for at once lies in the session


class Session(Protocol):
    """The regular hours of one day: `open <= ts < close`, ns since the epoch."""

    @property
    def date(self) -> date: ...
    @property
    def open(self) -> int: ...
    @property
    def close(self) -> int: ...


class Sessions(Protocol):
    """The regular hours of an exchange, as its calendar has them."""

    def session_of(self, ts: int, /) -> Session | None:
        """Return the session that `ts` lies in, None where the market is closed."""
        ...

    def session_before(self, ts: int, /) -> Session | None:
        """Return the last session that has closed by `ts`, None before the first."""
        ...

    def next_open(self, ts: int, /) -> int:
        """Return the first moment from `ts` on at which the market is open: `ts` itself in a session."""
        ...


class Phase(StrEnum):
    """What part of a trading day it is."""

    CLOSED = "closed"
    PRE = "pre"
    REGULAR = "regular"
    POST = "post"


EXTENDED = frozenset({Phase.PRE, Phase.POST})


@dataclass(frozen=True, slots=True)
class Moment:
    """A phase and how long it lasts: from `since_ns` on, before `until_ns`. `close_ns` is of its own session or,
    where the market is closed, of the next one."""

    phase: Phase
    since_ns: int
    until_ns: int
    close_ns: int


class Hours:
    """The phases of a calendar. Remembers the last one, for most stamps lie in it."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self._last = Moment(Phase.CLOSED, 0, 0, 0)

    def at(self, ts_ns: int) -> Moment:
        """Return the phase at `ts_ns`."""
        if not self._last.since_ns <= ts_ns < self._last.until_ns:
            self._last = self._find(ts_ns)
        return self._last

    def next_open(self, ts_ns: int) -> int:
        """Return the first regular open after `ts_ns`."""
        running = self.sessions.session_of(ts_ns)
        return self.sessions.next_open(ts_ns if running is None else running.close)

    def next_close(self, ts_ns: int) -> int:
        """Return the first regular close after `ts_ns`."""
        running = self.sessions.session_of(ts_ns)
        return running.close if running is not None else self._session_at(self.next_open(ts_ns)).close

    def day_end(self, ts_ns: int, *, extended: bool) -> int:
        """Return when an order of the day, sent at `ts_ns`, ends: with the regular hours it can still trade in, or with
        the post-market after them where it may trade in that."""
        moment = self.at(ts_ns)
        if moment.phase is Phase.POST and not extended:
            return self.next_close(ts_ns)
        return moment.close_ns + (POST_NS if extended else 0)

    def between(self, start_ns: int, end_ns: int) -> list[Session]:
        """Return the sessions that open in [`start_ns`, `end_ns`)."""
        found: list[Session] = []
        opens = self.next_open(start_ns - 1)
        while opens < end_ns:
            found.append(self._session_at(opens))
            opens = self.next_open(opens)
        return found

    def _find(self, ts_ns: int) -> Moment:
        running = self.sessions.session_of(ts_ns)
        if running is not None:
            return Moment(Phase.REGULAR, running.open, running.close, running.close)
        before = self.sessions.session_before(ts_ns)
        if before is not None and ts_ns < before.close + POST_NS:
            return Moment(Phase.POST, before.close, before.close + POST_NS, before.close)
        opens = self.next_open(ts_ns)
        close = self._session_at(opens).close
        if ts_ns >= opens - PRE_NS:
            return Moment(Phase.PRE, opens - PRE_NS, opens, close)
        return Moment(Phase.CLOSED, ts_ns, opens - PRE_NS, close)

    def _session_at(self, opens_ns: int) -> Session:
        session = self.sessions.session_of(opens_ns)
        if session is None:
            raise Misuse(f"the calendar opens at {opens_ns} and has no session there")
        return session


def eastern(ts_ns: int) -> datetime:
    """Return the wall clock of New York at `ts_ns`, as a naive datetime with its microseconds. From 1987 on."""
    utc = datetime.fromtimestamp(ts_ns // NS_PER_S, UTC).replace(tzinfo=None, microsecond=ts_ns % NS_PER_S // 1_000)
    return utc - timedelta(hours=eastern_offset_hours(utc))


def eastern_offset_hours(utc: datetime) -> int:
    """Return by how many hours New York is behind UTC: 4 in summer, 5 in winter.

    Clocks change at 02:00: since 2007 on the second Sunday of March and the first of November (Energy Policy Act of
    2005), from 1987 to 2006 on the first Sunday of April and the last of October.
    """
    begins, ends = (_sunday(utc.year, 3, 8), _sunday(utc.year, 11, 1))
    if utc.year < 2007:
        begins, ends = (_sunday(utc.year, 4, 1), _sunday(utc.year, 10, 25))
    return 4 if begins + timedelta(hours=7) <= utc < ends + timedelta(hours=6) else 5


def from_eastern(local: datetime) -> int:
    """Return the stamp in ns of a naive wall clock time of New York; of two in the hour that repeats, the earlier."""
    for hours in (4, 5):
        utc = local + timedelta(hours=hours)
        if eastern_offset_hours(utc) == hours:
            break
    return int(utc.replace(tzinfo=UTC).timestamp()) * NS_PER_S + utc.microsecond * 1_000


def _sunday(year: int, month: int, from_day: int) -> datetime:
    """Return the midnight of the first Sunday from a day on."""
    first = datetime(year, month, from_day)  # noqa: DTZ001 - a day, in whatever zone its hours are added in
    return first + timedelta(days=(6 - first.weekday()) % 7)


def open_moment(hours: Hours, wall_ns: int) -> int | None:
    """Return where a synthetic market's time begins when nobody said: None is the wall clock's, while the market is
    open by it; else a moment after the last open, so that a demonstration at night has a market."""
    if hours.at(wall_ns).phase is Phase.REGULAR:
        return None
    last = hours.sessions.session_before(wall_ns)
    return None if last is None else last.open + AFTER_OPEN_NS
