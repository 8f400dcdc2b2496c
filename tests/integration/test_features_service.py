"""The service `features` as a process on a real Redis: what it says there, and what it does when Redis is away."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from tests.integration.one_service import ROOT, start

from edgefleet.book.consolidated import Best
from edgefleet.bus.embedded import EmbeddedServer
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.clock import NS_PER_S
from edgefleet.messages import Bar, Message, Quote, TouchAge, Trade
from edgefleet.params.store import ParamStore
from edgefleet.params.writer import ParamWriter
from edgefleet.store.features.offline import FeatureStore
from edgefleet.store.features.online import OnlineFeatures
from edgefleet.store.market.archive import MarketArchive
from edgefleet.store.market.online import OnlineBars, OnlineBest
from edgefleet.testing import build
from edgefleet.testing.clock import START_NS
from edgefleet_services.data.follow import FollowOptions, follow

pytestmark = pytest.mark.integration
MOST_MB = 120


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer.start(tmp_path / "redis", free_port()) as running:
        yield running


@pytest.fixture
async def bus(server: EmbeddedServer) -> AsyncIterator[RedisBus]:
    async with await RedisBus.connect(server.url) as connected:
        await ParamWriter(ParamStore(connected.redis)).start(ROOT / "conf")
        yield connected


class Features:
    """The service under test."""

    def __init__(self, url: str, directory: Path) -> None:
        self._url, self._log, self._port = url, directory / "features.log", free_port()
        self.data_dir = directory / "data"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = start("features", self._url, self.data_dir, self._port, log=self._log)

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, self.said

    def ask(self, path: str) -> str:
        try:
            return httpx.get(f"http://127.0.0.1:{self._port}{path}", timeout=5).text
        except httpx.HTTPError:
            return ""

    def metric(self, name: str) -> float | None:
        lines = [line for line in self.ask("/metrics").splitlines() if line.startswith(name)]
        return float(lines[0].rpartition(" ")[2]) if lines else None

    @property
    def said(self) -> str:
        return self._log.read_text()

    def bars(self) -> list[Bar]:
        return [message for message in self.archive.read(["bar"]) if isinstance(message, Bar)]

    @property
    def archive(self) -> MarketArchive:
        return MarketArchive(self.data_dir / "market")


@pytest.fixture
def features(server: EmbeddedServer, tmp_path: Path) -> Iterator[Features]:
    one = Features(server.url, tmp_path)
    yield one
    if one.process is not None and one.process.poll() is None:
        one.process.kill()
        one.process.wait()


async def until(condition: Callable[[], Any], *, within_s: float = 20) -> Any:
    async with asyncio.timeout(within_s):
        while not (found := condition()):  # noqa: ASYNC110 - another process sets no event of ours
            await asyncio.sleep(0.02)
        return found


async def until_said(question: Callable[[], Any], *, within_s: float = 20) -> Any:
    async with asyncio.timeout(within_s):
        while not (found := await question()):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
        return found


def market(first: int, seconds: int) -> list[Message]:
    """Return a quote, a print and a beat of each second."""
    said: list[Message] = []
    for second in range(first, first + seconds):
        ts, mid = START_NS + second * NS_PER_S, Decimal(60_000) + second % 7
        stamps = {"ts_event": ts, "ts_init": ts}
        said += [
            build.quote(bid=mid - 1, ask=mid + 1, update_id=second + 1, **stamps),
            build.trade(price=mid, trade_id=str(second + 1), **stamps),
            build.beat(**{**stamps, "ts_event": ts + NS_PER_S // 2}),
        ]
    return said


async def publish(bus: RedisBus, messages: list[Message]) -> None:
    for message in messages:
        await bus.append("market", message)


async def test_what_it_says_in_redis_is_what_it_keeps_in_files(bus: RedisBus, features: Features) -> None:
    said = market(0, 150)
    await publish(bus, said)
    features.start()
    assert features.process is not None
    await until(lambda: features.metric('edgefleet_features_kept_total{what="feature_row"}') == 150)
    bars = await until_said(lambda: OnlineBars(bus.redis).read(build.INSTRUMENT))
    process = psutil.Process(features.process.pid)
    nice, resident_mb = process.nice(), process.memory_info().rss / 1e6
    health, lag = features.ask("/health"), features.metric("edgefleet_features_lag_seconds")
    features.stop()

    store = FeatureStore(features.data_dir / "market" / "features")
    rows = store.rows(store.find("streaming", 1), build.INSTRUMENT)
    kept = features.bars()
    assert await OnlineFeatures(bus.redis).read(store.find("streaming", 1), build.INSTRUMENT) == rows[-1]
    assert len(rows) == 150
    assert bars["1m"] == [bar for bar in kept if bar.interval_ms == 60_000][-1]
    assert [bar.trades for bar in kept if bar.interval_ms == 60_000] == [20, 60, 60]
    assert list(features.archive.read(["trade", "quote"])) == [m for m in said if isinstance(m, Quote | Trade)]
    assert '"ok":true' in health
    assert (lag, nice) == (0, 10)
    assert resident_mb < MOST_MB


async def test_a_best_over_venues_is_in_redis_where_two_venues_quote(bus: RedisBus, features: Features) -> None:
    features.start()
    names = {"sim": (99, 102), "kraken": (98, 101)}
    for venue, (bid, ask) in names.items():
        await bus.append("market", build.quote(instrument=f"BTC/USDT@{venue}", bid=Decimal(bid), ask=Decimal(ask)))
    await bus.append("market", build.quote(instrument="ETH/USDT@sim"))
    ages = tuple(TouchAge(instrument=f"{s}/USDT@sim", bid=None, ask=None, age_ms=None) for s in ("BTC", "ETH"))
    await bus.append("market", build.beat(touches=ages))

    best = await until_said(lambda: OnlineBest(bus.redis).read("BTC/USDT"))

    assert best.bid == Best(Decimal(99), Decimal(1), ("sim",))
    assert best.ask == Best(Decimal(101), Decimal(2), ("kraken",))
    assert set(best.venues) == {"sim", "kraken"}
    assert await OnlineBest(bus.redis).read("ETH/USDT") is None


async def test_a_redis_that_was_away_is_waited_for_and_nothing_is_lost(
    bus: RedisBus, server: EmbeddedServer, features: Features
) -> None:
    await publish(bus, market(0, 30))
    features.start()
    await until(lambda: features.metric('edgefleet_features_kept_total{what="feature_row"}') == 30)

    server.stop()
    await until(lambda: "features_wait" in features.said)
    with EmbeddedServer.start(server.data_dir, server.port) as again:
        async with await RedisBus.connect(again.url) as other:
            await publish(other, market(30, 60))
            await until(lambda: features.metric('edgefleet_features_kept_total{what="feature_row"}') == 90)
            row = await until_said(lambda: _row(features, other))
            features.stop()

    assert features.process is not None
    assert list(features.archive.read(writers=["fleet"])) == market(0, 90)
    assert row.ts_event == START_NS + 89 * NS_PER_S + NS_PER_S // 2


async def _row(features: Features, bus: RedisBus) -> Any:
    store = FeatureStore(features.data_dir / "market" / "features")
    row = await OnlineFeatures(bus.redis).read(store.find("streaming", 1), build.INSTRUMENT)
    return row if row is not None and row.ts_event > START_NS + 89 * NS_PER_S else None


async def test_another_size_of_bar_holds_at_once_and_a_reload_cuts_no_bar(bus: RedisBus, features: Features) -> None:
    await publish(bus, market(0, 15))
    features.start()
    await until(lambda: features.metric('edgefleet_features_kept_total{what="feature_row"}') == 15)

    await _set(bus, "features", "keep.volume_bars", '{"BTC/USDT": "5"}')
    await until(lambda: features.said.count("features_follow") == 2)
    await publish(bus, market(15, 30))
    await until(lambda: features.metric('edgefleet_features_kept_total{what="feature_row"}') == 45)
    features.stop()

    bars = features.bars()
    assert [bar.trades for bar in bars if bar.kind == "time"] == [20]
    assert [bar.volume for bar in bars if bar.kind == "volume"] == [Decimal("5.0")] * 3


async def test_it_keeps_nothing_while_it_is_told_so_and_goes_on_where_it_was(bus: RedisBus, features: Features) -> None:
    await publish(bus, market(0, 10))
    features.start()
    await until(lambda: features.metric('edgefleet_features_kept_total{what="feature_row"}') == 10)

    await _set(bus, "fleet", "keep_features", "false")
    await until(lambda: MarketArchive(features.data_dir / "market").partitions.mark("fleet").seq == 30)
    await publish(bus, market(10, 10))
    await asyncio.sleep(0.5)  # so long that it would have taken them
    assert features.metric('edgefleet_features_kept_total{what="feature_row"}') == 10
    await _set(bus, "fleet", "keep_features", "true")
    await until(lambda: features.metric('edgefleet_features_kept_total{what="feature_row"}') == 20)
    features.stop()

    assert list(features.archive.read(writers=["fleet"])) == market(0, 20)


async def _set(bus: RedisBus, component: str, key: str, value: str) -> None:
    await ParamWriter(ParamStore(bus.redis)).set(component, key, value, author="a test", reason="a test")


async def test_the_command_beside_the_service_keeps_files_and_leaves_redis_to_it(
    bus: RedisBus, server: EmbeddedServer, features: Features, tmp_path: Path
) -> None:
    features.start()
    await until(lambda: features.ask("/health"))
    await publish(bus, market(0, 5))
    told: list[str] = []
    options = FollowOptions(
        data_dir=features.data_dir, redis_url=server.url, out=tmp_path / "out", conf_dir=ROOT / "conf", duration_s=0.3
    )

    kept = await follow(options, told.append)

    assert (kept.messages, kept.rows) == (15, 5)
    assert any("the fleet's own service" in line for line in told)


async def test_a_directory_that_cannot_be_written_is_waited_for(bus: RedisBus, features: Features) -> None:
    features.data_dir.mkdir()
    stopper = features.data_dir / "market"
    stopper.write_text("a file in the way")
    await publish(bus, market(0, 5))
    features.start()
    await until(lambda: "features_wait" in features.said)

    os.remove(stopper)

    await until(lambda: features.metric('edgefleet_features_kept_total{what="feature_row"}') == 5)


async def test_another_directory_is_named_by_the_environment_and_the_fleets_is_only_read(
    bus: RedisBus, features: Features, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFLEET_MARKET_DIR", str(tmp_path / "elsewhere"))
    await publish(bus, market(0, 5))
    features.start()

    await until(lambda: features.metric('edgefleet_features_kept_total{what="feature_row"}') == 5)
    features.stop()

    assert list(MarketArchive(tmp_path / "elsewhere").read(writers=["fleet"])) == market(0, 5)
    assert not features.data_dir.exists()
