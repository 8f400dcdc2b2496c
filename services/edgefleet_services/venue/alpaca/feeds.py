"""Where a stock venue's events come from: a tape at its pace, a synthetic market. Knows nothing of orders."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from edgefleet.clock import NS_PER_S, Clock
from edgefleet.matching.stocks import StockEvent
from edgefleet.matching.synthetic_stocks import SyntheticStocks

from ..feeds import speed_factor
from .market import AlpacaMarket

# A sleep shorter than this costs more than it orders.
_FINEST_SLEEP_NS = 500_000
_SYNTHETIC_STEP_S = 0.05


class MarketTime:
    """A synthetic market's time: wall time, or from a given start on at a given speed."""

    def __init__(self, clock: Clock, start_ns: int | None, speed: str) -> None:
        self._clock = clock
        self._start_ns = start_ns
        self._factor = speed_factor(speed) or 1.0
        self._begun_ns = clock.monotonic_ns()

    def now_ns(self) -> int:
        """Return the market's time, ns since the epoch."""
        if self._start_ns is None:
            return self._clock.wall_ns()
        return self._start_ns + int((self._clock.monotonic_ns() - self._begun_ns) * self._factor)


async def run_tape(market: AlpacaMarket, events: Iterable[StockEvent], clock: Clock) -> None:
    """Serve a tape from the first consumer's arrival to the end; while nobody listens it stands still."""
    factor = speed_factor(market.progress.speed)
    started: tuple[int, int] | None = None
    for event in events:
        if not market.hub.market_consumers():
            started = None
            await market.hub.wait_for_market_consumer()
        if factor is not None:
            if started is None:
                started = (clock.monotonic_ns(), event.ts_ns)
            due = started[0] + int((event.ts_ns - started[1]) / factor)
            wait = due - clock.monotonic_ns()
            if wait > _FINEST_SLEEP_NS:
                await asyncio.sleep(wait / NS_PER_S)
        await market.serve(event, live=False)
        if market.progress.lines_served % 64 == 0:
            # A tape at full speed would otherwise not let a request in before the queue is full.
            await asyncio.sleep(0)
    market.end()


async def advance(market: AlpacaMarket, source: SyntheticStocks, now_ns: int) -> None:
    """Bring a synthetic market up to `now_ns`."""
    for event in source.advance(now_ns):
        await market.serve(event, live=True)
    await market.pass_time(now_ns, live=True)


async def run_synthetic(market: AlpacaMarket, source: SyntheticStocks, time: MarketTime) -> None:
    """Serve a synthetic market as time passes. It never ends."""
    while True:
        await asyncio.sleep(_SYNTHETIC_STEP_S)
        await advance(market, source, time.now_ns())
