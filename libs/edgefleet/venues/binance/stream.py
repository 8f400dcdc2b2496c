"""One combined WebSocket connection to a Binance-dialect venue, and the REST answers a feed needs. No sequence rules.

Frames wait in a queue that the reader fills and the caller empties, so that a slow commit makes the next batch larger
and nothing waits for a batch to fill.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.frames import DATA_OPCODES
from websockets.frames import Frame as WireFrame
from websockets.protocol import Event

from edgefleet.clock import NS_PER_S, SYSTEM, Clock
from edgefleet.errors import OutOfReach, Transient
from edgefleet.venues.binance.errors import error_body
from edgefleet.venues.budget import Budget, published_limits

TAPE_HEADER = "X-Edgefleet-Tape"
TAPE_ENDED = "tape ended"
AS_OF_HEADER = "X-Edgefleet-As-Of"
BOOK_LEVELS = 1_000  # of each side, in an answer that is asked for
QUEUE_FRAMES = 4_096  # a reader that is this far ahead of the caller waits (tape) or has lost the race (live)
ACK_EVERY_FRAMES = 16  # a simulated venue lets a tape run only so far ahead of what it was told is taken
_WEIGHTS = {"/depth": 50, "/exchangeInfo": 20, "/klines": 2}  # request weights of what is asked here
_PING_S = 20.0
_MAX_FRAME_BYTES = 4 * 1024 * 1024


class Frame(NamedTuple):
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


class _Connection(ClientConnection):
    """A connection that gives each message away as it is parsed: no queue between, no task that is woken for each."""

    def __init__(self, receive: Callable[[bytes], None], protocol: ClientProtocol, **options: Any) -> None:
        super().__init__(protocol, **options)
        self._receive = receive
        self._fragments: list[bytes] = []

    def process_event(self, event: Event) -> None:
        """Take one frame of a message; leave what else there is to the library."""
        if not isinstance(event, WireFrame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
        elif event.fin and not self._fragments:
            self._receive(bytes(event.data))
        else:
            self._fragments.append(bytes(event.data))
            if event.fin:
                self._receive(b"".join(self._fragments))
                self._fragments = []


@asynccontextmanager
async def open_frames(
    base_url: str, streams: Sequence[str], clock: Clock, *, stamped: bool, waits: bool
) -> AsyncIterator[Frames]:
    """Give the frames of one combined connection; it is closed at the end of the block.

    `stamped` asks a simulated venue for its receive stamps. `waits` lets the venue wait for us (a tape).

    Raises
    ------
    Transient
        If the connection cannot be made.
    """
    url = f"{base_url.rstrip('/')}/stream?streams={'/'.join(streams)}"
    # A paused reader does not see the pong behind the frames it has not read, so where the venue waits for us no
    # keep-alive is asked for: it would end a connection that is only slow.
    ping = None if waits else _PING_S
    headers = {TAPE_HEADER: "1"} if stamped else {}
    frames = Frames(clock, waits=waits)
    try:
        socket = await connect(
            url,
            additional_headers=headers,
            compression=None,
            max_size=_MAX_FRAME_BYTES,
            create_connection=partial(_Connection, frames.receive),  # type: ignore[arg-type]  # any callable
            ping_interval=ping,
            ping_timeout=ping,
            open_timeout=10,
            close_timeout=2,
        )
    except (OSError, InvalidHandshake, InvalidURI, TimeoutError, ConnectionClosed) as error:
        raise Transient(f"stream {base_url} does not answer: {error}") from error
    frames.attach(socket)
    reader = asyncio.create_task(frames.follow())
    try:
        yield frames
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        frames.end("reading was stopped")
        await socket.close()


class MarketRest:
    """The public REST answers that a feed needs, as the venue wrote them."""

    def __init__(self, base_url: str, clock: Clock = SYSTEM) -> None:
        base = base_url.rstrip("/")
        self.budget = Budget(clock)
        self._root = base.removesuffix("/api/v3")
        self._client = httpx.AsyncClient(base_url=f"{self._root}/api/v3", timeout=10.0)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def depth(self, symbol: str, *, as_of: int | None = None) -> bytes:
        """Return the whole book: 1,000 levels a side.

        `as_of` asks a simulated venue that plays a tape for the book as it was after that update, so that what follows
        does not depend on how far the tape has run meanwhile.
        """
        headers = {} if as_of is None else {AS_OF_HEADER: str(as_of)}
        return await self._get("/depth", headers, symbol=symbol, limit=str(BOOK_LEVELS))

    async def exchange_info(self) -> bytes:
        """Return what the venue lists, and keep to the limits that stand in it from now on."""
        raw = await self._get("/exchangeInfo")
        with suppress(msgspec.MsgspecError):  # whoever asked will say what is wrong with it
            self.budget.limits = published_limits(raw)
        return raw

    async def klines(self, symbol: str, interval: str, *, count: int) -> bytes:
        """Return the newest `count` candles."""
        return await self._get("/klines", symbol=symbol, interval=interval, limit=str(count))

    async def sim_status(self) -> bytes:
        """Return what a simulated venue says of its market."""
        return await self._get(f"{self._root}/sim/status")

    async def _get(self, path: str, headers: Mapping[str, str] | None = None, **params: str) -> bytes:
        weight = _WEIGHTS.get(path, 0)
        wait_s = self.budget.wait_s("question", weight)
        if wait_s > 0 and weight:
            raise Transient(f"venue {self._root}: its rate limits leave no room for GET {path} for {wait_s:.1f} s")
        self.budget.leaves("question", weight)
        told: Mapping[str, str] = {}
        try:
            answer = await self._client.get(path, params=params, headers=headers)
            told = answer.headers
        except httpx.HTTPError as error:
            raise Transient(f"venue {self._root}: GET {path}: {type(error).__name__} {error}".rstrip()) from error
        finally:
            self.budget.returns("question", weight, told)
        if answer.status_code == 200:
            return answer.content
        if answer.status_code in (418, 429):
            body = error_body(answer.content)
            self.budget.refused(answer.status_code, body.code if body is not None else None, answer.headers)
        if answer.status_code in (418, 429) or answer.status_code >= 500:
            raise Transient(f"venue {self._root}: GET {path} answered {answer.status_code}")
        raise OutOfReach(f"venue {self._root}: GET {path} answered {answer.status_code}: {answer.text[:200]}")


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
