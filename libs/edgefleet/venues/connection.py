"""One WebSocket connection to a venue: frames wait in a queue that the reader fills and the caller empties.

So a slow commit makes the next batch larger and nothing waits for a batch to fill. Knows no venue's frames.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from edgefleet.clock import NS_PER_S, Clock
from edgefleet.errors import Misuse, OutOfReach, Transient
from edgefleet.venues.answers import GEO_BLOCKED, is_address, refusal, unverified, words_of
from edgefleet.venues.websocket import MessageSocket

TAPE_HEADER = "X-Edgefleet-Tape"
TAPE_ENDED = "tape ended"
QUEUE_FRAMES = 4_096  # a reader that is this far ahead of the caller waits (tape) or has lost the race (live)
ACK_EVERY_FRAMES = 16  # a simulated venue lets a tape run only so far ahead of what it was told is taken
_PING_S = 20.0
_MAX_FRAME_BYTES = 16 * 1024 * 1024  # a whole book of a busy pair in one message is a few megabytes


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One frame and when it was received."""

    stamp_ns: int  # ingestion's clock: the line's own stamp where it has one, else the wall clock
    body: bytes
    ts_init: int  # wall clock


class Frames:
    """The frames of one connection that were not taken yet, in order."""

    def __init__(self, clock: Clock, *, waits: bool) -> None:
        self._clock = clock
        self._waits = waits
        self._socket: ClientConnection | None = None
        self._taken = 0
        self._told = 0
        self._queue: deque[Frame] = deque()
        self.is_held = False  # nothing is read from the connection
        self._waiter: asyncio.Future[None] | None = None
        self.closed: str | None = None  # why the connection ended
        self.heard_ns = clock.monotonic_ns()

    def __len__(self) -> int:
        return len(self._queue)

    def attach(self, socket: ClientConnection) -> None:
        """Name the connection whose messages `receive` is given."""
        self._socket = socket

    @property
    def ended(self) -> bool:
        """Whether the venue said that its tape is over."""
        return self.closed == TAPE_ENDED

    def take(self, count: int) -> list[Frame]:
        """Return the oldest `count` frames, or as many as are waiting."""
        queue = self._queue
        frames = [queue.popleft() for _ in range(min(count, len(queue)))]
        self._taken += len(frames)
        if self.is_held and len(queue) <= QUEUE_FRAMES // 2:
            self.read_on()
        return frames

    def hold(self) -> None:
        """Leave what comes in the kernel until `read_on`: one reading then brings all of it, at the cost of one.

        What is held is stamped when it is read, so this is for a moment.
        """
        if not self.is_held and self.closed is None and self._socket is not None:
            self.is_held = True
            self._socket.transport.pause_reading()

    def read_on(self) -> None:
        """Read again."""
        if self.is_held and self._socket is not None:
            self.is_held = False
            if not self._socket.transport.is_closing():
                self._socket.transport.resume_reading()

    async def acknowledge(self) -> None:
        """Tell a venue that waits for us how many frames were taken: what is on its way makes our orders late."""
        if not self._waits or self._taken - self._told < ACK_EVERY_FRAMES or self._socket is None:
            return
        self._told = self._taken
        with suppress(ConnectionClosed):
            await self._socket.send(f'{{"method":"TAKEN","params":["{self._taken}"]}}')

    async def send(self, texts: Iterable[str]) -> None:
        """Send what a feed asks for; a connection that broke meanwhile is told by `closed`."""
        if self._socket is not None:
            with suppress(ConnectionClosed):
                for text in texts:
                    await self._socket.send(text)

    def wake(self) -> None:
        """Let `wait` return although no frame came."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def wait(self, timeout_s: float) -> None:
        """Return when a frame is waiting, the connection has ended, `wake` was called, or the time is over."""
        if self._queue or self.closed is not None:
            return
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        handle = loop.call_later(timeout_s, self.wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            handle.cancel()

    def receive(self, raw: bytes) -> None:
        """Put a message behind those that wait. A connection whose caller is too far behind is held or given up."""
        if self.closed is not None:
            return
        queue = self._queue
        self.heard_ns = self._clock.monotonic_ns()
        queue.append(_frame(raw, self._clock.wall_ns()))
        if self._waiter is not None:
            self.wake()
        if len(queue) >= QUEUE_FRAMES:
            if self._waits:
                self.hold()
            else:
                self.closed = f"{len(queue)} frames behind a live market"

    async def follow(self) -> None:
        """Stay until the connection ends; `closed` then tells why."""
        assert self._socket is not None
        try:
            while True:
                await self._socket.recv(decode=False)  # returns nothing: messages go to `receive`
        except ConnectionClosed as error:
            close = error.rcvd
            is_over = close is not None and close.code == 1000 and close.reason == TAPE_ENDED
            self.end(TAPE_ENDED if is_over else str(error))
        finally:
            self.end("reading was stopped")

    def end(self, reason: str) -> None:
        """Take nothing more, for `reason` where there is none yet. What is held is read, so that a close is seen."""
        if self.closed is None:
            self.closed = reason
        self.wake()
        self.read_on()

    def silent_for_s(self) -> float:
        """Return the seconds since the last frame."""
        return (self._clock.monotonic_ns() - self.heard_ns) / NS_PER_S


@asynccontextmanager
async def open_frames(
    url: str, clock: Clock, *, stamped: bool = False, waits: bool = False, headers: Mapping[str, str] | None = None
) -> AsyncIterator[Frames]:
    """Give the frames of one connection; it is closed at the end of the block.

    `stamped` asks a simulated venue for its receive stamps. `waits` lets the venue wait for us (a tape).

    Raises
    ------
    Transient
        If the connection cannot be made.
    OutOfReach
        If the venue serves nobody where this machine is.
    Misuse
        If the address is none, or its certificate does not verify.
    """
    told = f"stream {url.partition('?')[0]}"
    if not is_address(url, "ws", "wss"):
        raise Misuse(f"{told}: this is no address; correct it, as in wss://host:port")
    # A paused reader does not see the pong behind the frames it has not read, so where the venue waits for us no
    # keep-alive is asked for: it would end a connection that is only slow.
    ping = None if waits else _PING_S
    sent_headers = {**(headers or {}), **({TAPE_HEADER: "1"} if stamped else {})}
    frames = Frames(clock, waits=waits)
    try:
        socket = await connect(
            url,
            additional_headers=sent_headers,
            compression=None,
            max_size=_MAX_FRAME_BYTES,
            create_connection=partial(MessageSocket, frames.receive),  # type: ignore[arg-type]  # any callable
            ping_interval=ping,
            ping_timeout=ping,
            open_timeout=10,
            close_timeout=2,
        )
    except InvalidStatus as error:
        raise _refused(told, error.response.status_code, bytes(error.response.body or b"")) from error
    except (OSError, InvalidHandshake, TimeoutError, ConnectionClosed) as error:
        why = unverified(error)
        if why is not None:
            raise Misuse(
                f"{told}: its certificate does not verify, {why}; correct the address, or the machine's clock or "
                "certificates"
            ) from error
        raise Transient(f"{told} does not answer: {error}") from error
    frames.attach(socket)
    reader = asyncio.create_task(frames.follow())
    try:
        yield frames
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        frames.end("reading was stopped")
        await socket.close()


def _refused(told: str, status: int, body: bytes) -> Transient | OutOfReach:
    """Return what a refused handshake stands for: a venue that is full or being repaired answers by any number."""
    if status == GEO_BLOCKED:
        return OutOfReach(str(refusal(told, status, body)))
    words = words_of(body)
    return Transient(f"{told} does not answer: HTTP {status} in place of a WebSocket" + (f", {words}" if words else ""))


def stream_base(url: str) -> str:
    """Return the WebSocket address beside an HTTP one: ``http://host:9180`` is ``ws://host:9180``."""
    for http, ws in (("https://", "wss://"), ("http://", "ws://")):
        if url.startswith(http):
            return ws + url.removeprefix(http)
    return url


def _frame(raw: bytes, now: int) -> Frame:
    """Return the frame in `raw`, which a simulated venue precedes with its stamp."""
    if raw[:1].isdigit():
        stamp, _, body = raw.partition(b" ")
        if stamp.isdigit():
            return Frame(int(stamp), body, now)
    return Frame(now, raw, now)
