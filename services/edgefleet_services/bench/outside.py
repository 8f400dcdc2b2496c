"""The venue that a benchmark trades on, as a process of its own that is not counted: our simulated one, fed at a rate.

It speaks the simulated venue's REST and WebSocket. Frames are made before a run begins and are sent when they are due;
between runs a trickle keeps the market from looking dead. It also takes the floor's bare POST.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import msgspec
import uvloop
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgefleet.clock import NS_PER_MS, NS_PER_S, Clock
from edgefleet.instruments import canonical_symbol
from edgefleet.units import ZERO
from edgefleet.venues.tape import TapeLine
from edgefleet_services.bench.frames import FrameMaker, Source, from_synthetic, from_tape
from edgefleet_services.venue.service import Venue, VenueOptions, serve

TRICKLE_PER_S = 5.0
_LEAD_NS = 100 * NS_PER_MS  # between the answer to a run's request and its first frame
_FINEST_SLEEP_NS = 300_000


class RunRequest(msgspec.Struct, frozen=True):
    """So many frames at so many a second."""

    count: int
    rate: float


class FeedStatus(msgspec.Struct, frozen=True):
    """How far the feed is."""

    busy: bool
    due: int  # frames of this run that should be out by now
    sent: int  # frames of this run that are out
    made: int  # events ever sent, the trickle's included
    flips: int  # orders ever asked for
    late_ms: float  # how late the latest frame of this run left
    source: str
    mix: dict[str, float]


class Feeder:
    """Sends a market's frames when they are due."""

    def __init__(self, venue: Venue, maker: FrameMaker, clock: Clock) -> None:
        self._venue = venue
        self._maker = maker
        self._clock = clock
        self._asked: asyncio.Queue[RunRequest] = asyncio.Queue()
        self._run: RunRequest | None = None
        self._started_ns = 0
        self._sent = 0
        self._late_ns = 0
        self._mix = maker.source.mix

    def ask(self, run: RunRequest) -> None:
        """Begin a run as soon as the one before is over."""
        self._asked.put_nowait(run)

    def status(self) -> FeedStatus:
        """Return how far the feed is."""
        due = 0
        if self._run is not None:
            passed = max(0, self._clock.wall_ns() - self._started_ns)
            due = min(self._run.count, int(passed * self._run.rate / NS_PER_S))
        busy = self._run is not None or not self._asked.empty()
        late_ms, maker = self._late_ns / NS_PER_MS, self._maker
        return FeedStatus(busy, due, self._sent, maker.made, maker.flips, late_ms, maker.source.told, self._mix)

    async def feed(self) -> None:
        """Serve runs, and the trickle between them, for ever."""
        while True:
            try:
                async with asyncio.timeout(1 / TRICKLE_PER_S):
                    run = await self._asked.get()
            except TimeoutError:
                if self._venue.market.hub.market_consumers():
                    await self._send(self._maker.take(1, start_ns=self._clock.wall_ns(), rate=1.0)[0])
                continue
            self._run, self._sent, self._late_ns = run, 0, 0
            self._started_ns = self._clock.wall_ns() + _LEAD_NS + run.count * 2_000  # making takes about 1 us a frame
            await self._serve(run, self._maker.take(run.count, start_ns=self._started_ns, rate=run.rate))
            self._run = None

    async def _serve(self, run: RunRequest, frames: list[bytes]) -> None:
        clock, gap_ns, started = self._clock, NS_PER_S / run.rate, self._started_ns
        for number, frame in enumerate(frames):
            due = started + int(number * gap_ns)
            wait = due - clock.wall_ns()
            if wait > _FINEST_SLEEP_NS:
                await asyncio.sleep(wait / NS_PER_S)
            elif number % 32 == 0:
                await asyncio.sleep(0)
            self._late_ns = max(self._late_ns, -wait)
            await self._send(frame)
            self._sent = number + 1

    async def _send(self, frame: bytes) -> None:
        await self._venue.market.serve_line(TapeLine(self._clock.wall_ns(), frame), live=True)


class BenchVenue(Venue):
    """A simulated venue whose market is a `Feeder`."""

    def __init__(self, options: VenueOptions, clock: Clock, source: Source) -> None:
        super().__init__(options, clock)
        self.feeder = Feeder(self, FrameMaker(source), clock)
        self._snapshot = source.snapshot
        self.app.router.routes += [
            Route("/bench/run", self._run, methods=["POST"]),
            Route("/bench/status", self._status),
            Route("/bench/order", self._order, methods=["POST"]),
        ]

    async def open(self) -> None:
        self.market.load_book(next(iter(self.exchange.rules)), self._snapshot)

    async def run_market(self) -> None:
        await self.feeder.feed()

    async def _run(self, request: Request) -> Response:
        self.feeder.ask(msgspec.json.decode(await request.body(), type=RunRequest))
        return Response(status_code=202)

    async def _status(self, request: Request) -> Response:
        return Response(msgspec.json.encode(self.feeder.status()), media_type="application/json")

    async def _order(self, request: Request) -> Response:
        return Response(b"{}", media_type="application/json")


async def _serve(symbol: str, tape: tuple[Path, ...], port_file: Path) -> None:
    # Called a relay because its frames are what another wrote and its consumers see a live market, not a tape.
    options = VenueOptions(market="relay", symbols=(symbol,), port=0, upstream_ws="-", upstream_rest="-",
        maker_fee=ZERO, taker_fee=ZERO)  # fmt: skip
    source = from_tape(tape, symbol.replace("/", "")) if tape else from_synthetic(symbol)

    def ready(port: int) -> None:
        draft = port_file.with_suffix(".draft")
        draft.write_text(str(port))
        draft.replace(port_file)

    await serve(options, ready=ready, make=lambda given, clock: BenchVenue(given, clock, source))


def main() -> None:
    """Run until told to stop; the port is written to a file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--symbol", default="BTC/USDT")
    parser.add_argument("--tape", type=Path, action="append", default=[])
    parser.add_argument("--port-file", type=Path, required=True)
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(canonical_symbol(given.symbol), tuple(given.tape), given.port_file))


if __name__ == "__main__":
    main()
