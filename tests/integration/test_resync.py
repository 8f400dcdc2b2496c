"""A tape on which depth updates are missing gives the fleet and a replay the same market, however fast it is played."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.integration.test_ingestion import config, ended, ingesting, until
from tests.integration.venue_server import running

from edgefleet.bus.interface import Entry
from edgefleet.messages import VenueStatus, decode
from edgefleet.replay.digest import Digests
from edgefleet_services.replay import replay_tape
from edgefleet_services.venue.service import VenueOptions

pytestmark = pytest.mark.integration

CONF = Path(__file__).parents[2] / "conf"
START_MS = 1_700_000_000_000
STEPS = 600
MISSING = (3, 150, 151, 290, 291, 300, 450, 590, 598)
CROSSED = (200, 201)


def tape(path: Path) -> Path:
    """Write a minute of a market in which some depth updates are missing and some cross the book."""
    chance = random.Random(5)
    levels = ",".join(f'["{99 - i / 100:.2f}","1.00000000"]' for i in range(50))
    asks = ",".join(f'["{101 + i / 100:.2f}","2.00000000"]' for i in range(50))
    lines = [f'{{"lastUpdateId":10,"bids":[{levels}],"asks":[{asks}]}}']
    update = 10
    for step in range(STEPS):
        stamp, first = START_MS + 100 * step, update + 1
        update += chance.randint(1, 4)
        bid, ask = 99 - chance.randint(0, 80) / 100, 101 + chance.randint(0, 80) / 100
        if step in CROSSED:
            bid = 102.0 if step == CROSSED[0] else 99.0
        gone = ',["102.00","0.00000000"]' if step == CROSSED[-1] + 2 else ""
        sizes = [f"{chance.choice([0, 0.5, 1, 2]):.8f}" for _ in range(2)]
        if step in CROSSED:
            sizes[0] = "1.00000000"
        diff = (
            f'{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":{stamp},"s":"BTCUSDT","U":{first},'
            f'"u":{update},"b":[["{bid:.2f}","{sizes[0]}"]{gone}],"a":[["{ask:.2f}","{sizes[1]}"]]}}}}'
        )
        if step not in MISSING:
            lines.append(diff)
        lines += [
            f'{{"stream":"btcusdt@bookTicker","data":{{"u":{update},"s":"BTCUSDT","b":"99.00","B":"{step + 1}",'
            '"a":"101.00","A":"1"}}',
            f'{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{stamp},"s":"BTCUSDT","t":{step + 1},'
            f'"p":"100.00","q":"1","T":{stamp},"m":true,"M":true}}}}',
        ]
    path.write_text("".join(f"{(START_MS + 33 * n) * 1_000_000} {line}\n" for n, line in enumerate(lines)))
    return path


async def ingested(path: Path, redis_url: str, speed: str) -> list[Entry]:
    """Return what ingestion makes of the tape at `speed`."""
    with running(VenueOptions(market="tape", tape=(path,), speed=speed, port=0)) as venue:
        async with ingesting(venue, redis_url, config(venue)) as setting:
            await until(lambda: ended(setting.bus), "the end")
            return await setting.bus.span("market", "-", "+")


def digest(entries: list[Entry]) -> str:
    digests = Digests()
    for entry in entries:
        digests.add("market", entry.data)
    return digests.hex()["market"]


@pytest.mark.parametrize("speed", ["max", "200", "20"])
async def test_fleet_and_replay_see_the_same_market_though_updates_are_missing(
    redis_url: str, tmp_path: Path, speed: str
) -> None:
    path = tape(tmp_path / "tape")

    entries = await ingested(path, redis_url, speed)
    replayed = replay_tape([path], CONF, ("BTC/USDT",), seed=1, progress=lambda _: None)

    statuses = [m.status for e in entries if isinstance(m := decode(e.type, e.data), VenueStatus)]
    assert statuses.count("resync") > len(MISSING) - 3
    assert digest(entries) == replayed["digests"]["market"]
