"""The beats of every traded venue, and the hold on the fleet while a feed that it trades by is silent.

One for all gateways of a process: the hold has one hand, so that a feed which speaks again does not let go of what is
held for another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from edgefleet.book.sessions import ALWAYS_OPEN, Calendar
from edgefleet.bus.interface import Bus, Entry, id_key
from edgefleet.clock import NS_PER_MS, NS_PER_S, Clock
from edgefleet.errors import Transient
from edgefleet.gateway.feeds import FeedWatch
from edgefleet.gateway.inquiry import Log
from edgefleet.messages import FEEDS, Beat, decode
from edgefleet.params.schema import ExecutionParams

FEED_POLL_S: Final = 0.25
BEATS_PAGE: Final = 256
RECENT_BEATS_MS: Final = 1_500  # of the stream's own clock: what came just before us counts


class Member(NamedTuple):
    """What a gateway wants to hear of its venue's feeds."""

    beat: Callable[[int], None]  # a beat came, so many ms ago
    bus_trouble: Callable[[str], None]
    alert: Callable[[str, str], None]


class FeedHold:
    """The feeds that the accounts of this process trade by."""

    def __init__(
        self,
        bus: Bus,
        params: Callable[[], ExecutionParams],
        clock: Clock,
        log: Log,
        calendar: Callable[[str], Calendar] = lambda instrument: ALWAYS_OPEN,
    ) -> None:
        self._bus, self._params, self._clock, self._log = bus, params, clock, log
        self._calendar = calendar  # an instrument's hours
        self._members: dict[str, Member] = {}  # by venue
        self._watches: dict[str, FeedWatch] = {}
        self._beat_ns: dict[str, int] = {}  # by venue, monotonic: when its newest beat came
        self._beats_at: str | None = None  # how far `beats` was looked at; None: from what came just before us
        self._looking = asyncio.Lock()
        self._told: set[str] = set()  # venues that people were told of

    def join(self, venue: str, member: Member) -> None:
        """Take a venue in."""
        self._members[venue] = member
        self._watches[venue] = FeedWatch(venue, self._calendar)

    def begin_anew(self) -> None:
        """Look at `beats` from what came just now, after a Redis that was away."""
        self._beats_at = None

    async def run(self) -> None:
        """Note the beats, and hold the fleet in REDUCING while a feed it trades by is silent; let go of no other hold.

        Beats stand among the touches of every instrument, so they are looked at now and then and not awaited.
        """
        held: bool | None = None
        while True:
            await self.look()
            silent = self._silent()
            try:
                if held is None:
                    now = await self._bus.trading_state()
                    held = now is not None and now.by == FEEDS  # of an earlier life
                if silent and not held:
                    held = await self._hold("REDUCING", "; ".join(silent.values()))
                elif not silent and held and all(watch.is_back for watch in self._watches.values()):
                    await self._hold("ACTIVE", "every feed speaks again")
                    held = False
                self._alert_once(silent, held=held)
            except Transient as error:
                self._log.warning("feed_hold_not_told", reason=str(error))  # tried again with the next look
            await asyncio.sleep(FEED_POLL_S)

    def _alert_once(self, silent: Mapping[str, str], *, held: bool) -> None:
        """Tell people of each venue whose feeds have fallen silent, once in the life of a hold."""
        if not held:
            self._told.clear()
            return
        for venue in sorted(silent.keys() - self._told):
            self._members[venue].alert("feed_silent", silent[venue])
        self._told |= silent.keys()

    async def look(self) -> None:
        """Note the beats that came since the last look; nothing where Redis does not answer, for they grow old then."""
        try:
            async with self._looking:
                if self._beats_at is None:
                    newest_ms = id_key(await self._bus.last_id("beats"))[0]
                    self._beats_at = f"{max(newest_ms - RECENT_BEATS_MS, 0)}-0"
                more = True
                while more and self._beats_at is not None:
                    read = await self._bus.read({"beats": self._beats_at}, count=BEATS_PAGE, block_ms=0)
                    entries = read.get("beats", [])
                    if entries:
                        self._beats_at = entries[-1].id
                    self._take([entry for entry in entries if entry.type == "beat.v1"])
                    more = len(entries) == BEATS_PAGE
        except Transient as error:
            for member in self._members.values():
                member.bus_trouble(str(error))

    def _take(self, entries: Sequence[Entry]) -> None:
        deadline_ms = self._params().feed_deadline_ms
        for entry in entries:
            beat = decode(entry.type, entry.data)
            assert isinstance(beat, Beat)
            member = self._members.get(beat.venue)
            if member is not None:
                age_ms = max(self._clock.wall_ns() // NS_PER_MS - id_key(entry.id)[0], 0)
                member.beat(age_ms)
                at = self._clock.monotonic_ns() - age_ms * NS_PER_MS
                if at - max(self._beat_ns.values(), default=at) > deadline_ms * NS_PER_MS:
                    self._beat_ns.clear()  # none had beaten: nobody is silent beside others for that
                self._beat_ns[beat.venue] = at
                for other in self._members:  # whoever has not beaten yet has its deadline from the first beat of any
                    self._beat_ns.setdefault(other, at)
                self._watches[beat.venue].take(beat, deadline_ms)

    def _silent(self) -> dict[str, str]:
        """Return, by venue, which feeds have said nothing for longer than their deadline.

        A venue that has a time of its own does not beat when it is dead: beside one that goes on, that is silence too.
        """
        deadline_ms = self._params().feed_deadline_ms
        found = {venue: watch.silent(deadline_ms) for venue, watch in self._watches.items()}
        newest = max(self._beat_ns.values(), default=0)
        for venue, at in self._beat_ns.items():
            if newest - at > deadline_ms * NS_PER_MS:
                self._watches[venue].begin_anew()
                found[venue] = f"{venue} has not beaten for {(newest - at) / NS_PER_S:.1f} s, while others have"
        return {venue: text for venue, text in found.items() if text is not None}

    async def _hold(self, state: Literal["REDUCING", "ACTIVE"], reason: str) -> bool:
        """Ask the latch, and return whether it is now as asked, by our hand."""
        now = await self._bus.latch(state, reason=reason, by=FEEDS, person=False, ts=self._clock.wall_ns())
        if now.state == state and now.by == FEEDS:
            self._log.warning("feeds_hold", state=state, reason=reason)
        return now.state == state and now.by == FEEDS
