"""Many small files of a partition made one, while others read and write. Knows nothing of what the rows mean.

The new directory is built beside the data, with the merged file and, under the old inodes, every file that stays; then
the two directories change places in one system call. Whoever lists the partition before sees all the small files, after
it the large one: never both, never neither. Who listed before and opens after is told that the file is gone: our
readers then look where its rows are now, others repeat their query. The replaced directory stays, out of the way, until
the next run: who is in the middle of listing it sees all of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from edgefleet.errors import Broken, Misuse, OutOfReach
from edgefleet.store.arrow import UNREADABLE, Draft, make_directory, opened, pa, pq, sync
from edgefleet.store.partitions import DRAFTS, MARKS, ROWS_PER_GROUP, Part, Partitions

MOST_ROWS = 5_000_000  # in one file
_BUILT, _REPLACED = "_compacting", "_replaced"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EXDEV)


@contextlib.contextmanager
def compacting(partitions: Partitions) -> Iterator[None]:
    """Hold the right to compact, and remove what the last run replaced.

    Raises
    ------
    OutOfReach
        If another process compacts the same directory.
    """
    make_directory(partitions.root / MARKS)
    with (partitions.root / MARKS / ".compaction.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutOfReach(f"another process compacts {partitions.root}; wait until it has ended") from None
        for name in (_BUILT, _REPLACED):
            shutil.rmtree(partitions.root / DRAFTS / name, ignore_errors=True)
        yield


def compact_all(
    partitions: Partitions,
    written_for: Callable[[str], dict[str, Any]],
    *,
    before: str | None = None,
    least_files: int = 2,
    most_rows: int = MOST_ROWS,
) -> int:
    """Merge the small files of every partition with at least `least_files`; return how many files went away.

    `before` is a date, ``YYYY-MM-DD``: that day and later ones are left as they are. `written_for` says how the files
    of a partition are written.

    Raises
    ------
    OutOfReach
        If another process compacts the same directory, its file system cannot exchange two directories, or the disk
        takes no more. What is not merged by then stays as it is.
    Misuse
        Where a file cannot be read.
    """
    removed = 0
    try:
        with compacting(partitions):
            for partition in partitions.partitions(lambda name: _is_before(name, before)):
                if len(partitions.parts(partition)) >= least_files:
                    removed += compact(partitions, partition, written_for(partition), most_rows=most_rows)
    except OSError as error:
        raise OutOfReach(f"{partitions.root}: cannot be compacted: {error.strerror or error}") from error
    return removed


def _is_before(name: str, before: str | None) -> bool:
    key, _, value = name.partition("=")
    return before is None or key != "date" or value < before


def compact(partitions: Partitions, partition: str, written: dict[str, Any], *, most_rows: int = MOST_ROWS) -> int:
    """Merge neighbouring files of each writer into files of at most `most_rows` rows; return how many went away.

    To be called within `compacting`; writers and readers go on meanwhile.

    Raises
    ------
    OutOfReach
        Where the system or its file system cannot exchange two directories: nothing is changed then.
    Misuse
        Where a file cannot be read.
    """
    runs = [run for run in _runs(partitions.parts(partition), most_rows) if len(run) > 1]
    if not runs:
        return 0
    built = partitions.root / DRAFTS / _BUILT
    make_directory(built)
    try:
        for run in runs:
            _merge(run, built, written)
        _put_in_place(partitions, partition, built, {part.path.name for run in runs for part in run})
    except BaseException:
        shutil.rmtree(built, ignore_errors=True)
        raise
    return sum(len(run) - 1 for run in runs)


def _put_in_place(partitions: Partitions, partition: str, built: Path, merged: set[str]) -> None:
    replaced = partitions.root / DRAFTS / _REPLACED
    make_directory(replaced)
    with partitions.naming(alone=True):  # nobody adds a file between the last look and the exchange
        for part in partitions.parts(partition):
            if part.path.name not in merged:
                os.link(part.path, built / part.path.name)
        sync(built)
        _exchange(built, partitions.root / partition)
        sync((partitions.root / partition).parent)
    built.rename(replaced / str(len(list(replaced.iterdir()))))


def _runs(parts: Iterable[Part], most_rows: int) -> Iterator[list[Part]]:
    """Yield neighbouring files of one writer that fit into one."""
    ordered = sorted(parts, key=lambda part: (part.writer, part.first))
    for _, of_writer in groupby(ordered, key=lambda part: part.writer):
        run: list[Part] = []
        rows = 0
        for part in of_writer:
            count = _rows(part)
            if run and rows + count > most_rows:
                yield run
                run, rows = [], 0
            run.append(part)
            rows += count
        yield run


def _rows(part: Part) -> int:
    with _told(part):
        return int(pq.read_metadata(part.path).num_rows)


def _merge(run: list[Part], into: Path, written: dict[str, Any]) -> None:
    expected = sum(map(_rows, run))
    with _told(run[0]):
        schema = pq.read_schema(run[0].path)
    name = f"part-{run[0].writer}-{run[0].first:015}-{run[-1].last:015}.parquet"
    draft = Draft(into / f"{name}.draft", schema, written)
    try:
        rows = 0
        for table in _groups(run, schema):
            draft.add(table, ROWS_PER_GROUP)
            rows += table.num_rows
        if rows != expected:
            raise Broken(f"merging {run[0].path.parent} came to {rows} rows of {expected}")
        draft.close(into / name)
    except BaseException:
        draft.abandon()
        raise


def _groups(run: list[Part], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the rows of files in tables of about a row group, so that neighbours become large groups too."""
    held: list[pa.Table] = []
    for part in run:
        with _told(part), opened(part.path) as file:
            if not file.schema_arrow.equals(schema):
                raise Misuse(f"{part.path}: its columns are not those of {run[0].path.name}; move one of them away")
            groups = file.num_row_groups
        for group in range(groups):
            with _told(part), opened(part.path) as file:
                held.append(file.read_row_group(group, use_threads=False))
            if sum(table.num_rows for table in held) >= ROWS_PER_GROUP:
                yield pa.concat_tables(held)
                held = []
    if held:
        yield pa.concat_tables(held)


@contextlib.contextmanager
def _told(part: Part) -> Iterator[None]:
    try:
        yield
    except UNREADABLE as error:
        raise Misuse(f"{part.path}: cannot be read: {str(error).splitlines()[0]}; move it away") from error


def _exchange(one: Path, other: Path) -> None:
    """Let two directories change places in one step (Linux, renameat2 with RENAME_EXCHANGE)."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    failed = errno.ENOSYS
    if call is not None:
        if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
            return
        failed = ctypes.get_errno()
    if failed in _UNSUPPORTED:
        raise OutOfReach(f"{other}: this system cannot exchange two directories in one step; the small files stay")
    raise OSError(failed, os.strerror(failed), str(other))
