"""The present state of risk on a real Redis: what the stage itself has in memory, read by one who may only read."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.integration.one_service import ROOT
from tests.unit.risk.world import BTC, World

from edgefleet.bus.embedded import EmbeddedServer
from edgefleet.bus.loop import Observer, run_stage
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.bus.rerun import encode_state
from edgefleet.clock import SYSTEM
from edgefleet.errors import Broken, OutOfReach
from edgefleet.messages import Message, TradingState
from edgefleet.params.reader import stored_config
from edgefleet.params.schema import FleetConfig
from edgefleet.params.store import ParamStore
from edgefleet.params.writer import ParamWriter
from edgefleet.risk.stage import RiskStage
from edgefleet.risk.state import RiskState
from edgefleet.stage import Input, Output
from edgefleet.store.archive import Archive
from edgefleet.testing.configs import FixedConfigs
from edgefleet_services.cli.main import outcome
from edgefleet_services.present import risk_now, risk_recorded

pytestmark = pytest.mark.integration


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    with EmbeddedServer.start(tmp_path / "redis", port) as running:
        yield running


@pytest.fixture
async def bus(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RedisBus]:
    # No snapshot but the last: whoever was killed has its whole journal to run again.
    monkeypatch.setenv("EDGEFLEET__FLEET__SNAPSHOT_EVERY_MS", "1000000000")
    async with await RedisBus.connect(server.url) as connected:
        await ParamWriter(ParamStore(connected.redis)).start(ROOT / "conf")
        yield connected


class Tape(World):
    """A world that keeps what it said, for a bus to say it again."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Message]] = []
        super().__init__()

    def feed(self, stream: str, message: Message) -> list[Any]:
        self.told.append((stream, message))
        return super().feed(stream, message)


class Watched(RiskStage):
    """A risk stage whose memory can be looked at."""

    memory: RiskState

    def step(self, state: RiskState, entry: Input, config: FleetConfig) -> Sequence[Output]:
        self.memory = state
        return super().step(state, entry, config)


class Counting(Observer):
    """Sets `done` when so many entries were committed."""

    def __init__(self, entries: int) -> None:
        self.left, self.done = entries, asyncio.Event()

    def committed(self, stream: str, entries: Sequence[Any], *rest: Any) -> None:
        self.left -= len(entries)
        if self.left <= 0:
            self.done.set()


def half_a_bitcoin() -> list[tuple[str, Message]]:
    tape = Tape()
    tape.fill("0.5")
    tape.beat()
    return tape.told


async def run_risk(bus: RedisBus, told: list[tuple[str, Message]], *, killed: bool) -> RiskState:
    """Give risk a market and an account, and stop or kill it; return what it had in memory then."""
    store = ParamStore(bus.redis)
    current = await store.current()
    assert current is not None
    for stream, message in told:
        await bus.append(stream, message)
    stage, observe, stop = Watched(), Counting(len(told)), asyncio.Event()
    configs = FixedConfigs(await stored_config(store, current.hash))
    running = asyncio.create_task(
        run_stage(bus, stage, configs, clock=SYSTEM, stop=stop, observe=observe, batch=16, block_ms=50)
    )
    async with asyncio.timeout(20):
        await observe.done.wait()
        if killed:
            running.cancel()
            await asyncio.wait({running})
        else:
            stop.set()
            await running
    return stage.memory


async def everything(bus: RedisBus) -> dict[bytes, Any]:
    """Return every key with its value as bytes, and the Functions that are loaded."""
    redis: Any = bus.redis
    found = {key: await redis.dump(key) async for key in redis.scan_iter(count=1_000)}
    return {**found, b"functions": await redis.function_list()}


@pytest.mark.parametrize("killed", [True, False])
async def test_what_is_read_is_what_the_stage_had_in_memory_and_nothing_is_written(bus: RedisBus, killed: bool) -> None:
    memory = await run_risk(bus, half_a_bitcoin(), killed=killed)
    before = await everything(bus)

    present = await risk_now(bus.url)

    assert encode_state(present.state) == encode_state(memory)
    assert present.state.holdings["sim"]["BTC"] == Decimal("0.5")
    assert (present.reran > 0) == killed
    assert present.commits == (await bus.load("risk", RiskStage.inputs)).n
    assert await everything(bus) == before


async def test_a_stage_that_is_running_goes_on_undisturbed(bus: RedisBus) -> None:
    """Who looks takes no epoch: the owner's next commit is OK."""
    await run_risk(bus, half_a_bitcoin(), killed=True)
    owner = await bus.load("risk", RiskStage.inputs)

    await risk_now(bus.url)

    assert (await bus.load("risk", RiskStage.inputs)).epoch == owner.epoch


async def test_a_user_who_may_only_read_can_look(bus: RedisBus, server: EmbeddedServer) -> None:
    memory = await run_risk(bus, half_a_bitcoin(), killed=True)
    redis: Any = bus.redis
    await redis.execute_command(
        "ACL", "SETUSER", "reader", "on", ">secret", "%R~*", "resetchannels", "+@read", "+@connection"
    )

    present = await risk_now(server.url.replace("redis://", "redis://reader:secret@"))

    assert encode_state(present.state) == encode_state(memory)


async def test_a_redis_without_risk_is_told_as_such(bus: RedisBus) -> None:
    with pytest.raises(OutOfReach, match="holds no state of risk"):
        await risk_now(bus.url)


async def test_a_redis_that_is_not_there_is_told_as_such() -> None:
    with pytest.raises(OutOfReach, match="does not answer"):
        await risk_now("redis://127.0.0.1:1/0")


async def test_a_journal_with_a_hole_is_refused(bus: RedisBus) -> None:
    await run_risk(bus, half_a_bitcoin(), killed=True)
    redis: Any = bus.redis
    (entry, _), *_ = await redis.xrevrange("journal.risk", count=1)
    await redis.xdel("journal.risk", entry)

    with pytest.raises(Broken, match="cannot be re-run"):
        await risk_now(bus.url)


async def archived(bus: RedisBus, data_dir: Path) -> Archive:
    """Put into files what the streams hold."""
    archive = Archive(data_dir)
    for stream in (*RiskStage.inputs, "journal.risk", "params.history"):
        if entries := await bus.span(stream, "-", "+"):
            archive.write(stream, entries)
    return archive


async def test_an_archive_tells_what_the_stage_had_in_memory_at_its_end(bus: RedisBus, tmp_path: Path) -> None:
    memory = await run_risk(bus, half_a_bitcoin(), killed=True)
    await archived(bus, tmp_path / "data")

    recorded = await risk_recorded(tmp_path / "data")

    assert recorded is not None
    assert encode_state(recorded.state) == encode_state(memory)
    assert recorded.config.stress.scenarios
    assert (recorded.commits, recorded.reran) == ((await risk_now(bus.url)).commits, (await risk_now(bus.url)).reran)


async def test_an_archive_that_lacks_an_input_is_refused(bus: RedisBus, tmp_path: Path) -> None:
    await run_risk(bus, half_a_bitcoin(), killed=True)
    archive = await archived(bus, tmp_path / "data")
    for file in archive.files("beats"):
        file.path.unlink()

    with pytest.raises(Broken, match=r"cannot be re-run: commit .* are there"):
        await risk_recorded(tmp_path / "data")


async def test_an_archive_without_risk_has_none(tmp_path: Path) -> None:
    assert await risk_recorded(tmp_path) is None


async def test_the_command_asks_the_archive_of_a_fleet_that_has_stopped(
    bus: RedisBus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await run_risk(bus, half_a_bitcoin(), killed=True)
    await archived(bus, tmp_path / "data")

    code = await asyncio.to_thread(outcome, ["risk", "stress", "--data-dir", str(tmp_path / "data"), "--json"])

    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    assert [one["instrument"] for one in json.loads(printed.out)["accounts"][0]["positions"]] == [BTC]


async def test_the_command_puts_the_live_portfolio_under_stress(
    bus: RedisBus, capsys: pytest.CaptureFixture[str]
) -> None:
    await run_risk(bus, half_a_bitcoin(), killed=True)

    code = await asyncio.to_thread(outcome, ["risk", "stress", "--redis-url", bus.url, "--json"])

    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    body = json.loads(printed.out)
    (account,) = body["accounts"]
    assert [one["instrument"] for one in account["positions"]] == [BTC]
    found = {one["scenario"]: one for one in account["scenarios"]}
    assert found["march_2020"]["loss"] == pytest.approx(0.372 * 0.5 * account["positions"][0]["price"])
    assert found["march_2020"]["equity_after"] == pytest.approx(account["equity"] - found["march_2020"]["loss"])
    assert found["march_2020"]["var_after"] > 0
    assert "drawdown" in [one["limit"] for one in found["march_2020"]["broken"]]
    assert found["financial_crisis_2008"]["loss"] is None
    assert found["financial_crisis_2008"]["not_covered"][0]["reason"] == "no shock"


async def test_the_command_says_when_there_is_no_account_yet(bus: RedisBus, capsys: pytest.CaptureFixture[str]) -> None:
    tape = [pair for pair in half_a_bitcoin() if pair[0] == "beats"]
    await run_risk(bus, tape, killed=True)

    code = await asyncio.to_thread(outcome, ["risk", "stress", "--redis-url", bus.url])

    assert code == 1
    assert "no balances of main at sim yet" in capsys.readouterr().out


async def test_the_command_says_when_no_instrument_was_seen(bus: RedisBus, capsys: pytest.CaptureFixture[str]) -> None:
    said = TradingState(state="ACTIVE", reason="x", by="person", ts_event=1, ts_init=1)
    await run_risk(bus, [("control", said)], killed=True)

    code = await asyncio.to_thread(outcome, ["risk", "stress", "--redis-url", bus.url])

    assert code == 3
    assert "seen no instrument yet" in capsys.readouterr().err
