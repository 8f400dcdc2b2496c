"""The ledger's process on a real Redis: it is killed again and again, and every fill is booked once."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from pathlib import Path

import psutil
import pytest
from tests.integration.one_service import ROOT, start
from tests.unit.ledger.test_books import account, session

from edgefleet.bus.embedded import EmbeddedServer
from edgefleet.bus.interface import FIRST, Entry
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.ledger.identity import after, amounts, imbalance
from edgefleet.messages import Fill
from edgefleet.params.store import ParamStore
from edgefleet.params.writer import ParamWriter
from edgefleet.store import tables
from edgefleet.store.archive import Archive
from edgefleet.store.db import LedgerDatabase, database_url
from edgefleet.store.history import History
from edgefleet.testing.build import approved, beat, fill, order_event, touch
from edgefleet.testing.clock import START_NS

pytestmark = pytest.mark.integration
KILLS = 20
AHEAD = 500  # the feed waits for a ledger that is this many fills behind, so the work does not grow with a slow machine


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


class LedgerProcess:
    """The service under test; `kill` is SIGKILL, `stop` is what the supervisor does."""

    def __init__(self, url: str, directory: Path) -> None:
        self._url, self.data_dir, self._log = url, directory / "data", directory / "ledger.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = start("ledger", self._url, self.data_dir, 0, log=self._log)

    def must_run(self) -> None:
        assert self.process is not None
        assert self.process.poll() is None, f"it ended by itself: {self._log.read_text()[-2000:]}"

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        assert code == 0, self._log.read_text()
        return code


@pytest.fixture
def ledger(server: EmbeddedServer, tmp_path: Path) -> Iterator[LedgerProcess]:
    one = LedgerProcess(server.url, tmp_path)
    yield one
    if one.process is not None and one.process.poll() is None:
        one.kill()


async def until(condition: Callable[[], object], *, within_s: float = 20) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - the condition is another process's, which sets no event of ours
            await asyncio.sleep(0.02)


def caught_up(lags: dict[tuple[str, str], int]) -> bool:
    mine = [lag for (service, _), lag in lags.items() if service == "ledger"]
    return bool(mine) and not any(mine)


async def drained(bus: RedisBus, ledger: LedgerProcess, *, within_s: float = 20) -> None:
    async with asyncio.timeout(within_s):
        while not caught_up(await bus.lags()):
            ledger.must_run()
            await asyncio.sleep(0.02)


async def unread(bus: RedisBus) -> int:
    """Return how many fills the ledger has not taken, also while it is dead."""
    position = (await bus.load("ledger", ("fills",))).positions["fills"]
    return len(await bus.redis.xrange("fills", f"({position}", count=AHEAD + 1) or ())


def one_fill(number: int) -> Fill:
    side = "buy" if number % 3 else "sell"
    asset = "USDT" if number % 2 else "BTC"
    return fill(
        trade_id=str(number), order_id=f"ef{number // 4}", side=side, quantity=Decimal("0.001") * (number % 7 + 1),
        price=Decimal("60000.01") + number, fee=Decimal("0.00001"), fee_asset=asset, ts_event=START_NS + number,
    )  # fmt: skip


async def begin(bus: RedisBus) -> None:
    await bus.append("control", session())
    await bus.append("fills", account(USDT="100000"))
    await bus.append("beats", touch())


def booked(data_dir: Path) -> tuple[list[Fill], dict[str, Decimal]]:
    database = LedgerDatabase(database_url(data_dir))
    with database.reading() as transaction:
        rows = transaction.rows(tables.fills)
        cash = {row["asset"]: row["amount"] for row in transaction.rows(tables.cash)}
    database.close()
    return rows, cash  # type: ignore[return-value]  # rows are counted here, not read


async def streamed(bus: RedisBus, stream: str) -> list[Entry]:
    return await bus.span(stream, "-", "+")


@pytest.mark.faults
async def test_a_ledger_that_is_killed_again_and_again_books_each_fill_once(
    bus: RedisBus, ledger: LedgerProcess
) -> None:
    chance = random.Random(7)  # the seed only spreads the kills
    sent: list[Fill] = []
    await begin(bus)

    # A flag, no cancel: redis-py sends by `asyncio.wait_for`, which on Python 3.11 may swallow a cancel.
    enough = asyncio.Event()

    async def feed() -> None:
        number = 0
        while not enough.is_set():
            while await unread(bus) > AHEAD and not enough.is_set():  # noqa: ASYNC110 - another process reads
                await asyncio.sleep(0.01)
            for _ in range(chance.randint(1, 20)):
                sent.append(one_fill(number))
                await bus.append("fills", sent[-1])
                if number % 10 == 0:  # the order step does not do this; the ledger must not mind
                    await bus.append("fills", sent[-1])
                number += 1
            await bus.append("beats", beat(ts_event=START_NS + number * 10**9))
            await asyncio.sleep(0.01)

    feeding = asyncio.create_task(feed())
    for _ in range(KILLS):
        ledger.start()
        at = (await bus.load("ledger", ("fills",))).positions["fills"]
        async with asyncio.timeout(20):  # it works, and then it is killed in the middle of it
            while (await bus.load("ledger", ("fills",))).positions["fills"] == at:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        await asyncio.sleep(chance.uniform(0, 0.3))
        ledger.kill()
    enough.set()
    await feeding
    ledger.start()
    await drained(bus, ledger)
    ledger.stop()

    rows, cash = booked(ledger.data_dir)
    assert len(rows) == len(sent) > KILLS
    assert imbalance(cash, after(amounts(account(USDT="100000").balances), sent)) == 0
    archive = Archive(ledger.data_dir)
    for stream in ("control", "fills", "beats", "journal.ledger", "params.history"):
        assert list(archive.read(stream, FIRST)) == await streamed(bus, stream), stream


async def test_everything_is_on_disk_after_a_clean_stop(
    bus: RedisBus, ledger: LedgerProcess, server: EmbeddedServer
) -> None:
    ledger.start()
    await begin(bus)
    target = await bus.append("targets", approved())
    order = await bus.append("orders", order_event(cause=f"targets/{target}"))
    await bus.append("fills", fill(cause=f"orders/{order}"))
    config = (await ParamStore(bus.redis).current()).hash  # type: ignore[union-attr]  # the fixture wrote one
    await drained(bus, ledger)
    before = {
        stream: await streamed(bus, stream) for stream in ("targets", "orders", "fills", "control", "params.history")
    }

    ledger.stop()
    server.stop()

    with History.open(ledger.data_dir) as history:
        for stream, entries in before.items():
            assert list(history.entries(stream)) == entries, stream
        assert history.cited(f"targets/{target}") == before["targets"][0]
        assert history.config(config).hash == config
        assert [commit.n for commit in history.journal("ledger")] == sorted(
            commit.n for commit in history.journal("ledger")
        )
    database = LedgerDatabase(database_url(ledger.data_dir))
    with database.reading() as transaction:
        found = transaction.entries_of_order("ef1")
        assert sorted(row.stream for row in found) == ["fills", "orders"]
        assert target in [row.id for row in transaction.entries_of_target("t1")]
        assert transaction.entries_of_instrument("BTC/USDT")
    database.close()


async def test_what_is_archived_may_be_trimmed_and_is_still_found(bus: RedisBus, ledger: LedgerProcess) -> None:
    await begin(bus)
    sent = [await bus.append("refusals", order_event(order_id=f"ef{n}")) for n in range(50)]
    ledger.start()
    await drained(bus, ledger)
    ledger.stop()
    await bus.redis.xtrim("refusals", maxlen=5, approximate=False)

    with History.open(ledger.data_dir, bus.url) as history:
        assert [entry.id for entry in history.entries("refusals")] == sent
        assert history.get("refusals", sent[0]) is not None


async def test_a_second_ledger_fences_the_first(bus: RedisBus, ledger: LedgerProcess, tmp_path: Path) -> None:
    await begin(bus)
    ledger.start()
    await drained(bus, ledger)

    await bus.claim("ledger", "ledger", ("control", "fills", "orders", "beats"), snapshots=False)
    await bus.append("fills", fill())

    assert ledger.process is not None
    await until(lambda: ledger.process is not None and ledger.process.poll() is not None)
    assert ledger.process.returncode != 0


async def test_a_fill_that_cannot_be_read_halts_trading(bus: RedisBus, ledger: LedgerProcess) -> None:
    await begin(bus)
    await bus.latch("ACTIVE", reason="start", by="ada", person=True, ts=1)
    await bus.redis.xadd("fills", {"type": "fill.v1", "data": "{}"})

    ledger.start()

    await until(lambda: ledger.process is not None and ledger.process.poll() is not None)
    latch = await bus.trading_state()
    assert latch is not None
    assert latch.state == "HALTED"
    assert "fills/" in latch.reason


@pytest.mark.performance
async def test_the_ledger_stays_within_its_memory(bus: RedisBus, ledger: LedgerProcess) -> None:
    await begin(bus)
    for number in range(3_000):
        await bus.append("fills", one_fill(number))
    pipe = bus.redis.pipeline(transaction=False)
    for number in range(30_000):
        pipe.xadd("market", {"type": "trade.v1", "data": b'{"number":%d,"padding":"%s"}' % (number, b"x" * 300)})
    await pipe.execute()

    ledger.start()
    await drained(bus, ledger)
    assert ledger.process is not None
    process = psutil.Process(ledger.process.pid)
    await until(lambda: Archive(ledger.data_dir).mark("market") != FIRST)

    assert process.memory_info().rss < 160 * 2**20
