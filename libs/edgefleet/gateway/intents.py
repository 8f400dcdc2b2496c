"""The local journal of intents: append-only lines, hash-chained and fsynced. Knows nothing of what a line means.

Redis can lose two seconds and a venue can lose sight of an order; this file is the record that an order may exist.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

from edgefleet.errors import Broken, OutOfReach

Kind = Literal["open", "intent", "cancel", "events", "halt", "resume"]
GENESIS: Final = "0" * 32


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


class IntentJournal:
    """Appends lines in order; those that must be durable share an fsync with whoever waits at the same time."""

    def __init__(self, fd: int, path: Path, n: int, prev: str, size: int) -> None:
        self.path = path
        self.failure = ""  # why the last write did not reach the disk; empty once one did again
        self._fd = fd
        self._n = n
        self._prev = prev
        self._size = size
        self._waiting: list[tuple[int, Kind, bytes, bool, asyncio.Future[None]]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="intents")
        self._writing: asyncio.Task[None] | None = None

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
            If it could not be written. The journal is then as it was before.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((at, kind, body, durable, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._drain())
        await done

    async def close(self) -> None:
        """Write what waits and let the file go."""
        if self._writing is not None:
            await self._writing
        self._thread.shutdown()
        os.close(self._fd)

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                try:
                    await loop.run_in_executor(self._thread, self._write, batch)
                    self.failure = ""
                except OSError as error:
                    self.failure = f"intent journal {self.path}: {error.strerror}"
                    for *_, done in batch:
                        if not done.done():
                            done.set_exception(OutOfReach(f"{self.failure}; make room, then resume"))
                            done.exception()  # told to whoever waits; nobody may be
                else:
                    for *_, done in batch:
                        if not done.done():
                            done.set_result(None)
        finally:
            self._writing = None

    def _write(self, batch: Sequence[tuple[int, Kind, bytes, bool, asyncio.Future[None]]]) -> None:
        n, prev, parts = self._n, self._prev, []
        for at, kind, body, _, _ in batch:
            n += 1
            digest = _hash(prev, n, at, kind, body)
            parts.append(msgspec.json.encode(Line(n, at, kind, msgspec.Raw(body), prev, digest)) + b"\n")
            prev = digest
        data = b"".join(parts)
        try:
            written = 0
            while written < len(data):
                written += os.write(self._fd, data[written:])
            if any(durable for *_, durable, _ in batch):
                os.fdatasync(self._fd)
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._n, self._prev, self._size = n, prev, self._size + len(data)


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
