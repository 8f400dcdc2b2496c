"""The service `features` killed at random moments: every message, row and bar is in the files once, and whole."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from tests.faults.follower_process import ROOT, die_everywhere

from edgefleet.bus.interface import Entry
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.clock import NS_PER_MS, NS_PER_S
from edgefleet.messages import Message, encode, tag_of
from edgefleet.params.files import load_fleet
from edgefleet.params.store import ParamStore
from edgefleet.params.writer import ParamWriter
from edgefleet.store.archive import Archive
from edgefleet.store.features.offline import FeatureStore
from edgefleet.store.features.sets import checked
from edgefleet.store.market.archive import MarketArchive
from edgefleet.store.market.maintenance import check_archive
from edgefleet.testing import build
from edgefleet.testing.clock import START_NS
from edgefleet_services.features.keepers import BarKeeper, FeatureKeeper

KILLS = 12
SECONDS = 50  # of market between two kills
PATIENCE_S = 30.0
pytestmark = [pytest.mark.faults, pytest.mark.integration]
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.faults.follower_process"])


def market(first: int, seconds: int) -> list[Message]:
    """Return a quote, three prints and a beat of each second, prices and sizes moving."""
    said: list[Message] = []
    for second in range(first, first + seconds):
        ts, mid = START_NS + second * NS_PER_S, Decimal(60_000) + second * 7 % 31
        said.append(build.quote(bid=mid - 1, ask=mid + 1, update_id=second + 1, ts_event=ts, ts_init=ts))
        for n in range(3):
            at = ts + n * 250 * NS_PER_MS
            trade = build.trade(price=mid + n, quantity=Decimal(1 + n), trade_id=f"{second}.{n}", ts_event=at)
            said.append(trade)
        said.append(build.beat(ts_event=ts + 900 * NS_PER_MS, ts_init=ts))
    return said


class Killed:
    """The service's process; `kill` is SIGKILL, `stop` is what a supervisor does."""

    def __init__(self, url: str, data_dir: Path, log: Path) -> None:
        self._command = [sys.executable, "-m", "tests.faults.follower_process", url, str(data_dir), "0"]
        self._log = log
        self.mark = data_dir / "market" / "_marks" / "fleet.json"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as out:
            self.process = subprocess.Popen(self._command, cwd=ROOT, stdout=out, stderr=out)

    def commits(self) -> int:
        return int(json.loads(self.mark.read_bytes())["commits"]) if self.mark.exists() else 0

    def kill(self) -> None:
        assert self.process is not None
        assert self.process.poll() is None, f"it ended by itself: {self._log.read_text()[-2000:]}"
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, self._log.read_text()[-2000:]


@pytest.fixture
def killed(redis_url: str, tmp_path: Path) -> Iterator[Killed]:
    one = Killed(redis_url, tmp_path, tmp_path / "features.log")
    yield one
    if one.process is not None and one.process.poll() is None:
        one.process.kill()
        one.process.wait()


def test_nothing_is_missing_or_there_twice_after_many_kills(redis_url: str, tmp_path: Path, killed: Killed) -> None:
    moments, said = random.Random(11), list[Message]()
    asyncio.run(_configure(redis_url))
    with redis.Redis.from_url(redis_url) as client:
        for kill in range(KILLS):
            said += _publish(client, market(kill * SECONDS, SECONDS))
            before = killed.commits()
            killed.start()
            _until_committed(killed, before)
            time.sleep(moments.uniform(0, 0.02))  # the moment is what this test varies
            killed.kill()
            if kill == KILLS // 2:  # the ledger archives and Redis forgets, while nobody keeps
                entries = [Entry(i.decode(), f[b"type"].decode(), f[b"data"]) for i, f in client.xrange("market")]
                Archive(tmp_path).write("market", entries)
                client.xtrim("market", maxlen=10, approximate=False)
        said += _publish(client, market(KILLS * SECONDS, SECONDS))
    before = killed.commits()
    killed.start()
    _until_committed(killed, before)
    quotes = f"date=*/kind=quote/instrument={quote(build.INSTRUMENT, safe='')}/*.parquet"
    _until(lambda: len(list((tmp_path / "market").glob(quotes))) < KILLS // 2, "the small files are merged")
    killed.stop()

    assert _wrong(tmp_path / "market", said) == []


def test_wherever_it_dies_in_a_commit_the_next_start_makes_it_whole(tmp_path: Path) -> None:
    said = market(0, 150)  # half of it is in the middle of a minute
    entries = [Entry(f"{n}-0", tag_of(message), encode(message)) for n, message in enumerate(said, start=1)]
    Archive(tmp_path).write("market", entries)
    ours, theirs = _PROCESSES.Pipe()
    process = _PROCESSES.Process(target=die_everywhere, args=(str(tmp_path), len(said) // 2 + 1, theirs))
    process.start()
    kept = []
    while (told := ours.recv()) is not None:
        kept.append(told)
    process.join()

    assert process.exitcode == 0
    assert len(kept) > 30
    assert [(out, wrong) for out in kept if (wrong := _wrong(Path(out), said))] == []


async def _configure(url: str) -> None:
    async with await RedisBus.connect(url) as bus:
        await ParamWriter(ParamStore(bus.redis)).start(ROOT / "conf")


def _publish(client: redis.Redis, messages: list[Message]) -> list[Message]:
    for message in messages:
        client.xadd("market", {"type": tag_of(message), "data": encode(message)})
    return messages


def _until_committed(killed: Killed, before: int) -> None:
    _until(lambda: killed.commits() > before, "something is committed")


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_S} s"
        time.sleep(0.001)


def _wrong(out: Path, said: list[Message]) -> list[str]:
    """Return what is not as one keeper makes it that was never killed."""
    config = load_fleet(ROOT / "conf")
    rows, bars = FeatureKeeper(config), BarKeeper(config)
    made_rows = [row for message in said for row in rows.take(message)]
    made_bars = [bar for message in said for bar in bars.take(message)]
    assert made_rows
    assert made_bars
    archive, store = MarketArchive(out), FeatureStore(out / "features")
    features = store.find("streaming", 1)
    facts = {
        "numbers": check_archive(archive).whole,
        "market": list(archive.read(writers=["fleet"])) == said,
        "bars": list(archive.read(["bar"], writers=["fleet_bars"])) == made_bars,
        "rows": store.rows(features, build.INSTRUMENT) == [checked(features, row) for row in made_rows],
    }
    return [name for name, is_right in facts.items() if not is_right]
