"""Processes to be killed: recorders of sources that repeat themselves or not; and one that looks on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
from tests.unit.store.market_messages import numbered

from edgefleet.clock import SYSTEM
from edgefleet.store import compaction
from edgefleet.store.history import History
from edgefleet.store.market.archive import MarketArchive
from edgefleet.store.market.kinds import MarketMessage
from edgefleet.store.market.maintenance import check_archive, compact_archive
from edgefleet.store.recorder import Recorder, StreamRecorder
from edgefleet.store.tape import TapeWriter

TOTAL = 200_000
CHUNK = 100


def record(directory: str, reports: Any) -> None:
    """Record the messages from the mark on, and report each commit after it was made."""
    with MarketArchive(Path(directory)).writer("rec", SYSTEM, commit_rows=700, commit_ms=20) as writer:
        for at in range(int(writer.position or 0), TOTAL, CHUNK):
            writer.take(numbered(at, CHUNK, step_ns=1_000_000), str(at + CHUNK))
            if writer.turn():
                reports.send(writer.mark.seq)


def record_tape(directory: str, first: int, reports: Any) -> None:
    """Record frames numbered from `first` on, and report what is flushed."""
    writer = TapeWriter(Path(directory), "v", SYSTEM, flush_bytes=4_000, rotate_bytes=20_000)
    for n in range(first, first + TOTAL):
        writer.add(n + 1, b'{"n":%d}' % n)
        lines = writer.lines
        writer.turn()
        if writer.lines != lines:
            reports.send(first + writer.lines)


def record_stream(directory: str, url: str, reports: Any) -> None:
    """Follow the `market` stream of a Redis until killed, and report each commit."""
    root = Path(directory)
    recorder = Recorder(MarketArchive(root / "market"), "fleet", SYSTEM, commit_rows=300, commit_ms=15)
    follower = StreamRecorder(History.open(root, url), recorder)
    while True:
        recorded = recorder.recorded
        more = follower.turn()
        if recorder.recorded != recorded:
            reports.send(recorder.recorded)
        elif not more:
            time.sleep(0.002)


def look(directory: str, reports: Any) -> None:
    """Count the rows again and again as somebody does who knows nothing of us, and report what is odd."""
    source = f"read_parquet('{directory}/date=*/*/*/*.parquet', union_by_name = true)"
    known, gone = 0, 0
    while not reports.poll():
        try:
            rows, distinct = duckdb.execute(f"select count(*), count(distinct seq) from {source}").fetchall()[0]
        except duckdb.IOException:
            gone += 1  # a file that it had listed was merged before it opened it: it says so
            continue
        if rows != distinct or rows < known:
            reports.send(f"{rows} rows, {distinct} of them distinct, {known} the time before")
            return
        known = rows
    reports.send((known, gone))


def cut_off_everywhere(directory: str, what: str, reports: Any) -> None:
    """Die at the first, the second, the third ... thing that is asked of the disk, until none is left.

    Reports for each moment: what was committed, and what is wrong with the archive that is left, if anything is.
    """
    for moment in range(1, 500):
        root = Path(directory) / str(moment)
        archive, given = MarketArchive(root), numbered(0, 240, step_ns=100)
        with archive.writer("rec", SYSTEM) as writer:
            for at in range(0, 180, 60):
                writer.take(given[at : at + 60], str(at + 60))
                writer.commit()
        child = os.fork()
        if child == 0:
            die_at(moment)
            if what == "commit":
                with archive.writer("rec", SYSTEM) as writer:
                    writer.take(given[180:], "240")
                    writer.commit()
            else:
                compact_archive(archive)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        reports.send(_what_is_left(archive, given))
        if code == 0:
            break
        assert code == DIED, code
    reports.send(None)


DIED = 9


def die_at(moment: int) -> None:
    """End this process, as a kill does, before its `moment`-th sync, rename, link, removal, exchange or directory."""
    left = moment

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def dying(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os._exit(DIED)
            return call(*arguments, **named)

        return dying

    for name in ("fsync", "rename", "link", "unlink", "rmdir", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))
    compaction._exchange = counted(compaction._exchange)


def _what_is_left(archive: MarketArchive, given: list[MarketMessage]) -> tuple[int, list[str]]:
    wrong = []
    seen = list(archive.read())
    if seen != [message for message in given[:240] if message in seen] or len(seen) < 180:
        wrong.append(f"before the next start {len(seen)} rows are visible, not in order or not whole")
    with archive.writer("rec", SYSTEM) as writer:
        committed = writer.mark.seq
        if writer.position != str(committed):
            wrong.append(f"position {writer.position} with {committed} rows")
    if list(archive.read()) != given[:committed]:
        wrong.append(f"after the next start not the {committed} rows")
    compact_archive(archive)
    if list(archive.read()) != given[:committed] or not check_archive(archive).whole:
        wrong.append(f"after a compaction not the {committed} rows")
    if len(seen) > committed:
        wrong.append("rows were visible that were not committed")
    return committed, wrong
