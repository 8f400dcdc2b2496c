"""Prints what the market archive costs on a recorded Binance tape: bytes a row, rows a second, memory.

    python scripts/market_archive_figures.py FILE.gz... --symbol BTC/USDT

Rows a second are of processor time, which other work on the machine changes least.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edgefleet.clock import SYSTEM
from edgefleet.lean import sparing

with sparing("numpy"):  # as a service loads it
    from edgefleet.store.market.archive import MarketArchive
    from edgefleet.store.market.kinds import BY_TYPE, MarketMessage
    from edgefleet.store.market.maintenance import archive_info, compact_archive

from edgefleet.venues.binance.feed import BinanceFeed
from edgefleet.venues.tape import read_tape


def messages(files: Sequence[Path], symbol: str) -> Iterator[list[MarketMessage]]:
    """Yield what a feed makes of each line, for `market`."""
    feed = BinanceFeed("binance", [symbol], waits_for_books=True)
    for line in read_tape(files):
        made = feed.on_line(line.stamp_ns, line.body, line.stamp_ns)
        yield [m for stream, m in made if stream == "market" and type(m) in BY_TYPE]  # type: ignore[misc]  # it says so


def record(directory: Path, files: Sequence[Path], symbol: str) -> None:
    """Do what a recorder does: feed and writer in one process, commits as they are due."""
    with MarketArchive(directory).writer("figures", SYSTEM) as writer:
        for each in messages(files, symbol):
            writer.take(each)
            writer.turn()


def resident_mb(directory: Path, files: Sequence[Path], symbol: str, answer: Any) -> None:
    """Answer with the most memory that this process had before it recorded, and while it did."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    record(directory, files, symbol)
    answer.send((before / 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def rate(count: int, work: Callable[[], object]) -> float:
    """Return `count` by the processor time of `work`."""
    begun = time.process_time()
    work()
    return count / (time.process_time() - begun)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--symbol", default="BTC/USDT")
    arguments = parser.parse_args()
    files, symbol = arguments.files, arguments.symbol
    with tempfile.TemporaryDirectory() as folder:
        receiver, sender = multiprocessing.Pipe(duplex=False)
        child = multiprocessing.get_context("spawn").Process(
            target=resident_mb, args=(Path(folder) / "child", files, symbol, sender)
        )
        child.start()
        empty, recording = receiver.recv()
        child.join()

        given = [message for each in messages(files, symbol) for message in each]
        archive = MarketArchive(Path(folder) / "archive")

        def write() -> None:
            with archive.writer("figures", SYSTEM) as writer:
                for at in range(0, len(given), 64):
                    writer.take(given[at : at + 64])
                    writer.turn()

        written = rate(len(given), write)
        read = rate(len(given), lambda: sum(1 for _ in archive.read()))
        compact_archive(archive)
        info = archive_info(archive)
        lines = sum(1 for _ in read_tape(files))
    wire = sum(path.stat().st_size for path in files)
    for holding in info.holdings:
        print(f"{holding.kind:14} {holding.rows:8,} rows {holding.bytes / holding.rows:8.1f} bytes a row")
    print(f"archive        {info.rows:8,} rows {info.bytes / info.rows:8.1f} bytes a row, {info.bytes:,} bytes")
    print(f"tape           {lines:8,} lines {wire / lines:7.1f} bytes a line, {wire:,} bytes in gzip")
    print(f"written        {written:8,.0f} rows/s of processor time")
    print(f"read           {read:8,.0f} rows/s of processor time")
    print(f"memory         {empty:8.1f} MB with everything loaded, {recording:.1f} MB at most while recording")


if __name__ == "__main__":
    main()
