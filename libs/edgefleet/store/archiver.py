"""Carries every stream from Redis to the archive and to the index of `why`. Runs in a thread; decides nothing.

Its mark in a stream is the last id in the closed files, so a kill anywhere neither repeats an entry nor leaves one out:
what was read and not closed is read again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from edgefleet.bus.interface import FIRST, Entry, id_key
from edgefleet.clock import NS_PER_MS, NS_PER_S, Clock
from edgefleet.store.archive import Archive, is_archived
from edgefleet.store.db import LedgerDatabase, LookupRow

INDEX = "index"  # the reader's name in `stream_positions`
INDEXED = frozenset({"targets", "refusals", "orders", "fills", "venue.events"})
DISCOVER_EVERY_NS = 2 * NS_PER_S
SNAPSHOTS_EVERY_NS = 300 * NS_PER_S
MAX_BUFFERED_BYTES = 2 * 1024 * 1024
READ_COUNT = 250


class Source(Protocol):
    """The live streams, as the archiver needs them."""

    def streams(self) -> set[str]: ...
    def read(self, positions: Mapping[str, str], count: int) -> dict[str, list[Entry]]: ...
    def save_mark(self, stream: str, entry_id: str) -> None: ...
    def snapshots(self) -> dict[str, tuple[dict[str, str], bytes]]: ...


class _Buffer:
    """What was read of one stream since its last file."""

    def __init__(self, mark: str) -> None:
        self.position = mark
        self.entries: list[Entry] = []
        self.size = 0
        self.since = 0

    def take(self, entries: list[Entry], now: int) -> None:
        if not self.entries:
            self.since = now
        self.entries += entries
        self.size += sum(len(entry.data) for entry in entries)
        self.position = entries[-1].id

    def clear(self) -> None:
        self.entries, self.size = [], 0


class Archiver:
    """Call `turn` again and again, and `close` at the end."""

    def __init__(
        self,
        source: Source,
        archive: Archive,
        database: LedgerDatabase | None,
        clock: Clock,
        *,
        flush_entries: int = 5_000,
        flush_ms: int = 10_000,
    ) -> None:
        self._source = source
        self._archive = archive
        self._database = database
        self._clock = clock
        self._flush_entries = flush_entries
        self._flush_ns = flush_ms * NS_PER_MS
        self._buffers: dict[str, _Buffer] = {}
        self._discovered: int | None = None
        self._snapshots_at: int | None = None
        self.written = 0  # entries in closed files since this process began

    def turn(self) -> bool:
        """Read once, index, close the files that are due; return whether there may be more to read."""
        now = self._clock.monotonic_ns()
        if self._discovered is None or now - self._discovered >= DISCOVER_EVERY_NS:
            self._discover()
            self._discovered = now
        more = self._read(now)
        held = sum(buffer.size for buffer in self._buffers.values())
        # Over the limit the largest goes first: many small files cost more than one large one.
        share = max((b.size for b in self._buffers.values()), default=0) if held >= MAX_BUFFERED_BYTES else held + 1
        for stream, buffer in self._buffers.items():
            full = len(buffer.entries) >= self._flush_entries or buffer.size >= share
            if buffer.entries and (full or now - buffer.since >= self._flush_ns):
                self._flush(stream, buffer)
        if self._snapshots_at is None or now - self._snapshots_at >= SNAPSHOTS_EVERY_NS:
            self._save_snapshots()
            self._snapshots_at = now
        return more

    def close(self) -> None:
        """Archive everything that is in the streams now."""
        self._discover()
        while self._read(self._clock.monotonic_ns()):
            pass
        for stream, buffer in self._buffers.items():
            if buffer.entries:
                self._flush(stream, buffer)
        self._save_snapshots()

    def _discover(self) -> None:
        for stream in sorted(self._source.streams()):
            if stream not in self._buffers and is_archived(stream):
                self._archive.sweep(stream)
                mark = self._archive.mark(stream)
                if mark != FIRST:
                    self._source.save_mark(stream, mark)
                    self._index_missed(stream, mark)
                self._buffers[stream] = _Buffer(mark)

    def _read(self, now: int) -> bool:
        positions = {stream: buffer.position for stream, buffer in self._buffers.items()}
        found = self._source.read(positions, READ_COUNT)
        self._index(found)
        for stream, entries in found.items():
            if entries:
                self._buffers[stream].take(entries, now)
        return any(len(entries) >= READ_COUNT for entries in found.values())

    def _flush(self, stream: str, buffer: _Buffer) -> None:
        mark = self._archive.write(stream, buffer.entries)
        self.written += len(buffer.entries)
        buffer.clear()
        self._source.save_mark(stream, mark)
        self._archive.merge(stream)

    def _index(self, found: Mapping[str, list[Entry]]) -> None:
        wanted = {stream: entries for stream, entries in found.items() if stream in INDEXED and entries}
        if self._database is None or not wanted:
            return
        with self._database.transaction() as transaction:
            for stream, entries in wanted.items():
                transaction.add_lookup(lookups(stream, entries))
            transaction.move(INDEX, {stream: entries[-1].id for stream, entries in wanted.items()})

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
                _write_whole(path, msgspec.msgpack.encode({"state": state, "snapshot": snapshot}))


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


def _write_whole(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
