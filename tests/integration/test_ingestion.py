"""Ingestion between a simulated venue and a real Redis: every frame, the end of a tape, a restart, history, misuse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.integration.venue_server import RunningVenue, running

from edgefleet.alpha.stage import AlphaStage
from edgefleet.bus.loop import Configs, run_stage
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.clock import SYSTEM, Clock
from edgefleet.errors import Misuse
from edgefleet.messages import Bar, Beat, Message, Signals, Trade, VenueStatus, decode
from edgefleet.params.schema import FleetConfig
from edgefleet.telemetry.health import Health
from edgefleet.telemetry.logs import Logger, configure
from edgefleet.telemetry.metrics import Metrics
from edgefleet.testing import FixedConfigs
from edgefleet_services.ingestion.service import Ingestion, feed_plans
from edgefleet_services.options import ServiceOptions
from edgefleet_services.venue.service import VenueOptions

pytestmark = pytest.mark.integration

PATIENCE_S = 20.0
BTC = {"tick_size": "0.01", "lot_size": "0.00001", "min_quantity": "0.00001", "min_notional": "5"}
START_MS = 1_700_000_000_000


@dataclass
class Setting:
    """What ingestion is given in these tests."""

    options: ServiceOptions
    bus: RedisBus
    configs: Configs
    clock: Clock = SYSTEM
    log: Logger = field(default_factory=lambda: configure("ingestion", level="critical"))
    metrics: Metrics = field(default_factory=Metrics)
    health: Health = field(default_factory=lambda: Health("ingestion"))
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    work: asyncio.Task[None] | None = None


def config(venue: RunningVenue, **instrument: str) -> FleetConfig:
    return FleetConfig.model_validate(
        {
            "features": {"min_interval_ms": 0},
            "instruments": {"symbols": {"BTC/USDT": {**BTC, **instrument}}},
            "venues": {"venues": {"sim": {"rest_url": venue.rest, "stream_url": venue.ws}}},
        }
    )


@asynccontextmanager
async def ingesting(venue: RunningVenue, redis_url: str, config: FleetConfig) -> AsyncIterator[Setting]:
    """Run ingestion until the block ends."""
    bus = await RedisBus.connect(redis_url)
    options = ServiceOptions(redis_url=redis_url, conf_dir=Path(), data_dir=Path(), port=0, session="s1")
    setting = Setting(options, bus, FixedConfigs(config))
    work = asyncio.create_task(Ingestion(setting, feed_plans(options, config)).run())
    setting.work = work
    try:
        yield setting
    finally:
        setting.stop.set()
        try:
            await asyncio.wait_for(work, PATIENCE_S)
        finally:
            await bus.close()


async def until(condition: Any, what: str) -> None:
    """Return when `await condition()` is true."""
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # noqa: ASYNC110 - what is waited for happens in Redis
            await asyncio.sleep(0.01)


async def ended(bus: RedisBus) -> bool:
    return (await bus.load("ingestion", ())).fields.get("ended") == "1"


async def market(bus: RedisBus) -> list[Message]:
    return [decode(entry.type, entry.data) for entry in await bus.span("market", "-", "+")]


def tape(path: Path) -> Path:
    """Write a tape of 40 seconds: a quote and a print each, and the book's deltas."""
    lines = ['{"lastUpdateId":10,"bids":[["99.00","1"]],"asks":[["101.00","1"]]}']
    for second in range(40):
        stamp, update = START_MS + 1_000 * second, 11 + second
        lines += [
            f'{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":{stamp},"s":"BTCUSDT","U":{update},'
            f'"u":{update},"b":[["99.00","{second + 1}"]],"a":[]}}}}',
            f'{{"stream":"btcusdt@bookTicker","data":{{"u":{update},"s":"BTCUSDT","b":"99.00","B":"{second + 1}",'
            '"a":"101.00","A":"1"}}',
            f'{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{stamp},"s":"BTCUSDT","t":{second + 1},'
            f'"p":"100.00","q":"1","T":{stamp},"m":true,"M":true}}}}',
        ]
    path.write_text("".join(f"{(START_MS + 300 * n) * 1_000_000} {line}\n" for n, line in enumerate(lines)))
    return path


async def test_tape_is_consumed_to_its_end_and_alpha_follows(redis_url: str, tmp_path: Path) -> None:
    options = VenueOptions(market="tape", tape=(tape(tmp_path / "tape"),), speed="max", port=0)
    with running(options) as venue:
        async with ingesting(venue, redis_url, config(venue)) as setting:
            alpha = asyncio.create_task(
                run_stage(setting.bus, AlphaStage(), setting.configs, clock=SYSTEM, stop=setting.stop)
            )
            await until(lambda: ended(setting.bus), "the end")
            await until(lambda: _drained(setting.bus), "alpha")
            messages = await market(setting.bus)
            entries = await setting.bus.span("signals", "-", "+")
            setting.stop.set()
            await alpha
            info = await setting.bus.redis.hgetall("instrument:info:BTC/USDT")

    counts: dict[str, int] = {}
    for message in messages:
        counts[type(message).__name__] = counts.get(type(message).__name__, 0) + 1
    assert (counts["Trade"], counts["Quote"], counts["BookDelta"], counts["BookSnapshot"]) == (40, 40, 40, 1)
    assert isinstance(messages[-1], VenueStatus)
    assert messages[-1].status == "ended"
    last = [decode(entry.type, entry.data) for entry in entries if entry.type == "signals.v1"][-1]
    assert isinstance(last, Signals)
    assert {edge.model for edge in last.edges} == {"ob_pressure", "ma_momentum"}
    assert info[b"tick_size"] == b"0.01"


async def _drained(bus: RedisBus) -> bool:
    lags = await bus.lags()
    return lags.get(("alpha", "market")) == 0


async def test_ingestion_started_again_after_the_end_says_nothing_more(redis_url: str, tmp_path: Path) -> None:
    options = VenueOptions(market="tape", tape=(tape(tmp_path / "tape"),), speed="max", port=0)
    with running(options) as venue:
        async with ingesting(venue, redis_url, config(venue)) as setting:
            await until(lambda: ended(setting.bus), "the end")
            before = len(await market(setting.bus))
        async with ingesting(venue, redis_url, config(venue)) as setting:
            await until(lambda: _healthy(setting), "health")
            after = len(await market(setting.bus))

    assert after == before


async def test_two_venues_flow_into_one_market_each_under_its_own_name(redis_url: str) -> None:
    with (
        running(VenueOptions(market="synthetic", port=0)) as venue,
        running(VenueOptions(market="synthetic", port=0, seed=2)) as second,
    ):
        async with ingesting(venue, redis_url, beside(venue, second.rest, second.ws)) as setting:

            async def both() -> bool:
                said = await market(setting.bus)
                prints = {message.instrument for message in said if isinstance(message, Trade)}
                beats = {message.venue for message in said if isinstance(message, Beat)}
                return prints == {"BTC/USDT@sim", "BTC/USDT@other"} and beats == {"sim", "other"}

            await until(both, "prints and beats of both")
            await until(lambda: _has_key(setting, "instrument:info:BTC/USDT@other"), "the listing")
            saved = (await setting.bus.load("ingestion", ())).fields

    assert {"marks.sim", "marks.other"} <= saved.keys()


async def test_a_venue_beside_the_traded_one_that_is_down_holds_nothing_up(redis_url: str) -> None:
    with running(VenueOptions(market="synthetic", port=0)) as venue:
        nobody = "127.0.0.1:9"
        async with ingesting(venue, redis_url, beside(venue, f"http://{nobody}", f"ws://{nobody}")) as setting:
            await until(lambda: _has(setting.bus, "trade.v1"), "a trade")

            async def told() -> bool:
                return any(check.name == "feed.other" and not check.ok for check in setting.health.now().checks)

            await until(told, "the health of the other")
            told_of = {check.name: check.ok for check in setting.health.now().checks}

    assert told_of["feed.sim"]


def beside(venue: RunningVenue, rest: str, ws: str) -> FleetConfig:
    """Return a configuration that follows another venue beside the traded one."""
    body = config(venue).model_dump(mode="json")
    body["venues"]["venues"]["other"] = {"rest_url": rest, "stream_url": ws}
    body["fleet"]["feeds"] = {"other": ["BTC/USDT"]}
    return FleetConfig.model_validate(body)


async def _has_key(setting: Setting, key: str) -> bool:
    return bool(await setting.bus.redis.exists(key))


async def _healthy(setting: Setting) -> bool:
    return setting.health.now().ok


async def test_a_venue_beside_the_traded_one_whose_address_is_none_is_given_up_with_a_line(redis_url: str) -> None:
    with running(VenueOptions(market="synthetic", port=0)) as venue:
        async with ingesting(venue, redis_url, beside(venue, "nowhere", "nowhere")) as setting:
            await until(lambda: _has(setting.bus, "trade.v1"), "a trade")
            (told,) = [check for check in setting.health.now().checks if check.name == "feed.other"]

    assert not told.ok
    assert "other: GET nowhere/api/v3/exchangeInfo: this is no address" in told.detail


async def test_synthetic_market_brings_history_first_and_then_frames(redis_url: str) -> None:
    with running(VenueOptions(market="synthetic", port=0)) as venue:
        async with ingesting(venue, redis_url, config(venue)) as setting:

            async def traded() -> bool:
                return any(entry.type == "trade.v1" for entry in await setting.bus.span("market", "-", "+"))

            await until(traded, "a trade")
            messages = await market(setting.bus)

    bars = [message for message in messages if isinstance(message, Bar)]
    assert len(bars) >= 30
    assert all(bar.backfill and bar.interval_ms == 1_000 for bar in bars)
    assert messages[: len(bars)] == bars


async def test_restart_resumes_the_feed_and_tells_that_it_was_away(redis_url: str) -> None:
    with running(VenueOptions(market="synthetic", port=0)) as venue:
        async with ingesting(venue, redis_url, config(venue)) as setting:
            await until(lambda: _has(setting.bus, "trade.v1"), "a trade")
        async with ingesting(venue, redis_url, config(venue)) as setting:

            async def connected() -> bool:
                return "connected" in [m.status for m in await market(setting.bus) if isinstance(m, VenueStatus)]

            await until(connected, "the connection")
            statuses = [m.status for m in await market(setting.bus) if isinstance(m, VenueStatus)]

    assert statuses[:2] == ["disconnected", "connected"]


async def _has(bus: RedisBus, tag: str) -> bool:
    return any(entry.type == tag for entry in await bus.span("market", "-", "+"))


async def test_configuration_that_differs_from_the_listing_is_misuse(redis_url: str) -> None:
    with running(VenueOptions(market="synthetic", port=0)) as venue:  # noqa: SIM117 - the venue outlives the error
        with pytest.raises(Misuse, match=r"tick_size is 0\.003 in the configuration"):  # noqa: PT012 - told at the end
            async with ingesting(venue, redis_url, config(venue, tick_size="0.003")) as setting:
                assert setting.work is not None
                await asyncio.wait([setting.work], timeout=PATIENCE_S)
