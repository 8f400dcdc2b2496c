"""Whether the feeds that an account trades by still speak. Knows beats, no bus and no venue."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from edgefleet.book.sessions import ALWAYS_OPEN, Calendar, silence
from edgefleet.clock import NS_PER_MS
from edgefleet.messages import Beat, TouchAge

FRESH_BEATS = 3  # in a row, before a silent feed is believed to be back


class _Silence(msgspec.Struct):
    """One instrument's feed."""

    age_ms: int | None = None
    unheard_since: int | None = None  # ns of the first beat in which nothing had come yet
    fresh: int = 0  # beats in a row whose age was within the deadline


class FeedWatch:
    """The feeds of one venue, told by its beats.

    `calendar` gives an instrument's hours: a closed market is not silent.
    """

    def __init__(self, venue: str, calendar: Callable[[str], Calendar] = lambda instrument: ALWAYS_OPEN) -> None:
        self._venue = venue
        self._calendar = calendar
        self._feeds: dict[str, _Silence] = {}

    def take(self, beat: Beat, deadline_ms: int) -> None:
        """Note how old each feed is; beats of other venues say nothing of what is traded here."""
        if beat.venue != self._venue:
            return
        for name in self._feeds.keys() - {touch.instrument for touch in beat.touches}:
            del self._feeds[name]
        for touch in beat.touches:
            feed = self._feeds.setdefault(touch.instrument, _Silence())
            age_ns = _age_ms(feed, touch, beat.ts_event) * NS_PER_MS
            feed.age_ms = (silence(age_ns, self._calendar(touch.instrument), beat.ts_event) or 0) // NS_PER_MS
            feed.fresh = feed.fresh + 1 if feed.age_ms <= deadline_ms else 0

    def begin_anew(self) -> None:
        """Believe no beat of before: the venue was away."""
        for feed in self._feeds.values():
            feed.fresh = 0

    def silent(self, deadline_ms: int) -> str | None:
        """Return which feeds have said nothing for longer than the deadline, None where all have spoken."""
        found = [
            f"{instrument} said nothing for {feed.age_ms / 1_000:.1f} s"
            for instrument, feed in sorted(self._feeds.items())
            if feed.age_ms is not None and feed.age_ms > deadline_ms
        ]
        return "; ".join(found) or None

    @property
    def is_back(self) -> bool:
        """Whether every feed has been within its deadline for some beats in a row."""
        return bool(self._feeds) and all(feed.fresh >= FRESH_BEATS for feed in self._feeds.values())


def _age_ms(feed: _Silence, touch: TouchAge, now: int) -> int:
    if touch.age_ms is not None:
        feed.unheard_since = None
        return touch.age_ms
    if feed.unheard_since is None:
        feed.unheard_since = now
    return (now - feed.unheard_since) // NS_PER_MS
