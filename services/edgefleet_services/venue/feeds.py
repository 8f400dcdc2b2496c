"""Where market lines come from: a tape at its pace, a synthetic market, another venue. Knows nothing of orders."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import structlog
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from edgefleet.clock import NS_PER_S, Clock
from edgefleet.errors import Misuse, OutOfReach
from edgefleet.matching.synthetic import SyntheticMarket
from edgefleet.venues.budget import Budget
from edgefleet.venues.tape import TapeLine, read_tape

from .market import VenueMarket

# A sleep shorter than this costs more than it orders.
_FINEST_SLEEP_NS = 500_000
_SYNTHETIC_STEP_S = 0.05
_FIRST_RETRY_S, _LAST_RETRY_S = 0.5, 30.0
_DEPTH_WEIGHT = 50  # request weight of a whole book

log = structlog.get_logger()


def speed_factor(speed: str) -> float | None:
    """Return how many tape seconds pass in a second of ours, None for as many as consumers can read."""
    if speed == "max":
        return None
    try:
        factor = float(speed)
    except ValueError:
        factor = 0.0
    if not 0 < factor < float("inf"):
        raise Misuse(f"a speed is a positive number or max, was {speed!r}")
    return factor


class Shifted:
    """A clock whose wall time is another's and so much more."""

    def __init__(self, clock: Clock, shift_ns: int) -> None:
        self._clock, self._shift_ns = clock, shift_ns

    def wall_ns(self) -> int:
        """Return nanoseconds since the epoch."""
        return self._clock.wall_ns() + self._shift_ns

    def monotonic_ns(self) -> int:
        """Return nanoseconds since some moment."""
        return self._clock.monotonic_ns()


async def run_tape(market: VenueMarket, files: Sequence[Path], clock: Clock, start_ns: int | None = None) -> None:
    """Serve the lines of `files` from the first consumer's arrival to the end; while nobody listens it stands still.

    With `start_ns` its time begins there, before its first line: tapes of several venues then run side by side.
    """
    factor = speed_factor(market.progress.speed)
    started: tuple[int, int] | None = None
    for line in read_tape(files):
        if not market.hub.market_consumers():
            started = None
            await market.hub.wait_for_market_consumer()
        if factor is not None:
            if started is None:
                started = (clock.monotonic_ns(), line.stamp_ns if start_ns is None else start_ns)
                start_ns = None  # where it stood still it goes on from where it was
            due = started[0] + int((line.stamp_ns - started[1]) / factor)
            wait = due - clock.monotonic_ns()
            if wait > _FINEST_SLEEP_NS:
                await asyncio.sleep(wait / NS_PER_S)
        await market.serve_line(line, live=False)
        if market.progress.lines_served % 64 == 0:
            # A tape at full speed would otherwise not let a request in before the queue is full.
            await asyncio.sleep(0)
    market.end()


async def open_synthetic(market: VenueMarket, source: SyntheticMarket, clock: Clock) -> None:
    """Bring a synthetic market up to now: its books are in, and what it did until now is history."""
    for symbol, body in source.snapshots().items():
        market.load_book(symbol, body)
    await _advance(market, source, clock)


async def run_synthetic(market: VenueMarket, source: SyntheticMarket, clock: Clock) -> None:
    """Serve a synthetic market as time passes. It never ends."""
    while True:
        await asyncio.sleep(_SYNTHETIC_STEP_S)
        await _advance(market, source, clock)


async def _advance(market: VenueMarket, source: SyntheticMarket, clock: Clock) -> None:
    for stamp_ns, body in source.advance(clock.wall_ns()):
        await market.serve_line(TapeLine(stamp_ns, body), live=True)


async def run_relay(market: VenueMarket, ws_url: str, rest_url: str, clock: Clock) -> None:
    """Serve another Binance-compatible venue's market data whenever somebody listens, until its tape ends if it is one.

    Frames are held back until each symbol's REST book is in. A failure of the upstream is told in the status and to the
    consumers (close code 1011), never papered over, and the upstream is tried again, later each time, for the next one.
    """
    pause_s = _FIRST_RETRY_S
    budget = Budget(clock)
    while True:
        await market.hub.wait_for_market_consumer()
        served = market.progress.lines_served
        try:
            await _relay(market, ws_url, rest_url, clock, budget)
        except OutOfReach as error:
            log.warning("upstream_lost", error=str(error), retry_s=pause_s)
            market.fail(str(error))
        else:
            market.end()
            return
        pause_s = _FIRST_RETRY_S if market.progress.lines_served > served else min(2 * pause_s, _LAST_RETRY_S)
        # What a venue that refuses for load asks is asked of the address, so whoever comes next must wait as well.
        await asyncio.sleep(max(pause_s, budget.wait_s("question", _DEPTH_WEIGHT)))


async def _relay(market: VenueMarket, ws_url: str, rest_url: str, clock: Clock, budget: Budget) -> None:
    """Serve one upstream connection to its orderly end, or raise `OutOfReach`."""
    names = [symbol.lower() for symbol in market.exchange.rules]
    streams = "/".join(f"{name}@{kind}" for name in names for kind in ("trade", "bookTicker", "depth@100ms"))
    url = f"{ws_url.rstrip('/')}/stream?streams={streams}"
    try:
        async with connect(url, compression=None, max_queue=4_096) as socket, httpx.AsyncClient(timeout=10) as client:
            for symbol in market.exchange.rules:
                market.load_book(symbol, await _book(client, rest_url, symbol, budget))
            market.progress.failure = None
            async for frame in socket:
                body = frame.encode() if isinstance(frame, str) else frame
                await market.serve_line(TapeLine(clock.wall_ns(), body), live=True)
    except (OSError, WebSocketException, httpx.HTTPError) as error:
        raise OutOfReach(f"upstream venue {ws_url}: {type(error).__name__}: {error}") from error
    if socket.close_code != 1000:
        raise OutOfReach(f"upstream venue {ws_url} closed the connection: {socket.close_code} {socket.close_reason}")


async def _book(client: httpx.AsyncClient, rest_url: str, symbol: str, budget: Budget) -> bytes:
    """Return the upstream's whole book, the budget being told of request and answer."""
    told: Mapping[str, str] = {}
    budget.leaves("question", _DEPTH_WEIGHT)
    try:
        answer = await client.get(f"{rest_url.rstrip('/')}/depth", params={"symbol": symbol, "limit": 1_000})
        told = answer.headers
    finally:
        budget.returns("question", _DEPTH_WEIGHT, told)
    if answer.status_code in (418, 429):
        budget.refused(answer.status_code, None, told)
    answer.raise_for_status()
    return answer.content
