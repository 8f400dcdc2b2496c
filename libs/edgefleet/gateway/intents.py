"""The local journal of intents: append-only lines, hash-chained and fsynced. Knows nothing of what a line means.

Redis can lose two seconds and a venue can lose sight of an order; this file is the record that an order may exist.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import queue
import threading
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

from edgefleet.clock import NS_PER_MS, NS_PER_S, SYSTEM, Clock
from edgefleet.errors import Broken, OutOfReach

Kind = Literal["open", "intent", "cancel", "events", "halt", "resume"]
GENESIS: Final = "0" * 32
LATELY_NS: Final = 30 * NS_PER_S


class Line(msgspec.Struct, frozen=True):
    """One line of the journal."""

    n: int
    at: int  # ns since the epoch, our wall clock
    kind: Kind
    body: msgspec.Raw  # JSON
    prev: str  # hash of the line before
    hash: str


class Opened(NamedTuple):
    """A journal that was read from its first line to its last."""

    journal: IntentJournal
    lines: list[Line]
    torn: bytes  # what stood after the last whole line: a write that a crash cut short


def _hash(prev: str, n: int, at: int, kind: str, body: bytes) -> str:
    return sha256(b"%s|%d|%d|%s|%s" % (prev.encode(), n, at, kind.encode(), body)).hexdigest()[:32]


class _End(NamedTuple):
    """Where the journal ends."""

    n: int
    hash: str
    size: int  # bytes


class IntentJournal:
    """Appends lines in order; those that must be durable share an fsync with whoever waits at the same time.

    A line is in the kernel when `begin` returns. A thread does nothing but fsync, without the interpreter, so the disk
    works while the caller goes on.
    """

    def __init__(self, fd: int, path: Path, n: int, prev: str, size: int, clock: Clock = SYSTEM) -> None:
        self.path = path
        self._clock = clock
        self._last_sync = (0, 0)  # how long it took, and when it ended: monotonic ns
        self._syncing_since: int | None = None  # monotonic ns
        self.failure = ""  # why the last write did not reach the disk; empty once one did again
        self._fd = fd
        self._end = _End(n, prev, size)
        self._is_torn = False  # a failed write may have left bytes behind `_end`
        self._asked: queue.SimpleQueue[_Sync | None] = queue.SimpleQueue()
        self._is_closed = False
        self._thread: threading.Thread | None = None

    @classmethod
    def open(cls, path: Path) -> Opened:
        """Return the journal at `path`, verified, with every line that is in it. A torn last line is cut off.

        Raises
        ------
        OutOfReach
            If the file cannot be used, or another process has it.
        Broken
            If a line that is not the last does not fit the chain.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OutOfReach(f"intent journal {path}: {error.strerror}; choose another --data-dir") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lines, torn, size = verify(path.read_bytes(), str(path))
            if torn:
                os.ftruncate(fd, size)
                os.fsync(fd)
        except BlockingIOError as error:
            os.close(fd)
            raise OutOfReach(f"intent journal {path} is another executor's; stop that one first") from error
        except BaseException:
            os.close(fd)
            raise
        last = lines[-1] if lines else None
        journal = cls(fd, path, last.n if last else 0, last.hash if last else GENESIS, size)
        return Opened(journal, lines, torn)

    async def append(self, kind: Kind, body: bytes, *, at: int, durable: bool = True) -> None:
        """Add one line; return when it is on disk, or, where it need not be durable, in the kernel.

        Raises
        ------
        OutOfReach
            If it could not be written, or not be synced: the line may then be there, and counts for nothing.
        """
        await self.begin(kind, body, at=at, durable=durable)

    def begin(self, kind: Kind, body: bytes, *, at: int, durable: bool = True) -> asyncio.Future[None]:
        """Add one line; the future ends as `append` would. One that nobody awaits complains to nobody."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        try:
            if self._is_closed:  # the number of its descriptor may be another file's by now
                raise OSError(errno.EBADF, "it is closed")
            self._write(kind, body, at)
        except OSError as error:
            self._fail(error, [done])
            return done
        if not durable and not self.failure:  # after a failure every line is synced, until one gets through
            done.set_result(None)
            return done
        if self._thread is None:
            self._thread = threading.Thread(target=self._sync, name="intents", daemon=True)
            self._thread.start()
        self._asked.put(_Sync(done, loop))
        return done

    def lag_ms(self) -> int:
        """Return how long a sync takes: the last one, if that was lately, or the one that goes on, if it is longer."""
        now, since = self._clock.monotonic_ns(), self._syncing_since
        took, ended = self._last_sync
        going_on = 0 if since is None else now - since
        return max(took if now - ended < LATELY_NS else 0, going_on) // NS_PER_MS

    async def close(self) -> None:
        """Write what waits and let the file go."""
        self._is_closed = True
        if self._thread is not None:
            self._asked.put(None)
            await asyncio.to_thread(self._thread.join)
            await asyncio.sleep(0)  # the last answers are called back
        os.close(self._fd)

    def _write(self, kind: Kind, body: bytes, at: int) -> None:
        if self._is_torn:
            os.ftruncate(self._fd, self._end.size)
            self._is_torn = False
        n = self._end.n + 1
        digest = _hash(self._end.hash, n, at, kind, body)
        data = msgspec.json.encode(Line(n, at, kind, msgspec.Raw(body), self._end.hash, digest)) + b"\n"
        self._is_torn = True
        written = 0
        while written < len(data):
            written += os.write(self._fd, data[written:])
        self._is_torn = False
        self._end = _End(n, digest, self._end.size + len(data))

    def _sync(self) -> None:
        """Sync for whoever asks, all who wait at once; runs in the thread."""
        while (asked := self._asked.get()) is not None:
            error: OSError | None = None
            batch = [asked]
            while not self._asked.empty():
                more = self._asked.get()
                if more is None:
                    self._asked.put(None)  # the end comes after this sync
                    break
                batch.append(more)
            self._syncing_since = began = self._clock.monotonic_ns()
            try:
                os.fdatasync(self._fd)
            except OSError as failed:
                error = failed
            ended = self._clock.monotonic_ns()
            self._last_sync, self._syncing_since = (ended - began, ended), None
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                asked.loop.call_soon_threadsafe(self._answered, batch, error)

    def _answered(self, batch: Sequence[_Sync], error: OSError | None) -> None:
        """Tell those who waited. What could not be synced stays: lines that were told as kept stand among it."""
        if error is not None:
            self._fail(error, [asked.done for asked in batch])
            return
        self.failure = ""
        for asked in batch:
            if not asked.done.done():
                asked.done.set_result(None)

    def _fail(self, error: OSError, waiting: Sequence[asyncio.Future[None]]) -> None:
        self.failure = f"intent journal {self.path}: {error.strerror}"
        for done in waiting:
            if not done.done():
                done.set_exception(OutOfReach(f"{self.failure}; make room, then resume"))
                done.exception()  # told to whoever waits; nobody may be


class _Sync(NamedTuple):
    """Somebody waits until what is written by now is on disk."""

    done: asyncio.Future[None]
    loop: asyncio.AbstractEventLoop


def verify(data: bytes, name: str) -> tuple[list[Line], bytes, int]:
    """Return the lines of a journal, what stands torn after them, and the size of the whole part.

    Raises
    ------
    Broken
        If a whole line cannot be read or does not fit the chain.
    """
    whole_size = data.rfind(b"\n") + 1
    lines: list[Line] = []
    prev = GENESIS
    for number, raw in enumerate(data[:whole_size].splitlines(), start=1):
        try:
            line = msgspec.json.decode(raw, type=Line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Broken(f"{name} line {number} is damaged: {error}; trading needs a person to look at it") from error
        expected = _hash(prev, number, line.at, line.kind, bytes(line.body))
        if line.prev != prev or line.n != number or line.hash != expected:
            raise Broken(f"{name} line {number} does not fit the chain; trading needs a person to look at it")
        lines.append(line)
        prev = line.hash
    return lines, data[whole_size:], whole_size
