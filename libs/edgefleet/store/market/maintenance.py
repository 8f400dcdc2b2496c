"""What an archive holds, whether it is whole, and its small files made large. Knows nothing of who asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from edgefleet.errors import Misuse
from edgefleet.store.arrow import UNREADABLE, pq
from edgefleet.store.compaction import compact_all
from edgefleet.store.market.archive import EVER, Chosen, MarketArchive, span_of
from edgefleet.store.market.kinds import named_in
from edgefleet.store.partitions import Mark, Part

MAX_RANGES = 20


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of message of one instrument."""

    kind: str
    instrument: str
    rows: int
    first_ns: int | None  # ts_event; None where no row is
    last_ns: int | None
    files: int
    bytes: int
    days: int
    writers: tuple[str, ...]


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One writer: what it says that it wrote, and what is there."""

    writer: str
    seq: int  # the number of the last message that it took
    rows: int  # what it committed
    found: int
    position: str
    finished: bool
    gaps: tuple[tuple[int, int], ...] = ()  # numbers, both included, that no file holds; looked for by `check` alone
    missing: int = 0  # how many these are; of a message that no column could hold the number is missing, too
    twice: int = 0  # rows whose number another row has


class ArchiveInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An archive as of now."""

    holdings: tuple[Holding, ...]
    sources: tuple[Source, ...]
    rows: int
    files: int
    bytes: int

    @property
    def whole(self) -> bool:
        """Return whether every row that was committed is there once."""
        return all(source.found == source.rows and not source.twice for source in self.sources)


def archive_info(archive: MarketArchive) -> ArchiveInfo:
    """Return what the archive holds, from the ends of its files; reads no row.

    Raises
    ------
    Misuse
        Where a file cannot be read.
    """
    return _info(archive, check=False)


def check_archive(archive: MarketArchive) -> ArchiveInfo:
    """Return what the archive holds after reading every row, with the gaps and doubles in their numbers.

    Raises
    ------
    Misuse
        Where a file cannot be read or has other columns.
    """
    return _info(archive, check=True)


def compact_archive(archive: MarketArchive, *, before: str | None = None, least_files: int = 2) -> int:
    """Merge the archive's small files; return how many went away. See `compact_all`."""
    return compact_all(
        archive.partitions, lambda name: named_in(name)[1].layout.written, before=before, least_files=least_files
    )


def _info(archive: MarketArchive, *, check: bool) -> ArchiveInfo:
    while True:
        try:
            return _as_of_now(archive, check=check)
        except FileNotFoundError:
            continue  # merged since it was listed


def _as_of_now(archive: MarketArchive, *, check: bool) -> ArchiveInfo:
    marks, listed = archive.partitions.as_of_now()
    by_name: dict[tuple[str, str], list[tuple[Chosen, Part]]] = {}
    for partition, parts in listed.items():
        chosen = Chosen(partition, *named_in(partition))
        by_name.setdefault((chosen.kind.name, chosen.instrument), []).extend((chosen, part) for part in parts)
    found: dict[str, int] = {}
    holdings = tuple(_holding(*name, by_name[name], found) for name in sorted(by_name))
    numbers = _numbers(archive, [pair for pairs in by_name.values() for pair in pairs]) if check else None
    sources = []
    for writer in sorted({*found, *marks}):
        mark = marks.get(writer, Mark())
        source = Source(
            writer=writer, seq=mark.seq, rows=mark.rows, found=found.get(writer, 0), position=mark.position,
            finished=mark.finished,
        )  # fmt: skip
        sources.append(source if numbers is None else _checked(source, sorted(numbers.get(writer, ()))))
    return ArchiveInfo(
        holdings=holdings,
        sources=tuple(sources),
        rows=sum(holding.rows for holding in holdings),
        files=sum(holding.files for holding in holdings),
        bytes=sum(holding.bytes for holding in holdings),
    )


def _holding(kind: str, instrument: str, pairs: list[tuple[Chosen, Part]], found: dict[str, int]) -> Holding:
    rows, size = 0, 0
    stamps: list[int] = []
    for _, part in pairs:
        try:
            metadata = pq.read_metadata(part.path)
            size += part.path.stat().st_size
        except FileNotFoundError:
            raise
        except UNREADABLE as error:
            raise Misuse(f"{part.path}: cannot be read: {str(error).splitlines()[0]}; move it away") from error
        rows += metadata.num_rows
        found[part.writer] = found.get(part.writer, 0) + metadata.num_rows
        stamps += _stamps(metadata)
    return Holding(
        kind=kind, instrument=instrument, rows=rows, first_ns=min(stamps, default=None),
        last_ns=max(stamps, default=None), files=len(pairs), bytes=size, days=len({each.date for each, _ in pairs}),
        writers=tuple(sorted({part.writer for _, part in pairs})),
    )  # fmt: skip


def _stamps(metadata: Any) -> Iterator[int]:
    for group in range(metadata.num_row_groups):
        span = span_of(metadata, group, "ts_event")
        if span != EVER:
            yield from span


def _numbers(archive: MarketArchive, pairs: list[tuple[Chosen, Part]]) -> dict[str, list[tuple[int, int]]]:
    """Return each writer's numbers as runs without a gap."""
    runs: dict[str, list[tuple[int, int]]] = {}
    for chosen, part in pairs:
        of_writer = runs.setdefault(part.writer, [])
        for batch in archive.batches(chosen, part):
            for seq in batch.column("seq").to_pylist():
                if of_writer and of_writer[-1][1] == seq - 1:
                    of_writer[-1] = of_writer[-1][0], seq
                else:
                    of_writer.append((seq, seq))
    return runs


def _checked(source: Source, runs: list[tuple[int, int]]) -> Source:
    gaps: list[tuple[int, int]] = []
    last, twice = 0, 0
    for low, high in runs:
        if low > last + 1:
            gaps.append((last + 1, low - 1))
        twice += max(0, min(high, last) - low + 1)
        last = max(last, high)
    if last < source.seq:
        gaps.append((last + 1, source.seq))
    missing = sum(high - low + 1 for low, high in gaps)
    return msgspec.structs.replace(source, gaps=tuple(gaps[:MAX_RANGES]), missing=missing, twice=twice)
