"""Whether a feed and its features grow: an hour of a synthetic market of 2,000 messages a second, as fast as it goes.

Time is the market's. What the process holds is asked once in a market minute, after a collection.
"""

from __future__ import annotations

import gc
import os
import statistics
from collections.abc import Callable
from typing import NamedTuple

from edgefleet.clock import NS_PER_MS, NS_PER_S
from edgefleet.features import FeatureEngine, FeatureSpec
from edgefleet.params.schema.quality import QualityParams
from edgefleet.venues.binance.feed import BinanceFeed
from edgefleet_services.bench.frames import FrameMaker, from_synthetic
from edgefleet_services.bench.rigs import resident_mb

RATE = 2_000
_MINUTE_S = 60
_START_NS = 1_723_161_253_000 * NS_PER_MS
_TOLD = 10  # market minutes


class Growth(NamedTuple):
    """What was held at the end of each market minute."""

    resident: tuple[float, ...]  # MB
    settled: int  # minutes until every window was full

    @property
    def held_mb(self) -> float:
        """Return what was held once every window was full."""
        return self.resident[self.settled]

    @property
    def slope_mb(self) -> float:
        """Return the growth in MB per market hour from then on, by least squares."""
        later = self.resident[self.settled :]
        return statistics.linear_regression(range(len(later)), later).slope * _MINUTE_S


def grow(minutes: int, settled: int, say: Callable[[str], None]) -> Growth:
    """Return what a feed with its checks and a feature engine hold over so many market minutes."""
    source = from_synthetic()
    maker = FrameMaker(source)
    feed = BinanceFeed("sim", ["BTC/USDT"])
    feed.set_quality(QualityParams())
    engine = FeatureEngine("BTC/USDT@sim", FeatureSpec())
    resident = []
    feed.on_line(_START_NS, source.snapshot, _START_NS)
    for minute in range(minutes):
        for second in range(_MINUTE_S):
            start_ns = _START_NS + (minute * _MINUTE_S + second) * NS_PER_S
            for number, frame in enumerate(maker.take(RATE, start_ns=start_ns, rate=RATE)):
                stamp_ns = start_ns + number * NS_PER_S // RATE
                for out in feed.on_line(stamp_ns, frame, stamp_ns):
                    engine.on_message(out.message)
            engine.values()
        gc.collect()
        resident.append(resident_mb(os.getpid()))
        if (minute + 1) % _TOLD == 0:
            say(f"growth     {minute + 1} of {minutes} market minutes, {resident[-1]:.1f} MB")
    return Growth(tuple(resident), settled)
