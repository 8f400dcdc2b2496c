"""Which bar a moment belongs to. Knows the widths and the market's hours; knows nothing of trades.

Around the clock bars begin at multiples of their width since the epoch, a day being the day of UTC. A stock's bars
begin at the opening bell and end at the closing bell at the latest, a day being the session: so 1 m fit into 5 m, 15 m,
1 h and 1 d on every day, half-days included.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple, Protocol

from edgefleet.book.sessions import DAY_NS, Calendar, calendar_for
from edgefleet.clock import NS_PER_MS
from edgefleet.instruments import AssetClass

MINUTE_MS = 60_000
DAY_MS = 86_400_000
WIDTHS_MS = {"1m": MINUTE_MS, "5m": 5 * MINUTE_MS, "15m": 15 * MINUTE_MS, "1h": 60 * MINUTE_MS, "1d": DAY_MS}


class Span(NamedTuple):
    """One bar's time: `start <= ts < end`, and until when a print may be stamped that still belongs to it."""

    start: int  # ns since the epoch
    end: int
    until: int  # `end`, or later where the prints of a closing auction follow the bell


class Grid(Protocol):
    """The bars of one width."""

    def span(self, ts: int) -> Span | None:
        """Return the bar that a print stamped `ts` belongs to, None outside the market's hours."""
        ...


class ClockGrid:
    """Bars around the clock."""

    def __init__(self, width_ns: int) -> None:
        self.width_ns = width_ns

    def span(self, ts: int) -> Span:
        start = ts - ts % self.width_ns
        end = start + self.width_ns
        return Span(start, end, end)


class SessionGrid:
    """Bars within sessions. Prints up to `auction_ns` after the bell belong to the session's last bar."""

    def __init__(self, width_ns: int, calendar: Calendar, auction_ns: int = 0) -> None:
        self.width_ns = width_ns
        self.calendar = calendar
        self.auction_ns = auction_ns

    def span(self, ts: int) -> Span | None:
        session = self.calendar.session_of(ts)
        if session is None:
            session = self.calendar.session_before(ts)
            if session is None or ts >= session.close + self.auction_ns:
                return None
            ts = session.close - 1
        if self.width_ns >= DAY_NS:
            start, end = session.open, session.close
        else:
            start = ts - (ts - session.open) % self.width_ns
            end = min(start + self.width_ns, session.close)
        return Span(start, end, end + self.auction_ns if end == session.close else end)


@cache
def grid_for(interval_ms: int, asset_class: AssetClass, auction_ms: int = 0) -> Grid:
    """Return the bars of a width for a class of instruments.

    Parameters
    ----------
    auction_ms
        For stocks: how long after the closing bell a print still belongs to the day. The closing auction is reported
        within seconds to minutes of the bell and is the day's largest volume.

    Raises
    ------
    ValueError
        If the width is not positive, or is longer than a day.
    Misuse
        If the class's hours are not known.
    """
    if not 0 < interval_ms <= DAY_MS:
        raise ValueError(f"a bar is longer than nothing and no longer than a day, was {interval_ms} ms")
    if asset_class == "crypto":
        return ClockGrid(interval_ms * NS_PER_MS)
    return SessionGrid(interval_ms * NS_PER_MS, calendar_for(asset_class), auction_ms * NS_PER_MS)
