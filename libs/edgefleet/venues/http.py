"""A small HTTP/1.1 client that knows whether a request left the machine. Retries nothing, follows nothing.

A general client cannot say "no byte was sent" from "sent, no answer", which for an order is the difference between
DENIED and UNKNOWN.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

from edgefleet.errors import FleetError, Misuse

MAX_IDLE = 8


class Unsent(FleetError):
    """No byte of the request left this machine."""


class Unanswered(FleetError):
    """The request, or a part of it, left, and no whole answer came back."""


class HttpAnswer(NamedTuple):
    """A whole answer."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.lost = False
        self.in_flight = False  # a request was written whose answer is not whole
        self._answer: asyncio.Future[HttpAnswer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass of it

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Unanswered(f"the connection was cut: {exc or 'closed by the peer'}"))

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self.close()  # bytes that nobody asked for: whatever follows could be taken for an answer
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.close()
            if not self._answer.done():
                self._answer.set_exception(Unanswered(f"the answer is not HTTP: {error}"))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._answer is not None and not self._answer.done():
            self.in_flight = False
            self._answer.set_result(HttpAnswer(self._parser.get_status_code(), self._headers, b"".join(self._body)))
        if not self._parser.should_keep_alive():
            self.close()

    async def exchange(self, request: bytes) -> HttpAnswer:
        """Write one request and return its answer."""
        assert self.transport is not None
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)
        self._answer = asyncio.get_running_loop().create_future()
        self.in_flight = True
        self.transport.write(request)
        try:
            return await self._answer
        finally:
            self._answer = None

    def close(self) -> None:
        """Cut the connection."""
        self.lost = True
        if self.transport is not None:
            self.transport.abort()


class HttpClient:
    """Keep-alive connections to one origin."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or parts.hostname is None:
            raise Misuse(f"venue address {base_url!r} is not http(s)://host[:port]; correct rest_url in conf/venues")
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._prefix = parts.path.rstrip("/")
        self._host_header = parts.netloc.rpartition("@")[2]
        self._idle: deque[_Connection] = deque()

    async def request(
        self, method: str, target: str, *, headers: dict[str, str], body: bytes = b"", timeout_s: float
    ) -> HttpAnswer:
        """Return the answer to one request.

        Raises
        ------
        Unsent
            If no connection could be had.
        Unanswered
            If the request left and no whole answer came within `timeout_s`.
        """
        lines = [f"{method} {self._prefix}{target} HTTP/1.1", f"Host: {self._host_header}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body or method in ("POST", "PUT"):
            lines.append(f"Content-Length: {len(body)}")
        raw = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
        connection = await self._connection(timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                answer = await connection.exchange(raw)
        except TimeoutError as error:
            raise Unanswered(f"no answer to {method} in {timeout_s:g} s") from error
        finally:
            if not self._give_back(connection):
                connection.close()
        return answer

    async def warm(self, timeout_s: float) -> None:
        """Have one connection ready, so that the first order does not pay for it."""
        connection = await self._connection(timeout_s)
        self._idle.append(connection)

    def close(self) -> None:
        """Cut every connection."""
        while self._idle:
            self._idle.pop().close()

    async def _connection(self, timeout_s: float) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.lost and connection.transport is not None and not connection.transport.is_closing():
                return connection
        try:
            async with asyncio.timeout(timeout_s):
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(_Connection, self._host, self._port, ssl=self._tls)
        except (OSError, TimeoutError) as error:
            raise Unsent(f"{self._host}:{self._port} cannot be reached: {error or 'timed out'}") from error
        return connection

    def _give_back(self, connection: _Connection) -> bool:
        """Keep a connection whose last exchange ended; one that was left in the middle is of no more use."""
        if connection.lost or connection.in_flight or len(self._idle) >= MAX_IDLE:
            return False
        self._idle.append(connection)
        return True
