"""Every kind of bar of every instrument, made from the prints as they come. Knows messages; no stream and no clock.

A kind is named by its width (`1m` `5m` `15m` `1h` `1d`) or by what fills it (`volume`, `dollar`). Market time is the
prints' own stamps. Where none come, a beat closes what is complete: a beat is stamped by our clock and not by the
venue's, so it counts for no more than what the newest print came late, and a slack besides.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

import msgspec

from edgefleet.book.grid import WIDTHS_MS, grid_for
from edgefleet.book.trade_bars import SizeBars, TimeBars
from edgefleet.clock import NS_PER_S
from edgefleet.errors import Misuse
from edgefleet.instruments import AssetClass
from edgefleet.messages.market import Bar, Beat, Trade

_SLACK_NS = 5 * NS_PER_S  # how much later than the newest print another one may come and still find its bar open

Kinds = dict[str, Bar]  # a bar by its kind


class BarPlan(NamedTuple):
    """Which bars are made of an instrument's prints, and how."""

    asset_class: AssetClass = "crypto"
    widths: tuple[str, ...] = tuple(WIDTHS_MS)
    grace_ms: int = 1_000
    auction_ms: int = 0
    sizes: Mapping[str, Decimal] = {}  # by kind, `volume` in base and `dollar` in quote units


class InstrumentBars(msgspec.Struct):
    """One instrument's open bars, and the newest finished one of each kind. Changed in place."""

    time: dict[str, TimeBars] = {}
    size: dict[str, SizeBars] = {}
    newest: Kinds = {}
    beat_ts: int | None = None  # the stamp of its venue's last beat
    behind_ns: int | None = None  # how far behind that the newest print was; None: no print has come after a beat
    without_hours: int = 0  # prints that fell into no bar of time because no table has their day

    def plan(self, instrument: str, plan: BarPlan) -> None:
        """Make these bars from now on. What goes on keeps its open bar; a size that changed ends it where it is due."""
        kept, self.time = self.time, {}
        for width in plan.widths:
            bars = kept.get(width) or TimeBars(instrument, WIDTHS_MS[width])
            bars.asset_class, bars.grace_ms, bars.auction_ms = plan.asset_class, plan.grace_ms, plan.auction_ms
            self.time[width] = bars
        sizes, self.size = self.size, {}
        for kind, threshold in plan.sizes.items():
            fresh = SizeBars(instrument, "volume" if kind == "volume" else "dollar", threshold)
            fresh.bucket = sizes[kind].bucket if kind in sizes else None
            self.size[kind] = fresh
        self.newest = {kind: bar for kind, bar in self.newest.items() if kind in self.time or kind in self.size}

    def add(self, trade: Trade) -> list[tuple[str, Bar]]:
        """Take a print and return the bars that it closed, with their kinds."""
        if self.beat_ts is not None:
            self.behind_ns = max(0, self.beat_ts - trade.ts_event)
        closed = [(kind, bar) for kind, bars in self.size.items() if (bar := bars.add(trade)) is not None]
        try:
            closed += [(kind, bar) for kind, bars in self.time.items() for bar in bars.add(trade)]
        except Misuse:  # a day that no table of sessions has
            self.without_hours += 1
        return self._closed(closed)

    def advance(self, beat_ts: int) -> list[tuple[str, Bar]]:
        """Let a beat of the venue pass and return the bars that are complete by then."""
        self.beat_ts = beat_ts
        if self.behind_ns is None:
            return []
        ts = beat_ts - self.behind_ns - _SLACK_NS
        return self._closed([(kind, bar) for kind, bars in self.time.items() for bar in bars.advance(ts)])

    def _closed(self, bars: list[tuple[str, Bar]]) -> list[tuple[str, Bar]]:
        if bars:
            self.newest.update(bars)
        return bars


class BarKinds:
    """The bars of all instruments. `memory` is all that it knows: one that is made with it goes on where it was.

    A print that is too late, or comes while the market is closed, falls into no bar of time: `left_out` counts them.
    """

    def __init__(self, memory: dict[str, InstrumentBars] | None = None) -> None:
        self.memory = {} if memory is None else memory
        self._plans: dict[str, BarPlan] = {}

    def plan(self, instrument: str, plan: BarPlan) -> None:
        """Say which bars of an instrument are made; before its first print, or there are none."""
        self._plans[instrument] = _known_hours(plan)
        self.memory.setdefault(instrument, InstrumentBars()).plan(instrument, self._plans[instrument])

    def is_planned(self, instrument: str) -> bool:
        """Return whether it is said which bars of an instrument are made."""
        return instrument in self._plans

    def take(self, message: Trade | Beat) -> list[Bar]:
        """Take a print or a beat and return the bars that it closed, of each kind oldest first."""
        if isinstance(message, Beat):
            return self._pass(message)
        return [bar for _, bar in self.memory[message.instrument].add(message)]

    def _pass(self, beat: Beat) -> list[Bar]:
        known = [self.memory.get(touch.instrument) for touch in beat.touches]
        return [bar for bars in known if bars is not None for _, bar in bars.advance(beat.ts_event)]

    def left_out(self) -> dict[str, int]:
        """Return how many prints ever fell into no bar of time, by reason; of all widths they are the same."""
        counts = {"late": 0, "outside": 0, "without_hours": 0}
        for bars in self.memory.values():
            counts["late"] += max([each.late for each in bars.time.values()], default=0)
            counts["outside"] += max([each.outside for each in bars.time.values()], default=0)
            counts["without_hours"] += bars.without_hours
        return counts


def _known_hours(plan: BarPlan) -> BarPlan:
    """Return the plan without bars of time where the class's hours are not known."""
    try:
        for width in plan.widths:
            grid_for(WIDTHS_MS[width], plan.asset_class, plan.auction_ms)
    except Misuse:
        return plan._replace(widths=())
    return plan
