"""Parameters through a real Redis: files, requests, readers, confirmations, refusals."""

from __future__ import annotations

import asyncio
import io
import re
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from edgefleet.bus.embedded import EmbeddedServer
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.clock import NS_PER_MS, SYSTEM
from edgefleet.errors import OutOfReach
from edgefleet.messages import Alert, ParamRejected, ParamVersion, decode
from edgefleet.params.faults import InvalidConfig
from edgefleet.params.reader import ConfigReader
from edgefleet.params.store import ParamStore
from edgefleet.params.versions import Applied
from edgefleet.params.writer import ParamWriter
from edgefleet.telemetry import logs
from edgefleet.telemetry.health import Health
from edgefleet.telemetry.metrics import Metrics
from edgefleet_services.params.service import ParamsService

pytestmark = pytest.mark.integration

CONF = Path(__file__).parents[2] / "conf"
LOG = logs.configure("test", stream=io.StringIO(), console=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    with EmbeddedServer.start(tmp_path_factory.mktemp("redis"), port) as running:
        yield running


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    return Path(shutil.copytree(CONF, tmp_path / "conf"))


@pytest.fixture
async def bus(server: EmbeddedServer) -> AsyncIterator[RedisBus]:
    async with await RedisBus.connect(server.url) as connected:
        await connected.redis.flushall()
        yield connected


class Fleet:
    """A params service on `bus`, and readers of it."""

    def __init__(self, bus: RedisBus, conf: Path) -> None:
        self.bus, self.conf = bus, conf
        self.metrics = Metrics()
        self.service = ParamsService(bus, conf, log=LOG, metrics=self.metrics, health=Health("params"), environ={})
        self.store = ParamStore(bus.redis)
        self.readers: list[ConfigReader] = []

    @property
    def redis(self) -> Redis:
        return self.bus.redis

    def edit(self, pattern: str, replacement: str, file: str = "risk_params.yml") -> None:
        path = self.conf / file
        text = path.read_text()
        changed = re.sub(pattern, replacement, text)
        assert changed != text
        path.write_text(changed)

    async def in_force(self, *path: str) -> object:
        value: object = (await self.store.read()).components[path[0]].body
        for key in path[1:]:
            assert isinstance(value, dict)
            value = value[key]
        return value

    async def rejected(self) -> list[ParamRejected]:
        return [message for message in await self.store.history() if isinstance(message, ParamRejected)]


@asynccontextmanager
async def running(bus: RedisBus, conf: Path, *services: str, poll_s: float = 5.0) -> AsyncIterator[Fleet]:
    """Give a started params service and one automatic reader per name in `services`."""
    fleet, stop = Fleet(bus, conf), asyncio.Event()
    await fleet.service.start()
    async with AsyncExitStack() as stack:
        task = asyncio.create_task(fleet.service.run(stop))
        stack.push_async_callback(_stopped, task, stop)
        await _until(lambda: _listeners(bus, "param.reload"))
        for number, service in enumerate(services):
            reader = ConfigReader(
                bus,
                service=service,
                instance=str(number),
                log=LOG,
                metrics=Metrics(),
                poll_s=poll_s,
                automatic=True,
            )
            fleet.readers.append(await stack.enter_async_context(reader))
        if services:
            await _until(lambda: _listeners(bus, "param.changed", 1 + len(services)))
        yield fleet


async def _stopped(task: asyncio.Task[None], stop: asyncio.Event) -> None:
    stop.set()
    await task


async def _until(condition: Callable[[], Awaitable[object]], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not await condition():  # noqa: ASYNC110 - what is waited for is in Redis, which sets no event here
            await asyncio.sleep(0.001)


async def _listeners(bus: RedisBus, channel: str, at_least: int = 1) -> bool:
    try:
        ((_, count),) = await bus.redis.pubsub_numsub(channel)
    except RedisError:
        return False
    return int(count) >= at_least


async def _versions(fleet: Fleet, component: str) -> list[ParamVersion]:
    return [m for m in await fleet.store.history(component) if isinstance(m, ParamVersion)]


RELOAD = '{"component": "risk_harmoniser", "config_path": "conf/risk_params.yml"}'


async def test_a_reload_by_redis_cli_is_applied_by_five_readers_within_a_tenth_of_a_second(
    bus: RedisBus, conf: Path, server: EmbeddedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("alpha", "router", "risk", "executor", "monitor")
    took_ms: list[float] = []
    async with running(bus, conf, *names) as fleet:
        for number in range(100):
            fleet.edit(r"kelly_fraction: [0-9.]+", f"kelly_fraction: {0.20 + number % 2 * 0.01 + number * 1e-4:.4f}")
            wanted = 0.20 + number % 2 * 0.01 + number * 1e-4

            started = SYSTEM.monotonic_ns()
            cli = await asyncio.create_subprocess_exec(
                "redis-cli", "-p", str(server.port), "PUBLISH", "param.reload", RELOAD, stdout=asyncio.subprocess.PIPE
            )

            async def all_applied(wanted: float = wanted) -> bool:
                found = [reader.current.risk_harmonizer.position_sizing.kelly_fraction for reader in fleet.readers]
                return all(abs(value - wanted) < 1e-9 for value in found)

            await _until(all_applied)
            took_ms.append((SYSTEM.monotonic_ns() - started) / NS_PER_MS)
            await cli.communicate()
        applied = await fleet.store.applied()

    took_ms.sort()
    with capsys.disabled():
        sys.stdout.write(f"\n100 reloads by redis-cli, 5 readers: p50 {took_ms[50]:.1f} ms, p99 {took_ms[98]:.1f} ms\n")
    assert took_ms[98] < 1_000
    assert {entry.service for entry in applied} <= set(names)


async def test_with_the_hint_cut_a_change_arrives_within_five_seconds(bus: RedisBus, conf: Path) -> None:
    async with running(bus, conf, "alpha", "risk", poll_s=1.0) as fleet:
        store = ParamStore(bus.redis, hint="nobody.listens.here")

        await ParamWriter(store).set("features", "min_interval_ms", "250", author="operator", reason="test")

        await _until(lambda: _all(fleet, lambda reader: reader.current.features.min_interval_ms == 250), within_s=5.0)


async def _all(fleet: Fleet, holds: Callable[[ConfigReader], bool]) -> bool:
    return all(holds(reader) for reader in fleet.readers)


@pytest.mark.parametrize(
    ("pattern", "replacement", "where"),
    [
        (
            r"kelly_fraction: 0.25",
            "kelly_fraction: 3",
            r"conf/risk_params\.yml:\d+: position_sizing\.kelly_fraction: .*1",
        ),
        (
            r"kelly_fraction:",
            "kely_fraction:",
            r"conf/risk_params\.yml:\d+: position_sizing\.kely_fraction: is unknown",
        ),
        (
            r"kelly_fraction: 0.25",
            "kelly_fraction: lots",
            r"conf/risk_params\.yml:\d+: position_sizing\.kelly_fraction: ",
        ),
        (r"edge_blending:", "edge_blending: [", r"conf/risk_params\.yml:\d+: is not YAML"),
    ],
)
async def test_an_invalid_file_changes_nothing_and_says_where(
    bus: RedisBus, conf: Path, pattern: str, replacement: str, where: str
) -> None:
    async with running(bus, conf, "risk") as fleet:
        before = await fleet.store.current()
        fleet.edit(pattern, replacement)

        await bus.publish("param.reload", RELOAD)
        await _until(fleet.rejected)

        (rejected,) = await fleet.rejected()
        (alert,) = [decode(entry.type, entry.data) for entry in await bus.span("alerts", "-", "+")]
        after = await fleet.store.current()
        assert re.fullmatch(where + ".*", rejected.errors[0]), rejected.errors
        assert isinstance(alert, Alert)
        assert rejected.errors[0] in alert.text
        assert after == before
    assert (
        fleet.metrics.registry.get_sample_value("edgefleet_param_rejects_total", {"component": "risk_harmonizer"})
        == 1.0
    )


@pytest.mark.parametrize(
    "payload",
    ['{"component": "nothing"}', "not json", '{"component": 3}', '{"config_path": "conf/fleet.yml"}', "\xff",
     '{"component": "fleet", "config_path": "../../etc/passwd"}', '{"component": "fleet", "bogus": 1}', "[]"],
)  # fmt: skip
async def test_an_unreadable_request_is_refused_in_the_history(bus: RedisBus, conf: Path, payload: str) -> None:
    async with running(bus, conf) as fleet:
        before = await fleet.store.current()

        await bus.publish("param.reload", payload.encode("latin-1"))
        await _until(fleet.rejected)

        assert len(await fleet.rejected()) == 1
        assert await fleet.store.current() == before


@pytest.mark.parametrize("payload", ["", "{}"])
async def test_an_empty_request_reads_everything_again(bus: RedisBus, conf: Path, payload: str) -> None:
    async with running(bus, conf, "alpha") as fleet:
        fleet.edit("bar_ms: 1000", "bar_ms: 2000", "features.yml")
        fleet.edit("maker_fee: 0.001", "maker_fee: 0.002", "venues/sim.yml")

        await bus.publish("param.reload", payload)

        await _until(lambda: _all(fleet, lambda reader: reader.current.features.bar_ms == 2000))
        assert str(fleet.readers[0].current.venues.venues["sim"].maker_fee) == "0.002"


async def test_one_venues_file_leaves_the_other_venues_alone(bus: RedisBus, conf: Path) -> None:
    async with running(bus, conf, "alpha") as fleet:
        fleet.edit("maker_fee: 0.001", "maker_fee: 0.003", "venues/binance.yml")

        await bus.publish("param.reload", '{"component": "venues", "config_path": "conf/venues/binance.yml"}')

        await _until(lambda: _all(fleet, lambda r: str(r.current.venues.venues["binance"].maker_fee) == "0.003"))
        assert sorted(fleet.readers[0].current.venues.venues) == ["alpaca", "binance", "sim"]


async def test_a_reload_of_an_unchanged_file_makes_no_version_and_is_confirmed(bus: RedisBus, conf: Path) -> None:
    async with running(bus, conf, "alpha") as fleet:
        before = await fleet.store.current()
        assert before is not None

        await bus.publish("param.reload", RELOAD)

        async def seen_again() -> bool:
            return [entry.n for entry in await fleet.store.applied()] == [before.n + 1]

        await _until(seen_again)
        after = await fleet.store.current()
        assert after is not None
        assert after.versions == before.versions
        assert after.hash == before.hash


async def test_a_loosening_waits_for_risk_and_executor_and_a_tightening_does_not(bus: RedisBus, conf: Path) -> None:
    async with running(bus, conf, "alpha") as fleet:
        held = _held_risk(fleet)
        await fleet.store.confirm(await held(), lease_ms=60_000)
        fleet.edit("max_drawdown: 0.05", "max_drawdown: 0.08")
        fleet.edit("kelly_fraction: 0.25", "kelly_fraction: 0.10")

        await bus.publish("param.reload", RELOAD)
        await _until(fleet.store.waits)

        limits = ("risk_harmonizer", "risk_limits", "max_drawdown")
        assert await fleet.in_force(*limits) == 0.05
        assert await fleet.in_force("risk_harmonizer", "position_sizing", "kelly_fraction") == 0.10
        assert [version.effective for version in await _versions(fleet, "risk_harmonizer")] == [True, False]

        await fleet.store.confirm(await held(), lease_ms=60_000)

        await _until(lambda: _equals(fleet.in_force(*limits), 0.08))
        assert [version.effective for version in await _versions(fleet, "risk_harmonizer")] == [True, False, True]
        await _until(lambda: _all(fleet, lambda r: r.current.risk_harmonizer.risk_limits.max_drawdown == 0.08))


async def test_a_reader_that_died_does_not_hold_a_loosening_back(bus: RedisBus, conf: Path) -> None:
    async with running(bus, conf) as fleet:
        await fleet.store.confirm(await _held_risk(fleet)(), lease_ms=300)
        fleet.edit("max_drawdown: 0.05", "max_drawdown: 0.08")

        await bus.publish("param.reload", RELOAD)

        await _until(lambda: _equals(fleet.in_force("risk_harmonizer", "risk_limits", "max_drawdown"), 0.08))


def _held_risk(fleet: Fleet) -> Callable[[], Awaitable[Applied]]:
    """Return what a risk instance that applied everything up to now would say."""

    async def say() -> Applied:
        now = await fleet.store.current()
        assert now is not None
        return Applied(service="risk", instance="held", hash=now.hash, n=now.n, seen=now.n, versions=now.versions, ts=0)

    return say


async def _equals(value: Awaitable[object], expected: object) -> bool:
    return await value == expected


async def test_rollback_goes_back_to_the_body_before(bus: RedisBus, conf: Path) -> None:
    async with running(bus, conf, "alpha") as fleet:
        writer = ParamWriter(fleet.store)
        await writer.set("features", "bar_ms", "500", author="operator", reason="test")

        outcome = await writer.rollback("features", None, author="operator")

        assert outcome.history[0].reason == "rollback to version 1"
        assert outcome.history[0].version == 3
        await _until(lambda: _all(fleet, lambda reader: reader.current.features.bar_ms == 1000))


async def test_a_restart_keeps_what_operators_set_and_takes_a_file_that_changed(bus: RedisBus, conf: Path) -> None:
    async with running(bus, conf) as fleet:
        await ParamWriter(fleet.store).set("features", "bar_ms", "500", author="operator", reason="test")
    async with running(bus, conf) as fleet:
        kept = await fleet.in_force("features", "bar_ms")
    fleet.edit("bar_ms: 1000", "bar_ms: 700", "features.yml")
    async with running(bus, conf) as fleet:
        taken = await fleet.in_force("features", "bar_ms")

    assert (kept, taken) == (500, 700)
    assert [version.author for version in await _versions(fleet, "features")] == ["conf", "operator", "conf"]


async def test_a_restart_on_a_wrong_file_goes_on_with_what_is_stored(bus: RedisBus, conf: Path) -> None:
    async with running(bus, conf) as fleet:
        before = await fleet.store.current()
    fleet.edit("bar_ms: 1000", "bar_ms: -1", "features.yml")
    async with running(bus, conf) as fleet:
        assert await fleet.store.current() == before
        assert "conf/features.yml:3: bar_ms" in (await fleet.rejected())[0].errors[0]


async def test_a_first_start_on_a_wrong_file_writes_nothing(bus: RedisBus, conf: Path) -> None:
    fleet = Fleet(bus, conf)
    fleet.edit("bar_ms: 1000", "bar_ms: -1", "features.yml")

    with pytest.raises(InvalidConfig, match=r"conf/features\.yml:3: bar_ms: should be greater than 0, was -1"):
        await fleet.service.start()

    assert await fleet.store.current() is None


async def test_feature_keys_become_flags_and_what_is_no_flag_is_refused_once(bus: RedisBus, conf: Path) -> None:
    async with running(bus, conf, "alpha") as fleet:
        await fleet.redis.set("feature:deep_models", "1")
        await fleet.redis.set("feature:broken", "maybe")

        await _until(lambda: _all(fleet, lambda reader: reader.current.flags == {"deep_models": True}))
        await fleet.redis.set("feature:deep_models", "0")
        await _until(lambda: _all(fleet, lambda reader: reader.current.flags == {"deep_models": False}))

        assert await fleet.bus.redis.hgetall("features:flags") == {b"deep_models": b"0"}
        assert [rejected.errors for rejected in await fleet.rejected()] == [
            ("feature:broken: feature:broken must be 1 or 0, was 'maybe'",)
        ]


async def test_mode_tightens_the_trading_state_and_never_loosens_it(bus: RedisBus, conf: Path) -> None:
    await bus.latch("ACTIVE", reason="start", by="test", person=True, ts=1)
    async with running(bus, conf) as fleet:
        for mode, state in (("paper", "ACTIVE"), ("reduce", "REDUCING"), ("halt", "HALTED"), ("auto", "HALTED")):
            await fleet.redis.set("mode", mode)
            await fleet.service.follow_mode()
            latch = await bus.trading_state()
            assert latch is not None
            assert latch.state == state
        await fleet.redis.set("mode", "yolo")
        await _until(fleet.rejected)

        assert "mode must be one of auto, paper, reduce, halt, was 'yolo'" in (await fleet.rejected())[0].errors[0]


def _stage_reader(bus: RedisBus, metrics: Metrics) -> ConfigReader:
    return ConfigReader(bus, service="alpha", instance="stage", log=LOG, metrics=metrics, poll_s=0.05)


async def test_a_stage_swaps_when_it_wants_to_and_says_what_it_applied(bus: RedisBus, conf: Path) -> None:
    async with running(bus, conf) as fleet, _stage_reader(bus, Metrics()) as reader:
        first = reader.current
        await ParamWriter(fleet.store).set("features", "bar_ms", "500", author="operator", reason="test")

        async with asyncio.timeout(5):
            await reader.changed.wait()
        before_swap, waiting = reader.current, reader.pending
        swapped = reader.swap()

        assert before_swap is first
        assert waiting is swapped
        assert swapped.features.bar_ms == 500
        assert not reader.changed.is_set()
        assert (await reader.by_hash(first.hash)).features.bar_ms == 1000
        await _until(lambda: _equals(_applied_hash(fleet), swapped.hash))


async def _applied_hash(fleet: Fleet) -> object:
    return next((entry.hash for entry in await fleet.store.applied()), None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("body", "{}"),
        ("body", "{"),
        ("hash", "0" * 64),
        ("versions", "[]"),
        ("n", "soon"),
        ("body", '{"fleet": {"x": 1}}'),
    ],
)
async def test_a_corrupt_configuration_keeps_the_old_object_and_raises_the_counter(
    bus: RedisBus, conf: Path, field: str, value: str
) -> None:
    metrics, fleet = Metrics(), Fleet(bus, conf)
    await fleet.service.start()
    async with _stage_reader(bus, metrics) as reader:
        first = reader.current
        await fleet.redis.hset("config:current", field, value)
        await bus.publish("param.changed", "x")

        async def is_counted() -> bool:
            return metrics.registry.get_sample_value("edgefleet_param_rejects_total", {"component": "config"}) == 1.0

        await _until(is_counted)
        assert reader.swap() is first


async def test_a_reader_that_finds_no_configuration_is_out_of_reach(bus: RedisBus) -> None:
    with pytest.raises(OutOfReach, match="is the params service running"):
        await _stage_reader(bus, Metrics()).start(deadline_s=0.1)


async def test_two_writers_at_once_lose_neither_change(bus: RedisBus, conf: Path) -> None:
    async with running(bus, conf) as fleet:
        writers = [ParamWriter(ParamStore(bus.redis)) for _ in range(2)]

        await asyncio.gather(
            *(writers[0].set("features", "bar_ms", str(100 + n), author="a", reason="r") for n in range(5)),
            *(writers[1].set("fleet", "targets_cap", str(100 + n), author="b", reason="r") for n in range(5)),
        )

        for component in ("features", "fleet"):
            versions = [version.version for version in await _versions(fleet, component)]
            assert versions == [1, 2, 3, 4, 5, 6]


async def test_a_flushed_redis_gets_the_files_again(bus: RedisBus, conf: Path) -> None:
    async with running(bus, conf) as fleet:
        await fleet.redis.flushall()

        await _until(fleet.store.current)

        assert await fleet.in_force("features", "bar_ms") == 1000


async def test_after_redis_was_killed_requests_and_readers_go_on(tmp_path: Path, conf: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    server = EmbeddedServer.start(tmp_path / "redis", port)
    try:
        async with await RedisBus.connect(server.url) as bus, running(bus, conf, "alpha", poll_s=0.2) as fleet:
            server.kill()
            server = EmbeddedServer.start(tmp_path / "redis", port)
            fleet.edit("bar_ms: 1000", "bar_ms: 300", "features.yml")
            async with await RedisBus.connect(server.url) as fresh:

                async def asked_and_applied() -> bool:
                    """Ask again each time: a request that nobody hears is gone, as with any PUBLISH."""
                    await fresh.publish("param.reload", '{"component": "features"}')
                    return await _all(fleet, lambda reader: reader.current.features.bar_ms == 300)

                await _until(asked_and_applied)
    finally:
        server.stop()
