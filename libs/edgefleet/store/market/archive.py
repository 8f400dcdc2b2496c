"""The market archive of a directory: its messages in the order of the stream. Writes nothing.

A reader needs no lock. It opens files as it comes to them; where small files were merged meanwhile, it finds the same
rows, by their numbers, in the file that took their place.
"""

from __future__ import annotations

import errno
import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

from edgefleet.clock import Clock
from edgefleet.errors import Misuse, OutOfReach
from edgefleet.store.arrow import UNREADABLE, opened, pa, pq
from edgefleet.store.days import DAY_NS, start_of
from edgefleet.store.market.columns import messages_of
from edgefleet.store.market.kinds import KINDS, Kind, MarketMessage, named_in, venue_of
from edgefleet.store.market.writer import MarketWriter
from edgefleet.store.partitions import Part, Partitions

BATCH_ROWS = 4_096
EVER = (-(2**63), 2**63 - 1)

Order = Literal["stream", "event"]
Span = tuple[int, int]  # both included
Row = tuple[int, MarketMessage]  # number and message
Keyed = tuple[tuple[int, ...], MarketMessage]  # place in the order, and message


class Chosen(NamedTuple):
    """A partition that was asked for."""

    partition: str
    date: str
    kind: Kind
    instrument: str


class _Unit(NamedTuple):
    """Rows that come no earlier than `first` in the order that is asked for."""

    first: tuple[int, ...]
    rows: Callable[[], Iterator[Keyed]]


class MarketArchive:
    """Typed market messages under one directory."""

    def __init__(self, directory: Path) -> None:
        self.partitions = Partitions(directory)

    def writer(self, name: str, clock: Clock, **options: Any) -> MarketWriter:
        """Return a writer; options as `MarketWriter` has them."""
        return MarketWriter(self.partitions, name, clock, **options)

    def chosen(
        self,
        kinds: Collection[str] | None = None,
        instruments: Collection[str] | None = None,
        start: int | None = None,
        end: int | None = None,
    ) -> list[Chosen]:
        """Return the partitions that may hold what is asked for. With instruments come their venues' own messages.

        Raises
        ------
        Misuse
            If a kind is none of the archive's, or the directory is no archive.
        """
        if kinds is not None and (unknown := sorted(set(kinds) - set(KINDS))):
            raise Misuse(f"{', '.join(unknown)} is no kind of market message; there are {', '.join(KINDS)}")
        owners = None if instruments is None else _owners(instruments)

        def wanted(name: str) -> bool:
            key, _, value = name.partition("=")
            if key == "date":
                first = _day_start(value)
                return (end is None or first < end) and (start is None or first + DAY_NS > start)
            if key == "kind":
                return kinds is None or value in kinds
            return owners is None or unquote(value) in owners

        return [Chosen(partition, *named_in(partition)) for partition in self._known(wanted)]

    def read(
        self,
        kinds: Collection[str] | None = None,
        instruments: Collection[str] | None = None,
        start: int | None = None,
        end: int | None = None,
        *,
        order: Order = "stream",
        writers: Collection[str] | None = None,
    ) -> Iterator[MarketMessage]:
        """Yield the messages whose `ts_event` is in ``[start, end)``.

        In the order ``stream`` each writer's messages come exactly as it was given them, and several writers' are
        merged by `ts_init`. In the order ``event`` all come by `ts_event`, and equal ones as they were written.

        Raises
        ------
        Misuse
            Where a file cannot be read or has other columns.
        OutOfReach
            If more files must be open at once than the process may: one for each partition.
        """
        chosen = self.chosen(kinds, instruments, start, end)
        within = EVER[0] if start is None else start, EVER[1] if end is None else end - 1
        if order == "event":
            for date in sorted({each.date for each in chosen}):
                of_day = [each for each in chosen if each.date == date]
                for _, message in _merged(self._by_event(of_day, within, writers)):
                    yield message
            return
        streams: dict[str, list[_Unit]] = {}
        for each in chosen:
            for part in self.partitions.parts(each.partition):
                if writers is None or part.writer in writers:
                    streams.setdefault(part.writer, []).append(self._file(each, part, within))
        yield from _by_receipt({writer: _merged(units) for writer, units in streams.items()})

    def batches(
        self, chosen: Chosen, part: Part, within: Span = EVER, *, group: int | None = None, rows: Span | None = None,
        batch_rows: int = BATCH_ROWS,
    ) -> Iterator[pa.RecordBatch]:  # fmt: skip
        """Yield the rows of a file, or of one of its row groups, where these have a stamp in `within`.

        Where it was merged into another file meanwhile, its rows are read there; `rows` are the numbers of a group's.
        """
        try:
            yield from self._of_file(chosen, part, within, batch_rows, group=group)
        except FileNotFoundError:
            yield from self._of_successors(chosen, part, rows or (part.first, part.last), within, batch_rows)

    def _of_file(
        self, chosen: Chosen, part: Part, within: Span, batch_rows: int, *, group: int | None = None,
        rows: Span | None = None,
    ) -> Iterator[pa.RecordBatch]:  # fmt: skip
        try:
            with opened(part.path) as file:
                _check_columns(part.path, file, chosen.kind)
                for each in range(file.num_row_groups) if group is None else (group,):
                    # No more is left out by what the footer says than has to be: it has no checksum.
                    if within != EVER and not _meet(_stamps_of(chosen, part, file.metadata, each), within):
                        continue
                    if rows is not None and not _meet(span_of(file.metadata, each, "seq"), rows):
                        continue
                    for batch in file.iter_batches(batch_rows, row_groups=[each], use_threads=False):
                        yield batch if rows is None else _between(batch, rows)
        except FileNotFoundError:
            raise
        except UNREADABLE as error:
            if isinstance(error, OSError) and error.errno == errno.EMFILE:
                message = "too many files at once: read fewer instruments or kinds, or raise the limit (ulimit -n)"
                raise OutOfReach(message) from error
            raise _unreadable(part.path, str(error).splitlines()[0]) from error

    def _of_successors(
        self, chosen: Chosen, part: Part, rows: Span, within: Span, batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        for other in self._successors(part, rows):
            try:
                yield from self._of_file(chosen, other, within, batch_rows, rows=rows)
            except FileNotFoundError:
                only = max(rows[0], other.first), min(rows[1], other.last)
                yield from self._of_successors(chosen, other, only, within, batch_rows)

    def _known(self, wanted: Callable[[str], bool]) -> list[str]:
        if self.partitions.root.exists() and not self.partitions.root.is_dir():
            raise Misuse(f"{self.partitions.root} is a file; a market archive is a directory")
        return self.partitions.partitions(wanted)

    def _successors(self, part: Part, rows: Span) -> list[Part]:
        """Return the files that hold now what a file held that was merged."""
        found = [
            other
            for other in self.partitions.parts(part.partition)
            if other.writer == part.writer and _meet((other.first, other.last), rows)
        ]
        if not found:
            raise Misuse(f"{part.path} was there and is gone, and no other file has its rows")
        return found

    def _file(self, chosen: Chosen, part: Part, within: Span) -> _Unit:
        def rows() -> Iterator[Keyed]:
            for seq, message in self._rows(chosen, part, self.batches(chosen, part, within), within):
                yield (seq,), message

        return _Unit((part.first,), rows)

    def _rows(self, chosen: Chosen, part: Part, batches: Iterable[pa.RecordBatch], within: Span) -> Iterator[Row]:
        for batch in batches:
            try:
                found = list(messages_of(chosen.kind, chosen.instrument, batch))
            except (ValueError, TypeError) as error:
                raise _unreadable(part.path, str(error)) from error
            for row in found:
                if within[0] <= row[1].ts_event <= within[1]:
                    yield row

    def _by_event(self, chosen: Iterable[Chosen], within: Span, writers: Collection[str] | None) -> list[_Unit]:
        """Return a day's row groups, each sorted when it is opened."""
        units = []
        for each in chosen:
            for part in self.partitions.parts(each.partition):
                if writers is None or part.writer in writers:
                    units += self._groups(each, part, within)
        return units

    def _groups(self, chosen: Chosen, part: Part, within: Span, rows: Span | None = None) -> list[_Unit]:
        """Return the row groups of a file; of one that took another's place only `rows`."""
        try:
            metadata = pq.read_metadata(part.path)
        except FileNotFoundError:
            rows = rows or (part.first, part.last)
            return [u for other in self._successors(part, rows) for u in self._groups(chosen, other, within, rows)]
        except UNREADABLE as error:
            raise _unreadable(part.path, str(error).splitlines()[0]) from error
        units = []
        for group in range(metadata.num_row_groups):
            seq, stamps = span_of(metadata, group, "seq"), _stamps_of(chosen, part, metadata, group)
            if _meet(stamps, within) and (rows is None or _meet(seq, rows)):
                units.append(_Unit((stamps[0],), self._sorted(chosen, part, group, seq, rows, within)))
        return units

    def _sorted(
        self, chosen: Chosen, part: Part, group: int, seq: Span, rows: Span | None, within: Span
    ) -> Callable[[], Iterator[Keyed]]:
        def load() -> Iterator[Keyed]:
            batches = self.batches(chosen, part, within, group=group, rows=seq)
            if rows is not None:
                batches = (_between(batch, rows) for batch in batches)
            found = [((message.ts_event, seq), message) for seq, message in self._rows(chosen, part, batches, within)]
            found.sort(key=lambda row: row[0])
            return iter(found)

        return load


def _merged(units: list[_Unit]) -> Iterator[Keyed]:
    """Yield the rows of all units in order; a unit is opened when its first row may be next."""
    waiting = sorted(units, key=lambda unit: unit.first, reverse=True)
    heap: list[tuple[tuple[int, ...], int, MarketMessage, Iterator[Keyed]]] = []
    opened = 0
    while waiting or heap:
        while waiting and (not heap or waiting[-1].first <= heap[0][0]):
            rows = waiting.pop().rows()
            opened += 1
            if (row := next(rows, None)) is not None:
                heapq.heappush(heap, (row[0], opened, row[1], rows))
        if not heap:
            return
        key, number, message, rows = heap[0]
        yield key, message
        if (row := next(rows, None)) is not None:
            heapq.heapreplace(heap, (row[0], number, row[1], rows))
        else:
            heapq.heappop(heap)


def _by_receipt(streams: dict[str, Iterator[Keyed]]) -> Iterator[MarketMessage]:
    """Yield the messages of all writers by `ts_init`, each writer's own order unbroken."""

    def stamped(writer: str) -> Iterator[tuple[int, str, MarketMessage]]:
        latest = EVER[0]
        for _, message in streams[writer]:
            latest = max(latest, message.ts_init)
            yield latest, writer, message

    if len(streams) == 1:
        for _, message in next(iter(streams.values())):
            yield message
        return
    merged = heapq.merge(*(stamped(writer) for writer in sorted(streams)), key=lambda row: row[:2])
    for _, _, message in merged:
        yield message


def _owners(instruments: Collection[str]) -> set[str]:
    try:
        return {*instruments, *map(venue_of, instruments)}
    except ValueError as error:
        raise Misuse(str(error)) from error


def _day_start(date: str) -> int:
    try:
        return start_of(date)
    except ValueError:
        raise Misuse(f"date={date} is no date: a partition of a market archive is named date=YYYY-MM-DD") from None


def span_of(metadata: Any, group: int, name: str) -> Span:
    """Return the least and the greatest value of a column in a row group; everything where that is not written."""
    row_group = metadata.row_group(group)
    for i in range(row_group.num_columns):
        column = row_group.column(i)
        if column.path_in_schema == name:
            statistics = column.statistics
            # Raw: nanoseconds do not fit the library's own `datetime`.
            if statistics is not None and statistics.has_min_max:
                return statistics.min_raw, statistics.max_raw
    return EVER


def _stamps_of(chosen: Chosen, part: Part, metadata: Any, group: int) -> Span:
    """Return the first and last moment of a row group, which are of the partition's day."""
    span, day = span_of(metadata, group, "ts_event"), _day_start(chosen.date)
    if span != EVER and not day <= span[0] <= span[1] < day + DAY_NS:
        raise _unreadable(part.path, f"it says to hold {span[0]} to {span[1]}, which is not {chosen.date}")
    return span


def _meet(one: Span, other: Span) -> bool:
    return one[0] <= other[1] and one[1] >= other[0]


def _between(batch: pa.RecordBatch, rows: Span) -> pa.RecordBatch:
    """Return the rows whose numbers, which rise, are in `rows`."""
    numbers = batch.column("seq").to_pylist()
    first = bisect_left(numbers, rows[0])
    return batch.slice(first, bisect_right(numbers, rows[1]) - first)


def _check_columns(path: Path, file: Any, kind: Kind) -> None:
    found, wanted = file.schema_arrow, kind.layout.schema
    if found.equals(wanted, check_metadata=False):
        return
    for field in wanted:
        at = found.get_field_index(field.name)
        if at < 0 and field.name in kind.optional:
            continue
        if at < 0:
            raise _unreadable(path, f"it has no column {field.name}")
        if found.field(at).type != field.type:
            was = found.field(at).type
            raise _unreadable(path, f"its column {field.name} is {was}, a {kind.name} has {field.type}")


def _unreadable(path: Path, reason: str) -> Misuse:
    return Misuse(f"{path}: no readable part of a market archive: {reason}; move it away, or restore it from a copy")
