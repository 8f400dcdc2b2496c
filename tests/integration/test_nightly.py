"""A night's back-test by a real process, over bars that the store wrote; and processes that do not as they should."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from prometheus_client import CollectorRegistry
from tests.integration.one_service import ROOT
from tests.integration.test_features_service import Features, free_port, until
from tests.unit.services.test_nightly_verdicts import BTC, hours, keep, walk

from edgefleet.bus.embedded import EmbeddedServer
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.clock import NS_PER_S
from edgefleet.messages import Alert, NightlyVar, decode
from edgefleet.params.schema import BacktestParams, FeaturesParams, FleetConfig
from edgefleet.params.store import ParamStore
from edgefleet.params.writer import ParamWriter
from edgefleet.telemetry.logs import configure
from edgefleet.telemetry.metrics import Metrics
from edgefleet.testing import build
from edgefleet.testing.clock import FakeClock
from edgefleet_services.bootstrap import ServiceContext
from edgefleet_services.cli.main import outcome
from edgefleet_services.data.nightly import back_test
from edgefleet_services.features.nightly import COMMAND, Nightly
from edgefleet_services.features.nights import FOLDER, Asked, Nights, SymbolNight, Tested
from edgefleet_services.options import ServiceOptions, traded_venues
from edgefleet_services.running import RunningFleet, write_running

pytestmark = pytest.mark.integration
SETTINGS = BacktestParams(window=100, periods=60, methods=("historical", "ewma", "garch"))
MOST_MB = 120  # as in the service's other tests: what the machine's libraries weigh differs
OTHERS: set[int] = set()
NIGHT = date(2024, 1, 9)
NIGHT_NS = int(datetime(2024, 1, 9, 0, 10, tzinfo=UTC).timestamp()) * NS_PER_S


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer.start(tmp_path / "redis", free_port()) as running:
        yield running


@pytest.fixture
async def bus(server: EmbeddedServer) -> AsyncIterator[RedisBus]:
    async with await RedisBus.connect(server.url) as connected:
        yield connected


class Configs:
    def __init__(self, settings: BacktestParams) -> None:
        self.current = FleetConfig(features=FeaturesParams(backtest=settings))


def context(bus: RedisBus, settings: BacktestParams = SETTINGS) -> ServiceContext:
    options = ServiceOptions(
        redis_url=bus.url,
        conf_dir=Path(),
        data_dir=Path(),
        port=0,
        mode="paper",
        traded=traded_venues("sim", "BTC/USDT,ETH/USDT"),
    )
    configs: Any = Configs(settings)
    health: Any = None
    metrics = Metrics(CollectorRegistry())
    log = configure("features", level="error")
    return ServiceContext("features", options, bus, configs, FakeClock(NIGHT_NS), log, metrics, health, asyncio.Event())


async def alerts(bus: RedisBus) -> list[Alert]:
    found = [decode(entry.type, entry.data) for entry in await bus.span("alerts", "-", "+")]
    return [one for one in found if isinstance(one, Alert)]


def night_files(market: Path) -> list[str]:
    return sorted(path.name for path in (market / FOLDER).glob("*"))


async def finished(nightly: Nightly) -> None:
    await until(lambda: not nightly.is_running, within_s=60)


async def test_a_night_is_judged_by_a_process_and_told_in_a_file_metrics_and_an_alert(
    bus: RedisBus, tmp_path: Path
) -> None:
    archive = keep(tmp_path, [*hours(BTC, turning_wild()), *hours("ETH/USDT@sim", walk(50))])
    surroundings = context(bus)
    nightly = Nightly(surroundings, tmp_path)

    night = nightly.due(0, caught_up=True)
    assert night == NIGHT
    nightly.start(night)
    await until(lambda: [one for one in judging() if one.nice() == 19], within_s=60)
    await finished(nightly)

    expected = [back_test(archive, f"{name}/USDT@sim", "crypto", SETTINGS, NIGHT_NS) for name in ("BTC", "ETH")]
    assert_alike(Nights(tmp_path / FOLDER).read(NIGHT), expected)
    assert night_files(tmp_path) == ["2024-01-09.jsonl"]
    sample = surroundings.metrics.registry.get_sample_value
    for method, tested in expected[0].methods.items():
        labels = {"symbol": "BTC/USDT", "method": method}
        assert sample("risk_backtest_exceptions", labels) == tested.exceptions
        assert sample("risk_backtest_p_value", {**labels, "test": "coverage"}) == pytest.approx(tested.p_pof)
    assert {symbol: sample("risk_backtest_failed", {"symbol": symbol}) for symbol in ("BTC/USDT", "ETH/USDT")} == {
        "BTC/USDT": 0,
        "ETH/USDT": 0,
    }
    (alert,) = await alerts(bus)
    assert (alert.name, alert.severity, alert.service) == ("backtest_rejected", "warning", "features")
    rejected = expected[0].rejected["historical"]
    assert f"historical had {rejected.exceptions} exceptions in 60, 3 expected" in alert.text
    assert nightly.due(0, caught_up=True) is None

    told = await next_days(bus)
    most = expected[0].most_cautious
    assert most is not None
    assert [(one.instrument, one.method) for one in told] == [(BTC, most[0])]  # of the other nothing is known
    assert told[0].var == pytest.approx(most[1])
    assert told[0].deviation == pytest.approx(most[1] / 1.6448536 * 24**0.5)
    assert told[0].ts_event == NIGHT_NS
    again = Nightly(context(bus), tmp_path)
    await again.tell()
    await again.tell()
    assert await next_days(bus) == [told[0], told[0]]


async def next_days(bus: RedisBus) -> list[NightlyVar]:
    found = [decode(entry.type, entry.data) for entry in await bus.span("control", "-", "+")]
    return [one for one in found if isinstance(one, NightlyVar)]


def turning_wild() -> list[str]:
    """Return closes of the hours before the night, the last sixty of which no method foresaw."""
    prices = walk(132)
    price = float(prices[-1])
    for number in range(60):
        price *= 0.95 if number % 2 else 1.05
        prices.append(f"{price:.2f}")
    return prices


async def test_a_process_that_dies_is_told_with_its_last_words_and_what_it_answered_is_kept(
    bus: RedisBus, tmp_path: Path
) -> None:
    answered = back_test(keep(tmp_path, hours(BTC, walk(50))), BTC, "crypto", SETTINGS, NIGHT_NS)
    line = msgspec.json.encode(answered).decode()
    surroundings = context(bus)
    nightly = Nightly(surroundings, tmp_path, shell(f"echo '{line}'; echo out of memory >&2; kill -9 $$"))

    nightly.start(NIGHT)
    await finished(nightly)

    btc, eth = Nights(tmp_path / FOLDER).read(NIGHT)
    assert btc == answered
    assert eth.failed == "the process ended with -9: out of memory"
    assert surroundings.metrics.registry.get_sample_value("risk_backtest_failed", {"symbol": "ETH/USDT"}) == 1
    assert [(one.name, "ETH/USDT@sim" in one.text) for one in await alerts(bus)] == [("backtest_failed", True)]


async def test_a_process_that_does_not_end_is_ended_at_its_limit(bus: RedisBus, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"time_limit_s": 1})
    nightly = Nightly(context(bus, settings), tmp_path, shell("exec sleep 600"))

    nightly.start(NIGHT)
    await finished(nightly)

    assert [one.failed for one in Nights(tmp_path / FOLDER).read(NIGHT)] == [
        "not judged within 1 s, the limit of all symbols together"
    ] * 2
    assert judging() == []


async def test_a_process_that_says_what_nobody_reads_is_told(bus: RedisBus, tmp_path: Path) -> None:
    nightly = Nightly(context(bus), tmp_path, shell("echo nonsense; exec sleep 600"))

    nightly.start(NIGHT)
    await finished(nightly)

    assert all("cannot be read" in (one.failed or "") for one in Nights(tmp_path / FOLDER).read(NIGHT))
    assert judging() == []


async def test_a_stop_ends_the_process_and_the_next_start_judges_the_night(bus: RedisBus, tmp_path: Path) -> None:
    nightly = Nightly(context(bus), tmp_path, shell("exec sleep 600"))
    nightly.start(NIGHT)
    await until(judging)

    await nightly.close()

    assert judging() == []
    assert night_files(tmp_path) == []
    assert Nightly(context(bus), tmp_path).due(0, caught_up=True) == NIGHT


def test_a_process_whose_service_was_killed_ends_by_itself(tmp_path: Path) -> None:
    """Nobody is there to keep its time or to read it: at its next answer it ends."""
    keep(tmp_path, hours(BTC, walk(50)))
    asked = Asked(
        market=str(tmp_path),
        instruments=dict.fromkeys([BTC, "ETH/USDT@sim"], "crypto"),
        until_ns=NIGHT_NS,
        settings=SETTINGS.model_dump_json(),
    )
    read, write = os.pipe()
    os.close(read)
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=write, stderr=subprocess.DEVNULL)
    os.close(write)

    process.communicate(msgspec.json.encode(asked), timeout=60)

    assert process.returncode != 0


def assert_alike(found: list[SymbolNight], expected: list[SymbolNight]) -> None:
    """Equal, but for what a sum of another number of threads makes of a fit's last digits."""
    for one, other in zip(found, expected, strict=True):
        assert msgspec.structs.replace(one, methods={}) == msgspec.structs.replace(other, methods={})
        assert one.methods.keys() == other.methods.keys()
        for method, tested in one.methods.items():
            number, expected_number = fits(tested), fits(other.methods[method])
            assert number == pytest.approx(expected_number, rel=1e-5, abs=1e-12)
            assert msgspec.structs.replace(tested, **dict.fromkeys(number)) == msgspec.structs.replace(
                other.methods[method], **dict.fromkeys(expected_number)
            )


def fits(tested: Tested) -> dict[str, float]:
    return {name: value for name, value in msgspec.structs.asdict(tested).items() if isinstance(value, float)}


@pytest.fixture(autouse=True)
def _children_before() -> Iterator[None]:
    """Remember what other tests of this process have left running: it judges no night."""
    OTHERS.update(one.pid for one in psutil.Process().children())
    yield
    OTHERS.clear()


def judging() -> list[psutil.Process]:
    """Return the processes of nights; the test's Redis is a child too."""
    found = [one for one in psutil.Process().children() if one.pid not in OTHERS]
    return [one for one in found if one.name() not in ("redis-server", "valkey-server")]


def shell(words: str) -> list[str]:
    return ["sh", "-c", f"cat >/dev/null; {words}"]


async def test_the_command_takes_the_settings_of_the_fleet_that_runs(
    bus: RedisBus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await ParamWriter(ParamStore(bus.redis)).start(ROOT / "conf")
    settings = SETTINGS.model_copy(update={"methods": ("ewma-t",)})
    writer = ParamWriter(ParamStore(bus.redis))
    await writer.set("features", "backtest", settings.model_dump_json(), author="a test", reason="a test")
    archive = keep(tmp_path / "market", hours(BTC, walk(200)))
    running = {"session": "s", "redis_url": bus.url, "port": 1, "pid": os.getpid(), "data_dir": str(tmp_path)}
    write_running(RunningFleet(**running))  # type: ignore[arg-type]  # the values of a test

    code = await asyncio.to_thread(outcome, ["risk", "nightly", "--data-dir", str(tmp_path), "--json"])

    expected = back_test(archive, BTC, "crypto", settings)
    assert code == 0
    assert_alike([msgspec.json.decode(capsys.readouterr().out, type=SymbolNight)], [expected])
    assert [*expected.methods] == ["ewma-t"]


# --- the service


async def test_on_a_tape_nights_pass_as_the_market_does_where_they_are_asked_for(
    bus: RedisBus, server: EmbeddedServer, tmp_path: Path
) -> None:
    await ParamWriter(ParamStore(bus.redis)).start(ROOT / "conf")
    settings = SETTINGS.model_copy(update={"run": "always"})
    writer = ParamWriter(ParamStore(bus.redis))
    await writer.set("features", "backtest", settings.model_dump_json(), author="a test", reason="a test")
    features = Features(server.url, tmp_path)
    market = features.data_dir / "market"
    # The hour before midnight is the service's own to make, and not on the disk by itself when the night begins.
    archive = keep(market, hours(BTC, walk(191)), "earlier_bars")
    features.start()
    try:
        # Jan 8 has begun when the first beat comes, and is in no file.
        await beat(bus, NIGHT_NS - 3_600 * NS_PER_S)
        await until(lambda: night_files(market) == ["2024-01-08.jsonl"], within_s=60)
        for ts in (NIGHT_NS - 2_400 * NS_PER_S, NIGHT_NS - 300 * NS_PER_S):
            await bus.append("market", build.trade(price=Decimal(walk(191)[-1]), ts_event=ts, ts_init=ts))
        await beat(bus, NIGHT_NS)
        await until(lambda: night_files(market) == ["2024-01-08.jsonl", "2024-01-09.jsonl"], within_s=60)
        exported = await until(lambda: features.metric("risk_backtest_observations"))
        assert features.process is not None
        resident_mb = psutil.Process(features.process.pid).memory_info().rss / 1e6
        features.stop()

        # Two nights pass while it is away: it judges the newer.
        await beat(bus, NIGHT_NS + 50 * 3_600 * NS_PER_S)
        features.start()
        await until(lambda: "2024-01-11.jsonl" in night_files(market), within_s=60)
        features.stop()
    finally:
        if features.process is not None and features.process.poll() is None:
            features.process.kill()
            features.process.wait()

    nights = Nights(market / FOLDER)
    assert exported == 60
    assert night_files(market) == ["2024-01-08.jsonl", "2024-01-09.jsonl", "2024-01-11.jsonl"]
    assert nights.read(NIGHT)[0].returns == 191
    assert_alike(nights.read(NIGHT), [back_test(archive, BTC, "crypto", SETTINGS, NIGHT_NS)])
    assert features.said.count('"event":"backtest"') == 3
    assert resident_mb < MOST_MB


async def test_a_demo_starts_nothing_by_itself(bus: RedisBus, server: EmbeddedServer, tmp_path: Path) -> None:
    await ParamWriter(ParamStore(bus.redis)).start(ROOT / "conf")
    features = Features(server.url, tmp_path)
    keep(features.data_dir / "market", hours(BTC, walk(300)), "earlier_bars")
    features.start()
    try:
        await beat(bus, NIGHT_NS)
        await until(lambda: features.metric('edgefleet_messages_total{service="features",type="beat.v1"}') == 1)
        await beat(bus, NIGHT_NS + NS_PER_S)
        await until(lambda: features.metric('edgefleet_messages_total{service="features",type="beat.v1"}') == 2)
        assert features.process is not None
        children = psutil.Process(features.process.pid).children()
        features.stop()
    finally:
        if features.process is not None and features.process.poll() is None:
            features.process.kill()
            features.process.wait()

    assert children == []
    assert night_files(features.data_dir / "market") == []


async def beat(bus: RedisBus, ts: int) -> None:
    await bus.append("market", build.beat(ts_event=ts, ts_init=ts))
