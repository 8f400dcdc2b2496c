"""A feed that says nothing holds the fleet in REDUCING, and lets go when it speaks again."""

from __future__ import annotations

import pytest
from tests.unit.gateway.rig import Rig

from edgefleet.book.sessions import calendar_for
from edgefleet.clock import NS_PER_S
from edgefleet.errors import Transient
from edgefleet.gateway.feeds import FRESH_BEATS, FeedWatch
from edgefleet.gateway.hold import Member
from edgefleet.messages import FEEDS, Alert, Beat, TouchAge, TradingState, decode
from edgefleet.testing import build
from edgefleet.testing.clock import START_NS

DEADLINE_MS = 10_000


def beat(second: int, **ages: int | None) -> Beat:
    """Return the beat of a second, with each symbol's age in ms."""
    touches = tuple(
        TouchAge(instrument=f"{name}/USDT@sim", bid=None, ask=None, age_ms=age) for name, age in ages.items()
    )
    return build.beat(touches=touches, ts_event=START_NS + second * NS_PER_S)


def test_an_age_past_the_deadline_is_told_with_its_instrument() -> None:
    watch = FeedWatch("sim")

    watch.take(beat(1, BTC=DEADLINE_MS, ETH=20), DEADLINE_MS)
    at_the_deadline = watch.silent(DEADLINE_MS)
    watch.take(beat(2, BTC=DEADLINE_MS + 1_000, ETH=20), DEADLINE_MS)

    assert at_the_deadline is None
    assert watch.silent(DEADLINE_MS) == "BTC/USDT@sim said nothing for 11.0 s"


def test_a_feed_that_never_spoke_is_silent_since_its_first_beat() -> None:
    watch = FeedWatch("sim")

    for second in range(12):
        watch.take(beat(second, BTC=None), DEADLINE_MS)

    assert watch.silent(DEADLINE_MS) == "BTC/USDT@sim said nothing for 11.0 s"


def test_one_beat_is_not_enough_to_be_back() -> None:
    watch = FeedWatch("sim")
    watch.take(beat(1, BTC=20_000), DEADLINE_MS)

    seen = []
    for second in range(2, 2 + FRESH_BEATS):
        watch.take(beat(second, BTC=5), DEADLINE_MS)
        seen.append(watch.is_back)

    assert seen == [False] * (FRESH_BEATS - 1) + [True]


def test_another_venues_silence_is_not_ours() -> None:
    watch = FeedWatch("sim")

    watch.take(build.beat(venue="kraken", touches=beat(1, BTC=99_000).touches), DEADLINE_MS)

    assert watch.silent(DEADLINE_MS) is None
    assert not watch.is_back


def test_an_instrument_that_is_no_longer_followed_is_forgotten() -> None:
    watch = FeedWatch("sim")
    watch.take(beat(1, BTC=5, ETH=99_000), DEADLINE_MS)

    watch.take(beat(2, BTC=5), DEADLINE_MS)

    assert watch.silent(DEADLINE_MS) is None


async def test_the_fleet_is_held_and_let_go_again(rig: Rig) -> None:
    await rig.open()
    rig.hold()

    await rig.bus.append("beats", beat(1, BTC=DEADLINE_MS + 1))
    await rig.until(lambda: rig.bus._data.latch is not None and rig.bus._data.latch.state == "REDUCING")
    for second in range(2, 2 + FRESH_BEATS):
        await rig.bus.append("beats", beat(second, BTC=5))
    await rig.until(lambda: rig.bus._data.latch is not None and rig.bus._data.latch.state == "ACTIVE")

    said = [decode(entry.type, entry.data) for entry in await rig.bus.span("control", "-", "+")]
    states = [(one.state, one.by) for one in said if isinstance(one, TradingState)]
    assert states == [("ACTIVE", "edgefleet up"), ("REDUCING", FEEDS), ("ACTIVE", FEEDS)]
    alerts = [decode(entry.type, entry.data) for entry in await rig.bus.span("alerts", "-", "+")]
    assert [one.name for one in alerts if isinstance(one, Alert)] == ["feed_silent"]


async def test_a_hold_of_an_earlier_life_is_let_go_too(rig: Rig) -> None:
    await rig.bus.latch("ACTIVE", reason="test", by="anna", person=True, ts=1)
    await rig.bus.latch("REDUCING", reason="silent", by=FEEDS, person=False, ts=2)
    await rig.gateway.start()
    rig.hold()

    for second in range(FRESH_BEATS):
        await rig.bus.append("beats", beat(second, BTC=5))

    await rig.until(lambda: rig.bus._data.latch is not None and rig.bus._data.latch.state == "ACTIVE")


class Other:
    """A second venue of the same process, that only listens."""

    def __init__(self, rig: Rig) -> None:
        self.beats: list[int] = []
        self.troubles: list[str] = []
        self.alerts: list[str] = []
        rig.feeds.join(
            "okx", Member(self.beats.append, self.troubles.append, lambda name, text: self.alerts.append(text))
        )


def okx_beat(second: int, age_ms: int) -> Beat:
    return build.beat(
        venue="okx",
        touches=(TouchAge(instrument="BTC/USDT@okx", bid=None, ask=None, age_ms=age_ms),),
        ts_event=START_NS + second * NS_PER_S,
    )


async def test_one_venue_that_speaks_again_does_not_let_go_of_what_is_held_for_another(rig: Rig) -> None:
    other = Other(rig)
    await rig.open()
    rig.hold()

    await rig.bus.append("beats", beat(1, BTC=DEADLINE_MS + 1))
    await rig.bus.append("beats", okx_beat(1, DEADLINE_MS + 1))
    await rig.until(lambda: other.alerts)
    for second in range(2, 2 + 2 * FRESH_BEATS):
        await rig.bus.append("beats", beat(second, BTC=5))
    await rig.feeds.look()
    held = await rig.bus.trading_state()
    for second in range(2, 2 + FRESH_BEATS):
        await rig.bus.append("beats", okx_beat(second, 5))
    await rig.until(lambda: rig.bus._data.latch is not None and rig.bus._data.latch.state == "ACTIVE")

    assert held is not None
    assert held.state == "REDUCING"
    assert other.alerts == ["BTC/USDT@okx said nothing for 10.0 s"]


async def test_a_venue_that_falls_silent_during_a_hold_is_told_as_well(rig: Rig) -> None:
    other = Other(rig)
    await rig.open()
    rig.hold()

    await rig.bus.append("beats", beat(1, BTC=DEADLINE_MS + 1))
    await rig.until(lambda: rig.bus._data.latch is not None and rig.bus._data.latch.state == "REDUCING")
    await rig.bus.append("beats", okx_beat(2, DEADLINE_MS + 1))
    await rig.until(lambda: other.alerts)
    for second in range(3, 6):
        await rig.bus.append("beats", okx_beat(second, DEADLINE_MS + second))
    await rig.feeds.look()

    assert len(other.alerts) == 1


async def test_a_beat_opens_the_gate_of_its_own_venue_alone(rig: Rig) -> None:
    other = Other(rig)
    await rig.open()

    await rig.bus.append("beats", okx_beat(1, 5))
    await rig.feeds.look()

    assert len(other.beats) == 1
    assert rig.gateway.gates.refusal(3_000) == "no beat was seen yet"


async def test_every_venue_is_told_of_a_redis_that_does_not_answer(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Other(rig)
    await rig.open()

    async def away(stream: str) -> str:
        raise Transient("away")

    monkeypatch.setattr(rig.bus, "last_id", away)
    await rig.feeds.look()

    assert other.troubles == ["away"]
    assert "Redis was lost" in rig.gateway.gates.not_ready_reason


async def test_a_venue_that_stops_to_beat_beside_one_that_goes_on_is_silent(rig: Rig) -> None:
    other = Other(rig)
    await rig.open()
    rig.hold()

    await rig.bus.append("beats", okx_beat(1, 5))
    await rig.until(lambda: other.beats)
    for second in range(1, 13):
        rig.clock.advance(s=1)
        await rig.bus.append("beats", beat(second, BTC=5))
    await rig.until(lambda: other.alerts)

    assert other.alerts == ["okx has not beaten for 12.0 s, while others have"]
    latch = await rig.bus.trading_state()
    assert latch is not None
    assert (latch.state, latch.by) == ("REDUCING", FEEDS)


async def test_a_hold_of_an_earlier_life_names_the_venue_that_does_not_beat_any_more(rig: Rig) -> None:
    other = Other(rig)
    await rig.bus.latch("ACTIVE", reason="test", by="anna", person=True, ts=1)
    await rig.bus.latch("REDUCING", reason="silent", by=FEEDS, person=False, ts=2)
    await rig.gateway.start()
    rig.hold()

    for second in range(12):
        rig.clock.advance(s=1)
        await rig.bus.append("beats", beat(second, BTC=5))
        await rig.feeds.look()
    await rig.until(lambda: other.alerts)
    for second in range(FRESH_BEATS):
        rig.clock.advance(s=1)
        await rig.bus.append("beats", beat(12 + second, BTC=5))
        await rig.bus.append("beats", okx_beat(second, 5))
    await rig.until(lambda: rig.bus._data.latch is not None and rig.bus._data.latch.state == "ACTIVE")

    assert other.alerts[0].startswith("okx has not beaten for")


async def test_one_venue_that_does_not_beat_is_for_the_gate_and_no_silence_beside_others(rig: Rig) -> None:
    await rig.open()
    rig.hold()
    await rig.bus.append("beats", beat(1, BTC=5))
    await rig.feeds.look()

    rig.clock.advance(s=60)
    await rig.feeds.look()

    latch = await rig.bus.trading_state()
    assert latch is not None
    assert latch.state == "ACTIVE"
    assert rig.gateway.gates.refusal(3_000) is not None


def test_a_closed_market_is_not_silent_and_an_open_one_only_since_it_opened() -> None:
    watch = FeedWatch("alpaca", lambda instrument: calendar_for("us_stocks"))
    closed, opened = 1_767_708_000 * NS_PER_S, 1_767_709_805 * NS_PER_S  # 2026-01-06 14:00:00 and 14:30:05, UTC
    told = {}
    for at in (closed, opened, opened + 6 * NS_PER_S):
        touch = TouchAge(instrument="AAPL/USD@alpaca", bid=None, ask=None, age_ms=17 * 3_600_000)
        watch.take(build.beat(venue="alpaca", touches=(touch,), ts_event=at), DEADLINE_MS)
        told[at] = watch.silent(DEADLINE_MS)

    assert [*told.values()] == [None, None, "AAPL/USD@alpaca said nothing for 11.0 s"]


async def test_a_while_in_which_nobody_beat_is_no_silence_of_one(rig: Rig) -> None:
    other = Other(rig)
    await rig.open()
    await rig.bus.append("beats", beat(1, BTC=5))
    await rig.bus.append("beats", okx_beat(1, 5))
    await rig.feeds.look()

    rig.clock.advance(s=60)
    await rig.bus.append("beats", beat(61, BTC=5))
    rig.hold()
    await rig.feeds.look()
    await rig.bus.append("beats", okx_beat(61, 5))
    await rig.feeds.look()

    latch = await rig.bus.trading_state()
    assert latch is not None
    assert latch.state == "ACTIVE"
    assert other.alerts == []
    assert rig.feeds._silent() == {}
