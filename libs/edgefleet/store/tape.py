"""Raw frames as they came to files of lines, `<receive stamp, ns> <json>`, in gzip. Knows no venue.

A REST answer has the address that it came from before it, `<receive stamp, ns> <url> <json>`, and a connection is a
line of its address alone.

`edgefleet.venues.capture` reads them. A file grows as `NAME.gz.open`, one whole gzip member per flush, and is called
`NAME.gz` when it is closed: a file of that name is whole. After a kill `recover_tapes` cuts what was not flushed off
the open file and closes it.
"""

from __future__ import annotations

import fcntl
import gzip
import os
import zlib
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from edgefleet.clock import NS_PER_MS, NS_PER_S, Clock
from edgefleet.errors import Misuse, OutOfReach
from edgefleet.store.arrow import make_directory, sync

OPEN = ".open"
_READ = 1 << 20


class TapeWriter:
    """One tape in one directory, over as many files as it takes. Call `turn` again and again.

    Parameters
    ----------
    name
        What files begin with; the moment of the first line follows.
    flush_bytes, flush_ms
        So much is held, uncompressed, or so long, before it is written and synced.
    rotate_bytes, rotate_ms
        A file is closed at this size, compressed, or at this age of its first line.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        clock: Clock,
        *,
        flush_bytes: int = 1 << 20,
        flush_ms: int = 5_000,
        rotate_bytes: int = 256 << 20,
        rotate_ms: int = 3_600_000,
    ) -> None:
        self._directory = directory
        self._name = name
        self._clock = clock
        self._limits = flush_bytes, flush_ms * NS_PER_MS, rotate_bytes, rotate_ms * NS_PER_MS
        self._held: list[bytes] = []
        self._size = 0
        self._since: int | None = None  # monotonic ns of the oldest line that is held
        self._file: _OpenTape | None = None
        self._opened = 0  # monotonic ns
        self.lines = 0  # on the disk
        try:
            make_directory(directory)
            recover_tapes(directory)
        except OSError as error:
            raise _unwritten(directory, error) from error

    @property
    def held(self) -> int:
        """Return how many lines are in memory only."""
        return len(self._held)

    def add(self, stamp_ns: int, body: bytes, stream: str | None = None, *, url: str = "") -> None:
        """Hold one frame, a JSON object or array; with `stream` any JSON value, put into ``{"stream":...,"data":...}``.

        With `url` it is the answer of that address or, without a body, the connection that was made to it.

        Raises
        ------
        Misuse
            If the stamp is negative, the frame is no JSON object or array, or the address has a space in it.
        """
        if b"\n" in body or b"\r" in body:  # between the tokens of JSON a line's end is a space like any other
            body = body.replace(b"\r", b" ").replace(b"\n", b" ")
        body = body.strip()
        if stream is not None:
            body = b'{"stream":%b,"data":%b}' % (msgspec.json.encode(stream), body)
        if stamp_ns < 0 or not ((body[:1] + body[-1:]) in (b"{}", b"[]") or (url and not body)):
            raise Misuse(f"a tape's line is a stamp and a JSON object or array, was {stamp_ns} {body[:60]!r}")
        if url:
            if len(url.split()) != 1:
                raise Misuse(f"an address on a tape has no space in it, was {url!r}")
            body = b"%b %b" % (url.encode(), body) if body else url.encode()
        if self._since is None:
            self._since = self._clock.monotonic_ns()
        line = b"%d %b\n" % (stamp_ns, body)
        self._held.append(line)
        self._size += len(line)

    def turn(self) -> None:
        """Flush, and change files, where it is due."""
        flush_bytes, flush_ns, rotate_bytes, rotate_ns = self._limits
        now = self._clock.monotonic_ns()
        if self._since is not None and (self._size >= flush_bytes or now - self._since >= flush_ns):
            self.flush()
        if self._file is not None and (self._file.size >= rotate_bytes or now - self._opened >= rotate_ns):
            self.rotate()

    def flush(self) -> None:
        """Put all lines that are held on the disk.

        Raises
        ------
        OutOfReach
            If the disk does not take them. They stay held, and the file ends with its last whole member.
        """
        if not self._held:
            return
        try:
            if self._file is None:
                first_ns = int(self._held[0].partition(b" ")[0])
                self._file = _OpenTape.begin(self._directory, self._name, first_ns)
                self._opened = self._clock.monotonic_ns()
            self._file.append(gzip.compress(b"".join(self._held), 6, mtime=0))
        except OSError as error:
            raise _unwritten(self._directory, error) from error
        self.lines += len(self._held)
        self._held, self._size, self._since = [], 0, None

    def rotate(self) -> None:
        """Close the file, where there is one; the next line begins another."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def close(self) -> None:
        """Flush and close."""
        self.rotate()

    def abandon(self) -> None:
        """Leave the file as a kill would."""
        if self._file is not None:
            self._file.release()


def recover_tapes(directory: Path) -> list[Path]:
    """Close the files that a kill left open, each with all that was flushed; return them.

    A file that a living recorder holds is left alone; an empty one is removed.
    """
    found = (_recovered(path) for path in sorted(directory.glob(f"*.gz{OPEN}")))
    return [path for path in found if path is not None]


def _recovered(path: Path) -> Path | None:
    try:
        file = path.open("r+b")
    except FileNotFoundError:
        return None  # its writer closed it meanwhile
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        if not _is_there(path, file.fileno()):
            return None
        whole = _whole_members(path)
        if not whole:
            path.unlink()
            return None
        file.truncate(whole)
        os.fsync(file.fileno())
        return _named(path)


class _OpenTape:
    """A file that grows by whole members."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.size = 0
        self._descriptor = descriptor

    @classmethod
    def begin(cls, directory: Path, name: str, first_ns: int) -> _OpenTape:
        moment = datetime.fromtimestamp(first_ns // NS_PER_S, UTC).strftime("%Y%m%dT%H%M%S")
        for count in range(10_000):
            suffix = f"-{count}" if count else ""
            path = directory / f"{name}-{moment}{suffix}.gz{OPEN}"
            if path.with_suffix("").exists():
                continue
            try:
                descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
            except FileExistsError:
                continue
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_there(path, descriptor):  # somebody may have recovered it away before it was locked
                sync(directory)
                return cls(path, descriptor)
            os.close(descriptor)
        raise FileExistsError(f"{directory} holds ten thousand tapes of {moment}")

    def append(self, member: bytes) -> None:
        try:
            written = 0
            while written < len(member):
                written += os.pwrite(self._descriptor, member[written:], self.size + written)
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self.size)
            raise
        self.size += len(member)

    def close(self) -> None:
        _named(self.path)
        self.release()

    def release(self) -> None:
        os.close(self._descriptor)


def _is_there(path: Path, descriptor: int) -> bool:
    """Return whether a path still names the file that was opened by it."""
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def _named(path: Path) -> Path:
    final = path.with_suffix("")
    path.rename(final)
    sync(final.parent)
    return final


def _whole_members(path: Path) -> int:
    """Return where the last whole gzip member ends, 0 where there is none."""
    whole = at = 0
    with path.open("rb") as file:
        member = zlib.decompressobj(wbits=31)
        while chunk := file.read(_READ):
            while chunk:
                try:
                    member.decompress(chunk)
                except zlib.error:
                    return whole
                at += len(chunk) - len(member.unused_data)
                if not member.eof:
                    break
                whole, chunk = at, member.unused_data
                member = zlib.decompressobj(wbits=31)
    return whole


def _unwritten(directory: Path, error: OSError) -> OutOfReach:
    return OutOfReach(f"{directory}: the tape cannot be written: {error.strerror or error}")
