"""Everything a fleet wrote, from its first entry to the newest: the archive, then what is still in Redis.

Works while the fleet runs, after it stopped, and with Redis gone. Knows nothing of what the entries mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from edgefleet.bus.interface import FIRST, Entry, id_key
from edgefleet.errors import Broken
from edgefleet.messages import ConfigBody, Journal, decode
from edgefleet.params.schema import FleetConfig
from edgefleet.store.archive import Archive, is_archived
from edgefleet.store.live import LiveStreams, Tail

_CHUNK = 1_000


class History:
    """The record of a data directory, and of the Redis that goes with it where one is given."""

    def __init__(self, data_dir: Path, tail: Tail | None = None) -> None:
        self.archive = Archive(data_dir)
        self._tail = tail
        self._configs: dict[str, FleetConfig] = {}

    @classmethod
    def open(cls, data_dir: Path, redis_url: str | None = None) -> History:
        """Return the record of `data_dir`, with the tails of its streams where a Redis is named."""
        return cls(data_dir, None if redis_url is None else LiveStreams(redis_url))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back, where there is one."""
        if self._tail is not None:
            self._tail.close()

    def streams(self) -> tuple[str, ...]:
        """Return the name of every stream that has entries."""
        live = {name for name in self._tail.streams() if is_archived(name)} if self._tail is not None else set()
        return tuple(sorted({*self.archive.streams(), *live}))

    def entries(self, stream: str, first: str = "-", last: str = "+") -> Iterator[Entry]:
        """Yield the entries from `first` to `last`, both included, oldest first, each once.

        What is archived and trimmed while this runs is neither missed nor given twice.
        """
        cursor = FIRST if first == "-" else _before(first)
        end = None if last == "+" else last
        while True:
            for entry in self.archive.read(stream, cursor, end):
                cursor = entry.id
                yield entry
            if self._tail is None:
                return
            chunk = self._tail.span(stream, f"({cursor}", end or "+", _CHUNK)
            # Trimming follows archiving, so what this chunk may lack is in a file by now.
            if self._archived_meanwhile(stream, cursor, end):
                continue
            yield from chunk
            if len(chunk) < _CHUNK:
                return
            cursor = chunk[-1].id

    def following(self, stream: str, after: str, count: int) -> list[Entry]:
        """Return at most `count` entries after `after`, oldest first.

        For who follows a stream: the archive, which grows each day, is looked at only where Redis may have forgotten
        something since `after`.
        """
        if self._tail is not None and after != FIRST:
            chunk = self._tail.span(stream, f"({after}", "+", count)
            # Asked after the chunk: trimming takes the oldest first, so what is younger than this was there as well.
            oldest = self._tail.span(stream, "-", "+", 1)
            if oldest and id_key(oldest[0].id) <= id_key(after):
                return chunk
        found = self.entries(stream, "-" if after == FIRST else after)
        return list(islice((entry for entry in found if entry.id != after), count))

    def get(self, stream: str, entry_id: str) -> Entry | None:
        """Return one entry, None where it is nowhere."""
        if self._tail is not None:
            found = self._tail.span(stream, entry_id, entry_id, 1)
            if found:
                return found[0]
        return self.archive.get(stream, entry_id)

    def cited(self, cause: str) -> Entry | None:
        """Return the entry that a message's `cause` ("stream/id") names, None where it is nowhere."""
        stream, _, entry_id = cause.rpartition("/")
        return self.get(stream, entry_id) if stream else None

    def last_id(self, stream: str) -> str:
        """Return the id of the newest entry, FIRST where there is none."""
        known = [self.archive.mark(stream)] + ([self._tail.last_id(stream)] if self._tail is not None else [])
        return max(known, key=id_key)

    def journal(self, service: str) -> Iterator[Journal]:
        """Yield the commits of a service, in the order in which they happened."""
        for entry in self.entries(f"journal.{service}"):
            message = decode(entry.type, entry.data)
            if isinstance(message, Journal):
                yield message

    def config(self, config_hash: str) -> FleetConfig:
        """Return the configuration behind a hash.

        Raises
        ------
        Broken
            If the record does not hold it, or holds something else under that name.
        """
        if config_hash not in self._configs:
            for entry in self.entries("params.history"):
                message = decode(entry.type, entry.data)
                if isinstance(message, ConfigBody) and message.hash not in self._configs:
                    self._configs[message.hash] = FleetConfig.model_validate(msgspec.json.decode(message.body))
        found = self._configs.get(config_hash)
        if found is None:
            raise Broken(f"the record holds no configuration {config_hash}")
        if found.hash != config_hash:
            raise Broken(f"the configuration recorded as {config_hash} hashes to {found.hash}")
        return found

    def _archived_meanwhile(self, stream: str, cursor: str, end: str | None) -> bool:
        if id_key(self.archive.mark(stream)) <= id_key(cursor):
            return False
        return next(self.archive.read(stream, cursor, end), None) is not None


def _before(entry_id: str) -> str:
    milliseconds, sequence = id_key(entry_id)
    if sequence > 0:
        return f"{milliseconds}-{sequence - 1}"
    return f"{milliseconds - 1}-{2**64 - 1}" if milliseconds > 0 else FIRST
