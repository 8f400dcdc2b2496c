"""A TCP proxy that loses replies on purpose. Knows bytes and connections, nothing of Redis but a command's name."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class LinkProxy:
    """Forwards both ways; where `lose(request)` says so, the request is carried out and its connection cut."""

    def __init__(self, target: str, lose: Callable[[bytes], bool]) -> None:
        parts = urlsplit(target)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 6379
        self._lose = lose
        self._tasks: set[asyncio.Task[None]] = set()
        self.lost = 0
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[LinkProxy]:
        """Listen on a free port of the loopback."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            server_reader, server_writer = await asyncio.open_connection(self._host, self._port)
            back = asyncio.create_task(self._copy(server_reader, writer))
            try:
                while data := await reader.read(1 << 20):
                    if self._lose(data):
                        self.lost += 1
                        back.cancel()
                        server_writer.write(data)
                        await server_writer.drain()
                        await server_reader.read(1)  # it was carried out
                        break
                    server_writer.write(data)
                    await server_writer.drain()
            finally:
                back.cancel()
                await asyncio.wait({back})
                writer.close()
                server_writer.close()

    @staticmethod
    async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 20):
                writer.write(data)
                await writer.drain()
