"""`edgefleet data follow`: what a fleet's market said is kept, and features are the same in the store and in Redis."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from edgefleet.bus.redis_bus import RedisBus
from edgefleet.clock import NS_PER_S
from edgefleet.features import FeatureEngine, FeatureSpec
from edgefleet.messages import Beat, Message, Quote, Trade
from edgefleet.params.files import load_fleet
from edgefleet.store.features.offline import FeatureStore
from edgefleet.store.features.online import OnlineFeatures
from edgefleet.store.market.archive import MarketArchive
from edgefleet.testing import build
from edgefleet.testing.clock import START_NS
from edgefleet_services.data.follow import FollowOptions, follow

CONF = Path(__file__).resolve().parents[2] / "conf"
pytestmark = pytest.mark.integration


def market(seconds: int) -> list[Message]:
    """Return a quote, a print and a beat of each second."""
    said: list[Message] = []
    for second in range(seconds):
        ts, mid = START_NS + second * NS_PER_S, Decimal(60_000) + second % 7
        stamps = {"ts_event": ts, "ts_init": ts}
        said += [
            build.quote(bid=mid - 1, ask=mid + 1, update_id=second + 1, **stamps),
            build.trade(price=mid, trade_id=str(second + 1), **stamps),
            build.beat(**{**stamps, "ts_event": ts + NS_PER_S // 2}),
        ]
    return said


async def test_market_and_features_are_kept_and_online_is_what_the_store_says(redis_url: str, tmp_path: Path) -> None:
    said = market(90)
    async with await RedisBus.connect(redis_url) as bus:
        for message in said:
            await bus.append("market", message)
        options = FollowOptions(
            data_dir=tmp_path / "fleet", redis_url=redis_url, out=tmp_path / "out", conf_dir=CONF, duration_s=0.5
        )
        kept = await follow(options, lambda text: None)
        again = await follow(options, lambda text: None)

        store = FeatureStore(tmp_path / "out" / "features")
        features = store.find("streaming")
        rows = store.rows(features, build.INSTRUMENT)
        online = await OnlineFeatures(bus.redis).read(features, build.INSTRUMENT)

    assert (kept.messages, kept.rows) == (270, 90)
    assert again.messages == 0  # it goes on where it was
    read = list(MarketArchive(tmp_path / "out").read(["trade", "quote"], [build.INSTRUMENT]))
    assert read == [message for message in said if isinstance(message, (Quote, Trade))]
    assert len(rows) == 90
    assert online == rows[-1]
    assert online is not None
    engine = FeatureEngine(build.INSTRUMENT, FeatureSpec.of(load_fleet(CONF).features, "crypto"))
    for message in said:
        if not isinstance(message, Beat):
            engine.on_message(message)
    known = {name: value for name, value in online.values.items() if value is not None}
    assert known == dict(engine.values(online.ts_event))
    assert {"mid", "spread_bps", "return_1m", "vwap_1m"} <= known.keys()
