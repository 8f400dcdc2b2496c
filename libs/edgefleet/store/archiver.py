"""Carries every stream from Redis to the archive and to the index of `why`. Runs in a thread; decides nothing.

Its mark in a stream is the last id in the closed files, so a kill anywhere neither repeats an entry nor leaves one out:
what was read and not closed is read again. What is read is written soon, into files that stay open for a while: neither
memory nor the number of files grows with the rate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

import msgspec

from edgefleet.bus.interface import FIRST, Entry, id_key
from edgefleet.clock import NS_PER_MS, NS_PER_S, Clock
from edgefleet.store.archive import MERGE_FILES, Archive, OpenFile, is_archived
from edgefleet.store.arrow import give_back, write_whole
from edgefleet.store.columns import Columns
from edgefleet.store.db import LedgerDatabase, LookupRow

INDEX = "index"  # the reader's name in `stream_positions`
INDEXED = frozenset({"targets", "refusals", "orders", "fills", "venue.events"})
DISCOVER_EVERY_NS = 2 * NS_PER_S
SNAPSHOTS_EVERY_NS = 300 * NS_PER_S
INDEX_EVERY_NS = 1 * NS_PER_S  # while there is more to read: the fewer transactions, the less they cost
ROUND_EVERY_NS = 1 * NS_PER_S  # while there is more to read: how long a stream that has little is not asked
MAX_BUFFERED_BYTES = 2 * 1024 * 1024
PAGE_COUNT = 512  # entries of a reply at most: while Redis gathers one it serves nobody on the way of an order
PAGE_BYTES = 512 * 1024
READ_COUNT = 64  # of a stream that is asked with others


class Source(Protocol):
    """The live streams, as the archiver needs them."""

    def streams(self) -> set[str]: ...
    def ask(self, positions: Mapping[str, str], count: int) -> None: ...
    def answer(self) -> dict[str, Columns]: ...
    def save_mark(self, stream: str, entry_id: str) -> None: ...
    def snapshots(self) -> dict[str, tuple[dict[str, str], bytes]]: ...


class _Ask(NamedTuple):
    """What one reply will hold: at most `limit` entries of each stream, PAGE_COUNT together."""

    streams: tuple[str, ...]
    limit: int


class _Buffer:
    """One stream since its last closed file."""

    def __init__(self, stream: str, mark: str) -> None:
        self.stream = stream
        self.mark = mark
        self.position = mark  # of the newest entry read
        self.since = 0  # monotonic ns of the oldest entry that is in no closed file
        self.file: OpenFile | None = None
        self.closed = MERGE_FILES  # files since the last merge; an earlier process may have left many

    def take(self, archive: Archive, columns: Columns, now: int) -> None:
        if self.file is None:
            self.file = archive.begin(self.stream, self.mark)
            self.since = now
        self.file.add(columns)

    @property
    def rows(self) -> int:
        return 0 if self.file is None else self.file.rows

    @property
    def held_bytes(self) -> int:
        return 0 if self.file is None else self.file.held_bytes

    def spill(self) -> None:
        """Write what is held into the open file."""
        if self.file is not None:
            self.file.spill()

    def close(self) -> None:
        """Close the file of everything that was read."""
        if self.file is None:
            return
        self.mark = self.file.close()
        self.file = None
        self.closed += 1

    def merge(self, archive: Archive) -> None:
        """Merge the small files where they are many; they are counted here, for to list them costs more each day."""
        if self.closed >= MERGE_FILES:
            archive.merge(self.stream)
            self.closed = 0


class Archiver:
    """Call `turn` again and again, and `close` at the end; after an error, `abandon` it and make another."""

    def __init__(
        self,
        source: Source,
        archive: Archive,
        database: LedgerDatabase | None,
        clock: Clock,
        *,
        flush_entries: int = 25_000,
        flush_ms: int = 30_000,
        buffered_bytes: int = MAX_BUFFERED_BYTES,
    ) -> None:
        self._source = source
        self._archive = archive
        self._database = database
        self._clock = clock
        self._flush_entries = flush_entries
        self._flush_ns = flush_ms * NS_PER_MS
        self._buffered_bytes = buffered_bytes
        self._buffers: dict[str, _Buffer] = {}
        self._asks: deque[_Ask] = deque()
        self._asked: _Ask | None = None  # the one whose answer is under way
        self._busy: set[str] = set()  # had more than they are asked for together with others
        self._unread: dict[str, int] = {}  # by stream whose last page was full: stamp of its newest entry read
        self._mean_bytes: dict[str, int] = {}  # of an entry, by stream, in its last page
        self._unindexed: dict[str, Columns] = {}
        self._indexed: int | None = None
        self._round_at = 0
        self._discovered: int | None = None
        self._snapshots_at: int | None = None
        self.held_bytes = 0  # of the streams' data, in memory only
        self.written = 0  # entries in closed files since this process began
        self.behind_s = 0.0  # age of the newest entry read of the stream that is furthest behind; 0: all is read

    def turn(self) -> bool:
        """Read one page, index and close the files that are due; return whether there may be more to read."""
        now = self._clock.monotonic_ns()
        if self._asked is None or now - self._round_at >= ROUND_EVERY_NS:
            self._begin_round(now)
        self._read(now)
        if self._asked is None or self._indexed is None or now - self._indexed >= INDEX_EVERY_NS:
            self._index()
            self._indexed = now
        return self._asked is not None

    def close(self) -> None:
        """Archive everything that is in the streams now."""
        for _ in range(2):  # what was asked for before may miss what came since, so all is asked once more
            self._discover()
            self._ask_all()
            while self._asked is not None:
                self._read(self._clock.monotonic_ns())
        self._index()
        for buffer in self._buffers.values():
            if buffer.rows:
                self._flush(buffer)
        self._save_snapshots()

    def abandon(self) -> None:
        """Remove what no closed file holds: whoever comes next reads it again."""
        for buffer in self._buffers.values():
            if buffer.file is not None:
                buffer.file.abandon()

    def _discover(self) -> None:
        for stream in sorted(self._source.streams()):
            if stream not in self._buffers and is_archived(stream):
                self._archive.sweep(stream)
                mark = self._archive.mark(stream)
                if mark != FIRST:
                    self._source.save_mark(stream, mark)
                    self._index_missed(stream, mark)
                self._buffers[stream] = _Buffer(stream, mark)

    def _begin_round(self, now: int) -> None:
        """Do what time asks for, and ask every stream again."""
        self._round_at = now
        if self._discovered is None or now - self._discovered >= DISCOVER_EVERY_NS:
            self._discover()
            self._discovered = now
        for buffer in self._buffers.values():
            if buffer.rows and now - buffer.since >= self._flush_ns:
                self._flush(buffer)
        if self._snapshots_at is None or now - self._snapshots_at >= SNAPSHOTS_EVERY_NS:
            self._save_snapshots()
            self._snapshots_at = now
        self._ask_all()

    def _ask_all(self) -> None:
        """Ask what is not queued: a stream that had much by itself, the others some together."""
        queued = {stream for ask in self._asks for stream in ask.streams}
        if self._asked is not None:
            queued.update(self._asked.streams)
        asked = [stream for stream in self._buffers if stream not in queued]
        self._asks.extend(self._page(stream) for stream in asked if stream in self._busy)
        quiet = [stream for stream in asked if stream not in self._busy]
        together = PAGE_COUNT // READ_COUNT
        for start in range(0, len(quiet), together):
            self._asks.append(_Ask(tuple(quiet[start : start + together]), READ_COUNT))
        if self._asked is None:
            self._ask_next()

    def _ask_next(self) -> None:
        self._asked = self._asks.popleft() if self._asks else None
        if self._asked is not None:
            positions = {stream: self._buffers[stream].position for stream in self._asked.streams}
            self._source.ask(positions, self._asked.limit)

    def _read(self, now: int) -> None:
        if self._asked is None:
            return
        asked, found = self._asked, self._source.answer()
        for stream in asked.streams:
            self._plan(stream, found.get(stream), asked.limit)
        self._ask_next()  # gathered while this page is written
        for stream, columns in found.items():
            self._take(stream, columns, now)
        oldest_ms = min(self._unread.values(), default=None)
        self.behind_s = 0.0 if oldest_ms is None else max(0.0, self._clock.wall_ns() / NS_PER_S - oldest_ms / 1_000)

    def _plan(self, stream: str, columns: Columns | None, limit: int) -> None:
        """Ask a stream whose page was full again, behind the others."""
        read = 0 if columns is None else len(columns)
        if columns is not None:
            self._buffers[stream].position = columns.ids[-1].decode()
            self._mean_bytes[stream] = sum(map(len, columns.data)) // read + 1
        if read >= limit:
            self._busy.add(stream)
            self._unread[stream] = id_key(self._buffers[stream].position)[0]
            self._asks.append(self._page(stream))
            return
        self._unread.pop(stream, None)
        if read < READ_COUNT:
            self._busy.discard(stream)

    def _page(self, stream: str) -> _Ask:
        """Return a page of one stream: fewer entries where they are large, for two pages are in memory at once."""
        return _Ask((stream,), max(1, min(PAGE_COUNT, PAGE_BYTES // self._mean_bytes[stream])))

    def _take(self, stream: str, columns: Columns, now: int) -> None:
        """Keep what was read, and write the largest where too much is held: large groups cost least."""
        buffer = self._buffers[stream]
        self.held_bytes -= buffer.held_bytes
        buffer.take(self._archive, columns, now)
        self.held_bytes += buffer.held_bytes
        if self._database is not None and stream in INDEXED:
            self._unindexed.setdefault(stream, Columns()).add(columns)
        while self.held_bytes >= self._buffered_bytes:
            largest = max(self._buffers.values(), key=lambda other: other.held_bytes)
            self.held_bytes -= largest.held_bytes
            largest.spill()
        if buffer.rows >= self._flush_entries:
            self._flush(buffer)

    def _flush(self, buffer: _Buffer) -> None:
        rows = buffer.rows
        self.held_bytes -= buffer.held_bytes
        buffer.close()
        self.written += rows
        self._source.save_mark(buffer.stream, buffer.mark)
        buffer.merge(self._archive)
        give_back()

    def _index(self) -> None:
        """Index what was read since the last time. What a kill leaves out is read again, or found in the archive."""
        if self._database is None or not self._unindexed:
            return
        with self._database.transaction() as transaction:
            for stream, columns in self._unindexed.items():
                transaction.add_lookup(lookups(stream, columns.entries()))
            transaction.move(INDEX, {stream: columns.ids[-1].decode() for stream, columns in self._unindexed.items()})
        self._unindexed = {}

    def _index_missed(self, stream: str, mark: str) -> None:
        """Index what is archived and not indexed: another database, or none, was there when it was written."""
        if self._database is None or stream not in INDEXED:
            return
        with self._database.reading() as transaction:
            indexed = transaction.positions(INDEX).get(stream, FIRST)
        if id_key(indexed) >= id_key(mark):
            return
        with self._database.transaction() as transaction:
            transaction.add_lookup(lookups(stream, self._archive.read(stream, indexed)))
            transaction.move(INDEX, {stream: mark})

    def _save_snapshots(self) -> None:
        for identity, (state, snapshot) in self._source.snapshots().items():
            directory = self._archive.directory / "snapshots" / identity
            path = directory / f"{state.get('snap_n', '0')}.msgpack"
            if not path.exists():
                write_whole(path, msgspec.msgpack.encode({"state": state, "snapshot": snapshot}))


class _Named(msgspec.Struct):
    account: str = ""
    instrument: str = ""
    order_id: str | None = None
    target_id: str | None = None
    ts_event: int = 0
    cause: str | None = None


_NAMED = msgspec.json.Decoder(_Named)


def lookups(stream: str, entries: Iterable[Entry]) -> list[LookupRow]:
    """Return where `why` finds the entries that are about an instrument; unreadable ones are left out."""
    rows = []
    for entry in entries:
        try:
            named = _NAMED.decode(entry.data)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if named.instrument:
            row = (named.account, named.instrument, named.order_id, named.target_id, named.ts_event, named.cause)
            rows.append(LookupRow(stream, entry.id, entry.type, *row))
    return rows
