"""Processes to be killed: recorders of sources that repeat themselves or not; and one that looks on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import duckdb
from tests.unit.store.market_messages import numbered

from edgefleet.clock import SYSTEM
from edgefleet.store.history import History
from edgefleet.store.market.archive import MarketArchive
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
