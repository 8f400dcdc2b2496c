"""A simulated stock venue with alpaca-py's own clients against it, and New York's hours from exchange-calendars."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import Any

import exchange_calendars
import pandas as pd

from edgefleet_services.options import DEMO_KEY, DEMO_SECRET
from edgefleet_services.venue.alpaca.venue import AlpacaVenue
from edgefleet_services.venue.service import VenueOptions

from .venue_server import PATIENCE_S, RunningVenue, eventually, running

with warnings.catch_warnings():
    # alpaca-py 0.44 still speaks through websockets' legacy client, which says so when it is imported.
    warnings.simplefilter("ignore", DeprecationWarning)
    from alpaca.data.historical import StockHistoricalDataClient
    from alpaca.data.live import StockDataStream
    from alpaca.trading.client import TradingClient
    from alpaca.trading.stream import TradingStream


@dataclass(frozen=True)
class Day:
    """One session, as the calendar in use has it."""

    date: date
    open: int
    close: int


class NewYork:
    """`Sessions` out of exchange-calendars: another's table, and the truth of these tests."""

    def __init__(self) -> None:
        self._calendar = exchange_calendars.get_calendar("XNYS", start="2017-06-01", end="2026-12-31")

    def session_of(self, ts: int, /) -> Day | None:
        minute = pd.Timestamp(ts, tz="UTC")
        if not self._calendar.is_open_at_time(minute, side="left", ignore_breaks=True):
            return None
        return self._day(self._calendar.minute_to_session(minute.floor("min")))

    def session_before(self, ts: int, /) -> Day | None:
        closed = self._calendar.previous_close(pd.Timestamp(ts + 1, tz="UTC"))
        return self._day(self._calendar.minute_to_session(closed - pd.Timedelta("1min")))

    def next_open(self, ts: int, /) -> int:
        if self.session_of(ts) is not None:
            return ts
        return int(self._calendar.next_open(pd.Timestamp(ts - 1, tz="UTC")).value)

    def _day(self, session: Any) -> Day:
        opens, closes = self._calendar.session_open(session), self._calendar.session_close(session)
        return Day(session.date(), int(opens.value), int(closes.value))


@cache
def new_york() -> NewYork:
    """Return the calendar, read once: it takes a second."""
    return NewYork()


def at(moment: str) -> int:
    """Return the stamp of a New York wall time, `2024-11-29 09:30`."""
    return int(pd.Timestamp(moment, tz="America/New_York").value)


@dataclass
class Clients:
    """alpaca-py's clients of one running venue."""

    venue: RunningVenue
    trading: Any = None
    data: Any = None
    streams: list[tuple[Any, threading.Thread]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.venue.port}"

    def updates(self, handler: Callable[[Any], None]) -> Any:
        """Return a `TradingStream` that hands every update to `handler`, once it listens."""
        stream = TradingStream(DEMO_KEY, DEMO_SECRET, url_override=f"{self.venue.ws}/stream")

        async def on_update(update: Any) -> None:
            handler(update)

        stream.subscribe_trade_updates(on_update)
        return self._run(stream)

    def market(self, subscribe: Callable[[Any], None], feed: str = "iex") -> Any:
        """Return a `StockDataStream` with what `subscribe` asked of it, once it is connected."""
        stream = StockDataStream(DEMO_KEY, DEMO_SECRET, url_override=f"{self.venue.ws}/v2/{feed}")
        subscribe(stream)
        return self._run(stream)

    def _run(self, stream: Any) -> Any:
        thread = threading.Thread(target=stream.run, name=type(stream).__name__, daemon=True)
        thread.start()
        self.streams.append((stream, thread))
        eventually(lambda: stream._running, f"{type(stream).__name__} running")
        return stream

    def stop(self) -> None:
        """Stop the streams by their own `stop`. One that hears nothing looks for it every five seconds alone, so its
        connection is closed as well."""
        for stream, thread in self.streams:
            if not thread.is_alive():
                continue
            stream.stop()
            asyncio.run_coroutine_threadsafe(stream.close(), stream._loop)
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), f"{type(stream).__name__} did not stop"


@contextmanager
def alpaca(options: VenueOptions) -> Iterator[Clients]:
    """Serve a stock venue and give alpaca-py's clients of it."""
    with running(options, lambda given, clock: AlpacaVenue(given, clock, new_york())) as venue:
        clients = Clients(venue)
        clients.trading = TradingClient(DEMO_KEY, DEMO_SECRET, url_override=clients.url)
        clients.data = StockHistoricalDataClient(DEMO_KEY, DEMO_SECRET, url_override=clients.url)
        try:
            yield clients
        finally:
            clients.stop()
            clients.trading._session.close()
            clients.data._session.close()
