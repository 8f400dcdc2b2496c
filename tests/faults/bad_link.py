"""A TCP link that turns bad while it carries: slow, silent, deaf one way, or cut. Knows bytes, no protocol."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Mode = Literal["good", "blackhole", "replies lost", "reset"]
_ABORT = struct.pack("ii", 1, 0)  # linger 0: a close is a RST


class BadLink:
    """Forwards to a port of the loopback; `turn` changes how, for the connections there are and for new ones.

    ``blackhole`` swallows both directions and keeps the connections open, ``replies lost`` carries requests and
    swallows answers, ``reset`` cuts every connection with a RST. What was swallowed does not come later.
    """

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.delay_s = 0.0  # of each piece, each way
        self._mode: Mode = "good"
        self._target_port = target_port
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @contextmanager
    def running(self) -> Iterator[BadLink]:
        """Carry from a thread until the block ends."""
        thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        thread.start()
        server = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(5)
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self._close(server), self._loop).result(5)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(5)
            self._loop.close()

    def turn(self, mode: Mode) -> None:
        """Make the link good or bad from now on."""

        async def turn() -> None:
            self._mode = mode
            if mode == "reset":
                for writer in list(self._writers):
                    _reset(writer)

        asyncio.run_coroutine_threadsafe(turn(), self._loop).result(5)

    def lead_to(self, target_port: int) -> None:
        """Carry new connections to another port, as after a failover; those there are are cut."""
        self._target_port = target_port
        self.turn("reset")
        self.turn("good")

    async def _open(self) -> asyncio.Server:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _close(self, server: asyncio.Server) -> None:
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._mode == "reset":
            _reset(writer)
            return
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers |= {writer, there_writer}
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(
                    self._carry(reader, there_writer, ("blackhole",)),
                    self._carry(there_reader, writer, ("blackhole", "replies lost")),
                )
        finally:
            self._writers -= {writer, there_writer}
            for end in (writer, there_writer):
                with contextlib.suppress(OSError):
                    end.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, deaf: tuple[Mode, ...]) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if self._mode not in deaf:
                    writer.write(data)
                    await writer.drain()
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    writer.transport.abort()
