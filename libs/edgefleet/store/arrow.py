"""pyarrow as this package loads it, and files that are there whole or not at all. Knows no stream and no message.

The library looks for the clients of far-away file systems by itself: memory for what nobody here asks for. So does it
for numpy: 16 MB that a service spares by ``edgefleet.lean.sparing("numpy")`` around its imports. In such a process a
table cannot become a data frame, and trying ends it: `WITH_NUMPY` says so before. (`cast` comes with every kernel of
the library: 20 MB. Nothing of this package uses it, but for research.)
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from edgefleet.lean import absent, spared

with absent(*spared("numpy"), "pyarrow._azurefs", "pyarrow._gcsfs", "pyarrow._hdfs", "pyarrow._s3fs"):
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = [
    "STAMP",
    "UNREADABLE",
    "WITHOUT_NUMPY",
    "WITH_NUMPY",
    "Draft",
    "give_back",
    "make_directory",
    "pa",
    "pq",
    "sync",
    "sync_all",
    "write_whole",
]

# Every pool and helper thread of the library costs memory that a ledger does not have to spare.
pa.set_memory_pool(pa.system_memory_pool())
pa.set_cpu_count(1)
pa.set_io_thread_count(1)

WITH_NUMPY = "numpy" in sys.modules  # asked after pyarrow was loaded, which loads it where it may
WITHOUT_NUMPY = "pyarrow was loaded without numpy in this process, a service: read tables and frames in another"
STAMP = pa.timestamp("ns", "UTC")


_SYNCED_TOGETHER = 4
UNREADABLE = (
    pa.ArrowException,
    OSError,
    ValueError,
)  # what a file that is damaged, foreign or gone makes the library raise


def opened(path: Path) -> pq.ParquetFile:
    """Return a file for reading, in which a page that is not as it was written is an error and no other number.

    Raises
    ------
    UNREADABLE
        As the library says it, here and from what is read.
    """
    return pq.ParquetFile(path, page_checksum_verification=True)


def give_back() -> None:
    """Return to the system what was freed: between pages that come and go the allocator keeps a quarter of them."""
    pa.default_memory_pool().release_unused()


class Draft:
    """Row groups in a file under a name that nobody reads, until it is closed under its own."""

    def __init__(self, path: Path, schema: pa.Schema, written: dict[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pq.ParquetWriter(self._sink, schema, **written)

    def add(self, table: pa.Table, rows_per_group: int) -> None:
        """Append the rows of a table, in groups."""
        self._writer.write_table(table, row_group_size=rows_per_group)

    def finish(self) -> None:
        """End the file, which is not on the disk yet."""
        self._writer.close()
        self._sink.close()

    def close(self, final: Path) -> None:
        """End the file and give it its name, which is on the disk when this returns."""
        self.finish()
        sync(self.path)
        self.path.rename(final)
        sync(final.parent)

    def abandon(self) -> None:
        """Remove what was written."""
        self._writer.is_open = False  # or its destructor would write an end to what is given up
        with contextlib.suppress(OSError):
            self._sink.close()
        self.path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(paths: Collection[Path]) -> None:
    """Wait until all of these are on the disk."""
    if len(paths) < _SYNCED_TOGETHER:
        for path in paths:
            sync(path)
        return
    # A journal takes the syncs that wait at once in one write: 400 take 0.1 s so, one after the other 2 s.
    with ThreadPoolExecutor(_SYNCED_TOGETHER) as threads:
        list(threads.map(sync, paths))


def make_directory(path: Path) -> None:
    """Make a directory and those above it, each on the disk before the next is made in it."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    sync(path.parent)


def write_whole(path: Path, data: bytes) -> None:
    """Put `data` under a name in one step: a reader finds what was there before, or all of it."""
    make_directory(path.parent)
    unfinished = path.with_name(f".{path.name}.tmp")
    with unfinished.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
    sync(path.parent)
