"""A simulated stock venue with alpaca-py's own clients against it, and New York's hours from exchange-calendars."""

from __future__ import annotations

import asyncio
import importlib
import threading
import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from edgefleet.clock import NS_PER_S
from edgefleet_services.options import DEMO_KEY, DEMO_SECRET
from edgefleet_services.venue.alpaca.venue import AlpacaVenue
from edgefleet_services.venue.service import VenueOptions

from .alpaca_client import StockDataStream, StockHistoricalDataClient, TradingClient, TradingStream
from .venue_server import PATIENCE_S, RunningVenue, eventually, running


@dataclass(frozen=True)
class Day:
    """One session, as the calendar in use has it."""

    date: date
    open: int
    close: int


class NewYork:
    """`Sessions` out of exchange-calendars: another's table, and the truth of these tests."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            # exchange-calendars 4.13 reads its own columns in a way that pandas 3.1 warns of.
            warnings.simplefilter("ignore")
            calendars: Any = importlib.import_module("exchange_calendars")
            schedule = calendars.get_calendar("XNYS", start="2017-06-01", end="2026-12-31").schedule
            self._days = [
                Day(d.date(), int(o.value), int(c.value)) for d, o, c in schedule[["open", "close"]].itertuples()
            ]
        self._opens = [day.open for day in self._days]

    def session_of(self, ts: int, /) -> Day | None:
        begun = bisect_right(self._opens, ts)
        return self._days[begun - 1] if begun and ts < self._days[begun - 1].close else None

    def session_before(self, ts: int, /) -> Day | None:
        begun = bisect_right(self._opens, ts)
        return next((day for day in reversed(self._days[max(begun - 2, 0) : begun]) if day.close <= ts), None)

    def next_open(self, ts: int, /) -> int:
        return ts if self.session_of(ts) is not None else self._opens[bisect_left(self._opens, ts)]


@cache
def new_york() -> NewYork:
    """Return the calendar, read once: it takes a second."""
    return NewYork()


def at(moment: str) -> int:
    """Return the stamp of a New York wall time, `2024-11-29 09:30`."""
    return int(datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo("America/New_York")).timestamp()) * NS_PER_S


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
