"""Processes to be killed: recorders of a source that can be read again, and of one that cannot. Knows no killer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.unit.store.market_messages import numbered

from edgefleet.clock import SYSTEM
from edgefleet.store.market.archive import MarketArchive
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
