"""A recorder killed at random moments: what it reported is there, once, and every file opens."""

from __future__ import annotations

import itertools
import multiprocessing
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
import redis
from tests.faults.recorder_process import cut_off_everywhere, look, record, record_stream, record_tape
from tests.unit.store.market_messages import numbered

from edgefleet.bus.interface import Entry
from edgefleet.clock import SYSTEM
from edgefleet.messages import encode, tag_of
from edgefleet.store.archive import Archive
from edgefleet.store.history import History
from edgefleet.store.market.archive import MarketArchive
from edgefleet.store.market.maintenance import check_archive, compact_archive
from edgefleet.store.recorder import Recorder, StreamRecorder
from edgefleet.store.tape import recover_tapes
from edgefleet.venues.tape import read_tape

KILLS = 12
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.faults.recorder_process"])


def _kill_after(wait_s: float, target: Callable[..., None], *arguments: Any) -> int:
    """Run a process until it reported and some time has passed, kill it, and return its last report."""
    receiver, sender = _PROCESSES.Pipe(duplex=False)
    process = _PROCESSES.Process(target=target, args=(*arguments, sender))
    process.start()
    sender.close()
    reported = int(receiver.recv())
    time.sleep(wait_s)  # the moment is what this test varies
    process.kill()
    process.join()
    while receiver.poll():
        try:
            reported = int(receiver.recv())
        except EOFError:
            break
    receiver.close()
    return reported


@pytest.mark.faults
@pytest.mark.parametrize("seed", [1, 2])
def test_a_recorder_killed_again_and_again_loses_and_repeats_nothing(tmp_path: Path, seed: int) -> None:
    moments, archive = random.Random(seed), MarketArchive(tmp_path)
    reached = []
    for kill in range(KILLS):
        reported = _kill_after(moments.uniform(0, 0.12), record, str(tmp_path))

        visible = list(tmp_path.glob("date=*/kind=*/instrument=*/*.parquet"))
        rows = sum(pq.read_metadata(path).num_rows for path in visible)
        numbers = f"read_parquet('{tmp_path}/date=*/*/*/*.parquet', union_by_name = true)"
        distinct = duckdb.execute(f"select count(*), count(distinct seq) from {numbers}").fetchall()[0]
        assert distinct == (rows, rows)
        assert rows >= reported
        if kill % 4 == 3:
            compact_archive(archive)
        reached.append(reported)

    with archive.writer("rec", SYSTEM) as last:
        position = int(last.position)
        last.take(numbered(position, 300, step_ns=1_000_000), str(position + 300))

    assert reached == sorted(reached)
    assert len(set(reached)) == KILLS, "no work was done between two kills"
    assert list(archive.read()) == numbered(0, position + 300, step_ns=1_000_000)
    assert check_archive(archive).whole
    assert not [path for path in (tmp_path / "_drafts").rglob("*") if path.suffix == ".draft"]


@pytest.mark.faults
def test_a_tape_of_a_killed_recorder_is_readable_up_to_its_last_flush(tmp_path: Path) -> None:
    moments, first = random.Random(3), 0
    for _ in range(KILLS):
        flushed = _kill_after(moments.uniform(0, 0.1), record_tape, str(tmp_path), first)
        recover_tapes(tmp_path)

        numbers = [each.stamp_ns - 1 for each in read_tape(sorted(tmp_path.glob("*.gz"), key=_first_stamp))]

        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= flushed
        first = len(numbers)
    assert all(a.suffix == ".gz" for a, _ in itertools.pairwise(tmp_path.iterdir()))


@pytest.mark.faults
@pytest.mark.integration
def test_no_event_of_a_stream_is_missing_after_its_recorder_was_killed(redis_url: str, tmp_path: Path) -> None:
    moments, published = random.Random(5), 0
    archive = MarketArchive(tmp_path / "market")
    with redis.Redis.from_url(redis_url) as client:
        for kill in range(KILLS):
            for message in numbered(published, 700):
                client.xadd("market", {"type": tag_of(message), "data": encode(message)})
            published += 700
            reported = _kill_after(moments.uniform(0, 0.03), record_stream, str(tmp_path), redis_url)
            assert len(list(archive.read())) >= reported
            if kill == KILLS // 2:  # the ledger archives and Redis forgets, while nobody records
                entries = [Entry(i.decode(), f[b"type"].decode(), f[b"data"]) for i, f in client.xrange("market")]
                Archive(tmp_path).write("market", entries)
                client.xtrim("market", maxlen=10, approximate=False)

    with History.open(tmp_path, redis_url) as history:
        StreamRecorder(history, Recorder(archive, "fleet", SYSTEM)).close()

    assert list(archive.read()) == numbered(0, published)
    assert check_archive(archive).whole


@pytest.mark.faults
@pytest.mark.parametrize("what", ["commit", "compaction"])
def test_wherever_it_dies_the_archive_is_as_before_or_as_after(tmp_path: Path, what: str) -> None:
    ours, theirs = _PROCESSES.Pipe()
    process = _PROCESSES.Process(target=cut_off_everywhere, args=(str(tmp_path), what, theirs))
    process.start()
    found: list[tuple[int, list[str]]] = []
    while (told := ours.recv()) is not None:
        found.append(told)
    process.join()

    assert process.exitcode == 0
    assert [(moment, wrong) for moment, (_, wrong) in enumerate(found, start=1) if wrong] == []
    assert len(found) > 10
    committed = [rows for rows, _ in found]
    assert committed == sorted(committed)
    assert set(committed) == ({180, 240} if what == "commit" else {180})


@pytest.mark.faults
def test_who_reads_without_us_while_files_are_merged_sees_every_row_once(tmp_path: Path) -> None:
    given, archive = numbered(0, 30_000), MarketArchive(tmp_path)
    ours, theirs = _PROCESSES.Pipe()
    process = _PROCESSES.Process(target=look, args=(str(tmp_path), theirs))
    with archive.writer("rec", SYSTEM) as writer:
        for at in range(0, 30_000, 300):
            writer.take(given[at : at + 300])
            writer.commit()
            if at == 3_000:
                process.start()
            if at % 1_500 == 0:
                compact_archive(archive)
    ours.send("enough")
    told = ours.recv()
    process.join()

    assert isinstance(told, tuple), told
    assert told[0] > 3_000
    assert list(archive.read()) == given


def _first_stamp(path: Path) -> int:
    return next(read_tape([path])).stamp_ns
