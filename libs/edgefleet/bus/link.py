"""Connections to a Redis: one command, one reply, no hidden retry. Knows errors by consequence, nothing of the fleet.

redis-py's client repeats a command whose reply was lost, and a repeated XADD or FCALL is a duplicate. A link sends each
command once; whoever gets `Transient` re-reads what is stored before it goes on. A link whose reply did not come in
time, or whose caller was cancelled, is closed, so that the next call cannot get the reply of the last.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any, NoReturn
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


class Links:
    """As many connections as calls are under way at once."""

    def __init__(self, url: str, *, protocol: int = 2) -> None:
        # No socket time-out inside redis-py: it costs a task for each command on 3.11. The link has its own.
        self._pool = pool_of(url, protocol=protocol, socket_timeout=None)
        self._idle: list[AbstractConnection] = []
        self._all: set[AbstractConnection] = set()
        self.place = place_of(url)

    async def call(self, *command: Argument, wait_s: float = 0.0) -> Any:
        """Return the reply to one command, as the server shaped it; `wait_s` is how long it may block there.

        Raises
        ------
        Transient
            If there was no reply: the command may or may not have been executed.
        """
        return (await self.call_many([command], wait_s=wait_s))[0]

    async def call_many(self, commands: Sequence[Sequence[Argument]], *, wait_s: float = 0.0) -> list[Any]:
        """Return the replies to several commands sent at once."""
        connection = self._idle.pop() if self._idle else self._new()
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S + wait_s):
                await connection.send_packed_command([_packed(command) for command in commands])
                replies = [await self._reply(connection) for _ in commands]
        except BaseException as error:
            await self._drop(connection)
            if isinstance(error, Exception):
                await self._drop_idle()
                self._raise(error, commands[0])
            raise
        self._idle.append(connection)
        for reply, command in zip(replies, commands, strict=True):
            if isinstance(reply, Exception):
                self._raise(reply, command)
        return replies

    async def close(self) -> None:
        """Close every connection."""
        self._idle.clear()
        for connection in list(self._all):
            await self._drop(connection)

    def _new(self) -> AbstractConnection:
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        self._all.add(connection)
        return connection

    async def _drop_idle(self) -> None:
        """Close what waits: a server that left one connection has left them all."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await self._drop(connection)

    async def _drop(self, connection: AbstractConnection) -> None:
        self._all.discard(connection)
        await connection.disconnect(nowait=True)

    @staticmethod
    async def _reply(connection: AbstractConnection) -> Any:
        try:
            return await connection.read_response(timeout=math.inf)
        except rex.ResponseError as error:
            return error

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
        if isinstance(error, rex.ResponseError):
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
