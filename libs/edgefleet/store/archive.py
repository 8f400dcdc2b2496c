"""Streams as closed Parquet files, one directory per stream. Knows files; knows nothing of Redis or of messages.

A file is named after its first and last entry, `<first>_<last>.parquet`, and is there only when it is whole: it grows
under another name, is synced, renamed, and its directory is synced. Small neighbours are merged; until the parts are
removed, a merged file covers them, and readers take the widest. Nothing here is ever rewritten in place.
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from edgefleet.bus.interface import FIRST, Entry, id_key
from edgefleet.store.arrow import Draft, pa, pq
from edgefleet.store.columns import Columns

ROWS_PER_GROUP = 2_000  # at least, where there are as many: in a group of 500 each costs two thirds more
MERGE_FILES = 30  # neighbours below MERGE_ROWS that become one file
MERGE_ROWS = 50_000

SCHEMA = pa.schema(
    [
        ("stream", pa.dictionary(pa.int8(), pa.string())),
        ("id", pa.string()),
        ("type", pa.dictionary(pa.int16(), pa.string())),
        ("data", pa.binary()),  # as it stood in the stream, byte for byte
        ("ms", pa.int64()),  # the id's two numbers, for pruning and order
        ("seq", pa.int64()),
    ]
)

# Dictionaries and statistics of columns whose every value is another would be built and thrown away. What is nearly the
# value before it is small by its encoding: a compressor is made anew for each column of each group.
_WRITTEN: dict[str, Any] = {
    "compression": {name: "zstd" if name == "data" else "none" for name in SCHEMA.names},
    "use_dictionary": ["stream", "type"],
    "column_encoding": {"id": "DELTA_BYTE_ARRAY", "ms": "DELTA_BINARY_PACKED", "seq": "DELTA_BINARY_PACKED"},
    "write_statistics": ["ms", "seq"],
}

_NAME = re.compile(r"(\d+-\d+)_(\d+-\d+)\.parquet")
_STREAMS = frozenset(
    {
        "alerts",
        "beats",
        "control",
        "ensembles",
        "fills",
        "market",
        "model.switch.log",
        "orders",
        "params.history",
        "refusals",
        "signals",
        "targets",
        "venue.events",
    }
)


def is_archived(stream: str) -> bool:
    """Return whether a stream belongs in the archive."""
    return stream in _STREAMS or re.fullmatch(r"(dead|journal)\.[a-z0-9_.-]+", stream) is not None


class ArchiveFile(NamedTuple):
    """One closed file and the ids it spans, both included."""

    path: Path
    first: str
    last: str


class Archive:
    """The files under one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.directory = data_dir / "archive"

    def streams(self) -> tuple[str, ...]:
        """Return the streams that have a directory, by name."""
        if not self.directory.is_dir():
            return ()
        return tuple(sorted(path.name for path in self.directory.iterdir() if is_archived(path.name)))

    def files(self, stream: str) -> list[ArchiveFile]:
        """Return the files that together hold the stream, in order; a file that a wider one covers is left out."""
        covering: list[ArchiveFile] = []
        for found in sorted(self._named(stream), key=lambda file: (id_key(file.first), _backwards(file.last))):
            if not covering or id_key(found.last) > id_key(covering[-1].last):
                covering.append(found)
        return covering

    def mark(self, stream: str) -> str:
        """Return the last id that is safe on disk, FIRST where nothing is."""
        files = self.files(stream)
        return files[-1].last if files else FIRST

    def write(self, stream: str, entries: Sequence[Entry]) -> str:
        """Close a file of the entries, which follow all that is archived, and return the new mark.

        Raises
        ------
        ValueError
            If they are none, or do not come after the mark: the archive would hold an entry twice.
        """
        if not entries:
            raise ValueError(f"a file of {stream} needs at least one entry")
        file = self.begin(stream, self.mark(stream))
        file.add(Columns.of(entries))
        return file.close()

    def begin(self, stream: str, mark: str) -> OpenFile:
        """Return the file that follows `mark`, the stream's; nobody else may write to the stream until it is closed."""
        return OpenFile(self.directory / stream, stream, mark)

    def merge(self, stream: str) -> int:
        """Make one file of the newest small neighbours when there are many; return how many were merged.

        For the stream's one writer, between two files of its own.
        """
        small: list[ArchiveFile] = []
        rows = 0
        for file in reversed(self.files(stream)):
            count = pq.read_metadata(file.path).num_rows
            if rows + count > MERGE_ROWS:
                break
            small.insert(0, file)
            rows += count
        if len(small) < MERGE_FILES:
            return 0
        directory = self.directory / stream
        whole = _draft(directory, small[0].first)
        try:
            for table in _tables(file.path for file in small):
                whole.add(table, _group_size(table.num_rows))
            whole.close(directory / f"{small[0].first}_{small[-1].last}.parquet")
        except BaseException:
            whole.abandon()
            raise
        self.sweep(stream)
        return len(small)

    def sweep(self, stream: str) -> None:
        """Remove what a kill left behind: unfinished files, and parts that a merged file covers."""
        directory = self.directory / stream
        if not directory.is_dir():
            return
        kept = {file.path for file in self.files(stream)}
        for path in directory.iterdir():
            if path not in kept and (path.suffix == ".tmp" or _NAME.fullmatch(path.name)):
                path.unlink()

    def read(self, stream: str, after: str, last: str | None = None) -> Iterator[Entry]:
        """Yield the archived entries after `after`, up to and with `last`, oldest first."""
        cursor, end = id_key(after), None if last is None else id_key(last)
        while (file := self._next_file(stream, cursor)) is not None:
            try:
                for entry in _entries(file.path, cursor):
                    cursor = id_key(entry.id)
                    if end is not None and cursor > end:
                        return
                    yield entry
            except FileNotFoundError:
                continue  # merged meanwhile: the next listing has the wider file
            cursor = max(cursor, id_key(file.last))

    def get(self, stream: str, entry_id: str) -> Entry | None:
        """Return one entry, None where the archive does not hold it. Reads one row group."""
        key = id_key(entry_id)
        while (file := self._next_file(stream, (key[0], key[1] - 1))) is not None:
            if id_key(file.first) > key:
                return None
            try:
                found = next(_entries(file.path, (key[0], key[1] - 1)), None)
                return found if found is not None and id_key(found.id) == key else None
            except FileNotFoundError:
                continue
        return None

    def _next_file(self, stream: str, after: tuple[int, int]) -> ArchiveFile | None:
        return next((file for file in self.files(stream) if id_key(file.last) > after), None)

    def _named(self, stream: str) -> Iterator[ArchiveFile]:
        directory = self.directory / stream
        if not directory.is_dir():
            return
        for name in os.listdir(directory):
            match = _NAME.fullmatch(name)
            if match is not None:
                yield ArchiveFile(directory / name, match[1], match[2])


class OpenFile:
    """A file that grows while its stream does. Until it is closed it is no part of the archive."""

    def __init__(self, directory: Path, stream: str, mark: str) -> None:
        self._directory, self._stream = directory, stream
        self._draft: Draft | None = None
        self._held = _Held()
        self._first = ""
        self._last = mark
        self.rows = 0  # the held ones included

    @property
    def held_bytes(self) -> int:
        """Return how much is in memory only."""
        return self._held.size

    def add(self, columns: Columns) -> None:
        """Take the entries that come next; they are written as soon as they make a row group.

        Raises
        ------
        ValueError
            If they do not follow what is archived: the archive would hold an entry twice.
        """
        first, last = columns.ids[0].decode(), columns.ids[-1].decode()
        if not id_key(first) > id_key(self._last):
            raise ValueError(f"entries of {self._stream} must follow {self._last}, began at {first}")
        self._first = self._first or first
        self._held.add(columns)
        self._last = last
        self.rows += len(columns)
        if self._held.rows >= ROWS_PER_GROUP:
            self.spill()

    def spill(self) -> None:
        """Write what is held, as one row group or several."""
        if not self._held.rows:
            return
        if self._draft is None:
            self._draft = _draft(self._directory, self._first)
        self._draft.add(self._held.table(self._stream), _group_size(self._held.rows))
        self._held = _Held()

    def close(self) -> str:
        """Make the file a part of the archive and return its last id, the new mark."""
        self.spill()
        if self._draft is None:
            raise ValueError(f"a file of {self._stream} needs at least one entry")
        self._draft.close(self._directory / f"{self._first}_{self._last}.parquet")
        return self._last

    def abandon(self) -> None:
        """Remove what was written."""
        if self._draft is not None:
            self._draft.abandon()


def _draft(directory: Path, first: str) -> Draft:
    return Draft(directory / f"{first}.tmp", SCHEMA, _WRITTEN)


def _group_size(rows: int) -> int:
    """Return the size of equal row groups: a last one of few rows would cost a sixth of a whole one."""
    groups = max(1, rows // ROWS_PER_GROUP)
    return -(-rows // groups)


def _backwards(entry_id: str) -> tuple[int, int]:
    milliseconds, sequence = id_key(entry_id)
    return -milliseconds, -sequence


class _Held:
    """Entries of one stream, joined.

    Each page is joined at once: an object for every field, walked again when a group is full, is memory that the
    processor's cache has forgotten by then.
    """

    def __init__(self) -> None:
        self._ids: list[bytes] = []
        self._codes = array("h")
        self._kinds: dict[bytes, int] = {}
        self._data: list[pa.Array] = []
        self.size = 0  # bytes of data

    @property
    def rows(self) -> int:
        return len(self._codes)

    def add(self, columns: Columns) -> None:
        for kind in set(columns.types):
            self._kinds.setdefault(kind, len(self._kinds))
        self._codes.extend(map(self._kinds.__getitem__, columns.types))
        self._ids.append(b",".join(columns.ids))
        data = b"".join(columns.data)
        ends = array("i", accumulate(map(len, columns.data), initial=0))
        self._data.append(_array(pa.binary(), len(columns), ends, data))
        self.size += len(data)

    def table(self, stream: str) -> pa.Table:
        rows = self.rows
        ids = b",".join(self._ids).split(b",")
        milliseconds, sequences = Columns(ids).keys()
        names = [kind.decode(errors="replace") for kind in self._kinds]
        zeros, codes = _array(pa.int8(), rows, bytes(rows)), _array(pa.int16(), rows, self._codes)
        values = [
            pa.DictionaryArray.from_arrays(zeros, pa.array([stream], pa.string())),
            pa.array(ids, pa.string()),
            pa.DictionaryArray.from_arrays(codes, pa.array(names, pa.string())),
            pa.chunked_array(self._data),
            pa.array(milliseconds, pa.int64()),
            pa.array(sequences, pa.int64()),
        ]
        return pa.Table.from_arrays(values, schema=SCHEMA)


def _array(kind: pa.DataType, rows: int, *buffers: bytes | array[int]) -> pa.Array:
    """Return what the buffers hold, without a copy."""
    return pa.Array.from_buffers(kind, rows, [None, *map(pa.py_buffer, buffers)])


def _tables(paths: Iterable[Path]) -> Iterator[pa.Table]:
    """Yield the rows of files in tables of about a row group, so that neighbours become large groups too."""
    held: list[pa.Table] = []
    for path in paths:
        # Group by group: a whole table of each would also load the library's machinery for data sets.
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                held.append(file.read_row_group(group, use_threads=False))
                if sum(table.num_rows for table in held) >= ROWS_PER_GROUP:
                    yield pa.concat_tables(held)
                    held = []
    if held:
        yield pa.concat_tables(held)


def _entries(path: Path, after: tuple[int, int]) -> Iterator[Entry]:
    """Yield a file's entries after `after`, without reading the row groups that end before it."""
    with pq.ParquetFile(path) as file:
        column = SCHEMA.get_field_index("ms")
        for group in range(file.num_row_groups):
            statistics = file.metadata.row_group(group).column(column).statistics
            if statistics is not None and statistics.max < after[0]:
                continue
            rows = file.read_row_group(group, columns=["id", "type", "data"], use_threads=False).to_pydict()
            for entry_id, kind, data in zip(rows["id"], rows["type"], rows["data"], strict=True):
                if id_key(entry_id) > after:
                    yield Entry(entry_id, kind, data)
