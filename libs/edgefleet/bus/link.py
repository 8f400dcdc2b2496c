"""Connections to a Redis: one command, one reply, no hidden retry. Knows errors by consequence, nothing of the fleet.

redis-py's client repeats a command whose reply was lost, and a repeated XADD or FCALL is a duplicate. A link sends each
command once; whoever gets `Transient` re-reads what is stored before it goes on. A link whose reply did not come in
time, or whose caller was cancelled, is closed, so that the next call cannot get the reply of the last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NoReturn, cast
from urllib.parse import urlsplit

import hiredis
import redis.exceptions as rex
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from edgefleet.errors import Broken, FleetError, Misuse, OutOfReach, Transient

REPLY_TIMEOUT_S = 5.0
MAX_BLOCK_MS = 2_000  # well under the reply's time-out, or a quiet stream would look like a dead server

Argument = str | bytes | int

# What a server says that goes away by itself: full memory, full disk, loading, a running script, a replica.
_PASSING = ("OOM", "MISCONF", "LOADING", "BUSY", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS")
_PASSING_ERRORS = (rex.OutOfMemoryError, rex.ReadOnlyError, rex.MasterDownError)
_DENIED_ERRORS = (rex.AuthenticationError, rex.AuthorizationError, rex.NoPermissionError)
_NOT_YET = object()
_DENIED = ("NOAUTH", "WRONGPASS", "NOPERM", "DENIED")


class FunctionMissing(FleetError):
    """The library is not on the server; the call was not executed."""


def pool_of(url: str, *, protocol: int = 2, socket_timeout: float | None = REPLY_TIMEOUT_S) -> ConnectionPool:
    """Return a pool for `url` that never retries.

    Raises
    ------
    Misuse
        If the URL cannot be read.
    """
    try:
        return ConnectionPool.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            protocol=protocol,
            socket_timeout=socket_timeout,
            socket_connect_timeout=REPLY_TIMEOUT_S,
            decode_responses=False,
        )
    except ValueError as error:
        raise Misuse(f"Redis address {place_of(url)!r} cannot be read: {error}; write redis://host:port/0") from error


def place_of(url: str) -> str:
    """Return the address in `url` without its user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.scheme else url


class _Wire(asyncio.Protocol):
    """One connection: commands out, as many replies back. One caller at a time.

    redis-py connects and authenticates, then this takes the socket over: its readers and writers cost four wake-ups
    and two time-outs for each command, which is half of what a hop costs.
    """

    def __init__(self, connection: AbstractConnection, transport: asyncio.Transport) -> None:
        self._connection = connection
        self._transport = transport
        self._reader = hiredis.Reader(notEnoughData=_NOT_YET)
        self._replies: list[Any] = []
        self._wanted = 0
        self._waiter: asyncio.Future[list[Any]] | None = None
        self._loop = asyncio.get_running_loop()
        self.is_lost = False

    @classmethod
    async def connect(cls, connection: AbstractConnection) -> _Wire:
        """Return a connection that is open and authenticated. Raises what redis-py raises."""
        await connection.connect()  # type: ignore[no-untyped-call]
        assert connection._writer is not None
        transport = cast(asyncio.Transport, connection._writer.transport)
        wire = cls(connection, transport)
        transport.set_protocol(wire)
        return wire

    async def ask(self, commands: Sequence[Sequence[Argument]], timeout_s: float) -> list[Any]:
        """Return the replies to `commands`, the server's errors among them as `hiredis.ReplyError`."""
        if self.is_lost:
            raise rex.ConnectionError("the connection is closed")
        self._wanted = len(commands)
        waiter = self._waiter = self._loop.create_future()
        late = self._loop.call_later(timeout_s, self._late)
        try:
            self._transport.write(b"".join(map(_packed, commands)))
            replies: list[Any] = await waiter
            return replies
        finally:
            late.cancel()
            self._waiter = None

    def data_received(self, data: bytes) -> None:
        replies, reader = self._replies, self._reader
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not _NOT_YET:
                if not isinstance(reply, hiredis.PushNotification):
                    replies.append(reply)
        except hiredis.ProtocolError as error:
            self._fail(rex.ConnectionError(f"what came is no reply: {error}"))
            self._transport.abort()
            return
        if len(replies) >= self._wanted and self._waiter is not None and not self._waiter.done():
            self._replies = []
            self._waiter.set_result(replies)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(rex.ConnectionError(f"the connection was closed{'' if exc is None else f': {exc}'}"))

    async def close(self) -> None:
        """Close at once: a reply that is under way is nobody's."""
        self.is_lost = True
        await self._connection.disconnect(nowait=True)

    def _late(self) -> None:
        self._fail(rex.TimeoutError("no reply in time"))

    def _fail(self, error: Exception) -> None:
        self.is_lost = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)


class Links:
    """As many connections as calls are under way at once."""

    def __init__(self, url: str, *, protocol: int = 2) -> None:
        self._pool = pool_of(url, protocol=protocol, socket_timeout=None)
        self._idle: list[_Wire] = []
        self._all: set[_Wire] = set()
        self.place = place_of(url)

    async def call(self, *command: Argument, wait_s: float = 0.0) -> Any:
        """Return the reply to one command, as the server shaped it; `wait_s` is how long it may block there.

        Raises
        ------
        Transient
            If there was no reply: the command may or may not have been executed.
        """
        return (await self.call_many((command,), wait_s=wait_s))[0]

    async def call_many(self, commands: Sequence[Sequence[Argument]], *, wait_s: float = 0.0) -> list[Any]:
        """Return the replies to several commands sent at once."""
        wire: _Wire | None = None
        try:
            wire = self._idle.pop() if self._idle else await self._new()
            replies = await wire.ask(commands, REPLY_TIMEOUT_S + wait_s)
        except BaseException as error:
            if wire is not None:
                await self._drop(wire)
            if isinstance(error, Exception):
                await self._drop_idle()
                self._raise(error, commands[0])
            raise
        self._idle.append(wire)
        for reply, command in zip(replies, commands, strict=True):
            if isinstance(reply, Exception):
                self._raise(reply, command)
        return replies

    async def close(self) -> None:
        """Close every connection."""
        self._idle.clear()
        for wire in list(self._all):
            await self._drop(wire)

    async def _new(self) -> _Wire:
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            wire = await _Wire.connect(connection)
        self._all.add(wire)
        return wire

    async def _drop_idle(self) -> None:
        """Close what waits: a server that left one connection has left them all."""
        idle, self._idle = self._idle, []
        for wire in idle:
            await self._drop(wire)

    async def _drop(self, wire: _Wire) -> None:
        self._all.discard(wire)
        await wire.close()

    def _raise(self, error: Exception, command: Sequence[Argument]) -> NoReturn:
        text = str(error)
        name = str(command[0])
        if isinstance(error, FleetError):
            raise error
        if isinstance(error, _DENIED_ERRORS) or text.startswith(_DENIED):
            refused = f"Redis at {self.place} refuses this user ({text})"
            raise Misuse(f"{refused}; put user and password in the URL") from error
        if isinstance(error, rex.ConnectionError | rex.TimeoutError | TimeoutError | OSError):
            raise Transient(f"Redis at {self.place} did not answer {name}: {text or type(error).__name__}") from error
        if isinstance(error, rex.ResponseError | hiredis.ReplyError):
            if "Function not found" in text:
                raise FunctionMissing(name) from error
            if isinstance(error, _PASSING_ERRORS) or text.startswith(_PASSING):
                raise Transient(f"Redis at {self.place} cannot do {name} now: {text}") from error
            raise Broken(f"Redis at {self.place} refused {name}: {text}") from error
        raise error


async def reach(links: Links) -> dict[str, str]:
    """Return the server's `INFO server`.

    Raises
    ------
    OutOfReach
        If it does not answer.
    Misuse
        If it asks for a password or is older than 7.0.
    """
    try:
        raw = await links.call("INFO", "server")
    except Transient as error:
        away = f"Redis at {links.place} is out of reach ({error.__cause__})"
        raise OutOfReach(f"{away}; start it or name another with --redis-url") from error
    text = raw.decode() if isinstance(raw, bytes) else str(raw)
    info = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    version = info.get("redis_version", "0")
    if int(version.split(".")[0]) < 7:
        raise Misuse(f"Redis at {links.place} is version {version}; the fleet needs 7.0 or newer (or Valkey)")
    return info


def _packed(command: Sequence[Argument]) -> bytes:
    # The stub of pack_command knows tuples of one.
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]
    return packed
