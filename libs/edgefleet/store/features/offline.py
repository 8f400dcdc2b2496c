"""Feature rows in Parquet, a directory for each set and version. Decides nothing about them.

``set=NAME/version=N/date=YYYY-MM-DD/instrument=ID``, by the date of `ts_event`, one ``double`` for each feature, null
where it had no value. `definitions.json` beside the data says what made it, and a writer with other definitions is
refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import msgspec

from edgefleet.clock import NS_PER_MS, Clock
from edgefleet.errors import Misuse
from edgefleet.store.arrow import STAMP, UNREADABLE, make_directory, opened, pa, write_whole
from edgefleet.store.closing import ClosesOrAbandons
from edgefleet.store.compaction import compact_all
from edgefleet.store.days import date_of, day_of
from edgefleet.store.features.sets import FeatureRow, FeatureSet, checked
from edgefleet.store.partitions import Layout, Mark, Part, Partitions

_DEFINITIONS = "definitions.json"
_SPILL_ROWS = 4_096
_MAX_VALUES = 500_000  # held as objects: about 15 MB


class Batch(NamedTuple):
    """Rows of one instrument as columns."""

    seq: pa.Array
    ts_event: pa.Array  # int64
    available_at: pa.Array  # int64
    values: dict[str, pa.Array]


class FeatureStore:
    """The feature sets under one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def sets(self) -> list[FeatureSet]:
        """Return the sets that were written, by name and version."""
        found = [self._definitions(path) for path in self.directory.glob(f"set=*/version=*/{_DEFINITIONS}")]
        return sorted(found, key=lambda each: (each.name, each.version))

    def find(self, name: str, version: int | None = None) -> FeatureSet:
        """Return a set, the newest version where none is named.

        Raises
        ------
        Misuse
            If the store has no such set.
        """
        named = [each for each in self.sets() if each.name == name and version in (None, each.version)]
        if not named:
            known = ", ".join(f"{each.name}@{each.version}" for each in self.sets()) or "none"
            raise Misuse(
                f"no feature set {name}{'' if version is None else f'@{version}'} in the store; it has {known}"
            )
        return named[-1]

    def writer(self, features: FeatureSet, name: str, clock: Clock, **options: Any) -> FeatureWriter:
        """Return the one writer of that name for a set.

        Raises
        ------
        Misuse
            If the store has other definitions under the set's name and version.
        """
        partitions = self.partitions(features)
        path = partitions.root / _DEFINITIONS
        if path.exists():
            known = self._definitions(path)
            if known.digest != features.digest:
                message = f"feature set {features.name}@{features.version} is {known.digest[:12]} in the store"
                raise Misuse(f"{message} and {features.digest[:12]} here: changed definitions are a new version")
        else:
            make_directory(partitions.root)
            write_whole(path, msgspec.json.encode(features))
        return FeatureWriter(partitions, features, name, clock, **options)

    def partitions(self, features: FeatureSet) -> Partitions:
        """Return where a set's rows are."""
        return Partitions(self.directory / f"set={features.name}" / f"version={features.version}")

    def compact(self, features: FeatureSet, *, before: str | None = None, least_files: int = 2) -> int:
        """Merge a set's small files; return how many went away. See `compact_all`."""
        written = layout_of(features).written
        return compact_all(self.partitions(features), lambda _: written, before=before, least_files=least_files)

    def instruments(self, features: FeatureSet) -> list[str]:
        """Return the instruments that have rows, sorted."""
        names = self.partitions(features).partitions()
        return sorted({unquote(name.rpartition("instrument=")[2]) for name in names})

    def batches(self, features: FeatureSet, instrument: str, *, after: int = 0) -> Iterator[Batch]:
        """Yield an instrument's rows from the day of `after` on (ns of `ts_event`), in no order but the files' own.

        Raises
        ------
        Misuse
            If a file cannot be read or has other columns.
        """
        partitions = self.partitions(features)
        first_day, named = f"date={date_of(day_of(max(after, 0)))}", f"instrument={quote(instrument, safe='')}"
        for partition in partitions.partitions(
            lambda name: name == named or (name.startswith("date=") and name >= first_day)
        ):
            yield from _partition_batches(partitions, partition, features)

    def rows(self, features: FeatureSet, instrument: str, *, after: int = 0) -> list[FeatureRow]:
        """Return an instrument's rows from the day of `after` on, as they were written."""
        found: list[tuple[int, FeatureRow]] = []
        for batch in self.batches(features, instrument, after=after):
            columns = [batch.values[name].to_pylist() for name in features.features]
            stamps = zip(batch.seq.to_pylist(), batch.ts_event.to_pylist(), batch.available_at.to_pylist(), strict=True)
            for (seq, ts_event, available_at), *values in zip(stamps, *columns, strict=True):
                row = FeatureRow(instrument, ts_event, available_at, dict(zip(features.features, values, strict=True)))
                found.append((seq, row))
        found.sort(key=lambda each: each[0])
        return [row for _, row in found]

    def latest(self, features: FeatureSet, instrument: str, now: int, *, after: int = 0) -> FeatureRow | None:
        """Return the row in force at `now`, None where none was available by then.

        In force is the newest moment (`ts_event`) among the rows that were available; of rows for the same moment the
        one available last, and of those the one written last.
        """
        known = [row for row in self.rows(features, instrument, after=after) if row.available_at <= now]
        return (
            max(enumerate(known), key=lambda row: (row[1].ts_event, row[1].available_at, row[0]))[1] if known else None
        )

    def _definitions(self, path: Path) -> FeatureSet:
        try:
            return msgspec.json.decode(path.read_bytes(), type=FeatureSet)
        except (msgspec.MsgspecError, UnicodeDecodeError, OSError) as error:
            raise Misuse(f"{path}: not the definitions of a feature set: {error}") from error


class FeatureWriter(ClosesOrAbandons):
    """Rows of one set, in bounded memory. Call `take`, and `turn` again and again; `close` commits what there is."""

    def __init__(
        self,
        partitions: Partitions,
        features: FeatureSet,
        name: str,
        clock: Clock,
        *,
        commit_rows: int = 200_000,
        commit_ms: int = 30_000,
    ) -> None:
        self.features = features
        self._layout = layout_of(features)
        self._writer = partitions.writer(name)
        self._clock = clock
        self._limits = commit_rows, commit_ms * NS_PER_MS
        self._held: dict[str, list[tuple[int, FeatureRow]]] = {}
        self._values = 0
        self._seq = self.mark.seq
        self._since: int | None = None
        self.position = self.mark.position

    @property
    def mark(self) -> Mark:
        """Return what is committed."""
        return self._writer.mark

    def take(self, rows: Iterable[FeatureRow], position: str | None = None) -> None:
        """Add rows; `position` is where their source stands after them.

        Raises
        ------
        ValueError
            If a row is none of this set's; see `checked`. The writer commits no more then.
        """
        if self._since is None:
            self._since = self._clock.monotonic_ns()
        try:
            self._add(rows)
        except BaseException:
            self._writer.fail()
            raise
        if position is not None:
            self.position = position

    def _add(self, rows: Iterable[FeatureRow]) -> None:
        for row in rows:
            whole = checked(self.features, row)
            partition = f"date={date_of(day_of(row.ts_event))}/instrument={quote(row.instrument, safe='')}"
            held = self._held.setdefault(partition, [])
            self._seq += 1
            held.append((self._seq, whole))
            self._values += len(self.features.definitions)
            if len(held) >= _SPILL_ROWS or self._values >= _MAX_VALUES:
                self._spill()

    def turn(self) -> bool:
        """Commit where it is due; return whether it was."""
        waiting = self._seq - self.mark.seq
        if self._since is None or not waiting:
            return False
        if waiting < self._limits[0] and self._clock.monotonic_ns() - self._since < self._limits[1]:
            return False
        self.commit()
        return True

    def commit(self, *, memory: str = "") -> Mark:
        """Put all that was taken on the disk and return the new mark, which keeps `memory` for who goes on from it.

        Raises
        ------
        OutOfReach
            If the disk does not take it.
        """
        self._spill()
        self._since = None
        return self._writer.commit(self._seq, self.position, memory=memory)

    def close(self) -> None:
        """Commit what waits, and end."""
        try:
            if self._seq > self.mark.seq or self.position != self.mark.position:
                self.commit()
        finally:
            self._writer.close()

    def abandon(self) -> None:
        """End without what is not committed."""
        self._writer.close()

    def _spill(self) -> None:
        held, self._held, self._values = self._held, {}, 0
        for partition, rows in held.items():
            table = _table(self._layout, self.features, rows)
            self._writer.add(partition, self._layout, table, rows[0][0], rows[-1][0])


def layout_of(features: FeatureSet) -> Layout:
    """Return the columns of a set's files and how they are packed."""
    schema = pa.schema(
        [("seq", pa.int64()), ("ts_event", STAMP), ("available_at", STAMP)]
        + [(name, pa.float64()) for name in features.features]
    )
    stamps = ["seq", "ts_event", "available_at"]
    written = {
        "compression": "zstd",
        "compression_level": 6,
        "write_page_checksum": True,
        "use_dictionary": False,
        "column_encoding": dict.fromkeys(stamps, "DELTA_BINARY_PACKED"),
        "write_statistics": stamps,
    }
    return Layout(schema.with_metadata({"edgefleet.features": features.label}), written)


def _table(layout: Layout, features: FeatureSet, rows: list[tuple[int, FeatureRow]]) -> pa.Table:
    arrays = [
        pa.array([seq for seq, _ in rows], pa.int64()),
        pa.array([row.ts_event for _, row in rows], pa.int64()).view(STAMP),
        pa.array([row.available_at for _, row in rows], pa.int64()).view(STAMP),
    ]
    arrays += [pa.array([row.values[name] for _, row in rows], pa.float64()) for name in features.features]
    return pa.Table.from_arrays(arrays, schema=layout.schema)


def _partition_batches(partitions: Partitions, partition: str, features: FeatureSet) -> list[Batch]:
    while True:
        try:
            return [batch for part in partitions.parts(partition) for batch in _file_batches(part, features)]
        except FileNotFoundError:
            continue  # merged since it was listed: the next listing has the file that took its place


def _file_batches(part: Part, features: FeatureSet) -> Iterator[Batch]:
    wanted = layout_of(features).schema
    try:
        with opened(part.path) as file:
            if not file.schema_arrow.equals(wanted, check_metadata=False):
                raise Misuse(f"{part.path}: its columns are not those of {features.label}; move it away")
            for batch in file.iter_batches(_SPILL_ROWS * 8, use_threads=False):
                ts_event, available_at = (batch.column(name).view(pa.int64()) for name in ("ts_event", "available_at"))
                values = {name: batch.column(name) for name in features.features}
                yield Batch(batch.column("seq"), ts_event, available_at, values)
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise Misuse(f"{part.path}: cannot be read: {str(error).splitlines()[0]}; move it away") from error
