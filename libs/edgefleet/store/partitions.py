"""Rows in closed Parquet files under hive-style directories, each written once. Knows no message and no feature.

A writer has a name, numbers its rows from one and commits them: its drafts grow where no reader looks, are synced, are
listed in its mark, and only then get their names. The mark is the moment: killed before it, nothing of the commit is
there; killed after it, the next opening gives the missing names. So no reader sees half a file, and no row twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

from edgefleet.errors import Broken, Misuse, OutOfReach
from edgefleet.store.arrow import Draft, make_directory, pa, sync_all, write_whole

ROWS_PER_GROUP = 32_768
MARKS, DRAFTS = "_marks", "_drafts"  # tools that look for data sets pass by what begins so

_NAME = re.compile(r"part-([a-z0-9_]+)-(\d{15})-(\d{15})\.parquet")
_WRITER = re.compile(r"[a-z0-9_]{1,80}")


def writer_name(text: str) -> str:
    """Return a writer's name made of any text, such as a venue's.

    Examples
    --------
    >>> writer_name("Binance USD-M")
    'binance_usd_m'
    """
    return re.sub("[^a-z0-9]", "_", text.lower())[:80] or "_"


class Layout(NamedTuple):
    """What the rows of a partition are and how they are written."""

    schema: pa.Schema
    written: dict[str, Any]


class Part(NamedTuple):
    """One file: where it is, who wrote it, and the numbers of its first and last row."""

    path: Path
    partition: str
    writer: str
    first: int
    last: int


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What a writer has committed: as of this, all is on the disk."""

    commits: int = 0
    seq: int = 0  # the last row's number
    rows: int = 0
    position: str = ""  # where its source stood, in the source's own words
    memory: str = ""  # what who makes rows of the source remembered there
    finished: bool = False  # its source has no more
    files: tuple[tuple[str, str], ...] = ()  # the last commit's: draft, and the name that it gets


class Partitions:
    """A directory of partitions; makes nothing before something is written."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def partitions(self, wanted: Callable[[str], bool] = lambda _: True) -> list[str]:
        """Return the partitions that hold a file, as paths below the root, sorted.

        Below a directory that is not `wanted`, by its name such as ``kind=trade``, nobody looks.
        """
        found = []
        for directory, below, files in os.walk(self.root):
            below[:] = sorted(name for name in below if "=" in name and wanted(name))
            if any(_NAME.fullmatch(name) for name in files):
                found.append(Path(directory).relative_to(self.root).as_posix())
        return sorted(found)

    def parts(self, partition: str) -> list[Part]:
        """Return the files of a partition by their first rows; none where there is no such partition."""
        directory = self.root / partition
        names = _listing(directory)
        parts = [
            Part(directory / name, partition, match[1], int(match[2]), int(match[3]))
            for name in names
            if (match := _NAME.fullmatch(name)) is not None
        ]
        return sorted(parts, key=lambda part: (part.first, part.writer))

    def writers(self) -> dict[str, Mark]:
        """Return every writer there ever was and how far it came."""
        folder = self.root / MARKS
        names = sorted(path.stem for path in folder.glob("*.json")) if folder.is_dir() else []
        return {name: self.mark(name) for name in names}

    def mark(self, writer: str) -> Mark:
        """Return how far a writer came; nothing at all where it never committed.

        Raises
        ------
        Broken
            If its mark cannot be read: what it has written is not known then.
        """
        path = self.root / MARKS / f"{writer}.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=Mark)
        except FileNotFoundError:
            return Mark()
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Broken(f"{path} is no mark of a writer: {error}; restore it from a copy") from error

    def writer(self, name: str) -> PartitionWriter:
        """Return the one writer of that name, with what an earlier one committed in its place.

        Raises
        ------
        Misuse
            If the name is not made of small letters, digits and underscores.
        OutOfReach
            If another process writes under the name, or the directory cannot be written.
        """
        return PartitionWriter(self, name)

    def as_of_now(self) -> tuple[dict[str, Mark], dict[str, list[Part]]]:
        """Return the writers and, by partition, the files, as of one moment: no commit is half there."""
        with self._still():
            return self.writers(), {partition: self.parts(partition) for partition in self.partitions()}

    @contextlib.contextmanager
    def _still(self) -> Iterator[None]:
        """Keep writers from committing, where this process may; nobody writes to what it may not write to itself."""
        with contextlib.ExitStack() as held:
            if (self.root / MARKS).is_dir():
                with contextlib.suppress(OSError):
                    held.enter_context(self.naming(alone=True))
            yield

    @contextlib.contextmanager
    def naming(self, *, alone: bool) -> Iterator[None]:
        """Hold the right to commit: shared by writers, alone for who swaps directories or looks at all at once."""
        make_directory(self.root / MARKS)
        with (self.root / MARKS / ".names.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield

    def give_names(self, mark: Mark) -> None:
        """Move the drafts of a commit to their places, within `naming`; what is in place already stays."""
        finals = {self.root / name for _, name in mark.files}
        self._make_directories({final.parent for final in finals})
        for draft, name in mark.files:
            try:
                (self.root / DRAFTS / draft).rename(self.root / name)
            except FileNotFoundError:
                if not self._holds(name):
                    message = f"{self.root / name} was committed and is nowhere; restore it from a copy"
                    raise Broken(message) from None
        sync_all(sorted({final.parent for final in finals}))

    def _make_directories(self, wanted: set[Path]) -> None:
        """Make partitions, on the disk before a file is moved into one."""
        changed: set[Path] = set()
        for path in wanted:
            missing = [each for each in (path, *path.parents) if each.is_relative_to(self.root) and not each.is_dir()]
            path.mkdir(parents=True, exist_ok=True)
            changed.update(each.parent for each in missing)
        sync_all(sorted(changed))

    def _holds(self, name: str) -> bool:
        """Return whether a file of the partition has the rows of `name`, under this name or merged with others."""
        partition, _, file = name.rpartition("/")
        match = _NAME.fullmatch(file)
        return match is not None and any(
            part.writer == match[1] and part.first <= int(match[2]) and int(match[3]) <= part.last
            for part in self.parts(partition)
        )


class PartitionWriter:
    """Drafts until `commit`. One thread of one process at a time.

    What the disk did not take it cannot give back: after an `OutOfReach` it refuses everything, and another writer goes
    on from the mark.
    """

    def __init__(self, partitions: Partitions, name: str) -> None:
        if _WRITER.fullmatch(name) is None:
            raise Misuse(f"a writer's name is of a-z, 0-9 and _, was {name!r}")
        self.name = name
        self._partitions = partitions
        self._drafts: dict[str, _Open] = {}
        self._count = 0
        self._failed = False
        with self._told():
            make_directory(partitions.root / MARKS)
            self._lock = (partitions.root / MARKS / f"{name}.lock").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            message = f"another process writes to {partitions.root} as {name}: end it, or write under another name"
            raise OutOfReach(message) from None
        try:
            with self._told():
                self.mark = partitions.mark(name)
                with partitions.naming(alone=False):
                    partitions.give_names(self.mark)
                self._remove_drafts()
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up what is not committed, and the name."""
        self.fail()
        for draft in self._drafts.values():
            draft.file.abandon()
        self._drafts.clear()
        self._lock.close()

    def fail(self) -> None:
        """Refuse everything from now on: what was added is not all that should have been."""
        self._failed = True

    @property
    def uncommitted(self) -> int:
        """Return the rows in drafts."""
        return sum(draft.rows for draft in self._drafts.values())

    def add(self, partition: str, layout: Layout, table: pa.Table, first: int, last: int) -> None:
        """Write rows, numbered from `first` to `last` with gaps or without, to the draft of a partition.

        Raises
        ------
        OutOfReach
            If the disk does not take them.
        """
        with self._told():
            draft = self._drafts.get(partition)
            if draft is None:
                draft = self._drafts[partition] = self._begin(layout, first)
            draft.file.add(table, ROWS_PER_GROUP)
        draft.last = last
        draft.rows += table.num_rows

    def commit(self, seq: int, position: str, *, finished: bool = False, memory: str = "") -> Mark:
        """Make all that was added part of the data and return the new mark, which is on the disk.

        Raises
        ------
        OutOfReach
            If the disk does not take it. Whether it was committed the next writer sees from the mark.
        """
        with self._told():
            files = []
            for partition, draft in self._drafts.items():
                draft.file.finish()
                final = f"{partition}/part-{self.name}-{draft.first:015}-{draft.last:015}.parquet"
                files.append((f"{self.name}/{draft.file.path.name}", final))
            if files:
                folder = self._partitions.root / DRAFTS / self.name
                sync_all([folder, *(draft.file.path for draft in self._drafts.values())])
            number, rows = self.mark.commits + 1, self.mark.rows + self.uncommitted
            mark = Mark(
                commits=number,
                seq=seq,
                rows=rows,
                position=position,
                memory=memory,
                finished=finished,
                files=tuple(files),
            )
            # From here on the drafts are no longer ours to remove: the mark may be written whatever is raised.
            self._drafts.clear()
            with self._partitions.naming(alone=False):
                write_whole(self._partitions.root / MARKS / f"{self.name}.json", msgspec.json.encode(mark))
                self.mark = mark
                self._partitions.give_names(mark)
        return mark

    def _begin(self, layout: Layout, first: int) -> _Open:
        self._count += 1
        # A name that an earlier commit used would be taken for that commit's own after a kill.
        name = f"{self.mark.commits + 1}-{self._count}.draft"
        path = self._partitions.root / DRAFTS / self.name / name
        return _Open(Draft(path, layout.schema, layout.written), first)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Say of the disk's errors what they mean, and refuse to go on after one."""
        root = self._partitions.root
        if self._failed:
            raise OutOfReach(f"{root}: {self.name} failed before or was closed; open it again to go on from its mark")
        self._failed = True
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise OutOfReach(f"{root}: cannot be written: {reason}; what is committed is safe") from error
        self._failed = False

    def _remove_drafts(self) -> None:
        folder = self._partitions.root / DRAFTS / self.name
        if folder.is_dir():
            for path in folder.iterdir():
                path.unlink()


class _Open:
    __slots__ = ("file", "first", "last", "rows")

    def __init__(self, file: Draft, first: int) -> None:
        self.file, self.first, self.last, self.rows = file, first, first, 0


def _listing(directory: Path) -> list[str]:
    """Return the names in a directory as of one moment, none where it is absent."""
    while True:
        try:
            before = directory.stat().st_ino
            names = os.listdir(directory)
            if directory.stat().st_ino == before:
                return names
        except (FileNotFoundError, NotADirectoryError):
            return []
