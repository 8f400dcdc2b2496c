"""FAULTS.md row 28: a venue's clock that is wrong stops trading and nothing else; market stamps make no feed stale."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.executor_world import World, world_of
from tests.integration.test_ingestion import START_MS, config, ended, ingesting, until
from tests.integration.venue_server import eventually, running

from edgefleet.messages import Beat, Fill, GatewayOutcome, Reconciled, decode
from edgefleet_services.venue.service import VenueOptions

pytestmark = [pytest.mark.faults, pytest.mark.integration]


@pytest.fixture
def world(redis_url: str, tmp_path: Path) -> Iterator[World]:
    with world_of(redis_url, tmp_path) as made:
        yield made


def reasons(world: World) -> list[str]:
    return [said.reason for said in world.all(Reconciled, "venue.events")]


def orders_by_its_clock(world: World) -> list[dict[str, Any]]:
    """Return the venue's orders, asked for by a request that its clock finds fresh."""
    now = world.venue.get("time")["serverTime"]
    found: list[dict[str, Any]] = world.venue.signed("GET", "allOrders", symbol="BTCUSDT", timestamp=now).json()
    return found


@pytest.mark.parametrize("skew_ms", [1_300, -1_300, 400])
def test_gate_stays_shut_while_the_venues_clock_is_away_and_opens_by_itself_when_it_is_back(
    world: World, skew_ms: int
) -> None:
    world.faults(clock_skew_ms=skew_ms)
    process = world.executor()
    eventually(lambda: any("clock is" in reason for reason in reasons(world)), "the reason")
    world.approve("0.02")

    assert not any(world.gates())
    assert orders_by_its_clock(world) == []
    world.faults(clock_skew_ms=0)
    eventually(lambda: any(world.gates()), "an open gate")
    world.approve("0.03")
    eventually(lambda: world.all(Fill, "fills"), "a fill")
    assert world.stop(process) == 0


@pytest.mark.parametrize("skew_ms", [2_000, -2_000, 3_600_000])
def test_clock_that_goes_astray_while_trading_shuts_the_gate_at_the_first_refused_stamp(
    world: World, skew_ms: int
) -> None:
    process = world.started()
    world.approve("0.02")
    eventually(lambda: world.all(Fill, "fills"), "a fill")
    world.faults(clock_skew_ms=skew_ms)

    world.approve("0.03")
    eventually(lambda: any("clock" in reason for reason in reasons(world)), "the shut gate")
    for n in range(5):
        world.approve(f"0.0{n + 4}")
    eventually(lambda: any("ms away" in reason for reason in reasons(world)), "the measure")

    refused = [said for said in world.all(GatewayOutcome, "venue.events") if said.outcome == "REJECTED"]
    assert len(refused) == 1
    assert len(orders_by_its_clock(world)) == 1
    world.faults(clock_skew_ms=0)
    eventually(lambda: world.gates()[-1], "an open gate")
    assert world.stop(process) == 0


@pytest.mark.parametrize("ahead_ms", [0, 1_300, -1_300, 3_600_000])
async def test_market_stamps_that_are_ahead_or_behind_make_no_touch_old(
    redis_url: str, tmp_path: Path, ahead_ms: int
) -> None:
    options = VenueOptions(market="tape", tape=(tape(tmp_path / "tape", ahead_ms),), speed="max", port=0)
    with running(options) as venue:
        async with ingesting(venue, redis_url, config(venue)) as setting:
            await until(lambda: ended(setting.bus), "the end")
            entries = await setting.bus.span("beats", "-", "+")

    beats = [said for entry in entries if isinstance(said := decode(entry.type, entry.data), Beat)]
    ages = [touch.age_ms for beat in beats for touch in beat.touches if touch.age_ms is not None]
    assert len(ages) >= 10
    assert max(ages) <= 200  # a frame comes every 200 ms of the recorder's clock, whatever the venue stamps it


def tape(path: Path, ahead_ms: int) -> Path:
    """Write a tape of 12 seconds whose venue's clock is ahead of the recorder's."""
    lines = ['{"lastUpdateId":10,"bids":[["99.00","1"]],"asks":[["101.00","1"]]}']
    for n in range(60):
        stamp, update = START_MS + 200 * n + ahead_ms, 11 + n
        lines.append(
            f'{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":{stamp},"s":"BTCUSDT","U":{update},'
            f'"u":{update},"b":[["99.00","{n + 1}"]],"a":[]}}}}'
        )
    path.write_text("".join(f"{(START_MS + 200 * n) * 1_000_000} {line}\n" for n, line in enumerate(lines)))
    return path
